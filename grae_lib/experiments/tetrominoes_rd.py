"""Rate, distortion and generalisation on Tetrominoes: β, capacity, difficulty of the split."""

from __future__ import annotations

from typing import Any

from ._rate_distortion import (
    CAPACITIES,
    CONVOLUTIONAL,
    DEEP,
    LONG,
    TRAINING,
    grid,
    measure,
    smoke,
)
from .base import Experiment, Job

SIZE: dict[str, Any] = {"name": "tetrominoes", "size": 16, "color": False}
SHAPE = [1, 16, 16]
SPLITS: dict[str, dict[str, Any]] = {
    "easy": SIZE | {"kind": "easy"},
    "hard": SIZE | {"kind": "checkerboard"},
    "thinned": SIZE | {"kind": "thinned", "base": "checkerboard", "fraction": 0.0125},
}
CPU_STEPS = 10_000


def jobs(scale: str) -> list[Job]:
    """smoke: two β. cpu: 12 β, 1 and 3 layers and a convolutional model, 3 seeds, 16×16 grey.
    gpu: 9 layers and colour too.

    Splits: easy, a random half of the grid; hard, the checkerboard; thinned, 1,024 shapes of the
    checkerboard's 81,920. The first two are used whole: thinned, they would be alike.
    """
    if scale == "smoke":
        return smoke("thinned", SPLITS["thinned"], SHAPE)
    if scale == "cpu":
        training = TRAINING | {"steps": CPU_STEPS}
        return grid(SPLITS, CAPACITIES | CONVOLUTIONAL, SHAPE, training, seeds=3)
    color = {k: v | {"size": 32, "color": True} for k, v in SPLITS.items()}
    return grid(color, DEEP, [3, 32, 32], LONG, seeds=3)


EXPERIMENT = Experiment(
    name="tetrominoes-rd",
    claim="Lowering the strength of the rate term improves generalisation in most settings "
    "(Bozkurt, Esmaeili et al. 2021, abstract).",
    jobs=jobs,
    measure=measure,
)
