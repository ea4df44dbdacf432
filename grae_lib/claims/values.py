"""Named numbers: every number that a sentence of the book may quote, as a function of the store.

A number has an *address*::

    NAME[label=value,label=value]:STATISTIC

Labels choose, the statistic reduces what is left (one number a seed) to one number. A name with a
slash is a metric of an experiment, ``mnist-structure/across[beta=0.4,family=full]:mean``; a name
without one is a measure that this module or the ledger derives, ``difference[method=…,beta=1]``, or
the id of a claim, which stands for the claim's first number. The statistic may be left out: mean.

>>> Address.parse("mnist-structure/across[beta=0.4]:spread")
Address(name='mnist-structure/across', labels=(('beta', '0.4'),), statistic='spread')
>>> shown(-0.2567, "+.2f"), shown(0.11, ".2f,bare"), shown(3e-17, ".2f")
('−0.26', '.11', '0.00')
"""

from __future__ import annotations

import functools
import math
import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import results
from ..intervals import interval
from ..results import STORE

_ADDRESS = re.compile(
    r"(?P<name>[A-Za-z0-9][\w./-]*)(\[(?P<labels>[^\[\]]*)\])?(:(?P<statistic>[a-z]+))?"
)
# A label=value, up to a comma; a value in single quotes may hold commas.
_LABEL = re.compile(
    r"\s*(?P<name>[^=,']*?)\s*=\s*(?:'(?P<quoted>[^']*)'|(?P<value>[^,']*?))\s*(?:,|$)"
)

#: A sample over seeds to one number.
STATISTICS: dict[str, Callable[[Sequence[float]], float]] = {
    "mean": statistics.fmean,
    "spread": lambda v: statistics.stdev(v) if len(v) > 1 else 0.0,
    # The lower of the two middle values of an even number, as torch takes it.
    "median": statistics.median_low,
    "min": min,
    "max": max,
    "count": lambda v: float(len(v)),
    "percent": lambda v: 100 * sum(v) / len(v),
    # Half-width of Student's 95 % interval of the mean.
    "interval": lambda v: _half_width(v),
}


def _half_width(values: Sequence[float]) -> float:
    if len(values) < 2:
        raise UnknownAddress("an interval over one value is not offered; two or more are needed.")
    return interval(values)[1]


#: Digits after the point where a mark does not say.
DEFAULT_FORMAT = ".2f"


class UnknownAddress(ValueError):
    """There is no number of that name, or its labels choose nothing; the message lists what is."""


class NotStored(UnknownAddress, results.MissingResult):
    """The experiment is stored, but no run of it has these labels or this metric."""


@dataclass(frozen=True)
class Address:
    """A number's name, the labels that choose among runs, and the statistic over seeds."""

    name: str
    labels: tuple[tuple[str, str], ...] = ()
    statistic: str = "mean"

    @classmethod
    def parse(cls, text: str) -> Address:
        """The address that ``text`` spells; raises UnknownAddress with the grammar."""
        found = _ADDRESS.fullmatch(text.strip())
        if found is None:
            raise UnknownAddress(
                f"{text!r} is not an address; write NAME[label=value,…]:STATISTIC, for example "
                "mnist-structure/across[beta=0.4,family=full]:mean."
            )
        labels, rest = [], found["labels"] or ""
        while rest:
            label = _LABEL.match(rest)
            if label is None:
                raise UnknownAddress(f"{rest!r} in {text!r} is not label=value.")
            value = label["value"] if label["quoted"] is None else label["quoted"]
            labels.append((label["name"], value))
            rest = rest[label.end() :]
        statistic = found["statistic"] or "mean"
        if statistic not in STATISTICS:
            raise UnknownAddress(
                f"statistic {statistic!r} in {text!r} is unknown; choose one of "
                f"{', '.join(STATISTICS)}."
            )
        return cls(found["name"], tuple(labels), statistic)


Measure = Callable[..., list[float]]

#: Measures by name: functions of the store's folder and of labels (as text), one number a seed.
MEASURES: dict[str, Measure] = {}


def measure(name: str) -> Callable[[Measure], Measure]:
    """Register a function ``f(root, **labels) -> list[float]`` as a measure."""

    def register(function: Measure) -> Measure:
        MEASURES[name] = function
        return function

    return register


@functools.lru_cache(maxsize=32)
def _records(experiment: str, root: Path, stamp: int) -> tuple[dict[str, Any], ...]:
    return tuple(results.runs(experiment, root=root))


def records(experiment: str, root: Path = STORE) -> tuple[dict[str, Any], ...]:
    """The stored records of an experiment at its largest scale, read once while they stay as they
    are; raises MissingResult where there are none.
    """
    folder = Path(root) / experiment
    files = sorted(folder.rglob("*.json")) if folder.is_dir() else []
    stamp = hash(tuple((p.name, p.stat().st_mtime_ns, p.stat().st_size) for p in files))
    return _records(experiment, Path(root), stamp)


def same(value: Any, text: str) -> bool:
    """Whether a label's value is what ``text`` spells; numbers are compared as numbers."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            return math.isclose(value, float(text), rel_tol=1e-12)
        except ValueError:
            return False
    return str(value) == text


def chosen(experiment: str, root: Path = STORE, **labels: str) -> list[dict[str, Any]]:
    """Records whose labels are those given; raises NotStored if a label chooses none."""
    found = list(records(experiment, root))
    for name, text in labels.items():
        values = {r["job"]["labels"].get(name) for r in found}
        found = [r for r in found if name in r["job"]["labels"] and same(value_of(r, name), text)]
        if not found:
            known = sorted({str(v) for v in values if v is not None}) or ["nothing"]
            raise NotStored(
                f"label {name}={text} chooses no run of {experiment}; stored are {', '.join(known)}"
                f" (labels: {', '.join(sorted(records(experiment, root)[0]['job']['labels']))})."
            )
    return found


def value_of(record: dict[str, Any], label: str) -> Any:
    """The value of a label of a record."""
    return record["job"]["labels"][label]


def metric(experiment: str, name: str, root: Path = STORE, **labels: str) -> list[float]:
    """A scalar metric of the chosen runs, in the order of the runs' names; diverged ones left out.

    Raises NotStored if no chosen run has it, listing the metrics there are.
    """
    return _metrics(chosen(experiment, root, **labels), experiment, name)


def _metrics(runs: Sequence[dict[str, Any]], experiment: str, name: str) -> list[float]:
    found = [r["metrics"][name] for r in runs if r["metrics"].get(name) is not None]
    if not found or isinstance(found[0], list):
        known = sorted(
            {k for r in runs for k, v in r["metrics"].items() if isinstance(v, (int, float))}
        )
        raise NotStored(f"{experiment} has no number {name!r}; its metrics are {', '.join(known)}.")
    return [float(v) for v in found]


def sample(address: Address, root: Path = STORE) -> list[float]:
    """The numbers, one a seed, that an address chooses; nats or as the measure says.

    Raises UnknownAddress for a name or label that does not exist, MissingResult for results that
    are not stored.
    """
    labels = dict(address.labels)
    if "/" in address.name:
        experiment, _, name = address.name.partition("/")
        return metric(experiment, name, root, **labels)
    if address.name not in MEASURES:
        raise UnknownAddress(
            f"there is no number {address.name!r}; names with a slash are experiment/metric, the "
            f"others are {', '.join(sorted(MEASURES))}."
        )
    try:
        return MEASURES[address.name](root, **labels)
    except TypeError as error:
        raise UnknownAddress(f"{address.name} does not take these labels: {error}") from error


def number(text: str, root: Path = STORE) -> float:
    """The number at an address."""
    address = Address.parse(text)
    return STATISTICS[address.statistic](sample(address, root))


def shown(value: float, how: str = DEFAULT_FORMAT) -> str:
    """A number as a sentence writes it: a minus sign, no minus before zero.

    how: a format such as ``.2f``, ``+.1f``, ``d``, ``,d`` for thousands, and after commas ``bare``,
    which leaves out the zero before the point, and ``size``, which leaves out the sign. Raises
    ValueError for another.
    """
    form, options = how, set()
    while (last := form.rpartition(","))[2] in ("bare", "size"):
        form, _, option = last
        options.add(option)
    value = abs(value) if "size" in options else value
    try:
        text = format(round(value), form) if form.endswith("d") else format(value, form)
    except ValueError as error:
        raise ValueError(
            f"{how!r} is not a format; write .2f, +.1f, d or ,d, then ',bare' to drop the zero "
            "and ',size' to drop the sign."
        ) from error
    if not any(c in "123456789" for c in text):
        text = ("+" if form.startswith("+") else "") + text.lstrip("+-")
    if "bare" in options:
        text = re.sub(r"^([+-]?)0\.", r"\1.", text)
    return text.replace("-", "−")


# --- measures of the comparison of objectives -----------------------------------------------------

_VALUE = "test/optimal/beta_vae"
_REFERENCE = "beta_vae_diagonal"


def _by_seed(experiment: str, name: str, root: Path, **labels: str) -> dict[int, float]:
    found = {
        value_of(r, "seed"): r["metrics"][name]
        for r in chosen(experiment, root, **labels)
        if r["metrics"].get(name) is not None
    }
    if not found:
        metric(experiment, name, root, **labels)  # raises, and says what there is
    return found


def _paired(mine: dict[int, float], theirs: dict[int, float]) -> list[tuple[float, float]]:
    """Both numbers of each seed that both have, seeds ascending."""
    return [(mine[seed], theirs[seed]) for seed in sorted(mine.keys() & theirs.keys())]


def _pairs(
    root: Path,
    *,
    method: str,
    beta: str,
    experiment: str = "mnist-objectives",
    metric: str = _VALUE,
    reference: str = _REFERENCE,
    by: str = "method",
) -> list[tuple[float, float]]:
    """Metric of a method and of the reference at the same β, for each seed that both have.

    by: the label that tells methods apart, such as family in mnist-structure.
    """
    mine, theirs = (
        _by_seed(experiment, metric, root, **{by: m, "beta": beta}) for m in (method, reference)
    )
    pairs = _paired(mine, theirs)
    if not pairs:
        raise NotStored(f"{method} and {reference} of {experiment} share no seed at β = {beta}.")
    return pairs


@measure("difference")
def difference(root: Path, **labels: str) -> list[float]:
    """Metric of `method` less that of the reference with the same seed and β, nats."""
    return [a - b for a, b in _pairs(root, **labels)]


@measure("relative")
def relative(root: Path, **labels: str) -> list[float]:
    """The same difference as a fraction of the reference's metric."""
    return [a / b - 1 for a, b in _pairs(root, **labels)]


@measure("quotient")
def quotient(root: Path, **labels: str) -> list[float]:
    """Mean over seeds of a metric of `method`, divided by that of the reference."""
    pairs = _pairs(root, **labels)
    return [sum(a for a, _ in pairs) / sum(b for _, b in pairs)]


@measure("disagreement")
def disagreement(
    root: Path,
    *,
    beta: str = "",
    method: str = _REFERENCE,
    form: str = "columns",
    experiment: str = "mnist-objectives",
) -> list[float]:
    """|β-VAE loss − deterministic form| / loss at a β-VAE's own solution; every β if none given."""
    labels = {"method": method} | ({"beta": beta} if beta else {})
    name = "test/learned/"
    loss, other = (metric(experiment, name + m, root, **labels) for m in ("beta_vae", form))
    return [abs(a - b) / a for a, b in zip(loss, other, strict=True)]


@measure("ratio")
def ratio(root: Path, *, experiment: str, above: str, below: str, **labels: str) -> list[float]:
    """One metric over another, run by run."""
    upper, lower = (metric(experiment, name, root, **labels) for name in (above, below))
    return [a / b for a, b in zip(upper, lower, strict=True)]


@measure("runs")
def runs_stored(root: Path, *, experiment: str) -> list[float]:
    """How many runs of an experiment are stored; take its mean."""
    return [float(len(records(experiment, root)))]


@measure("sweeps")
def sweeps_planned(root: Path, *, experiment: str, scale: str = "cpu") -> list[float]:
    """How many sweeps an experiment has at a scale; take its mean."""
    from ..experiments import base, get

    return [float(len(base.sweeps(get(experiment).jobs(scale), scale)))]


@measure("seeds")
def seeds_stored(root: Path, *, experiment: str) -> list[float]:
    """How many seeds an experiment has; take its mean."""
    return [float(len({value_of(r, "seed") for r in records(experiment, root)}))]


def _samples(root: Path, metric: str, method: str, beta: str) -> dict[int, float]:
    """A measure of prior samples, averaged over draws, by seed."""
    runs = chosen("mnist-samples", root, method=method, beta=beta)
    return {
        value_of(r, "seed"): statistics.fmean(r["metrics"][metric])
        for r in runs
        if r["metrics"].get(metric) is not None
    }


def sample_pairs(
    root: Path,
    *,
    beta: str,
    metric: str = "frechet",
    method: str = "grae_one_column",
    reference: str = _REFERENCE,
) -> list[tuple[float, float]]:
    """A measure of prior samples, of the method and of the reference, for each seed of both."""
    mine, theirs = (_samples(root, metric, name, beta) for name in (method, reference))
    return _paired(mine, theirs)


@measure("sample-difference")
def sample_difference(root: Path, **labels: str) -> list[float]:
    """A measure of prior samples: method less reference, each seed."""
    return [a - b for a, b in sample_pairs(root, **labels)]


@measure("sample-relative")
def sample_relative(root: Path, **labels: str) -> list[float]:
    """The same difference as a fraction of the reference's measure."""
    return [a / b - 1 for a, b in sample_pairs(root, **labels)]


@measure("sample")
def sample_measure(root: Path, *, beta: str, method: str, metric: str = "frechet") -> list[float]:
    """A measure of prior samples, each seed."""
    return list(_samples(root, metric, method, beta).values())


# --- rate and distortion --------------------------------------------------------------------------


@measure("rd")
def rd(
    root: Path, *, metric: str, beta: str, experiment: str = "tetrominoes-rd", **labels: str
) -> list[float]:
    """A stored or derived metric of rate-distortion runs, such as ``gap/excess``, each seed."""
    from .. import rate_distortion

    runs = rate_distortion.derived(chosen(experiment, root, beta=beta, **labels))
    return _metrics(runs, experiment, metric)


@measure("rd-change")
def rd_change(
    root: Path,
    *,
    metric: str,
    high: str,
    low: str,
    experiment: str = "tetrominoes-rd",
    **labels: str,
) -> list[float]:
    """What lowering β from `high` to `low` does to such a metric, each seed."""
    from .. import rate_distortion

    before, after = (
        {
            value_of(r, "seed"): r["metrics"].get(metric)
            for r in rate_distortion.derived(chosen(experiment, root, beta=beta, **labels))
        }
        for beta in (high, low)
    )
    return [b - a for a, b in _paired(before, after)]


# --- measures of the toy --------------------------------------------------------------------------


def _toy_angles(root: Path, nu: str, W: str, family: str, aligned: str) -> torch.Tensor:
    from .. import data, rotations
    from ..experiments.toy_uniqueness import rotation

    runs = chosen("toy-uniqueness", root, nu=nu, W=W, family=family)
    if aligned != "yes":
        return torch.tensor([r["metrics"]["rotation"] for r in runs], dtype=torch.float64)
    settings = {k: v for k, v in runs[0]["job"]["data"].items() if k != "name"}
    _, truth = data.toy_model(**settings | {"n": 1})
    found = []
    for run in runs:
        A, covariance = (
            torch.tensor(run["metrics"][k], dtype=torch.float64) for k in ("A", "covariance")
        )
        found.append(rotation(rotations.align(A, covariance)[0], truth.W.double()))
    return torch.tensor(found, dtype=torch.float64)


@measure("angle-spread")
def angle_spread(root: Path, *, nu: str, W: str, family: str, aligned: str = "no") -> list[float]:
    """Circular standard deviation over seeds of the toy's rotation modulo 90°, degrees.

    aligned=yes: after each run is turned so that its Σ is diagonal.
    """
    from ..rotations import circular_spread

    return [circular_spread(_toy_angles(root, nu, W, family, aligned))[1]]


@measure("angle")
def angle(root: Path, *, nu: str, W: str, family: str, aligned: str = "no") -> list[float]:
    """Circular mean over seeds of the toy's rotation against the axes of W, degrees in [0, 90)."""
    from ..rotations import circular_mean

    return [circular_mean(_toy_angles(root, nu, W, family, aligned))]


@measure("angle-off")
def angle_off(root: Path, *, nu: str, W: str, family: str = "shared_diagonal") -> list[float]:
    """Each seed's distance from the axes of W, degrees in [0, 45]."""
    return [min(a, 90 - a) for a in _toy_angles(root, nu, W, family, "no").tolist()]


@measure("bump")
def bump(root: Path, *, nu: str, W: str, family: str = "shared_diagonal") -> list[float]:
    """What choosing the best rotation is worth with the learned Σ, each seed, nats (β = 1)."""
    found = []
    for run in chosen("toy-uniqueness", root, nu=nu, W=W, family=family):
        S = torch.tensor(run["metrics"]["covariance"], dtype=torch.float64)
        found.append(0.5 * math.log(float(S.trace() ** 2 / (4 * S.det()))))
    return found


@measure("turn-cost")
def turn_cost(root: Path, *, theta: str, **labels: str) -> list[float]:
    """What a turn by θ degrees costs where the best is worth `bump`, each seed, nats (β = 1)."""
    s = math.sin(math.radians(2 * float(theta)))
    return [0.5 * math.log1p(s**2 * math.expm1(2 * b)) for b in bump(root, **labels)]


# --- closed forms ---------------------------------------------------------------------------------


@measure("gap")
def gap(
    root: Path, *, theta: str = "45", a: str = "1600", b: str = "100", beta: str = "1"
) -> list[float]:
    """ELBO that mean field loses at a turn by θ degrees; squared column norms a, b over noise."""
    from ..rotations import mean_field_gap

    return [float(mean_field_gap(float(theta), float(a), float(b), float(beta)))]


@measure("form-gap")
def form_gap(
    root: Path, *, beta: str, split: str = "test", method: str = _REFERENCE, form: str = "columns"
) -> list[float]:
    """β-VAE loss less the deterministic form at a β-VAE's own solution, each seed, nats."""
    labels = {"method": method, "beta": beta}
    loss, other = (
        metric("mnist-objectives", f"{split}/learned/{name}", root, **labels)
        for name in ("beta_vae", form)
    )
    return [a - b for a, b in zip(loss, other, strict=True)]
