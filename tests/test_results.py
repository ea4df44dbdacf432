"""The store: what is written comes back, damage of any byte is found, and tables are right."""

from __future__ import annotations

import json
import math
import random
import shutil
import statistics
from pathlib import Path

import pytest
import torch

from grae_lib import models, results, storage

SHAPE = (1, 4, 4)
SEEDS = (0, 1, 2)


def images(n=20):
    x = torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(4))
    return (x * 255).round() / 255, torch.arange(n) % 10


def record(seed, root, method="grae_log_det", **changes):
    """A record with a decoder, both written to the store."""
    run = f"{method}_beta0.1_seed{seed}"
    about = {"method": method, "beta": "0.1", "seed": str(seed)}
    file = f"decoders/{run}.safetensors"
    path = results.folder("mnist-objectives", "cpu", root) / file
    model = models.build(shape=SHAPE, latent_dim=3, hidden=(5,), seed=seed)
    numbers = results.write_decoder(path, model, *images(), about)
    made = {
        "format": results.FORMAT,
        "experiment": "mnist-objectives",
        "scale": "cpu",
        "run": run,
        "job": {"labels": {"method": method, "beta": 0.1, "seed": seed}},
        "status": "finished",
        "metrics": {"total": 1.5 + seed, "rate": math.nan},
        "decoder": {"file": file, "sha256": storage.sha256(path), "recheck": numbers},
        "provenance": results.provenance("cpu", 1.23456, {"name": "none"}),
    } | changes
    results.write_run(made, root)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("made")
    for seed in SEEDS:
        record(seed, root)
    results.write_manifest(root)
    assert results.verify(root) == []
    return root


@pytest.fixture
def store(made, tmp_path):
    return Path(shutil.copytree(made, tmp_path / "store"))


def files(root):
    return sorted(p for p in root.rglob("*") if p.is_file())


def one(store, kind):
    ending = {"record": "0.json", "decoder": "0.safetensors", "manifest": "manifest.json"}[kind]
    return next(p for p in files(store) if p.name.endswith(ending))


# Verification ------------------------------------------------------------------------------------


def test_the_committed_store_verifies():
    """The package's own results, where the checkout has them: hashes and re-evaluated decoders."""
    if not (results.STORE / "manifest.json").exists():
        pytest.skip("this checkout has no stored results yet: they were NOT verified")
    assert results.verify() == []
    assert results.size() <= 12_000_000


@pytest.mark.parametrize("kind", ["record", "decoder", "manifest"])
def test_one_changed_byte_anywhere_is_found(store, kind):
    path = one(store, kind)
    whole = path.read_bytes()
    choose = random.Random(7)
    places = {0, 7, 8, len(whole) - 1, *(choose.randrange(len(whole)) for _ in range(30))}
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << choose.randrange(8)
        path.write_bytes(bytes(changed))
        faults = results.verify(store)
        assert faults, f"byte {place} of {path.name}"
        assert all(isinstance(fault, str) for fault in faults)
    path.write_bytes(whole)
    assert results.verify(store) == []


@pytest.mark.parametrize("kind", ["record", "decoder", "manifest"])
@pytest.mark.parametrize("kept", [0, 5, -1])
def test_a_truncated_file_is_found(store, kind, kept):
    path = one(store, kind)
    path.write_bytes(path.read_bytes()[:kept])
    assert results.verify(store)


def test_missing_and_unknown_files_are_named(store):
    one(store, "decoder").unlink()
    (store / "notes.txt").write_text("mine\n")
    faults = "\n".join(results.verify(store))
    assert "seed0.safetensors is in the manifest but missing: restore it" in faults
    assert "seed0.safetensors, named by grae_log_det_beta0.1_seed0.json, is missing" in faults
    assert "notes.txt is not in the manifest: remove it" in faults


def test_a_store_without_manifest_is_no_success(store):
    one(store, "manifest").unlink()
    assert results.verify(store) == [
        f"{store}/manifest.json is missing: restore it from the repository."
    ]


def test_numbers_that_the_decoder_does_not_give_are_found(store):
    """A lie in the record, with hashes made to fit: only the evaluation can tell."""
    path = one(store, "record")
    told = json.loads(path.read_text())
    told["decoder"]["recheck"]["log_det"] += 0.01
    storage.write_json(path, told)
    (store / "manifest.json").unlink()
    results.write_manifest(store)
    (fault,) = results.verify(store)
    assert "log_det is" in fault
    assert "the record says" in fault


def test_the_manifest_does_not_approve_of_old_damage(store):
    path = one(store, "record")
    path.write_text(path.read_text().replace("1.5", "1.4"))
    record(9, store)
    results.write_manifest(store)
    (fault,) = results.verify(store)
    assert f"{path.name} has changed" in fault


def test_hidden_files_and_checkpoints_are_not_results(store):
    (store / "mnist-objectives/cpu/runs/.half.json.x.tmp").write_text("{")
    (store / "mnist-objectives/cpu/checkpoints").mkdir()
    (store / "mnist-objectives/cpu/checkpoints/a.safetensors").write_text("{")
    assert results.verify(store) == []
    assert len(results.write_manifest(store)) == 2 * len(SEEDS)


# Records -----------------------------------------------------------------------------------------


def test_a_record_comes_back(store):
    found = results.runs("mnist-objectives", root=store)
    assert [r["job"]["labels"]["seed"] for r in found] == list(SEEDS)
    assert found[1]["metrics"] == {"total": 2.5, "rate": None}, "JSON has no NaN"
    origin = found[0]["provenance"]
    assert origin["seconds"] == 1.235
    assert origin["device"] == "cpu"
    assert origin["versions"]["torch"] == torch.__version__.split("+")[0]
    assert origin["commit"]


def test_equal_content_gives_equal_bytes(tmp_path):
    """What orders a file must not be a hash table with a random start, as the library's own is."""
    about = {f"key{i}": str(i) for i in range(12)}
    tensors = {f"{i}.weight": torch.full((i + 1,), i, dtype=torch.float16) for i in range(5)}
    path, found = tmp_path / "d.safetensors", set()
    for _ in range(4):
        about = dict(reversed(about.items()))
        storage.write_safetensors(path, tensors, about)
        found.add(path.read_bytes())
    assert len(found) == 1
    back, stated = storage.read_safetensors(path)
    assert stated == about
    assert all(torch.equal(back[name], value) for name, value in tensors.items())


def test_a_flipped_digit_is_not_read(store):
    path = one(store, "record")
    path.write_text(path.read_text().replace("1.5", "1.4"))
    with pytest.raises(storage.DamagedFile, match="SHA-256 is not the manifest's"):
        results.runs("mnist-objectives", root=store)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"format": 1, "exp', "not valid JSON"),
        (b"\xff\xfe\x00", "not valid JSON"),
        (b'{"loss": [1, 2]}', "JSON but not a result: it lacks some of format, experiment"),
        (b"[]", "JSON but not a result"),
    ],
)
def test_a_file_that_is_no_record_is_refused(store, content, message):
    path = one(store, "record")
    path.write_bytes(content)
    with pytest.raises(storage.DamagedFile, match=message) as error:
        results.runs("mnist-objectives", root=store)
    assert str(path) in str(error.value)


def test_a_record_of_another_format_or_place_is_refused(store):
    path = one(store, "record")
    other = path.with_name("renamed.json")
    other.write_bytes(path.read_bytes())
    with pytest.raises(storage.DamagedFile, match="it is misplaced"):
        results.read_run(other)
    later = record(0, store, format=2)
    with pytest.raises(storage.DamagedFile, match="has format 2; this library reads format 1"):
        results.read_run(path)
    assert later["format"] == 2


def test_a_record_without_required_fields_is_not_written(tmp_path):
    partial = {k: v for k, v in record(0, tmp_path).items() if k not in ("scale", "job")}
    with pytest.raises(ValueError, match="the record lacks scale, job; required: format"):
        results.write_run(partial, tmp_path)


def test_the_largest_stored_scale_is_taken(store):
    record(0, store, scale="smoke")
    assert {r["scale"] for r in results.runs("mnist-objectives", root=store)} == {"cpu"}
    record(0, store, scale="gpu")
    assert {r["scale"] for r in results.runs("mnist-objectives", root=store)} == {"gpu"}
    assert len(results.runs("mnist-objectives", "smoke", store)) == 1


def test_results_that_are_not_there_say_how_to_make_them(tmp_path):
    with pytest.raises(results.MissingResult, match="run toy-uniqueness --scale cpu"):
        results.runs("toy-uniqueness", root=tmp_path)


def test_tables_are_mean_spread_and_count(store):
    record(5, store, "other", metrics={})
    found = results.runs("mnist-objectives", "cpu", store)
    table = results.table(found, ("method", "beta"), "total")
    values = [1.5 + seed for seed in SEEDS]
    assert list(table) == [("grae_log_det", 0.1)]
    mean, spread, count = table["grae_log_det", 0.1]
    assert (mean, count) == (statistics.mean(values), 3)
    assert spread == pytest.approx(statistics.stdev(values))
    alone = results.table(found, ("seed",), "total")[1,]
    assert alone[0] == 2.5
    assert math.isnan(alone[1])


# Decoders ----------------------------------------------------------------------------------------


def test_a_stored_decoder_is_the_model_rounded_to_half(store):
    path = one(store, "decoder")
    stored, tensors, about = results.read_decoder(path, torch.float64)
    model = models.build(shape=SHAPE, latent_dim=3, hidden=(5,), seed=0)
    z = torch.randn(6, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        exact = model.double().decoder(z)
    assert float((stored.decoder(z) - exact).abs().max()) < 2e-3
    assert torch.equal(tensors["codes_images"].float() / 255, images()[0].flatten(1))
    assert tensors["codes_labels"].tolist() == images()[1].tolist()
    assert about["beta"] == "0.1"
    assert not any(p.requires_grad for p in stored.parameters())


def test_recheck_is_the_closed_form(store):
    """Against central differences of the stored decoder and a determinant by eigenvalues."""
    path = one(store, "decoder")
    model, tensors, about = results.read_decoder(path, torch.float64)
    z, beta, h = tensors["codes"].double(), float(about["beta"]), 1e-6
    steps = h * torch.eye(3, dtype=torch.float64)
    J = torch.stack(
        [(model.decoder(z + s) - model.decoder(z - s)) / (2 * h) for s in steps], dim=-1
    )
    G = J.mT @ J
    numbers = results.recheck(path)
    log_det = 0.5 * beta * torch.log1p(torch.linalg.eigvalsh(G) / beta).sum(-1).mean()
    columns = 0.5 * beta * torch.log1p(J.square().sum(1) / beta).sum(-1).mean()
    x = tensors["codes_images"].double() / 255
    assert numbers["log_det"] == pytest.approx(float(log_det), rel=1e-6)
    assert numbers["columns"] == pytest.approx(float(columns), rel=1e-6)
    assert numbers["distortion"] == pytest.approx(
        float(0.5 * (x - model.decoder(z)).square().sum(1).mean()), rel=1e-12
    )


def test_a_safetensors_file_that_is_no_decoder_is_refused(store):
    path = one(store, "decoder")
    tensors, about = storage.read_safetensors(path)
    storage.write_safetensors(path, tensors, {})
    with pytest.raises(storage.DamagedFile, match="not a decoder of this library"):
        results.read_decoder(path)
    storage.write_safetensors(path, tensors | {"0.weight": torch.ones(2, 2)}, about)
    with pytest.raises(storage.DamagedFile, match=r"0.weight has shape \(2, 2\), not \(5, 3\)"):
        results.read_decoder(path)
    del tensors["codes"]
    storage.write_safetensors(path, tensors, about)
    with pytest.raises(storage.DamagedFile, match="lacks fitting codes"):
        results.recheck(path)


def test_convolutional_decoders_are_not_stored(tmp_path):
    model = models.build("conv", shape=SHAPE, latent_dim=2, hidden=(3,))
    with pytest.raises(ValueError, match="'conv' are not stored; only 'mlp'"):
        results.write_decoder(tmp_path / "d.safetensors", model, *images(), {"beta": "1"})
