"""Self-check questions: what is shown, and what is refused."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

from grae_lib.quiz import Quiz

QUESTION = {
    "question": "Is 2 < 3?",
    "answers": [
        {"answer": "Yes & always", "correct": True, "feedback": "By counting."},
        {"answer": "No", "correct": False, "feedback": "Count again."},
    ],
}


def page(*questions):
    return BeautifulSoup(Quiz(questions)._repr_html_(), "html.parser")


def test_each_answer_has_a_button_and_what_there_is_to_say_about_it():
    shown = page(QUESTION, QUESTION)
    assert [legend.text for legend in shown.find_all("legend")] == [
        "1. Is 2 < 3?",
        "2. Is 2 < 3?",
    ]
    for fieldset in shown.find_all("fieldset"):
        labels = fieldset.find_all("label")
        assert [label.text for label in labels] == ["Yes & always", "No"]
        assert [label.find_next_sibling().text for label in labels] == [
            "Right. By counting.",
            "Not so. Count again.",
        ]
        assert len({label.input["name"] for label in labels}) == 1
    names = {button["name"] for button in shown.find_all("input")}
    assert len(names) == 2
    assert not shown.find_all("script")


def test_two_quizzes_of_a_page_do_not_share_buttons_and_builds_agree():
    other = copy.deepcopy(QUESTION)
    other["answers"][1]["answer"] = "Never"
    assert page(QUESTION).input["name"] != page(other).input["name"]
    assert Quiz([QUESTION])._repr_html_() == Quiz([QUESTION])._repr_html_()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"type": "numeric"}, "'numeric' was given"),
        ({"answers": QUESTION["answers"][:1]}, "1 answers, 1 of them correct"),
        ({"answers": QUESTION["answers"][1:] * 2}, "2 answers, 0 of them correct"),
        ({"answers": [{"answer": "Yes", "correct": True}] * 2}, "keys answer, correct, feedb"),
        ({"answers": "Yes"}, "expected a list"),
    ],
)
def test_what_cannot_be_shown_is_refused(change, words):
    with pytest.raises(ValueError, match=words):
        Quiz([QUESTION | change])


def test_no_questions_are_refused():
    with pytest.raises(ValueError, match="no questions"):
        Quiz([])
    with pytest.raises(ValueError, match="chapter 'rates' has no questions; choose one of gauss"):
        Quiz.load("rates")
    with pytest.raises(ValueError, match="keys question and answers"):
        Quiz(["Is 2 < 3?"])


@pytest.mark.parametrize("name", ["uniqueness", "local_geometry", "gaussian_case", "linear_case"])
def test_a_chapter_has_questions_in_its_page(name):
    chapter = json.loads(Path(__file__).parents[1].joinpath(f"book/{name}.ipynb").read_text())
    outputs = [
        "".join(output["data"]["text/html"])
        for cell in chapter["cells"]
        if cell["cell_type"] == "code"
        for output in cell["outputs"]
        if "text/html" in output.get("data", {})
    ]
    shown = [BeautifulSoup(text, "html.parser") for text in outputs if "grae-quiz" in text]
    assert sum(len(quiz.find_all("fieldset")) for quiz in shown) >= 4
    # What the page holds is what the package carries.
    assert Quiz.load(name)._repr_html_() in outputs
