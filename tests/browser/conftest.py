"""A Chromium that cannot leave the machine, pointed at the built book over http and file://."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from standalone import ARGUMENTS, DRAWN, served

from grae_lib.sphinx_ext.pdf import NAMES, executable

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"


@pytest.fixture(scope="session")
def site() -> Path:
    """Folder of the built book."""
    if not (SITE / "index.html").is_file():
        pytest.fail(f"{SITE} holds no book; run: make book", pytrace=False)
    return SITE


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[str]:
    """Address of the built book, served on a free port of this machine."""
    with served(site) as address:
        yield address


@pytest.fixture(scope="session")
def browser(need: Callable[[Any, str], Any]) -> Iterator[Any]:
    """One Chromium for all tests."""
    path = need(executable(), f"a browser {NAMES}")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@dataclass
class Visit:
    """A page that was opened, and what it did while it was open."""

    page: Any
    off_host: list[str] = field(default_factory=list)
    console: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


Opener = Callable[..., AbstractContextManager[Visit]]


@pytest.fixture(scope="session")
def opener(browser: Any, server: str, site: Path) -> Opener:
    """``with opener(kind, name, width=..., theme=...) as visit`` shows one page until it is drawn.

    ``kind`` is "http" or "file". Every request that would leave the book is stopped and recorded.
    ``fragment`` goes behind the address; ``instead`` maps the end of an address to other content,
    None for a file that is missing; ``calm`` is whether the reader asked for less motion.
    """
    bases = {"http": server, "file": site.as_uri()}

    @contextmanager
    def _open(
        kind: str,
        name: str,
        width: int = 1280,
        theme: str = "light",
        fragment: str = "",
        instead: dict[str, str | None] | None = None,
        calm: bool = True,
    ) -> Iterator[Visit]:
        context = browser.new_context(
            viewport={"width": width, "height": 900},
            color_scheme=theme,
            reduced_motion="reduce" if calm else "no-preference",
        )
        context.add_init_script(
            f"localStorage.setItem('mode', '{theme}'); localStorage.setItem('theme', '{theme}');"
        )
        context.set_default_timeout(90_000)  # a busy machine is slow, not broken
        page = context.new_page()
        visit = Visit(page)

        def route(route: Any) -> None:
            address = route.request.url
            other = [body for end, body in (instead or {}).items() if address.endswith(end)]
            if other and other[0] is None:
                route.abort()
            elif other:
                route.fulfill(body=other[0], content_type="text/javascript")
            elif address.startswith((*bases.values(), "data:", "blob:")):
                route.continue_()
            else:
                visit.off_host.append(address)
                route.abort()

        context.route("**/*", route)
        page.on("pageerror", lambda error: visit.console.append(str(error)))
        page.on("console", lambda message: _note(visit, message))
        page.on("requestfailed", lambda request: visit.failed.append(request.url))
        page.on("response", lambda r: visit.failed.append(r.url) if r.status >= 400 else None)
        page.goto(f"{bases[kind]}/{name}.html{fragment}", wait_until="load")
        page.wait_for_function(DRAWN)
        yield visit
        context.close()

    return _open


def _note(visit: Visit, message: Any) -> None:
    if message.type in {"error", "warning"}:
        visit.console.append(message.text)
