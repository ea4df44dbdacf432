"""The stored records inside the book, and the directive that says where a figure comes from.

    ```{grae-provenance} mnist-objectives
    ```

shows a fold-out with experiment, scale, seeds, commit, device and hashes, read from the store when
the page is built. The records (not the decoders) are copied to ``_static/store``, each experiment
with a page that lists its runs and their SHA-256, so that the ledger's links work without network.
"""

from __future__ import annotations

import html
import shutil
from pathlib import Path
from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from ..claims import table
from ..results import STORE, MissingResult, read_manifest

#: Stands for the path from a page to `_static/store/` until the page is written.
PLACE = "grae-store:"


class ProvenanceDirective(SphinxDirective):
    """```{grae-provenance} experiment [scale]```."""

    required_arguments = 1
    optional_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        experiment, *scale = self.arguments
        self.env.note_dependency(str(STORE / "manifest.json"))
        try:
            entries = table.origin(experiment, scale[0] if scale else None)
        except MissingResult as error:
            raise self.error(f"grae-provenance {experiment}: {error}") from error
        link = f"{PLACE}{experiment}.html"
        text = nodes.raw("", table.provenance_html(entries, link), format="html")
        if self.env.app.builder.format == "html":
            return [text]
        return [nodes.paragraph(text=f"{name}: {value}") for name, value in entries.items()]


def fill_links(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Put the path to the store's pages into a page, and the style sheet where it is needed."""
    body = context.get("body") or ""
    if PLACE in body:
        context["body"] = body.replace(PLACE, context["pathto"]("_static/store/", 1))
    if "grae-provenance" in body or "grae-ledger" in body:
        app.add_css_file("ledger.css")


def copy_store(app: Any) -> None:
    """Copy records and manifest into the output, with one page of links an experiment."""
    if app.builder.format != "html":
        return
    target = Path(app.outdir, "_static", "store")
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    shutil.copyfile(table.STYLE, target.parent / "ledger.css")
    shutil.copyfile(STORE / "manifest.json", target / "manifest.json")
    manifest = read_manifest()
    for experiment in sorted({name.partition("/")[0] for name in manifest}):
        files = {n: h for n, h in manifest.items() if n.startswith(f"{experiment}/")}
        for name in files:
            if name.endswith(".json"):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(STORE / name, target / name)
        (target / f"{experiment}.html").write_text(listing(experiment, files), encoding="utf-8")


def listing(experiment: str, files: dict[str, str]) -> str:
    """A page with the files of an experiment and their hashes; decoders are named, not linked."""
    rows = "\n".join(
        "<tr><td>"
        + (f'<a href="{html.escape(n)}">{html.escape(n)}</a>' if n.endswith(".json") else n)
        + f"</td><td><code>{digest}</code></td></tr>"
        for n, digest in sorted(files.items())
    )
    title = f"Stored results: {html.escape(experiment)}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{title}</title></head><body><main><h1>{title}</h1>"
        "<p>Decoders travel with the library, under <code>grae_lib/store</code>. "
        f"SHA-256 over this list: <code>{table.fingerprint(files)}</code>. "
        '<a href="manifest.json">The manifest of all files</a>.</p>'
        '<table><thead><tr><th scope="col">File</th><th scope="col">SHA-256</th></tr></thead>'
        f"<tbody>\n{rows}\n</tbody></table></main></body></html>\n"
    )
