"""Interactive figures that compute the true objective, in the book, in Jupyter and in Colab.

    Explorer()              stored decoders: β, z, Jacobian, metric, Σ, samples, the terms of GRAE
    Explorer(model, data)   the same bound to a live model
    Rotation()              what each family pays when the latent space is turned
    Taylor()                the expected distortion against its expansions
    Playground()            an autoencoder trained in the page
    Walk()                  along a stored rate–distortion curve, β by β, with reconstructions
    TrainPanel(...)         retrain with torch at a chosen β, with progress, and redraw

In a kernel each is an anywidget whose state goes both ways: `explorer.beta = .4` moves the slider,
and moving it changes `explorer.beta`. When a static page is made (`GRAE_STATIC=1`, which
`grae_lib.widgets.sphinx` and the command that executes the chapters set), the output is a small
block of HTML without weights, which the same module brings to life with no kernel.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from . import assets, static_html
from .panel import TrainPanel

__all__ = [
    "Explorer",
    "Playground",
    "Rotation",
    "Taylor",
    "TrainPanel",
    "Walk",
    "sphinx_setup",
]


def is_static() -> bool:
    """Whether outputs are made for a page without a kernel."""
    return os.environ.get("GRAE_STATIC", "").lower() not in {"", "0", "false"}


class _Figure:
    """A widget with its state as attributes; `state` holds what differs from the defaults."""

    kind = ""
    #: Names and defaults of the state, as in the module's own source.
    defaults: dict[str, Any] = {}  # noqa: RUF012 - each subclass replaces it

    def __init__(self, **state: Any):
        unknown = sorted(set(state) - set(self.defaults))
        if unknown:
            raise ValueError(
                f"{type(self).__name__} has no state {', '.join(unknown)}; "
                f"it has {', '.join(self.defaults)}."
            )
        for name, value in state.items():
            _check(self, name, value)
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in state.items()}
        object.__setattr__(self, "state", values)
        object.__setattr__(self, "_widget", None)

    @property
    def widget(self):
        """The anywidget behind this figure; made when first asked for."""
        if self._widget is None:
            object.__setattr__(self, "_widget", self._build())
        return self._widget

    def _build(self):
        from .live import build_widget

        return build_widget(self.kind, self.defaults | self.state)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name not in type(self).defaults:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}.")
        if self._widget is not None:
            return getattr(self._widget, name)
        return self.state.get(name, self.defaults[name])

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self.defaults:
            raise AttributeError(
                f"{type(self).__name__} has no state {name!r}; it has {', '.join(self.defaults)}."
            )
        _check(self, name, value)
        self.state[name] = value
        if self._widget is not None:
            setattr(self._widget, name, value)

    def observe(self, handler: Callable[[dict], None], names: str | list[str]) -> None:
        """Call `handler(change)` whenever one of the named parts of the state changes."""
        self.widget.observe(handler, names)

    def _html(self) -> str:
        return static_html.block(self.kind, self.state)

    def _repr_mimebundle_(self, **kwargs: Any):
        text = f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.state.items())})"
        if is_static():
            return {"text/plain": text, "text/html": self._html()}
        return self.widget._repr_mimebundle_(**kwargs)


_POSITIVE = ("beta", "sigma", "norm1", "norm2", "lr", "block_size")
_CHOICES = {
    "family": ("full", "block", "diagonal"),
    "plane": ("inside", "across"),
    "decoder": ("linear", "tanh", "softplus", "relu"),
    "data": ("digits", "roll"),
    "objective": ("ae", "beta_vae", "grae_log_det"),
}


def _check(figure: _Figure, name: str, value: Any) -> None:
    """Raise ValueError for a value that the figure cannot show."""
    default = figure.defaults[name]
    who = f"{type(figure).__name__}: {name}={value!r} was given; "
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(who + "expected a name.")
        if name in _CHOICES and value not in _CHOICES[name]:
            raise ValueError(who + f"choose one of {', '.join(_CHOICES[name])}.")
        return
    if isinstance(default, list):
        if not isinstance(value, (list, tuple)) or not all(map(_is_number, value)):
            raise ValueError(who + "expected a list of finite numbers.")
        return
    if not _is_number(value) or (isinstance(default, int) and value != int(value)):
        kind = "an integer" if isinstance(default, int) else "a finite number"
        raise ValueError(who + f"expected {kind}.")
    if name in _POSITIVE and value <= 0:
        raise ValueError(who + "expected a number > 0.")


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return math.isfinite(value)


class Explorer(_Figure):
    """A decoder near one point: value, Jacobian, metric, the best Σ of a family, samples, terms.

    Without a model it shows stored decoders; `collection` names the experiment, `method` and `beta`
    the decoder. With `model` (an `AutoEncoder`) and `data` (a `Dataset` or a tensor (N, *shape)) it
    shows that model at the codes of the first `count` examples, and `beta` is only the β of the
    formulas; call `refresh()` after training on. z: (d,), empty for the code of test image `digit`.
    """

    kind = "explorer"
    defaults = {  # noqa: RUF012
        "collection": "mnist-objectives", "method": "", "beta": 0.2, "digit": 3, "z": [],
        "family": "full", "block_size": 2, "seed": 0, "axes": [0, 1],
    }  # fmt: skip

    def __init__(self, model: Any = None, data: Any = None, *, count: int = 20, **state: Any):
        super().__init__(**state)
        object.__setattr__(self, "_live", None)
        if model is None and data is not None:
            raise ValueError("Explorer was given data but no model; give both, or neither.")
        if model is not None:
            object.__setattr__(self, "_live", (model, data, count))
            self.refresh()

    def _build(self):
        from .live import build_widget

        state = self.defaults | self.state
        if self._live is None:
            return build_widget(self.kind, state, manifest=assets.manifest())
        return build_widget(self.kind, state, weights=self._weights)

    def refresh(self) -> None:
        """Read the live model's weights again; has no meaning for stored decoders."""
        if self._live is None:
            raise ValueError("this Explorer shows stored decoders; only a live model changes.")
        from .live import export_decoder

        object.__setattr__(self, "_weights", export_decoder(*self._live))
        if self._widget is not None:
            self._widget.weights = self._weights

    def _html(self) -> str:
        if self._live is None:
            return super()._html()
        # Weights do not belong in a notebook: say where they are.
        return (
            '<figure class="grae-live-only"><figcaption>Here a kernel shows the model of this '
            "notebook, live: open the chapter in Jupyter or Colab and run the cell."
            "</figcaption></figure>"
        )


class Rotation(_Figure):
    """What full, block and mean-field posteriors pay as two of four latents are turned by θ.

    theta in degrees; norm1, norm2: norms of the two turned columns of J; sigma: standard deviation
    of p(x|z); plane: "inside" turns z₁ into z₂ (one block), "across" z₂ into z₃ (two blocks).
    """

    kind = "rotation"
    defaults = {  # noqa: RUF012
        "theta": 30.0, "norm1": 2.0, "norm2": 0.5, "sigma": 0.05, "beta": 1.0, "plane": "inside",
    }  # fmt: skip


class Taylor(_Figure):
    """E_q of the distortion of a one-dimensional decoder, by quadrature and by its expansions.

    decoder: "linear", "tanh", "softplus" or "relu"; mean: where q sits; residual: x − g(mean).
    """

    kind = "taylor"
    defaults = {  # noqa: RUF012
        "decoder": "tanh", "beta": 0.1, "mean": 0.3, "residual": 0.5,
    }  # fmt: skip


class Playground(_Figure):
    """An autoencoder with two latents, trained in the page in double precision with Adam.

    data: "digits" (8×8) or "roll" (3-D); objective: "ae", "beta_vae" or "grae_log_det".
    """

    kind = "playground"
    defaults = {  # noqa: RUF012
        "data": "digits", "objective": "grae_log_det", "beta": 0.05, "lr": 0.005, "seed": 0,
    }  # fmt: skip


class Walk(_Figure):
    """A walk along stored rate–distortion curves: β, the numbers, sixteen reconstructions.

    experiment: a stored one whose records `assets.walk_data` can read; capacity and split name one
    of its curves, the first where they are empty; beta: the stored β nearest in the logarithm.
    """

    kind = "walk"
    defaults = {  # noqa: RUF012
        "experiment": "tetrominoes-rd", "capacity": "", "split": "", "beta": 1.0,
    }  # fmt: skip


def sphinx_setup(app) -> dict:
    """Connect the widgets to a Sphinx application; see `grae_lib.widgets.sphinx`."""
    from .sphinx import setup

    return setup(app)
