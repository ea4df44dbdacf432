"""Plotly figures in built pages: their JSON in the page, drawn by the book's own plotly.js.

In a kernel plotly shows a figure as ``application/vnd.plotly.v1+json``, a type that MyST-NB does
not know. The class here is found through the entry point group ``myst_nb.mime_renderers``.
"""

from __future__ import annotations

import html
import json
from typing import Any, ClassVar

from docutils import nodes
from sphinx.util import logging

MIME = "application/vnd.plotly.v1+json"
DEFAULT_HEIGHT = 420

logger = logging.getLogger(__name__)


def description(figure: dict[str, Any], cell_metadata: dict[str, Any]) -> str:
    """What a reader who cannot see the figure is told; '' if neither source has it.

    ``mystnb.image.alt`` in the cell's metadata (the same place as for still figures) comes first,
    then ``layout.meta.alt`` in the figure.
    """
    mystnb = cell_metadata.get("mystnb") or {}
    alt = (mystnb.get("image") or {}).get("alt")
    if alt:
        return str(alt)
    meta = (figure.get("layout") or {}).get("meta")
    return str(meta.get("alt", "")) if isinstance(meta, dict) else ""


def figure_html(figure: dict[str, Any], alt: str) -> str:
    """HTML block of one figure.

    The template of the figure is left out: ``plotly-figures.js`` sets a light or a dark one that
    follows the page. The height is reserved, so that the text below does not jump.
    """
    layout = {k: v for k, v in (figure.get("layout") or {}).items() if k != "template"}
    height = layout.get("height") or DEFAULT_HEIGHT
    payload: dict[str, Any] = {"data": figure.get("data", []), "layout": layout}
    if figure.get("frames"):
        payload["frames"] = figure["frames"]
    # "<" cannot end the script element early once it is written as an escape.
    text = json.dumps(payload, separators=(",", ":")).replace("<", "\\u003c")
    label = html.escape(alt, quote=True)
    return (
        f'<div class="grae-plotly" role="group" aria-label="{label}" '
        f'style="min-height:{int(height)}px">'
        f'<script type="application/json">{text}</script>'
        f"<noscript><p>{label} (An interactive figure: it needs JavaScript.)</p></noscript>"
        "</div>"
    )


class PlotlyRenderer:
    """MyST-NB renderer plug-in for :data:`MIME`."""

    mime_priority_overrides: ClassVar[list[tuple[str, str, int]]] = [("*", MIME, 5)]

    @staticmethod
    def handle_mime(renderer: Any, data: Any, inline: bool) -> list[nodes.Element] | None:
        """Docutils nodes of a plotly figure; None for any other type, which MyST-NB then tries."""
        if inline or data.mime_type != MIME:
            return None
        figure = data.content if isinstance(data.content, dict) else json.loads(data.content)
        alt = description(figure, dict(data.cell_metadata))
        if not alt:
            logger.warning(
                "cell %s: plotly figure without a description; set mystnb.image.alt in the "
                "metadata of the cell, or layout.meta = {'alt': ...} in the figure",
                data.cell_index,
                type="grae",
                subtype="alt",
            )
        return [nodes.raw("", figure_html(figure, alt), format="html")]
