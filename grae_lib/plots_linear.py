"""Figures of the appendix on the linear case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

_BLUE, _ORANGE, _GREEN = "#0072B2", "#D55E00", "#009E73"


def water_filling(spectrum: Sequence[float], betas: Sequence[float], latent_dim: int) -> Figure:
    """One panel a β: bars λᵢ, what is kept above the level β, and what is lost below it."""
    figure, axes = plt.subplots(
        1, len(betas), figsize=(3.1 * len(betas), 3.2), sharey=True, squeeze=False,
        layout="constrained",
    )  # fmt: skip
    values, index = np.asarray(spectrum, dtype=float), np.arange(1, len(spectrum) + 1)
    for ax, beta in zip(axes[0], betas, strict=True):
        used = (values > beta) & (index <= latent_dim)
        lost = np.where(used, beta, values)
        ax.bar(index, lost, color=_ORANGE, hatch="//", edgecolor="white", label="lost, 2D")
        ax.bar(index, values - lost, bottom=lost, color=_BLUE, label="decoded, ‖column‖²")
        ax.axhline(beta, color=_GREEN, linewidth=1.8, label="level β")
        ax.set(title=f"β = {beta:g}", xlabel="eigenvalue i")
        ax.set_xticks(index)
    axes[0, 0].set_ylabel("variance λᵢ (squared units of x)")
    figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=3)
    return figure


def columns_over_beta(
    betas: Sequence[float],
    theory: Sequence[Sequence[float]],
    trained: Mapping[float, Sequence[float]],
) -> Figure:
    """Squared lengths of the decoder's columns against β: curves in closed form, dots trained."""
    figure, ax = plt.subplots(figsize=(5.6, 3.5), layout="constrained")
    for i, curve in enumerate(np.asarray(theory).T):
        ax.plot(betas, curve, color=_BLUE, linewidth=1.6, label="max(λᵢ − β, 0)" if not i else "")
    for beta, values in trained.items():
        ax.plot([beta] * len(values), values, "o", color=_ORANGE, mfc="white", zorder=3)
    ax.plot([], [], "o", color=_ORANGE, mfc="white", label="trained")
    ax.set(xscale="log", xlabel="β (squared units of x)", ylabel="‖column‖² (squared units of x)")
    ax.legend(loc="upper right")
    return figure


def rate_distortion(rate: Sequence[float], distortion: Sequence[float], marks: dict) -> Figure:
    """Distortion against rate in nats, with tangents of slope −β; marks: β → (R, D)."""
    figure, ax = plt.subplots(figsize=(5.6, 3.5), layout="constrained")
    ax.plot(rate, distortion, color=_BLUE, linewidth=1.8)
    for beta, (r, d) in marks.items():
        reach = np.array([-0.45, 0.45]) / max(beta, 0.5)
        ax.plot(r + reach, d - beta * reach, color=_ORANGE, linewidth=1.4)
        ax.plot([r], [d], "o", color=_ORANGE)
        ax.annotate(f"β = {beta:g}", (r, d), xytext=(7, 7), textcoords="offset points")
    ax.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", ylim=(0, None))
    return figure


def over_rotation(angles: Sequence[float], curves: Mapping[str, Sequence[float]]) -> Figure:
    """Loss above its least value (nats) when the best decoder's latents are rotated."""
    figure, ax = plt.subplots(figsize=(5.6, 3.2), layout="constrained")
    styles = zip(curves.items(), (_ORANGE, _BLUE, _GREEN), ("--", "-", ":"), strict=False)
    for (name, values), color, style in styles:
        ax.plot(angles, values, color=color, linestyle=style, linewidth=1.8, label=name)
    ax.set(xlabel="rotation of latents 1 and 2 (degrees)", ylabel="loss above F* (nats)")
    ax.set_xticks(range(0, 91, 15))
    ax.legend(loc="lower center", bbox_to_anchor=(0.5, 0.12))
    return figure
