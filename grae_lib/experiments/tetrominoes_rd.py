"""Rate, distortion and generalisation on Tetrominoes: β, capacity, difficulty of the split."""

from __future__ import annotations

from typing import Any

from ._rate_distortion import grid, measure
from .base import Experiment, Job


def jobs(scale: str) -> list[Job]:
    """smoke: two β. cpu: 12 β, 1 and 3 layers, 3 seeds, 16×16 grey. gpu: 9 layers and colour too.

    Splits: easy, a random half of the grid; hard, the checkerboard; thinned, 1,024 shapes of the
    checkerboard's 81,920. The first two are used whole: thinned, they would be alike.
    """
    size: dict[str, Any] = {"name": "tetrominoes", "size": 16, "color": False}
    splits = {
        "easy": size | {"kind": "easy"},
        "hard": size | {"kind": "checkerboard"},
        "thinned": size | {"kind": "thinned", "base": "checkerboard", "fraction": 0.0125},
    }
    hidden = {"depth1": [128], "depth3": [128] * 3}
    training = {"batch_size": 64, "lr": 1e-3, "schedule": "cosine", "log_every": 500}
    if scale == "smoke":
        few = {"thinned": splits["thinned"] | {"n_train": 512, "n_test": 256}}
        small = {"depth1": [32]}
        short = training | {"steps": 40, "log_every": 20}
        return grid(few, small, [1, 16, 16], short, seeds=1, betas=(0.1, 1.0))
    if scale == "cpu":
        return grid(splits, hidden, [1, 16, 16], training | {"steps": 10_000}, seeds=3)
    color = {k: v | {"size": 32, "color": True} for k, v in splits.items()}
    deep = {"depth1": [512], "depth3": [512] * 3, "depth9": [512] * 9}
    longer = training | {"steps": 250_000, "batch_size": 128}
    return grid(color, deep, [3, 32, 32], longer, seeds=3)


EXPERIMENT = Experiment(
    name="tetrominoes-rd",
    claim="Lowering the strength of the rate term improves generalisation in most settings "
    "(Bozkurt, Esmaeili et al. 2021, abstract).",
    jobs=jobs,
    measure=measure,
)
