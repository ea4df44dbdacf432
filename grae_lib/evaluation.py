"""Measurements on a trained model: terms of objectives, gaps between them, geometry, samples.

All averages are over examples; everything in nats unless said otherwise. Pass `dtype=torch.float64`
to evaluate a float32 model in double precision; the model given is left as it was.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator

import torch
from torch import Tensor

from . import geometry, likelihoods
from .models import AutoEncoder
from .objectives import Objective, column_regularizer, log_det_regularizer
from .posteriors import Posterior, kl_between, kl_to_standard_normal
from .training import stream


def _prepared(model: AutoEncoder, data, dtype: torch.dtype | None) -> tuple[AutoEncoder, Tensor]:
    """A copy of the model in the wanted precision, and the examples on the model's device."""
    x = data if isinstance(data, Tensor) else data.x
    parameter = next(model.parameters())
    dtype = parameter.dtype if dtype is None else dtype
    frozen = copy.deepcopy(model).to(dtype).requires_grad_(False)
    return frozen, x.to(device=parameter.device, dtype=dtype)


def _batches(x: Tensor, batch_size: int) -> Iterator[Tensor]:
    if len(x) == 0:
        raise ValueError("there are no examples to evaluate; give at least one.")
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} was given; expected an integer ≥ 1.")
    yield from x.split(batch_size)


def terms(
    model: AutoEncoder,
    data,
    objective: Objective,
    *,
    samples: int = 1,
    seed: int = 0,
    batch_size: int = 500,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """Every named term of the objective for every example, each (N,), on the CPU, in nats.

    Sampled objectives are averaged over `samples` draws; the noise is a function of `seed`.
    """
    model, x = _prepared(model, data, dtype)
    parts: dict[str, list[Tensor]] = {name: [] for name in objective.names}
    for block, batch in enumerate(_batches(x, batch_size)):
        generator = stream(seed, 2, block)
        draws = [objective(model, batch, generator) for _ in range(samples)]
        for name, rows in parts.items():
            rows.append(torch.stack([d[name].detach() for d in draws]).mean(0).cpu())
    return {name: torch.cat(rows) for name, rows in parts.items()}


def evaluate(model: AutoEncoder, data, objective: Objective, **settings) -> dict[str, float]:
    """Mean of every named term over the data, in nats; settings as for `terms`."""
    return {k: float(v.mean()) for k, v in terms(model, data, objective, **settings).items()}


def metrics_at_means(
    model: AutoEncoder,
    data,
    *,
    likelihood: str = "gaussian",
    batch_size: int = 500,
    dtype: torch.dtype | None = None,
) -> dict[str, Tensor]:
    """What the geometry is made of, at the encoder's means, on the CPU.

    mean (N, d), covariance (N, d, d) as learned, metric (N, d, d) = Jᵀ(−H_p)J, and distortion (N,)
    of the reconstruction g(mean).
    """
    model, x = _prepared(model, data, dtype)
    rows: dict[str, list[Tensor]] = {}
    for batch in _batches(x, batch_size):
        mean, factor = model.encode(batch)
        x_hat, J = geometry.jacobian(model.decoder, mean)
        found = {
            "mean": mean,
            "covariance": factor @ factor.mT,
            "metric": geometry.pullback_metric(J, likelihoods.precision(batch, x_hat, likelihood)),
            "distortion": likelihoods.distortion(batch, x_hat, likelihood),
        }
        for name, value in found.items():
            rows.setdefault(name, []).append(value.detach().cpu())
    return {name: torch.cat(parts) for name, parts in rows.items()}


def sampled_distortion(
    model: AutoEncoder,
    data,
    mean: Tensor,
    covariance: Tensor,
    *,
    likelihood: str = "gaussian",
    samples: int = 16,
    seed: int = 0,
    batch_size: int = 500,
) -> Tensor:
    """Monte Carlo E[−log p(x|z)], z ~ N(mean, covariance), for each example, (N,), nats.

    mean (N, d) and covariance (N, d, d) in the precision to compute in.
    """
    model, x = _prepared(model, data, mean.dtype)
    factor = torch.linalg.cholesky(covariance)
    rows = []
    for block, batch in enumerate(_batches(x, batch_size)):
        part = slice(block * batch_size, block * batch_size + len(batch))
        posterior = Posterior(mean[part].to(batch.device), factor[part].to(batch.device))
        generator = stream(seed, 3, block)
        total = torch.zeros(len(batch), dtype=batch.dtype, device=batch.device)
        for _ in range(samples):
            noise = torch.randn(*posterior.mean.shape, generator=generator, dtype=batch.dtype)
            z = posterior.sample(noise.to(batch.device))
            total += likelihoods.distortion(batch, model.decoder(z), likelihood)
        rows.append((total / samples).cpu())
    return torch.cat(rows)


def approximation_gap(
    model: AutoEncoder,
    data,
    beta: float,
    *,
    covariance: str = "learned",
    likelihood: str = "gaussian",
    samples: int = 16,
    seed: int = 0,
    batch_size: int = 500,
    dtype: torch.dtype | None = torch.float64,
) -> dict[str, float]:
    """How far the deterministic objective is from the β-VAE's at the same model, and why.

    covariance: "learned", the encoder's; or "optimal", the best of the model's family given the
    decoder's Jacobian, which is what to use for models whose objective trains no covariance.
    Means over the data, in nats:
      beta_vae    the β-VAE objective, its expected distortion by `samples` draws
      taylor      the same with the expected distortion in Gauss–Newton form
      grae        GRAE with the bound that belongs to the model's family (log-det for full, blocks
                  for block, columns for diagonal), at the encoder's means
      log_det, columns   GRAE with these two, whatever the family
      curvature   beta_vae − taylor: what the Taylor expansion leaves out
      covariance  taylor − grae = β·KL(q ‖ optimal q of the family): zero for "optimal" covariances
      bound       columns − log_det: the Hadamard gap, never negative
      distortion, prior   of GRAE: ½‖x − g(h)‖² (or its Bernoulli kin) and (β/2)‖h‖²
      rate        KL(q ‖ p) of the posterior used, in nats, not multiplied by β
    """
    geometry.check_beta(beta)
    if covariance not in ("learned", "optimal"):
        raise ValueError(f"covariance {covariance!r} is unknown; choose 'learned' or 'optimal'.")
    family, block_size = model.config["family"], model.config["block_size"]
    settings = {"likelihood": likelihood, "batch_size": batch_size}
    at = metrics_at_means(model, data, dtype=dtype, **settings)
    sigma = (
        at["covariance"]
        if covariance == "learned"
        else geometry.optimal_covariance(at["metric"], beta, family, block_size)
    )
    rate = kl_to_standard_normal(at["mean"], sigma)
    sampled = beta * rate + sampled_distortion(
        model, data, at["mean"], sigma, samples=samples, seed=seed, **settings
    )
    trace = (at["metric"] * sigma).sum((-2, -1))
    taylor = at["distortion"] + 0.5 * trace + beta * rate
    prior = 0.5 * beta * at["mean"].square().sum(-1)
    base = at["distortion"] + prior
    log_det = base + log_det_regularizer(at["metric"], beta)
    columns = base + column_regularizer(at["metric"], beta)
    precision = geometry.posterior_precision(at["metric"], beta, family, block_size)
    grae = base + 0.5 * beta * torch.linalg.slogdet(precision).logabsdet
    values = {
        "beta_vae": sampled,
        "taylor": taylor,
        "grae": grae,
        "log_det": log_det,
        "columns": columns,
        "curvature": sampled - taylor,
        "covariance": taylor - grae,
        "bound": columns - log_det,
        "distortion": at["distortion"],
        "prior": prior,
        "rate": rate,
    }
    return {name: float(value.mean()) for name, value in values.items()}


def covariance_excess(at: dict[str, Tensor], beta: float, family: str, block_size=None) -> Tensor:
    """β·KL(learned q ‖ optimal q of the family) for each example, (N,), nats.

    at: from `metrics_at_means`. For the full family it is the whole excess of the Taylor objective
    over its minimum in Σ (oracle C1).
    """
    optimal = geometry.optimal_covariance(at["metric"], beta, family, block_size)
    return beta * kl_between(at["mean"], at["covariance"], at["mean"], optimal)


def active_units(mean: Tensor, threshold: float = 0.01) -> int:
    """Number of latents whose encoder mean varies over the data by more than `threshold`.

    mean: (N, d). Variance in units of the prior's, threshold as in Burda et al. 2016.
    """
    return int((mean.var(0) > threshold).sum())


def block_cosines(metric: Tensor, block_size: int) -> dict[str, float]:
    """Mean |cos| between columns of J, inside blocks of `block_size` and across them.

    metric: (N, d, d). Pairs with a column of length zero (a collapsed latent) are left out; where
    no pair is left the value is NaN.
    """
    d = metric.shape[-1]
    cosines = geometry.column_cosines(metric)
    block = torch.arange(d) // block_size
    same = block[:, None] == block[None, :]
    off = ~torch.eye(d, dtype=torch.bool)
    return {
        "inside": float(cosines[:, same & off].nanmean()),
        "across": float(cosines[:, ~same].nanmean()),
    }


def frechet_distance(a: Tensor, b: Tensor) -> float:
    """Squared Fréchet distance between Gaussians fitted to two sets of features (N, k), (M, k):

    ‖m_a − m_b‖² + tr(C_a + C_b − 2(C_a C_b)^½), in squared units of the features. It is named after
    the features' source wherever it is shown; it is FID only with Inception's features.
    """
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"features have shapes {tuple(a.shape)} and {tuple(b.shape)}; expected (N, k), (M, k)."
        )
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{len(a)} and {len(b)} examples were given; a covariance needs two.")
    a, b = a.double(), b.double()
    cov_a, cov_b = a.T.cov(), b.T.cov()
    values, vectors = torch.linalg.eigh(cov_a)
    root = vectors * values.clamp_min(0).sqrt() @ vectors.T
    # tr (C_a C_b)^½ = tr (C_a^½ C_b C_a^½)^½, and the latter matrix is symmetric.
    cross = torch.linalg.eigvalsh(root @ cov_b @ root).clamp_min(0).sqrt().sum()
    shift = (a.mean(0) - b.mean(0)).square().sum()
    return float(shift + cov_a.trace() + cov_b.trace() - 2 * cross)
