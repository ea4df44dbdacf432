"""Confidence intervals of a mean over a few seeds."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Sequence

import torch


@functools.cache
def student_quantile(level: float, degrees: int) -> float:
    """t such that a Student variable with `degrees` degrees of freedom is within ±t with
    probability `level`: 4.303 for .95 and 2 degrees.

    Raises ValueError for a level outside (0, 1) or fewer than one degree of freedom.
    """
    if not 0 < level < 1 or degrees < 1:
        raise ValueError(
            f"level={level}, degrees={degrees} were given; expected 0 < level < 1 and degrees ≥ 1."
        )
    # With T = √ν tan θ the density in θ is proportional to cos(θ)^(ν − 1) on (−π/2, π/2).
    theta = torch.linspace(0, math.pi / 2, 200_001, dtype=torch.float64)
    mass = torch.cumulative_trapezoid(theta.cos().clamp_min(0) ** (degrees - 1), theta)
    place = int(torch.searchsorted(mass, level * mass[-1]))
    return math.sqrt(degrees) * math.tan(float(theta[place + 1]))


def interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Mean and half-width of Student's confidence interval of the mean of independent values.

    One value has no spread: its half-width is NaN. Raises ValueError for none.

    >>> mean, half = interval([1.0, 2.0, 3.0])
    >>> mean, round(half, 3)
    (2.0, 2.484)
    """
    if not values:
        raise ValueError("no values were given; an interval needs two, a mean needs one.")
    mean = statistics.fmean(values)
    if len(values) == 1:
        return mean, math.nan
    half = student_quantile(level, len(values) - 1) * statistics.stdev(values)
    return mean, half / math.sqrt(len(values))
