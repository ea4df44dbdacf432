"""What is measured for each claim: functions of the store, or closed forms computed on the spot.

Each function takes the store's folder and returns observations. An observation is a sample of
numbers with a bound; whether it holds is a comparison, made here and nowhere typed. The bounds were
set with the sources' wording in view ('unique', 'similar', 'reduces') and are ours.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from .. import (
    data,
    geometry,
    likelihoods,
    models,
    objectives,
    paths,
    posteriors,
    results,
    rotations,
)
from ..experiments._objectives import BETAS
from ..experiments.mnist_structure import SETTINGS
from . import values

F64 = torch.float64
#: Closed forms agree to this in double precision.
EXACT = 1e-9


@dataclass(frozen=True)
class Observation:
    """A sample of numbers, what it is, and the bounds that it must meet.

    sample: one number a seed (or a setting); None where its results are not stored, and then
    `missing` says how to make them. every: the bounds hold for each number, not just their mean.
    pooled: the sample runs over settings as well as seeds, so that its range is shown and no
    spread.
    """

    what: str
    sample: tuple[float, ...] | None
    at_least: float | None = None
    at_most: float | None = None
    unit: str = ""
    digits: int = 2
    seeds: int | None = None
    every: bool = False
    pooled: bool = False
    missing: str = ""

    @property
    def value(self) -> float:
        """The mean of the sample; NaN where nothing is stored."""
        return sum(self.sample) / len(self.sample) if self.sample else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation of the sample, 0 for a single number."""
        return values.STATISTICS["spread"](self.sample) if self.sample else math.nan

    @property
    def holds(self) -> bool | None:
        """Whether the bounds are met; None where nothing is stored."""
        if not self.sample:
            return None
        tested = self.sample if self.every else (self.value,)
        low = -math.inf if self.at_least is None else self.at_least
        high = math.inf if self.at_most is None else self.at_most
        # NaN compares false, so a number that is none never meets a bound.
        return all(low <= v <= high for v in tested)

    @property
    def bound(self) -> str:
        """The bounds in words."""
        low, high = (None if v is None else _short(v) for v in (self.at_least, self.at_most))
        if low is not None and high is not None:
            text = f"{low} to {high}"
        else:
            text = f"≥ {low}" if low is not None else f"≤ {high}"
        return text + (" for every one" if self.every and len(self.sample or ()) != 1 else "")

    @property
    def text(self) -> str:
        """Number with spread and unit as a table shows it; rounding errors as one bound."""
        if not self.sample:
            return "not stored"
        # Rounding differs between processors; that it is rounding does not.
        if abs(self.value) < EXACT and (self.at_most or 0) <= EXACT * 10 and self.at_least is None:
            return "below 10⁻⁹"
        small = 0 < abs(self.value) < 0.5 * 10**-self.digits and self.holds is False
        shown = f"{self.value:.0e}" if small else f"{self.value:.{self.digits}f}"
        if len(self.sample) > 1 and self.seeds and not self.pooled:
            shown += f" ± {self.spread:.{self.digits}f}"
        elif len(self.sample) > 1:
            shown += f" ({min(self.sample):.{self.digits}f} to {max(self.sample):.{self.digits}f})"
        unit = self.unit if self.unit in ("°", "") else f" {self.unit}"
        return (shown + unit).replace("-", "−")


def _short(value: float) -> str:
    """A bound as people write it: powers of ten with an exponent, a true minus sign."""
    if 0 < abs(value) < 1e-3:
        power = f"{math.log10(abs(value)):.0f}".translate(
            str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
        )
        if math.isclose(10 ** round(math.log10(abs(value))), abs(value)):
            return ("−" if value < 0 else "") + f"10{power}"
    return f"{value:g}".replace("-", "−")


Sample = float | Tensor | Sequence[float]


def _numbers(found: Sample) -> tuple[float, ...]:
    if isinstance(found, Tensor):
        return tuple(found.detach().double().flatten().tolist())
    return tuple(map(float, found)) if isinstance(found, Sequence) else (float(found),)


def computed(what: str, found: Sample, **bounds) -> Observation:
    """An observation computed on the spot."""
    return Observation(what, _numbers(found), **bounds)


def stored(what: str, measure: Callable[[], Sample], **bounds) -> Observation:
    """An observation from the store; one without numbers where the results are not there."""
    try:
        return Observation(what, _numbers(measure()), **bounds)
    except results.MissingResult as missing:
        return Observation(what, None, missing=str(missing), **bounds)


Evidence = Callable[[Path], list[Observation]]


def _draw(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=_draw(seed), dtype=F64)


def _orthogonal(d: int, seed: int) -> Tensor:
    return torch.linalg.qr(_normal(d, d, seed=seed)).Q


def _log_marginal(W: Tensor, x: Tensor, noise: float = 0.05) -> Tensor:
    covariance = W @ W.T + noise**2 * torch.eye(len(W), dtype=F64)
    zero = torch.zeros(len(W), dtype=F64)
    return torch.distributions.MultivariateNormal(zero, covariance).log_prob(x).mean()


def _network(activation: str, d: int = 2, n: int = 12, seed: int = 1) -> torch.nn.Module:
    net = models.build(
        shape=[n], latent_dim=d, hidden=[16], output="identity", activation=activation, seed=seed
    )
    return net.decoder.double().requires_grad_(False)


# --- uniqueness -----------------------------------------------------------------------------------


def objective_is_bound(root: Path) -> list[Observation]:
    """Linear model, β = 1: the objective at the exact posterior is log p(x); elsewhere it is less
    by the divergence.
    """
    toy, truth = data.toy_model("linear", n=200)
    x, W, noise = toy.x.double(), truth.W, truth.noise_std
    P = torch.eye(2, dtype=F64) + W.T @ W / noise**2
    S = torch.linalg.inv(P)
    mean = x @ W @ S.T / noise**2
    constant = 0.5 * 3 * math.log(2 * math.pi * noise**2)

    def elbo(mean: Tensor, S: Tensor) -> Tensor:
        quadratic = (x - mean @ W.T).square().sum(1) + (W @ S @ W.T).trace()
        kl = posteriors.kl_to_standard_normal(mean, S.expand(len(x), -1, -1))
        return (-quadratic / (2 * noise**2) - constant - kl).mean()

    other = S.diagonal().diag()
    kl = posteriors.kl_between(mean[:1], other[None], mean[:1], S[None])[0]
    log_p = _log_marginal(W, x, noise)
    return [
        computed("|ELBO − log p(x)| with the exact posterior", (elbo(mean, S) - log_p).abs(),
                 at_most=1e-8, unit="nats"),
        computed("|ELBO + KL(q‖p(z|x)) − log p(x)| with another q",
                 (elbo(mean, other) + kl - log_p).abs(), at_most=1e-8, unit="nats"),
    ]  # fmt: skip


def marginal_invariant(root: Path) -> list[Observation]:
    """Linear model turned by rotations; a transform that is not linear."""
    toy, truth = data.toy_model("linear", n=1000)
    x, W = toy.x.double(), truth.W
    base = _log_marginal(W, x)
    turned = [_log_marginal(W @ rotations.plane_rotation(t).T, x) for t in range(0, 360, 15)]
    z = rotations.swirl(_normal(200_000, 2))
    moments = rotations.independence_moments(z)
    return [
        computed("largest change of log p(x) over 24 rotations",
                 (torch.stack(turned) - base).abs().max(), at_most=EXACT, unit="nats"),
        computed("swirled prior: largest of two dependence moments, in standard errors",
                 max(abs(moments.covariance) / moments.covariance_error,
                     abs(moments.squares) / moments.squares_error), at_most=4.0, digits=1),
    ]  # fmt: skip


def orthogonal_invariant(root: Path) -> list[Observation]:
    """Four latents, twenty random orthogonal matrices."""
    W = _normal(6, 4, seed=3)
    x = _normal(200, 4, seed=4) @ W.T + 0.05 * _normal(200, 6, seed=5)
    base = _log_marginal(W, x)
    turned = [_log_marginal(W @ _orthogonal(4, seed).T, x) for seed in range(20)]
    change = (torch.stack(turned) - base).abs().max()
    return [
        computed("largest change of log p(x) over 20 orthogonal transforms of four latents",
                 change, at_most=1e-8, unit="nats"),
    ]  # fmt: skip


@functools.lru_cache(maxsize=1)
def _refitted() -> tuple[tuple[int, ...], Tensor]:
    toy, truth = data.toy_model("linear", (2.0, 0.5), n=100, noise_std=0.05)
    thetas = (0, 15, 45, 75)
    zero = torch.zeros(3, dtype=F64)
    fits = rotations.best_along_rotation(
        toy.x.double(), (truth.W, zero), "linear", 0.05, list(thetas), "shared_diagonal"
    )
    lost = torch.tensor([fit.negative_elbo for fit in fits], dtype=F64)
    return thetas, lost - lost[0]


def inside_family(root: Path) -> list[Observation]:
    """Linear toy, diagonal Σ: the posterior is in the family at 0° and outside it in between."""
    thetas, lost = _refitted()
    closed = rotations.mean_field_gap(torch.tensor(thetas), 1600, 100)
    G = torch.diag(torch.tensor([1600.0, 100.0], dtype=F64))
    full = rotations.family_gap(rotations.turned_metric(G, rotations.plane_rotation(45))[None])
    return [
        computed("ELBO lost at 45°, encoder refitted", lost[2], at_least=0.01, unit="nats",
                 digits=3),
        computed("refitted against closed form at 0°, 15°, 45°, 75°: largest difference",
                 (lost - closed).abs().max(), at_most=2e-3, unit="nats", digits=3),
        computed("lost at 45° by full Σ, which keeps every turned posterior", full.abs(),
                 at_most=EXACT, unit="nats"),
    ]  # fmt: skip


def _samples(law: str, n: int = 100_000, seed: int = 0) -> Tensor:
    """Independent latents of unit variance, (n, 2)."""
    generator = _draw(seed)
    u = torch.rand(n, 2, generator=generator, dtype=F64)
    if law == "uniform":
        return (u - 0.5) * math.sqrt(12)
    if law == "Laplace":
        centred = u - 0.5
        return -centred.sign() * torch.log1p(-2 * centred.abs()) / math.sqrt(2)
    return torch.randn(n, 2, generator=generator, dtype=F64)


def _dependence(z: Tensor, theta: float) -> float:
    """|cov(y₁², y₂²)| of the turned latents in standard errors."""
    found = rotations.independence_moments(z @ rotations.plane_rotation(theta).T)
    return abs(found.squares) / found.squares_error


def mean_field_kept(root: Path) -> list[Observation]:
    """Off-diagonal covariance for Gaussians, fourth moments for others, at a turn by 30°."""
    R = rotations.plane_rotation(30)
    equal, unequal = (R @ torch.diag(torch.tensor(v, dtype=F64)) @ R.T for v in ((1, 1), (1, 4)))
    other = {law: _dependence(_samples(law), 30) for law in ("uniform", "Laplace", "Gaussian")}
    return [
        computed("Gaussian, equal variances: covariance after the turn", equal[0, 1].abs(),
                 at_most=1e-12),
        computed("Gaussian, variances 1 and 4: covariance after the turn", unequal[0, 1].abs(),
                 at_least=0.1),
        computed("uniform and Laplace: dependence of the squares, standard errors",
                 [other["uniform"], other["Laplace"]], at_least=10.0, every=True, digits=0),
        computed("Gaussian sampled likewise: dependence of the squares, standard errors",
                 other["Gaussian"], at_most=4.0, digits=1),
    ]  # fmt: skip


def non_gaussian(root: Path) -> list[Observation]:
    """Angles 10° to 80° for two non-Gaussian latents; two Gaussians beside a Laplace latent."""
    z = _samples("Laplace")
    found = [_dependence(z, t) for t in range(10, 90, 10)]
    pair = _dependence(_samples("Gaussian", seed=1), 30)
    return [
        computed("two Laplace latents: least dependence over 10° to 80°, standard errors",
                 min(found), at_least=10.0, digits=0),
        computed("one Laplace and two Gaussian latents, the Gaussian pair turned by 30°: "
                 "dependence, standard errors (a non-Gaussian product that must not survive)",
                 pair, at_least=10.0, digits=1),
    ]  # fmt: skip


def _loss_at_45(a: float, b: float, family: str) -> float:
    metric = torch.diag(torch.tensor([a, b], dtype=F64))
    turned = rotations.turned_metric(metric, rotations.plane_rotation(45))
    before, after = rotations.family_gap(torch.stack([metric, turned]), 1.0, family)
    return float(after - before)


def two_conditions(root: Path) -> list[Observation]:
    """The loss where both conditions hold, none where one fails, and the literal condition 1."""
    isotropic = rotations.plane_rotation(45) @ rotations.plane_rotation(45).T
    return [
        computed("both hold (diagonal Σ, norms differ): lost at 45°",
                 _loss_at_45(1600, 100, "diagonal"), at_least=0.01, unit="nats", digits=3),
        computed("condition 1 fails (norms equal; full Σ): lost at 45°",
                 max(_loss_at_45(400, 400, "diagonal"), abs(_loss_at_45(1600, 100, "full"))),
                 at_most=EXACT, unit="nats"),
        computed("condition 1 for every q of the mean-field Gaussians, as on the slide: least "
                 "covariance that a turn by 45° gives a member (the isotropic one)",
                 isotropic[0, 1].abs(), at_least=1e-3),
    ]  # fmt: skip


def convex_completion(root: Path) -> list[Observation]:
    """KL is convex in q, so a convex completion has one maximiser; Gaussians have no such one."""
    # Mixtures of two densities on a grid against a Gaussian: KL(q‖p) is strictly convex in q.
    z = torch.linspace(-12, 12, 4001, dtype=F64)
    step = z[1] - z[0]

    def density(mean: float, variance: float) -> Tensor:
        return torch.exp(-((z - mean) ** 2) / (2 * variance)) / math.sqrt(2 * math.pi * variance)

    def kl(q: Tensor) -> Tensor:
        return torch.xlogy(q, q).sum() * step - (q * density(0.3, 1.5).log()).sum() * step

    q1, q2 = density(-1, 1), density(1, 2)
    convex = (kl(q1) + kl(q2)) / 2 - kl((q1 + q2) / 2)
    fourth, variance = 0.5 * (3 * 1**2 + 3 * 4**2), 0.5 * (1 + 4)
    return [
        computed("convex families: KL of a mixture below the mean of the KLs, by", convex,
                 at_least=1e-3, unit="nats", digits=3),
        computed("mean-field Gaussians and rotations: excess kurtosis of a mixture of two members "
                 "of the completion (0 if the completion were convex)",
                 fourth / variance**2 - 3, at_most=1e-3),
    ]  # fmt: skip


TOY = "toy-uniqueness"


def _spread(root: Path, nu: str, W: str, family: str, aligned: str = "no") -> Callable[[], Sample]:
    return lambda: values.angle_spread(root, nu=nu, W=W, family=family, aligned=aligned)


def toy_unique(root: Path) -> list[Observation]:
    """Spread of the rotation over seeds: small with diagonal Σ, large with full Σ."""
    nus = ("linear", "tanh", "leaky_relu", "softplus")
    diagonal = [
        stored(f"ν {nu.replace('_', ' ')}, diagonal Σ: spread of the rotation",
               _spread(root, nu, "anisotropic", "shared_diagonal"), at_most=2.0, unit="°", seeds=8)
        for nu in nus
    ]  # fmt: skip
    full = [
        stored(f"ν {nu.replace('_', ' ')}, full Σ: spread of the rotation",
               _spread(root, nu, "anisotropic", "shared"), at_least=10.0, unit="°", seeds=8)
        for nu in nus
    ]  # fmt: skip
    return diagonal + full


NUS = ("linear", "tanh", "leaky_relu", "softplus")


def toy_choice(root: Path) -> list[Observation]:
    """The abstract's general statement, for every ν that is stored."""
    found = []
    for nu in NUS:
        found += [
            stored(f"ν {nu}: spread of the rotation, diagonal Σ",
                   _spread(root, nu, "anisotropic", "shared_diagonal"), at_most=2.0, unit="°",
                   seeds=8),
            stored(f"ν {nu}: spread of the rotation, full Σ",
                   _spread(root, nu, "anisotropic", "shared"), at_least=10.0, unit="°", seeds=8),
        ]  # fmt: skip
    return found


def unique_not_true(root: Path) -> list[Observation]:
    """Distance of the rotation that mean field chooses from the axes that made the data."""
    return [
        stored("ν tanh, norms differ: angle from the true axes",
               lambda: values.angle_off(root, nu="tanh", W="anisotropic"), at_least=5.0, unit="°",
               every=True, seeds=8, digits=1),
        stored("ν linear, norms differ: angle from the true axes",
               lambda: values.angle_off(root, nu="linear", W="anisotropic"), at_most=1.0, unit="°",
               every=True, seeds=8),
    ]  # fmt: skip


def curved_chooses(root: Path) -> list[Observation]:
    """Equal column norms: nothing to choose for a linear ν, a choice for curved ones."""
    return [
        stored("ν linear, equal norms, diagonal Σ: spread",
               _spread(root, "linear", "isotropic", "shared_diagonal"), at_least=10.0, unit="°",
               seeds=8),
        *(
            stored(f"ν {nu.replace('_', ' ')}, equal norms, diagonal Σ: spread",
                   _spread(root, nu, "isotropic", "shared_diagonal"), at_most=2.0, unit="°",
                   seeds=8)
            for nu in ("leaky_relu", "softplus")
        ),
    ]  # fmt: skip


def aligned_agree(root: Path) -> list[Observation]:
    """Full-Σ runs, turned until Σ is diagonal, against diagonal runs."""

    def distance(nu: str) -> Callable[[], Sample]:
        def found() -> float:
            diagonal, full = (
                values.angle(root, nu=nu, W="anisotropic", family=family, aligned="yes")[0]
                for family in ("shared_diagonal", "shared")
            )
            return min((diagonal - full) % 90, (full - diagonal) % 90)

        return found

    return [
        stored(f"ν {nu}: angle between the means of diagonal and aligned full runs", distance(nu),
               at_most=0.5, unit="°", seeds=8)
        for nu in NUS
    ]  # fmt: skip


def mean_field_free(root: Path) -> list[Observation]:
    """One Σ for all x: the best −ELBO over seeds is the same for both families."""

    def cost(nu: str) -> Callable[[], Sample]:
        def found() -> float:
            best = [
                min(values.metric(TOY, "negative_elbo", root, nu=nu, W="anisotropic", family=f))
                for f in ("shared_diagonal", "shared")
            ]
            return abs(best[0] - best[1])

        return found

    return [
        stored(f"ν {nu}: |−ELBO diagonal − full|, best of the seeds", cost(nu), at_most=0.02,
               unit="nats", digits=3, seeds=8)
        for nu in NUS
    ]  # fmt: skip


# --- local geometry -------------------------------------------------------------------------------


def _nodes(count: int, d: int) -> tuple[Tensor, Tensor]:
    """Gauss–Hermite nodes (count**d, d) and weights for N(0, I)."""
    import numpy as np

    z, w = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(count))
    grid = torch.cartesian_prod(*[z] * d).view(-1, d)
    return grid, torch.cartesian_prod(*[w / w.sum()] * d).view(-1, d).prod(1)


def _taylor_errors(activation: str, betas: Tensor, exact: bool, residual: float = 1.0) -> Tensor:
    """|E_q distortion − expansion| averaged over 20 codes of a random network, for each β."""
    decoder = _network(activation)
    z = _normal(20, 2, seed=7)
    x_hat, J = geometry.jacobian(decoder, z)
    x = x_hat + residual * 0.3 * _normal(20, 12, seed=8)
    G = geometry.pullback_metric(J)
    H = -geometry.log_likelihood_hessian(decoder, x, z) if exact else G
    grid, weights = _nodes(16, 2)
    found = []
    for beta in betas.tolist():
        S = geometry.optimal_covariance(G, beta)
        L = torch.linalg.cholesky(S)
        cloud = z[:, None] + grid @ L.mT
        output = decoder(cloud.reshape(-1, 2)).view(20, len(grid), -1)
        truth = (0.5 * (x[:, None] - output).square().sum(-1)) @ weights
        form = likelihoods.distortion(x, x_hat) + 0.5 * (H * S).sum((-2, -1))
        found.append((truth - form).abs().mean())
    return torch.stack(found)


def _slope(activation: str, exact: bool, residual: float = 1.0) -> float:
    betas = torch.logspace(-4, -2.5, 4, dtype=F64)
    errors = _taylor_errors(activation, betas, exact, residual)
    x, y = betas.log() - betas.log().mean(), errors.log() - errors.log().mean()
    return float((x * y).sum() / x.square().sum())


def taylor_order(root: Path) -> list[Observation]:
    """How fast the error of the second-order form falls with β."""
    return [
        computed("smooth decoder, exact Hessian: error falls as β to the power",
                 _slope("tanh", True), at_least=1.9, at_most=2.1),
        stored("trained β-VAEs on MNIST, nine β: |curvature| as a share of the loss, %",
               lambda: [100 * abs(v) for v in values.ratio(
                   root, experiment="mnist-objectives", above="test/learned/curvature",
                   below="test/learned/beta_vae", method="beta_vae_diagonal")],
               at_most=1.0, every=True, seeds=3, pooled=True),
    ]  # fmt: skip


def expectation_of_quadratic(root: Path) -> list[Observation]:
    """A linear decoder, where Taylor's polynomial is f, and a posterior with two atoms."""
    W, x, h, half = _normal(5, 2), _normal(5, seed=1), _normal(2, seed=2), _normal(2, seed=3)

    def f(z: Tensor) -> Tensor:
        return -0.5 * (x - W @ z).square().sum()

    S = torch.outer(half, half)
    true = 0.5 * (f(h + half) + f(h - half))
    form = f(h) - 0.5 * (W.T @ W * S).sum()
    return [
        computed("two-point posterior, quadratic log-likelihood: |expectation − expansion|",
                 (true - form).abs(), at_most=EXACT, unit="nats"),
    ]  # fmt: skip


def gauss_newton(root: Path) -> list[Observation]:
    """Pointwise Hessian against Gauss–Newton, relative to its largest entry, at 50 random codes."""

    def gap(activation: str) -> Tensor:
        decoder = _network(activation, d=3)
        z, x = _normal(50, 3, seed=2), _normal(50, 12, seed=3)
        H, GN = (
            f(decoder, x, z)
            for f in (geometry.log_likelihood_hessian, geometry.gauss_newton_hessian)
        )
        return (H - GN).abs().max() / H.abs().max()

    return [
        computed("ReLU: largest entry of H_f − JᵀH_pJ, relative", gap("relu"), at_most=EXACT),
        computed("leaky ReLU: the same", gap("leaky_relu"), at_most=EXACT),
        computed("tanh: the same (where it is an approximation)", gap("tanh"), at_least=1e-3),
    ]  # fmt: skip


def relu_expectation(root: Path) -> list[Observation]:
    """One ReLU, means spread over its kink: the expectation against the pointwise form."""
    sigma, count = 0.1, 2001
    t = (torch.arange(count, dtype=F64) + 0.5) / count * 16 - 8
    mass = torch.exp(-0.5 * t**2)
    m = (torch.arange(1200, dtype=F64) + 0.5) / 1000 - 0.6
    g = (m[:, None] + sigma * t).clamp_min(0)
    true = 0.5 * (m.clamp_min(0)[:, None] - g) ** 2 @ (mass / mass.sum())
    error = (true - 0.5 * sigma**2 * (m > 0)).sum() / 1000
    return [
        computed("error averaged over the kink, divided by −σ³/(3√2π)",
                 -error * 3 * math.sqrt(2 * math.pi) / sigma**3, at_least=0.99, at_most=1.01,
                 digits=3),
    ]  # fmt: skip


def precision_diagonal(root: Path) -> list[Observation]:
    """The Hessian of log p(x; g) in the decoder's outputs, by automatic differentiation."""
    x = torch.tensor([[1.0, 0.0, 1.0, 0.0]], dtype=F64)
    out = torch.tensor([[0.7, 0.2, 0.4, 0.9]], dtype=F64)
    worst, wrong = [], []
    for name in ("gaussian", "bernoulli", "bernoulli_probability"):
        H = torch.autograd.functional.hessian(
            lambda g, name=name: -likelihoods.distortion(x, g[None], name)[0], out[0]
        )
        assert isinstance(H, Tensor)
        diagonal = likelihoods.precision(x, out, name)
        diagonal = torch.ones_like(out) if diagonal is None else diagonal
        worst.append((H - H.diagonal().diag()).abs().max())
        wrong.append((H.diagonal() + diagonal[0]).abs().max())
    return [
        computed("largest entry of H_p off the diagonal, three likelihoods", torch.stack(worst),
                 at_most=EXACT, every=True),
        computed("its diagonal against the library's weights", torch.stack(wrong), at_most=EXACT,
                 every=True),
    ]  # fmt: skip


def frobenius(root: Path) -> list[Observation]:
    """The trace as a squared norm: with Σ^½, and with Σ^−½ as the slide prints it."""
    J, weight, root_ = _normal(12, 3), _normal(12, seed=1).abs(), _normal(3, 3, seed=2)
    S = root_ @ root_.T / 3 + 0.1 * torch.eye(3, dtype=F64)
    eigenvalues, vectors = torch.linalg.eigh(S)
    trace = (J.T @ (weight[:, None] * J) * S).sum()

    def norm(power: float) -> Tensor:
        factor = vectors * eigenvalues**power @ vectors.T
        return (weight.sqrt()[:, None] * J @ factor).square().sum()

    return [
        computed("|‖[−H_p]^½ J Σ^½‖² / trace − 1|", (norm(0.5) / trace - 1).abs(), at_most=EXACT),
        computed("|‖[−H_p]^½ J Σ^−½‖² / trace − 1|, as printed", (norm(-0.5) / trace - 1).abs(),
                 at_most=EXACT),
    ]  # fmt: skip


def implicit_regulariser(root: Path) -> list[Observation]:
    """β-VAE with the best Σ against the deterministic form, linear decoder and trained ones."""
    W, x, h, beta = _normal(6, 3), _normal(4, 6, seed=1), _normal(4, 3, seed=2), 0.3
    G = (W.T @ W).expand(4, 3, 3)
    S = geometry.optimal_covariance(G, beta)
    vae = 0.5 * (x - h @ W.T).square().sum(1) + 0.5 * (G * S).sum((-2, -1))
    vae = vae + beta * posteriors.kl_to_standard_normal(h, S)
    grae = 0.5 * (x - h @ W.T).square().sum(1) + beta / 2 * h.square().sum(1)
    grae = grae + objectives.log_det_regularizer(G, beta)
    return [
        computed("linear decoder: |β-VAE − (distortion + prior + (β/2) log|P|)|",
                 (vae - grae).abs().max(), at_most=EXACT, unit="nats"),
        stored("trained β-VAEs, diagonal Σ, nine β: disagreement with the column form, % of the "
               "loss", lambda: [100 * v for v in values.disagreement(root)],
               at_most=1.0, every=True, seeds=3, pooled=True),
        stored("trained β-VAEs, full Σ, nine β: disagreement with the log-det form, % of the loss",
               lambda: [100 * v for v in values.disagreement(root, method="beta_vae_full",
                                                             form="log_det")],
               at_most=1.5, every=True, seeds=3, pooled=True),
    ]  # fmt: skip


# --- the Gaussian case ----------------------------------------------------------------------------


def optimal_covariance(root: Path) -> list[Observation]:
    """The stationary Σ for Gaussian prior and posterior, and what training finds."""
    J, beta = 0.4 * _normal(1, 10, 6), 0.3
    weight = _normal(1, 10, seed=1).abs()
    G = geometry.pullback_metric(J, weight)
    best = geometry.optimal_covariance(G, beta)
    zero = torch.zeros(1, 6, dtype=F64)

    def F(S: Tensor) -> Tensor:
        return 0.5 * (G * S).sum((-2, -1)) + beta * posteriors.kl_to_standard_normal(zero, S)

    roots = [_normal(6, 6, seed=k) for k in range(100)]
    others = [F((r @ r.T / 6 + 0.05 * torch.eye(6, dtype=F64))[None]) for r in roots]
    slope = 0.5 * (G + beta * (torch.eye(6, dtype=F64) - torch.linalg.inv(best)))
    return [
        computed("derivative of the objective at Σ = (I + JᵀWJ/β)⁻¹, W = −H_p", slope.abs().max(),
                 at_most=EXACT),
        computed("100 random Σ: the least excess over it", torch.stack(others).min() - F(best)[0],
                 at_least=0.0, unit="nats"),
        stored("trained on MNIST: excess of the learned Σ over the best, % of the loss, four "
               "settings and three families",
               lambda: [100 * v for v in values.ratio(
                   root, experiment="mnist-structure", above="covariance_excess",
                   below="test/beta_vae")],
               at_most=1.0, every=True, seeds=3, pooled=True),
    ]  # fmt: skip


def hessian_minus_identity(root: Path) -> list[Observation]:
    """H_p for both likelihoods; the Bernoulli one depends on where p is."""

    def off(x: float, p: float) -> float:
        inputs = torch.tensor([[x]], dtype=F64), torch.tensor([[p]], dtype=F64)
        found = likelihoods.precision(*inputs, "bernoulli_probability")
        assert found is not None
        return abs(float(found) - 1)

    gaussian = torch.autograd.functional.hessian(
        lambda g: -likelihoods.distortion(torch.ones(1, 3, dtype=F64), g[None])[0],
        torch.tensor([0.1, 0.5, 0.9], dtype=F64),
    )
    assert isinstance(gaussian, Tensor)
    return [
        computed("Gaussian: |H_p + I|", (gaussian + torch.eye(3, dtype=F64)).abs().max(),
                 at_most=EXACT),
        computed("Bernoulli, binary pixel, p = .99 of the right value: |−H_p − 1|", off(1, 0.99),
                 at_most=0.1),
        computed("Bernoulli, grey pixel x = p = ½: |−H_p − 1|", off(0.5, 0.5), at_most=0.1),
        computed("Bernoulli, binary pixel, p = ½: |−H_p − 1|", off(1, 0.5), at_most=0.1),
    ]  # fmt: skip


def _structure(root: Path, name: str, beta: float, d: int, family: str) -> Callable[[], Sample]:
    return lambda: values.metric(
        "mnist-structure", name, root, beta=f"{beta:g}", d=str(d), family=family
    )


def structure(root: Path) -> list[Observation]:
    """Cosines of Jacobian columns inside and across blocks, the four settings of the slide."""
    found = []
    for beta, d, b in SETTINGS:
        setting = f"β = {beta:g}, d = {d}, b = {b}"
        found += [
            stored(f"{setting}, block Σ: |cos| inside / across blocks",
                   _structure(root, "ratio", beta, d, "block"), at_least=1.5, every=True, seeds=3),
            stored(f"{setting}, block Σ: |cos| across blocks",
                   _structure(root, "across", beta, d, "block"), at_most=0.2, every=True, seeds=3),
        ]  # fmt: skip
    return found


def structure_controls(root: Path) -> list[Observation]:
    """What the same ratio is where the family does not know the blocks."""
    found = []
    for family in ("diagonal", "full"):
        for beta, d, _ in SETTINGS:
            found.append(
                stored(f"β = {beta:g}, d = {d}, {family} Σ: inside / across",
                       _structure(root, "ratio", beta, d, family), at_least=0.6, at_most=1.4,
                       every=True, seeds=3)
            )  # fmt: skip
    return found


def structure_influence(root: Path) -> list[Observation]:
    """Mean |cos| of columns that a family wants orthogonal, over that of the full family."""

    def share(beta: float, d: int, family: str) -> Callable[[], Sample]:
        def found() -> list[float]:
            restricted, full = (
                _numbers(_structure(root, "across", beta, d, f)()) for f in (family, "full")
            )
            base = sum(full) / len(full)
            return [v / base for v in restricted]

        return found

    return [
        stored(f"β = {beta:g}, d = {d}: |cos| across blocks, {family} Σ over full Σ",
               share(beta, d, family), at_most=0.75, seeds=3)
        for beta, d, _ in SETTINGS
        for family in ("diagonal", "block")
    ]  # fmt: skip


def volume(root: Path) -> list[Observation]:
    """GRAE's regulariser on a stored decoder as a volume element of the graph."""

    def found() -> Tensor:
        path = results.folder("mnist-structure", "cpu", root) / "decoders"
        file = path / "beta0.4_d8_block_seed0.safetensors"
        if not file.exists():
            raise results.MissingResult(
                f"{file} is not stored; produce it with: python -m grae_lib run mnist-structure "
                "--scale cpu"
            )
        net, tensors, about = results.read_decoder(file, F64)
        _, J = geometry.jacobian(net.decoder, tensors["codes"].double())
        beta = float(about["beta"])
        P = geometry.posterior_precision(geometry.pullback_metric(J), beta)
        exact = objectives.log_det_regularizer_from_jacobian(J, beta)
        return (beta * paths.log_volume(P) - exact).abs().max() / exact.max()

    return [
        stored("stored decoder: |β log √|P| − regulariser|, relative", found, at_most=1e-6,
               digits=7)
    ]  # fmt: skip


# --- GRAE -----------------------------------------------------------------------------------------


def hadamard(root: Path) -> list[Observation]:
    """The upper bound on random metrics, on orthogonal columns, and on every stored run."""
    J = _normal(500, 12, 5)
    G = geometry.pullback_metric(J)
    slack = objectives.column_regularizer(G, 0.3) - objectives.log_det_regularizer(G, 0.3)
    Q = torch.linalg.qr(_normal(12, 5, seed=1)).Q * torch.tensor([1, 2, 0.5, 3, 1], dtype=F64)
    tight = geometry.pullback_metric(Q[None])
    equal = objectives.column_regularizer(tight, 0.3) - objectives.log_det_regularizer(tight, 0.3)
    return [
        computed("500 random Jacobians: least slack of the bound", slack.min(), at_least=0.0,
                 unit="nats"),
        computed("orthogonal columns: slack", equal.abs(), at_most=EXACT, unit="nats"),
        stored("all stored β-VAEs and GRAE models: least slack",
               lambda: min(values.metric("mnist-objectives", "test/optimal/bound", root)),
               at_least=0.0, unit="nats", digits=4),
    ]  # fmt: skip


def one_column(root: Path) -> list[Observation]:
    """The estimate averaged over the column drawn, and models trained with it."""
    G, beta = geometry.pullback_metric(_normal(50, 12, 5)), 0.3
    squares = G.diagonal(dim1=-2, dim2=-1)
    estimates = 5 * (beta / 2) * torch.log1p(squares / beta)
    bound = objectives.column_regularizer(G, beta)
    trained = [beta for beta in BETAS if beta <= 1]
    return [
        computed("mean over the d equally likely columns, with the factor d, against the bound",
                 (estimates.mean(1) - bound).abs().max(), at_most=EXACT, unit="nats"),
        *(
            stored(f"β = {beta:g}: training with one column against all columns, % of the value",
                   lambda beta=beta: [
                       100 * abs(v) for v in values.relative(
                           root, method="grae_one_column", beta=f"{beta:g}",
                           reference="grae_columns")
                   ], at_most=2.0, seeds=3)
            for beta in trained
        ),
    ]  # fmt: skip


#: β of the sources' figures.
SHOWN = tuple(beta for beta in BETAS if beta <= 1)


def _relative(root: Path, method: str, beta: float) -> Callable[[], Sample]:
    return lambda: [100 * v for v in values.relative(root, method=method, beta=f"{beta:g}")]


def objective_value(root: Path) -> list[Observation]:
    """β-VAE objective of GRAE's solutions against the diagonal β-VAE's, percent, over β."""
    names = {"grae_one_column": "one column", "grae_log_det": "log-det"}
    return [
        stored(f"β = {beta:g}, GRAE {names[method]}: β-VAE objective against the β-VAE's, %",
               _relative(root, method, beta), at_least=-5.0, at_most=3.0, seeds=3, digits=1)
        for method in names
        for beta in BETAS
    ]  # fmt: skip


def comparison(root: Path) -> list[Observation]:
    """The slide's comparison: the stochastic column form over the β that it shows."""
    return [
        stored(f"β = {beta:g}: |difference| of the β-VAE objective, GRAE one column, %",
               lambda beta=beta: [abs(v) for v in _numbers(_relative(root, "grae_one_column",
                                                                     beta)())],
               at_most=3.0, seeds=3, digits=1)
        for beta in SHOWN
    ]  # fmt: skip


def _sample_ratio(root: Path, beta: float) -> list[float]:
    """Fréchet distance from training digits in a classifier's features, one column over β-VAE."""
    return [mine / theirs for mine, theirs in values.sample_pairs(root, beta=f"{beta:g}")]


def _samples_alike(root: Path, betas: Sequence[float]) -> list[Observation]:
    return [
        stored(f"β = {beta:g}: distance of prior samples from training digits, GRAE one column "
               "over β-VAE", lambda beta=beta: _sample_ratio(root, beta),
               at_most=1.25, seeds=3)
        for beta in betas
    ]  # fmt: skip


def samples_small_beta(root: Path) -> list[Observation]:
    """Fréchet distance from training digits in a classifier's features; the first slide's β."""
    return _samples_alike(root, (0.02, 0.06, 0.1))


def samples_large_beta(root: Path) -> list[Observation]:
    """Fréchet distance from training digits in a classifier's features; the second slide's β."""
    return _samples_alike(root, (0.4, 0.6, 0.8))


def samples_all_beta(root: Path) -> list[Observation]:
    """Fréchet distance from training digits in a classifier's features; all β of the two slides."""
    return _samples_alike(root, (0.02, 0.06, 0.1, 0.4, 0.6, 0.8))


def regularised_autoencoders(root: Path) -> list[Observation]:
    """Limits of the regulariser: the gradient penalty of RAE at large β, none at small β."""
    G = geometry.pullback_metric(_normal(50, 12, 5))
    penalty = 0.5 * G.diagonal(dim1=-2, dim2=-1).sum(-1)
    large = objectives.log_det_regularizer(G, 1e6) / penalty
    small = objectives.log_det_regularizer(G, 1e-6)
    return [
        computed("β = 10⁶: regulariser over ½‖J‖²_F, largest |ratio − 1|", (large - 1).abs().max(),
                 at_most=1e-3, digits=5),
        computed("β = 10⁻⁶: largest regulariser (a plain autoencoder remains)",
                 small.max(), at_most=1e-3, unit="nats",
                 digits=5),
    ]  # fmt: skip


def below_the_vae(root: Path) -> list[Observation]:
    """Where GRAE's solutions have a lower β-VAE objective than the β-VAE's after equal steps."""
    return [
        stored(f"β = {beta:g}, {method.removeprefix('grae_').replace('_', ' ')}: difference",
               lambda beta=beta, method=method: values.difference(root, method=method,
                                                                  beta=f"{beta:g}"),
               at_most=0.0, every=True, unit="nats", seeds=3)
        for beta in (0.2, 0.4, 0.6)
        for method in ("grae_columns", "grae_log_det", "grae_one_column")
    ]  # fmt: skip


def deceived(root: Path) -> list[Observation]:
    """β = 2: GRAE's solutions by the β-VAE's own measure, and the curvature that they hide."""
    found = []
    for method in ("grae_columns", "grae_log_det"):
        name = method.removeprefix("grae_").replace("_", "-")
        found += [
            stored(f"{name}: β-VAE objective above the β-VAE's, %", _relative(root, method, 2.0),
                   at_least=10.0, seeds=3, digits=0, every=True),
            stored(f"{name}: curvature term over the β-VAE's",
                   lambda method=method: values.quotient(root, metric="test/optimal/curvature",
                                                         method=method, beta="2"),
                   at_least=10.0, digits=0, seeds=3),
            stored(f"{name}: Jacobian norm over the β-VAE's",
                   lambda method=method: values.quotient(root, metric="test/jacobian_norm",
                                                         method=method, beta="2"),
                   at_most=0.75, seeds=3),
        ]  # fmt: skip
    return found


def linear_minimum(root: Path) -> list[Observation]:
    """GRAE with a linear decoder at W = U(Λ − βI)^½: value and gradient against the closed form."""
    spectrum, beta, d = torch.tensor([5, 3, 1.5, 0.6, 0.3, 0.1], dtype=F64), 1.0, 4
    active = (spectrum > beta).sum()
    closed = beta / 2 * (1 + (spectrum[:active] / beta).log()).sum() + spectrum[active:].sum() / 2

    def loss(W: Tensor, form: Callable[[Tensor, float], Tensor]) -> Tensor:
        # The best encoder for W, put in: ½·tr(S β (WWᵀ + βI)⁻¹) + the regulariser.
        inner = beta * torch.linalg.inv(W @ W.T + beta * torch.eye(6, dtype=F64))
        return 0.5 * (spectrum.diag() * inner).sum() + form((W.T @ W)[None], beta)[0]

    W = torch.zeros(6, d, dtype=F64)
    W[:d, :d] = (spectrum[:d] - beta).clamp_min(0).sqrt().diag()
    gradient = torch.func.grad(lambda W: loss(W, objectives.log_det_regularizer))(W)
    forms = (objectives.log_det_regularizer, objectives.column_regularizer)
    return [
        computed("closed form of the minimum", closed, at_least=3.55675, at_most=3.55676,
                 unit="nats", digits=6),
        computed("both forms at the closed-form decoder against it",
                 torch.stack([(loss(W, form) - closed).abs() for form in forms]), at_most=EXACT,
                 every=True, unit="nats"),
        computed("gradient there", gradient.abs().max(), at_most=EXACT),
    ]  # fmt: skip


# --- rate, distortion, generalisation -------------------------------------------------------------

RD = ("tetrominoes-rd", "tetrominoes-long", "mnist-rd")

_RD_METRICS = (
    *(f"train/{name}" for name in ("rate", "distortion", "mutual_information", "marginal_kl")),
    *(f"test/{name}" for name in ("distortion", "rate")),
)

#: What 'generalisation' may be read as: one number of a run, the less the better.
READINGS: dict[str, Callable[[dict[str, float]], float]] = {
    "test distortion": lambda m: m["test/distortion"],
    "test −ELBO": lambda m: m["test/distortion"] + m["test/rate"],
    "gap of the distortion": lambda m: (
        (m["test/distortion"] - m["test/entropy_floor"])
        - (m["train/distortion"] - m["train/entropy_floor"])
    ),
}
#: Those that have a level, and not only a difference from training.
_LEVELS = ("test distortion", "test −ELBO")


def rate_decomposition(root: Path) -> list[Observation]:
    """Linear-Gaussian encoder, where rate, mutual information and marginal KL are closed forms."""
    C, S = _normal(3, 4), torch.diag(torch.tensor([0.2, 0.5, 0.9], dtype=F64))
    means = C @ C.T
    marginal = means + S
    zero = torch.zeros(1, 3, dtype=F64)
    rate = 0.5 * (marginal.trace() - 3 - torch.linalg.slogdet(S)[1])
    information = 0.5 * (torch.linalg.slogdet(marginal)[1] - torch.linalg.slogdet(S)[1])
    kl = posteriors.kl_to_standard_normal(zero, marginal[None])[0]
    return [
        computed("|rate − mutual information − KL(q(z)‖p(z))|", (rate - information - kl).abs(),
                 at_most=EXACT, unit="nats"),
    ]  # fmt: skip


def _rd(root: Path, experiment: str) -> dict[tuple, dict[float, dict[str, float]]]:
    """((capacity, depth), split, seed, method) → β → metrics; runs that lack one are left out."""
    found: dict[tuple, dict[float, dict[str, float]]] = {}
    for record in values.records(experiment, root):
        labels = record["job"]["labels"]
        if any(record["metrics"].get(name) is None for name in _RD_METRICS):
            continue
        network = (labels.get("capacity"), labels.get("depth"))
        setting = (network, *(labels.get(name) for name in ("split", "seed", "method")))
        found.setdefault(setting, {})[float(labels["beta"])] = record["metrics"]
    return found


def _share(
    root: Path, experiment: str, verdict: Callable[[dict[float, dict[str, float]]], bool | None]
) -> list[float]:
    """For each (network, split): the share of its seeds for which `verdict` is true, in percent."""
    by: dict[tuple, list[bool]] = {}
    for (network, split, *_), curve in _rd(root, experiment).items():
        outcome = verdict(curve)
        if outcome is not None:
            by.setdefault((network, split), []).append(outcome)
    if not by:
        raise results.MissingResult(
            f"{experiment} has no curve on which this can be asked; run it at a larger scale: "
            f"python -m grae_lib run {experiment} --scale cpu"
        )
    return [100 * sum(v) / len(v) for v in by.values()]


def _over_settings(
    root: Path, what: str, verdict: Callable[[dict[float, dict[str, float]]], bool | None]
) -> list[Observation]:
    return [
        stored(f"{name.removesuffix('-rd')}: {what}, % of runs (networks, splits, seeds)",
               lambda name=name: _share(root, name, verdict), at_least=50.1, unit="%", digits=0,
               pooled=True)
        for name in RD
    ]  # fmt: skip


def _over_readings(
    root: Path,
    what: str,
    verdict: Callable[[dict[float, dict[str, float]], str], bool | None],
    readings: Sequence[str],
) -> list[Observation]:
    """`_over_settings` for each reading; `what` names its place with {}."""
    return [
        observation
        for reading in readings
        for observation in _over_settings(
            root, what.format(reading), functools.partial(verdict, reading=reading)
        )
    ]


def lower_rate_generalises(root: Path) -> list[Observation]:
    """Each reading of generalisation at the smallest β against β = 1, by setting."""

    def verdict(curve: dict[float, dict[str, float]], reading: str) -> bool | None:
        least = min(curve)
        if 1.0 not in curve or least >= 1:
            return None
        return READINGS[reading](curve[least]) < READINGS[reading](curve[1.0])

    return _over_readings(
        root, "{} lower at the smallest β than at β = 1", verdict, tuple(READINGS)
    )


def prior_no_bias(root: Path) -> list[Observation]:
    """The β with the lowest test distortion, and −ELBO, by setting, against the ELBO's β = 1."""

    def verdict(curve: dict[float, dict[str, float]], reading: str) -> bool | None:
        if 1.0 not in curve or min(curve) >= 1:
            return None
        return min(curve, key=lambda beta: READINGS[reading](curve[beta])) < 1

    return _over_readings(root, "lowest {} at a β below 1", verdict, _LEVELS)


def _ranks(x: Sequence[float]) -> Tensor:
    return torch.tensor(x, dtype=F64).argsort().argsort().double()


def _rank_correlation(x: Sequence[float], y: Sequence[float]) -> float:
    return float(torch.corrcoef(torch.stack([_ranks(x), _ranks(y)]))[0, 1])


def less_information_underfits(root: Path) -> list[Observation]:
    """Rank correlation of mutual information and training distortion along β."""

    def verdict(curve: dict[float, dict[str, float]]) -> bool | None:
        if len(curve) < 3:
            return None
        information = [m["train/mutual_information"] for m in curve.values()]
        distortion = [m["train/distortion"] for m in curve.values()]
        return _rank_correlation(information, distortion) <= -0.5

    return _over_settings(
        root, "training distortion rises as mutual information falls (rank correlation ≤ −.5)",
        verdict,
    )  # fmt: skip


def after_saturation(root: Path) -> list[Observation]:
    """Among the β whose mutual information is within 1 % of the largest: does the smallest β have
    the lower test distortion and −ELBO than the largest, and the larger marginal KL?
    """

    def saturated(curve: dict[float, dict[str, float]]) -> list[float]:
        most = max(m["train/mutual_information"] for m in curve.values())
        return sorted(b for b, m in curve.items() if m["train/mutual_information"] >= 0.99 * most)

    def improves(curve: dict[float, dict[str, float]], reading: str) -> bool | None:
        flat = saturated(curve)
        if len(flat) < 2:
            return None
        return READINGS[reading](curve[flat[0]]) < READINGS[reading](curve[flat[-1]])

    def gap_grows(curve: dict[float, dict[str, float]]) -> bool | None:
        flat = saturated(curve)
        if len(flat) < 2:
            return None
        return curve[flat[0]]["train/marginal_kl"] > curve[flat[-1]]["train/marginal_kl"]

    return [
        *_over_readings(root, "{} still falls with β after saturation", improves, _LEVELS),
        *_over_settings(root, "the marginal KL grows meanwhile", gap_grows),
    ]


def rate_bounds_information(root: Path) -> list[Observation]:
    """Rate less mutual information, estimated, of every stored run."""
    return [
        stored(f"{name.removesuffix('-rd')}: rate − mutual information, all runs",
               lambda name=name: [
                   m["train/rate"] - m["train/mutual_information"]
                   for curve in _rd(root, name).values() for m in curve.values()
               ], every=True, pooled=True, at_least=-0.05, unit="nats")
        for name in RD
    ]  # fmt: skip


def controlled(root: Path) -> list[Observation]:
    """How many values of each factor the experiments vary."""

    def count(name: str, label: str) -> Callable[[], Sample]:
        return lambda: float(
            len({r["job"]["labels"].get(label) for r in values.records(name, root)})
        )

    return [
        stored(f"{name.removesuffix('-rd')}: number of {words}", count(name, label), digits=0,
               at_least=least)
        for name in RD
        for label, words, least in (
            ("beta", "strengths β", 3.0), ("depth", "network depths", 2.0),
            ("split", "difficulties of the split", 2.0),
        )
    ]  # fmt: skip
