"""Rate–distortion analysis: the linear case in closed form, and curves with known answers."""

import base64
import io
import math

import pytest
import torch
from PIL import Image

from grae_lib import experiments, plots_rd, results
from grae_lib import rate_distortion as rd
from grae_lib.experiments.base import run_sweep, sweeps
from grae_lib.intervals import student_quantile

SPECTRUM = (5, 3, 1.5, 0.6, 0.3, 0.1)


def record(beta, seed, rate, distortion, *, part_gap=0.0, split="easy", capacity="depth1", **extra):
    """A stored run with the given training point; held-out distortion is higher by `part_gap`."""
    metrics = {}
    for part, more in (("train", 0.0), ("test", part_gap)):
        metrics |= {
            f"{part}/rate": rate,
            f"{part}/distortion": distortion + more,
            f"{part}/elbo": -(rate + distortion + more),
            f"{part}/entropy_floor": 1.0,
            f"{part}/log_det": 0.5 * beta,
            f"{part}/mutual_information": min(rate, 4.0),
            f"{part}/information_bound": 4.0,
        }
    return {
        "run": f"{split}_{capacity}_{beta}_{seed}",
        "status": "finished",
        "job": {
            "labels": {"split": split, "capacity": capacity, "beta": beta, "seed": seed},
            "model": {"shape": [1, 4, 4]},
        },
        "metrics": metrics | extra,
        "history": {"steps": list(range(10)), "terms": {"distortion": [20.0] * 6 + [10.0] * 4}},
    }


def linear_records(betas, seeds=2):
    """Runs that lie exactly on the optimal curve of the linear case."""
    curve = rd.linear_curve(SPECTRUM, betas, 4)
    return rd.derived(
        record(b, seed, float(curve["rate"][i]), float(curve["distortion"][i]))
        for i, b in enumerate(betas)
        for seed in range(seeds)
    )


# The linear case ---------------------------------------------------------------------------------


def test_A5_the_stated_numbers():
    found = rd.linear_curve(SPECTRUM, [0.2], 4)
    assert float(found["distortion"][0]) == pytest.approx(0.6, abs=1e-12)
    assert float(found["rate"][0]) == pytest.approx(4.520221, abs=1e-6)


def test_A3_the_loss_is_the_stated_one():
    found = rd.linear_curve(SPECTRUM, [1.0], 4)
    assert float(found["loss"][0]) == pytest.approx(3.55675765, abs=1e-8)


def test_A5_beyond_the_first_eigenvalue_nothing_is_described():
    found = rd.linear_curve((0.3, 5, 3), [5.0, 7.0], 2)
    assert found["rate"].tolist() == [0.0, 0.0]
    assert found["distortion"].tolist() == pytest.approx([4.15, 4.15])


def test_F1_slope_and_concavity():
    betas = torch.linspace(0.05, 6, 2000, dtype=torch.float64)
    found = rd.linear_curve(SPECTRUM, betas, 4)
    slope = found["loss"].diff() / betas.diff()
    assert bool((slope <= found["rate"][:-1] + 1e-9).all())
    assert bool((slope >= found["rate"][1:] - 1e-9).all())
    assert float(found["loss"].diff().diff().max()) < 1e-12


@pytest.mark.parametrize(
    ("spectrum", "betas", "d"), [((1.0, 0.0), [1.0], 2), ((1.0,), [0.0], 1), ((1.0,), [1.0], 0)]
)
def test_linear_curve_refuses(spectrum, betas, d):
    with pytest.raises(ValueError, match="all must be above 0"):
        rd.linear_curve(spectrum, betas, d)


# F2 ----------------------------------------------------------------------------------------------


def test_F2_holds_on_optimal_curves_and_the_excess_is_zero():
    records = linear_records([0.05, 0.2, 0.5, 1.0, 2.0, 4.0])
    found = rd.bracket(records)
    assert len(found) == 2 * 5
    assert all(
        r["holds"] and r["excess"] == 0 and r["low"] <= r["slope"] <= r["high"] for r in found
    )
    values = rd.envelope(records)["easy", "depth1"]
    assert all(v == pytest.approx(0, abs=1e-12) for vs in values.values() for v in vs)


def test_F2_finds_the_run_that_stopped_early():
    """The run at β = 1 is made worse by .6 nats in D: both its intervals fail."""
    records = linear_records([0.5, 1.0, 2.0], seeds=1)
    records[1]["metrics"]["train/distortion"] += 0.6
    found = rd.bracket(records)
    assert not all(r["holds"] for r in found)
    clean = rd.linear_curve(SPECTRUM, [0.5, 1.0, 2.0], 4)
    at_one = clean["distortion"] + 1.0 * clean["rate"]
    # At its own β = 1 the run is beaten by both neighbours; at theirs it beats none of them.
    for row, neighbour in zip(found, (0, 2), strict=True):
        assert row["excess"] == pytest.approx(float(at_one[1] + 0.6 - at_one[neighbour]), abs=1e-12)
    expected = float(at_one[1]) + 0.6 - min(float(at_one[0]), float(at_one[2]))
    assert rd.envelope(records)["easy", "depth1"][1.0] == pytest.approx([expected])


def test_F2_a_curve_that_runs_backwards_fails():
    found = rd.bracket(rd.derived([record(0.1, 0, 3.0, 5.0), record(1.0, 0, 4.0, 4.0)]))
    assert not found[0]["holds"]
    assert found[0]["excess"] == pytest.approx(0.9)  # at β = .1: 5.3 against 4.4 nats
    same = rd.bracket(rd.derived([record(0.1, 0, 3.0, 5.0), record(1.0, 0, 3.0, 5.0)]))
    assert math.isnan(same[0]["slope"])
    assert same[0]["holds"]


# Comparisons -------------------------------------------------------------------------------------


def test_change_pairs_seeds():
    """Seeds differ by 5 nats, the effect is −1 in each: pairing sees it, means alone would not."""
    shifts = {0: 0.0, 1: 5.0, 2: -5.0}
    records = rd.derived(
        record(b, s, 1.0, 10 + shift + (0.01 * s if b == 0.1 else 1))
        for s, shift in shifts.items()
        for b in (0.1, 1.0)
    )
    mean, half, n = rd.change(records, "test/distortion", 1.0, 0.1)["easy", "depth1"]
    assert mean == pytest.approx(-0.99)
    assert half == pytest.approx(student_quantile(0.95, 2) * 0.01 / math.sqrt(3))
    assert n == 3
    assert rd.signed((mean, half, n)) == "-0.99 ± 0.02 (−)"
    assert rd.change(records, "test/distortion", 1.0, 0.3) == {}


def test_verdicts():
    assert rd.verdict(-1, 0.5) == "−"
    assert rd.verdict(1, 0.5) == "+"
    assert rd.verdict(0.4, 0.5) == rd.verdict(-3, math.nan) == "0"


def test_best_and_its_ties():
    values = {0.1: [5.0, 5.2, 4.9], 0.5: [4.0, 4.1, 4.2], 1.0: [4.05, 4.0, 4.3], 2.0: [6, 6.1, 6.2]}
    records = rd.derived(record(b, s, 1.0, v) for b, vs in values.items() for s, v in enumerate(vs))
    found = rd.best(records, "test/distortion")["easy", "depth1"]
    assert found["beta"] == 0.5
    assert found["value"] == pytest.approx(4.1)
    assert found["per_seed"] == [0.5, 1.0, 0.5]
    assert found["ties"] == [0.5, 1.0]


def test_at_rate_interpolates_and_does_not_extrapolate():
    records = rd.derived(
        record(b, 0, r, d, part_gap=0.5) for b, r, d in ((0.1, 6, 2), (1, 4, 3), (2, 1, 6))
    )
    cell = ("easy", "depth1")
    assert rd.at_rate(records, cell, 5.0, "test/distortion")[0] == pytest.approx(3.0)
    assert rd.at_rate(records, cell, 2.0, "test/distortion")[0] == pytest.approx(5.5)
    assert rd.at_rate(records, cell, 2.0, "gap/distortion")[0] == pytest.approx(0.5)
    assert rd.at_rate(records, cell, 7.0, "test/distortion") is None


def test_saturation_is_the_largest_beta_from_which_on_the_bound_is_met():
    rates = {0.01: 9.0, 0.1: 4.2, 0.5: 3.97, 1.0: 3.0, 2.0: 3.99}
    records = rd.derived(record(b, s, r, 5.0) for b, r in rates.items() for s in (0, 1))
    assert rd.saturation(records) == {("easy", "depth1"): 0.5}
    assert rd.saturation(records, margin=0.001) == {("easy", "depth1"): 0.1}
    assert rd.saturation(rd.derived([record(1.0, 0, 1.0, 5.0)])) == {}


def test_flattening():
    found = rd.flattening([record(1.0, 0, 1.0, 5.0)], share=0.4)
    assert found["easy", "depth1"][1.0] == pytest.approx(10.0 / 20.0 - 1)
    assert rd.flattening([record(1.0, 0, 1.0, 5.0)])["easy", "depth1"][1.0] == 0


def test_derived_differences_and_diverged_runs():
    broken = record(1.0, 1, 1.0, 5.0) | {"status": "diverged at step 3", "metrics": {}}
    found = rd.derived([record(2.0, 0, 1.0, 5.0, part_gap=0.4), broken])
    assert len(found) == 1
    metrics = found[0]["metrics"]
    assert metrics["gap/distortion"] == pytest.approx(0.4)
    assert metrics["gap/loss"] == pytest.approx(0.4)
    assert metrics["test/loss"] == pytest.approx(6.4)
    assert metrics["test/excess"] == pytest.approx(4.4)
    assert metrics["test/half_log_det"] == pytest.approx(0.5)


# Figures -----------------------------------------------------------------------------------------


def png(pixels):
    file = io.BytesIO()
    Image.fromarray(pixels.numpy()).save(file, "png")
    return base64.b64encode(file.getvalue()).decode()


def test_sheet_is_cut_into_its_pictures():
    """Picture k of row r is filled with the level 10·r + k."""
    level = (10 * torch.arange(2)[:, None] + torch.arange(8)).to(torch.uint8)
    pixels = level.repeat_interleave(4, 0).repeat_interleave(4, 1)
    run = record(1.0, 0, 1.0, 5.0) | {}
    run["metrics"] = run["metrics"] | {"test/sheet": png(pixels)}
    found = plots_rd.sheet(run, "test")
    assert found.shape == (2, 8, 1, 4, 4)
    assert torch.equal((found[:, :, 0, 0, 0] * 255).round().to(torch.uint8), level)
    rows = plots_rd.sheet_rows([run], "easy", "test", ["depth1"], [1.0])
    assert list(rows) == ["held out", "1 hidden layer, β = 1"]
    with pytest.raises(ValueError, match="stores no pictures of 'train'; seed 0 does"):
        plots_rd.sheet(run, "train")


def test_factor_frames_run_from_end_to_end():
    frames = plots_rd.factor_frames(frames=5, size=16)
    assert list(frames) == ["angle", "hue", "scale", "x", "y"]
    assert all(f.shape == (5, 3, 16, 16) for f in frames.values())
    assert torch.equal(frames["angle"][0], frames["angle"][-1])  # a full turn
    area = frames["scale"].double().sum((1, 2, 3))
    assert bool((area.diff() > 0).all())


def test_factor_slider_has_a_named_stop_for_each_frame_and_runs_no_script():
    text = plots_rd.factor_slider(frames=5, size=16).data
    for name in ("angle", "hue", "scale", "x", "y"):
        assert text.count(f'name="grae-factor-{name}"') == 5
        assert text.count(f'aria-label="{name} ') == 5
    assert text.count(" checked") == 5
    assert text.count(":checked~span") == 5
    assert "http" not in text
    assert "<script" not in text
    assert "oninput" not in text


@pytest.mark.parametrize("experiment", ["tetrominoes-rd", "mnist-rd"])
def test_every_figure_takes_what_is_stored(experiment):
    if not any((results.folder(experiment, "cpu") / "runs").glob("*.json")):
        pytest.skip(f"{experiment} is not in the store yet")
    records = rd.derived(results.runs(experiment))
    figures = [
        plots_rd.curves(records),
        plots_rd.over_beta(records, {"distortion": "D", "gap/excess": "gap"}),
        plots_rd.histories(records, betas=(0.001, 0.1, 1.0)),
        plots_rd.brackets(rd.bracket(records)),
    ]
    splits = {r["job"]["labels"]["split"] for r in records}
    for figure in figures:
        assert len(figure.axes) % len(splits) == 0
        assert all(ax.has_data() for ax in figure.axes)
        figure.clear()
    interactive = plots_rd.curves_interactive(records, "alt")
    assert len(interactive.data) == 2 * len(rd.cells(records))
    assert interactive.layout.meta["alt"] == "alt"


# The experiments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("experiment", "betas", "splits", "capacities"),
    [
        ("tetrominoes-rd", 12, {"easy", "hard", "thinned"}, {"depth1", "depth3", "conv"}),
        ("tetrominoes-long", 12, {"easy", "thinned"}, {"depth1", "depth3", "conv"}),
        ("mnist-rd", 6, None, {"depth1", "depth3"}),
    ],
)
def test_grids_at_the_cpu_scale(experiment, betas, splits, capacities):
    jobs = experiments.get(experiment).jobs("cpu")
    labels = [j.labels for j in jobs]
    assert len({on["beta"] for on in labels}) == betas
    assert {on["capacity"] for on in labels} == capacities
    convolutional = {j.name for j in jobs if j.model.get("architecture") == "conv"}
    assert convolutional == {j.name for j in jobs if j.labels["capacity"] == "conv"}
    assert {on["seed"] for on in labels} == {0, 1, 2}
    assert splits is None or {on["split"] for on in labels} == splits
    assert min(on["beta"] for on in labels) == 0.001


def test_the_long_trainings_differ_from_the_short_ones_in_steps_alone():
    short = {j.name: j for j in experiments.get("tetrominoes-rd").jobs("cpu")}
    for job in experiments.get("tetrominoes-long").jobs("cpu"):
        twin = short[job.name]
        assert (job.data, job.model, job.objective) == (twin.data, twin.model, twin.objective)
        assert job.training["steps"] == 4 * twin.training["steps"]
        assert job.training | {"steps": 0, "log_every": 0} == twin.training | {
            "steps": 0,
            "log_every": 0,
        }


@pytest.mark.parametrize("experiment", ["tetrominoes-rd", "tetrominoes-long", "mnist-rd"])
def test_smoke_runs_measure_what_holds_of_any_model(experiment, tmp_path):
    jobs = experiments.get(experiment).jobs("smoke")
    for group in sweeps(jobs, "cpu"):
        run_sweep(experiment, "smoke", group, "cpu", tmp_path, None)
    stored = results.runs(experiment, "smoke", tmp_path)
    assert len(stored) == len(jobs) == 2
    for record in rd.derived(stored):
        m, beta = record["metrics"], record["job"]["labels"]["beta"]
        for part in ("train", "test"):
            assert m[f"{part}/distortion"] > m[f"{part}/entropy_floor"] > 0
            assert m[f"{part}/mutual_information"] <= m[f"{part}/information_bound"] + 1e-6
            assert m[f"{part}/mutual_information_minibatch"] <= math.log(64) + 1e-6
            split = m[f"{part}/mutual_information"] + m[f"{part}/marginal_kl"]
            assert split == pytest.approx(m[f"{part}/rate"], rel=1e-4, abs=1e-4)
            expected = m[f"{part}/distortion"] + beta * m[f"{part}/rate"]
            assert m[f"{part}/objective"] == pytest.approx(expected, rel=1e-6)
            assert plots_rd.sheet(record, part).shape[:2] == (2, 8)
        assert m["train/information_bound"] == pytest.approx(math.log(512))
        assert m["test/information_bound"] == pytest.approx(math.log(256))
