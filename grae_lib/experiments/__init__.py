"""The experiments of the book, by name; `python -m grae_lib run NAME` runs one."""

from __future__ import annotations

from . import (
    celeba_objectives,
    fashion_objectives,
    mnist_objectives,
    mnist_race,
    mnist_rd,
    mnist_samples,
    mnist_structure,
    tetrominoes_long,
    tetrominoes_rd,
    toy_uniqueness,
)
from .base import BACKENDS, SCALES, Experiment, Job, plan, run

REGISTRY: dict[str, Experiment] = {
    experiment.name: experiment
    for experiment in (
        toy_uniqueness.EXPERIMENT,
        mnist_structure.EXPERIMENT,
        mnist_objectives.EXPERIMENT,
        mnist_samples.EXPERIMENT,
        fashion_objectives.EXPERIMENT,
        celeba_objectives.EXPERIMENT,
        tetrominoes_rd.EXPERIMENT,
        tetrominoes_long.EXPERIMENT,
        mnist_race.EXPERIMENT,
        mnist_rd.EXPERIMENT,
    )
}


def get(name: str) -> Experiment:
    """The experiment of that name; raises ValueError listing the names there are."""
    if name not in REGISTRY:
        raise ValueError(f"experiment {name!r} is unknown; choose one of {', '.join(REGISTRY)}.")
    return REGISTRY[name]


__all__ = ["BACKENDS", "REGISTRY", "SCALES", "Experiment", "Job", "get", "plan", "run"]
