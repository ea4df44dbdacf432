"""Files that a page with widgets needs beside it, and how they are made from what is stored.

Pages read everything through classic `<script>` elements, because that alone works both over http
and over file:// (there `fetch` and `import()` of local files are refused). Weights travel as base64
that such a script puts on a global object; each widget's module is its committed bundle, wrapped so
that it starts where its script stands.
"""

from __future__ import annotations

import base64
import json
import math
import re
import shutil
import statistics
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from .. import results
from .static_html import KINDS, check_kind

#: The committed bundles, pictures and small data of the widgets.
STATIC = Path(__file__).parent / "static"
#: Stored decoders: <experiment>/<scale>/decoders/<run>.safetensors (see `grae_lib.results`).
STORE = Path(__file__).parents[1] / "store"
#: Scales of an experiment, the most thorough first: pages show the first that is there.
SCALES = ("gpu", "cpu", "smoke")
#: Small arrays that widgets load by name.
DATA = ("digits8",)

_START = """
(function () {
  var script = document.currentScript;
  var base = script.src.slice(0, script.src.lastIndexOf("/") + 1);
  var go = function () { graeMount(base); };
  if (document.readyState === "loading") document.addEventListener("DOMContentLoaded", go);
  else go();
})();
"""


def read_metadata(path: Path) -> dict:
    """The metadata of a safetensors file, with JSON values decoded; no tensor is read.

    Raises ValueError if the file is no safetensors file or is cut off in its header.
    """
    with path.open("rb") as file:
        start = file.read(8)
        length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
        text = file.read(length) if 0 < length < 10_000_000 else b""
    try:
        metadata = json.loads(text).get("__metadata__", {})
    except ValueError as error:
        raise ValueError(
            f"{path} is not a safetensors file or is cut off; make it again or restore it."
        ) from error
    values = {}
    for key, value in metadata.items():
        try:
            values[key] = json.loads(value)
        except ValueError:
            values[key] = value  # a bare word such as tanh stands for itself
    return values


def manifest(store: Path | None = None) -> dict[str, list[dict]]:
    """The stored decoders by experiment: [{id, method, beta, latent_dim, scale}, …], sorted.

    store: the folder with one folder an experiment; by default the one in the package. Of several
    scales the first in `SCALES` is taken. Experiments without decoders are left out.
    """
    store = STORE if store is None else Path(store)
    found: dict[str, list[dict]] = {}
    for experiment in sorted(p for p in store.glob("*") if p.is_dir()):
        for scale in SCALES:
            paths = sorted((experiment / scale / "decoders").glob("*.safetensors"))
            if paths:
                entries = [_entry(path, experiment.name, scale) for path in paths]
                entries.sort(key=lambda e: (str(e["method"]), e["beta"], e["latent_dim"]))
                found[experiment.name] = entries
                break
    return found


def _entry(path: Path, experiment: str, scale: str) -> dict:
    meta = read_metadata(path)
    missing = [k for k in ("method", "beta", "latent_dim") if k not in meta]
    if missing:
        raise ValueError(f"{path} lacks the metadata {missing}; widgets list decoders by them.")
    return {"id": f"{experiment}/{scale}/{path.stem}", "scale": scale} | {
        k: meta[k] for k in ("method", "beta", "latent_dim")
    }


def locate(identifier: str, store: Path | None = None) -> Path:
    """The file behind an id: `<experiment>/<scale>/<run>` of a decoder, or a name in `DATA`."""
    if identifier in DATA:
        return STATIC / f"{identifier}.safetensors"
    known = [e["id"] for entries in manifest(store).values() for e in entries]
    if identifier not in known:
        raise ValueError(
            f"no decoder is stored as {identifier!r}; there are {', '.join(known) or 'none'}."
        )
    experiment, scale, run = identifier.split("/")
    root = STORE if store is None else Path(store)
    return root / experiment / scale / "decoders" / f"{run}.safetensors"


#: What `walk_data` averages over seeds, in nats, of training and of held-out data.
WALK_METRICS = ("rate", "distortion", "mutual_information", "marginal_kl")


def walk_data(records: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Curves for the widget `walk`, from the records of a rate–distortion experiment.

    records: as `results.runs("tetrominoes-rd")` gives them. Of each are read the labels split,
    capacity, beta, seed (and depth, to name the capacity) and the metrics {train,test}/{rate,
    distortion,mutual_information,marginal_kl} in nats, which are averaged over seeds; and of the
    lowest seed {train,test}/sheet: a PNG in base64, eight pictures above their reconstructions.
    The result, as JSON, is the file `walk/<experiment>`, made when the book is built:

        {"capacities": {"depth1": "1 hidden layer", …}, "splits": {"easy": "easy", …},
         "cells": {"easy/depth1": [              one list a curve, by increasing β
            {"beta": 0.1, "seeds": 3,
             "train": {"rate": …, "distortion": …, "mutual_information": …, "marginal_kl": …,
                       "sheet": "iVBORw0KGgo…"},
             "test": {…}}, …]}}

    A β whose rate or distortion is no finite number for some seed is left out, and so is a β
    without sheets; a missing mutual information is null. Raises ValueError where nothing is left.
    """
    grouped: dict[tuple[str, str], dict[float, list[dict[str, Any]]]] = {}
    capacities: dict[str, tuple[int, str]] = {}
    for record in records:
        labels = record["job"].get("labels", {})
        missing = [k for k in ("split", "capacity", "beta", "seed") if k not in labels]
        if missing:
            raise ValueError(
                f"the record {record.get('run')!r} lacks the labels {', '.join(missing)}; a walk "
                "needs records of a rate–distortion experiment."
            )
        capacity, depth = labels["capacity"], labels.get("depth")
        name = {"conv": "convolutional"}.get(
            capacity, capacity if depth is None else f"{depth} hidden layer{'s' * (depth != 1)}"
        )
        capacities[capacity] = (depth or 0, name)
        runs = grouped.setdefault((labels["split"], capacity), {})
        runs.setdefault(labels["beta"], []).append(record)
    cells = {
        f"{split}/{capacity}": points
        for (split, capacity), runs in sorted(grouped.items())
        if (points := [p for beta in sorted(runs) if (p := _walk_point(beta, runs[beta]))])
    }
    if not cells:
        raise ValueError(
            "no record holds rate, distortion and sheets of pictures for both train and test; run "
            "the experiment to its end, or choose another."
        )
    shown = [key.split("/") for key in cells]
    return {
        "capacities": {
            c: capacities[c][1] for c in sorted({c for _, c in shown}, key=capacities.__getitem__)
        },
        "splits": {s: s for s in sorted({s for s, _ in shown})},
        "cells": cells,
    }


def _walk_point(beta: float, records: list[dict[str, Any]]) -> dict[str, Any] | None:
    """One point of a curve, or None where something that it needs is missing."""
    first = min(records, key=lambda r: r["job"]["labels"]["seed"])
    point: dict[str, Any] = {"beta": beta, "seeds": len(records)}
    for side in ("train", "test"):
        sheet = first["metrics"].get(f"{side}/sheet")
        values: dict[str, Any] = {}
        for name in WALK_METRICS:
            found = [r["metrics"].get(f"{side}/{name}") for r in records]
            finite = all(isinstance(v, (int, float)) and math.isfinite(v) for v in found)
            values[name] = float(f"{statistics.fmean(found):.6g}") if finite else None
        if not sheet or values["rate"] is None or values["distortion"] is None:
            return None
        if not str(sheet).startswith("iVBORw0KGgo"):
            raise ValueError(
                f"{side}/sheet of the record {first.get('run')!r} is no PNG in base64; run the "
                "experiment again."
            )
        point[side] = values | {"sheet": sheet}
    return point


def walks(store: Path | None = None) -> list[str]:
    """Names of the stored experiments with curves to walk along."""
    store = STORE if store is None else Path(store)
    found = []
    for experiment in sorted(p.name for p in store.glob("*") if p.is_dir()):
        paths = (
            p for s in SCALES for p in sorted((store / experiment / s / "runs").glob("*.json"))
        )
        first = next(paths, None)
        if first and "train/rate" in results.read_run(first).get("metrics", {}):
            found.append(experiment)
    return found


def content(identifier: str, store: Path | None = None) -> bytes:
    """What the page gets for an id: a decoder, small data, or `walk/<experiment>`."""
    folder, _, experiment = identifier.partition("/")
    if folder != "walk":
        return locate(identifier, store).read_bytes()
    records = results.runs(experiment, root=STORE if store is None else Path(store))
    return json.dumps(walk_data(records), ensure_ascii=False, separators=(",", ":")).encode()


def as_script(identifier: str, content: bytes) -> str:
    """A classic script that puts `content` as base64 under `identifier` on `graeData`."""
    text = base64.b64encode(content).decode()
    return f'(globalThis.graeData||={{}})[{json.dumps(identifier)}]="{text}";\n'


def bundle(kind: str) -> Path:
    """The committed module of one widget, which stands alone: book, Jupyter and Colab load it."""
    check_kind(kind)
    return STATIC / f"grae-{kind}.mjs"


def classic_module(kind: str) -> str:
    """The bundle of one widget as a classic script that mounts every such widget of its page."""
    code = bundle(kind).read_text(encoding="utf-8")
    match = re.search(r"export\s*\{([^{}]*)\};?\s*$", code)
    name = match and re.search(r"([\w$]+)\s+as\s+mountAll\b", match[1])
    if match is None or name is None:
        raise ValueError(f"{bundle(kind)} does not export mountAll; bundle it again.")
    return f"(()=>{{{code[: match.start()]}var graeMount={name[1]};{_START}}})();\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def install(target: Path, store: Path | None = None) -> Path:
    """Put modules, style, pictures, manifest and all decoders into `target`, and return `target`.

    target: usually `<built book>/_static/grae`. Files that are up to date are not written again.
    """
    target = Path(target)
    target.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        _write(target / f"grae-{kind}.js", classic_module(kind))
    for path in [*STATIC.glob("*.png"), *STATIC.glob("*.css")]:
        shutil.copyfile(path, target / path.name)
    decoders = manifest(store)
    _write(target / "manifest.js", as_script("manifest", json.dumps(decoders).encode()))
    names = [*DATA, *(e["id"] for entries in decoders.values() for e in entries)]
    for name in names:
        source = locate(name, store)
        copy = target / f"{name}.js"
        if not copy.exists() or copy.stat().st_mtime < source.stat().st_mtime:
            _write(copy, as_script(name, source.read_bytes()))
    for experiment in walks(store):
        name = f"walk/{experiment}"
        _write(target / f"{name}.js", as_script(name, content(name, store)))
    return target
