"""The book as one PDF: order, outline, links that stay inside, fold-outs that are open."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import pytest
from pypdf import PdfReader

from grae_lib.sphinx_ext import pdf

NAVIGATION = (
    '<nav class="bd-links" hidden><a class="reference internal" href="#">One</a>'
    '<a class="reference internal" href="two.html">Two</a>'
    '<a class="reference internal" href="https://example.org/x.html">Away</a></nav>'
)
PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title></head>
<body>{nav}<main><p>{text}</p>{more}</main></body></html>"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Two pages that link to each other and away."""
    book = tmp_path / "book"
    book.mkdir()
    links = (
        '<a href="two.html#x">on</a> <a href="https://example.org/">away</a> '
        '<a href="gone.html">nowhere</a>'
    )
    first = PAGE.format(title="One", nav=NAVIGATION, text="first words", more=links)
    folded = (
        '<details><summary>More</summary><p>folded words</p></details><a href="intro.html">b</a>'
    )
    second = PAGE.format(title="Two", nav=NAVIGATION, text="second words", more=folded)
    (book / "intro.html").write_text(first, encoding="utf-8")
    (book / "two.html").write_text(second, encoding="utf-8")
    return tmp_path


def test_pages_come_in_the_order_of_the_contents(site: Path) -> None:
    assert pdf.pages(site) == [("intro.html", "One"), ("two.html", "Two")]


def test_no_book_is_said(tmp_path: Path) -> None:
    assert pdf.main([str(tmp_path), str(tmp_path / "book.pdf")]) == 2
    with pytest.raises(ValueError, match="so no book; run: make book"):
        pdf.pages(tmp_path)


def test_one_file_whose_links_stay_inside(site: Path) -> None:
    if pdf.executable() is None:
        pytest.skip("no Chromium: the PDF was NOT tested")
    target = site / "book.pdf"
    # In a process of its own: this one has Playwright running for the other tests.
    command = [sys.executable, "-m", "grae_lib.sphinx_ext.pdf", str(site), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{target}: 2 pages" in done.stdout
    reader = PdfReader(io.BytesIO(target.read_bytes()))
    assert [entry["/Title"] for entry in reader.outline] == ["One", "Two"]
    assert "first words" in reader.pages[0].extract_text()
    assert "folded words" in reader.pages[1].extract_text()
    notes = [n.get_object() for sheet in reader.pages for n in sheet.get("/Annots", [])]
    inside = [n["/Dest"][0].get_object() for n in notes if isinstance(n.get("/Dest"), list)]
    assert inside == [reader.pages[1], reader.pages[0]]
    addresses = [str(n["/A"]["/URI"]) for n in notes if "/URI" in n.get("/A", {})]
    assert addresses == ["https://example.org/"]
    assert str(site).encode() not in target.read_bytes()
