"""Mutual information between data and latents, and the gap between the rate and it.

For an encoder q(z|x) and N examples, each with weight 1/N, the aggregate posterior is
q(z) = (1/N) Σ_n q(z|x_n), and the rate splits in two (Hoffman & Johnson 2016; oracle F3):

    R = E_n KL(q(z|x_n) ‖ p(z)) = I_q(x; z) + KL(q(z) ‖ p(z)),      I_q ≤ log N.

`mutual_information` estimates I_q with one of three estimates of q(z), `gaussian_case` gives the
exact values of a case to test them on, and `memorising_decoder` is the decoder that is best for a
fixed encoder. All densities are of the Gaussian posteriors of this library, all values in nats, all
sums in float64.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

import torch
from torch import Tensor

from .posteriors import Posterior
from .training import stream

ESTIMATORS = ("full", "minibatch", "leave_one_out")

#: Pairs (sample, example) whose densities are held at once: 64 MiB in float64 for d = 8.
_PAIRS = 1 << 20


def log_densities(z: Tensor, posterior: Posterior) -> Tensor:
    """log q(z_s|x_n) for every sample s and example n, (S, N), in nats.

    z: (S, d). posterior: of N examples. Raises ValueError if the dimensions differ.
    """
    mean, factor = posterior
    n, d = mean.shape
    if z.ndim != 2 or z.shape[-1] != d:
        raise ValueError(f"z has shape {tuple(z.shape)}; expected (S, {d}) as the posterior has.")
    eye = torch.eye(d, dtype=factor.dtype, device=factor.device).expand_as(factor)
    whiten = torch.linalg.solve_triangular(factor, eye, upper=False)
    centre = (whiten @ mean.unsqueeze(-1)).squeeze(-1)
    constant = whiten.diagonal(dim1=-2, dim2=-1).log().sum(-1) - 0.5 * d * math.log(2 * math.pi)
    flat = whiten.flatten(0, 1).mT
    rows = [
        constant - 0.5 * ((part @ flat).unflatten(-1, (n, d)) - centre).square().sum(-1)
        for part in z.split(max(1, _PAIRS // n))
    ]
    return torch.cat(rows)


def _is_count(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _checked(
    posterior: Posterior, estimator: str, points: int | None, batch_size: int, samples: int
) -> int:
    n = len(posterior.mean)
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"estimator {estimator!r} is unknown; choose one of {', '.join(ESTIMATORS)}."
        )
    if n < 2:
        raise ValueError(f"{n} examples were given; mutual information needs at least two.")
    for name, part in (("means", posterior.mean), ("factors", posterior.factor)):
        bad = int((~torch.isfinite(part)).sum())
        if bad:
            raise ValueError(
                f"{bad} of {part.numel()} entries of the posterior's {name} are NaN or infinite; "
                "all must be finite."
            )
    low = float(posterior.factor.diagonal(dim1=-2, dim2=-1).amin())
    if low <= 0:
        raise ValueError(
            f"a factor of the posterior has {low:.3g} on its diagonal; standard deviations must be "
            "above 0."
        )
    if not _is_count(samples) or samples < 1:
        raise ValueError(f"samples={samples!r} was given; expected a whole number, at least 1.")
    points = n if points is None else points
    if not _is_count(points) or not 1 <= points <= n:
        raise ValueError(f"points={points} was given; expected 1 to {n}, the number of examples.")
    if estimator != "full" and not (_is_count(batch_size) and 2 <= batch_size <= n):
        raise ValueError(f"batch_size={batch_size} was given; expected 2 to {n}.")
    return points


def mutual_information(
    posterior: Posterior,
    *,
    estimator: str = "full",
    points: int | None = None,
    batch_size: int = 64,
    samples: int = 1,
    seed: int = 0,
) -> dict[str, float]:
    """I_q(x; z) = E_n E_{z ~ q(z|x_n)} [log q(z|x_n) − log q(z)] by sampling, in nats.

    posterior: of all N examples. estimator says what stands for q(z):
      "full"           the mean over all N examples, own one included: unbiased for the I_q of these
                       N examples; each single value is at most log N.
      "minibatch"      the mean over a random batch of `batch_size` with the own example in it: at
                       most log `batch_size`, and in expectation a lower bound of I_q, because
                       the information is concave in the distribution of x.
      "leave_one_out"  the mean over the batch without the own example: in expectation an upper
                       bound, of large spread where posteriors hardly overlap (Poole et al. 2019).
    If the examples are themselves a sample, the information of all that could be sampled is larger
    than theirs: to first order by (χ² − 1)/2N, see `gaussian_case`.
    points: how many examples z is drawn for, the first ones (default all), `samples` times each.

    Returns mutual_information; standard_error of it, from the spread over examples; bound, the
    largest value that the estimator can take (infinite for "leave_one_out"); rate, the mean over
    the same points of KL(q(z|x)‖p), in closed form; marginal_kl = rate − mutual_information.
    Raises ValueError for bad input.
    """
    points = _checked(posterior, estimator, points, batch_size, samples)
    posterior = Posterior(posterior.mean.detach().double(), posterior.factor.detach().double())
    mean, factor = posterior
    n = len(mean)
    generator = stream(seed, 4, 0)
    own = Posterior(mean[:points], factor[:points])
    found = torch.zeros(points, dtype=torch.float64)
    for _ in range(samples):
        noise = torch.randn(points, mean.shape[-1], generator=generator, dtype=torch.float64)
        z = own.sample(noise.to(mean.device))
        if estimator == "full":
            found += _against_all(z, posterior)
        else:
            found += _against_batches(z, posterior, estimator, batch_size, generator)
    found /= samples
    information, rate = float(found.mean()), float(own.kl().mean())
    bounds = {"full": math.log(n), "minibatch": math.log(batch_size), "leave_one_out": math.inf}
    return {
        "mutual_information": information,
        "standard_error": float(found.std()) / math.sqrt(points) if points > 1 else math.nan,
        "bound": bounds[estimator],
        "rate": rate,
        "marginal_kl": rate - information,
    }


def _against_all(z: Tensor, posterior: Posterior) -> Tensor:
    n = len(posterior.mean)
    rows, start = [], 0
    for part in z.split(max(1, _PAIRS // n)):
        log_q = log_densities(part, posterior)
        index = torch.arange(start, start + len(part), device=z.device)
        own = log_q.gather(-1, index.unsqueeze(-1)).squeeze(-1)
        rows.append(own - log_q.logsumexp(-1) + math.log(n))
        start += len(part)
    return torch.cat(rows).cpu()


def _against_batches(
    z: Tensor, posterior: Posterior, estimator: str, b: int, generator: torch.Generator
) -> Tensor:
    n, d = posterior.mean.shape
    rows, start = [], 0
    for part in z.split(max(1, _PAIRS // (b * d))):
        index = []
        for i in range(start, start + len(part)):
            # b − 1 other examples without repetition, and the own one in front.
            others = torch.randperm(n - 1, generator=generator)[: b - 1]
            index.append(torch.cat([torch.tensor([i]), others + (others >= i)]))
        chosen = torch.stack(index).to(z.device)
        shift = (part[:, None] - posterior.mean[chosen]).unsqueeze(-1)
        factor = posterior.factor[chosen]
        white = torch.linalg.solve_triangular(factor, shift, upper=False).squeeze(-1)
        log_det = factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        # The constant (d/2) log 2π is left out: it is the same in every density.
        log_q = -0.5 * white.square().sum(-1) - log_det
        if estimator == "minibatch":
            rows.append(log_q[:, 0] - log_q.logsumexp(-1) + math.log(b))
        else:
            rows.append(log_q[:, 0] - log_q[:, 1:].logsumexp(-1) + math.log(b - 1))
        start += len(part)
    return torch.cat(rows).cpu()


def gaussian_case(latent_dim: int, noise: float) -> dict[str, float]:
    """Exact values for x ~ N(0, I_d), q(z|x) = N(x, s²I) and p(z) = N(0, I), in nats.

    latent_dim: d; noise: s. Then q(z) = N(0, (1 + s²)I) and
      mutual_information  (d/2) log(1 + 1/s²)
      marginal_kl         KL(q(z)‖p) = (d/2)(s² − log(1 + s²))
      rate                their sum, (d/2)(s² − log s²)
      chi_square          E_x ∫ q(z|x)²/q(z) dz − 1 = (1 + 1/s²)^d − 1 (no unit): with K independent
                          examples standing for q(z), "minibatch" (and "full" with K = N) is low by
                          χ²/2K and "leave_one_out" high by χ²/2(K − 1), to first order in 1/K.
    Raises ValueError for d < 1 or s ≤ 0.
    """
    if not _is_count(latent_dim) or latent_dim < 1:
        raise ValueError(
            f"latent_dim={latent_dim!r} was given; expected a whole number, 1 or more."
        )
    if not (math.isfinite(noise) and noise > 0):
        raise ValueError(f"noise={noise!r} was given; expected a standard deviation above 0.")
    half, variance = 0.5 * latent_dim, noise**2
    return {
        "mutual_information": half * math.log1p(1 / variance),
        "marginal_kl": half * (variance - math.log1p(variance)),
        "rate": half * (variance - math.log(variance)),
        "chi_square": (1 + 1 / variance) ** latent_dim - 1,
    }


def gaussian_posterior(n: int, latent_dim: int, noise: float, seed: int = 0) -> Posterior:
    """Posteriors N(x_n, s²I) of n draws x_n ~ N(0, I_d), in float64: the case above, sampled."""
    gaussian_case(latent_dim, noise)
    mean = torch.randn(n, latent_dim, generator=stream(seed, 6, 0), dtype=torch.float64)
    factor = noise * torch.eye(latent_dim, dtype=torch.float64)
    return Posterior(mean, factor.expand(n, latent_dim, latent_dim))


def memorising_decoder(z: Tensor, posterior: Posterior, x: Tensor) -> Tensor:
    """The decoder that is best for a fixed encoder: Σ_n w_n(z) x_n, w_n ∝ q(z|x_n) (oracle F4).

    z: (S, d); posterior: of the N examples x (N, *shape). Returns (S, *shape), in the precision of
    x: for the Gaussian likelihood the mean, for the Bernoulli likelihood the probability, with the
    least distortion on these examples that any decoder can have. No rate is smaller for it: it is
    what a network of unlimited capacity would learn, and so the reference for memorising.
    """
    if len(x) != len(posterior.mean):
        raise ValueError(
            f"{len(x)} examples and {len(posterior.mean)} posteriors were given; expected one "
            "posterior for each example."
        )
    posterior = Posterior(posterior.mean.double(), posterior.factor.double())
    weights = log_densities(z.double(), posterior).softmax(-1)
    return (weights @ x.flatten(1).double()).to(x.dtype).unflatten(-1, x.shape[1:])


def known_case(
    d: int, s: float, estimator: str, n: int = 256, batch: int = 64, repeats: int = 40
) -> dict[str, Any]:
    """Bias and spread of one estimator where the truth is known, over fresh draws of n examples.

    d, s: as for `gaussian_case`; batch: size of the batches of the two batch estimators. Returns
    d, s, estimator, and in nats truth, bias, `first order` (what expanding the logarithm to first
    order predicts of the bias: ∓χ²/2K), spread, and z = (bias − first order) in standard errors,
    which means nothing where χ²/K is large.
    """
    truth = gaussian_case(d, s)
    values = [
        mutual_information(
            gaussian_posterior(n, d, s, seed),
            estimator=estimator,
            points=min(64, n),
            batch_size=batch,
            seed=seed,
        )["mutual_information"]
        for seed in range(repeats)
    ]
    bias = statistics.fmean(values) - truth["mutual_information"]
    k = {"full": -n, "minibatch": -batch, "leave_one_out": batch - 1}[estimator]
    predicted = truth["chi_square"] / (2 * k)
    spread = statistics.stdev(values)
    return {
        "d": d,
        "s": s,
        "truth": truth["mutual_information"],
        "estimator": estimator,
        "bias": bias,
        "first order": predicted,
        "spread": spread,
        "z": (bias - predicted) / (spread / math.sqrt(repeats)),
    }
