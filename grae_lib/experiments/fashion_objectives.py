"""The comparison of objectives over β on Fashion-MNIST."""

from __future__ import annotations

from ._objectives import grid, measure
from .base import Experiment, Job


def jobs(scale: str) -> list[Job]:
    """smoke: two β on a thousand images. cpu: 5 β, 3 seeds. gpu: 5 β, 5 seeds, longer."""
    model = {"shape": [1, 28, 28], "latent_dim": 8, "hidden": [128, 128], "activation": "tanh"}
    training = {"batch_size": 64, "lr": 3e-3, "schedule": "cosine", "log_every": 100}
    load = {"name": "fashion_mnist", "n_test": 2000}
    betas = (0.02, 0.1, 0.4, 1.0, 2.0)
    if scale == "smoke":
        small = load | {"n_train": 1000, "n_test": 200}
        short = training | {"steps": 60, "log_every": 20}
        return grid(small, model | {"hidden": [32]}, short, seeds=1, betas=(0.1, 1.0))
    if scale == "cpu":
        return grid(load, model, training | {"steps": 3000}, seeds=3, betas=betas)
    longer = training | {"steps": 30000, "batch_size": 128}
    return grid(load, model, longer, seeds=5, betas=betas)


EXPERIMENT = Experiment(
    name="fashion-objectives",
    claim="The agreement of objective values on MNIST is not an accident of MNIST (ours).",
    jobs=jobs,
    measure=measure,
    needs="Fashion-MNIST through torchvision",
)
