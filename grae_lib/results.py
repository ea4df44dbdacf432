"""The store of results: one JSON record a run, decoders as float16 safetensors, one manifest.

    store/manifest.json                              SHA-256 of every other file
    store/<experiment>/<scale>/runs/<run>.json       settings, metrics, history, provenance
    store/<experiment>/<scale>/decoders/<run>.safetensors

A record states what was run (enough to run it again), what came out, and where: commit, versions,
device, wall time, hash of the data. A stored decoder carries the encoder's means of a few test
images and those images, so that its numbers can be recomputed from the file alone. Files are
written atomically and nothing is a pickle.
"""

from __future__ import annotations

import math
import platform
import subprocess
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from . import geometry, likelihoods, storage
from .models import AutoEncoder, build
from .objectives import column_regularizer, log_det_regularizer
from .storage import DamagedFile

#: The committed results, inside the package so that an installed library has them.
STORE = Path(__file__).parent / "store"

#: Version of the records' layout; a file with another is refused.
FORMAT = 1

_REQUIRED = ("format", "experiment", "scale", "run", "job", "status", "metrics", "provenance")

#: A stored decoder must give the recorded numbers to this relative accuracy, in float64.
RECHECK_TOLERANCE = 1e-6


class MissingResult(LookupError):
    """A result that was asked for is not in the store; the message says how to produce it."""


def provenance(device: torch.device | str, seconds: float, data: dict[str, str]) -> dict[str, Any]:
    """Where a result comes from: commit, versions, device, wall seconds, data and its hash."""
    device = torch.device(device)
    names = ("torch", "torchvision", "numpy", "safetensors")
    return {
        "commit": _commit(),
        "versions": {"python": platform.python_version()}
        | {name: metadata.version(name) for name in names},
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "processor": platform.machine(),
        "threads": torch.get_num_threads(),
        "seconds": round(seconds, 3),
        "data": data,
    }


def _commit() -> str:
    """The commit of the checkout that this library runs from; says so where there is none."""
    here = Path(__file__).parent
    command = ["git", "-C", str(here), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown: git is not installed"
    return found.stdout.strip() if found.returncode == 0 else "unknown: not a git checkout"


def folder(experiment: str, scale: str, root: Path = STORE) -> Path:
    """Where the results of an experiment at a scale are kept."""
    return Path(root) / experiment / scale


def write_run(record: dict[str, Any], root: Path = STORE) -> Path:
    """Write one record; returns its path. Raises ValueError if a required field is missing."""
    missing = [name for name in _REQUIRED if name not in record]
    if missing:
        raise ValueError(
            f"the record lacks {', '.join(missing)}; required: {', '.join(_REQUIRED)}."
        )
    path = folder(record["experiment"], record["scale"], root) / "runs" / f"{record['run']}.json"
    # A history holds values of single batches, which differ from batch to batch in the second or
    # third digit, and it is half of a record: five digits keep the store small and lose nothing.
    kept = plain(record)
    if "history" in record:
        kept["history"] = plain(record["history"], digits=5)
    storage.write_json(path, kept)
    return path


def plain(value: Any, digits: int = 9) -> Any:
    """A value as a record holds it: NaN and infinity, which JSON lacks, become None, and floats
    keep so many significant digits; nine are what a float32 holds.
    """
    if isinstance(value, dict):
        return {k: plain(v, digits) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v, digits) for v in value]
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    return value


def read_run(path: Path) -> dict[str, Any]:
    """Read one record; raises DamagedFile if it is not one of ours, whole and where it belongs."""
    record = storage.read_json(path)
    if not isinstance(record, dict) or any(name not in record for name in _REQUIRED):
        raise DamagedFile(
            f"{path} is JSON but not a result: it lacks some of {', '.join(_REQUIRED)}. Remove it "
            "from the store."
        )
    if record["format"] != FORMAT:
        raise DamagedFile(
            f"{path} has format {record['format']!r}; this library reads format {FORMAT}. Remove "
            "it and run the experiment again."
        )
    path = Path(path)
    stated = (record["experiment"], record["scale"], "runs", record["run"])
    if stated != (*path.parts[-4:-1], path.stem):
        raise DamagedFile(
            f"{path} says it is {'/'.join(map(str, stated))}; it is misplaced. Move it there, or "
            "remove it."
        )
    return record


def check_against_manifest(paths: list[Path], root: Path = STORE) -> None:
    """Raise DamagedFile if a file is not what the manifest, where it lists the file, says.

    A flipped bit in a number leaves valid JSON; only the hash shows it.
    """
    manifest = read_manifest(root)
    for path in paths:
        known = manifest.get(path.relative_to(root).as_posix())
        if known is not None and storage.sha256(path) != known:
            raise DamagedFile(
                f"{path} has changed since it was stored: its SHA-256 is not the manifest's. "
                "Restore it, or delete it and run the experiment again."
            )


def runs(experiment: str, scale: str | None = None, root: Path = STORE) -> list[dict[str, Any]]:
    """All records of an experiment at a scale, sorted by name.

    Without a scale the largest that is stored is taken: gpu, then cpu, then smoke. Raises
    MissingResult where nothing is stored, saying how to produce it.
    """
    if scale is None:
        stored = [s for s in ("gpu", "cpu", "smoke") if folder(experiment, s, root).is_dir()]
        scale = stored[0] if stored else "cpu"
    found = sorted((folder(experiment, scale, root) / "runs").glob("*.json"))
    if not found:
        raise MissingResult(
            f"no results of {experiment!r} at scale {scale!r} are stored in {root}; produce them "
            f"with: python -m grae_lib run {experiment} --scale {scale}"
        )
    records = [read_run(path) for path in found]
    check_against_manifest(found, root)
    return records


def _linears(decoder: torch.nn.Module) -> list[torch.nn.Linear]:
    return [layer for layer in decoder.modules() if isinstance(layer, torch.nn.Linear)]


def write_decoder(
    path: Path, model: AutoEncoder, images: Tensor, labels: Tensor, about: dict[str, str]
) -> dict[str, float]:
    """Store an MLP decoder in float16 with the means of a few images; returns the recheck numbers.

    images: (M, *shape) in [0, 1], quantised to bytes as image files are; labels (M,). about: string
    metadata to add (method, beta, seed, …). The numbers are those of `recheck` on what was written.
    """
    if model.config["architecture"] != "mlp":
        raise ValueError(
            f"decoders of architecture {model.config['architecture']!r} are not stored; only 'mlp'."
        )
    tensors: dict[str, Tensor] = {}
    for i, layer in enumerate(_linears(model.decoder)):
        tensors[f"{i}.weight"], tensors[f"{i}.bias"] = layer.weight.half(), layer.bias.half()
    with torch.no_grad():
        parameter = next(model.parameters())
        mean = model.encode(images.to(device=parameter.device, dtype=parameter.dtype)).mean
    tensors["codes"] = mean.half()
    tensors["codes_images"] = (images.flatten(1) * 255).round().to(torch.uint8)
    tensors["codes_labels"] = labels.to(torch.int64)
    keep = ("activation", "output", "latent_dim", "shape", "hidden", "family", "block_size")
    described = {key: str(model.config[key]) for key in keep} | about
    storage.write_safetensors(path, tensors, described)
    return recheck(path)


def read_decoder(path: Path, dtype: torch.dtype = torch.float32) -> tuple[AutoEncoder, dict, dict]:
    """A model with a stored decoder (its encoder is untrained), the tensors and the metadata.

    Raises DamagedFile if the file is truncated or its tensors do not fit the shapes it states.
    """
    tensors, about = storage.read_safetensors(path)
    try:
        hidden, shape = (
            [int(n) for n in about[k].strip("[]()").split(",") if n.strip()]
            for k in ("hidden", "shape")
        )
        model = build(
            "mlp",
            shape=shape,
            hidden=hidden,
            latent_dim=int(about["latent_dim"]),
            activation=about["activation"],
            output=about["output"],
        ).to(dtype)
        with torch.no_grad():
            for i, layer in enumerate(_linears(model.decoder)):
                for name, target in (("weight", layer.weight), ("bias", layer.bias)):
                    stored = tensors[f"{i}.{name}"]
                    if stored.shape != target.shape:
                        raise ValueError(
                            f"{i}.{name} has shape {tuple(stored.shape)}, not {tuple(target.shape)}"
                        )
                    target.copy_(stored)
    except (KeyError, ValueError) as error:
        raise DamagedFile(f"{path} is not a decoder of this library ({error}).") from error
    return model.requires_grad_(False), tensors, about


def load_decoder(
    experiment: str, run: str, scale: str | None = None, root: Path = STORE
) -> torch.nn.Module:
    """The stored decoder of a run, frozen, in float32; z (B, d) → x̂ (B, n).

    Raises MissingResult if it is not stored. Without a scale the largest stored one is taken.
    """
    scales = ("gpu", "cpu", "smoke") if scale is None else (scale,)
    paths = [folder(experiment, s, root) / "decoders" / f"{run}.safetensors" for s in scales]
    for path in paths:
        if path.exists():
            return read_decoder(path)[0].decoder
    raise MissingResult(
        f"no decoder of run {run!r} of {experiment!r} is stored (looked for {paths[0]}); runs with "
        "a stored decoder have the field 'decoder' in their record."
    )


def recheck(path: Path) -> dict[str, float]:
    """Numbers that a stored decoder gives from its own file, in float64, at its stored codes.

    Means over the codes, in nats: distortion ½‖x − g(z)‖², log_det and columns, the two forms of
    the regulariser at the stored β.
    """
    model, tensors, about = read_decoder(path, torch.float64)
    try:
        codes, beta = tensors["codes"].double(), float(about["beta"])
        images = tensors["codes_images"].double() / 255
        x_hat, J = geometry.jacobian(model.decoder, codes)
        distortion = likelihoods.distortion(images, x_hat)
    except (KeyError, ValueError, RuntimeError) as error:
        raise DamagedFile(f"{path} lacks fitting codes, images or β ({error}).") from error
    metric = geometry.pullback_metric(J)
    return {
        "distortion": float(distortion.mean()),
        "log_det": float(log_det_regularizer(metric, beta).mean()),
        "columns": float(column_regularizer(metric, beta).mean()),
    }


def _files(root: Path) -> Iterator[Path]:
    for path in sorted(Path(root).rglob("*")):
        inside = path.relative_to(root)
        unfinished = "checkpoints" in inside.parts or inside.name.startswith(".")
        if path.is_file() and inside.name != "manifest.json" and not unfinished:
            yield path


def write_manifest(root: Path = STORE) -> dict[str, str]:
    """Record the SHA-256 of every new file of the store and forget files that are gone.

    What is listed already keeps its hash: a new experiment must not approve of old damage. Delete
    the manifest to have all of it made anew.
    """
    known = read_manifest(root)
    present = {p.relative_to(root).as_posix(): p for p in _files(root)}
    manifest = {name: known.get(name) or storage.sha256(p) for name, p in present.items()}
    storage.write_json(Path(root) / "manifest.json", manifest, indent=1)
    return manifest


def read_manifest(root: Path = STORE) -> dict[str, str]:
    """File → SHA-256, empty where there is no manifest yet; raises DamagedFile if it is damaged."""
    path = Path(root) / "manifest.json"
    if not path.exists():
        return {}
    manifest = storage.read_json(path)
    # Written again, an intact manifest gives the same bytes: not one of them is free to change.
    if not isinstance(manifest, dict) or storage.json_bytes(manifest, 1) != path.read_bytes():
        raise DamagedFile(f"{path} is not a manifest as this library writes it; restore it.")
    return manifest


def verify(root: Path = STORE) -> list[str]:
    """Every fault of the store, as sentences; an empty list if there is none.

    Compares each file's SHA-256 with the manifest, reads each record, and recomputes each stored
    decoder's numbers from its own file.
    """
    root = Path(root)
    if not (root / "manifest.json").exists():
        return [f"{root}/manifest.json is missing: restore it from the repository."]
    try:
        manifest = read_manifest(root)
    except DamagedFile as error:
        return [str(error)]
    faults = []
    present = {p.relative_to(root).as_posix(): p for p in _files(root)}
    for name in sorted(manifest.keys() | present.keys()):
        if name not in present:
            faults.append(f"{name} is in the manifest but missing: restore it or run it again.")
        elif name not in manifest:
            faults.append(f"{name} is not in the manifest: remove it, or run the experiment.")
        elif storage.sha256(present[name]) != manifest[name]:
            faults.append(f"{name} has changed: its SHA-256 is not the manifest's; restore it.")
    for path in present.values():
        if path.suffix == ".json":
            try:
                faults += _verify_record(path)
            except DamagedFile as error:
                faults.append(str(error).replace(f"{root}/", ""))
            except (KeyError, TypeError, AttributeError) as error:
                faults.append(f"{path.relative_to(root)} is not laid out as a result ({error!r}).")
    return faults


def _verify_record(path: Path) -> list[str]:
    record = read_run(path)
    if "decoder" not in record:
        return []
    decoder = path.parent.parent / record["decoder"]["file"]
    if not decoder.exists():
        return [f"{decoder.name}, named by {path.name}, is missing."]
    found = recheck(decoder)
    return [
        f"{decoder.name}: {name} is {found[name]:.6f}, the record says {stated:.6f}."
        for name, stated in record["decoder"]["recheck"].items()
        if not math.isclose(found[name], stated, rel_tol=RECHECK_TOLERANCE)
    ]


def size(root: Path = STORE) -> int:
    """Bytes of all files of the store."""
    return sum(path.stat().st_size for path in Path(root).rglob("*") if path.is_file())


def table(
    records: list[dict[str, Any]], by: tuple[str, ...], metric: str
) -> dict[tuple, tuple[float, float, int]]:
    """Mean, standard deviation over seeds and count of one metric for each value of `by`.

    by: names of labels (`record["job"]["labels"]`). Runs without the metric (diverged) are left
    out and so lower the count.
    """
    cells: dict[tuple, list[float]] = {}
    for record in records:
        value = record["metrics"].get(metric)
        if value is not None:
            key = tuple(record["job"]["labels"][name] for name in by)
            cells.setdefault(key, []).append(value)
    return {
        key: (
            sum(values) / len(values),
            float(torch.tensor(values, dtype=torch.float64).std()) if len(values) > 1 else math.nan,
            len(values),
        )
        for key, values in sorted(cells.items())
    }
