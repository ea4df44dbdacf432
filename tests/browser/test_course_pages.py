"""What a lecturer opens: decks without network, links that set a widget, exercises that answer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup

from grae_lib.course.slides import CHAPTERS

ROOT = Path(__file__).resolve().parents[2]
DECKS = [name for name in CHAPTERS if (ROOT / "book" / f"{name}.ipynb").is_file()]


@pytest.mark.parametrize("kind", ["http", "file"])
@pytest.mark.parametrize("name", DECKS)
def test_a_deck_opens_at_home_with_notes_and_live_widgets(opener: Any, kind: str, name: str):
    with opener(kind, f"slides/{name}") as visit:
        page = visit.page
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        assert visit.off_host == visit.failed == visit.console == []
        counts = page.evaluate(
            """() => ({slides: Reveal.getTotalSlides(),
                       empty: Reveal.getSlides().filter(s => s.children.length < 3).length,
                       noted: document.querySelectorAll('aside.notes > *').length,
                       wrong: document.querySelectorAll('mjx-merror').length,
                       unknown: [...document.querySelectorAll('mjx-mtext')].filter(
                           e => getComputedStyle(e).color === 'rgb(255, 0, 0)').length})"""
        )
        assert counts["slides"] >= 15
        assert counts["noted"] >= 15
        assert counts["empty"] == counts["wrong"] == counts["unknown"] == 0
        # A mark of a bound number is a comment, on a slide as on a page.
        assert not re.search(r"<!|!–", page.text_content("main"))
        for index in page.evaluate(
            "() => Reveal.getSlides().map((s, i) => s.querySelector('[data-grae]') ? i : -1)"
            ".filter(i => i >= 0)"
        ):
            page.evaluate("i => Reveal.slide(i)", index)
            page.wait_for_selector(".present [data-grae][data-ready]")
        page.evaluate("Reveal.slide(0)")
        page.keyboard.press("ArrowRight")
        assert page.evaluate("Reveal.getIndices().h") == 1


@pytest.mark.parametrize("name", DECKS)
def test_a_deck_has_no_accessibility_findings(opener: Any, name: str):
    with opener("http", f"slides/{name}") as visit:
        page = visit.page
        page.wait_for_function("window.Reveal && Reveal.isReady()")
        shown = page.evaluate(
            "() => [0, 1, Reveal.getSlides().findIndex(s => s.querySelector('[data-grae]'))]"
        )
        for index in shown:
            page.evaluate("i => Reveal.slide(i)", index)
            if page.query_selector(".present [data-grae]"):
                page.wait_for_selector(".present [data-grae][data-ready]")
            found = Axe().run(page).response["violations"]
            assert [(v["id"], v["nodes"][0]["html"][:120]) for v in found] == [], index


def test_links_of_the_plans_set_the_widget(opener: Any, site: Path):
    soup = BeautifulSoup((site / "book/teaching.html").read_text(), "html.parser")
    links = list(dict.fromkeys(a["href"] for a in soup.select("a[href*='#grae:']")))
    assert len(links) >= 8
    for link in links:
        page_name, fragment = link.split("#grae:")
        kind, *parts = fragment.split(";")
        with opener("file", f"book/{page_name.removesuffix('.html')}") as visit:
            visit.page.goto(f"{site.as_uri()}/book/{link}")
            visit.page.reload()
            visit.page.wait_for_selector(f"[data-grae={kind}][data-ready]")
            state = visit.page.evaluate(
                f"() => document.querySelector('[data-grae={kind}]').grae.shell.state()"
            )
        for name, value in (part.split("=") for part in parts):
            got = state[name]
            assert got == (value if isinstance(got, str) else float(value)), link


ANSWERS = [
    ("practice-kl", "0,818", "Right."),
    ("practice-kl", "-0.568", "The sign of the logarithm"),
    ("practice-kl", "0.7", "too small"),
    ("practice-kl", "much", "Write a number"),
    ("practice-variance", "1/4", "Right."),
    ("practice-variance", "−.25", "the sign is not"),
]


def test_numbers_and_choices_are_judged_in_the_page(opener: Any):
    with opener("file", "book/practice") as visit:
        page = visit.page
        for label, given, says in ANSWERS:
            page.fill(f"#{label}-in", given)
            page.press(f"#{label}-in", "Enter")
            assert says in page.inner_text(f"#{label} .grae-check-says"), given
        page.check("#practice-relu label:nth-of-type(2) input")
        shown = page.locator("#practice-relu [role=status]:visible").all_inner_texts()
        assert len(shown) == 1
        assert shown[0].startswith("Right.")
        assert visit.off_host == visit.console == []


def test_a_prediction_comes_before_the_slider(opener: Any):
    with opener("file", "book/practice") as visit:
        page = visit.page
        veil = page.locator("#practice-turn .grae-check-veil")
        page.wait_for_selector("#practice-turn [data-grae][data-ready]")
        assert veil.evaluate("e => e.inert")
        page.fill("#practice-turn-in", "0.3")
        page.press("#practice-turn-in", "Enter")
        assert not veil.evaluate("e => e.inert")
        slider = page.locator("#practice-turn input[data-name=theta]")
        for _ in range(30):  # from 15 to 45 degrees
            slider.press("ArrowRight")
        status = page.locator("#practice-turn .grae-check-says")
        status.filter(has_text="shows 0.7497").wait_for()
        assert "shows 0.7497 nats; you predicted 0.3, which is too small" in status.inner_text()
