"""The widgets where readers meet them: in the built book, with the stored decoders."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from bs4 import BeautifulSoup
from standalone import numbers

from grae_lib import geometry, objectives, results
from grae_lib.widgets import assets

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
COLLECTION = "mnist-objectives"


def pages_with_widgets() -> dict[str, list[str]]:
    """Page → kinds of the widgets on it, read from the built pages."""
    found = {}
    for path in sorted((SITE / "book").glob("*.html")):
        soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
        kinds = [str(e["data-grae"]) for e in soup.select("[data-grae]")]
        if kinds:
            found[f"book/{path.stem}"] = kinds
    return found


PAGES = pages_with_widgets()


def settle(page: Any) -> None:
    """Wait for the frame in which pending changes are drawn."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def test_every_kind_of_widget_is_in_the_book() -> None:
    kinds = {kind for found in PAGES.values() for kind in found}
    assert kinds >= {"explorer", "rotation", "taylor", "playground"}, PAGES
    assert "explorer" in PAGES["book/intro"]


@pytest.mark.parametrize("kind", ["http", "file"])
@pytest.mark.parametrize("name", PAGES)
def test_widgets_are_ready_and_arrow_keys_move_every_slider(
    kind: str, name: str, opener: Any
) -> None:
    with opener(kind, name) as visit:
        page = visit.page
        widgets = page.locator("[data-grae]")
        assert widgets.count() == len(PAGES[name])
        for i in range(widgets.count()):
            assert widgets.nth(i).get_attribute("data-ready") == "true"
            assert widgets.nth(i).get_attribute("data-error") is None
            assert widgets.nth(i).locator(".grae").is_visible()
            assert not widgets.nth(i).locator(".grae-static").is_visible()
        # The module of each widget on the page, and of no other.
        scripts = page.evaluate("[...document.scripts].map(s => s.src.split('/').pop())")
        modules = [s for s in scripts if re.fullmatch(r"grae-\w+\.js(\?.*)?", s)]
        assert sorted(re.sub(r"\?.*", "", s) for s in modules) == sorted(
            f"grae-{k}.js" for k in set(PAGES[name])
        )
        # A widget behind a question is closed until there is a prediction; here it is opened.
        veils = page.locator(".grae-check-veil")
        veils.evaluate_all("all => all.forEach(v => { v.inert = false; })")
        sliders = page.locator("[data-grae] input[type=range]:not(:disabled)")
        assert sliders.count() >= sum(1 if kind == "walk" else 3 for kind in PAGES[name])
        for i in range(sliders.count()):
            one = sliders.nth(i)
            before = one.input_value(), one.get_attribute("aria-valuetext")
            one.press("ArrowLeft" if one.evaluate("e => e.value === e.max") else "ArrowRight")
            settle(page)
            assert one.input_value() != before[0]
            assert one.get_attribute("aria-valuetext") != before[1]
        assert page.locator("[data-grae][data-error]").count() == 0
        assert visit.off_host == []
        assert visit.failed == []
        assert visit.console == []


def shown_number(text: str) -> float:
    """The number in a text such as −0.123 or 1.2·10⁻⁴."""
    text = text.replace("−", "-")
    superscripts = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
    mantissa, _, power = text.partition("·10")
    return float(mantissa) * 10 ** int(power.translate(superscripts) or 0)


@pytest.mark.parametrize(
    ("kind", "name", "method", "beta", "digit", "family", "size"),
    [
        ("http", "book/intro", "grae_log_det", 0.1, 5, "full", 1),
        ("file", "book/gaussian_case", "beta_vae_diagonal", 1.0, 12, "diagonal", 1),
        ("file", "book/grae", "grae_one_column", 0.06, 0, "block", 4),
    ],
)
def test_explorer_of_the_book_shows_the_librarys_numbers(
    kind: str, name: str, method: str, beta: float, digit: int, family: str, size: int, opener: Any
) -> None:
    """A state from the address is restored, and what it shows is what the library computes."""
    fragment = f"#grae:explorer;method={method};beta={beta:g};digit={digit};family={family}"
    with opener(kind, name, fragment=f"{fragment};block_size={size}") as visit:
        page = visit.page
        widget = page.locator("[data-grae=explorer]")
        assert widget.locator("select[data-name=method]").input_value() == method
        slider = widget.locator("input[data-name=beta]")
        assert shown_number(slider.get_attribute("aria-valuetext")) == beta
        pressed = widget.locator(".grae-pick[aria-pressed=true]")
        assert pressed.get_attribute("aria-label") == f"Encode test image {digit + 1}"
        assert widget.locator(f"input[value={family}]").is_checked()
        shown = numbers(page, "explorer")
        parts = ("distortion", "prior", "regularizer", "total")
        printed = {k: widget.locator(f"[data-{k}]").inner_text() for k in parts}
        norms = widget.locator(".grae-tile b span").all_inner_texts()
        visit.console = [m for m in visit.console if "favicon" not in m]
        assert visit.console == []
        assert visit.off_host == []

    run = f"{method}_beta{beta:g}_seed0"
    decoder = results.load_decoder(COLLECTION, run).double()
    path = next((results.STORE / COLLECTION).glob(f"*/decoders/{run}.safetensors"))
    tensors = results.read_decoder(path)[1]
    z = tensors["codes"][digit][None].double()
    x = tensors["codes_images"][digit][None].double() / 255
    x_hat, J = geometry.jacobian(decoder, z)
    G = geometry.pullback_metric(J)
    covariance = geometry.optimal_covariance(G, beta, family, size if family == "block" else None)
    terms = {
        "distortion": 0.5 * (x.flatten(1) - x_hat.flatten(1)).square().sum(),
        "prior": 0.5 * beta * z.square().sum(),
        "regularizer": objectives.log_det_regularizer(G, beta).sum(),
    }
    terms["total"] = sum(terms.values())
    for what, expected in {"image": x_hat, "G": G, "norms": J.square().sum(1).sqrt()}.items():
        got = torch.tensor(shown[what], dtype=torch.float64)
        torch.testing.assert_close(got, expected.detach().flatten(), rtol=1e-9, atol=1e-9)
    got = torch.tensor(shown["geo"]["covariance"], dtype=torch.float64)
    torch.testing.assert_close(got, covariance.detach().flatten(), rtol=1e-9, atol=1e-9)
    for what, value in terms.items():
        assert shown["terms"][what] == pytest.approx(float(value), rel=1e-9)
        assert shown_number(printed[what]) == pytest.approx(float(value), rel=6e-4)
    for text, norm in zip(norms, J.square().sum(1).sqrt().flatten(), strict=True):
        assert shown_number(text) == pytest.approx(float(norm), rel=6e-3)


@pytest.mark.parametrize("harm", ["missing", "truncated", "shape"])
def test_damaged_weights_of_the_book_are_named_in_place(harm: str, opener: Any) -> None:
    """And the rest of the page works: its other widget, and the same one with other weights."""
    run = next(e["id"] for e in assets.manifest()[COLLECTION] if e["beta"] == 0.1)
    content = assets.locate(run).read_bytes()
    harmed = {
        "missing": None,
        "truncated": assets.as_script(run, content[:-5000]),
        "shape": assets.as_script(run, re.sub(rb"\[128,8\]", b"[8,128]", content, count=1)),
    }[harm]
    method = run.split("/")[-1].split("_beta")[0]
    fragment = f"#grae:explorer;method={method};beta=0.1"
    with opener("http", "book/grae", fragment=fragment, instead={f"{run}.js": harmed}) as visit:
        page = visit.page
        error = page.locator("[data-grae=explorer] .grae-error")
        assert error.is_visible()
        assert harm in error.inner_text()
        playground = page.locator("[data-grae=playground]")
        playground.get_by_role("button", name="Step", exact=True).click()
        settle(page)
        assert numbers(page, "playground")["steps"] == 1
        page.locator("[data-grae=explorer] input[data-name=beta]").press("ArrowRight")
        page.locator("[data-grae=explorer]:not([data-error])").wait_for()
        assert numbers(page, "explorer")["beta"] == 0.4
        assert not error.is_visible()


@pytest.mark.parametrize("calm", [True, False])
def test_wish_for_less_motion_is_respected(calm: bool, opener: Any) -> None:
    """Nothing moves until asked; in training the picture changes twice a second, no more."""
    with opener("file", "book/grae", calm=calm) as visit:
        page = visit.page
        assert numbers(page, "playground")["steps"] == 0
        body = page.locator("[data-grae=explorer] .grae-body")
        body.evaluate("e => e.classList.add('grae-loading')")
        assert (body.evaluate("e => getComputedStyle(e).transitionProperty") == "none") == calm
        draws = page.evaluate(
            """async () => {
              const widget = document.querySelector('[data-grae=playground]');
              const { shell } = widget.grae, draw = shell.draw;
              let count = 0;
              widget.scrollIntoView();
              await new Promise(r => setTimeout(r, 200));
              shell.draw = () => { count++; draw(); };
              widget.querySelector('.grae-main').click();
              await new Promise(r => setTimeout(r, 2000));
              widget.querySelector('.grae-main').click();
              return [count, shell.numbers.steps];
            }"""
        )
        assert draws[1] > 10
        assert (draws[0] <= 5) if calm else (draws[0] > 5)
