"""Figures of the book. Matplotlib for pictures that a page shows, plotly for those that a reader
turns over. Colours are Okabe and Ito's, which stay apart under the common colour blindnesses, and
each method has one colour throughout the book.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from torch import Tensor

if TYPE_CHECKING:
    import plotly.graph_objects as go

#: One colour a method, and how it is called in legends.
COLORS = {
    "beta_vae_diagonal": "#0072B2",
    "beta_vae_full": "#56B4E9",
    "grae_log_det": "#D55E00",
    "grae_columns": "#E69F00",
    "grae_one_column": "#009E73",
    "ae": "#595959",
}
NAMES = {
    "beta_vae_diagonal": "β-VAE, diagonal Σ",
    "beta_vae_full": "β-VAE, full Σ",
    "grae_log_det": "GRAE, log-det",
    "grae_columns": "GRAE, all columns",
    "grae_one_column": "GRAE, one column",
    "ae": "autoencoder",
}
_MARKERS = dict(zip(COLORS, "os^Dvx", strict=True))


def use_style() -> None:
    """Readable sizes and quiet axes for every Matplotlib figure that follows."""
    plt.rcParams.update(
        {
            "figure.dpi": 110,
            "savefig.dpi": 110,
            "font.size": 11,
            "axes.titlesize": 11,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "grid.color": "#e3e5e8",
            "axes.axisbelow": True,
            "legend.frameon": False,
            "image.cmap": "gray",
            "axes.prop_cycle": plt.cycler(color=list(COLORS.values())),
        }
    )


def image_rows(
    rows: Mapping[str, Tensor], shape: Sequence[int] = (1, 28, 28), scale: float = 0.62
) -> Figure:
    """One labelled row of images for each entry. Values are (N, n) or (N, *shape), in [0, 1];
    values outside are clipped, as a screen would.
    """
    count = max(len(images) for images in rows.values())
    figure, axes = plt.subplots(
        len(rows),
        count,
        figsize=(1.5 + scale * count, (scale + 0.05) * len(rows)),
        squeeze=False,
        gridspec_kw={"wspace": 0.06, "hspace": 0.06},
    )
    for row, (label, images) in zip(axes, rows.items(), strict=True):
        pictures = images.detach().cpu().reshape(-1, *shape).clamp(0, 1)
        for ax, picture in zip(row, pictures, strict=False):
            ax.imshow(picture.permute(1, 2, 0).squeeze(-1), vmin=0, vmax=1)
        for ax in row:
            ax.set_axis_off()
        row[0].text(
            -0.15, 0.5, label, transform=row[0].transAxes, ha="right", va="center", fontsize=11
        )
    return figure


def term_bars(terms: Mapping[str, Mapping[str, float]]) -> Figure:
    """Stacked horizontal bars of distortion, prior and regularizer (nats), one for each model."""
    parts = {"distortion": "#0072B2", "prior": "#E69F00", "regularizer": "#009E73"}
    labels = {
        "distortion": "reconstruction ½‖x − g(h)‖²",
        "prior": "prior (β/2)‖h‖²",
        "regularizer": "regulariser",
    }
    figure, ax = plt.subplots(figsize=(7.5, 0.7 + 0.55 * len(terms)))
    left = np.zeros(len(terms))
    for part, color in parts.items():
        values = np.array([t[part] for t in terms.values()])
        ax.barh(list(terms), values, left=left, color=color, label=labels[part], height=0.62)
        left += values
    for y, total in enumerate(left):
        ax.text(total + 0.01 * left.max(), y, f"{total:.1f}", va="center")
    ax.invert_yaxis()
    ax.grid(axis="y", visible=False)
    ax.set_xlabel("nats per image, test set")
    ax.set_xlim(0, left.max() * 1.09)
    ax.legend(loc="lower center", bbox_to_anchor=(0.45, 1.0), ncols=3, fontsize=9.5)
    return figure


def cosine_maps(maps: Mapping[str, Tensor | np.ndarray], columns: int) -> Figure:
    """Heat maps of mean |cos| between Jacobian columns, (d, d) each, one colour scale 0…1."""
    count = len(maps)
    rows = -(-count // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(2.15 * columns + 0.9, 2.35 * rows),
        squeeze=False,
        layout="constrained",
    )
    for ax in axes.flat[count:]:
        ax.set_axis_off()
    picture = None
    for ax, (title, values) in zip(axes.flat, maps.items(), strict=False):
        picture = ax.imshow(np.asarray(values, dtype=float), vmin=0, vmax=1, cmap="viridis")
        ax.set_title(title, fontsize=10)
        ax.grid(visible=False)
        ax.set_xticks([])
        ax.set_yticks([])
    figure.colorbar(picture, ax=axes, label="mean |cos|", shrink=0.8)
    return figure


def _series(table: Mapping[tuple, tuple[float, float, int]]) -> dict[str, list[tuple]]:
    found: dict[str, list[tuple]] = {}
    for (method, beta), cell in table.items():
        found.setdefault(method, []).append((beta, *cell))
    return found


def over_beta(
    table: Mapping[tuple, tuple[float, float, int]], ylabel: str, *, log_y: bool = False
) -> Figure:
    """Mean ± standard deviation over seeds against β, one line for each method.

    table: {(method, β): (mean, standard deviation, seeds)}, as `results.table` gives it.
    """
    figure, ax = plt.subplots(figsize=(7, 3.8))
    for method, rows in _series(table).items():
        beta, mean, spread, _ = (
            np.array(column, dtype=float) for column in zip(*rows, strict=True)
        )
        ax.errorbar(
            beta,
            mean,
            yerr=np.nan_to_num(spread),
            color=COLORS[method],
            marker=_MARKERS[method],
            label=NAMES[method],
            capsize=3,
            markersize=5,
            linewidth=1.4,
        )
    ax.set(xscale="log", xlabel="β (no unit)", ylabel=ylabel)
    if log_y:
        ax.set_yscale("log")
    ax.legend(fontsize=9.5)
    return figure


def over_beta_interactive(
    table: Mapping[tuple, tuple[float, float, int]], ylabel: str, alt: str
) -> go.Figure:
    """The same as a plotly figure: hover for values, click a legend entry to hide a method."""
    import plotly.graph_objects as go

    traces: list[Any] = []
    for method, rows in _series(table).items():
        beta, mean, spread, count = zip(*rows, strict=True)
        traces.append(
            go.Scatter(
                x=list(beta),
                y=[round(v, 3) for v in mean],
                error_y={"array": [round(float(np.nan_to_num(v)), 3) for v in spread]},
                customdata=list(count),
                name=NAMES[method],
                mode="lines+markers",
                marker={"color": COLORS[method], "size": 7},
                line={"color": COLORS[method]},
                hovertemplate="β = %{x}<br>%{y:.2f} nats, %{customdata} seeds",
            )
        )
    figure = go.Figure(traces)
    figure.update_layout(
        xaxis={"type": "log", "title": "β"},
        yaxis={"title": ylabel},
        height=440,
        meta={"alt": alt},
        legend={"orientation": "h", "y": -0.25},
        margin={"t": 20},
    )
    return figure


def as_table(rows: Sequence[Mapping[str, Any]], digits: int = 2) -> str:
    """Rows of equal keys as aligned plain text, numbers with `digits` decimals."""
    if not rows:
        raise ValueError("a table needs at least one row.")

    def text(value: Any) -> str:
        if isinstance(value, Tensor):
            value = value.item()
        return f"{value:.{digits}f}" if isinstance(value, float) else str(value)

    cells = [[text(v) for v in row.values()] for row in rows]
    heads = list(rows[0])
    widths = [max(len(h), *(len(c[i]) for c in cells)) for i, h in enumerate(heads)]
    lines = ["  ".join(h.rjust(w) for h, w in zip(heads, widths, strict=True))]
    lines += ["  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)) for row in cells]
    return "\n".join(lines)


def prior_samples(decoder, n: int, latent_dim: int, seed: int = 0) -> Tensor:
    """n decoded draws from N(0, I), (n, entries); the same latents for the same seed."""
    z = torch.randn(n, latent_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        return decoder(z.to(next(decoder.parameters())))
