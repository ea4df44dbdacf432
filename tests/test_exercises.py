"""Exercises of the pages: answers are computed, known mistakes are apart, bad ones are refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import pytest
import yaml

from grae_lib import quiz
from grae_lib.sphinx_ext import exercises

PRACTICE = Path(__file__).parents[1] / "book" / "practice.md"
BLOCKS = re.findall(r"```\{grae-exercise\} (\w+)\n(.*?)\n```", PRACTICE.read_text(), re.S)


def options(block: str) -> dict[str, str]:
    return dict(re.findall(r"^:(\w+): (.*)$", block, re.M))


def test_all_kinds_are_there_and_labels_differ():
    assert {kind for kind, _ in BLOCKS} == set(exercises.KINDS)
    labels = [options(block)["label"] for _, block in BLOCKS]
    assert len(set(labels)) == len(labels) >= 10


@pytest.mark.parametrize(
    ("label", "want"),
    [
        ("practice-kl", (1 + 0.25 - 1 - math.log(0.25)) / 2),
        ("practice-det", 3.0),
        ("practice-turn", math.log((1601 + 101) / 2 / math.sqrt(1601 * 101))),
        ("practice-equal", 0.0),
        ("practice-variance", 0.25),
        ("practice-grae", math.log(15) / 2),
        ("practice-bound", math.log(16 / 15) / 2),
        ("practice-rate", 4.520221),
    ],
)
def test_computed_answers_are_the_closed_forms(label, want):
    (found,) = [options(block) for _, block in BLOCKS if options(block)["label"] == label]
    answer = exercises.computed(found["answer"])
    assert answer == pytest.approx(want, abs=1e-6)
    tolerance = float(found["tolerance"])
    for wrong in json.loads(found.get("mistakes", "{}")):
        assert abs(float(wrong) - answer) > 2 * tolerance


@pytest.mark.parametrize("block", [block for kind, block in BLOCKS if kind == "choice"])
def test_choices_can_be_shown(block):
    answers = quiz.checked_answers("label", yaml.safe_load(block.split("\n---\n")[1]))
    shown = quiz.fieldset("label", "Choose one", answers)
    assert shown.count('type="radio"') == len(answers)
    assert shown.count("<b>Right. </b>") == 1


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(ValueError, match="expected an expression over math, torch, geometry"):
        exercises.computed("geometri.metric")
    with pytest.raises(ValueError, match="expected a finite number"):
        exercises.computed("math.inf")
