"""Figures of the chapter on GRAE that no other chapter draws."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from .plots import _MARKERS, COLORS, NAMES
from .race import Lap
from .samples import Comparison

if TYPE_CHECKING:
    import plotly.graph_objects as go


def tile(images: Tensor, columns: int, side: int = 28) -> np.ndarray:
    """Grey pictures (N, side²), clipped to [0, 1], as one picture of bytes with `columns` a row and
    a line of two pixels between them.
    """
    pictures = images.detach().cpu().reshape(-1, side, side).clamp(0, 1)
    step, rows = side + 2, -(-len(pictures) // columns)
    canvas = torch.full((rows * step - 2, columns * step - 2), 0.35)
    for i, picture in enumerate(pictures):
        top, left = (i // columns) * step, (i % columns) * step
        canvas[top : top + side, left : left + side] = picture
    return (canvas * 255).round().byte().numpy()


def sample_slider(grids: Mapping[float, Mapping[str, Tensor]], columns: int, alt: str) -> go.Figure:
    """Samples of several models beside each other, and a slider over β.

    grids: {β: {title: pictures (N, 784)}}; titles and N are the same at every β. Pictures are shown
    at their own resolution or larger and travel as PNG.
    """
    import plotly.graph_objects as go

    betas = list(grids)
    titles = list(grids[betas[0]])
    gap, traces, width, height = 14, [], 0, 0
    for beta in betas:
        tiles = [tile(grids[beta][title], columns) for title in titles]
        height, one = tiles[0].shape
        width = len(tiles) * (one + gap) - gap
        canvas = np.zeros((height, width, 4), dtype=np.uint8)
        for i, picture in enumerate(tiles):
            part = canvas[:, i * (one + gap) : i * (one + gap) + one]
            part[..., :3], part[..., 3] = picture[..., None], 255
        buffer = io.BytesIO()
        Image.fromarray(canvas).save(buffer, format="PNG", optimize=True)
        source = "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
        traces.append(go.Image(source=source, visible=beta == betas[0], hoverinfo="skip"))
    figure = go.Figure(traces)
    steps = [
        {
            "label": f"{beta:g}",
            "method": "restyle",
            "args": ["visible", [other == beta for other in betas]],
        }
        for beta in betas
    ]
    # The domain gives way, not the range: pixels stay square and titles stay over their grids.
    axis = {"visible": False, "fixedrange": True, "constrain": "domain"}
    one = (width + gap) / len(titles)
    figure.update_layout(
        sliders=[{"steps": steps, "currentvalue": {"prefix": "β = "}, "pad": {"t": 8}}],
        xaxis=axis | {"range": [-0.5, width - 0.5]},
        yaxis=axis | {"range": [height - 0.5, -20.5], "scaleanchor": "x"},
        annotations=[
            {
                "text": title,
                "x": (i + 0.5) * one - gap / 2,
                "y": -4,
                "yanchor": "bottom",
                "showarrow": False,
                "font": {"size": 12},
            }
            for i, title in enumerate(titles)
        ],
        height=340,
        margin={"t": 10, "b": 10, "l": 10, "r": 10},
        meta={"alt": alt},
    )
    return figure


def sample_differences(
    comparisons: Mapping[str, Mapping[str, Sequence[Comparison]]], labels: Mapping[str, str]
) -> Figure:
    """One panel a metric: difference from the reference against β with two intervals a method.

    comparisons: {metric: {method: comparisons}}; labels: {metric: axis label}. The thick bar is the
    interval over draws of the latents (seed 0), the thin one over seeds.
    """
    figure, axes = plt.subplots(
        1, len(comparisons), figsize=(4.1 * len(comparisons), 3.5), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for ax, (metric, methods) in zip(axes[0], comparisons.items(), strict=True):
        ax.axhline(0, color="#24292f", linewidth=1)
        for k, (method, found) in enumerate(methods.items()):
            if not found:
                continue
            beta = np.array([c.beta for c in found]) * 1.08 ** (k - (len(methods) - 1) / 2)
            mean, half = np.array([c.draws for c in found]).T
            ax.errorbar(
                beta, mean, yerr=half, color=COLORS[method], linewidth=4, linestyle="none",
                alpha=0.55,
            )  # fmt: skip
            seeds = [(b, *c.seeds) for b, c in zip(beta, found, strict=True) if c.seeds]
            if seeds:
                x, middle, width = np.array(seeds).T
                ax.errorbar(
                    x, middle, yerr=width, color=COLORS[method], marker=_MARKERS[method],
                    markersize=5, capsize=3, linewidth=1.2, linestyle="none", label=NAMES[method],
                )  # fmt: skip
        betas = sorted({c.beta for found in methods.values() for c in found})
        ax.set(xscale="log", xlabel="β", ylabel=labels[metric])
        ax.set_xticks(betas, [f"{b:g}" for b in betas], fontsize=9)
        ax.set_xticks([], minor=True)
    axes[0][0].legend(fontsize=9)
    return figure


def laps(found: Mapping[str, Sequence[Lap]], ylabel: str) -> Figure:
    """The value of each method's laps against steps and against seconds."""
    figure, axes = plt.subplots(1, 2, figsize=(8.6, 3.4), sharey=True, layout="constrained")
    for ax, key, label in zip(axes, ("step", "seconds"), ("steps", "seconds"), strict=True):
        for method, rows in found.items():
            ax.plot(
                [getattr(lap, key) for lap in rows], [lap.value for lap in rows],
                color=COLORS[method], marker=_MARKERS[method], markersize=5, label=NAMES[method],
            )  # fmt: skip
        ax.set(xlabel=label)
    axes[0].set_ylabel(ylabel)
    axes[0].legend(fontsize=9.5)
    return figure
