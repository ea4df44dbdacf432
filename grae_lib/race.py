"""Training with laps: what an objective has reached after so many steps and so many seconds."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import training
from .models import AutoEncoder
from .objectives import Objective


@dataclass(frozen=True)
class Lap:
    """step: steps taken, from 1. seconds: of training alone. value: of the common measure."""

    step: int
    seconds: float
    value: float


def race(
    make: Callable[[], AutoEncoder],
    objectives: Mapping[str, Objective],
    data,
    measure: Callable[[AutoEncoder], float],
    *,
    laps: int,
    every: int,
    **settings,
) -> dict[str, list[Lap]]:
    """Train one model for each objective, `laps` times `every` steps, and measure it after each.

    make: a fresh model, the same at every call. measure: model → the number that all are compared
    by. settings: of `training.fit`, with a constant learning rate, so that a pause changes nothing:
    the model at a lap is, bit for bit on a CPU, the one that training without laps has there.
    """
    for name, value in (("laps", laps), ("every", every)):
        if value < 1:
            raise ValueError(f"{name}={value} was given; expected an integer ≥ 1.")
    found: dict[str, list[Lap]] = {}
    for name, objective in objectives.items():
        with tempfile.TemporaryDirectory() as folder:
            for lap in range(1, laps + 1):
                model = make()
                history = training.fit(
                    model, data, objective, steps=lap * every, checkpoint_every=every,
                    checkpoint=Path(folder) / "lap.safetensors", progress=False, **settings,
                )  # fmt: skip
                done = Lap(lap * every, history.seconds, measure(model))
                found.setdefault(name, []).append(done)
    return found


def from_records(
    records: Iterable[Mapping[str, Any]], metric: str = "test/optimal/beta_vae"
) -> dict[tuple[float, str, int], list[Lap]]:
    """(β, method, seed) → laps, from records of the experiment mnist-race.

    There each lap is a run of its own, in a sweep with others, so seconds are not known: NaN.
    """
    found: dict[tuple[float, str, int], list[Lap]] = {}
    for record in records:
        on = record["job"]["labels"]
        lap = Lap(on["steps"], math.nan, record["metrics"][metric])
        found.setdefault((on["beta"], on["method"], on["seed"]), []).append(lap)
    return {key: sorted(laps, key=lambda lap: lap.step) for key, laps in found.items()}


def first_below(laps: Sequence[Lap], target: float) -> tuple[float, float] | None:
    """Steps and seconds after which the value first is at or below `target`, interpolated on a
    straight line between laps; None if it never is.
    """
    before = None
    for lap in laps:
        if lap.value <= target:
            if before is None:
                return float(lap.step), lap.seconds
            share = (before.value - target) / (before.value - lap.value)
            return (
                before.step + share * (lap.step - before.step),
                before.seconds + share * (lap.seconds - before.seconds),
            )
        before = lap
    return None
