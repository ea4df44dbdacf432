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
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
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


def over_beta_interactive(
    table: Mapping[tuple, tuple[float, float, int]], ylabel: str, alt: str
) -> go.Figure:
    """Mean ± standard deviation over seeds against β, one line for each method, as a plotly figure:
    hover for values, click a legend entry to hide a method.

    table: {(method, β): (mean, standard deviation, seeds)}, as `results.table` gives it.
    """
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


def paired_differences(
    records: Sequence[Mapping[str, Any]], metric: str, reference: str
) -> dict[float, dict[str, tuple[float, float]]]:
    """{β: {method: (mean, standard deviation)}} over seeds of metric − reference's metric, nats.

    The reference is the run of method `reference` with the same β and seed; its own entry holds the
    mean and standard deviation of the metric itself. One seed has standard deviation NaN.
    """
    value = {
        tuple(r["job"]["labels"][k] for k in ("method", "beta", "seed")): r["metrics"][metric]
        for r in records
        if r["metrics"].get(metric) is not None
    }

    def summary(found: list[float]) -> tuple[float, float]:
        spread = np.std(found, ddof=1) if len(found) > 1 else np.nan
        return float(np.mean(found)), float(spread)

    table: dict[float, dict[str, tuple[float, float]]] = {}
    for method, beta in sorted({(m, b) for m, b, _ in value}, key=lambda key: key[::-1]):
        seeds = [s for (m, b, s) in value if (m, b) == (method, beta)]
        found = [
            value[method, beta, s] - (method != reference) * value[reference, beta, s]
            for s in seeds
            if (reference, beta, s) in value
        ]
        if found:
            table.setdefault(beta, {})[method] = summary(found)
    return table


def difference_rows(
    differences: Mapping[float, Mapping[str, tuple[float, float]]], reference: str, digits: int = 2
) -> list[dict[str, str]]:
    """`paired_differences` as text, rows for `as_table`: the reference's mean, then +mean ± sd."""
    rows = []
    for beta, found in differences.items():
        row = {"β": f"{beta:g}", f"{NAMES[reference]} (nats)": f"{found[reference][0]:.{digits}f}"}
        row |= {
            NAMES[method]: f"{mean:+.{digits}f} ± {spread:.{digits}f}"
            for method, (mean, spread) in found.items()
            if method != reference
        }
        rows.append(row)
    return rows


def relative_differences(
    differences: Mapping[float, Mapping[str, tuple[float, float]]], reference: str
) -> Figure:
    """(metric − reference's) / reference's in percent against β; bars: one sd over seeds.

    differences: from `paired_differences` with the same reference. The vertical axis is linear up
    to 5 % and logarithmic above.
    """
    figure, ax = plt.subplots(figsize=(7, 3.8))
    found_methods = {m for found in differences.values() for m in found} - {reference}
    methods = [m for m in NAMES if m in found_methods]
    betas = np.array(list(differences))
    for k, method in enumerate(methods):
        rows = [(b, f[method], f[reference][0]) for b, f in differences.items() if method in f]
        beta = np.array([b for b, _, _ in rows])
        mean, spread = (100 * np.array([c[i] / base for _, c, base in rows]) for i in (0, 1))
        # A little sideways shift keeps error bars at the same β apart.
        ax.errorbar(
            beta * 1.03 ** (k - len(methods) / 2),
            mean,
            yerr=np.nan_to_num(spread),
            color=COLORS[method],
            marker=_MARKERS[method],
            label=NAMES[method],
            capsize=3,
            markersize=5,
            linewidth=1.2,
        )
    ax.axhline(0, color="#24292f", linewidth=1)
    ax.set(xscale="log", xlabel="β", ylabel=f"difference from {NAMES[reference]}, %")
    ax.set_xticks(betas, [f"{b:g}" for b in betas], fontsize=9)
    ax.set_xticks([], minor=True)
    # Linear where the methods agree, logarithmic beyond, so that a failure does not hide the rest.
    ax.set_yscale("symlog", linthresh=5)
    ticks = [-4, -2, 0, 2, 4, 10, 30, 100]
    ax.set_yticks(ticks, [f"{t:+d}" if t else "0" for t in ticks], minor=False)
    ax.set_ylim(-5, 130)
    ax.legend(fontsize=9.5)
    return figure


def origin(records: Sequence[Mapping[str, Any]]) -> str:
    """One paragraph on where results come from: experiment, scale, runs, commits, device, data."""
    first = records[0]

    def each(*path: str) -> str:
        found = set()
        for record in records:
            value: Any = record
            for key in path:
                value = value[key]
            found.add(str(value))
        return ", ".join(sorted(found))

    seeds = {r["job"]["labels"]["seed"] for r in records}
    failed = [r["run"] for r in records if r["status"] != "finished"]
    return (
        f"experiment {first['experiment']}, scale {first['scale']}: {len(records)} runs, "
        f"{len(seeds)} seeds, {len(failed)} diverged\n"
        f"device {each('provenance', 'device')}, commit {each('provenance', 'commit')}\n"
        f"data {each('provenance', 'data', 'name')} ({each('provenance', 'data', 'source')}), "
        f"sha256 {first['provenance']['data']['sha256'][:12]}…"
    )


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


def error_over_beta(
    betas: Sequence[float],
    errors: Mapping[str, Sequence[float]],
    guides: Mapping[float, tuple[float, float]],
    ylabel: str = "mean |error| (nats per image)",
) -> Figure:
    """Errors against β on double logarithmic axes, one line for each entry of `errors`.

    guides: {slope: (β, error)}, grey lines of that slope through that point, to compare with.
    """
    figure, ax = plt.subplots(figsize=(7, 4))
    betas = np.asarray(betas, dtype=float)
    for slope, (x, y) in guides.items():
        ax.plot(betas, y * (betas / x) ** slope, color="#8a8f98", linestyle=":", linewidth=1.2)
        ax.text(
            betas[0] * 1.1, y * (betas[0] / x) ** slope, f"slope {slope:g}", color="#5b6068",
            fontsize=9, va="bottom",
        )  # fmt: skip
    styles = zip(COLORS.values(), "os^Dvx", strict=True)
    for i, ((label, values), (color, marker)) in enumerate(
        zip(errors.items(), styles, strict=False)
    ):
        # Lines may lie on one another: the earlier ones are drawn wider.
        size = 1.5 * max(len(errors) - i, 1)
        ax.plot(
            betas, values, color=color, marker=marker, markersize=3 + size, label=label,
            linewidth=0.6 + 0.3 * size,
        )  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="β (no unit)", ylabel=ylabel)
    ax.legend(fontsize=9.5, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def learned_against_optimal(learned: Tensor, optimal: Tensor) -> Figure:
    """Learned variances (N, d) against the optimal ones, logarithmic, one colour a latent."""
    figure, ax = plt.subplots(figsize=(4.6, 4.2))
    x, y = (values.detach().cpu().numpy() for values in (optimal, learned))
    low, high = min(x.min(), y.min()) * 0.8, max(x.max(), y.max()) * 1.25
    ax.plot([low, high], [low, high], color="#5b6068", linewidth=1, label="equal")
    palette = plt.get_cmap("viridis")(np.linspace(0, 0.92, x.shape[1]))
    for i, color in enumerate(palette):
        ax.scatter(x[:, i], y[:, i], s=6, alpha=0.5, color=color, linewidths=0)
    ax.set(
        xscale="log", yscale="log", xlim=(low, high), ylim=(low, high),
        xlabel="optimal variance 1/P_ii (no unit)", ylabel="learned variance Σ_ii (no unit)",
    )  # fmt: skip
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.legend(loc="upper left")
    return figure


def stretch_map(
    values: Tensor,
    extent: float,
    curves: Mapping[str, Tensor],
    codes: Tensor,
    labels: Tensor,
    label: str,
) -> Figure:
    """A (k, k) map over the square |z_i| ≤ extent of a two-dimensional latent space, with curves.

    values[i, j] belongs to z₁ = the j-th, z₂ = the i-th of k equally spaced coordinates. curves:
    points (m, 2) by name. codes (N, 2) are drawn as the digits of their labels (N,).
    """
    figure, ax = plt.subplots(figsize=(6.6, 5.2))
    square = (-extent, extent, -extent, extent)
    picture = ax.imshow(
        values.numpy(), origin="lower", extent=square, cmap="cividis", interpolation="bilinear"
    )
    figure.colorbar(picture, ax=ax, label=label)
    for (x, y), digit in zip(codes.tolist(), labels.tolist(), strict=True):
        if max(abs(x), abs(y)) < extent:
            ax.text(
                x, y, str(digit), color="white", fontsize=7.5, ha="center", va="center",
                path_effects=[withStroke(linewidth=1.6, foreground="#222222")],
            )  # fmt: skip
    styles = (("#ffffff", "--"), ("#FF7F2A", "-"), ("#7FD6FF", "-"))
    for (name, points), (color, line) in zip(curves.items(), styles, strict=False):
        x, y = points.T.tolist()
        ax.plot(x, y, color="#222222", linestyle=line, linewidth=3.4)
        ax.plot(x, y, color=color, linestyle=line, linewidth=2, label=name)
        ax.plot(x[::8], y[::8], "o", color=color, markersize=3)
    ax.set(xlim=(-extent, extent), ylim=(-extent, extent), xlabel="z₁", ylabel="z₂")
    ax.grid(visible=False)
    legend = ax.legend(loc="lower left", fontsize=9, frameon=True, facecolor="#333333")
    for text in legend.get_texts():
        text.set_color("white")
    return figure


def along_paths(curves: Mapping[str, Mapping[str, Tensor]]) -> Figure:
    """One panel a quantity, one line a path, against t from 0 to 1.

    curves: {quantity with its unit: {path: values}}; values are equally spaced in t.
    """
    figure, axes = plt.subplots(
        1, len(curves), figsize=(4.2 * len(curves), 3.2), squeeze=False, layout="constrained"
    )
    styles = (("#5b6068", "--"), ("#D55E00", "-"), ("#0072B2", "-"))
    for ax, (quantity, lines) in zip(axes[0], curves.items(), strict=True):
        for (name, values), (color, line) in zip(lines.items(), styles, strict=False):
            t = np.linspace(0, 1, len(values))
            ax.plot(t, values.tolist(), color=color, linestyle=line, label=name)
        ax.set(xlabel="t along the path (no unit)", ylabel=quantity)
    axes[0][0].legend(fontsize=9.5)
    return figure


def outline_blocks(figure: Figure, block_size: int) -> Figure:
    """Draw the diagonal blocks of size `block_size` into every square map of a figure."""
    for ax in figure.axes:
        for picture in ax.get_images():
            rows, columns = picture.get_array().shape[:2]
            for start in range(0, rows if rows == columns else 0, block_size):
                corner = (start - 0.5, start - 0.5)
                ax.add_patch(
                    plt.Rectangle(
                        corner, block_size, block_size, fill=False, edgecolor="white", linewidth=1.2
                    )
                )
    return figure
