"""Data sets: the embedded digits, torchvision's folders, the toy model, and what is refused."""

import dataclasses
import gzip
import hashlib
import json
import math
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grae_lib import data, tetrominoes

SUBSET_SHA256 = {
    "train": "0698364020db",
    "test": "5611f50d13fc",
}


def real_root():
    """Folder with MNIST's own files, if this machine has one."""
    root = Path(os.environ.get("GRAE_DATA") or Path.home() / ".cache" / "grae_lib" / "data")
    if not (root / "MNIST/raw/train-images-idx3-ubyte").is_file():
        pytest.skip(f"no MNIST files in {root}: comparison with the originals was NOT made")
    return root


# The embedded digits -----------------------------------------------------------------------------


@pytest.mark.parametrize(("split", "n"), [("train", 10_000), ("test", 2_000)])
def test_embedded_digits(split, n):
    digits = data.load("mnist", split, verbose=False)
    assert digits.x.shape == (n, 1, 28, 28)
    assert digits.x.dtype == torch.float32
    assert digits.shape == (1, 28, 28)
    assert digits.labels.shape == (n,)
    assert digits.labels.dtype == torch.int64
    assert (digits.source, digits.name, digits.split) == ("embedded", "mnist", split)
    assert float(digits.x.min()) == 0.0
    assert float(digits.x.max()) == 1.0
    assert sorted(digits.labels.unique().tolist()) == list(range(10))
    assert digits.sha256.startswith(SUBSET_SHA256[split])


def test_pixels_are_level_over_255_exactly():
    """Correctly rounded quotients, so that the recorded hash is the same everywhere."""
    x = data.load("mnist", "test", verbose=False).x
    levels = (x * 255).round()
    assert np.array_equal(x.numpy(), levels.numpy() / np.float32(255))


def test_first_labels_are_the_canonical_ones():
    train = data.load("mnist", verbose=False)
    test = data.load("mnist", "test", verbose=False)
    assert train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


def test_embedded_file_is_small_and_recorded():
    path = data.ASSETS / "mnist_subset.npz"
    record = json.loads((data.ASSETS / "mnist_subset.json").read_text())
    assert path.stat().st_size == record["bytes"] <= 2_500_000
    assert hashlib.sha256(path.read_bytes()).hexdigest() == record["sha256"]
    assert record["made_from"] == data.IDX_FILES["mnist"]
    assert record["license"]
    with np.load(path, allow_pickle=False) as archive:
        for key, expected in record["arrays"].items():
            assert list(archive[key].shape) == expected["shape"]
            assert hashlib.sha256(archive[key].tobytes()).hexdigest() == expected["sha256"]


def test_source_is_printed_on_one_line(capsys):
    digits = data.load("mnist")
    assert capsys.readouterr().out == (
        f"data: mnist/train, embedded subset, 10,000 images 1×28×28, sha256 {digits.sha256[:12]}…\n"
    )
    data.load("toy", verbose=False)
    assert capsys.readouterr().out == ""


def test_embedded_digits_are_the_first_of_the_originals():
    root = real_root()
    for split, n in data.SUBSET_ROWS.items():
        full = data.load("mnist", split, source="torchvision", root=root, verbose=False)
        ours = data.load("mnist", split, verbose=False)
        assert full.source == "torchvision"
        assert full.subset(n).sha256 == ours.sha256
        assert torch.equal(full.x[:n], ours.x)


def test_rebuilding_gives_the_same_arrays(tmp_path):
    data.build_subset(real_root(), tmp_path)
    old, new = (
        json.loads((folder / "mnist_subset.json").read_text()) for folder in (data.ASSETS, tmp_path)
    )
    # The bytes of the compressed file may differ between versions of zlib; what they hold may not.
    assert old["arrays"] == new["arrays"]


# torchvision's folders ---------------------------------------------------------------------------


def write_idx(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
    path.write_bytes(header + array.astype(np.uint8).tobytes())


@pytest.fixture
def small_idx(tmp_path, monkeypatch):
    """Root with a small set in the format and the folders of each of the two idx sets."""
    rng = np.random.default_rng(0)
    written = {}
    for name, files in data.IDX_FILES.items():
        hashes = {}
        for file in files:
            n = 60 if "train" in file else 20
            array = rng.integers(0, 256, (n, 28, 28)) if "images" in file else np.arange(n) % 10
            write_idx(tmp_path / file, array)
            written[file] = array
            hashes[file] = hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
        monkeypatch.setitem(data.IDX_FILES, name, hashes)
    return tmp_path, written


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize(("split", "prefix"), [("train", "train"), ("test", "t10k")])
def test_idx_files_through_torchvision(small_idx, name, split, prefix, capsys):
    root, written = small_idx
    loaded = data.load(name, split, source="torchvision", root=root)
    folder = "MNIST" if name == "mnist" else "FashionMNIST"
    images = written[f"{folder}/raw/{prefix}-images-idx3-ubyte"].astype(np.float32)
    assert np.array_equal(loaded.x.numpy()[:, 0], images / np.float32(255))
    assert loaded.labels.tolist() == [i % 10 for i in range(len(images))]
    assert f"data: {name}/{split}, torchvision files in {root}, " in capsys.readouterr().out


def test_root_from_the_environment(small_idx, monkeypatch):
    root, _ = small_idx
    monkeypatch.setenv("GRAE_DATA", str(root))
    assert len(data.load("fashion_mnist", verbose=False)) == 60
    assert len(data.verify("fashion_mnist")) == 4


def test_download_keeps_files_that_are_there(small_idx):
    """torchvision finds all four files and asks no network."""
    root, _ = small_idx
    assert data.fetch("fashion_mnist", root) == root
    assert len(data.load("fashion_mnist", "test", root=root, download=True, verbose=False)) == 20


def test_build_subset_from_small_files(small_idx, tmp_path, monkeypatch):
    root, written = small_idx
    monkeypatch.setattr(data, "SUBSET_ROWS", {"train": 30, "test": 10})
    monkeypatch.setattr(data, "ASSETS", tmp_path / "out")
    data._main(["--build-subset", str(root)])
    digits = data.load("mnist", verbose=False)
    first = written["MNIST/raw/train-images-idx3-ubyte"][:30].astype(np.float32)
    assert np.array_equal(digits.x.numpy()[:, 0], first / np.float32(255))
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [
        "mnist_subset.json",
        "mnist_subset.npz",
    ]


def test_build_subset_says_why_it_stops(tmp_path, capsys):
    with pytest.raises(SystemExit) as stop:
        data._main(["--build-subset", str(tmp_path)])
    assert stop.value.code == 1
    assert "mnist is not complete" in capsys.readouterr().err


@pytest.fixture
def small_celeba(tmp_path):
    """Six pictures in CelebA's layout: three to train, one to validate, two to test."""
    folder = tmp_path / "celeba/img_align_celeba"
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    lines = []
    for number, part in enumerate([0, 0, 1, 2, 0, 2], start=1):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 4, 3), dtype=np.uint8))
        coarse.resize((178, 218)).save(folder / f"{number:06d}.jpg", quality=95)
        lines.append(f"{number:06d}.jpg {part}\n")
    (tmp_path / "celeba/list_eval_partition.txt").write_text("".join(lines))
    return tmp_path


def test_celeba_layout(small_celeba, capsys):
    train = data.load("celeba", root=small_celeba)
    assert train.x.shape == (3, 3, 64, 64)
    assert train.labels.tolist() == [1, 2, 5]
    assert "3 images 3×64×64" in capsys.readouterr().out
    assert data.load("celeba", "valid", root=small_celeba, verbose=False).labels.tolist() == [3]
    assert data.load("celeba", "test", root=small_celeba, verbose=False).labels.tolist() == [4, 6]
    two = data.load("celeba", root=small_celeba, limit=2, image_size=32, verbose=False)
    assert two.x.shape == (2, 3, 32, 32)
    assert len(data.verify("celeba", small_celeba)) == 6


def test_celeba_crop_is_the_centre_square(small_celeba):
    path = small_celeba / "celeba/img_align_celeba/000001.jpg"
    full = np.asarray(Image.open(path))[35:183, 15:163].transpose(2, 0, 1)
    loaded = data.load("celeba", root=small_celeba, image_size=148, limit=1, verbose=False)
    assert np.array_equal(loaded.x.numpy()[0], full.astype(np.float32) / np.float32(255))


# The generated sets ------------------------------------------------------------------------------


@pytest.mark.parametrize("nu", sorted(data.NONLINEARITIES))
def test_toy_is_what_its_truth_says(nu):
    toy, truth = data.toy_model(nu, column_norms=(2.0, 0.5), n=20_000, seed=3)
    assert toy.x.shape == (20_000, 3)
    gram = truth.W.T @ truth.W
    assert torch.allclose(gram, torch.diag(torch.tensor([4.0, 0.25]).double()), atol=1e-12)
    residual = toy.x.double() - data.NONLINEARITIES[nu](truth.z @ truth.W.T)
    n = residual.numel()
    assert abs(float(residual.mean())) < 4.5 * 0.05 / math.sqrt(n)
    assert abs(float(residual.var()) / 0.05**2 - 1) < 4.5 * math.sqrt(2 / n)
    assert float((truth.z.T.cov() - torch.eye(2)).abs().max()) < 4.5 * math.sqrt(2 / 20_000)


@pytest.mark.parametrize("nu", sorted(data.NONLINEARITIES))
def test_nonlinearities_increase_strictly(nu):
    y = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    assert bool((data.NONLINEARITIES[nu](y).diff() > 0).all())


def test_toy_seeds_and_splits():
    train, truth = data.toy_model("tanh", n=100, seed=1)
    again, _ = data.toy_model("tanh", n=100, seed=1)
    test, test_truth = data.toy_model("tanh", n=100, seed=1, split="test")
    other, other_truth = data.toy_model("tanh", n=100, seed=2)
    assert train.sha256 == again.sha256
    assert torch.equal(truth.W, test_truth.W)
    assert not torch.equal(truth.W, other_truth.W)
    assert len({train.sha256, test.sha256, other.sha256}) == 3
    loaded = data.load("toy", nu="tanh", n=100, seed=1, verbose=False)
    assert loaded.sha256 == train.sha256


def test_generation_leaves_the_global_seeds_alone():
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    data.load("toy", verbose=False)
    data.load("tetrominoes", size=16, color=False, limit=64, verbose=False)
    assert torch.equal(torch.get_rng_state(), torch_state)
    assert np.array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002


@pytest.mark.parametrize("kind", ["easy", "checkerboard"])
def test_tetrominoes_as_a_data_set(kind):
    options = {"kind": kind, "size": 16, "color": False, "seed": 2, "limit": 500}
    train = data.load("tetrominoes", verbose=False, **options)
    test = data.load("tetrominoes", "test", verbose=False, **options)
    assert train.x.shape == (500, 1, 16, 16)
    assert not set(train.labels.tolist()) & set(test.labels.tolist())
    allowed, _ = tetrominoes.tetromino_split(kind, seed=2)
    assert set(train.labels.tolist()) <= set(allowed.tolist())
    # Labels lead back to the factors, and these to the picture.
    factors = tetrominoes.tetromino_factors(2, train.labels)
    picture = tetrominoes.render(factors, 16, color=False).numpy().astype(np.float32)
    assert np.array_equal(train.x.numpy(), picture / np.float32(255))


def test_tetrominoes_thinned_keep_all_test_shapes():
    thin = data.load(
        "tetrominoes", kind="thinned", fraction=0.05, size=16, color=False, verbose=False
    )
    assert len(thin) == 4096


def test_float32_whatever_the_default_type(float64):
    assert float64 == torch.get_default_dtype()
    for name, options in (("mnist", {}), ("toy", {}), ("tetrominoes", {"limit": 8})):
        assert data.load(name, verbose=False, **options).x.dtype == torch.float32


# Dataset -----------------------------------------------------------------------------------------


@pytest.fixture
def five():
    x = torch.arange(10, dtype=torch.float32).reshape(5, 2) / 10
    return data.Dataset(x, torch.arange(5), "generated", "toy", "train")


def test_dataset_basics(five):
    assert len(five) == 5
    assert five.shape == (2,)
    assert repr(five) == (f"Dataset(toy/train, generated, 5 of 2, sha256 {five.sha256[:12]}…)")
    with pytest.raises(dataclasses.FrozenInstanceError):
        five.name = "mnist"


def test_content_hash_is_of_the_values(five):
    raw = np.ascontiguousarray(five.x.numpy(), "<f4").tobytes()
    raw += np.arange(5, dtype="<i8").tobytes()
    assert five.sha256 == hashlib.sha256(raw).hexdigest()
    x = five.x.clone()
    x[4, 1] = torch.nextafter(x[4, 1], torch.tensor(2.0))
    assert data.content_sha256(x, five.labels) != five.sha256
    assert data.content_sha256(five.x, five.labels.flip(0)) != five.sha256
    strided = torch.stack([five.x, five.x], dim=2)[:, :, 0]
    assert data.content_sha256(strided, five.labels) == five.sha256


def test_subset(five):
    assert five.subset(2).labels.tolist() == [0, 1]
    assert five.subset([3, 1]).labels.tolist() == [3, 1]
    assert five.subset(torch.tensor([True, False, False, True, True])).labels.tolist() == [0, 3, 4]
    assert torch.equal(five.subset([3, 1]).x, five.x[[3, 1]])
    assert five.subset(5).sha256 == five.sha256
    assert five.subset(4).sha256 != five.sha256


def test_to(five, device):
    moved = five.to(device)
    assert moved.x.device.type == moved.labels.device.type == device.type
    assert torch.equal(moved.x.cpu(), five.x)
    assert moved.sha256 == five.sha256
    assert moved.subset(3).sha256 == five.subset(3).sha256


# Refusals ----------------------------------------------------------------------------------------


def dataset(x, labels):
    return data.Dataset(x, labels, "generated", "toy", "train")


def spoilt(entries):
    x = torch.zeros(4, 3)
    for (row, column), value in entries.items():
        x[row, column] = value
    return x


ARGUMENTS = [
    (lambda d: data.load("minst"), r"'minst' is unknown; choose one of mnist, fashion_mnist, cel"),
    (lambda d: data.load("mnist", "valid"), r"no split 'valid'; choose one of train, test"),
    (lambda d: data.load("celeba", source="embedded"), r"no source 'embedded'; .* auto, torchvis"),
    (lambda d: data.load("mnist", size=32), r"takes no option size; its options: none"),
    (lambda d: data.load("toy", radius=2), r"takes no option radius; its options: nu, column_no"),
    (lambda d: data.fetch("toy"), r"not a set that can be fetched; choose one of mnist, fashion"),
    (lambda d: data.verify("toy"), r"no files to verify; choose one of mnist, fashion_mnist"),
    (lambda d: data.toy_model("sine"), r"nu='sine' is unknown; choose one of linear, tanh"),
    (lambda d: data.toy_model(column_norms=(1, 1, 1, 1)), r"from 1 to x_dim norms"),
    (lambda d: data.toy_model(column_norms=(1, -1)), r"every norm must be positive and finite"),
    (lambda d: data.toy_model(noise_std=math.nan), r"noise_std=nan; give a finite number"),
    (lambda d: data.toy_model(n=0), r"n=0; give a whole number, 1 or more"),
    (lambda d: data.toy_model(seed=-1), r"seed=-1; give a whole number, 0 or more"),
    (lambda d: data.toy_model(split="valid"), r"toy has no split 'valid'"),
    (lambda d: data.load("tetrominoes", kind="hard"), r"'hard' is unknown; choose one of easy"),
    (lambda d: data.load("tetrominoes", limit=0), r"limit=0; give a whole number above 0"),
    (lambda d: data.load("tetrominoes", limit=10**6), r"this train part has 81920 shapes"),
    (lambda d: data.load("tetrominoes", size=12), r"0\.75 pixels at size=12; a cell needs"),
    (lambda d: data.validate(spoilt({(1, 0): math.nan})), r"1 NaN and 0 infinite .* of 12, first "),
    (lambda d: data.validate(spoilt({(2, 0): math.inf, (3, 1): -math.inf})), r"2 inf.* example 2"),
    (lambda d: data.validate(np.zeros((2, 2))), r"data is a ndarray; give a torch tensor"),
    (lambda d: data.validate(torch.zeros(0, 3)), r"shape \(0, 3\); expected .* at least one"),
    (lambda d: dataset(spoilt({(0, 0): math.nan}), torch.zeros(4).long()), r"toy/train holds 1 N"),
    (lambda d: dataset(torch.zeros(4, 3), torch.zeros(3).long()), r"labels have shape \(3,\)"),
    (lambda d: dataset(torch.zeros(4, 3), torch.zeros(4)), r"type torch.float32; 4 examples need"),
    (lambda d: dataset(torch.zeros(4, 3), [0] * 4), r"labels are a list; give an int64 tensor"),
    (lambda d: dataset(torch.zeros(4, 3).double(), torch.zeros(4).long()), r"expected torch.floa"),
    (lambda d: d.subset(6), r"subset\(6\) .* give a number from 1 to 5"),
    (lambda d: d.subset(0), r"subset\(0\) .* give a number from 1 to 5"),
    (lambda d: d.subset([0, 5]), r"run from 0 to 5; .* examples 0 to 4"),
    (lambda d: d.subset([]), r"give how many, or a list of indices from 0 to 4"),
    (lambda d: d.subset(torch.ones(3, dtype=torch.bool)), r"3 of 3 set; the mask needs 5 entries"),
]


@pytest.mark.parametrize(("call", "message"), ARGUMENTS, ids=[m[:40] for _, m in ARGUMENTS])
def test_refused_arguments(call, message, five):
    with pytest.raises(data.DataError, match=message):
        call(five)


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A copy of the embedded files that a test may damage."""
    copy = tmp_path / "assets"
    shutil.copytree(data.ASSETS, copy)
    monkeypatch.setattr(data, "ASSETS", copy)
    return copy


def flip_bit(path, position):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


def edit_record(path, change):
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def swap_content(folder):
    """A file that agrees with its record's file hash but holds other labels than recorded."""
    path, record = folder / "mnist_subset.npz", folder / "mnist_subset.json"
    with np.load(path) as archive:
        arrays = dict(archive)
    arrays["train_labels"] = arrays["train_labels"][::-1]
    np.savez_compressed(path, **arrays)
    new = {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    edit_record(record, lambda r: r.update(new))


def not_an_archive(folder):
    path, content = folder / "mnist_subset.npz", b"not a zip file"
    path.write_bytes(content)
    new = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    edit_record(folder / "mnist_subset.json", lambda r: r.update(new))


NPZ, RECORD = "mnist_subset.npz", "mnist_subset.json"
EMBEDDED = {
    "file absent": (lambda a: (a / NPZ).unlink(), "are absent: no .*npz"),
    "record absent": (lambda a: (a / RECORD).unlink(), "are absent: no .*json"),
    "truncated": (
        lambda a: (a / NPZ).write_bytes((a / NPZ).read_bytes()[:-1000]),
        "truncated or replaced: .* has 1,965,996 bytes, its record says 1,966,996",
    ),
    "empty": (lambda a: (a / NPZ).write_bytes(b""), "has 0 bytes"),
    "one bit flipped": (lambda a: flip_bit(a / NPZ, 500_000), "are altered: .* has sha256"),
    "record's hash altered": (
        lambda a: edit_record(a / RECORD, lambda r: r.update(sha256="0" * 64)),
        "its record says 000000000000",
    ),
    "record not JSON": (lambda a: (a / RECORD).write_text("{"), "record .* is damaged .JSONDecode"),
    "record without hashes": (
        lambda a: edit_record(a / RECORD, lambda r: r.pop("arrays")),
        "record .* is damaged .KeyError",
    ),
    "other labels inside": (swap_content, "train labels in .* have sha256"),
    "not an archive": (not_an_archive, "cannot be read"),
}


@pytest.mark.parametrize("case", EMBEDDED)
def test_refused_embedded_digits(case, assets):
    damage, message = EMBEDDED[case]
    damage(assets)
    with pytest.raises(data.DataError, match=message) as error:
        data.load("mnist")
    assert "Install grae_lib again, or rebuild the file" in str(error.value)
    assert isinstance(error.value, FileNotFoundError) == ("absent" in case)
    with pytest.raises(data.DataError):
        data.verify("mnist")


TRAIN = "FashionMNIST/raw/train-images-idx3-ubyte"
IDX = {
    "nothing there": (
        lambda r: shutil.rmtree(r / "FashionMNIST"),
        "looked for .*train-images.*t10",
    ),
    "one file absent": (
        lambda r: (r / TRAIN).unlink(),
        "looked for [^,]*train-images-idx3-ubyte. ",
    ),
    "truncated": (
        lambda r: (r / TRAIN).write_bytes((r / TRAIN).read_bytes()[:-1]),
        "truncated or altered: 47,055 bytes",
    ),
    "one bit flipped": (lambda r: flip_bit(r / TRAIN, 100), "truncated or altered: 47,056 bytes"),
    "still compressed": (
        lambda r: (r / TRAIN).write_bytes(gzip.compress((r / TRAIN).read_bytes())),
        "truncated or altered",
    ),
}


@pytest.mark.parametrize("case", IDX)
def test_refused_idx_files(case, small_idx):
    root, _ = small_idx
    damage, message = IDX[case]
    damage(root)
    with pytest.raises(data.DataError, match=message) as error:
        data.load("fashion_mnist", root=root)
    assert f"python -m grae_lib data fetch fashion_mnist --root {root}" in str(error.value)
    missing = case in ("nothing there", "one file absent")
    assert isinstance(error.value, data.MissingDataError) == missing
    assert "Delete this file" in str(error.value) or missing


def test_absent_full_mnist_points_to_the_embedded_digits(tmp_path):
    with pytest.raises(data.MissingDataError, match="source='embedded' needs no files"):
        data.load("mnist", source="torchvision", root=tmp_path)


PICTURES = "celeba/img_align_celeba"
LIST = "celeba/list_eval_partition.txt"
CELEBA = {
    "no list": (lambda r: (r / LIST).unlink(), "looked for .*list_eval_partition.txt", {}),
    "no pictures": (lambda r: shutil.rmtree(r / PICTURES), "for pictures in .*img_align", {}),
    "one picture absent": (
        lambda r: (r / PICTURES / "000002.jpg").unlink(),
        "1 of 3 train pictures are absent, the first .*000002.jpg",
        {},
    ),
    "picture truncated": (
        lambda r: (r / PICTURES / "000001.jpg").write_bytes(
            (r / PICTURES / "000001.jpg").read_bytes()[:900]
        ),
        "000001.jpg cannot be read as a picture",
        {},
    ),
    "picture too small": (
        lambda r: Image.new("RGB", (100, 100)).save(r / PICTURES / "000001.jpg"),
        "has 100×100 pixels; the aligned CelebA pictures have 178×218",
        {},
    ),
    "list damaged": (
        lambda r: (r / LIST).write_text("000001.jpg 0\n000002.jpg\n"),
        "line 2, is '000002.jpg'; expected",
        {},
    ),
    "split empty": (
        lambda r: (r / LIST).write_text("000001.jpg 1\n"),
        "names no picture of the split 'train'",
        {},
    ),
    "image_size": (
        lambda r: None,
        "image_size=200; give a whole number from 1",
        {"image_size": 200},
    ),
    "limit": (lambda r: None, "limit=-1; give a whole number above 0", {"limit": -1}),
}


@pytest.mark.parametrize("case", CELEBA)
def test_refused_celeba(case, small_celeba):
    damage, message, options = CELEBA[case]
    damage(small_celeba)
    with pytest.raises(data.DataError, match=message):
        data.load("celeba", root=small_celeba, **options)


def test_failed_download_is_said(tmp_path, monkeypatch):
    from torchvision import datasets

    def no_network(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(datasets, "FashionMNIST", no_network)
    with pytest.raises(data.DataError, match=r"failed: OSError: no route to host. Check the netw"):
        data.load("fashion_mnist", root=tmp_path, download=True)
