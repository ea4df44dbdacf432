"""Does a mean-field posterior single out a rotation of the latents where the likelihood cannot?

The toy of the talk: x = ν(Wz) + ε with ε of standard deviation .05, decoder ν(Az) + b, encoder
N(Cx + d, Σ) with one Σ for all x, diagonal or full.
"""

from __future__ import annotations

import math
from typing import Any

import torch

from .. import data, evaluation, models
from .base import Experiment, Job

NOISE = 0.05

#: Column norms of W. With equal ones and a linear ν the optimal posterior is isotropic and no
#: family chooses; other ν can break the symmetry themselves.
COLUMN_NORMS = {"anisotropic": [2.0, 0.5], "isotropic": [1.0, 1.0]}
NONLINEARITIES = ("linear", "tanh", "leaky_relu", "softplus")

#: Steps of a run at the scales cpu and gpu. Softplus with different norms has a long shallow
#: valley: after 6,000 steps the ELBO is .1 nats short of its maximum and seeds disagree; after
#: 24,000 it is within .002.
STEPS = 6000
LONGER = {("softplus", "anisotropic"): 24_000}

#: The library's names of the same functions among a decoder's outputs.
_OUTPUT = {"linear": "identity"}


def jobs(scale: str) -> list[Job]:
    """smoke: one ν, one seed. cpu: 4 ν, 2 W, 2 families, 8 seeds. gpu: 32 seeds."""
    seeds = {"smoke": 1, "cpu": 8, "gpu": 32}[scale]
    nus = NONLINEARITIES[:1] if scale == "smoke" else NONLINEARITIES
    found = []
    for nu in nus:
        for spread, norms in COLUMN_NORMS.items():
            steps = 200 if scale == "smoke" else LONGER.get((nu, spread), STEPS)
            for family in ("shared_diagonal", "shared"):
                for seed in range(seeds):
                    labels = {"nu": nu, "W": spread, "family": family, "seed": seed}
                    found.append(
                        Job(
                            name=f"{nu}_{spread}_{family}_seed{seed}",
                            data={
                                "name": "toy",
                                "nu": nu,
                                "column_norms": norms,
                                "seed": 0,
                                "n": 4000,
                                "noise_std": NOISE,
                            },
                            model={
                                "architecture": "toy",
                                "shape": [3],
                                "latent_dim": 2,
                                "hidden": [],
                                "output": _OUTPUT.get(nu, nu),
                                "family": family,
                                "seed": seed,
                            },
                            # β = 1 in units of the noise variance: the distortion has unit
                            # variance, so that the β-VAE is the ELBO of the generating model.
                            objective={"name": "BetaVAE", "beta": NOISE**2},
                            training={
                                "steps": steps,
                                "batch_size": 200,
                                "lr": 0.1,
                                "schedule": "cosine",
                                "log_every": 200,
                                "seed": seed,
                            },
                            labels=labels,
                        )
                    )
    return found


def rotation(A: torch.Tensor, W: torch.Tensor) -> float:
    """By how many degrees the model's latents are turned against the true ones, in [0, 90).

    A, W: (n, 2). The columns of Q = W⁺A are the model's latents as directions in the true latent
    space. Signs and order of latents are left open, which is what 'up to 90°' means; the two
    columns' angles are averaged on the circle of that length.
    """
    Q = torch.linalg.pinv(W) @ A
    fourfold = 4 * torch.atan2(Q[1], Q[0])
    mean = torch.atan2(fourfold.sin().sum(), fourfold.cos().sum())
    return float(torch.rad2deg(mean / 4) % 90)


def measure(
    model: models.AutoEncoder, train: data.Dataset, test: data.Dataset, job: Job
) -> dict[str, Any]:
    """The rotation found, its distance from the true axes, A, Σ and the negative ELBO (nats)."""
    options = {k: v for k, v in job.data.items() if k != "name"}
    _, truth = data.toy_model(**options)
    A = model.decoder.weight.detach().double()
    turned = rotation(A, truth.W)
    values = evaluation.evaluate(model, test, job.make_objective(), samples=16, dtype=torch.float64)
    sigma = model.encode(test.x[:1]).covariance[0].detach()
    return {
        "rotation": turned,
        "angle": min(turned, 90 - turned),
        "A": A.tolist(),
        "covariance": sigma.tolist(),
        # Divided by the noise variance these are nats under the generating model (oracle A1).
        "negative_elbo": values["total"] / NOISE**2,
        "rate": values["rate"],
        "correlation": float(sigma[0, 1] / math.sqrt(sigma[0, 0] * sigma[1, 1])),
    }


EXPERIMENT = Experiment(
    name="toy-uniqueness",
    claim="The choice of the variational family can lead to uniqueness even if the true posterior "
    "is outside it (Kumar & Poole 2020, slides 'Uniqueness via variational family').",
    jobs=jobs,
    measure=measure,
)
