"""The built book as a reader meets it: no network, both themes, a telephone's width."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from axe_playwright_python.sync_playwright import Axe
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[2]

# Findings in the theme's own markup that are let pass: (rule, what the element holds). The known
# ones are mended when the pages are written, so there is none at present.
THEME_FINDINGS: set[tuple[str, str]] = set()


def toc() -> list[str]:
    """Names of the pages of _toc.yml, in reading order, without suffix."""
    found: list[str] = []

    def collect(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                collect(item)
        elif isinstance(node, dict):
            found.extend(node[k].removesuffix(".ipynb") for k in ("root", "file") if k in node)
            for value in node.values():
                collect(value)

    collect(yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8")))
    return found


PAGES = toc()


@pytest.fixture(
    scope="module",
    params=[(kind, name) for kind in ("http", "file") for name in (*PAGES, "search", "genindex")],
    ids="-".join,
)
def opened(request: pytest.FixtureRequest, opener: Any) -> Any:
    """Each page at a desktop's width, over http and then as a file."""
    with opener(*request.param) as visit:
        yield visit


@pytest.fixture(
    scope="module",
    params=[
        (name, width, theme)
        for name in PAGES
        for width in (390, 1280)
        for theme in ("light", "dark")
    ],
    ids=lambda param: "-".join(map(str, param)),
)
def styled(request: pytest.FixtureRequest, opener: Any) -> Any:
    """Each page at two widths in two themes."""
    name, width, theme = request.param
    with opener("http", name, width=width, theme=theme) as visit:
        assert visit.page.evaluate("document.documentElement.dataset.theme") == theme
        yield visit


def test_page_is_whole_and_stays_at_home(opened: Any) -> None:
    assert opened.off_host == []
    assert opened.failed == [], "files that did not load"
    assert opened.console == [], "errors and warnings in the console"


@pytest.mark.parametrize("kind", ["http", "file"])
def test_front_door_leads_to_the_first_page(kind: str, opener: Any) -> None:
    with opener(kind, "index") as visit:
        visit.page.wait_for_url(f"**/{PAGES[0]}.html")
        assert visit.off_host == []


def test_marks_of_numbers_leave_no_trace(opened: Any) -> None:
    """They are comments; in the cell of a table one of them once took the rest of it along."""
    prose = opened.page.evaluate(
        "() => [...document.querySelectorAll('article p, article li, article td, article dd')]"
        ".map(e => e.textContent).filter(t => /!–=|<!-/.test(t))"
    )
    quoted = [text for text in prose if "<!--=address" not in text and "<!--=deceived" not in text]
    assert quoted == []


def test_formulas_are_set(opened: Any) -> None:
    page = opened.page
    counts = page.evaluate(
        """() => ({
          source: document.querySelectorAll('article span.math, article div.math').length,
          set: document.querySelectorAll('article .math mjx-container').length,
          wrong: [...document.querySelectorAll('mjx-merror, [data-mjx-error]')]
                   .map(e => e.title || e.dataset.mjxError || e.textContent),
        })"""
    )
    assert counts["wrong"] == []
    assert counts["set"] >= counts["source"]
    raw = page.evaluate(
        r"""() => {
          const copy = document.querySelector('article, main').cloneNode(true);
          copy.querySelectorAll('pre, code, script, mjx-assistive-mml').forEach(e => e.remove());
          return copy.textContent.match(/\\[()\[\]]|\\begin\{|\\(frac|beta|log)\b/g) || [];
        }"""
    )
    assert raw == []


def test_interactive_figures_are_drawn_in_the_colours_of_the_page(opened: Any) -> None:
    page = opened.page
    colours = """() => [...document.querySelectorAll('.grae-plotly')].map(
        f => f.querySelector('.main-svg .gtitle, .main-svg text').style.fill)"""
    light = page.evaluate(colours)
    assert all(light)
    page.evaluate("document.documentElement.dataset.theme = 'dark'")
    page.wait_for_timeout(300)
    dark = page.evaluate(colours)
    page.evaluate("document.documentElement.dataset.theme = 'light'")
    assert all(a != b for a, b in zip(light, dark, strict=True))


def test_pictures_load_and_are_described(opened: Any) -> None:
    page = opened.page
    pictures = page.evaluate(
        """async () => {
          const all = [...document.images];
          all.forEach(i => { i.loading = 'eager'; });
          await Promise.all(all.map(i => i.decode().catch(() => null)));
          return all.map(i => ({src: i.getAttribute('src'), alt: i.alt, width: i.naturalWidth}));
        }"""
    )
    for picture in pictures:
        assert picture["width"] > 0, f"{picture['src']} does not load"
        alt = picture["alt"].strip()
        assert alt, f"{picture['src']} has no alternative text"
        assert alt != picture["src"], f"{picture['src']}: the text is only the file name"
    labels = page.evaluate(
        "() => [...document.querySelectorAll('.grae-plotly')].map(f => f.ariaLabel)"
    )
    assert all(labels)


def test_page_fits_its_screen(styled: Any) -> None:
    wide = styled.page.evaluate(
        """() => {
          const width = document.documentElement.clientWidth;
          const clipped = e => {
            for (let p = e.parentElement; p; p = p.parentElement) {
              if (getComputedStyle(p).overflowX !== 'visible' && p !== document.body) return true;
            }
            return false;
          };
          return document.documentElement.scrollWidth <= width ? [] :
            [...document.querySelectorAll('article *')]
              .filter(e => e.getBoundingClientRect().right > width + 1 && !clipped(e))
              .map(e => e.outerHTML.slice(0, 120)).concat('page is wider than the screen');
        }"""
    )
    assert wide == []


def test_figures_keep_readable_letters_on_a_phone(styled: Any) -> None:
    """A wide figure scrolls in its frame, and a reader with a keyboard can scroll it."""
    frames = styled.page.evaluate(
        """() => [...document.querySelectorAll('.grae-figure')].map(frame => ({
          frame: frame.clientWidth, focus: frame.tabIndex,
          image: frame.firstElementChild.getBoundingClientRect().width,
          natural: frame.firstElementChild.naturalWidth,
        }))"""
    )
    drawn = "document.querySelectorAll('.cell_output img[src*=\"_images/\"]').length"
    assert len(frames) == styled.page.evaluate(drawn)
    for found in frames:
        assert 0 < found["frame"] <= styled.page.viewport_size["width"]
        assert found["focus"] == 0
        assert found["image"] >= min(found["natural"], 600) > 0


def test_accessibility_rules(styled: Any) -> None:
    found = []
    for violation in Axe().run(styled.page).response["violations"]:
        for node in violation["nodes"]:
            known = any(
                violation["id"] == rule and mark in node["html"] for rule, mark in THEME_FINDINGS
            )
            if not known:
                found.append(f"{violation['id']}: {node['html'][:200]} {node['failureSummary']}")
    assert found == []


def test_colab_button_stands_where_a_notebook_is(site: Path) -> None:
    for name in PAGES:
        text = (site / f"{name}.html").read_text(encoding="utf-8")
        notebook = (ROOT / f"{name}.ipynb").is_file()
        assert ("colab.research.google.com" in text) == notebook, name
        if notebook:
            assert f"/blob/main/{name}.ipynb" in text


def test_links_inside_the_book_resolve(site: Path) -> None:
    pages = {
        path: BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        for path in site.rglob("*.html")
        if "_static" not in path.parts
    }
    anchors = {path: {e["id"] for e in soup.find_all(id=True)} for path, soup in pages.items()}
    broken = []
    for path, soup in pages.items():
        for element in soup.find_all(["a", "link", "img", "script", "source"]):
            address = element.get("href") or element.get("src")
            if not address:
                continue
            parts = urlsplit(address)
            if parts.scheme or parts.netloc:
                continue
            target = path
            if parts.path:
                target = (path.parent / unquote(parts.path)).resolve()
                if target.is_dir():
                    target /= "index.html"
            if not target.exists():
                broken.append(f"{path.name}: {address} (no such file)")
            elif parts.fragment and target in anchors:
                fragment = unquote(parts.fragment)
                if fragment.startswith("grae:"):  # the state of a widget, not a place
                    kind = fragment.removeprefix("grae:").split(";")[0]
                    if pages[target].select_one(f"[data-grae='{kind}']") is None:
                        broken.append(f"{path.name}: {address} (no such widget)")
                    continue
                if fragment not in anchors[target]:
                    broken.append(f"{path.name}: {address} (no such place)")
    assert broken == []
