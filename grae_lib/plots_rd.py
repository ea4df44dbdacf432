"""Figures of the chapter on rate and distortion: curves, reconstructions, a slider of factors.

They draw what the records of `results.runs`, passed through `rate_distortion.derived`, hold, with
whatever β, seeds, splits and capacities are there. A capacity has one colour and one marker
everywhere; held-out data are drawn with full markers and solid lines, training data with open
markers and dashed lines.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from PIL import Image
from torch import Tensor

from . import rate_distortion, results, tetrominoes
from .rate_distortion import Record

if TYPE_CHECKING:
    import plotly.graph_objects as go
    from IPython.display import HTML

#: Capacity → colour, marker, name.
CAPACITY = {
    "depth1": ("#0072B2", "o", "1 hidden layer"),
    "depth3": ("#D55E00", "s", "3 hidden layers"),
    "depth9": ("#009E73", "^", "9 hidden layers"),
    "conv": ("#CC79A7", "D", "convolutional"),
}
#: Capacity → line in figures where colour means β; factor that moves its dots off each other's.
_DASHES = {"depth1": "-", "depth3": "--", "conv": ":"}
_SHIFT = {"depth1": 1.1, "depth3": 1.0, "conv": 1 / 1.1}
#: Split → title.
SPLIT = {
    "easy": "easy: random half",
    "hard": "hard: checkerboard",
    "thinned": "thinned: 1,024 shapes",
    "digits60000": "60,000 digits",
    "digits10000": "10,000 digits",
    "digits1000": "1,000 digits",
}


def _splits(records: Sequence[Record]) -> list[str]:
    found = {record["job"]["labels"]["split"] for record in records}
    return [s for s in SPLIT if s in found] + sorted(found - SPLIT.keys())


def _style(capacity: str) -> tuple[str, str, str]:
    return CAPACITY.get(capacity, ("#595959", "v", capacity))


def _capacities(table: Mapping[tuple, Any], split: str) -> list[str]:
    """Those of a split, in a table by split, capacity and β."""
    return sorted({c for s, c, _ in table if s == split}, key=rate_distortion.in_order)


def _mean(records: Sequence[Record], metric: str) -> dict[tuple, tuple[float, float, int]]:
    return results.table(list(records), ("split", "capacity", "beta"), metric)


def _panels(columns: int, rows: int = 1, *, share_y: bool | str = True, height: float = 3.5):
    # One layout for wide and narrow screens: panels side by side, at most three.
    return plt.subplots(
        rows,
        columns,
        figsize=(3.5 * columns + 0.4, height * rows),
        squeeze=False,
        sharex="col",
        sharey=share_y,
        layout="constrained",
    )


def curves(
    records: Sequence[Record], marked: Sequence[float] = (0.001, 0.1, 1.0), test_only: bool = False
) -> Figure:
    """Distortion against rate, mean over seeds, one panel a split; `marked` β carry their value
    (not on the convolutional network's curve, which runs close to others).

    Solid and full: held-out data; dashed and open: training data. Grey: the entropy floor.
    """
    splits = _splits(records)
    figure, axes = _panels(len(splits))
    handles: dict[str, Any] = {}
    tables = {
        name: _mean(records, name)
        for name in ("train/rate", "train/distortion", "test/rate", "test/distortion")
    }
    floor = results.table(list(records), ("split",), "test/entropy_floor")
    for ax, split in zip(axes[0], splits, strict=True):
        for capacity in _capacities(tables["test/rate"], split):
            color, marker, name = _style(capacity)
            betas = [b for s, c, b in tables["test/rate"] if (s, c) == (split, capacity)]
            for part in ("test",) if test_only else ("train", "test"):
                rate, distortion = (
                    [tables[f"{part}/{what}"][split, capacity, b][0] for b in betas]
                    for what in ("rate", "distortion")
                )
                held_out = part == "test"
                (handle,) = ax.plot(
                    rate,
                    distortion,
                    marker=marker,
                    color=color,
                    markersize=5,
                    linewidth=1.4,
                    linestyle="-" if held_out else "--",
                    mfc=color if held_out else "white",
                )
                handles[f"{name}, {'held out' if held_out else 'training'}"] = handle
                for beta, x, y in zip(betas, rate, distortion, strict=True):
                    if held_out and beta in marked and capacity != "conv":
                        ax.annotate(
                            f"β = {beta:g}",
                            (x, y),
                            (4, 7) if capacity != "depth1" else (-10, -25),
                            textcoords="offset points",
                            fontsize=8.5,
                            color=color,
                        )
        level = floor[(split,)][0]
        ax.axhline(level, color="#8a8f98", linewidth=1, linestyle=":")
        ax.set_ylim(bottom=level - 2)
        ax.text(0.02, level, "entropy floor", transform=ax.get_yaxis_transform(), ha="left",
                va="bottom", fontsize=8.5, color="#5b6068")  # fmt: skip
        ax.set(title=SPLIT.get(split, split), xlabel="rate (nats)")
        ax.set_xscale("symlog", linthresh=10)
        ax.set_xlim(-0.4, 120)
        ax.set_xticks(
            [0, 2, 4, 6, 8, 10, 20, 40, 80], ["0", "2", "4", "6", "8", "", "20", "40", "80"]
        )
        ax.xaxis.set_minor_formatter(NullFormatter())
    axes[0, 0].set_ylabel("distortion (nats)")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, fontsize=9)
    return figure


def curves_interactive(records: Sequence[Record], alt: str) -> go.Figure:
    """The same as one plotly figure: hover for β, seeds and spread; click the legend to hide."""
    import plotly.graph_objects as go

    tables = {
        name: _mean(records, name)
        for name in ("train/rate", "train/distortion", "test/rate", "test/distortion")
    }
    dashes = dict(zip(_splits(records), ("solid", "dash", "dot", "dashdot"), strict=False))
    traces: list[Any] = []
    for split, capacity in rate_distortion.cells(records):
        color, _, name = _style(capacity)
        betas = [b for s, c, b in tables["test/rate"] if (s, c) == (split, capacity)]
        for part, symbol in (("test", "circle"), ("train", "circle-open")):
            rate, distortion = (
                [tables[f"{part}/{what}"][split, capacity, b] for b in betas]
                for what in ("rate", "distortion")
            )
            traces.append(
                go.Scatter(
                    x=[round(v[0], 3) for v in rate],
                    y=[round(v[0], 3) for v in distortion],
                    customdata=[
                        [beta, d[2], round(float(np.nan_to_num(d[1])), 3)]
                        for beta, d in zip(betas, distortion, strict=True)
                    ],
                    name=f"{split}, {name}, {'held out' if part == 'test' else 'training'}",
                    mode="lines+markers",
                    visible=True if part == "test" else "legendonly",
                    marker={"color": color, "symbol": symbol, "size": 7},
                    line={"color": color, "dash": dashes.get(split, "solid")},
                    hovertemplate="β = %{customdata[0]}<br>R = %{x:.2f}, D = %{y:.2f} ± "
                    "%{customdata[2]:.2f} nats<br>%{customdata[1]} seeds",
                )
            )
    figure = go.Figure(traces)
    figure.update_layout(
        xaxis={"type": "log", "title": "rate (nats)", "range": [-0.5, 1.9]},
        yaxis={"title": "distortion (nats)"},
        height=560,
        meta={"alt": alt},
        legend={"orientation": "h", "y": -0.2},
        margin={"t": 20},
    )
    return figure


def over_beta(
    records: Sequence[Record],
    quantities: Mapping[str, str],
    *,
    log_y: Sequence[str] = (),
    train: bool = True,
) -> Figure:
    """Quantities against β, one row each, one panel a split; bars: one standard deviation.

    quantities: {metric or the metric's name without "train/" or "test/": label of the axis}. A name
    without a part is drawn for held-out and (if `train`) for training data.
    """
    splits = _splits(records)
    figure, axes = _panels(len(splits), len(quantities), share_y="row", height=2.7)
    handles: dict[str, Any] = {}
    for row, (metric, label) in zip(axes, quantities.items(), strict=True):
        whole = "/" in metric
        names = [metric] if whole else [f"{p}/{metric}" for p in ("train", "test")[not train :]]
        for name in names:
            held_out = not name.startswith("train/")
            table = _mean(records, name)
            for ax, split in zip(row, splits, strict=True):
                for capacity in _capacities(table, split):
                    color, marker, title = _style(capacity)
                    points = [
                        (b, *v[:2]) for (s, c, b), v in table.items() if (s, c) == (split, capacity)
                    ]
                    beta, mean, spread = np.array(points).T
                    handle = ax.errorbar(
                        beta,
                        mean,
                        yerr=np.nan_to_num(spread),
                        color=color,
                        marker=marker,
                        markersize=4,
                        linewidth=1.3,
                        capsize=2,
                        linestyle="-" if held_out else "--",
                        mfc=color if held_out else "white",
                    )
                    if not whole:
                        handles[title + (", held out" if held_out else ", training")] = handle
                    elif len(quantities) == 1:
                        handles[title] = handle
        for ax in row:
            ax.set_xscale("log")
            if metric in log_y:
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
                ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
                ax.yaxis.set_minor_formatter(NullFormatter())
            if metric.startswith("gap/"):
                ax.axhline(0, color="#24292f", linewidth=0.8)
        row[0].set_ylabel(label)
    for ax, split in zip(axes[0], splits, strict=True):
        ax.set_title(SPLIT.get(split, split))
    for ax in axes[-1]:
        ax.set_xlabel("β")
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=2, fontsize=9)
    return figure


def histories(records: Sequence[Record], betas: Sequence[float], seed: int = 0) -> Figure:
    """Training distortion (nats, of the one batch of each logged step) against step."""
    splits = _splits(records)
    figure, axes = _panels(len(splits), share_y="row", height=3.1)
    shades = dict(
        zip(betas, plt.get_cmap("viridis")(np.linspace(0, 0.85, len(betas))), strict=True)
    )
    handles: dict[str, Any] = {}
    for record in records:
        on = record["job"]["labels"]
        if on["seed"] != seed or on["beta"] not in shades:
            continue
        (handle,) = axes[0, splits.index(on["split"])].plot(
            record["history"]["steps"],
            record["history"]["terms"]["distortion"],
            color=shades[on["beta"]],
            linestyle=_DASHES.get(on["capacity"], "-"),
            linewidth=1.4,
        )
        handles[f"β = {on['beta']:g}, {_style(on['capacity'])[2]}"] = handle
    for ax, split in zip(axes[0], splits, strict=True):
        ax.set(title=SPLIT.get(split, split), xlabel="step")
        ax.set_yscale("log")
        ax.yaxis.set_minor_formatter(NullFormatter())
        ax.set_yticks([10, 12, 15, 20, 25], ["10", "12", "15", "20", "25"])
    axes[0, 0].set_ylabel("training distortion (nats)")
    names = sorted(handles)
    figure.legend(
        [handles[n] for n in names], names, loc="outside upper center", ncols=3, fontsize=9
    )
    return figure


def brackets(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """−ΔD/ΔR of every interval against its two β (oracle F2): dots between the lines obey.

    rows: from `rate_distortion.bracket`. Slopes below .0005 are drawn at the lower edge.
    """
    splits = [s for s in SPLIT if any(r["split"] == s for r in rows)]
    figure, axes = _panels(len(splits), height=3.4)
    handles: dict[str, Any] = {}
    bottom = 5e-4
    for ax, split in zip(axes[0], splits, strict=True):
        mine = [r for r in rows if r["split"] == split]
        ends = sorted({(r["low"], r["high"]) for r in mine})
        for low, high in ends:
            middle = math.sqrt(low * high)
            ax.plot([middle, middle], [low, high], color="#c9ced6", linewidth=7, zorder=0,
                    solid_capstyle="butt")  # fmt: skip
        for r in mine:
            color, marker, name = _style(r["capacity"])
            shift = _SHIFT.get(r["capacity"], 1.0)
            slope = r["slope"] if r["slope"] > bottom else bottom
            (handle,) = ax.plot(
                math.sqrt(r["low"] * r["high"]) * shift,
                slope,
                marker,
                color=color,
                markersize=4.5,
                mfc=color if r["holds"] else "white",
            )
            handles.setdefault(f"{name}, {'holds' if r['holds'] else 'does not'}", handle)
        ax.set(title=SPLIT.get(split, split), xlabel="β (middle of the interval)")
        ax.set(xscale="log", yscale="log", xlim=(1e-3, 6), ylim=(bottom * 0.8, 12))
    axes[0, 0].set_ylabel("−ΔD/ΔR (no unit)")
    names = sorted(handles)
    figure.legend(
        [handles[n] for n in names], names, loc="outside upper center", ncols=3, fontsize=9
    )
    return figure


def exact_curve(values: Mapping[str, Tensor], betas: Sequence[float], tangent_at: float) -> Figure:
    """The linear case: D against R with a tangent of slope −β, and the concave loss L(β)."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    rate, distortion, loss = (values[k].numpy() for k in ("rate", "distortion", "loss"))
    left.plot(rate, distortion, color="#0072B2")
    i = int(np.abs(np.asarray(betas) - tangent_at).argmin())
    reach = np.array([max(rate[i] - 1.8, 0), rate[i] + 1.8])
    left.plot(reach, distortion[i] - betas[i] * (reach - rate[i]), color="#D55E00", linestyle="--")
    left.plot(rate[i], distortion[i], "o", color="#D55E00")
    left.annotate(
        f"slope −β = −{betas[i]:.2g}", (rate[i], distortion[i]), (8, 10), textcoords="offset points"
    )
    left.set(xlabel="rate R (nats)", ylabel="distortion D (nats)", xlim=(-0.1, 6.5))
    right.plot(betas, loss, color="#0072B2")
    tangent = loss[i] + rate[i] * (np.asarray(betas) - betas[i])
    near = np.abs(np.asarray(betas) - betas[i]) < 1.2
    right.plot(np.asarray(betas)[near], tangent[near], color="#D55E00", linestyle="--")
    right.plot(betas[i], loss[i], "o", color="#D55E00")
    right.annotate(
        f"slope R = {rate[i]:.2f}", (betas[i], loss[i]), (10, -12), textcoords="offset points"
    )
    right.set(xlabel="β", ylabel="L(β) = D + βR (nats)")
    return figure


def sheet(record: Record, part: str) -> Tensor:
    """The stored pictures of a run, (2, 8, channels, height, width) in [0, 1]: eight examples of
    `part` ("train" or "test") and their reconstructions. Raises ValueError for a run without any.
    """
    text = record["metrics"].get(f"{part}/sheet")
    if text is None:
        raise ValueError(f"run {record['run']!r} stores no pictures of {part!r}; seed 0 does.")
    shape = record["job"]["model"]["shape"]
    with Image.open(io.BytesIO(base64.b64decode(text))) as picture:
        found = np.asarray(picture.convert("L" if shape[0] == 1 else "RGB"))
    pixels = torch.from_numpy(found.copy()).reshape(*found.shape[:2], shape[0]).permute(2, 0, 1)
    rows = pixels.unflatten(1, (2, shape[1])).unflatten(3, (8, shape[2]))
    return rows.permute(1, 3, 0, 2, 4).float() / 255


def sheet_rows(
    records: Sequence[Record],
    split: str,
    part: str,
    capacities: Sequence[str],
    betas: Sequence[float],
) -> dict[str, Tensor]:
    """Rows for `plots.image_rows`: the pictures, then each capacity's reconstructions at each β."""
    rows: dict[str, Tensor] = {}
    for capacity in capacities:
        for record in records:
            on = record["job"]["labels"]
            wanted = (on["split"], on["capacity"], on["seed"]) == (split, capacity, 0)
            if wanted and on["beta"] in betas:
                pictures, shown = sheet(record, part)
                rows.setdefault("training" if part == "train" else "held out", pictures)
                rows[f"{_style(capacity)[2]}, β = {on['beta']:g}"] = shown
    return rows


def factor_frames(frames: int = 25, size: int = 32) -> dict[str, Tensor]:
    """Each factor run through its range, the others held: {name: (frames, 3, size, size) uint8}."""
    low, high = np.array(tetrominoes.RANGES).T
    middle = np.array([0.6, 0.58, 0.11, 0.5, 0.5])
    found = {}
    for column, name in enumerate(tetrominoes.FACTORS):
        factors = np.tile(middle, (frames, 1))
        factors[:, column] = np.linspace(low[column], high[column], frames)
        found[name] = tetrominoes.render(factors, size)
    return found


def factor_slider(frames: int = 13, size: int = 32, shown: int = 160) -> HTML:
    """A row of stops under a picture of each factor: no kernel and no script.

    The stops are radio buttons, so the arrow keys slide along them; a style rule shows the frame of
    the one that is chosen. It works in a page opened from a folder and under a policy that forbids
    inline scripts.
    """
    from IPython.display import HTML

    rules = [
        ".grae-factors{display:flex;flex-wrap:wrap;gap:1rem 1.5rem;color:inherit}",
        ".grae-factors fieldset{border:0;margin:0;padding:0;min-width:0}",
        ".grae-factors legend{font-size:1em;padding:0;margin:0}",
        f".grae-factors div{{display:flex;flex-wrap:wrap;width:{24 * frames}px;max-width:100%}}",
        ".grae-factors input{width:24px;height:24px;margin:0;accent-color:#0072b2}",
        f".grae-factors span{{order:-1;flex:0 0 {shown}px;height:{shown}px;margin-right:100%;"
        f"image-rendering:pixelated;background-size:{shown * frames}px {shown}px}}",
        *(
            f".grae-factors input:nth-of-type({k + 1}):checked~span"
            f"{{background-position-x:-{shown * k}px}}"
            for k in range(frames)
        ),
    ]
    parts = []
    for column, (name, pictures) in enumerate(factor_frames(frames, size).items()):
        low, high = tetrominoes.RANGES[column]
        strip = torch.cat(list(pictures), dim=-1).permute(1, 2, 0).numpy()
        file = io.BytesIO()
        Image.fromarray(strip).save(file, "png", optimize=True)
        data = base64.b64encode(file.getvalue()).decode()
        stops = "".join(
            f'<input type="radio" name="grae-factor-{name}" aria-label="{name} {value:.2f}"'
            f"{' checked' if k == frames // 2 else ''}>"
            for k, value in enumerate(np.linspace(low, high, frames))
        )
        unit = " radians" if name == "angle" else ""
        parts.append(
            f"<fieldset><legend>{name}, {low:.2g} to {high:.2g}{unit}</legend><div>{stops}"
            f'<span style="background-image:url(data:image/png;base64,{data})"></span>'
            "</div></fieldset>"
        )
    return HTML(f'<div class="grae-factors"><style>{"".join(rules)}</style>{"".join(parts)}</div>')
