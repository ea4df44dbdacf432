"""Numbers behind the figures of the chapter on GRAE: differences, tiles, intervals, laps."""

from __future__ import annotations

import base64
import io
import math

import numpy as np
import pytest
import torch
from matplotlib import pyplot as plt
from PIL import Image

from grae_lib import plots, plots_grae, race, samples


def record(method, beta, seed, value):
    return {
        "job": {"labels": {"method": method, "beta": beta, "seed": seed}},
        "metrics": {} if value is None else {"m": value},
    }


RECORDS = [
    record("beta_vae_diagonal", 0.1, 0, 10.0),
    record("beta_vae_diagonal", 0.1, 1, 12.0),
    record("grae_log_det", 0.1, 0, 11.0),
    record("grae_log_det", 0.1, 1, 15.0),
    record("grae_log_det", 0.4, 0, None),
    record("beta_vae_diagonal", 0.4, 0, 20.0),
]


def test_differences_are_paired_by_seed_and_are_numbers():
    table = plots.paired_differences(RECORDS, "m", "beta_vae_diagonal")
    assert table[0.1]["grae_log_det"] == (2.0, pytest.approx(math.sqrt(2)))
    assert table[0.1]["beta_vae_diagonal"] == (11.0, pytest.approx(math.sqrt(2)))
    # A run that diverged has no metric and no entry; one seed has no spread.
    assert set(table[0.4]) == {"beta_vae_diagonal"}
    assert table[0.4]["beta_vae_diagonal"][0] == 20.0
    assert math.isnan(table[0.4]["beta_vae_diagonal"][1])


def test_rows_format_the_numbers_and_the_figure_draws_percent():
    table = plots.paired_differences(RECORDS[:4], "m", "beta_vae_diagonal")
    (row,) = plots.difference_rows(table, "beta_vae_diagonal", 1)
    assert row == {
        "β": "0.1",
        "β-VAE, diagonal Σ (nats)": "11.0",
        "GRAE, log-det": "+2.0 ± 1.4",
    }
    figure = plots.relative_differences(table, "beta_vae_diagonal")
    (line,) = figure.axes[0].containers
    assert line.lines[0].get_ydata()[0] == pytest.approx(100 * 2 / 11)
    plt.close(figure)


def test_tiles_keep_every_pixel():
    images = torch.rand(5, 16, generator=torch.Generator().manual_seed(0))
    picture = plots_grae.tile(images, columns=3, side=4)
    assert picture.shape == (2 * 6 - 2, 3 * 6 - 2)
    fifth = (images[4].reshape(4, 4) * 255).round().byte().numpy()
    assert np.array_equal(picture[6:10, 6:10], fifth)


def test_the_slider_shows_one_picture_at_a_time_and_holds_all():
    grids = {
        beta: {"a": torch.full((2, 784), beta), "b": torch.zeros(2, 784)} for beta in (0.2, 0.8)
    }
    figure = plots_grae.sample_slider(grids, 2, "alt text")
    assert [trace.visible for trace in figure.data] == [True, False]
    assert figure.layout.meta["alt"] == "alt text"
    for trace, beta in zip(figure.data, grids, strict=True):
        content = base64.b64decode(trace.source.removeprefix("data:image/png;base64,"))
        picture = np.asarray(Image.open(io.BytesIO(content)))
        assert picture.shape == (28, 2 * 58 + 14, 4)
        assert picture[5, 5, 0] == round(255 * beta)
        assert picture[5, 58 + 5, 3] == 0  # the gap is transparent
        assert picture[5, 58 + 14 + 5, 0] == 0
    steps = figure.layout.sliders[0].steps
    assert [list(step.args[1]) for step in steps] == [[True, False], [False, True]]


def sampled(method, seed, values):
    return record(method, 0.1, seed, values)


def test_comparisons_pair_draws_and_seeds():
    records = [
        sampled("beta_vae_diagonal", 0, [1.0, 2.0, 3.0]),
        sampled("grae_one_column", 0, [2.0, 3.5, 3.5]),
        sampled("beta_vae_diagonal", 1, [5.0, 5.0, 5.0]),
        sampled("grae_one_column", 1, [7.0, 7.0, 7.0]),
        sampled("grae_one_column", 2, [99.0, 99.0, 99.0]),
    ]
    (found,) = samples.compare(records, "m", "grae_one_column", "beta_vae_diagonal")
    assert found.count == 2
    assert (found.value, found.reference) == (5.0, 3.5)
    # Differences 1, 1.5, .5: mean 1, standard error .5/√3, t = 4.303.
    assert found.draws == pytest.approx((1.0, 4.3027 * 0.5 / math.sqrt(3)), rel=1e-3)
    assert found.seeds == pytest.approx((1.5, 12.7062 * math.sqrt(0.5) / math.sqrt(2)), rel=1e-3)
    alone = samples.compare(records[:2], "m", "grae_one_column", "beta_vae_diagonal")
    assert alone[0].seeds is None
    figure = plots_grae.sample_differences(
        {"m": {"grae_one_column": [found], "grae_log_det": []}}, {"m": "difference"}
    )
    assert figure.axes[0].get_ylabel() == "difference"
    plt.close(figure)


def test_laps_are_drawn_against_steps_and_seconds():
    laps = [race.Lap(10, 0.5, 3.0), race.Lap(20, 1.5, 2.0)]
    figure = plots_grae.laps({"grae_columns": laps}, "nats")
    drawn = [ax.get_lines()[0].get_xdata().tolist() for ax in figure.axes]
    assert drawn == [[10, 20], [0.5, 1.5]]
    plt.close(figure)
