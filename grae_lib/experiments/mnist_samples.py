"""Are samples of GRAE as good as samples of the β-VAE, at the six β of the talk's slides?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from .. import data, models, samples
from . import mnist_objectives
from .base import Experiment, Job

#: The β of the slides 'Samples'.
BETAS = (0.02, 0.06, 0.1, 0.4, 0.6, 0.8)
METHODS = ("beta_vae_diagonal", "grae_one_column", "grae_log_det")

#: Independent sets of samples of each model, and training digits that they are compared with (those
#: that the package carries, so that a chapter can measure again).
DRAWS = 5
REAL = 10_000


def jobs(scale: str) -> list[Job]:
    """The runs of `mnist-objectives` at these β and methods, trained in the same way."""
    chosen = [
        replace(job, training=job.training | {"log_every": job.training["steps"]})
        for job in mnist_objectives.jobs(scale)
        if job.labels["method"] in METHODS and (scale == "smoke" or job.labels["beta"] in BETAS)
    ]
    order = sorted(chosen, key=lambda job: METHODS.index(job.labels["method"]))
    return [replace(job, store_decoder=False) for job in order]


def measure(
    model: models.AutoEncoder, train: data.Dataset, test: data.Dataset, job: Job
) -> dict[str, Any]:
    """Each number of `samples.Ruler.measure`, one value for each set of 2,000 samples.

    The latents of set k are the same for every model, so differences of two models are paired.
    """
    real = train.subset(min(REAL, len(train)))
    ruler = samples.Ruler(real)
    found = samples.repeated(ruler, model.decoder, model.latent_dim, DRAWS, n=min(2000, len(real)))
    return {name: [float(f"{v:.6g}") for v in values] for name, values in found.items()}


EXPERIMENT = Experiment(
    name="mnist-samples",
    claim="The proposed deterministic objective exhibits similar behaviour to the β-VAE in terms "
    "of objective value and sample quality (Kumar & Poole 2020, abstract): the samples.",
    jobs=jobs,
    measure=measure,
    needs="MNIST through torchvision (smoke: nothing but the package)",
)
