"""Rate–distortion curves: the grid and the measurements that several data sets share."""

from __future__ import annotations

import base64
import io
from typing import Any

import torch
from PIL import Image

from .. import data, evaluation, geometry, information, likelihoods, models, objectives, tetrominoes
from ..posteriors import Posterior
from ..training import stream
from .base import Job

#: Twelve values of β from .001 to 5, closer where the curves bend.
BETAS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0, 1.5, 2.5, 5.0)

#: Capacities by name: hidden sizes of encoder and decoder, for two cores and for a GPU.
CAPACITIES = {"depth1": [128], "depth3": [128] * 3}
DEEP = {"depth1": [512], "depth3": [512] * 3, "depth9": [512] * 9, "conv": [64, 128]}
#: The convolutional capacity for two cores: channels, from the picture inwards.
CONVOLUTIONAL = {"conv": [16, 32]}
TRAINING: dict[str, Any] = {
    "batch_size": 64,
    "lr": 1e-3,
    "schedule": "cosine",
    "log_every": 500,
}
LONG: dict[str, Any] = TRAINING | {"steps": 250_000, "batch_size": 128}

#: Examples a split is measured on, drawn once and for all: a grid's first ones are all alike.
POINTS = 2048
#: Examples whose aggregate posterior stands for q(z): log 8,192 = 9.01 nats bound the information.
AGGREGATE = 8192


def grid(
    splits: dict[str, dict[str, Any]],
    hidden: dict[str, list[int]],
    shape: list[int],
    training: dict[str, Any],
    seeds: int,
    betas: tuple[float, ...] = BETAS,
    latent_dim: int = 10,
) -> list[Job]:
    """One job for each split, capacity, β and seed: β-VAEs with a Bernoulli likelihood on logits.

    splits: name → arguments of `data.load`; hidden: capacity's name → hidden sizes; "conv" is the
    name of the convolutional capacity.
    """
    return [
        Job(
            name=f"{split}_{capacity}_beta{beta:g}_seed{seed}",
            data=load,
            model={
                "shape": shape,
                "latent_dim": latent_dim,
                "hidden": sizes,
                "activation": "relu",
                "output": "identity",
                "seed": seed,
            }
            | ({"architecture": "conv"} if capacity == "conv" else {}),
            objective={"name": "BetaVAE", "beta": beta, "likelihood": "bernoulli"},
            training=training | {"seed": seed},
            labels={
                "method": "beta_vae",
                "split": split,
                "capacity": capacity,
                "depth": len(sizes),
                "beta": beta,
                "seed": seed,
            },
        )
        for split, load in splits.items()
        for capacity, sizes in hidden.items()
        for beta in betas
        for seed in range(seeds)
    ]


def smoke(name: str, load: dict[str, Any], shape: list[int]) -> list[Job]:
    """Two β of one small model on 512 examples of a split, 40 steps."""
    few = {name: load | {"n_train": 512, "n_test": 256}}
    short = TRAINING | {"steps": 40, "log_every": 20}
    return grid(few, {"depth1": [32]}, shape, short, seeds=1, betas=(0.1, 1.0))


def _spread(examples: data.Dataset) -> data.Dataset:
    """Up to AGGREGATE examples in an order that is random but always the same."""
    order = torch.randperm(len(examples), generator=stream(0, 5, 0))
    return examples.subset(order[:AGGREGATE])


def _posterior(model: models.AutoEncoder, x: torch.Tensor) -> Posterior:
    with torch.no_grad():
        parts = [model.encode(part) for part in x.split(2048)]
    return Posterior(torch.cat([p.mean for p in parts]), torch.cat([p.factor for p in parts]))


def measure(
    model: models.AutoEncoder, train: data.Dataset, test: data.Dataset, job: Job
) -> dict[str, Any]:
    """Rate, distortion, information and geometry on train and test, as train/… and test/….

    distortion: expected Bernoulli cross-entropy, 4 draws; entropy_floor: the least it can be;
    elbo = −(distortion + rate); objective = distortion + β·rate; mutual_information by the full
    aggregate of up to 8,192 examples, mutual_information_minibatch by batches of 64;
    marginal_kl = rate − mutual_information; jacobian_norm ‖J‖_F of the logits at the encoder's
    means, log_det the GRAE regulariser with G = Jᵀdiag(p(1−p))J, both on 512 examples;
    distortion_at_mean without sampling. All in nats but jacobian_norm and active_units.
    """
    beta = job.labels["beta"]
    metrics: dict[str, Any] = {}
    for name, examples in (("train", train), ("test", test)):
        pool = _spread(examples)
        some = pool.subset(min(POINTS, len(pool)))
        values = evaluation.evaluate(
            model, some, objectives.BetaVAE(beta, likelihood="bernoulli"), samples=4
        )
        posterior = _posterior(model, pool.x)
        full = information.mutual_information(posterior, points=len(some))
        batch = information.mutual_information(
            posterior, estimator="minibatch", points=min(512, len(some))
        )
        few = some.subset(min(512, len(some)))
        at = evaluation.metrics_at_means(model, few, likelihood="bernoulli")
        _, J = geometry.jacobian(model.decoder, at["mean"][:128])
        found = {
            "distortion": values["distortion"],
            "rate": values["rate"],
            "elbo": -(values["distortion"] + values["rate"]),
            "objective": values["distortion"] + beta * values["rate"],
            "entropy_floor": tetrominoes.entropy_floor(some.x),
            "mutual_information": full["mutual_information"],
            "information_bound": full["bound"],
            "information_error": full["standard_error"],
            "mutual_information_minibatch": batch["mutual_information"],
            "marginal_kl": full["marginal_kl"],
            "active_units": evaluation.active_units(posterior.mean),
            "jacobian_norm": float(J.detach().square().sum((-2, -1)).sqrt().mean()),
            "log_det": float(objectives.log_det_regularizer(at["metric"], beta).mean()),
            "distortion_at_mean": float(at["distortion"].mean()),
        }
        metrics |= {f"{name}/{key}": value for key, value in found.items()}
    # Pages draw all shapes, and digits of one network: the store travels with the package.
    drawn = job.data["name"] == "tetrominoes" or job.labels["capacity"] == "depth1"
    if job.labels["seed"] == 0 and drawn:
        for name, examples in (("train", train), ("test", test)):
            metrics[f"{name}/sheet"] = _sheet(model, _spread(examples).subset(8).x)
    return metrics


def _sheet(model: models.AutoEncoder, x: torch.Tensor) -> str:
    """Eight pictures above their reconstructions at the encoder's mean, one PNG, in base64."""
    with torch.no_grad():
        logits = model.decoder(model.encode(x).mean)
    shown = likelihoods.mean(logits, "bernoulli").unflatten(-1, x.shape[1:])
    rows = [torch.cat(list(pictures), dim=-1) for pictures in (x, shown)]
    pixels = (torch.cat(rows, dim=-2) * 255).round().to(torch.uint8)
    picture = pixels[0] if len(pixels) == 1 else pixels.permute(1, 2, 0)
    file = io.BytesIO()
    Image.fromarray(picture.cpu().numpy()).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode()
