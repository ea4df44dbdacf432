"""The built book as one PDF: every page printed by Chromium, in the order of the contents.

Pages are printed as readers' own printers would do it: light, fold-outs open, widgets and sliders
replaced by their still pictures. Links between pages lead to places in the same file, and the
contents stand in the PDF's outline.

Command line: ``python -m grae_lib.sphinx_ext.pdf SITE PDF``; ``make pdf`` calls it. Needs Chromium,
and the packages playwright and pypdf, which requirements.txt names.
"""

from __future__ import annotations

import argparse
import io
import shutil
import sys
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from bs4 import BeautifulSoup

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FOOTER = (
    '<div style="width: 100%; font: 8px sans-serif; text-align: center; color: #555">'
    '<span class="title"></span> · <span class="pageNumber"></span></div>'
)
# Fold-outs are opened; formulas are set and figures drawn before the page is printed.
_READY = """async () => {
  document.querySelectorAll('details').forEach((e) => { e.open = true; });
  document.querySelectorAll('.toggle-hidden').forEach((e) => e.classList.remove('toggle-hidden'));
  if (document.querySelector('.math') && window.MathJax) await MathJax.startup.promise;
  await document.fonts.ready;
  return [...document.querySelectorAll('.grae-plotly')].every((e) => e.dataset.ready);
}"""


def executable() -> str | None:
    """Path of a Chromium, or None."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def pages(site: Path) -> list[tuple[str, str]]:
    """(file name, title) of each page in the order of the contents; ValueError if there is none."""
    first = site / "book" / "intro.html"
    if not first.is_file():
        raise ValueError(f"{site} holds no book/intro.html, so no book; run: make book")
    soup = BeautifulSoup(first.read_text(encoding="utf-8"), "html.parser")
    found = {first.name: soup.title.get_text(strip=True) if soup.title else first.stem}
    for link in soup.select("nav.bd-links a.reference.internal"):
        name = Path(urlsplit(str(link["href"])).path).name or first.name
        if (first.parent / name).is_file():
            found.setdefault(name, link.get_text(strip=True))
    return list(found.items())


def printed(site: Path, names: list[str], browser_path: str) -> list[bytes]:
    """Each page as a PDF of its own."""
    from playwright.sync_api import sync_playwright

    found = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        page = browser.new_page(color_scheme="light")
        for name in names:
            page.goto((site / "book" / name).resolve().as_uri(), wait_until="load")
            page.wait_for_function(_READY, timeout=120_000)
            found.append(
                page.pdf(
                    format="A4",
                    # At this size a line of code, 100 characters, fits.
                    scale=0.72,
                    margin={"top": "16mm", "bottom": "18mm", "left": "16mm", "right": "16mm"},
                    display_header_footer=True,
                    header_template="<span></span>",
                    footer_template=FOOTER,
                    print_background=True,
                )
            )
        browser.close()
    return found


def joined(site: Path, parts: list[tuple[str, str, bytes]]) -> Any:
    """One document of (file name, title, PDF); links between the pages become links inside it."""
    from pypdf import PdfReader, PdfWriter
    from pypdf.generic import ArrayObject, DictionaryObject, NameObject, NullObject

    writer = PdfWriter()
    starts: dict[str, int] = {}
    for name, title, content in parts:
        starts[name] = len(writer.pages)
        writer.append(PdfReader(io.BytesIO(content)), outline_item=title)
    folder = (site / "book").resolve()
    for sheet in writer.pages:
        for reference in sheet.get("/Annots", []):
            note = reference.get_object()
            uri = note.get("/A", {}).get("/URI")
            if uri is None or not str(uri).startswith("file:"):
                continue
            target = Path(unquote(urlsplit(str(uri)).path))
            if target.parent == folder and target.name in starts:
                to = writer.pages[starts[target.name]].indirect_reference
                place = [to, NameObject("/XYZ"), NullObject(), NullObject(), NullObject()]
                note[NameObject("/Dest")] = ArrayObject(place)
            # A path of the machine that printed it would lead nowhere.
            del note[NameObject("/A")]
            if "/Dest" not in note:
                note[NameObject("/A")] = DictionaryObject()
    writer.add_metadata({"/Title": parts[0][1], "/Creator": "make pdf"})
    return writer


def make(site: Path, target: Path) -> int:
    """Write the PDF; returns its number of pages."""
    browser_path = executable()
    if browser_path is None:
        raise ValueError(f"no Chromium was found; install one of {', '.join(NAMES)}.")
    listed = pages(site)
    contents = printed(site, [name for name, _ in listed], browser_path)
    writer = joined(
        site, [(name, title, c) for (name, title), c in zip(listed, contents, strict=True)]
    )
    temporary = target.with_name(f".{target.name}.tmp")
    writer.write(temporary)
    temporary.replace(target)
    return len(writer.pages)


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 2 where there is no book or no browser."""
    parser = argparse.ArgumentParser(prog="python -m grae_lib.sphinx_ext.pdf")
    parser.add_argument("site", type=Path)
    parser.add_argument("target", type=Path)
    options = parser.parse_args(arguments)
    try:
        count = make(options.site, options.target)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    size = options.target.stat().st_size / 1e6
    print(f"{options.target}: {count} pages, {size:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
