"""Numbers that the chapter on uniqueness quotes in prose, against the store."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

from grae_lib import data, results
from grae_lib import rotations as rot
from grae_lib.experiments.toy_uniqueness import rotation

CHAPTER = Path(__file__).parents[1] / "book" / "uniqueness.ipynb"
#: The names of ν in the text.
NAMES = {"linear": "linear", "tanh": "tanh", "leaky_relu": "leaky ReLU", "softplus": "softplus"}


@pytest.fixture(scope="module")
def text() -> str:
    cells = json.loads(CHAPTER.read_text(encoding="utf-8"))["cells"]
    source = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.sub(r"<!--.*?-->", "", source)  # the marks of numbers that are bound


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, str, str], torch.Tensor]:
    """(ν, W, family) → rotation as found and after alignment, degrees, (8, 2)."""
    found: dict[tuple[str, str, str], list[list[float]]] = {}
    for record in results.runs("toy-uniqueness", "cpu"):
        labels, metrics = record["job"]["labels"], record["metrics"]
        settings = {k: v for k, v in record["job"]["data"].items() if k != "name"}
        _, truth = data.toy_model(**settings | {"n": 1})
        A, covariance = (torch.tensor(metrics[k]).double() for k in ("A", "covariance"))
        aligned = rotation(rot.align(A, covariance)[0], truth.W)
        key = labels["nu"], labels["W"], labels["family"]
        found.setdefault(key, []).append([metrics["rotation"], aligned])
    return {key: torch.tensor(values) for key, values in found.items()}


def quoted(text: str, words: str) -> dict[str, float]:
    """The numbers in degrees that follow `words`, by ν: '.04° (linear), .1° (tanh), …'."""
    sentence = text.split(words, 1)[1].split(";")[0].split(". ")[0]
    return {nu: float(value) for value, nu in re.findall(r"([\d.]+)° \((\w+(?: \w+)?)", sentence)}


@pytest.mark.parametrize(
    ("words", "family"),
    [
        ("with diagonal Σ the spread of the rotation is", "shared_diagonal"),
        ("(softplus); with full Σ", "shared"),
    ],
)
def test_the_spreads_in_the_table_are_those_of_the_store(words, family, text, runs):
    found = quoted(text.split("## What the source says, what we measured")[1], words)
    assert set(found) == set(NAMES.values())
    for nu, name in NAMES.items():
        spread = rot.circular_spread(runs[nu, "anisotropic", family][:, 0])[1]
        # Quoted with one significant digit below one degree and without decimals above ten.
        assert found[name] == pytest.approx(spread, abs=0.5 if spread > 10 else 0.05), nu


def test_every_group_has_eight_seeds(runs):
    assert {len(values) for values in runs.values()} == {8}
    assert len(runs) == 16


def test_the_best_rotations_are_those_the_text_names(text, runs):
    found = re.search(
        r"For tanh it is about (\d+)° off, for leaky ReLU about (\d+)°, for softplus about (\d+)°",
        text,
    )
    assert found
    for nu, stated in zip(("tanh", "leaky_relu", "softplus"), found.groups(), strict=True):
        mean = rot.circular_mean(runs[nu, "anisotropic", "shared_diagonal"][:, 0])
        assert min(mean, 90 - mean) == pytest.approx(float(stated), abs=0.5)
