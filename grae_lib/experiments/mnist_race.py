"""After how many steps does GRAE, without sampling noise, reach what the β-VAE reaches?

A lap is a run of its own: at a constant learning rate, and with batches and noise that depend on
seed and step alone, a run of 240 steps is the run of 120 steps continued.
"""

from __future__ import annotations

from typing import Any

from .. import data, evaluation, models
from ._objectives import METHODS
from .base import Experiment, Job

EVERY = 120
LAPS = 5
COMPARED = ("beta_vae_diagonal", "grae_one_column", "grae_columns")


def jobs(scale: str) -> list[Job]:
    """smoke: one β, one seed, two short laps. cpu: 2 β, 3 seeds, 5 laps of 120 steps on the
    embedded digits. gpu: 4 β, 10 seeds, 20 laps.
    """
    betas, seeds, laps, every = {
        "smoke": ((0.4,), 1, 2, 10),
        "cpu": ((0.1, 0.4), 3, LAPS, EVERY),
        "gpu": ((0.02, 0.1, 0.4, 0.8), 10, 20, EVERY),
    }[scale]
    model = {"shape": [1, 28, 28], "latent_dim": 8, "hidden": [128, 128], "activation": "tanh"}
    return [
        Job(
            name=f"{method}_beta{beta:g}_seed{seed}_steps{steps}",
            data={"name": "mnist", "source": "embedded"},
            model=model | {"family": METHODS[method][1], "seed": seed},
            objective=METHODS[method][0] | {"beta": beta},
            training={
                "steps": steps,
                "batch_size": 64,
                "lr": 2e-3,
                "schedule": "constant",
                "log_every": steps,
                "seed": seed,
            },
            labels={"method": method, "beta": beta, "seed": seed, "steps": steps},
        )
        for method in COMPARED
        for beta in betas
        for seed in range(seeds)
        for steps in range(every, laps * every + 1, every)
    ]


def measure(
    model: models.AutoEncoder, train: data.Dataset, test: data.Dataset, job: Job
) -> dict[str, Any]:
    """The β-VAE objective on 1,000 test digits with the optimal covariance, nats."""
    gap = evaluation.approximation_gap(
        model, test.subset(min(1000, len(test))), job.labels["beta"], covariance="optimal"
    )
    return {"test/optimal/beta_vae": gap["beta_vae"]}


EXPERIMENT = Experiment(
    name="mnist-race",
    claim="A gradient without sampling noise reaches the same objective in fewer epochs (ours).",
    jobs=jobs,
    measure=measure,
)
