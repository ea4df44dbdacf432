"""The comparison of objectives over β on CelebA with a convolutional model."""

from __future__ import annotations

from ._objectives import grid, measure
from .base import Experiment, Job


def jobs(scale: str) -> list[Job]:
    """smoke: 16×16 faces, a few steps. cpu: 32×32, 2 β, 3 seeds. gpu: 64×64, 4 β, 5 seeds."""
    load = {"name": "celeba"}
    model = {"architecture": "conv", "activation": "elu"}
    training = {"batch_size": 64, "lr": 1e-3, "schedule": "cosine", "log_every": 100}
    if scale == "smoke":
        tiny = {"shape": [3, 16, 16], "latent_dim": 4, "hidden": [8, 8]}
        return grid(
            load | {"image_size": 16, "limit": 64},
            model | tiny,
            training | {"steps": 4, "batch_size": 8, "log_every": 2},
            seeds=1,
            betas=(1.0,),
        )
    if scale == "cpu":
        small = {"shape": [3, 32, 32], "latent_dim": 16, "hidden": [32, 64, 64]}
        part = load | {"image_size": 32, "limit": 20_000, "n_test": 2000}
        return grid(part, model | small, training | {"steps": 3000}, seeds=3, betas=(0.1, 1.0))
    large = {"shape": [3, 64, 64], "latent_dim": 64, "hidden": [32, 64, 128, 256]}
    return grid(
        load | {"image_size": 64, "n_test": 2000},
        model | large,
        training | {"steps": 50_000, "batch_size": 128},
        seeds=5,
        betas=(0.1, 0.4, 1.0, 2.0),
    )


EXPERIMENT = Experiment(
    name="celeba-objectives",
    claim="The deterministic objective carries over to colour images and convolutional decoders.",
    jobs=jobs,
    measure=measure,
    needs="CelebA in torchvision's layout",
)
