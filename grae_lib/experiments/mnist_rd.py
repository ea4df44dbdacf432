"""Rate, distortion and generalisation on MNIST: β, capacity and the number of training digits."""

from __future__ import annotations

from typing import Any

from ._rate_distortion import grid, measure
from .base import Experiment, Job


def jobs(scale: str) -> list[Job]:
    """smoke: two β. cpu: 6 β, 1 and 3 layers, 10,000 and 1,000 digits, 3 seeds. gpu: all β."""
    load: dict[str, Any] = {"name": "mnist"}
    splits = {"digits10000": load, "digits1000": load | {"n_train": 1000}}
    hidden = {"depth1": [128], "depth3": [128] * 3}
    training = {"batch_size": 64, "lr": 1e-3, "schedule": "cosine", "log_every": 500}
    betas = (0.001, 0.01, 0.1, 0.4, 1.0, 2.5)
    if scale == "smoke":
        few = {"digits1000": load | {"n_train": 512, "n_test": 256}}
        small = {"depth1": [32]}
        short = training | {"steps": 40, "log_every": 20}
        return grid(few, small, [1, 28, 28], short, seeds=1, betas=(0.1, 1.0))
    if scale == "cpu":
        return grid(splits, hidden, [1, 28, 28], training | {"steps": 6_000}, seeds=3, betas=betas)
    deep = {"depth1": [512], "depth3": [512] * 3, "depth9": [512] * 9}
    full = {"digits60000": load | {"source": "torchvision"}} | splits
    longer = training | {"steps": 250_000, "batch_size": 128}
    return grid(full, deep, [1, 28, 28], longer, seeds=5)


EXPERIMENT = Experiment(
    name="mnist-rd",
    claim="Lowering the strength of the rate term improves generalisation in most settings "
    "(Bozkurt, Esmaeili et al. 2021, abstract), on digits.",
    jobs=jobs,
    measure=measure,
)
