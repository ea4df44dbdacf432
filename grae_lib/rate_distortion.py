"""Rate–distortion curves: the linear case in closed form, and what stored curves say.

A curve is a family of models trained at different β with all else equal; its points are rate R and
distortion D, in nats a picture. Three facts hold for *global* optima (oracles F1, F2): the optimal
loss L(β) = min (D + βR) is concave with slope R; R does not rise and D does not fall with β; and
between β₁ < β₂ the chord has a slope with β₁ ≤ −ΔD/ΔR ≤ β₂. They concern training data.

The functions below take records as `results.runs` gives them and compare runs that differ in one
thing only: seeds are paired, because a seed fixes initial weights, order of data and noise.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .intervals import interval

Record = Mapping[str, Any]
Cell = tuple[str, str]


def linear_curve(
    spectrum: Sequence[float] | Tensor, betas: Sequence[float] | Tensor, latent_dim: int
) -> dict[str, Tensor]:
    """Rate, distortion and loss of the best linear β-VAE, exactly: reverse water-filling.

    spectrum: eigenvalues λ of the data's covariance; Gaussian likelihood of unit variance. With
    k = min(d, #{λ_i > β}): D = ½(kβ + Σ_{i>k} λ_i), R = ½ Σ_{i≤k} log(λ_i/β), loss D + βR (oracle
    A5; Tipping & Bishop 1999). Returns (len(betas),) each, float64, in nats.
    Raises ValueError for a β, an eigenvalue or a latent dimension that is not above 0.

    >>> curve = linear_curve([4.0, 1.0], [2.0], latent_dim=1)  # one direction above the level 2
    >>> round(curve["distortion"].item(), 4), round(curve["rate"].item(), 4)
    (1.5, 0.3466)
    """
    value = torch.as_tensor(spectrum, dtype=torch.float64).sort(descending=True).values
    beta = torch.as_tensor(betas, dtype=torch.float64)
    if latent_dim < 1 or not bool((value > 0).all()) or not bool((beta > 0).all()):
        raise ValueError(
            f"latent_dim={latent_dim}, smallest eigenvalue {float(value.min()):g} and smallest β "
            f"{float(beta.min()):g} were given; all must be above 0."
        )
    kept = (value > beta[:, None]) & (torch.arange(len(value)) < latent_dim)
    distortion = 0.5 * torch.where(kept, beta[:, None], value).sum(-1)
    rate = 0.5 * torch.where(kept, (value / beta[:, None]).log(), 0.0).sum(-1)
    return {"rate": rate, "distortion": distortion, "loss": distortion + beta * rate}


def derived(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The finished runs, with metrics added that are differences of stored ones, all in nats:

    test/loss = −ELBO = D + R on test data, a bound of −log p(x); test/excess = D − entropy floor;
    test/half_log_det = ½ log|P|, the GRAE regulariser divided by β; all three on train as well; and
    gap/distortion, gap/excess, gap/loss = test − train. The gap of the excess is free of the
    difference between the two sets' floors, which no model can help.
    """
    found = []
    for record in records:
        if record["status"] != "finished":
            continue
        metrics = dict(record["metrics"])
        for part in ("train", "test"):
            metrics[f"{part}/loss"] = -metrics[f"{part}/elbo"]
            metrics[f"{part}/excess"] = (
                metrics[f"{part}/distortion"] - metrics[f"{part}/entropy_floor"]
            )
            beta = record["job"]["labels"]["beta"]
            metrics[f"{part}/half_log_det"] = metrics[f"{part}/log_det"] / beta
        for name in ("distortion", "excess", "loss"):
            metrics[f"gap/{name}"] = metrics[f"test/{name}"] - metrics[f"train/{name}"]
        found.append({**record, "metrics": metrics})
    return found


def cells(records: Iterable[Record]) -> list[Cell]:
    """The pairs (split, capacity) among the records: splits by name, capacities `in_order`."""
    labels = [record["job"]["labels"] for record in records]
    found = {(on["split"], on["capacity"]) for on in labels}
    return sorted(found, key=lambda cell: (cell[0], in_order(cell[1])))


def in_order(capacity: str) -> tuple[bool, str]:
    """Key to sort capacities by: fully connected networks by depth, then the convolutional one."""
    return capacity == "conv", capacity


def by_seed(records: Iterable[Record], cell: Cell) -> dict[int, dict[float, Mapping[str, Any]]]:
    """{seed: {β: metrics}} of one cell (split, capacity), β ascending."""
    found: dict[int, dict[float, Mapping[str, Any]]] = {}
    for record in records:
        on = record["job"]["labels"]
        if (on["split"], on["capacity"]) == cell:
            found.setdefault(on["seed"], {})[on["beta"]] = record["metrics"]
    return {seed: dict(sorted(found[seed].items())) for seed in sorted(found)}


def _interval(values: Sequence[float]) -> tuple[float, float, int]:
    """Mean, half-width of its 95 % interval and count."""
    return *interval(values), len(values)


def verdict(mean: float, half: float) -> str:
    """'−' or '+' where the 95 % interval lies on one side of zero, '0' where it does not."""
    if math.isnan(half) or abs(mean) <= half:
        return "0"
    return "−" if mean < 0 else "+"


def change(
    records: Sequence[Record], metric: str, high: float, low: float
) -> dict[Cell, tuple[float, float, int]]:
    """What lowering β from `high` to `low` does to a metric, paired over seeds.

    {(split, capacity): (mean of metric(low) − metric(high), half-width of its 95 % interval,
    seeds)}; cells without a seed that has both are left out.
    """
    found = {}
    for cell in cells(records):
        pairs = [
            runs[low][metric] - runs[high][metric]
            for runs in by_seed(records, cell).values()
            if low in runs and high in runs
        ]
        if pairs:
            found[cell] = _interval(pairs)
    return found


def best(records: Sequence[Record], metric: str) -> dict[Cell, dict[str, Any]]:
    """The β with the lowest mean of a metric over seeds, in each cell, and how sure that is.

    value, half, seeds: mean, 95 % half-width and count there; per_seed: the best β of each seed;
    ties: every β whose paired difference from the best one cannot be told from zero.
    """
    found = {}
    for cell in cells(records):
        runs = list(by_seed(records, cell).values())
        shared = sorted(set.intersection(*(set(r) for r in runs)))
        if not shared:
            continue
        means = {beta: statistics.fmean(r[beta][metric] for r in runs) for beta in shared}
        top = min(shared, key=lambda beta: means[beta])
        value, half, n = _interval([r[top][metric] for r in runs])
        ties = []
        for beta in shared:
            pairs = [r[beta][metric] - r[top][metric] for r in runs]
            if beta == top or verdict(*interval(pairs)) == "0":
                ties.append(beta)
        found[cell] = {
            "beta": top,
            "value": value,
            "half": half,
            "seeds": n,
            "per_seed": [min(shared, key=lambda b, r=r: r[b][metric]) for r in runs],
            "ties": ties,
        }
    return found


def bracket(records: Sequence[Record], part: str = "train") -> list[dict[str, Any]]:
    """Oracle F2 on every interval of neighbouring β of every trained curve (cell and seed).

    Each row: split, capacity, seed, low, high (the two β), slope = −ΔD/ΔR (NaN for equal rates),
    holds: low ≤ slope ≤ high with R falling; excess: the larger number of nats by which one of the
    two models beats the other at the *other's* own β, zero where the interval holds. A violation
    proves that at least one of the two did not reach its optimum. Sampling noise in D counts too.
    """
    rows = []
    for cell in cells(records):
        for seed, runs in by_seed(records, cell).items():
            betas = list(runs)
            for low, high in itertools.pairwise(betas):
                d = [runs[b][f"{part}/distortion"] for b in (low, high)]
                r = [runs[b][f"{part}/rate"] for b in (low, high)]
                # Positive: what the model of one β would gain at it by being the other model.
                at_low = (d[0] + low * r[0]) - (d[1] + low * r[1])
                at_high = (d[1] + high * r[1]) - (d[0] + high * r[0])
                rows.append(
                    {
                        "split": cell[0],
                        "capacity": cell[1],
                        "seed": seed,
                        "low": low,
                        "high": high,
                        "slope": (d[1] - d[0]) / (r[0] - r[1]) if r[0] != r[1] else math.nan,
                        "holds": at_low <= 0 and at_high <= 0,
                        "excess": max(at_low, at_high, 0.0),
                    }
                )
    return rows


def envelope(
    records: Sequence[Record], part: str = "train"
) -> dict[Cell, dict[float, list[float]]]:
    """How far each model is above the best loss that any model of its curve has at its β, in nats.

    {(split, capacity): {β: one value a seed}}. Zero where the run at β is itself the best at β; a
    positive value is a lower bound of how far its training stopped from the optimum.
    """
    found: dict[Cell, dict[float, list[float]]] = {}
    for cell in cells(records):
        for runs in by_seed(records, cell).values():
            points = [(m[f"{part}/distortion"], m[f"{part}/rate"]) for m in runs.values()]
            for beta, metrics in runs.items():
                own = metrics[f"{part}/distortion"] + beta * metrics[f"{part}/rate"]
                least = min(d + beta * r for d, r in points)
                found.setdefault(cell, {}).setdefault(beta, []).append(own - least)
    return found


def at_rate(
    records: Sequence[Record], cell: Cell, rate: float, metric: str, part: str = "test"
) -> tuple[float, float, int] | None:
    """A metric where the curve of a cell passes a given rate, interpolated linearly in the rate.

    Mean, 95 % half-width and count over seeds whose curves reach the rate; None if none does.
    """
    values = []
    for runs in by_seed(records, cell).values():
        points = sorted((m[f"{part}/rate"], m[metric]) for m in runs.values())
        for (r0, v0), (r1, v1) in itertools.pairwise(points):
            if r0 <= rate <= r1 and r1 > r0:
                values.append(v0 + (v1 - v0) * (rate - r0) / (r1 - r0))
                break
    return _interval(values) if values else None


def saturation(
    records: Sequence[Record], part: str = "test", margin: float = 0.05
) -> dict[Cell, float]:
    """The largest β of a cell at which, for every seed, mutual information is within `margin` nats
    of its bound and stays so at all smaller β; cells where there is none are left out.
    """
    found = {}
    for cell in cells(records):
        runs = list(by_seed(records, cell).values())
        for beta in sorted(set.intersection(*(set(r) for r in runs))):
            missing = max(
                r[beta][f"{part}/information_bound"] - r[beta][f"{part}/mutual_information"]
                for r in runs
            )
            if missing > margin:
                break
            found[cell] = beta
    return found


def flattening(records: Iterable[Record], share: float = 0.2) -> dict[Cell, dict[float, float]]:
    """Relative change of the training distortion between the last `share` of the logged steps and
    the equal stretch before it, mean over seeds: {(split, capacity): {β: change}}.
    """
    parts: dict[Cell, dict[float, list[float]]] = {}
    for record in records:
        values = record["history"]["terms"]["distortion"]
        count = max(1, round(share * len(values)))
        last, before = values[-count:], values[-2 * count : -count]
        if not before:
            raise ValueError(f"run {record['run']!r} logged {len(values)} values; too few.")
        on = record["job"]["labels"]
        cell = parts.setdefault((on["split"], on["capacity"]), {})
        cell.setdefault(on["beta"], []).append(
            statistics.fmean(last) / statistics.fmean(before) - 1
        )
    return {
        cell: {beta: statistics.fmean(v) for beta, v in sorted(betas.items())}
        for cell, betas in sorted(parts.items())
    }


def signed(cell: tuple[float, float, int]) -> str:
    """'+1.23 ± .45 (+)': a change with its 95 % half-width and its verdict."""
    mean, half, _ = cell
    width = "?" if math.isnan(half) else f"{half:.2f}"
    return f"{mean:+.2f} ± {width} ({verdict(mean, half)})"


def rows(
    table: Mapping[Cell, Any], columns: Mapping[str, Callable[[Any], Any]]
) -> list[dict[str, Any]]:
    """One row a cell for `plots.as_table`: split, capacity and what each column makes of it."""
    return [
        {"split": split, "capacity": capacity}
        | {head: make(value) for head, make in columns.items()}
        for (split, capacity), value in table.items()
    ]
