"""Which turns of the latent space does a variational family tell apart?

A rotation r keeps the prior N(0, I), so the model turned by r has the same marginal p(x). Turning
the model is as good as turning the family back: max over q ∈ Q of the ELBO of the turned model is
the max over r⁻¹#Q of the ELBO of the model as it was. Here are the tools that the chapter on
uniqueness computes this with: the closed form of the gap for Gaussian posteriors, the best ELBO of
the toy model x = ν(Wz) + ε at any rotation with the encoder refitted and no sampling, the moments
behind the theorem of Darmois and Skitovich, and statistics of angles.

Angles are in degrees. A rotation by θ turns the latent z into z' = R(θ) z, and so the decoder's
matrix W into W R(θ)ᵀ.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import geometry, posteriors
from .data import LEAKY_RELU_SLOPE, NONLINEARITIES
from .models import AutoEncoder

#: Families with one Σ for all x, which the encoder of the toy model may use.
TOY_FAMILIES = ("shared_diagonal", "shared")


# Rotations and the gap ---------------------------------------------------------------------------


def plane_rotation(theta: float, latent_dim: int = 2, i: int = 0, j: int = 1) -> Tensor:
    """The matrix (d, d), float64, that turns axis i towards axis j by θ degrees."""
    if not (0 <= i < latent_dim and 0 <= j < latent_dim and i != j):
        raise ValueError(
            f"axes i={i}, j={j} were given; expected two different ones of 0…{latent_dim - 1}."
        )
    c, s = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    rotation = torch.eye(latent_dim, dtype=torch.float64)
    rotation[i, i] = rotation[j, j] = c
    rotation[i, j], rotation[j, i] = -s, s
    return rotation


def swirl(z: Tensor, strength: float = 60.0) -> Tensor:
    """Turn each z by an angle that grows with its length, `strength` degrees a unit: (N, 2).

    Lengths and, at each length, the uniform law of directions are kept: a transform that is not
    linear and still keeps N(0, I).
    """
    angle = z.norm(dim=-1) * math.radians(strength)
    c, s = angle.cos(), angle.sin()
    return torch.stack([c * z[:, 0] - s * z[:, 1], s * z[:, 0] + c * z[:, 1]], -1)


def turned_metric(metric: Tensor, rotation: Tensor) -> Tensor:
    """R G Rᵀ, (..., d, d): the pullback metric in the turned coordinates z' = R z."""
    return rotation @ metric @ rotation.mT


def mean_field_gap(theta: float | Tensor, a: float, b: float, beta: float = 1.0) -> float | Tensor:
    """What a diagonal Σ pays at angle θ, in nats: closed form for d = 2 and orthogonal columns.

    (β/2)·log[1 + (A − B)² sin²2θ / (4(1 + A)(1 + B))] with A = a/β, B = b/β (oracle C4). theta in
    degrees, a number or a tensor; a, b: squared norms of the two columns of J at θ = 0, in units of
    the noise variance. Zero iff a = b or θ is a multiple of 90°.

    >>> round(mean_field_gap(45, a=1600, b=100), 4), mean_field_gap(45, a=100, b=100)
    (0.7497, 0.0)
    """
    geometry.check_beta(beta)
    for name, value in (("a", a), ("b", b)):
        if not math.isfinite(value) or value < 0:
            raise ValueError(f"{name}={value!r} was given; a squared norm is finite and ≥ 0.")
    sine = torch.as_tensor(theta, dtype=torch.float64).mul(2).deg2rad().sin()
    scale = (a - b) ** 2 / (4 * (beta + a) * (beta + b))
    gap = beta / 2 * torch.log1p(scale * sine.square())
    return gap if isinstance(theta, Tensor) else float(gap)


def family_gap(
    metric: Tensor, beta: float = 1.0, family: str = "full", block_size: int | None = None
) -> Tensor:
    """By how many nats the best Σ of a family falls short of the best full Σ, (B,).

    β·KL(q‖q_full) = (β/2)(Σ_B log|P_BB| − log|P|), P = I + G/β, B the family's blocks (oracle C1).
    metric: (B, d, d). Never negative, by Fischer's inequality, for
    families with one Σ for each x; for the shared ones only the mean over x is β·KL and ≥ 0.
    """
    structured = geometry.posterior_precision(metric, beta, family, block_size)
    full = geometry.posterior_precision(metric, beta)
    return beta / 2 * (torch.linalg.slogdet(structured)[1] - torch.linalg.slogdet(full)[1])


# The toy model without sampling ------------------------------------------------------------------


class ToyFit(NamedTuple):
    """A fitted toy VAE: decoder ν(Az) + b, encoder N(Cx + c, Σ), and its loss.

    A (n, d), b (n,), C (d, n), c (d,), covariance (d, d); negative_elbo: mean over the data, nats,
    without the constant (n/2)·log 2πσ².
    """

    A: Tensor
    b: Tensor
    C: Tensor
    c: Tensor
    covariance: Tensor
    negative_elbo: float


def toy_negative_elbo(
    x: Tensor,
    A: Tensor,
    b: Tensor,
    mean: Tensor,
    factor: Tensor,
    nu: str,
    noise_std: float,
    nodes: int = 16,
) -> Tensor:
    """−ELBO of each x, (B,), in nats, for p(x|z) = N(ν(Az) + b, σ²I) and q = N(mean, LLᵀ).

    x (B, n), A (n, d), b (n,), mean (B, d), factor L (d, d). Entry k of the decoder sees z only
    through aₖᵀz, a Gaussian in one dimension; so the expectation over q is n integrals over a line
    and nothing is sampled. In closed form for the leaky ReLU, by Gauss–Hermite quadrature on
    `nodes` points for the others: exact for the linear ν, and for smooth ν up to an error that
    falls fast with the number of points. Left out: (n/2)·log 2πσ².
    """
    if nu not in NONLINEARITIES:
        raise ValueError(f"nu={nu!r} is unknown; choose one of {', '.join(NONLINEARITIES)}.")
    spread = (A @ factor).square().sum(-1).sqrt()
    residual = x - b
    if nu == "leaky_relu":
        # Quadrature converges slowly where there is a kink, and here it is not needed.
        first, second = _leaky_relu_moments(mean @ A.mT, spread)
        squared = residual.square() - 2 * residual * first + second
    else:
        points, weights = np.polynomial.hermite_e.hermegauss(nodes)
        points = torch.as_tensor(points, dtype=x.dtype)
        weights = torch.as_tensor(weights / weights.sum(), dtype=x.dtype)
        arguments = (mean @ A.mT).unsqueeze(-1) + spread.unsqueeze(-1) * points
        squared = (residual.unsqueeze(-1) - NONLINEARITIES[nu](arguments)).square() @ weights
    distortion = 0.5 * squared.sum(-1)
    return (
        distortion / noise_std**2 + posteriors.Posterior(mean, factor.expand(len(x), -1, -1)).kl()
    )


def _leaky_relu_moments(mean: Tensor, std: Tensor) -> tuple[Tensor, Tensor]:
    """E ν(y) and E ν(y)² of the leaky ReLU for y ~ N(mean, std²), std > 0, elementwise.

    With u = mean/std: E y⁺ = mean·Φ(u) + std·φ(u), E (y⁺)² = (mean² + std²)·Φ(u) + mean·std·φ(u).
    """
    u = mean / std
    above = torch.special.ndtr(u)
    density = torch.exp(-0.5 * u.square()) / math.sqrt(2 * math.pi)
    part = mean * above + std * density
    square = (mean.square() + std.square()) * above + mean * std * density
    s = LEAKY_RELU_SLOPE
    return (
        s * mean + (1 - s) * part,
        s**2 * (mean.square() + std.square()) + (1 - s**2) * square,
    )


def fit_toy(
    x: Tensor,
    nu: str,
    noise_std: float,
    family: str,
    *,
    decoder: tuple[Tensor, Tensor] | None = None,
    start: ToyFit | None = None,
    seed: int = 0,
    iterations: int = 400,
) -> ToyFit:
    """Fit the toy VAE, or only its encoder, to a minimum of the exact objective by L-BFGS.

    x: (N, n), used in float64. family: "shared_diagonal" or "shared". decoder: (A, b) to hold
    fixed, so that only C, c and Σ are fitted; without it A and b are fitted too. start: where to
    begin (its Σ is cut to the family); otherwise two latents and weights drawn from `seed`.
    """
    if family not in TOY_FAMILIES:
        raise ValueError(f"family {family!r} was given; choose one of {', '.join(TOY_FAMILIES)}.")
    if not noise_std > 0:
        raise ValueError(f"noise_std={noise_std!r} was given; expected a number > 0.")
    x = x.detach().double()
    if start is None:
        A, b = _random_decoder(x.shape[1], seed) if decoder is None else decoder
        A, b = A.double(), b.double()
        C, c = torch.linalg.pinv(A), -torch.linalg.pinv(A) @ x.mean(0)
        covariance = 0.01 * torch.eye(A.shape[1], dtype=torch.float64)
    else:
        A, b, C, c, covariance, _ = start
        A, b = (A, b) if decoder is None else decoder
    d = A.shape[1]
    mask = posteriors.structure_mask(d, family, like=covariance)
    factor = torch.linalg.cholesky(covariance * mask)
    below = torch.tril(torch.ones(d, d), -1).bool()
    free = [C.clone(), c.clone(), factor.diagonal().log(), factor[below].clone()]
    free += [] if decoder is not None else [A.clone(), b.clone()]
    free = [value.detach().requires_grad_() for value in free]
    optimizer = torch.optim.LBFGS(
        free,
        max_iter=iterations,
        history_size=20,
        tolerance_grad=1e-9,
        tolerance_change=1e-13,
        line_search_fn="strong_wolfe",
    )

    def current():
        C, c, log_scale, rest, *own = free
        lower = torch.zeros(d, d, dtype=torch.float64).masked_scatter(below, rest) * mask
        lower = lower + torch.diag(log_scale.exp())
        return *(own or (A.double(), b.double())), C, c, lower

    def loss():
        A, b, C, c, lower = current()
        return toy_negative_elbo(x, A, b, x @ C.mT + c, lower, nu, noise_std).mean()

    def closure():
        optimizer.zero_grad()
        value = loss()
        value.backward()
        return value

    optimizer.step(closure)
    with torch.no_grad():
        A, b, C, c, lower = (value.detach().clone() for value in current())
        return ToyFit(A, b, C, c, lower @ lower.mT, float(loss()))


def _random_decoder(n: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=generator, dtype=torch.float64), torch.zeros(n).double()


def turn(fit: ToyFit, rotation: Tensor) -> ToyFit:
    """The same model and the same q in coordinates z' = R z: the ELBO does not change.

    What may change is the family: RΣRᵀ of a diagonal Σ need not be diagonal.
    """
    return fit._replace(
        A=fit.A @ rotation.mT,
        C=rotation @ fit.C,
        c=rotation @ fit.c,
        covariance=rotation @ fit.covariance @ rotation.mT,
    )


def turn_model(model: AutoEncoder, rotation: Tensor) -> AutoEncoder:
    """A copy of a toy model with its latents turned: the same decoder and posteriors, new axes.

    model: `models.build("toy", …, family="shared")`; rotation: R (d, d), so that z' = Rz. Decoder
    ν(ARᵀz') + b, encoder N(RCx + Rc, RΣRᵀ). Every objective that a rotation leaves alone has the
    same value for both. Raises ValueError for another family, which may not hold RΣRᵀ.
    """
    made = {name: model.config[name] for name in ("architecture", "family")}
    if made != {"architecture": "toy", "family": "shared"}:
        raise ValueError(f"{made} was given; only the toy with family 'shared' can be turned.")
    turned = copy.deepcopy(model)
    weights = turned.encoder.trunk.get_submodule("1")
    assert isinstance(weights, torch.nn.Linear)
    R = rotation.to(weights.weight)
    with torch.no_grad():
        factor = turned.encode(weights.weight.new_zeros(1, *model.config["shape"])).factor[0]
        factor = torch.linalg.cholesky(R @ factor @ factor.T @ R.T)
        rows, columns = torch.tril_indices(*factor.shape, offset=-1)
        raw = torch.cat([factor.diagonal().log(), factor[rows, columns]])
        turned.encoder.shared_raw.copy_(raw)
        turned.decoder.weight.copy_(turned.decoder.weight @ R.T)
        weights.weight.copy_(R @ weights.weight)
        weights.bias.copy_(R @ weights.bias)
    return turned


def align(A: Tensor, covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Turn a model so that its Σ is diagonal, smallest variance first: (A Rᵀ, RΣRᵀ).

    The only turn, up to signs and order, that puts a full-Σ optimum into the diagonal family,
    provided Σ has distinct eigenvalues.
    """
    variances, vectors = torch.linalg.eigh(covariance)
    return A @ vectors, torch.diag(variances)


def best_along_rotation(
    x: Tensor,
    decoder: tuple[Tensor, Tensor],
    nu: str,
    noise_std: float,
    thetas: Sequence[float],
    family: str,
    iterations: int = 80,
) -> list[ToyFit]:
    """For each θ the toy model with decoder ν(A R(θ)ᵀ z) + b, its encoder refitted in the family.

    x (N, n), decoder (A, b) with A (n, 2), thetas in degrees. The fit at θ starts from the best
    full-Σ fit at θ = 0, turned: the mean of q is then right already, and Σ remains to be found.
    """
    base = fit_toy(x, nu, noise_std, "shared", decoder=decoder)
    found = []
    for theta in thetas:
        turned = turn(base, plane_rotation(theta))
        fixed = (turned.A, turned.b)
        found.append(
            fit_toy(x, nu, noise_std, family, decoder=fixed, start=turned, iterations=iterations)
        )
    return found


# Moments and angles ------------------------------------------------------------------------------


class Moments(NamedTuple):
    """Two numbers that vanish if y₁ and y₂ are independent, with standard errors."""

    covariance: float
    covariance_error: float
    squares: float
    squares_error: float


def independence_moments(y: Tensor) -> Moments:
    """cov(y₁, y₂) and cov(y₁², y₂²) of samples y (N, 2), each with its standard error.

    For independent unit-variance latents of excess kurtosis κ turned by 45° the second is κ/2
    (oracle C6); for different ones, (κ₁ + κ₂)/4: zero for Gaussians, and for κ₁ = −κ₂.
    """
    if y.ndim != 2 or y.shape[1] != 2 or len(y) < 2:
        raise ValueError(f"y has shape {tuple(y.shape)}; expected (N, 2) with N ≥ 2.")
    y = y.double() - y.double().mean(0)
    found: list[float] = []
    for pair in (y, y.square() - y.square().mean(0)):
        products = pair[:, 0] * pair[:, 1]
        found += [float(products.mean()), float(products.std() / math.sqrt(len(y)))]
    return Moments(*found)


def circular_mean(angles: Tensor, period: float = 90.0) -> float:
    """Mean direction of angles that are equal modulo `period`, in [0, period), same unit."""
    phase = torch.as_tensor(angles, dtype=torch.float64) * (2 * math.pi / period)
    mean = torch.atan2(phase.sin().mean(), phase.cos().mean())
    return float(mean * period / (2 * math.pi)) % period


def circular_spread(angles: Tensor, period: float = 90.0) -> tuple[float, float]:
    """Resultant length in [0, 1] and circular standard deviation √(−2 log length), in degrees.

    Length 1: all angles agree modulo `period`; about 1/√N: N angles drawn uniformly.
    """
    phase = torch.as_tensor(angles, dtype=torch.float64) * (2 * math.pi / period)
    length = min(float(torch.hypot(phase.sin().mean(), phase.cos().mean())), 1.0)
    spread = math.sqrt(-2 * math.log(length)) if length > 0 else math.inf
    return length, spread * period / (2 * math.pi)
