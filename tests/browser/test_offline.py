"""The built book away from its maker: a strict policy, hostile addresses, hostile files, print."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from standalone import DRAWN
from test_book import PAGES

from grae_lib.sphinx_ext.assets import POLICY

#: Stricter than the policy that pages carry: a server has no files to let through.
SERVED = POLICY.replace(" file:", "") + "; frame-ancestors 'none'"
#: Scripts that would leave a trace if anything ran them.
ATTACKS = (
    "<img src=x onerror=window.hit=1>",
    '"><script>window.hit=1</script>',
    "');window.hit=1;('",
    "javascript:window.hit=1",
    "__proto__[hit]=1",
)


class _Strict(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", SERVED)
        super().end_headers()

    def log_message(self, *_: object) -> None:
        """Requests are not news."""


@pytest.fixture(scope="module")
def strict(site: Path) -> Iterator[str]:
    """Address of the book on a server that sends the strict policy with every file."""
    handler = functools.partial(_Strict, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def watched(browser: Any) -> Iterator[tuple[Any, list[str]]]:
    """A page and what it complains of: console errors, refusals of the policy, dialogs."""
    context = browser.new_context()
    context.set_default_timeout(120_000)
    context.add_init_script("localStorage.setItem('mode', 'light')")
    page = context.new_page()
    seen: list[str] = []

    def note(message: Any) -> None:
        # A browser asks for an icon by itself; the book has none.
        if message.type == "error" and "favicon" not in str(message.location):
            seen.append(f"{message.text} {message.location}")

    page.on("console", note)
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.on("dialog", lambda dialog: (seen.append(f"dialog {dialog.message}"), dialog.dismiss()))
    yield page, seen
    context.close()


@pytest.mark.parametrize("name", [*PAGES, "search", "genindex"])
def test_every_page_works_under_a_strict_policy(
    name: str, strict: str, watched: tuple[Any, list[str]]
) -> None:
    page, seen = watched
    answer = page.goto(f"{strict}/{name}.html", wait_until="load")
    assert "script-src 'self';" in answer.headers["content-security-policy"]
    page.wait_for_function(DRAWN)
    assert seen == []
    assert page.evaluate("document.querySelectorAll('[data-grae][data-error]').length") == 0
    # The policy is in force, not only sent.
    page.evaluate(
        """() => { const s = document.createElement('script');
                   s.textContent = 'window.hit = 1'; document.head.append(s); }"""
    )
    assert page.evaluate("window.hit") is None
    page.evaluate("() => { setTimeout('window.hit = 2', 0); }")
    page.wait_for_timeout(300)
    assert page.evaluate("window.hit") is None


def test_pages_hold_no_script_of_their_own(site: Path) -> None:
    for path in site.rglob("*.html"):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        # Decks carry no policy: reveal.js writes its speaker's window with a script inside.
        if soup.head is None or {"_static", "slides"} & set(path.relative_to(site).parts):
            continue
        found = soup.find("meta", attrs={"http-equiv": "Content-Security-Policy"})
        assert found is not None, path.name
        assert found["content"] == POLICY
        for script in soup.find_all("script"):
            data = script.get("type") == "application/json"
            assert data or (script.get("src") and not script.text.strip()), path.name
        for element in soup.find_all():
            assert not [a for a in element.attrs if a.lower().startswith("on")], str(element)[:120]


def test_the_book_needs_no_other_host(site: Path) -> None:
    """Nothing that a page or a style sheet loads names another host."""
    for path in site.rglob("*.html"):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        loaded = [
            e.get("src") or e.get("href")
            for e in soup.find_all(["script", "img", "link", "iframe", "source", "video"])
            if not (e.name == "link" and e.get("rel") in (["next"], ["prev"], ["search"]))
        ]
        outside = [a for a in loaded if a and a.startswith(("http:", "https:", "//"))]
        assert outside == [], path.name


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_hostile_address_does_nothing(
    attack: str, strict: str, watched: tuple[Any, list[str]]
) -> None:
    page, seen = watched
    from urllib.parse import quote

    spelled = quote(attack)
    keys = ("beta", "method", "z", "seed", "grae", "explorer", "state", "highlight")
    query = "&".join(f"{key}={spelled}" for key in keys)
    for name in ("book/intro", "book/grae"):
        page.goto(f"{strict}/{name}.html?{query}#{query}", wait_until="load")
        page.wait_for_function(DRAWN)
        assert page.evaluate("window.hit") is None
        assert page.evaluate("({}).hit") is None
        assert page.evaluate("document.querySelectorAll('[onerror]').length") == 0
    page.goto(f"{strict}/search.html?q={spelled}", wait_until="load")
    page.wait_for_timeout(500)
    assert page.evaluate("window.hit") is None
    assert [s for s in seen if "dialog" in s] == []


def test_a_hostile_result_file_shows_text_and_runs_nothing(
    site: Path, tmp_path: Path, watched: tuple[Any, list[str]]
) -> None:
    """The data that pages load, replaced: markup in names, other keys, broken bytes."""
    copy = tmp_path / "book"
    shutil.copytree(site, copy)
    folder = copy / "_static" / "grae"
    poisoned = 0
    for path in folder.rglob("*.js"):
        text = path.read_text(encoding="utf-8")
        if path.name == "grae-widgets.js" or "graeData" not in text:
            continue
        # Base64 that decodes to something else than the loader expects.
        path.write_text(text[: len(text) // 2] + '";', encoding="utf-8")
        poisoned += 1
    assert poisoned > 0
    page, seen = watched
    page.goto((copy / "book" / "grae.html").as_uri(), wait_until="load")
    page.wait_for_timeout(1500)
    assert page.evaluate("window.hit") is None
    assert [s for s in seen if "dialog" in s] == []
    assert page.evaluate("document.querySelector('article h1').textContent").startswith("GRAE")


def test_the_store_that_travels_with_the_book_is_as_listed(site: Path) -> None:
    from grae_lib.storage import sha256

    store = site / "_static" / "store"
    manifest = json.loads((store / "manifest.json").read_text(encoding="utf-8"))
    records = [name for name in manifest if name.endswith(".json")]
    assert records
    for name in records:
        assert sha256(store / name) == manifest[name], name


def test_headings_are_in_order(site: Path) -> None:
    for name in PAGES:
        soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        levels = [int(h.name[1]) for h in soup.select("article h1, article h2, article h3, h4")]
        assert levels[0] == 1, name
        assert levels.count(1) == 1, name
        jumps = [b for a, b in itertools.pairwise(levels) if b > a + 1]
        assert jumps == [], f"{name}: a heading is more than one level below the one before it"


def test_tables_have_headers(site: Path) -> None:
    for name in PAGES:
        soup = BeautifulSoup((site / f"{name}.html").read_text(encoding="utf-8"), "html.parser")
        for table in soup.select("article table"):
            assert table.find("th") is not None, f"{name}: {table.text[:80]}"


def test_the_ledger_filters_without_a_script(opener: Any) -> None:
    with opener("file", "book/ledger") as visit:
        page = visit.page
        count = """() => [...document.querySelectorAll('.grae-ledger-table tbody tr')]
                         .filter(r => r.offsetParent !== null).length"""
        everything = page.evaluate(count)
        found = {}
        for verdict in ("reproduced", "partly", "not reproduced", "untested here"):
            page.check(f'input[name="grae-verdict"][value="{verdict}"]')
            found[verdict] = page.evaluate(count)
        assert sum(found.values()) == everything > 40
        page.check('input[name="grae-verdict"][value="all"]')
        page.check('input[name="grae-source"][value="ours"]')
        assert 0 < page.evaluate(count) < everything


@pytest.mark.parametrize("name", ["book/grae", "book/ledger"])
def test_a_printed_page_has_the_text_and_not_the_menus(name: str, opener: Any) -> None:
    with opener("file", name) as visit:
        page = visit.page
        page.emulate_media(media="print")
        hidden = """() => ['.bd-sidebar-primary', '.bd-header-article', '.prev-next-area']
            .flatMap(s => [...document.querySelectorAll(s)])
            .filter(e => getComputedStyle(e).display !== 'none').length"""
        assert page.evaluate(hidden) == 0
        # Proofs and observations in fold-outs are printed open.
        assert len(page.pdf(prefer_css_page_size=True)) > 50_000
