"""Mutual information between data and latents, and the gap between the rate and it.

For an encoder q(z|x) and N examples, each with weight 1/N, the aggregate posterior is
q(z) = (1/N) Σ_n q(z|x_n), and the rate splits in two (Hoffman & Johnson 2016; oracle F3):

    R = E_n KL(q(z|x_n) ‖ p(z)) = I_q(x; z) + KL(q(z) ‖ p(z)),      I_q ≤ log N.

`mutual_information` estimates I_q with one of three estimates of q(z). All densities are of the
Gaussian posteriors of this library, all values in nats, all sums in float64.
"""

from __future__ import annotations

import math

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


def _checked(posterior: Posterior, estimator: str, points: int | None, batch_size: int) -> int:
    n = len(posterior.mean)
    if estimator not in ESTIMATORS:
        raise ValueError(
            f"estimator {estimator!r} is unknown; choose one of {', '.join(ESTIMATORS)}."
        )
    if n < 2:
        raise ValueError(f"{n} examples were given; mutual information needs at least two.")
    points = n if points is None else points
    if not 1 <= points <= n:
        raise ValueError(f"points={points} was given; expected 1 to {n}, the number of examples.")
    if estimator != "full" and not 2 <= batch_size <= n:
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
                       most log `batch_size`, and in expectation a lower bound of I_q.
      "leave_one_out"  the mean over the batch without the own example: in expectation an upper
                       bound, of large spread where posteriors hardly overlap (Poole et al. 2019).
    points: how many examples z is drawn for, the first ones (default all), `samples` times each.

    Returns mutual_information; standard_error of it, from the spread over examples; bound, the
    largest value that the estimator can take (infinite for "leave_one_out"); rate, the mean over
    the same points of KL(q(z|x)‖p), in closed form; marginal_kl = rate − mutual_information.
    Raises ValueError for bad input.
    """
    points = _checked(posterior, estimator, points, batch_size)
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
    n = len(posterior.mean)
    rows = []
    for i in range(len(z)):
        # b − 1 other examples without repetition, and the own one in front.
        others = torch.randperm(n - 1, generator=generator)[: b - 1]
        index = torch.cat([torch.tensor([i]), others + (others >= i)]).to(z.device)
        batch = Posterior(posterior.mean[index], posterior.factor[index])
        log_q = log_densities(z[i : i + 1], batch)[0]
        if estimator == "minibatch":
            rows.append(log_q[0] - log_q.logsumexp(0) + math.log(b))
        else:
            rows.append(log_q[0] - log_q[1:].logsumexp(0) + math.log(b - 1))
    return torch.stack(rows).cpu()
