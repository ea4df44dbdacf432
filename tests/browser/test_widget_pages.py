"""The widgets in Chromium: over http and file://, with every request off the machine stopped."""

from __future__ import annotations

import shutil
from contextlib import contextmanager

import pytest
import standalone
import torch
from safetensors.torch import load_file

from grae_lib import geometry, models, objectives, results
from grae_lib.widgets import static_html

KINDS = list(static_html.KINDS)
COLLECTION = {"collection": "test-d8"}
STATES = {"explorer": COLLECTION, "walk": {"experiment": "made-up"}}


@pytest.fixture(scope="session")
def store(tmp_path_factory):
    root = tmp_path_factory.mktemp("store")
    standalone.write_decoders(root, (8, 2))
    for record in standalone.walk_records():
        results.write_run(record, root)
    return root


@pytest.fixture(scope="session")
def pages(tmp_path_factory, store):
    root = tmp_path_factory.mktemp("pages")
    widgets = [(kind, STATES.get(kind, {})) for kind in KINDS]
    standalone.write_page(root, store, widgets)
    for kind, state in widgets:
        standalone.write_page(root, store, [(kind, state)], kind)
    return root


@pytest.fixture(scope="session")
def address(pages):
    with standalone.served(pages) as http:
        yield {"http": http, "file": pages.as_uri()}


@pytest.fixture
def visit(browser, address):
    """`with visit(kind, page, …) as page`: ready, and on leaving without errors or other hosts."""

    @contextmanager
    def _visit(kind, name="index", theme="light", width=1280, mishaps=0, fragment="", **context):
        home = address[kind]
        opened = browser.new_context(
            viewport={"width": width, "height": 900}, reduced_motion="reduce", **context
        )
        opened.set_default_timeout(90_000)
        page = opened.new_page()
        outside, problems = [], []

        def route(request):
            if request.request.url.startswith((home, "data:", "blob:")):
                request.continue_()
            else:
                outside.append(request.request.url)
                request.abort()

        opened.route("**/*", route)
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda m: problems.append(m.text) if m.type == "error" else None)
        page.goto(f"{home}/{name}.html{fragment}")
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        if context.get("java_script_enabled", True):
            page.wait_for_function(standalone.READY)
        yield page
        assert outside == []
        assert len(problems) == mishaps, problems
        opened.close()

    return _visit


def settle(page):
    """Wait for the frame in which pending changes are drawn."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def slider(page, kind, name):
    return page.locator(f"[data-grae={kind}] input[data-name='{name}']")


@pytest.mark.parametrize("kind", ["http", "file"])
def test_every_widget_is_ready_and_arrow_keys_move_every_slider(visit, kind):
    with visit(kind) as page:
        assert page.evaluate("[...document.querySelectorAll('[data-error]')].length") == 0
        sliders = page.locator("input[type=range]:not(:disabled)")
        assert sliders.count() >= 8 + 1 + 5 + 3 + 3 + 1
        for i in range(sliders.count()):
            one = sliders.nth(i)
            before = one.input_value(), one.get_attribute("aria-valuetext")
            key = "ArrowLeft" if one.evaluate("e => e.value === e.max") else "ArrowRight"
            one.press(key)
            settle(page)
            assert one.input_value() != before[0]
            assert one.get_attribute("aria-valuetext") != before[1]
        page.wait_for_function(
            "[...document.querySelectorAll('.grae')].every(e => !e.querySelector('[data-error]'))"
        )


@pytest.mark.parametrize(
    ("method", "beta", "digit", "family", "size"),
    [
        ("grae_log_det", 0.2, 3, "full", 2),
        ("beta_vae_diagonal", 1.0, 12, "diagonal", 2),
        ("grae_log_det", 0.06, 0, "block", 4),
    ],
)
def test_explorer_shows_the_librarys_numbers(visit, store, method, beta, digit, family, size):
    state = f"#grae:explorer;method={method};beta={beta};digit={digit}"
    state += f";family={family};block_size={size}"
    with visit("file", "explorer", fragment=state) as page:
        shown = standalone.numbers(page, "explorer")
        printed = {
            k: page.locator(f"[data-{k}]").first.text_content() for k in ("distortion", "total")
        }
    path = store / "test-d8" / "cpu" / "decoders" / f"{method}_beta{beta:g}.safetensors"
    tensors = load_file(path)
    model = (
        models.build(latent_dim=8, hidden=(128, 128), output="sigmoid")
        .double()
        .requires_grad_(False)
    )
    layers = [m for m in model.decoder if hasattr(m, "weight")]
    for i, layer in enumerate(layers):
        layer.weight.data = tensors[f"{i}.weight"].double()
        layer.bias.data = tensors[f"{i}.bias"].double()
    z = tensors["codes"][digit][None].double()
    x_hat, J = geometry.jacobian(model.decoder, z)
    G = geometry.pullback_metric(J)
    block_size = size if family == "block" else None
    sigma = geometry.optimal_covariance(G, beta, family, block_size)

    def same(got, expected):
        expected = expected.detach().flatten()
        torch.testing.assert_close(
            torch.tensor(got, dtype=torch.float64), expected, rtol=1e-9, atol=1e-9
        )

    same(shown["z"], z)
    same(shown["image"], x_hat)
    same(shown["G"], G)
    same(shown["geo"]["covariance"], sigma)
    x = tensors["codes_images"][digit].double() / 255
    terms = {
        "distortion": 0.5 * (x - x_hat).square().sum(),
        "prior": 0.5 * beta * z.square().sum(),
        "regularizer": objectives.log_det_regularizer(G, beta).sum(),
    }
    for name, value in terms.items():
        same([shown["terms"][name]], value)
    for name, value in {**terms, "total": sum(terms.values())}.items():
        if name in printed:
            assert float(printed[name]) == pytest.approx(float(value), rel=1e-3)


def test_walk_shows_means_over_seeds_and_the_sheets_of_its_state(visit):
    """Numbers, pictures and controls of one state of the address, then of two others."""
    records = standalone.walk_records()

    def check(page, split, capacity, beta):
        mine = [
            r["metrics"]
            for r in records
            if [r["job"]["labels"][k] for k in ("split", "capacity", "beta")]
            == [split, capacity, beta]
        ]
        for side in ("train", "test"):
            for name in ("rate", "distortion", "mutual_information", "marginal_kl"):
                mean = sum(m[f"{side}/{name}"] for m in mine) / 2
                text = page.locator(f"[data-{side}={name}]").inner_text()
                assert float(text) == pytest.approx(mean, rel=6e-4)
        pictures = page.locator(".grae-sheet")
        for i, side in enumerate(("train", "test")):
            source = pictures.nth(i).get_attribute("src")
            assert source == "data:image/png;base64," + mine[0][f"{side}/sheet"]
            size = pictures.nth(i).evaluate(
                "async e => (await e.decode(), [e.naturalWidth, e.naturalHeight])"
            )
            assert size == [128, 32]
            assert f"β {beta:.3g}"[:5] in pictures.nth(i).get_attribute("alt")

    fragment = "#grae:walk;split=hard;capacity=depth3;beta=0.1"
    with visit("file", "walk", fragment=fragment) as page:
        assert page.locator("select[data-name=split]").input_value() == "hard"
        assert (
            page.locator("select[data-name=capacity] option:checked").inner_text()
            == "3 hidden layers"
        )
        check(page, "hard", "depth3", 0.1)
        slider(page, "walk", "beta").press("ArrowRight")
        settle(page)
        check(page, "hard", "depth3", 1.0)
        page.wait_for_function("location.hash.includes('beta=1')")
        page.locator("select[data-name=split]").select_option("easy")
        settle(page)
        check(page, "easy", "depth3", 1.0)
        plot = page.locator("svg.grae-plot").first
        box = plot.bounding_box()
        page.mouse.click(box["x"] + 0.95 * box["width"], box["y"] + 0.8 * box["height"])
        settle(page)
        check(page, "easy", "depth3", 0.01)  # the least β: most rate, least distortion


@pytest.mark.parametrize(
    ("body", "words"),
    [(None, "missing"), ('{"cells": {', "not JSON"), ("{}", "wrong shape")],
)
def test_walk_names_a_damaged_file_in_place(browser, tmp_path, store, body, words):
    from grae_lib.widgets import assets

    standalone.write_page(tmp_path, store, [("walk", STATES["walk"]), ("taylor", {})])
    script = tmp_path / "_static/grae/walk/made-up.js"
    if body is None:
        script.unlink()
    else:
        script.write_text(assets.as_script("walk/made-up", body.encode()))
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri())
    page.wait_for_function(standalone.READY)
    assert words in page.locator("[data-grae=walk] .grae-error").inner_text()
    slider(page, "taylor", "beta").press("ArrowRight")
    settle(page)
    assert page.locator("[data-grae=taylor]").get_attribute("data-error") is None
    page.close()


def test_pad_moves_by_keys_and_by_pointer(visit):
    with visit("file", "explorer") as page:
        pad = page.locator("svg[role=slider]")
        before = standalone.numbers(page, "explorer")["z"]
        pad.press("ArrowUp")
        settle(page)
        after = standalone.numbers(page, "explorer")["z"]
        assert after[1] == pytest.approx(before[1] + 0.1, abs=0.01)
        box = pad.bounding_box()
        page.mouse.click(box["x"] + 0.55 * box["width"], box["y"] + 0.4 * box["height"])
        settle(page)
        moved = standalone.numbers(page, "explorer")["z"]
        assert moved[0] != pytest.approx(after[0], abs=1e-6)
        assert moved[2:] == pytest.approx(after[2:], abs=0.006)


@pytest.mark.parametrize("kind", ["http", "file"])
def test_state_travels_in_the_address(visit, kind):
    fragment = "#grae:rotation;theta=45;norm1=2;norm2=0.5;sigma=0.05;beta=1;plane=across"
    with visit(kind, fragment=fragment) as page:
        shown = standalone.numbers(page, "rotation")
        assert shown["field"] == pytest.approx(0.7497, abs=1e-3)
        assert shown["closed"] == pytest.approx(shown["field"], rel=1e-9)
        slider(page, "rotation", "theta").press("ArrowRight")
        page.wait_for_function("location.hash.includes('theta=46')")
        page.locator("[data-grae=rotation] .grae-button", has_text="Reset").click()
        settle(page)
        assert (
            page.evaluate("document.querySelector('[data-grae=rotation]').grae.model.get('theta')")
            == 30
        )


def test_nonsense_in_the_address_does_no_harm(visit):
    fragment = "#grae:rotation;theta=abc;plane=nowhere;%3Cscript%3E=1"
    with visit("file", "rotation", fragment=fragment) as page:
        assert (
            page.locator("[data-grae=rotation]").get_attribute("data-ready")
            or page.locator(".grae-error").is_visible()
        )


def test_copied_link_opens_the_same_state(visit):
    permissions = {"permissions": ["clipboard-read", "clipboard-write"]}
    with visit("http", "taylor", **permissions) as page:
        slider(page, "taylor", "beta").press("ArrowRight")
        settle(page)
        page.get_by_text("Copy link").click()
        link = page.evaluate("navigator.clipboard.readText()")
    assert "#grae:taylor;" in link
    assert "beta=0.125" in link
    with visit("http", "taylor", fragment="#" + link.split("#")[1]) as page:
        assert (
            page.evaluate("document.querySelector('[data-grae]').grae.model.get('beta')") == 0.125
        )


@pytest.mark.parametrize("name", KINDS)
def test_picture_can_be_saved(visit, tmp_path, name):
    with visit("http", name, accept_downloads=True) as page:
        with page.expect_download() as waiting:
            page.get_by_text("Save picture").click()
        waiting.value.save_as(tmp_path / "picture")
        assert waiting.value.suggested_filename == f"grae-{name}.png"
    content = (tmp_path / "picture").read_bytes()
    assert content[:4] == b"\x89PNG"
    assert len(content) > 10_000


@pytest.mark.parametrize("data", ["digits", "roll"])
def test_playground_trains_pauses_and_starts_again(visit, data):
    with visit("file", "playground", fragment=f"#grae:playground;data={data}") as page:
        assert standalone.numbers(page, "playground")["steps"] == 0
        page.get_by_role("button", name="Step", exact=True).click()
        settle(page)
        first = standalone.numbers(page, "playground")
        assert first["steps"] == 1
        page.get_by_role("button", name="Play").press("Enter")
        page.wait_for_function(
            "document.querySelector('[data-grae]').grae.shell.numbers.steps > 150"
        )
        page.get_by_role("button", name="Pause").click()
        settle(page)
        last = standalone.numbers(page, "playground")
        assert last["terms"]["total"] < 0.8 * first["terms"]["total"]
        page.get_by_role("button", name="Start again").click()
        settle(page)
        assert standalone.numbers(page, "playground")["steps"] == 0


@pytest.mark.parametrize("harm", ["missing", "truncated", "shape", "garbage"])
def test_damaged_weights_are_named_in_place_and_the_rest_works(
    visit, pages, store, tmp_path, harm, browser
):
    from grae_lib.widgets import assets

    root = tmp_path / "site"
    standalone.write_page(root, store, [("explorer", COLLECTION), ("rotation", {})])
    script = root / "_static/grae/test-d8/cpu/grae_log_det_beta0.2.js"
    content = (store / "test-d8/cpu/decoders/grae_log_det_beta0.2.safetensors").read_bytes()
    name = "test-d8/cpu/grae_log_det_beta0.2"
    if harm == "missing":
        script.unlink()
    elif harm == "truncated":
        script.write_text(assets.as_script(name, content[:-5000]))
    elif harm == "shape":
        script.write_text(assets.as_script(name, content.replace(b"[128,8]", b"[8,128]")))
    else:
        script.write_text("globalThis.graeData={};graeData['" + name + "']='***'")
    words = {"missing": "missing", "truncated": "truncated", "shape": "shape", "garbage": "damaged"}
    page = browser.new_page()
    page.goto((root / "index.html").as_uri())
    page.wait_for_function(standalone.READY)
    error = page.locator("[data-grae=explorer] .grae-error")
    assert words[harm] in error.text_content()
    assert error.is_visible()
    before = standalone.numbers(page, "rotation")["field"]
    slider(page, "rotation", "theta").press("ArrowRight")
    settle(page)
    assert standalone.numbers(page, "rotation")["field"] != before
    slider(page, "explorer", "beta").press("ArrowRight")  # another β is there
    page.wait_for_function("!document.querySelector('[data-grae=explorer]').dataset.error")
    assert standalone.numbers(page, "explorer")["beta"] == 1.0
    page.close()


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_accessibility_rules_hold(visit, theme, width):
    from axe_playwright_python.sync_playwright import Axe

    # Over http: the rules' own script reads style sheets again, which file:// refuses.
    with visit("http", theme=theme, width=width) as page:
        page.wait_for_timeout(800)
        found = Axe().run(page, context=".grae").response["violations"]
        assert [(v["id"], v["nodes"][0]["html"][:200]) for v in found] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        small = page.evaluate(
            "[...document.querySelectorAll('.grae :is(input[type=range],button,select)')]"
            ".filter(e => e.getBoundingClientRect().height < 24).length"
        )
        assert small == 0
        # Without this attribute on the focused element itself, JupyterLab swallows arrow keys.
        swallowed = page.locator(
            ".grae :is(input,select,button,[tabindex]):not([data-lm-suppress-shortcuts])"
        )
        assert swallowed.count() == 0


@pytest.mark.parametrize("name", KINDS)
def test_picture_stands_in_without_scripts_and_in_print(visit, name):
    with visit("file", name, java_script_enabled=False) as page:
        picture = page.locator(".grae-static img")
        assert picture.is_visible()
        assert page.evaluate("1") == 1
    with visit("file", name) as page:
        assert not page.locator(".grae-static").is_visible()
        page.emulate_media(media="print")
        assert page.locator(".grae-static img").is_visible()
        assert page.evaluate("document.querySelector('.grae-static img').naturalWidth") > 300
        assert not page.locator(".grae").is_visible()


def test_two_widgets_of_a_kind_keep_apart(browser, tmp_path, store):
    standalone.write_page(
        tmp_path, store, [("rotation", {"theta": 10}), ("rotation", {"theta": 20})]
    )
    page = browser.new_page()
    page.goto((tmp_path / "index.html").as_uri() + "#grae:rotation-2;theta=70")
    page.wait_for_function(standalone.READY)
    get = "[...document.querySelectorAll('[data-grae]')].map(e => e.grae.model.get('theta'))"
    assert page.evaluate(get) == [10, 70]
    shutil.rmtree(tmp_path / "_static")
    page.close()
