"""Experiments: grids, grouping into sweeps, running, resuming, and what is refused on the way."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from joblib.externals.loky import get_reusable_executor
from PIL import Image

from grae_lib import experiments, models, results, storage, training
from grae_lib.experiments import base

EVERY = [(name, scale) for name in experiments.REGISTRY for scale in experiments.SCALES]


def tiny_jobs(scale="smoke", lr=1e-2, steps=6):
    """Two families of two seeds on 32 small pictures; one decoder kept."""
    return [
        experiments.Job(
            name=f"{family}_seed{seed}",
            data={
                "name": "tetrominoes",
                "size": 16,
                "color": False,
                "limit": 64,
                "n_train": 32,
                "n_test": 16,
            },
            model={
                "shape": [1, 16, 16],
                "latent_dim": 2,
                "hidden": [4],
                "family": family,
                "seed": seed,
            },
            objective={"name": "BetaVAE", "beta": 0.5},
            training={
                "steps": steps,
                "batch_size": 16,
                "lr": lr,
                "log_every": 2,
                "checkpoint_every": 2,
                "seed": seed,
            },
            labels={"method": family, "beta": 0.5, "seed": seed},
            store_decoder=seed == 0,
        )
        for family in ("diagonal", "full")
        for seed in range(2)
    ]


def tiny_measure(model, train, test, job):
    with torch.no_grad():
        return {"mean": float(model(test.x).mean()), "n": len(train)}


def make(jobs=tiny_jobs):
    return experiments.Experiment("tiny", "none", jobs, tiny_measure)


@pytest.fixture
def tiny(monkeypatch):
    """A registered experiment of four runs in two sweeps, done in a second."""
    experiment = make()
    monkeypatch.setitem(experiments.REGISTRY, "tiny", experiment)
    # Asking git for the commit takes a tenth of a second, once for each record.
    monkeypatch.setattr(results, "_commit", lambda: "none")
    return experiment


def run(experiment, root, **settings):
    settings = {"backend": "sequential", "device": "cpu", "progress": False} | settings
    return experiments.run(experiment, "smoke", root=root, **settings)


def contents(root):
    """Every file of a store by name, the wall time and what depends on it left out."""
    found = {}
    for path in sorted(p for p in Path(root).rglob("*") if p.is_file()):
        if path.suffix == ".json":
            value = storage.read_json(path)
            value.get("provenance", {}).pop("seconds", None)
            found[str(path.relative_to(root))] = (
                sorted(value) if path.name == "manifest.json" else value
            )
        else:
            found[str(path.relative_to(root))] = path.read_bytes()
    return found


# Grids -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_grids_are_sound(name, scale):
    """Names are unique and fit for files, every job can be built, labels tell jobs apart."""
    experiment = experiments.get(name)
    jobs = experiment.jobs(scale)
    names = [job.name for job in jobs]
    assert len(set(names)) == len(names)
    assert all(n.replace("_", "").replace(".", "").isalnum() for n in names)
    assert len({json.dumps(job.labels, sort_keys=True) for job in jobs}) == len(jobs)
    assert experiment.claim
    for job in {json.dumps([j.model | {"seed": 0}, j.objective]): j for j in jobs}.values():
        model = models.build(**job.model)
        job.make_objective().check(model, torch.zeros(2, *job.model["shape"]))
    assert all(json.loads(json.dumps(dataclasses.asdict(job))) for job in jobs)


@pytest.mark.parametrize(("name", "scale"), EVERY)
def test_sweeps_partition_the_jobs_in_a_fixed_way(name, scale):
    jobs = experiments.get(name).jobs(scale)
    for device, most in base.MEMBERS.items():
        groups = base.sweeps(jobs, device)
        assert groups == base.sweeps(experiments.get(name).jobs(scale), device)
        assert sorted(j.name for g in groups for j in g) == sorted(j.name for j in jobs)
        assert max(map(len, groups)) <= max(most, base.TINY_MEMBERS)
        for group in groups:
            same = [
                (j.data, j.model | {"seed": 0}, j.make_objective().config, j.training | {"seed": 0})
                for j in group
            ]
            assert all(s == same[0] for s in same)
    assert len(base.sweeps(jobs, "cuda")) <= len(base.sweeps(jobs, "cpu"))


def test_grouping_does_not_look_at_what_is_done(tiny, tmp_path):
    """A sweep with one run left trains the same members: its checkpoint stays valid."""
    run(tiny, tmp_path)
    before = contents(tmp_path)
    (tmp_path / "tiny/smoke/runs/full_seed1.json").unlink()
    (path,) = run(tiny, tmp_path)
    assert path.name == "full_seed1.json"
    assert contents(tmp_path) == before


def test_grids_hold_what_the_sources_state():
    labels = [j.labels for j in experiments.get("mnist-objectives").jobs("cpu")]
    assert {0.02, 0.06, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0} == {x["beta"] for x in labels}
    assert len({x["method"] for x in labels}) == 5
    for scale, least in (("cpu", 3), ("gpu", 5)):
        jobs = experiments.get("mnist-objectives").jobs(scale)
        assert {j.labels["seed"] for j in jobs} >= set(range(least))
    settings = {
        (j.labels["beta"], j.labels["d"], j.labels["b"])
        for j in experiments.get("mnist-structure").jobs("cpu")
    }
    assert settings == {(0.2, 8, 2), (0.4, 8, 2), (0.6, 12, 2), (1.0, 8, 2)}


def test_unknown_experiments_are_refused():
    with pytest.raises(ValueError, match="'mnist' is unknown; choose one of toy-uniqueness"):
        experiments.get("mnist")


# Running -----------------------------------------------------------------------------------------


def test_a_run_fills_the_store_and_a_second_does_nothing(tiny, tmp_path):
    paths = run(tiny, tmp_path)
    assert [p.name for p in paths] == [
        f"{family}_seed{seed}.json" for family in ("diagonal", "full") for seed in (0, 1)
    ]
    assert results.verify(tmp_path) == []
    assert not list(tmp_path.rglob("checkpoints/*"))
    records = results.runs("tiny", "smoke", tmp_path)
    assert all(r["status"] == "finished" and r["metrics"]["n"] == 32 for r in records)
    assert records[0]["history"]["steps"] == [2, 4, 6]
    assert records[0]["provenance"]["data"]["name"] == "tetrominoes"
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert run(tiny, tmp_path) == []
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before


def test_what_killed_writers_leave_is_removed(tiny, tmp_path):
    run(tiny, tmp_path)
    whole = contents(tmp_path)
    runs = tmp_path / "tiny/smoke/runs"
    (runs / "full_seed1.json").unlink()
    (runs / ".full_seed1.json.abc123.tmp").write_text('{"format": 1, "exp')
    (tmp_path / "tiny/smoke/decoders/.full_seed0.safetensors.x.tmp").write_bytes(b"half")
    run(tiny, tmp_path)
    assert contents(tmp_path) == whole
    assert results.verify(tmp_path) == []


@pytest.mark.parametrize("writes", [3, 8, 9, 10])
def test_a_run_that_stops_at_any_write_resumes(tiny, tmp_path, monkeypatch, writes):
    """Stopped in the n-th write of a file: checkpoints, decoders, records, manifest."""
    run(tiny, tmp_path / "whole")
    write, count = storage.write_bytes, iter(range(1000))

    def failing(path, content):
        if next(count) == writes:
            raise KeyboardInterrupt
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(storage, "write_bytes", failing)
        with pytest.raises(KeyboardInterrupt):
            run(tiny, tmp_path / "part")
    run(tiny, tmp_path / "part")
    assert contents(tmp_path / "part") == contents(tmp_path / "whole")
    assert results.verify(tmp_path / "part") == []


def test_loky_on_two_processes_gives_the_same(tmp_path):
    toy = experiments.get("toy-uniqueness")
    run(toy, tmp_path / "one")
    try:
        run(toy, tmp_path / "two", backend="loky", workers=2)
    finally:
        get_reusable_executor().shutdown()
    one, two = contents(tmp_path / "one"), contents(tmp_path / "two")
    for found in (one, two):
        for name, value in found.items():
            if "/runs/" in name:
                value["provenance"].pop("threads")
    assert one == two


def test_a_run_that_diverges_is_recorded_and_the_rest_finishes(tiny, tmp_path, monkeypatch):
    """The sweep with the absurd rate leaves records that say at which step; the other is whole."""

    def jobs(scale):
        def absurd(job):
            return dataclasses.replace(job, training=job.training | {"lr": 1e25})

        return [absurd(j) if j.labels["method"] == "full" else j for j in tiny_jobs()]

    monkeypatch.setitem(experiments.REGISTRY, "tiny", make(jobs))
    run(make(jobs), tmp_path)
    status = {r["run"]: r["status"] for r in results.runs("tiny", "smoke", tmp_path)}
    assert status["diagonal_seed0"] == status["diagonal_seed1"] == "finished"
    assert status["full_seed0"].startswith("diverged at step ")
    bad = results.runs("tiny", "smoke", tmp_path)[2]
    assert bad["metrics"] == {}
    assert "decoder" not in bad
    assert None in bad["history"]["terms"]["total"]
    assert results.verify(tmp_path) == []
    table = results.table(results.runs("tiny", "smoke", tmp_path), ("method",), "mean")
    assert list(table) == [("diagonal",)]
    assert run(make(jobs), tmp_path) == [], "a diverged run is a result: it is not tried again"


# Refusals: nothing that is stored is lost --------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": "large"}, "scale 'large' is unknown; choose one of smoke, cpu, gpu"),
        ({"backend": "threads"}, "backend 'threads' is unknown; choose one of loky, sequential"),
        ({"workers": 0}, "0 workers were asked for; expected an integer ≥ 1"),
        ({"device": "tpu"}, "device 'tpu' is unknown"),
        ({"backend": "dask"}, "'dask' found no cluster; create a distributed.Client first, or set"),
    ],
)
def test_settings_that_cannot_be_are_refused(tiny, tmp_path, settings, message, monkeypatch):
    monkeypatch.delenv("DASK_SCHEDULER_ADDRESS", raising=False)
    if settings.get("backend") == "dask":
        pytest.importorskip("distributed")
    settings = {"scale": "smoke", "device": "cpu", "backend": "sequential"} | settings
    with pytest.raises(ValueError, match=message):
        experiments.run(tiny, settings.pop("scale"), root=tmp_path, progress=False, **settings)
    assert not list(tmp_path.iterdir())


def test_ray_that_is_not_installed_says_so(tiny, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ValueError, match="backend 'ray' needs the package ray: pip install ray"):
        run(tiny, tmp_path, backend="ray")


def test_a_record_of_other_settings_is_not_taken_for_done(tiny, tmp_path):
    run(tiny, tmp_path)
    before = contents(tmp_path)
    changed = make(lambda scale: tiny_jobs(lr=5e-3))
    with pytest.raises(storage.DamagedFile, match="holds a run with other settings than tiny now"):
        run(changed, tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda b: b[:200], "not valid JSON .* or delete it to have it made again"),
        (lambda b: b.replace(b'"n":32', b'"n":33'), "SHA-256 is not the manifest's. Restore it"),
        (lambda b: b'{"model": "another program"}', "JSON but not a result: it lacks some of"),
        (lambda b: b.replace(b'"tiny"', b'"huge"'), "it is misplaced"),
    ],
)
def test_a_damaged_record_stops_the_run_and_is_made_again_once_deleted(
    tiny, tmp_path, damage, message
):
    run(tiny, tmp_path)
    whole = contents(tmp_path)
    path = tmp_path / "tiny/smoke/runs/full_seed0.json"
    path.write_bytes(damage(path.read_bytes()))
    damaged = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(storage.DamagedFile, match=message) as error:
        run(tiny, tmp_path)
    assert str(path) in str(error.value)
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == damaged
    path.unlink()
    assert len(run(tiny, tmp_path)) == 1
    assert contents(tmp_path) == whole
    assert results.verify(tmp_path) == []


@pytest.mark.parametrize("kind", ["another configuration", "one bit flipped", "truncated"])
def test_a_checkpoint_that_is_not_ours_is_refused(tiny, tmp_path, kind, monkeypatch):
    run(tiny, tmp_path / "whole")
    root = tmp_path / "part"

    def interrupted(*arguments):
        raise KeyboardInterrupt

    lr = 1e-3 if kind == "another configuration" else 1e-2
    first = make(lambda scale: tiny_jobs(lr=lr))
    with monkeypatch.context() as patch:
        patch.setattr(results, "write_run", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run(first, root)
    (path,) = root.rglob("checkpoints/*")
    content = bytearray(path.read_bytes())
    if kind == "one bit flipped":
        content[len(content) // 2] ^= 4
    path.write_bytes(content[:-100] if kind == "truncated" else content)
    with pytest.raises(training.CheckpointError, match="delete it to start again") as error:
        run(tiny, root)
    assert str(path) in str(error.value)
    path.unlink()
    run(tiny, root)
    assert contents(root) == contents(tmp_path / "whole")


# Plans -------------------------------------------------------------------------------------------


def test_a_plan_counts_what_is_left(tiny, tmp_path):
    before = experiments.plan(tiny, "smoke", "cpu", tmp_path)
    assert (before["jobs"], before["todo"], before["sweeps"]) == (4, 4, 2)
    assert 0 < before["seconds"] < 60
    assert not list(tmp_path.iterdir()), "a plan writes nothing"
    run(tiny, tmp_path)
    size = results.size(tmp_path)
    assert 0.2 * size < before["bytes"] < 5 * size
    after = experiments.plan(tiny, "smoke", "cpu", tmp_path)
    assert (after["todo"], after["sweeps"], after["seconds"], after["bytes"]) == (0, 0, 0, 0)
    with pytest.raises(ValueError, match="scale 'large' is unknown"):
        experiments.plan(tiny, "large", "cpu", tmp_path)


# The registered experiments ----------------------------------------------------------------------


def write_celeba(root, train=12, test=6):
    """A folder in CelebA's layout with pictures of noise."""
    folder = root / "celeba/img_align_celeba"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    parts = [0] * train + [1] + [2] * test
    for number, _ in enumerate(parts, start=1):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        coarse.resize((178, 218)).save(folder / f"{number:06d}.jpg", quality=95)
    lines = (f"{number:06d}.jpg {part}\n" for number, part in enumerate(parts, start=1))
    (root / "celeba/list_eval_partition.txt").write_text("".join(lines))
    return root


def test_celeba_objectives_on_a_small_folder(tmp_path, monkeypatch):
    """The whole path of the convolutional experiment, with the root from the environment."""
    monkeypatch.setenv("GRAE_DATA", str(write_celeba(tmp_path / "data")))
    celeba = experiments.get("celeba-objectives")
    assert experiments.plan(celeba, "smoke", "cpu", tmp_path / "store")["todo"] == 5
    paths = run(celeba, tmp_path / "store")
    assert len(paths) == 5
    assert results.verify(tmp_path / "store") == []
    for record in results.runs("celeba-objectives", root=tmp_path / "store"):
        assert record["status"] == "finished"
        assert record["job"]["model"]["architecture"] == "conv"
        assert np.isfinite([v for v in record["metrics"].values() if v is not None]).all()
        assert {"test/optimal/grae", "test/jacobian_norm"} <= record["metrics"].keys()


def test_celeba_that_is_not_there_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("GRAE_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(FileNotFoundError, match="GRAE_DATA"):
        run(experiments.get("celeba-objectives"), tmp_path / "store")


def test_mnist_structure_smoke(tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_commit", lambda: "none")
    run(experiments.get("mnist-structure"), tmp_path)
    for record in results.runs("mnist-structure", root=tmp_path):
        metrics = record["metrics"]
        assert 0 <= metrics["across"] <= 1
        assert 0 <= metrics["inside"] <= 1
        assert np.array(metrics["cosines"]).shape == (8, 8)
        assert metrics["test/bound"] >= 0
