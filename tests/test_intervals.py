"""Intervals over seeds, against SciPy and by counting."""

from __future__ import annotations

import math

import pytest
import torch
from scipy import stats

from grae_lib.intervals import interval, student_quantile


@pytest.mark.parametrize("level", [0.5, 0.95, 0.99])
@pytest.mark.parametrize("degrees", [1, 2, 3, 9, 30])
def test_quantiles_are_students(level: float, degrees: int) -> None:
    expected = float(stats.t.ppf(0.5 + level / 2, degrees))
    assert student_quantile(level, degrees) == pytest.approx(expected, rel=1e-4)


def test_an_interval_is_scipys() -> None:
    values = [1.0, 1.4, 0.7, 1.9]
    mean, half = interval(values)
    low, high = stats.t.interval(0.95, 3, loc=mean, scale=stats.sem(values))
    assert (mean - half, mean + half) == pytest.approx((low, high), rel=1e-4)


def test_an_interval_covers_the_mean_as_often_as_it_says() -> None:
    draws = torch.randn(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    covered = sum(abs(mean) <= half for mean, half in map(interval, draws.tolist()))
    assert abs(covered / 4000 - 0.95) < 4 * math.sqrt(0.95 * 0.05 / 4000)


def test_one_value_has_no_interval_and_none_has_no_mean() -> None:
    mean, half = interval([2.0])
    assert mean == 2.0
    assert math.isnan(half)
    with pytest.raises(ValueError, match="no values were given"):
        interval([])


def test_a_wrong_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"level=1\.5, degrees=2 were given"):
        student_quantile(1.5, 2)
