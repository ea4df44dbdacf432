"""Comparison of objectives over β: the grid and the measurements that several data sets share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .. import data, evaluation, models
from .base import Job

#: β of the sources' figures (.02 … 1) and one beyond.
BETAS = (0.02, 0.06, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0)

#: method → (objective, posterior family of the model). GRAE trains no covariance; its family says
#: which optimal covariance its β-VAE value is computed with.
METHODS: dict[str, tuple[dict[str, Any], str]] = {
    "beta_vae_diagonal": ({"name": "BetaVAE", "family": "diagonal"}, "diagonal"),
    "beta_vae_full": ({"name": "BetaVAE", "family": "full"}, "full"),
    "grae_log_det": ({"name": "GRAE", "regularizer": "log_det"}, "full"),
    "grae_columns": ({"name": "GRAE", "regularizer": "columns"}, "diagonal"),
    "grae_one_column": ({"name": "GRAE", "regularizer": "one_column"}, "diagonal"),
}


def grid(
    load: dict[str, Any],
    model: dict[str, Any],
    training: dict[str, Any],
    seeds: int,
    betas: tuple[float, ...] = BETAS,
    stored: Mapping[str, Sequence[float]] | None = None,
) -> list[Job]:
    """One job for each method, β and seed. stored: method → β whose decoders of seed 0 are kept."""
    kept = stored or {}
    jobs = []
    for method, (objective, family) in METHODS.items():
        for beta in betas:
            for seed in range(seeds):
                jobs.append(
                    Job(
                        name=f"{method}_beta{beta:g}_seed{seed}",
                        data=load,
                        model=model | {"family": family, "seed": seed},
                        objective=objective | {"beta": beta},
                        training=training | {"seed": seed},
                        labels={"method": method, "beta": beta, "seed": seed},
                        store_decoder=seed == 0 and beta in kept.get(method, ()),
                    )
                )
    return jobs


def measure(
    model: models.AutoEncoder, train: data.Dataset, test: data.Dataset, job: Job
) -> dict[str, Any]:
    """Values of all objectives and the geometry, on 2,000 training and up to 2,000 test images.

    For each split: `evaluation.approximation_gap` with the optimal covariances (defined for every
    method) as optimal/…, and for β-VAEs with the learned ones as learned/….
    """
    beta = job.labels["beta"]
    metrics: dict[str, Any] = {}
    kinds = ["optimal"] + (["learned"] if job.objective["name"] == "BetaVAE" else [])
    for split, examples in (("train", train), ("test", test)):
        some = examples.subset(min(2000, len(examples)))
        for kind in kinds:
            gap = evaluation.approximation_gap(model, some, beta, covariance=kind, samples=8)
            metrics |= {f"{split}/{kind}/{name}": value for name, value in gap.items()}
        at = evaluation.metrics_at_means(model, some)
        squares = at["metric"].diagonal(dim1=-2, dim2=-1)
        metrics[f"{split}/jacobian_norm"] = float(squares.sum(-1).sqrt().mean())
        metrics[f"{split}/cosine"] = evaluation.block_cosines(at["metric"], 1)["across"]
        metrics[f"{split}/active_units"] = evaluation.active_units(at["mean"])
    return metrics
