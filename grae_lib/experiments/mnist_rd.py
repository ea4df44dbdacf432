"""Rate, distortion and generalisation on MNIST: β, capacity and the number of training digits."""

from __future__ import annotations

from typing import Any

from ._rate_distortion import CAPACITIES, DEEP, LONG, TRAINING, grid, measure, smoke
from .base import Experiment, Job


def jobs(scale: str) -> list[Job]:
    """smoke: two β. cpu: 6 β, 1 and 3 layers, 10,000 and 1,000 digits, 3 seeds. gpu: all β."""
    load: dict[str, Any] = {"name": "mnist"}
    splits = {"digits10000": load, "digits1000": load | {"n_train": 1000}}
    shape = [1, 28, 28]
    if scale == "smoke":
        return smoke("digits1000", load, shape)
    if scale == "cpu":
        betas = (0.001, 0.01, 0.1, 0.4, 1.0, 2.5)
        training = TRAINING | {"steps": 6_000}
        return grid(splits, CAPACITIES, shape, training, seeds=3, betas=betas)
    full = {"digits60000": load | {"source": "torchvision"}} | splits
    return grid(full, DEEP, shape, LONG, seeds=5)


EXPERIMENT = Experiment(
    name="mnist-rd",
    claim="Lowering the strength of the rate term improves generalisation in most settings "
    "(Bozkurt, Esmaeili et al. 2021, abstract), on digits.",
    jobs=jobs,
    measure=measure,
)
