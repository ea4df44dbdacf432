"""Does the deterministic objective take the values that the β-VAE takes, over β, on MNIST?"""

from __future__ import annotations

from ._objectives import BETAS, grid, measure
from .base import Experiment, Job

#: Decoders that pages draw. The store travels with the package, so there are no others.
_DRAWN = tuple(beta for beta in BETAS if beta != 0.2)
STORED = {
    "beta_vae_diagonal": _DRAWN,
    "grae_log_det": _DRAWN[:-1],
    "grae_one_column": _DRAWN[:-1],
}


def jobs(scale: str) -> list[Job]:
    """smoke: two β, one seed, embedded digits. cpu: 9 β, 3 seeds. gpu: 9 β, 5 seeds, longer."""
    model = {"shape": [1, 28, 28], "latent_dim": 8, "hidden": [128, 128], "activation": "tanh"}
    training = {"batch_size": 64, "lr": 3e-3, "schedule": "cosine", "log_every": 100}
    if scale == "smoke":
        return grid(
            {"name": "mnist", "n_train": 1000, "n_test": 200},
            model | {"hidden": [32]},
            training | {"steps": 60, "log_every": 20, "checkpoint_every": 20},
            seeds=1,
            betas=(0.1, 1.0),
            stored=dict.fromkeys(("beta_vae_diagonal", "grae_log_det"), BETAS),
        )
    full = {"name": "mnist", "source": "torchvision", "n_test": 2000}
    if scale == "cpu":
        return grid(full, model, training | {"steps": 2000}, seeds=3, stored=STORED)
    longer = training | {"steps": 30000, "batch_size": 128}
    return grid(full, model, longer, seeds=5, stored=STORED)


EXPERIMENT = Experiment(
    name="mnist-objectives",
    claim="The proposed deterministic objective exhibits similar behaviour to the β-VAE in terms "
    "of objective value and sample quality (Kumar & Poole 2020, abstract).",
    jobs=jobs,
    measure=measure,
    needs="MNIST through torchvision (smoke: nothing but the package)",
)
