"""Files that a page with widgets needs beside it, and how they are made from what is stored.

Pages read everything through classic `<script>` elements, because that alone works both over http
and over file:// (there `fetch` and `import()` of local files are refused). Weights travel as base64
that such a script puts on a global object; each widget's module is its committed bundle, wrapped so
that it starts where its script stands.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import struct
from pathlib import Path

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
    return target
