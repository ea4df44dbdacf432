"""Data sets: digits inside the package, sets that torchvision reads, and two generated ones.

`load` returns every one of them as a `Dataset` and prints one line that says where it came from.
Nothing is substituted silently: a set that is absent, truncated or altered is refused with what to
do about it.

    python -m grae_lib.data --build-subset ROOT     writes the embedded digits from MNIST's files
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from . import tetrominoes

#: What `load` knows, with the parts of each set.
NAMES = {
    "mnist": ("train", "test"),
    "fashion_mnist": ("train", "test"),
    "celeba": ("train", "valid", "test"),
    "toy": ("train", "test"),
    "tetrominoes": ("train", "test"),
}

#: Where a set may come from; the first is what "auto" means.
SOURCES = {
    "mnist": ("embedded", "torchvision"),
    "fashion_mnist": ("torchvision",),
    "celeba": ("torchvision",),
    "toy": ("generated",),
    "tetrominoes": ("generated",),
}

#: Keyword arguments that `load` passes on to a set.
OPTIONS = {
    "mnist": (),
    "fashion_mnist": (),
    "celeba": ("image_size", "limit"),
    "toy": ("nu", "column_norms", "x_dim", "n", "noise_std", "seed"),
    "tetrominoes": ("kind", "fraction", "base", "size", "color", "seed", "limit"),
}

#: The embedded digits: the first rows of MNIST's training and test files.
SUBSET_ROWS = {"train": 10_000, "test": 2_000}

#: Folder of the embedded files.
ASSETS = Path(__file__).parent / "assets"
_SUBSET, _RECORD = "mnist_subset.npz", "mnist_subset.json"

#: Folder below the root, and SHA-256 of each file as its authors published it (uncompressed).
IDX_FILES = {
    "mnist": {
        "MNIST/raw/train-images-idx3-ubyte": (
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db"
        ),
        "MNIST/raw/train-labels-idx1-ubyte": (
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5"
        ),
        "MNIST/raw/t10k-images-idx3-ubyte": (
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7"
        ),
        "MNIST/raw/t10k-labels-idx1-ubyte": (
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2"
        ),
    },
    "fashion_mnist": {
        "FashionMNIST/raw/train-images-idx3-ubyte": (
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888"
        ),
        "FashionMNIST/raw/train-labels-idx1-ubyte": (
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9"
        ),
        "FashionMNIST/raw/t10k-images-idx3-ubyte": (
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b"
        ),
        "FashionMNIST/raw/t10k-labels-idx1-ubyte": (
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34"
        ),
    },
}


class DataError(ValueError):
    """Data that cannot be used; the message says what was found and what to do."""


class MissingDataError(DataError, FileNotFoundError):
    """Files of a data set that are not where they were looked for."""


def content_sha256(x: Tensor, labels: Tensor) -> str:
    """SHA-256 of the values: x as little-endian float32 in row order, then labels as int64."""
    digest = hashlib.sha256()
    for tensor, kind in ((x, "<f4"), (labels, "<i8")):
        # Converted in parts: a second copy of a large set would double its memory.
        for part in tensor.detach().split(8192):
            digest.update(np.ascontiguousarray(part.cpu().numpy(), dtype=kind))
    return digest.hexdigest()


def validate(x: Tensor, name: str = "data") -> Tensor:
    """Return x unchanged if it holds at least one example and only finite numbers.

    x: (N, *shape). Raises DataError that counts the NaN and infinite entries and names the first
    example that has one.
    """
    if not isinstance(x, Tensor):
        raise DataError(f"{name} is a {type(x).__name__}; give a torch tensor (N, *shape).")
    if x.ndim < 2 or x.numel() == 0:
        raise DataError(
            f"{name} has shape {tuple(x.shape)}; expected (N, *shape) with at least one example."
        )
    finite = torch.isfinite(x)
    if not bool(finite.all()):
        nan, infinite = int(torch.isnan(x).sum()), int(torch.isinf(x).sum())
        first = int((~finite.flatten(1)).any(1).nonzero()[0])
        raise DataError(
            f"{name} holds {nan:,} NaN and {infinite:,} infinite entries of {x.numel():,}, first "
            f"in example {first}; remove or repair these examples."
        )
    return x


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Examples with their origin.

    x: float32 (N, *shape), pictures in [0, 1]. labels: int64 (N,). shape: of one example.
    source: "embedded", "torchvision" or "generated". sha256: of the values, as `content_sha256`
    computes it; by default it is computed. Raises DataError if shapes or types disagree or x is not
    finite.
    """

    x: Tensor
    labels: Tensor
    source: str
    name: str
    split: str
    sha256: str = ""
    shape: tuple[int, ...] = field(init=False)

    def __post_init__(self):
        what = f"{self.name}/{self.split}"
        validate(self.x, what)
        if self.x.dtype != torch.float32:
            raise DataError(f"{what}: x is {self.x.dtype}; expected torch.float32.")
        if not isinstance(self.labels, Tensor):
            raise DataError(
                f"{what}: labels are a {type(self.labels).__name__}; give an int64 tensor."
            )
        if self.labels.dtype != torch.int64 or self.labels.shape != self.x.shape[:1]:
            raise DataError(
                f"{what}: labels have shape {tuple(self.labels.shape)} and type "
                f"{self.labels.dtype}; {len(self.x):,} examples need labels ({len(self.x)},) of "
                "type torch.int64."
            )
        object.__setattr__(self, "shape", tuple(self.x.shape[1:]))
        if not self.sha256:
            object.__setattr__(self, "sha256", content_sha256(self.x, self.labels))

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.shape))
        return (
            f"Dataset({self.name}/{self.split}, {self.source}, {len(self):,} of {shape}, "
            f"sha256 {self.sha256[:12]}…)"
        )

    def to(self, device: str | torch.device) -> Dataset:
        """The same data set with x and labels on `device`."""
        return replace(self, x=self.x.to(device), labels=self.labels.to(device))

    def subset(self, which: int | Sequence[int] | Tensor) -> Dataset:
        """The first `which` examples, or those with the given indices, in that order.

        Its sha256 is that of the examples it holds. Raises DataError if there are too few examples
        or an index lies outside.
        """
        if isinstance(which, (int, np.integer)) and not isinstance(which, bool):
            if not 0 < which <= len(self):
                raise DataError(
                    f"subset({which}) of {self!r}; give a number from 1 to {len(self)}."
                )
            return replace(self, x=self.x[:which], labels=self.labels[:which], sha256="")
        index = torch.as_tensor(which)
        if index.ndim != 1 or not len(index) or index.dtype.is_floating_point:
            raise DataError(
                f"subset({which!r}); give how many, or a list of indices from 0 to {len(self) - 1}."
            )
        if index.dtype == torch.bool:
            if len(index) != len(self) or not bool(index.any()):
                raise DataError(
                    f"subset by a mask with {int(index.sum())} of {len(index)} set; the mask needs "
                    f"{len(self)} entries and at least one set."
                )
        elif int(index.min()) < 0 or int(index.max()) >= len(self):
            raise DataError(
                f"subset indices run from {int(index.min())} to {int(index.max())}; {self!r} has "
                f"examples 0 to {len(self) - 1}."
            )
        index = index.to(self.x.device)
        return replace(self, x=self.x[index], labels=self.labels[index], sha256="")


# Loading -----------------------------------------------------------------------------------------


def load(
    name: str,
    split: str = "train",
    source: str = "auto",
    root: str | os.PathLike | None = None,
    download: bool = False,
    verbose: bool = True,
    **options,
) -> Dataset:
    """A data set by name; prints one line that says what was loaded and from where.

    name, with the options it takes:
      "mnist"          1×28×28. source "embedded" (what "auto" means): 10,000 training and 2,000
                       test digits inside the package. "torchvision": all 60,000 and 10,000.
      "fashion_mnist"  1×28×28 through torchvision; labels 0–9 as in MNIST.
      "celeba"         3×64×64 (image_size=64): centre square of 148 pixels, resized; splits also
                       "valid"; labels are the numbers in the file names. limit=N takes the first N.
      "toy"            `toy_model` with its arguments; labels are 0.
      "tetrominoes"    3×32×32 (size=32, color=True): kind, fraction, base and seed as in
                       `tetrominoes.tetromino_split`; limit=N takes N shapes at random. Labels are
                       rows of `tetrominoes.tetromino_factors(seed)`. One kind's training half takes
                       1 GB at 32×32 in colour, 84 MB at 16×16 in grey.
    split: "train", "test" (CelebA: or "valid"). root: folder of torchvision's files; by default
    the environment variable GRAE_DATA, else ~/.cache/grae_lib/data. download: let torchvision fetch
    what is missing. verbose=False prints nothing.

    Raises DataError (a ValueError) for an unknown name, split, source or option, and for files that
    are truncated or altered; MissingDataError (also a FileNotFoundError) for files that are absent.
    """
    if name not in NAMES:
        raise DataError(f"data set {name!r} is unknown; choose one of {', '.join(NAMES)}.")
    if split not in NAMES[name]:
        raise DataError(f"{name} has no split {split!r}; choose one of {', '.join(NAMES[name])}.")
    if source != "auto" and source not in SOURCES[name]:
        raise DataError(
            f"{name} has no source {source!r}; choose one of auto, {', '.join(SOURCES[name])}."
        )
    unknown = sorted(set(options) - set(OPTIONS[name]))
    if unknown:
        known = ", ".join(OPTIONS[name]) or "none"
        raise DataError(f"{name} takes no option {', '.join(unknown)}; its options: {known}.")
    source = SOURCES[name][0] if source == "auto" else source

    if source == "embedded":
        origin = "embedded subset"
        dataset = _from_pixels(*_embedded(split), source, name, split)
    elif name == "toy":
        origin = "generated"
        dataset, _ = toy_model(split=split, **options)
    elif name == "tetrominoes":
        origin = "generated"
        dataset = _tetrominoes(split, **options)
    else:
        base = _root(root)
        origin = f"torchvision files in {base}"
        if download:
            fetch(name, base)
        if name == "celeba":
            pixels, labels = _celeba(base, split, **options)
        else:
            pixels, labels = _idx(name, base, split)
        dataset = _from_pixels(pixels, labels, source, name, split)
    if verbose:
        shape = "×".join(map(str, dataset.shape))
        kind = "points" if name == "toy" else "images"
        print(
            f"data: {name}/{split}, {origin}, {len(dataset):,} {kind} {shape}, "
            f"sha256 {dataset.sha256[:12]}…"
        )
    return dataset


def _from_pixels(pixels: np.ndarray, labels, source: str, name: str, split: str) -> Dataset:
    x = torch.from_numpy(pixels).float().div_(255)
    labels = torch.as_tensor(labels, dtype=torch.int64)
    return Dataset(x, labels, source, name, split)


def _root(root: str | os.PathLike | None) -> Path:
    if root is None:
        root = os.environ.get("GRAE_DATA") or Path.home() / ".cache" / "grae_lib" / "data"
    return Path(root).expanduser()


def _advice(name: str, root: Path) -> str:
    advice = (
        f"Fetch it with `python -m grae_lib data fetch {name} --root {root}` (or download=True), "
        "or point root= or the environment variable GRAE_DATA at the folder that holds it"
    )
    return f"{advice}; source='embedded' needs no files." if name == "mnist" else f"{advice}."


def _sha256_file(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def fetch(name: str, root: str | os.PathLike | None = None) -> Path:
    """Let torchvision download a set into `root` (see `load`), check it, and return the root.

    Files that are there are kept. Raises DataError if the set needs no files, if the download fails
    or if what is there is not what was published.
    """
    if name not in NAMES or "torchvision" not in SOURCES[name]:
        raise DataError(
            f"{name!r} is not a set that can be fetched; choose one of "
            f"{', '.join(n for n in NAMES if 'torchvision' in SOURCES[n])}."
        )
    from torchvision import datasets

    base = _root(root)
    reader = {
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
        "celeba": datasets.CelebA,
    }[name]
    try:
        base.mkdir(parents=True, exist_ok=True)
        reader(str(base), download=True)
    # torchvision lets through whatever its sources raise: no network, no space, a moved file, a
    # missing helper package. All of them mean that the set did not arrive.
    except Exception as error:
        raise DataError(
            f"downloading {name} into {base} failed: {type(error).__name__}: {error}. Check the "
            "network and the disk and try again, or copy the files there by hand."
        ) from error
    verify(name, base)
    return base


def verify(name: str, root: str | os.PathLike | None = None) -> list[Path]:
    """Check a set's files and return their paths.

    MNIST and Fashion-MNIST: all four files against the published SHA-256. CelebA: the list of
    partitions and the presence of every picture it names. "mnist" with no root given: the embedded
    subset. Raises DataError or MissingDataError.
    """
    if name == "mnist" and root is None:
        for split in SUBSET_ROWS:
            _embedded(split)
        return [ASSETS / _RECORD, ASSETS / _SUBSET]
    if name not in NAMES or "torchvision" not in SOURCES[name]:
        raise DataError(
            f"{name!r} has no files to verify; choose one of "
            f"{', '.join(n for n in NAMES if 'torchvision' in SOURCES[n])}."
        )
    base = _root(root)
    if name == "celeba":
        return [path for split in NAMES[name] for path in _celeba_files(base, split)]
    return _verify_idx(name, base, list(IDX_FILES[name]))


# MNIST and Fashion-MNIST -------------------------------------------------------------------------


def _verify_idx(name: str, root: Path, files: list[str]) -> list[Path]:
    paths = [root / file for file in files]
    missing = [path for path in paths if not path.is_file()]
    if missing:
        raise MissingDataError(
            f"{name} is not complete: looked for {', '.join(map(str, missing))}. "
            f"{_advice(name, root)}"
        )
    for file, path in zip(files, paths, strict=True):
        found = _sha256_file(path)
        if found != IDX_FILES[name][file]:
            raise DataError(
                f"{path} is truncated or altered: {path.stat().st_size:,} bytes with sha256 "
                f"{found[:12]}…, expected {IDX_FILES[name][file][:12]}…. Delete this file. "
                f"{_advice(name, root)}"
            )
    return paths


def _idx(name: str, root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    # torchvision opens a set only if all four files are there, whichever part is asked for.
    _verify_idx(name, root, list(IDX_FILES[name]))
    from torchvision import datasets

    reader = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
    files = reader(str(root), train=split == "train")
    return files.data.numpy()[:, None], files.targets.numpy()


# The embedded digits -----------------------------------------------------------------------------


def _sha256_array(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array)).hexdigest()


def build_subset(root: str | os.PathLike, out: str | os.PathLike | None = None) -> Path:
    """Write the embedded digits from MNIST's files under `root`; returns the .npz file's path.

    out: folder, by default the package's own assets. Beside the .npz goes a JSON record with the
    SHA-256 of the file and of each array. MNIST's files are checked against their published SHA-256
    first (DataError, MissingDataError).

    The .npz is numpy's own compressed format: 1.9 MB, readable anywhere without this package. LZMA
    would save 0.3 MB and PNG 0.2 MB, too little for a format of our own.
    """
    root, out = Path(root).expanduser(), Path(out) if out is not None else ASSETS
    arrays = {}
    for split, rows in SUBSET_ROWS.items():
        images, labels = _idx("mnist", root, split)
        arrays[f"{split}_images"] = images[:rows, 0]
        arrays[f"{split}_labels"] = labels[:rows].astype(np.uint8)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    record = {
        "title": "MNIST, the first 10,000 training and the first 2,000 test digits",
        "authors": "Y. LeCun, C. Cortes, C. J. C. Burges",
        "source": "The MNIST database of handwritten digits; a selection from NIST's Special "
        "Databases 1 and 3",
        "license": "CC BY-SA 3.0 (MNIST, copyright Y. LeCun and C. Cortes); this selection under "
        "the same license",
        "made_by": "python -m grae_lib.data --build-subset ROOT",
        "made_from": IDX_FILES["mnist"],
        "file": _SUBSET,
        "bytes": len(buffer.getvalue()),
        "sha256": hashlib.sha256(buffer.getvalue()).hexdigest(),
        "arrays": {
            key: {"shape": list(array.shape), "dtype": "uint8", "sha256": _sha256_array(array)}
            for key, array in arrays.items()
        },
    }
    out.mkdir(parents=True, exist_ok=True)
    for file, content in (
        (_SUBSET, buffer.getvalue()),
        (_RECORD, (json.dumps(record, indent=2) + "\n").encode()),
    ):
        # A write that stops half-way must not replace a good file.
        temporary = out / f"{file}.tmp"
        temporary.write_bytes(content)
        temporary.replace(out / file)
    return out / _SUBSET


def _embedded(split: str) -> tuple[np.ndarray, np.ndarray]:
    path, record_path = ASSETS / _SUBSET, ASSETS / _RECORD
    repair = (
        "Install grae_lib again, or rebuild the file from MNIST's own: "
        "`python -m grae_lib.data --build-subset ROOT`."
    )
    for needed in (path, record_path):
        if not needed.is_file():
            raise MissingDataError(f"the embedded digits are absent: no {needed}. {repair}")
    content = path.read_bytes()
    try:
        record = json.loads(record_path.read_text(encoding="utf-8"))
        expected_bytes, expected_sha256 = record["bytes"], record["sha256"]
        expected = {k: record["arrays"][f"{split}_{k}"]["sha256"] for k in ("images", "labels")}
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"the record of the embedded digits, {record_path}, is damaged "
            f"({type(error).__name__}: {error}). {repair}"
        ) from error
    if len(content) != expected_bytes:
        raise DataError(
            f"the embedded digits are truncated or replaced: {path} has {len(content):,} bytes, "
            f"its record says {expected_bytes:,}. {repair}"
        )
    found = hashlib.sha256(content).hexdigest()
    if found != expected_sha256:
        raise DataError(
            f"the embedded digits are altered: {path} has sha256 {found[:12]}…, its record says "
            f"{str(expected_sha256)[:12]}…. {repair}"
        )
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {key: archive[f"{split}_{key}"] for key in expected}
    except (ValueError, KeyError, OSError, zipfile.BadZipFile) as error:
        raise DataError(
            f"the embedded digits cannot be read: {path} is no archive of the expected arrays "
            f"({type(error).__name__}). {repair}"
        ) from error
    for key, array in arrays.items():
        if _sha256_array(array) != expected[key]:
            raise DataError(
                f"the embedded digits are altered: {split} {key} in {path} have sha256 "
                f"{_sha256_array(array)[:12]}…, the record says {str(expected[key])[:12]}…. "
                f"{repair}"
            )
    return arrays["images"][:, None], arrays["labels"]


# CelebA ------------------------------------------------------------------------------------------

_CELEBA_CROP = 148
_CELEBA_PARTS = {"train": "0", "valid": "1", "test": "2"}


def _celeba_files(root: Path, split: str, limit: int | None = None) -> list[Path]:
    """Pictures of one part in the list's order; all of them exist."""
    folder, partition = root / "celeba/img_align_celeba", root / "celeba/list_eval_partition.txt"
    if not partition.is_file() or not folder.is_dir():
        raise MissingDataError(
            f"celeba is not complete: looked for {partition} and for pictures in {folder}. "
            f"{_advice('celeba', root)}"
        )
    files = []
    for number, line in enumerate(partition.read_text(encoding="utf-8").splitlines(), start=1):
        words = line.split()
        if not words:
            continue
        stem = words[0].removesuffix(".jpg")
        if len(words) != 2 or words[1] not in _CELEBA_PARTS.values() or not stem.isdecimal():
            raise DataError(
                f"{partition}, line {number}, is {line!r}; expected a picture's number, '.jpg', "
                f"and 0, 1 or 2. Delete this file. {_advice('celeba', root)}"
            )
        if words[1] == _CELEBA_PARTS[split]:
            files.append(folder / words[0])
    files = files[:limit]
    if not files:
        raise DataError(f"{partition} names no picture of the split {split!r}.")
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise MissingDataError(
            f"celeba is not complete: {len(missing):,} of {len(files):,} {split} pictures are "
            f"absent, the first {missing[0]}. {_advice('celeba', root)}"
        )
    return files


def _celeba(
    root: Path, split: str, image_size: int = 64, limit: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    from PIL import Image

    if not isinstance(image_size, int) or not 1 <= image_size <= _CELEBA_CROP:
        raise DataError(
            f"image_size={image_size!r}; give a whole number from 1 to {_CELEBA_CROP}, the side of "
            "the square that is cut from each picture."
        )
    _check_limit(limit)
    files = _celeba_files(root, split, limit)
    pixels = np.empty((len(files), 3, image_size, image_size), dtype=np.uint8)
    for row, path in enumerate(files):
        try:
            with Image.open(path) as image:
                image = image.convert("RGB")
        except (OSError, SyntaxError) as error:
            raise DataError(
                f"{path} cannot be read as a picture ({error}). Delete this file. "
                f"{_advice('celeba', root)}"
            ) from error
        width, height = image.size
        if min(width, height) < _CELEBA_CROP:
            raise DataError(
                f"{path} has {width}×{height} pixels; the aligned CelebA pictures have 178×218. "
                f"Delete this file. {_advice('celeba', root)}"
            )
        left, top = (width - _CELEBA_CROP) // 2, (height - _CELEBA_CROP) // 2
        image = image.crop((left, top, left + _CELEBA_CROP, top + _CELEBA_CROP))
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
        pixels[row] = np.asarray(image).transpose(2, 0, 1)
    return pixels, np.array([int(path.stem) for path in files], dtype=np.int64)


# Tetrominoes -------------------------------------------------------------------------------------


def _check_limit(limit: int | None) -> None:
    if limit is None:
        return
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise DataError(f"limit={limit!r}; give a whole number above 0, or leave it out.")


def _tetrominoes(
    split: str,
    kind: str = "easy",
    fraction: float = 1.0,
    base: str = "easy",
    size: int = 32,
    color: bool = True,
    seed: int = 0,
    limit: int | None = None,
) -> Dataset:
    _check_limit(limit)
    try:
        train, test = tetrominoes.tetromino_split(kind, fraction=fraction, base=base, seed=seed)
        index = train if split == "train" else test
        if limit is not None and limit > len(index):
            raise ValueError(f"limit={limit}, but this {split} part has {len(index)} shapes.")
        if limit is not None:
            order = np.random.PCG64(np.random.SeedSequence([seed, 3])).random_raw(len(index))
            chosen = np.argsort(order, kind="stable")[:limit]
            index = index[torch.from_numpy(chosen).sort().values]
        factors = tetrominoes.tetromino_factors(seed, index)
        # Whether a size serves must not depend on which shapes were drawn: try the smallest of all.
        tetrominoes.render([[0.0, 0.0, tetrominoes.RANGES[2][0], 0.5, 0.5]], size, color)
    except ValueError as error:
        raise DataError(f"tetrominoes: {error}") from error
    # Straight into floating point, part by part: no second copy of the whole set as bytes.
    x = torch.empty(len(index), 3 if color else 1, size, size, dtype=torch.float32)
    for start in range(0, len(index), 8192):
        part = slice(start, start + 8192)
        x[part] = tetrominoes.render(factors[part], size, color)
    x /= 255
    return Dataset(x, index, "generated", "tetrominoes", split)


# The toy model -----------------------------------------------------------------------------------

#: Slope of the leaky ReLU below zero, here and in `models.ACTIVATIONS`: a decoder must be able to
#: be the function that made the data. The page's activations.mjs states it once more.
LEAKY_RELU_SLOPE = 0.2

#: Elementwise, strictly increasing functions ν of the toy model, by name. They bend in different
#: ways: not at all; saturating at both ends, at one end, nowhere; with a kink; growing fast.
NONLINEARITIES: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": lambda y: y,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": torch.nn.functional.softplus,
    "elu": torch.nn.functional.elu,
    "leaky_relu": lambda y: torch.nn.functional.leaky_relu(y, LEAKY_RELU_SLOPE),
    "asinh": torch.asinh,
    "cubic": lambda y: y + y**3 / 3,
}


class ToyTruth(NamedTuple):
    """What a toy data set was made of: W (n, d) and z (N, d) in float64, ν's name, noise's std."""

    W: Tensor
    z: Tensor
    nu: str
    noise_std: float


def toy_model(
    nu: str = "linear",
    column_norms: Sequence[float] = (2.0, 0.5),
    x_dim: int = 3,
    n: int = 10_000,
    noise_std: float = 0.05,
    seed: int = 0,
    split: str = "train",
) -> tuple[Dataset, ToyTruth]:
    """Points of x = ν(Wz) + ε, z ~ N(0, I), ε ~ N(0, noise_std²): the toy of Kumar & Poole's talk.

    nu: a key of `NONLINEARITIES`, applied to each entry. W: (x_dim, d) with d = len(column_norms)
    orthogonal columns of these norms, in directions drawn from the seed. n points; their x is
    (n, x_dim), not confined to [0, 1], and their labels are 0. "train" and "test" share W and have
    points of their own. The sources give the model and the noise; dimensions, norms and the choice
    of ν are ours. With equal norms a rotation of z leaves even mean-field q as good as before;
    with different norms it does not.

    Returns (Dataset, ToyTruth). Raises DataError for an unknown ν, more columns than x_dim, norms
    that are not positive, negative noise, or n < 1.
    """
    if nu not in NONLINEARITIES:
        raise DataError(f"nu={nu!r} is unknown; choose one of {', '.join(NONLINEARITIES)}.")
    norms = np.asarray(column_norms, dtype=np.float64)
    if norms.ndim != 1 or not 1 <= len(norms) <= x_dim:
        raise DataError(
            f"column_norms={column_norms!r} with x_dim={x_dim}; give from 1 to x_dim norms: more "
            "columns cannot be orthogonal."
        )
    if not np.isfinite(norms).all() or (norms <= 0).any():
        raise DataError(f"column_norms={column_norms!r}; every norm must be positive and finite.")
    if not (np.isfinite(noise_std) and noise_std >= 0):
        raise DataError(f"noise_std={noise_std!r}; give a finite number, zero or more.")
    for label, value, least in (("n", n, 1), ("seed", seed, 0)):
        if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
            raise DataError(f"{label}={value!r}; give a whole number, {least} or more.")
    if split not in NAMES["toy"]:
        raise DataError(f"toy has no split {split!r}; choose one of {', '.join(NAMES['toy'])}.")

    gaussian = np.random.default_rng([seed, 0]).standard_normal((x_dim, len(norms)))
    directions, triangle = np.linalg.qr(gaussian)
    # QR leaves signs open; a positive diagonal fixes them, whatever library computes it.
    W = torch.from_numpy(directions * np.sign(np.diag(triangle)) * norms)
    points = np.random.default_rng([seed, 1 + NAMES["toy"].index(split)])
    z = torch.from_numpy(points.standard_normal((n, len(norms))))
    noise = torch.from_numpy(points.standard_normal((n, x_dim)))
    x = NONLINEARITIES[nu](z @ W.T) + noise_std * noise
    dataset = Dataset(x.float(), torch.zeros(n, dtype=torch.int64), "generated", "toy", split)
    return dataset, ToyTruth(W, z, nu, float(noise_std))


def _main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m grae_lib.data", description="Write the digits that the package carries."
    )
    parser.add_argument(
        "--build-subset",
        metavar="ROOT",
        required=True,
        help="folder that holds MNIST/raw/ with MNIST's four files",
    )
    parser.add_argument("--out", metavar="FOLDER", help="by default the package's own assets")
    options = parser.parse_args(arguments)
    try:
        path = build_subset(options.build_subset, options.out)
    except DataError as error:
        parser.exit(1, f"{error}\n")
    print(f"wrote {path}, {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    _main()
