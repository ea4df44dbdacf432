"""Does the structure of Σ shape the decoder's Jacobian? The sources' four settings on MNIST."""

from __future__ import annotations

from typing import Any

from .. import data, evaluation, models
from .base import Experiment, Job

#: (β, d, b) of the slide 'MNIST'.
SETTINGS = ((0.2, 8, 2), (0.4, 8, 2), (0.6, 12, 2), (1.0, 8, 2))
FAMILIES = ("diagonal", "block", "full")


def jobs(scale: str) -> list[Job]:
    """smoke: one setting, one seed. cpu: 4 settings, 3 families, 3 seeds. gpu: 5 seeds, longer."""
    settings, seeds = SETTINGS, {"smoke": 1, "cpu": 3, "gpu": 5}[scale]
    load: dict[str, Any] = {"name": "mnist", "source": "torchvision", "n_test": 2000}
    training: dict[str, Any] = {
        "batch_size": 128,
        "lr": 2e-3,
        "schedule": "cosine",
        "log_every": 200,
        "steps": 4000,
    }
    hidden = [128, 128]
    if scale == "smoke":
        settings, hidden = SETTINGS[:1], [32]
        load = {"name": "mnist", "n_train": 1000, "n_test": 200}
        training |= {"steps": 60, "log_every": 20}
    if scale == "gpu":
        training |= {"steps": 50_000}
    found = []
    for beta, d, b in settings:
        for family in FAMILIES:
            block_size = b if family == "block" else None
            for seed in range(seeds):
                labels = {"beta": beta, "d": d, "b": b, "family": family, "seed": seed}
                found.append(
                    Job(
                        name=f"beta{beta:g}_d{d}_{family}_seed{seed}",
                        data=load,
                        model={
                            "shape": [1, 28, 28],
                            "latent_dim": d,
                            "hidden": hidden,
                            "family": family,
                            "block_size": block_size,
                            "seed": seed,
                        },
                        objective={"name": "BetaVAE", "beta": beta},
                        training=training | {"seed": seed},
                        labels=labels | {"method": f"beta_vae_{family}"},
                        store_decoder=scale != "smoke" and seed == 0,
                    )
                )
    return found


def measure(
    model: models.AutoEncoder, train: data.Dataset, test: data.Dataset, job: Job
) -> dict[str, Any]:
    """Mean |cos| of Jacobian columns inside and across blocks of b, on up to 2,000 test images.

    cosines: the (d, d) matrix of mean |cos|; a collapsed latent's entries are null. Also the
    objective's value and its gap to GRAE with the family's bound.
    """
    some = test.subset(min(2000, len(test)))
    at = evaluation.metrics_at_means(model, some)
    inside_across = evaluation.block_cosines(at["metric"], job.labels["b"])
    gap = evaluation.approximation_gap(model, some, job.labels["beta"], samples=8)
    cosines = evaluation.geometry.column_cosines(at["metric"]).nanmean(0)
    norms = at["metric"].diagonal(dim1=-2, dim2=-1).sqrt().mean(0)
    excess = evaluation.covariance_excess(
        at, job.labels["beta"], job.model["family"], job.model["block_size"]
    )
    return {
        "inside": inside_across["inside"],
        "across": inside_across["across"],
        "ratio": inside_across["inside"] / inside_across["across"],
        "active_units": evaluation.active_units(at["mean"]),
        "cosines": [[round(v, 5) for v in row] for row in cosines.tolist()],
        "column_norms": [round(v, 5) for v in norms.tolist()],
        "covariance_excess": float(excess.mean()),
        **{f"test/{name}": value for name, value in gap.items()},
    }


EXPERIMENT = Experiment(
    name="mnist-structure",
    claim="A structure on Σ influences the Jacobian of the decoder (Kumar & Poole 2020, slide "
    "'MNIST').",
    jobs=jobs,
    measure=measure,
    needs="MNIST through torchvision (smoke: nothing but the package)",
)
