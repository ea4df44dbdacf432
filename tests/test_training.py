"""The training loop: sweeps, determinism, resuming bit for bit, refusals, divergence.

    python tests/test_training.py

prints, for each objective, how far the members of a sweep are from the same models trained alone.
"""

from __future__ import annotations

import json
import math

import pytest
import torch

from grae_lib import models, objectives, training

N, SHAPE, D = 96, (1, 4, 4), 4
SETTINGS = {"batch_size": 32, "device": "cpu", "progress": False}
BETAS = (0.05, 0.3, 1.0)

EVERY = {
    "beta_vae": (lambda b: objectives.BetaVAE(b), "diagonal"),
    "beta_vae_full": (lambda b: objectives.BetaVAE(b, "full"), "full"),
    "beta_vae_block": (lambda b: objectives.BetaVAE(b, "block", 2), "block"),
    "beta_vae_shared": (lambda b: objectives.BetaVAE(b), "shared"),
    "beta_vae_bernoulli": (lambda b: objectives.BetaVAE(b, likelihood="bernoulli"), "diagonal"),
    "taylor": (lambda b: objectives.TaylorVAE(b), "full"),
    "taylor_exact": (lambda b: objectives.TaylorVAE(b, hessian="exact"), "diagonal"),
    "log_det": (lambda b: objectives.GRAE(b), "diagonal"),
    "block": (lambda b: objectives.GRAE(b, "block", 2), "diagonal"),
    "columns": (lambda b: objectives.GRAE(b, "columns"), "diagonal"),
    "one_column": (lambda b: objectives.GRAE(b, "one_column"), "diagonal"),
    "log_det_bernoulli": (lambda b: objectives.GRAE(b, likelihood="bernoulli"), "diagonal"),
    "ae": (lambda b: objectives.AE(), "diagonal"),
    "rae_l2": (lambda b: objectives.RAE_L2(b, b / 10), "diagonal"),
    "rae_gp": (lambda b: objectives.RAE_GP(b, b / 10), "diagonal"),
    "contractive": (lambda b: objectives.ContractiveAE(b / 10), "diagonal"),
}


@pytest.fixture
def x():
    return torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(9))


def build(seed=0, family="diagonal", **settings):
    defaults = {"shape": SHAPE, "latent_dim": D, "hidden": (12,), "output": "identity"}
    size = 2 if family == "block" else None
    return models.build(family=family, block_size=size, seed=seed, **(defaults | settings))


def snapshot(model):
    return {k: v.detach().clone() for k, v in model.state_dict().items()}


def same(a, b):
    return all(torch.equal(a[k], b[k]) for k in a) and a.keys() == b.keys()


def train(x, model=None, objective=None, steps=40, **settings):
    model = build() if model is None else model
    objective = objectives.GRAE(0.1, "one_column") if objective is None else objective
    history = training.fit(model, x, objective, steps=steps, **(SETTINGS | settings))
    return snapshot(model), history


# One loop for one model and for many ---------------------------------------------------------


def largest(changes):
    return max(float((a - b).abs().max()) for a, b in changes)


def together_and_alone(name, x, **settings):
    """Three members trained as a sweep and alone: largest difference and change of a parameter."""
    make, family = EVERY[name]
    goals, seeds = [make(b) for b in BETAS], (3, 4, 5)
    together, alone = ([build(2 + s, family) for s in seeds] for _ in range(2))
    started = [snapshot(m) for m in alone]
    as_sweep = training.fit_sweep(together, x, goals, seeds=seeds, **settings)
    singly = [
        training.fit(m, x, goal, seed=s, **settings)
        for m, goal, s in zip(alone, goals, seeds, strict=True)
    ]
    ends = [(snapshot(a), snapshot(b)) for a, b in zip(together, alone, strict=True)]
    difference = largest((a[k], b[k]) for a, b in ends for k in a)
    least_change = min(
        largest((b[k], start[k]) for k in b) for (_, b), start in zip(ends, started, strict=True)
    )
    return difference, least_change, list(zip(as_sweep, singly, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_a_member_of_a_sweep_ends_where_it_would_alone(name, x):
    """Three members, 50 steps, float64: parameters within 1e-9 of those trained alone.

    Only rounding separates them (a batched product adds in another order); members that mixed
    would differ in the first digits.
    """
    settings = SETTINGS | {"steps": 50, "lr": 1e-2, "dtype": torch.float64}
    difference, change, histories = together_and_alone(name, x, **settings)
    assert difference < 1e-9
    assert change > 1e-3
    for together, alone in histories:
        assert alone.steps == together.steps == [50]
        assert alone.terms.keys() == set(EVERY[name][0](0.1).names)
        for term, values in alone.terms.items():
            assert together.terms[term] == pytest.approx(values, rel=1e-9, abs=1e-11)


def test_a_sweep_of_one_is_fit(x):
    a, b = build(), build()
    objective = objectives.GRAE(0.1)
    settings = SETTINGS | {"steps": 20}
    one = training.fit(a, x, objective, seed=4, **settings)
    (other,) = training.fit_sweep([b], x, [objective], seeds=[4], **settings)
    assert same(snapshot(a), snapshot(b))
    assert one.terms == other.terms


def test_training_lowers_the_loss_and_records_it(x):
    _, history = train(x, objective=objectives.GRAE(0.01), steps=200, log_every=20, lr=1e-2)
    assert history.steps == list(range(20, 201, 20))
    totals = history.terms["total"]
    assert totals[-1] < 0.8 * totals[0]
    for k in range(10):
        parts = [history.terms[name][k] for name in ("distortion", "prior", "regularizer")]
        assert sum(parts) == pytest.approx(totals[k], rel=1e-5)
    assert history.status == "finished"
    assert history.seconds > 0
    assert json.loads(json.dumps(history.to_dict())) == history.to_dict()


def test_one_step_is_one_adam_step_on_the_batch_mean_of_the_total(x):
    """Against torch's own loop: the same rows, Adam at `lr`, the mean over the batch of `total`."""
    model, other = build().double(), build().double()
    objective = objectives.GRAE(0.1)
    optimizer = torch.optim.Adam(other.parameters(), lr=1e-2)
    loss = objective(other, x.double())["total"].mean()
    loss.backward()
    optimizer.step()
    settings = {"batch_size": N, "steps": 1, "lr": 1e-2, "dtype": torch.float64}
    history = training.fit(model, x, objective, **(SETTINGS | settings))
    assert history.terms["total"][0] == pytest.approx(float(loss.detach()), rel=1e-12)
    for p, q in zip(model.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-7, atol=1e-9)


def test_every_example_is_visited_once_an_epoch(x):
    batches = training._Batches(x, [0, 1], objectives.AE(), D, 32)
    orders = []
    for epoch in range(2):
        seen = torch.cat([batches.at(3 * epoch + k)[0] for k in range(3)], 1)
        orders += list(seen)
        for member in seen:
            assert member.sort().values.tolist() == list(range(N))
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_seeds_give_different_batches_and_noise(x):
    a, _ = train(x, seed=1)
    b, _ = train(x, seed=2)
    assert not same(a, b)


@pytest.mark.parametrize("name", ["one_column", "beta_vae", "log_det"])
def test_the_same_seed_gives_the_same_bits(name, x):
    make, family = EVERY[name]
    first, one = train(x, build(3, family), make(0.1), seed=1)
    second, other = train(x, build(3, family), make(0.1), seed=1)
    assert same(first, second)
    assert one.terms == other.terms


def test_the_global_generators_are_neither_read_nor_written(x):
    before = torch.get_rng_state()
    first, _ = train(x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.rand(5)
    second, _ = train(x)
    torch.set_rng_state(before)
    assert same(first, second)


def test_float64_is_trained_in_float64(x):
    model = build()
    history = training.fit(model, x, objectives.GRAE(0.1), steps=3, dtype=torch.float64, **SETTINGS)
    assert history.dtype == "torch.float64"
    assert all(p.dtype == torch.float64 for p in model.parameters())


def test_the_cosine_schedule_ends_at_rate_zero_and_starts_at_lr(x, monkeypatch):
    """Rate at step s (from 0) of S: lr·½(1 + cos πs/S)."""
    rates = []
    step = torch.optim.Adam.step

    def spy(self, *arguments, **settings):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *arguments, **settings)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    train(x, steps=8, lr=0.2, schedule="cosine")
    assert rates == pytest.approx([0.1 * (1 + math.cos(math.pi * s / 8)) for s in range(8)])
    rates.clear()
    train(x, steps=3, lr=0.2)
    assert rates == [0.2] * 3


def test_frozen_parameters_stay_as_they_are(x):
    model = build()
    model.decoder.requires_grad_(False)
    before = snapshot(model)
    after, _ = train(x, model)
    for key, value in after.items():
        assert torch.equal(value, before[key]) == key.startswith("decoder")


# Checkpoints ---------------------------------------------------------------------------------


class Killed(RuntimeError):
    """Stands for the power cut."""


RUNS = {
    "one_column": lambda: (build(), objectives.GRAE(0.1, "one_column")),
    "beta_vae": lambda: (build(family="full"), objectives.BetaVAE(0.1)),
}


@pytest.mark.parametrize(("name", "schedule"), [("one_column", "constant"), ("beta_vae", "cosine")])
@pytest.mark.parametrize("killed_at", [11, 40, 97])
def test_a_run_that_was_killed_resumes_bit_for_bit(
    name, schedule, killed_at, x, tmp_path, monkeypatch
):
    """Killed before step 11 (no checkpoint yet beyond 10), 40 (just saved) and 97 (7 steps lost);
    in another epoch and another block of noise from step 64 on. All parameters torch.equal.
    """
    settings = {"steps": 120, "schedule": schedule, "seed": 2, "lr": 1e-2, "log_every": 10}
    straight, history = train(x, *RUNS[name](), **settings)
    path = tmp_path / "run.safetensors"
    settings |= {"checkpoint": path, "checkpoint_every": 10}
    at = training._Batches.at

    def deadly(self, step):
        if step == killed_at:
            raise Killed
        return at(self, step)

    with monkeypatch.context() as patch:
        patch.setattr(training._Batches, "at", deadly)
        with pytest.raises(Killed):
            train(x, *RUNS[name](), **settings)
    assert path.exists()
    resumed, again = train(x, *RUNS[name](), **settings)
    assert same(resumed, straight)
    assert again.steps == history.steps
    assert again.terms == history.terms


@pytest.mark.parametrize("first", [10, 25, 64])
def test_a_finished_run_can_be_continued_bit_for_bit(first, x, tmp_path):
    """With a constant rate, n steps and then 80 − n more are 80 steps."""
    straight, _ = train(x, steps=80, seed=2)
    path = tmp_path / "run.safetensors"
    train(x, steps=first, seed=2, checkpoint=path)
    continued, _ = train(x, steps=80, seed=2, checkpoint=path)
    assert same(continued, straight)


def test_a_sweep_resumes_bit_for_bit(x, tmp_path, monkeypatch):
    def run(**settings):
        members = [build(s) for s in range(3)]
        goals = [objectives.GRAE(b, "one_column") for b in BETAS]
        training.fit_sweep(members, x, goals, steps=30, **(SETTINGS | settings))
        return [snapshot(m) for m in members]

    straight = run()
    path = tmp_path / "sweep.safetensors"
    save = training._State.save

    def deadly(self, where, step):
        save(self, where, step)
        if step == 20:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(training._State, "save", deadly)
        with pytest.raises(Killed):
            run(checkpoint=path, checkpoint_every=10)
    resumed = run(checkpoint=path, checkpoint_every=10)
    assert all(same(a, b) for a, b in zip(resumed, straight, strict=True))


def test_a_kill_or_a_full_disk_while_writing_leaves_the_older_checkpoint(x, tmp_path, monkeypatch):
    """The file is renamed over the old one only when whole; the run then resumes from the old."""
    straight, _ = train(x, steps=30, seed=2)
    path = tmp_path / "run.safetensors"
    settings = {"steps": 30, "seed": 2, "checkpoint": path, "checkpoint_every": 10}
    train(x, **(settings | {"steps": 10}))
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(training.storage.os, "fsync", full)
        with pytest.raises(OSError, match=r"could not write .*run\.safetensors.*untouched"):
            train(x, **settings)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["run.safetensors"]
    resumed, _ = train(x, **settings)
    assert same(resumed, straight)


@pytest.fixture
def saved(x, tmp_path):
    path = tmp_path / "run.safetensors"
    train(x, steps=20, checkpoint=path)
    return path


OTHERS = {
    "objective": {"objective": objectives.GRAE(0.1, "columns")},
    "beta": {"objective": objectives.GRAE(0.2, "one_column")},
    "model": {"model": build(hidden=(13,))},
    "seed": {"seed": 1},
    "lr": {"lr": 2e-3},
    "batch_size": {"batch_size": 16},
    "schedule": {"schedule": "cosine"},
    "dtype": {"dtype": torch.float64},
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_checkpoint_of_another_run_is_refused(what, x, saved):
    before = saved.read_bytes()
    with pytest.raises(training.CheckpointError, match="another architecture, objective"):
        train(x, checkpoint=saved, **OTHERS[what])
    assert saved.read_bytes() == before


def test_a_checkpoint_of_other_data_is_refused(x, saved):
    other = x.clone()
    other[3, 0, 2, 1] += 1e-3
    with pytest.raises(training.CheckpointError, match="data"):
        train(other, checkpoint=saved)


@pytest.mark.parametrize("kept", [0, 7, 100, 2000, -1])
def test_a_truncated_checkpoint_is_refused(kept, x, saved):
    saved.write_bytes(saved.read_bytes()[:kept])
    with pytest.raises(training.CheckpointError, match="not a readable checkpoint"):
        train(x, checkpoint=saved)


def test_a_file_that_is_no_checkpoint_is_refused(x, tmp_path):
    from safetensors.torch import save_file

    other, text = tmp_path / "weights.safetensors", tmp_path / "notes.txt"
    save_file({"weight": torch.ones(3)}, other)
    text.write_text("step 20\n" * 40)
    for path in (other, text):
        with pytest.raises(training.CheckpointError, match="delete it to start again"):
            train(x, checkpoint=path)


@pytest.mark.parametrize("place", [0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
def test_a_checkpoint_with_one_bit_flipped_is_refused(place, x, saved):
    """Length, header, record and every tensor: a flipped bit anywhere must not be trained on."""
    content = bytearray(saved.read_bytes())
    content[int(place * len(content))] ^= 0x04
    saved.write_bytes(bytes(content))
    with pytest.raises(training.CheckpointError, match="not a readable checkpoint"):
        train(x, checkpoint=saved)


# Divergence ----------------------------------------------------------------------------------


def exploding(seed=0):
    """A model whose decoder overflows float32 at once."""
    model = build(seed)
    with torch.no_grad():
        model.decoder[2].weight.fill_(1e30)
    return model


def test_a_member_that_diverges_is_recorded_and_the_others_go_on(x):
    goals = [objectives.GRAE(b) for b in BETAS]
    members = [build(0), exploding(1), build(2)]
    histories = training.fit_sweep(members, x, goals, steps=30, **SETTINGS)
    assert [h.status for h in histories] == ["finished", "diverged at step 1", "finished"]
    healthy = [build(0), build(1), build(2)]
    training.fit_sweep(healthy, x, goals, steps=30, **SETTINGS)
    for k in (0, 2):
        assert same(snapshot(members[k]), snapshot(healthy[k]))
        assert all(math.isfinite(v) for v in histories[k].terms["total"])


@pytest.mark.parametrize("name", ["log_det", "columns", "beta_vae", "contractive"])
def test_a_huge_learning_rate_diverges_and_fit_says_so(name, x):
    make, family = EVERY[name]
    with pytest.raises(training.TrainingDiverged, match=r"diverged at step \d+ of 60") as error:
        train(x, build(0, family), make(0.1), steps=60, lr=1e25, log_every=5)
    history = error.value.history
    assert history.status.startswith("diverged at step ")
    assert "learning rate (now 1e+25)" in str(error.value)
    assert len(history.steps) >= 1


class Spike(objectives.AE):
    """A finite loss with a gradient that is not: √0 has an infinite slope."""

    def terms(self, model, x, noise, weights):
        terms = super().terms(model, x, noise, weights)
        zero = (model(x) * 0).square().sum(1).sqrt()
        return {**terms, "total": terms["total"] + zero}


def test_parameters_that_the_last_step_leaves_without_value_are_no_success(x):
    """The loss of the last step is finite, but what the step leaves behind is NaN."""
    with pytest.raises(training.TrainingDiverged):
        train(x, objective=Spike(), steps=1)


# Refusals ------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_data_that_are_not_finite_are_refused_before_anything_changes(value, x):
    x[5, 0, 1, 1] = value
    model = build()
    before = snapshot(model)
    with pytest.raises(ValueError, match="1 NaN or infinite entries of 1536"):
        train(x, model)
    assert same(snapshot(model), before)


def test_an_unknown_or_absent_device_is_refused(x):
    with pytest.raises(ValueError, match="'tpu' is unknown; choose auto, cpu, cuda or mps"):
        train(x, device="tpu")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="'cuda' is not available here; usable: auto, cpu"):
            train(x, device="cuda")


def test_streams_of_random_numbers_are_functions_of_their_three_numbers():
    def first(*key):
        return torch.rand(4, generator=training.stream(*key)).tolist()

    assert first(1, 2, 3) == first(1, 2, 3)
    keys = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]
    assert len({tuple(first(*k)) for k in keys}) == len(keys)


def main():
    """Print the largest difference after 200 steps, in single and in double precision."""
    x = torch.rand(N, *SHAPE, generator=torch.Generator().manual_seed(9))
    settings = SETTINGS | {"steps": 200, "lr": 1e-3}
    print("largest difference of a parameter between member and lone training, 200 steps")
    print(f"{'objective':<20}{'float32':>10}{'float64':>10}{'least change':>14}")
    for name in EVERY:
        single, _, _ = together_and_alone(name, x, dtype=torch.float32, **settings)
        double, change, _ = together_and_alone(name, x, dtype=torch.float64, **settings)
        print(f"{name:<20}{single:10.1e}{double:10.1e}{change:14.3f}", flush=True)


if __name__ == "__main__":
    main()
