"""Self-check questions in the built pages: an answer opens what there is to say about it."""

from __future__ import annotations

from typing import Any

import pytest

CHAPTERS = ["uniqueness", "local_geometry", "gaussian_case", "linear_case"]


@pytest.mark.parametrize("name", CHAPTERS)
def test_choosing_an_answer_opens_its_feedback_without_a_network(name: str, opener: Any) -> None:
    with opener("file", f"book/{name}", width=390, theme="dark") as visit:
        questions = visit.page.locator(".grae-quiz fieldset")
        assert questions.count() >= 4
        for i in range(questions.count()):
            shown = questions.nth(i).locator("[role=status]:visible")
            assert shown.count() == 0
            for j, answer in enumerate(questions.nth(i).locator("input").all()):
                answer.check()
                assert shown.count() == 1
                says = questions.nth(i).locator("[role=status]").nth(j)
                assert shown.inner_text() == says.inner_text()
                assert says.inner_text().startswith(("Right. ", "Not so. "))
        width = visit.page.evaluate("document.documentElement.scrollWidth")
        assert width <= 390
        assert not visit.off_host


def test_the_keyboard_chooses_answers(opener: Any) -> None:
    with opener("file", f"book/{CHAPTERS[0]}") as visit:
        first = visit.page.locator(".grae-quiz fieldset").first
        first.locator("input").first.focus()
        visit.page.keyboard.press("Space")
        assert first.locator("[role=status]:visible").count() == 1
        visit.page.keyboard.press("ArrowDown")
        assert first.locator("input").nth(1).is_checked()
        assert first.locator("[role=status]:visible").count() == 1
