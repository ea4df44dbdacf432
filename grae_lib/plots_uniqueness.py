"""Figures of the chapter on uniqueness: turned latents, the price of a turn, histograms of angles.

They draw what they are given and compute nothing but positions on paper.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from torch import Tensor

#: One colour, line and name a family, as elsewhere in the book.
FAMILY = {
    "shared_diagonal": ("#0072B2", "-", "o", "mean field (diagonal Σ)"),
    "shared": ("#D55E00", "--", "s", "full Σ"),
    "aligned": ("#009E73", ":", "^", "full Σ, turned until Σ is diagonal"),
    "diagonal": ("#0072B2", "-", "o", "mean field"),
    "block": ("#009E73", "-.", "^", "blocks of two"),
    "full": ("#D55E00", "--", "s", "full"),
}


def clouds(samples: Mapping[str, Tensor], color: Tensor, limit: float = 3.2) -> Figure:
    """Scatter plots (N, 2) side by side; `color` (N,), on a cyclic scale, marks the points."""
    figure, axes = plt.subplots(
        1, len(samples), figsize=(2.9 * len(samples), 3.2), squeeze=False, layout="constrained"
    )
    for ax, (title, points) in zip(axes[0], samples.items(), strict=True):
        xy = points.detach().numpy()
        ax.scatter(xy[:, 0], xy[:, 1], c=color.numpy(), cmap="twilight_shifted", s=5, lw=0)
        ax.set(xlim=(-limit, limit), ylim=(-limit, limit), title=title, aspect="equal")
        ax.set_xlabel("latent 1 (prior sd)")
    axes[0, 0].set_ylabel("latent 2 (prior sd)")
    return figure


def gap_curves(
    theta: Sequence[float],
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    points: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
    xlabel: str = "rotation θ of the latents (degrees)",
) -> Figure:
    """Loss of ELBO (nats) against θ: lines from `panels`, markers (θ, loss) from `points`.

    Keys of the outer mappings are titles, of the inner ones families.
    """
    figure, axes = plt.subplots(
        1,
        len(panels),
        figsize=(4.3 * len(panels), 3.5),
        squeeze=False,
        sharey=True,
        layout="constrained",
    )
    handles: dict[str, Line2D] = {}
    for ax, (title, lines) in zip(axes[0], panels.items(), strict=True):
        for family, values in lines.items():
            color, style, _, name = FAMILY[family]
            # Curves may coincide: the solid one is drawn wide, so that a dashed one shows on it.
            width = 4.5 if style == "-" else 1.8
            (handles[name],) = ax.plot(theta, values, color=color, linestyle=style, lw=width)
        for family, (at, values) in points.get(title, {}).items():
            color, _, marker, name = FAMILY[family]
            name = f"{name}, encoder refitted"
            (handles[name],) = ax.plot(at, values, marker, color="k", mfc="white", ms=6, zorder=3)
        ax.set(title=title, xlabel=xlabel)
        ax.set_xticks(np.arange(min(theta), max(theta) + 1, 15))
        ax.set_ylim(bottom=-0.05)
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, fontsize=9)
    axes[0, 0].set_ylabel("ELBO lost (nats)")
    return figure


def squared_pairs(samples: Mapping[str, Tensor], moments: Mapping[str, float]) -> Figure:
    """Density of (y₁, y₂), (N, 2), for each law, titled with cov(y₁², y₂²)."""
    figure, axes = plt.subplots(
        1, len(samples), figsize=(2.9 * len(samples), 3.3), squeeze=False, layout="constrained"
    )
    for ax, (name, y) in zip(axes[0], samples.items(), strict=True):
        xy = y.detach().numpy()
        ax.hist2d(
            xy[:, 0], xy[:, 1], bins=70, range=[[-3, 3], [-3, 3]], cmap="Blues", rasterized=True
        )
        ax.grid(visible=False)
        ax.set(title=f"{name}\ncov(y₁², y₂²) = {moments[name]:+.2f}", aspect="equal")
        ax.set_xlabel("y₁ (sd)")
    axes[0, 0].set_ylabel("y₂ (sd)")
    return figure


def angle_histograms(
    panels: Mapping[str, Mapping[str, Sequence[float]]], columns: int = 2, bin_width: float = 5.0
) -> Figure:
    """Histograms of rotations modulo 90°, one panel a model, one row a family, a tick a seed.

    panels: {title: {family: angles in degrees}}.
    """
    rows = -(-len(panels) // columns)
    figure, axes = plt.subplots(
        rows,
        columns,
        figsize=(4.4 * columns, 1.95 * rows + 0.5),
        squeeze=False,
        sharex=True,
        layout="constrained",
    )
    edges = np.arange(0, 90 + bin_width, bin_width)
    handles: dict[str, Line2D] = {}
    for ax in axes.flat[len(panels) :]:
        ax.set_axis_off()
    for ax, (title, families) in zip(axes.flat, panels.items(), strict=False):
        for level, (family, angles) in enumerate(families.items()):
            color, _, marker, name = FAMILY[family]
            counts, _ = np.histogram(np.asarray(angles) % 90, bins=edges)
            base = len(families) - 1 - level
            heights = 0.72 * counts / max(len(angles), 1)
            ax.bar(
                edges[:-1], heights, bin_width, bottom=base, align="edge", color=color, alpha=0.45
            )
            (handle,) = ax.plot(
                np.asarray(angles) % 90,
                np.full(len(angles), base + 0.05),
                marker,
                color=color,
                ms=4,
                lw=0,
            )
            handles[name] = handle
            ax.axhline(base, color="#888888", lw=0.6)
        ax.set(title=title, xlim=(0, 90), ylim=(-0.08, len(families)))
        ax.set_xticks(range(0, 91, 15))
        ax.set_yticks([])
        ax.grid(axis="y", visible=False)
    for ax in axes[-1]:
        ax.set_xlabel("rotation against the true axes (degrees, mod 90)")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, fontsize=9)
    return figure


def price_of_turning(
    panels: Mapping[str, Mapping[str, tuple[Sequence[float], Sequence[float]]]],
) -> Figure:
    """−ELBO (nats) against the rotation, one panel a ν, one curve (angles, values) a decoder.

    Curves have period 90° and are continued over the ends; a star marks the least value.
    """
    styles = [("#0072B2", "-", "o"), ("#595959", "--", "s")]
    figure, axes = plt.subplots(
        1, len(panels), figsize=(4.3 * len(panels), 3.7), squeeze=False, layout="constrained"
    )
    handles: dict[str, Line2D] = {}
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for (name, (angles, values)), (color, line, marker) in zip(
            curves.items(), styles, strict=False
        ):
            order = np.argsort(np.asarray(angles) % 90)
            at, value = (np.asarray(angles) % 90)[order], np.asarray(values)[order]
            around = np.concatenate([at - 90, at, at + 90])
            (handles[name],) = ax.plot(
                around, np.tile(value, 3), color=color, linestyle=line, marker=marker, ms=4
            )
            best = int(value.argmin())
            for shift in (-90, 0, 90):
                ax.plot(at[best] + shift, value[best], marker="*", ms=15, color=color, mec="white")
        ax.set(title=title, xlabel="rotation against the true axes (degrees)", xlim=(-2, 92))
        ax.set_xticks(range(0, 91, 15))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, fontsize=9)
    axes[0, 0].set_ylabel("best mean-field −ELBO (nats)")
    return figure
