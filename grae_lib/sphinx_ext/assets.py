"""Scripts and fonts that pages load, all served from the book itself.

Jupyter Book's defaults fetch MathJax, require.js, a widget manager and thebe from other hosts, so
that a page read offline shows raw TeX and dead figures. Here each is copied into ``_static/vendor``
or taken off the page. Only classic scripts are used: a browser refuses ``import`` and ``fetch`` of
local files on a ``file://`` page, and a book unzipped on a laptop is read that way.

Every page carries a Content-Security-Policy (:data:`POLICY`) that lets nothing run but the files of
the book: no script from elsewhere, none written in the page, none made from text by ``eval``. The
theme writes scripts into its pages; they are moved to files.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

STATIC = Path(__file__).with_name("static")

# Start-up bundle, fonts, and what that bundle loads on demand: TeX extensions (such as \cancel) and
# the screen-reader explorer with its speech rules.
MATHJAX_PARTS = (
    "tex-mml-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
    "a11y",
    "sre",
)

# sphinx-thebe puts these on every page although the book has no thebe button; the second script
# names another host, and Jupyter Book adds it twice, which is an error in the browser's console.
UNUSED_SCRIPTS = ("sphinx-thebe.js", "THEBE_JS_URL")

# Faults in the markup of the theme and of docutils, each with its cure.
MENDED = (
    # The browser refuses to preload the icons' fonts on a file:// page; it loads them all the same.
    (re.compile(r'\s*<link rel="preload" as="font"[^>]*>'), ""),
    # 1.5 MB of script on each page that draws the same icons as the fonts beside it.
    (re.compile(r'\s*<script src="[^"]*/fontawesome/[^"]*"></script>'), ""),
    # Deprecated role; the entries stand in an element with role "list".
    (re.compile(r'role="doc-biblioentry"'), 'role="listitem"'),
    # The logo stands outside all landmarks of the page.
    (
        re.compile(r'<div class="bd-sidebar-primary bd-sidebar([^"]*)">'),
        r'<div class="bd-sidebar-primary bd-sidebar\1" role="complementary" aria-label="Contents">',
    ),
    # A wide table scrolls on a phone, and a reader with a keyboard must be able to scroll it.
    (
        re.compile(r'<div class="pst-scrollable-table-container">'),
        '<div class="pst-scrollable-table-container" tabindex="0">',
    ),
    # So does the figure of a cell, which keeps letters that can be read. Once: pages may be mended
    # again.
    (
        re.compile(
            r'(?<!<span class="grae-figure" tabindex="0">)'
            r'(<img [^>]*src="[^"]*_images/[0-9a-f]{64}\.\w+"[^>]*>)'
        ),
        r'<span class="grae-figure" tabindex="0">\1</span>',
    ),
)


#: What pages may load and run. ``file:`` is for readers of an unzipped book; a page from a server
#: cannot reach files with it. Formulas and figures set styles on their elements, hence the one
#: 'unsafe-inline', which concerns styles only.
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self' file:",
        "style-src 'self' file: 'unsafe-inline'",
        "img-src 'self' file: data: blob:",
        "font-src 'self' file: data:",
        "connect-src 'self' file:",
        "form-action 'self' file:",
        "object-src 'none'",
        "base-uri 'none'",
    )
)

_INLINE = re.compile(r"<script(?![^>]*\bsrc=)([^>]*)>(.*?)</script>", re.S)
_TYPE = re.compile(r"""\btype=["']?([^"'\s>]+)""")
_ON_CLICK = re.compile(r'\bonclick="(toggleFullScreen|window\.print)\(\)"')
#: Where scripts of pages are moved to, under the output.
INLINE = "_static/inline"


def package_folder(name: str) -> Path:
    """Folder of an installed package, without importing it; ModuleNotFoundError if absent."""
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"package {name!r} is needed to build the book but is not installed; "
            "run: pip install -r requirements.txt"
        )
    return Path(next(iter(spec.submodule_search_locations)))


def vendor_files() -> dict[str, Path]:
    """Path under ``_static`` -> file or folder to copy there."""
    mathjax = package_folder("mathjax") / "static" / "mathjax" / "es5"
    files = {f"vendor/mathjax/{part}": mathjax / part for part in MATHJAX_PARTS}
    files["vendor/plotly.min.js"] = package_folder("plotly") / "package_data" / "plotly.min.js"
    return files


def add_static_path(app: Any, config: Any) -> None:
    """Serve the extension's own scripts from ``_static``."""
    config.html_static_path.append(str(STATIC))


def copy_vendor_files(app: Any) -> None:
    """Copy MathJax and plotly.js into the output, once; FileNotFoundError names what is missing."""
    if app.builder.format != "html":
        return
    for relative, source in vendor_files().items():
        if not source.exists():
            raise FileNotFoundError(
                f"{source} is missing, and pages need it as _static/{relative}; "
                "run: pip install --force-reinstall -r requirements.txt"
            )
        target = Path(app.outdir, "_static", relative)
        if target.exists():
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target)
        else:
            shutil.copyfile(source, target)


def set_page_scripts(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Drop unused scripts from a page, and add plotly.js where the page shows a plotly figure."""
    # In place: add_js_file below appends to this very list.
    scripts = context["script_files"]
    scripts[:] = [s for s in scripts if not any(mark in _text(s) for mark in UNUSED_SCRIPTS)]
    if 'class="grae-plotly' in (context.get("body") or ""):
        app.add_js_file("vendor/plotly.min.js", loading_method="defer")
        app.add_js_file("plotly-figures.js", loading_method="defer")


def _text(script: Any) -> str:
    """File name and inline text of a script entry, which Sphinx keeps among its attributes."""
    attributes = getattr(script, "attributes", None) or {}
    return f"{getattr(script, 'filename', script)} {attributes.get('body', '')}"


def mend_pages(app: Any, exception: Exception | None) -> None:
    """Apply :data:`MENDED` to each written page."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        before = path.read_text(encoding="utf-8")
        after = before
        for pattern, cure in MENDED:
            after = pattern.sub(cure, after)
        after = with_policy(after, path, Path(app.outdir))
        if after != before:
            path.write_text(after, encoding="utf-8")


def with_policy(text: str, page: Path, outdir: Path) -> str:
    """A page without scripts of its own: each becomes a file, and :data:`POLICY` stands on top.

    Data blocks (``type="application/json"``) stay, for they do not run. Buttons of the theme say
    what they do in an attribute that ``page-actions.js`` reads. Done twice, it changes nothing.
    """
    if "<head>" not in text or 'http-equiv="Content-Security-Policy"' in text:
        return text
    here = Path(os.path.relpath(outdir, page.parent)).as_posix()

    def moved(found: re.Match[str]) -> str:
        kind = _TYPE.search(found[1])
        if kind is not None and kind[1] not in {"text/javascript", "module"}:
            return found[0] if kind[1] == "application/json" else ""
        code = found[2].strip() + "\n"
        name = f"{hashlib.sha256(code.encode()).hexdigest()[:16]}.js"
        target = outdir / INLINE / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            target.write_text(code, encoding="utf-8")
        return f'<script{found[1]} src="{here}/{INLINE}/{name}"></script>'

    text = _INLINE.sub(moved, text)
    text = _ON_CLICK.sub(lambda m: f'data-grae-action="{m[1]}"', text)
    head = (
        f'<head>\n<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f'\n<script defer src="{here}/_static/page-actions.js"></script>'
    )
    return text.replace("<head>", head, 1)
