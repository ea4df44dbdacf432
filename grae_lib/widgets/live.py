"""The kernel's side of the widgets: anywidgets made from the bundled module, and live weights."""

from __future__ import annotations

import json
from functools import lru_cache
from typing import Any

import anywidget
import torch
import traitlets
from safetensors.torch import save

from . import assets

#: Above this many bytes a live decoder is refused: every change sends it through the kernel's
#: connection again.
MAX_BYTES = 64_000_000


def _trait(value: Any) -> traitlets.TraitType:
    """The trait for a state value, from the type of its default."""
    if isinstance(value, str):
        trait = traitlets.Unicode(value)
    elif isinstance(value, list):
        trait = traitlets.List(value)
    elif isinstance(value, int):
        trait = traitlets.Int(value)
    else:
        trait = traitlets.Float(value)
    return trait.tag(sync=True)


@lru_cache
def _module(kind: str) -> str:
    # Text rather than a path: anywidget watches files that it is given by path.
    return assets.bundle(kind).read_text(encoding="utf-8")


class _Base(anywidget.AnyWidget):
    """Traits that every widget has. `file` is what the page asks for, `weights` the answer."""

    kind = traitlets.Unicode().tag(sync=True)
    live = traitlets.Bool(False).tag(sync=True)
    manifest = traitlets.Dict().tag(sync=True)
    file = traitlets.Unicode().tag(sync=True)
    weights_file = traitlets.Unicode().tag(sync=True)
    weights = traitlets.Bytes(b"").tag(sync=True)

    @traitlets.observe("file")
    def _answer(self, change: dict) -> None:
        wanted = change["new"]
        if not wanted or wanted == "live":
            return
        # Both in one message, so that the page never pairs a name with other weights.
        with self.hold_sync():
            self.weights = assets.content(wanted)
            self.weights_file = wanted


@lru_cache(maxsize=16)
def _class(kind: str, names: tuple[str, ...], types: tuple[str, ...]) -> type[_Base]:
    example = {"str": "", "list": [], "int": 0, "float": 0.0}
    traits = {name: _trait(example[t]) for name, t in zip(names, types, strict=True)}
    return type(f"Grae{kind.title()}", (_Base,), {"_esm": _module(kind), **traits})


def build_widget(
    kind: str, state: dict[str, Any], manifest: dict | None = None, weights: bytes | None = None
) -> _Base:
    """An anywidget of one kind. weights: a live decoder as a file, from `export_decoder`."""
    types = tuple(type(v).__name__ for v in state.values())
    cls = _class(kind, tuple(state), types)
    extra = {} if weights is None else {"live": True, "weights": weights, "weights_file": "live"}
    return cls(kind=kind, manifest=manifest or {}, **extra, **state)


def export_decoder(model: Any, data: Any = None, count: int = 20) -> bytes:
    """A live model's decoder as a float32 safetensors file with the codes of a few examples.

    model: an `AutoEncoder` with an MLP or convolutional decoder. data: a `Dataset` or a tensor
    (N, *shape); the first `count` examples are encoded, two of each label where there are labels.
    Raises ValueError if the shapes disagree or the decoder is too large to send.
    """
    config = getattr(model, "config", None)
    if config is None or not hasattr(model, "decoder"):
        raise ValueError(
            f"a {type(model).__name__} was given as model; expected an AutoEncoder from "
            "grae_lib.models.build."
        )
    layers = [m for m in model.decoder.modules() if hasattr(m, "weight")]
    tensors = {}
    for i, layer in enumerate(layers):
        tensors[f"{i}.weight"], tensors[f"{i}.bias"] = layer.weight, layer.bias
    size = sum(4 * t.numel() for t in tensors.values())
    if size > MAX_BYTES:
        raise ValueError(
            f"the decoder takes {size:,} bytes; a widget sends at most {MAX_BYTES:,}. Use a "
            "smaller decoder, or a stored one."
        )
    if data is not None:
        x, labels = getattr(data, "x", data), getattr(data, "labels", None)
        if labels is None:
            x = x[:count]
        else:
            chosen = [i for c in labels.unique() for i in (labels == c).nonzero()[:2, 0].tolist()]
            x = x[sorted(chosen, key=lambda i: int(labels[i]))[:count]]
        like = next(model.parameters())
        with torch.no_grad():
            tensors["codes"] = model.encode(x.to(like)).mean
        tensors["codes_images"] = x.flatten(1)
    keep = ("activation", "output", "latent_dim", "shape")
    metadata = {k: v if isinstance(v := config[k], str) else json.dumps(v) for k in keep}
    ready = {k: v.detach().float().cpu().contiguous() for k, v in tensors.items()}
    return save(ready, metadata)
