"""Estimators of GRAE's regulariser that look at the decoder along a few directions only.

Each draws unit vectors u_1 … u_m for every code, pushes them through the decoder (m tangent passes)
and returns

    (β/2)·(d/m)·Σ_j log(1 + ‖J u_j‖²/β).

They differ in how the directions are drawn, hence in what their mean is: coordinate axes give the
column form [1, slide 'GRAE ≈'], other directions something else.

    [1] A. Kumar, B. Poole. On Implicit Regularization in β-VAEs. ICML 2020.
    [2] M. F. Hutchinson. A Stochastic Estimator of the Trace of the Influence Matrix for Laplacian
        Smoothing Splines. Communications in Statistics 1990.
"""

from __future__ import annotations

import copy
import math
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import jvp, vmap

from . import geometry
from .models import MLPDecoder
from .objectives import column_regularizer, log_det_regularizer

Draw = Callable[[int, int, torch.Generator], Tensor]


@dataclass(frozen=True)
class Estimator:
    """label: as in tables. passes: d → tangent passes a call. draw: (B, d, generator) → directions
    (m, B, d), or None for the two exact forms, which need all columns.
    """

    label: str
    passes: Callable[[int], int]
    draw: Draw | None


def _axes(index: Tensor, d: int) -> Tensor:
    return nn.functional.one_hot(index, d).double()


def _one_column(batch: int, d: int, generator: torch.Generator) -> Tensor:
    return _axes(torch.randint(d, (1, batch), generator=generator), d)


def _shared_column(batch: int, d: int, generator: torch.Generator) -> Tensor:
    return _axes(torch.randint(d, (1, 1), generator=generator), d).expand(1, batch, d)


def _subset(k: int) -> Draw:
    def draw(batch: int, d: int, generator: torch.Generator) -> Tensor:
        if k > d:
            raise ValueError(f"a subset of {k} columns was asked for; there are {d}.")
        ranks = torch.rand(batch, d, generator=generator).argsort(-1)
        return _axes(ranks[:, :k].T, d)

    return draw


def _sphere(batch: int, d: int, generator: torch.Generator) -> Tensor:
    u = torch.randn(1, batch, d, generator=generator, dtype=torch.float64)
    return u / u.norm(dim=-1, keepdim=True)


def _signs(batch: int, d: int, generator: torch.Generator) -> Tensor:
    u = torch.randint(2, (1, batch, d), generator=generator).double() * 2 - 1
    return u / math.sqrt(d)


def subset(k: int) -> Estimator:
    """k distinct columns for each example, drawn without replacement."""
    return Estimator(f"{k} columns an example", lambda d: k, _subset(k))


#: The estimators that the book compares. "signs" are Hutchinson's directions [2]: for the trace of
#: G they are unbiased, under the logarithm they are not.
ESTIMATORS: dict[str, Estimator] = {
    "log_det": Estimator("log-det", lambda d: d, None),
    "columns": Estimator("all columns", lambda d: d, None),
    "one_column": Estimator("one column an example", lambda d: 1, _one_column),
    "shared_column": Estimator("one column a batch", lambda d: 1, _shared_column),
    "two_columns": subset(2),
    "four_columns": subset(4),
    "sphere": Estimator("random unit direction", lambda d: 1, _sphere),
    "signs": Estimator("Hutchinson signs", lambda d: 1, _signs),
}


def along(metric: Tensor, directions: Tensor, beta: float) -> Tensor:
    """The estimate (…, B), nats, from the metric G (B, d, d) and directions (…, m, B, d)."""
    geometry.check_beta(beta)
    d, m = metric.shape[-1], directions.shape[-3]
    squares = torch.einsum("...mbi,bij,...mbj->...mb", directions, metric, directions)
    return 0.5 * beta * d / m * torch.log1p(squares / beta).sum(-2)


def push(decoder: geometry.Decoder, z: Tensor, directions: Tensor) -> tuple[Tensor, Tensor]:
    """x̂ (B, n) and J u (m, B, n) for directions u (m, B, d), in m tangent passes."""
    if isinstance(decoder, MLPDecoder):
        return decoder.push_forward(z, directions)
    values, pushed = vmap(lambda u: jvp(decoder, (z,), (u,)))(directions)
    return values[0], pushed


def estimate(
    decoder: geometry.Decoder, z: Tensor, beta: float, name: str, generator: torch.Generator
) -> Tensor:
    """One call of an estimator at codes z (B, d), as training would make it; (B,), nats."""
    estimator = _get(name)
    if estimator.draw is None:
        _, J = geometry.jacobian(decoder, z)
        form = log_det_regularizer if name == "log_det" else column_regularizer
        return form(geometry.pullback_metric(J), beta)
    directions = estimator.draw(*z.shape, generator).to(z)
    _, pushed = push(decoder, z, directions)
    d, m = z.shape[-1], len(directions)
    return 0.5 * beta * d / m * torch.log1p(pushed.square().sum(-1) / beta).sum(0)


def _get(name: str) -> Estimator:
    if name not in ESTIMATORS:
        raise ValueError(f"estimator {name!r} is unknown; choose one of {', '.join(ESTIMATORS)}.")
    return ESTIMATORS[name]


def subset_variance(t: Tensor, k: int = 1) -> Tensor:
    """Variance of (d/k) Σ over k distinct entries of t (…, d) drawn at random; (…).

    d²/k · S² · (1 − k/d) with S² the variance of the entries (divisor d − 1). For k = 1 it is
    d·Σ t_i² − (Σ t_i)² (oracle B2); for k = d zero.
    """
    d = t.shape[-1]
    if not 1 <= k <= d:
        raise ValueError(f"k={k} was given; expected 1 ≤ k ≤ d = {d}.")
    if d == 1:
        return torch.zeros_like(t[..., 0])
    return d * d / k * t.var(-1) * (1 - k / d)


def batch_variance(metric: Tensor, beta: float, name: str) -> float:
    """Exact variance (nats²) of the mean over the batch of a column estimator at metric (B, d, d).

    Examples that draw for themselves average their noise out; a shared index does not.
    """
    t = 0.5 * beta * torch.log1p(metric.diagonal(dim1=-2, dim2=-1) / beta)
    if name == "shared_column":
        return float(subset_variance(t.mean(0)))
    sizes = {"one_column": 1, "two_columns": 2, "four_columns": 4}
    if name not in sizes:
        raise ValueError(
            f"no closed form of the variance of {name!r}; there is one for shared_column, "
            f"{', '.join(sizes)}."
        )
    return float(subset_variance(t, sizes[name]).sum() / len(t) ** 2)


@dataclass(frozen=True)
class Finding:
    """What repeated calls of an estimator gave for the mean over a batch, in nats.

    mean, deviation: over calls. z_columns, z_log_det: (mean − target) / standard error. passes:
    tangent passes a call. at_equal_cost: standard deviation of the average of as many calls as cost
    d passes, √(passes/d)·deviation.
    """

    name: str
    mean: float
    deviation: float
    z_columns: float
    z_log_det: float
    passes: int
    at_equal_cost: float


def study(metric: Tensor, beta: float, calls: int = 2000, seed: int = 0) -> list[Finding]:
    """All of `ESTIMATORS` against the column form and the log-det, at the metric (B, d, d) of a
    batch of codes, float64. Directions are functions of `seed`.
    """
    batch, d, _ = metric.shape
    targets = {
        "columns": float(column_regularizer(metric, beta).mean()),
        "log_det": float(log_det_regularizer(metric, beta).mean()),
    }
    found = []
    for place, (name, estimator) in enumerate(ESTIMATORS.items()):
        passes = estimator.passes(d)
        if estimator.draw is None:
            mean, deviation = targets[name], 0.0
        else:
            generator = torch.Generator().manual_seed(1000 * seed + place)
            values = torch.stack(
                [
                    along(metric, estimator.draw(batch, d, generator).to(metric), beta).mean()
                    for _ in range(calls)
                ]
            )
            mean, deviation = float(values.mean()), float(values.std())
            if deviation < 1e-12 * abs(mean):
                # All columns, in other orders: what differs is rounding.
                mean, deviation = float(values[0]), 0.0

        def z_score(target: float, mean=mean, deviation=deviation) -> float:
            if deviation == 0:
                equal = math.isclose(mean, target, rel_tol=1e-12)
                return 0.0 if equal else math.copysign(math.inf, mean - target)
            return (mean - target) / (deviation / math.sqrt(calls))

        found.append(
            Finding(
                name,
                mean,
                deviation,
                z_score(targets["columns"]),
                z_score(targets["log_det"]),
                passes,
                math.sqrt(passes / d) * deviation,
            )
        )
    return found


def milliseconds(decoder: nn.Module, z: Tensor, beta: float, rounds: int = 15) -> dict[str, float]:
    """Median time of a call and its gradient for the decoder's parameters, the estimators taking
    turns so that a busy machine slows all alike.
    """
    own = copy.deepcopy(decoder).to(z.dtype).requires_grad_(True)
    generator = torch.Generator().manual_seed(0)
    times: dict[str, list[float]] = {name: [] for name in ESTIMATORS}
    for _ in range(rounds + 1):
        for name, taken in times.items():
            started = time.perf_counter()
            estimate(own, z, beta, name, generator).mean().backward()
            taken.append(1000 * (time.perf_counter() - started))
    # The first round warms up.
    return {name: statistics.median(taken[1:]) for name, taken in times.items()}
