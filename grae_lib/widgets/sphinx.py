"""Sphinx extension: live widgets in the built book. List it as `grae_lib.widgets.sphinx`.

It copies modules, weights and pictures to `_static/grae/`, adds to each page the modules of the
widgets that it holds and no other, tells kernels that a static page is being built
(`GRAE_STATIC=1`), and defines the directive

    ```{grae-widget} explorer
    :state: {"beta": 0.2, "method": "grae_log_det"}
    ```
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import ClassVar

from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from . import assets, static_html

FOLDER = "_static/grae/"


class WidgetDirective(SphinxDirective):
    """```{grae-widget} kind``` with an optional `:state:` in JSON."""

    required_arguments = 1
    option_spec: ClassVar = {"state": directives.unchanged}

    def run(self) -> list[nodes.Node]:
        kind = self.arguments[0]
        try:
            state = json.loads(self.options.get("state", "{}"))
            text = static_html.block(kind, state)
        except ValueError as error:
            raise self.error(f"grae-widget {kind}: {error}") from error
        picture = nodes.paragraph(text=static_html.ALT[kind])
        only = [nodes.raw("", text, format="html")]
        # Builders without HTML (text, LaTeX) get the description in words.
        return [*only, *([picture] if self.env.app.builder.format != "html" else [])]


def _install(app) -> None:
    os.environ["GRAE_STATIC"] = "1"
    if app.builder.format == "html":
        assets.install(Path(app.outdir) / FOLDER)


def _add_to_page(app, pagename, templatename, context, doctree) -> None:
    body = context.get("body")
    if not body or 'data-grae="' not in body:
        return
    context["body"] = body.replace(static_html.PLACE, context["pathto"](FOLDER, 1))
    app.add_css_file("grae/grae-page.css")
    for kind in static_html.KINDS:
        if f'data-grae="{kind}"' in body:
            app.add_js_file(f"grae/grae-{kind}.js", loading_method="defer")


def setup(app) -> dict:
    """Connect to Sphinx. Other extensions may call it as `grae_lib.widgets.sphinx_setup(app)`."""
    app.add_directive("grae-widget", WidgetDirective)
    app.connect("builder-inited", _install)
    app.connect("html-page-context", _add_to_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
