"""An ipywidgets panel that trains with torch at the chosen β and redraws an explorer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: What the panel offers: name → objective made from β, and the posterior family it needs.
OBJECTIVES = {
    "GRAE, log-det": ("GRAE", {"regularizer": "log_det"}),
    "GRAE, one column": ("GRAE", {"regularizer": "one_column"}),
    "β-VAE": ("BetaVAE", {}),
    "plain autoencoder": ("AE", None),
}


def _grid(value: float, low: int, high: int) -> list[tuple[str, float]]:
    """Ten round numbers a decade from 10^low to 10^high, and `value` as it was given.

    A logarithmic slider would move `value` to its own grid as soon as a page shows it.
    """
    round_ones = ("1", "1.25", "1.6", "2", "2.5", "3.2", "4", "5", "6.3", "8")
    grid = {float(f"{m}e{e}") for e in range(low, high) for m in round_ones}
    return [(f"{v:g}", v) for v in sorted(grid | {10.0**high, float(value)})]


class TrainPanel:
    """Train a model at a chosen β in this kernel, watch the terms, see the decoder change.

    data: a `Dataset`. make: called without arguments, returns a fresh model; by default a small MLP
    for the data's shape. steps: per press of the button; training goes on from where it was until
    "Start again". Show it as the last value of a cell. `explorer` is the bound `Explorer`, `model`
    the model, `history` the recorded terms.
    """

    def __init__(
        self,
        data: Any,
        make: Callable[[], Any] | None = None,
        *,
        beta: float = 0.2,
        steps: int = 300,
        batch_size: int = 64,
        lr: float = 2e-3,
        seed: int = 0,
        **explorer: Any,
    ):
        import ipywidgets as w

        from .. import models
        from ..geometry import check_beta
        from . import Explorer

        check_beta(beta)
        if steps < 1:
            raise ValueError(f"steps={steps} was given; expected an integer ≥ 1.")
        self.data, self.batch_size, self.seed = data, batch_size, seed
        self._make = make or (
            lambda: models.build(shape=data.shape, latent_dim=2, hidden=(64,), seed=seed)
        )
        self.model = self._make()
        self.history: list[dict] = []
        self.explorer = Explorer(self.model, data, beta=beta, **explorer)
        wide = {"style": {"description_width": "110px"}}
        self.objective = w.Dropdown(options=list(OBJECTIVES), description="Objective", **wide)
        self.beta = w.SelectionSlider(
            options=_grid(beta, -2, 1), value=beta, description="β", **wide
        )
        self.steps = w.IntSlider(
            steps, min=10, max=max(2000, steps), step=10, description="Steps", **wide
        )
        self.lr = w.SelectionSlider(
            options=_grid(lr, -4, -2), value=lr, description="Learning rate", **wide
        )
        self.button = w.Button(description="Train", button_style="primary")
        self.again = w.Button(description="Start again")
        self.progress = w.IntProgress(value=0, max=steps, description="")
        self.report = w.HTML("not trained yet")
        self.button.on_click(lambda _: self.train())
        self.again.on_click(lambda _: self.restart())
        self.box = w.VBox([
            w.HBox([self.objective, self.beta]), w.HBox([self.steps, self.lr]),
            w.HBox([self.button, self.again, self.progress]), self.report, self.explorer.widget,
        ])  # fmt: skip

    def _objective(self) -> Any:
        from .. import objectives

        name, settings = OBJECTIVES[self.objective.value]
        cls = getattr(objectives, name)
        return cls() if settings is None else cls(self.beta.value, **settings)

    def train(self) -> None:
        """Train on for the chosen number of steps, in ten parts, and redraw after each."""
        from .. import training

        self.button.disabled = self.again.disabled = True
        self.progress.max, self.progress.value = self.steps.value, 0
        self.explorer.beta = self.beta.value
        try:
            done = 0
            for part in range(10):
                count = (part + 1) * self.steps.value // 10 - done
                history = training.fit(
                    self.model, self.data, self._objective(), steps=count,
                    batch_size=min(self.batch_size, len(self.data.x)), lr=self.lr.value,
                    seed=self.seed + len(self.history), device="cpu", progress=False,
                    log_every=count,
                )  # fmt: skip
                done += count
                terms = {k: v[-1] for k, v in history.terms.items()}
                self.history.append({"steps": count, **terms})
                self.progress.value = done
                total = sum(h["steps"] for h in self.history)
                parts = ", ".join(f"{k} {v:.3g}" for k, v in terms.items())
                self.report.value = f"{total} steps; {parts} (nats)"
                self.explorer.refresh()
        except (ValueError, RuntimeError) as error:
            self.report.value = f"<b>Training stopped.</b> {error}"
        finally:
            self.button.disabled = self.again.disabled = False

    def restart(self) -> None:
        """A fresh model with the first weights."""
        self.model.load_state_dict(self._make().state_dict())
        self.history.clear()
        self.progress.value = 0
        self.report.value = "not trained yet"
        self.explorer.refresh()

    def _repr_mimebundle_(self, **kwargs: Any):
        from . import is_static

        if is_static():
            return {
                "text/plain": "TrainPanel",
                "text/html": (
                    '<figure class="grae-live-only"><figcaption>Here a kernel trains a model at '
                    "the β of your choice: open the chapter in Jupyter or Colab and run the cell."
                    "</figcaption></figure>"
                ),
            }
        show = getattr(self.box, "_repr_mimebundle_", None)
        if show is not None:
            return show(**kwargs)
        # ipywidgets 7, which Colab has, would display itself; a bundle must name its view.
        view = {"version_major": 2, "version_minor": 0, "model_id": self.box.model_id}
        return {"text/plain": repr(self), "application/vnd.jupyter.widget-view+json": view}
