"""The widgets' Python side, the bundle, and the page's JavaScript against the library."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load, save_file

from grae_lib import geometry, models, results, widgets
from grae_lib.widgets import assets, static_html

ROOT = Path(__file__).resolve().parents[1]
JS = ROOT / "grae_lib" / "widgets" / "js"


@pytest.fixture
def static(monkeypatch):
    monkeypatch.setenv("GRAE_STATIC", "1")


@pytest.fixture
def kernel(monkeypatch):
    monkeypatch.delenv("GRAE_STATIC", raising=False)


def decoder_file(path: Path, **about: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    about = {"method": "grae_log_det", "beta": "0.2", "latent_dim": "2"} | about
    save_file({"0.weight": torch.zeros(4, 2).half()}, path, about)
    return path


# --- the bundle -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", static_html.KINDS)
def test_bundle_is_made_from_the_sources_as_they_are(kind):
    line, code = assets.bundle(kind).read_bytes().split(b"\n", 1)
    stated = re.fullmatch(rb"/\* sources (\w{64}) code (\w{64}) \*/", line)
    sources = hashlib.sha256()
    for path in sorted((JS / "src").iterdir(), key=lambda p: p.name):
        sources.update(path.name.encode() + b"\n" + path.read_bytes())
    again = "run: node grae_lib/widgets/js/bundle.mjs"
    assert stated is not None, again
    assert stated[1].decode() == sources.hexdigest(), f"the bundle is stale; {again}"
    assert stated[2].decode() == hashlib.sha256(code).hexdigest(), f"it was edited; {again}"


@pytest.mark.parametrize("kind", static_html.KINDS)
def test_bundle_takes_at_most_40_kilobytes(kind):
    assert assets.bundle(kind).stat().st_size <= 40_000


def test_bundle_is_the_same_when_bundled_again():
    node = shutil.which("node")
    if node is None or not (ROOT / "node_modules" / "esbuild").is_dir():
        pytest.skip("esbuild is not installed here; the hashes above were compared")
    command = [node, str(JS / "bundle.mjs"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", static_html.KINDS)
def test_bundle_loads_nothing_from_elsewhere(kind):
    code = assets.bundle(kind).read_text(encoding="utf-8")
    addresses = set(re.findall(r"https?://[^\s\"'`)]+", code))
    assert addresses <= {"http://www.w3.org/2000/svg"}
    assert "import(" not in code
    assert "eval(" not in code


@pytest.mark.parametrize("kind", static_html.KINDS)
def test_classic_script_mounts_and_exports_nothing(kind):
    script = assets.classic_module(kind)
    name = re.search(r"var graeMount=([\w$]+);", script)[1]
    assert re.search(
        rf"export\{{[^}}]*\b{re.escape(name)} as mountAll", assets.bundle(kind).read_text()
    )
    assert not re.search(r"\bexport\s*\{", script)


# --- parity ---------------------------------------------------------------------------------------


def test_page_scripts_agree_with_the_library(tmp_path, need):
    node = need(shutil.which("node"), "node")
    environment = os.environ | {"GRAE_FIXTURES": str(tmp_path), "OMP_NUM_THREADS": "1"}
    maker = [sys.executable, "-W", "ignore", str(ROOT / "tests/js/make_fixtures.py"), str(tmp_path)]
    subprocess.run(maker, check=True, env=environment, cwd=ROOT)
    files = sorted(str(p) for p in (ROOT / "tests" / "js").glob("*.test.mjs"))
    done = subprocess.run(
        [node, "--test", *files], capture_output=True, text=True, env=environment, cwd=ROOT
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


# --- state and outputs ----------------------------------------------------------------------------

FIGURES = [
    widgets.Explorer,
    widgets.Rotation,
    widgets.Taylor,
    widgets.Playground,
    widgets.Walk,
]


@pytest.mark.parametrize("figure", FIGURES)
def test_static_output_is_small_html_and_always_the_same(figure, static):
    first, second = (figure(beta=0.4)._repr_mimebundle_() for _ in range(2))
    assert first == second
    assert set(first) == {"text/plain", "text/html"}
    block = first["text/html"]
    assert len(block) < 2000
    assert f'data-grae="{figure.kind}"' in block
    assert re.search(r'alt="[^"]{80,}"', block)
    state = re.search(r'<script type="application/json">(.*?)</script>', block)[1]
    assert json.loads(state) == {"beta": 0.4}
    assert (assets.STATIC / f"{figure.kind}.png").stat().st_size < 120_000


def test_state_cannot_close_its_script():
    block = static_html.block("explorer", {"method": "</script><b>"})
    assert "</script><b>" not in block
    state = re.search(r'<script type="application/json">(.*?)</script>', block)[1]
    assert json.loads(state) == {"method": "</script><b>"}


@pytest.mark.parametrize("figure", FIGURES)
def test_kernel_output_is_a_widget_bound_both_ways(figure, kernel):
    shown = figure(beta=0.4)
    bundle = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle[0]
    assert "text/html" not in bundle[0]
    seen = []
    shown.observe(lambda change: seen.append(change["new"]), "beta")
    shown.beta = 0.6
    shown.widget.set_state({"beta": 0.8})  # what a message from the page does
    assert shown.beta == 0.8
    assert seen == [0.6, 0.8]
    assert shown.widget._esm == assets.bundle(figure.kind).read_text(encoding="utf-8")


@pytest.mark.parametrize("figure", FIGURES)
def test_defaults_are_those_of_the_page(figure):
    source = (JS / "src" / f"{figure.kind}.mjs").read_text(encoding="utf-8")
    text = re.search(r"const defaults = (\{.*?\});", source, re.DOTALL)[1]
    text = re.sub(r"(\w+):", r'"\1":', text)
    assert json.loads(re.sub(r",\s*\}", "}", text)) == figure.defaults


@pytest.mark.parametrize(
    ("figure", "state", "words"),
    [
        (widgets.Explorer, {"beta": 0}, "> 0"),
        (widgets.Explorer, {"beta": float("nan")}, "finite"),
        (widgets.Explorer, {"beta": True}, "finite"),
        (widgets.Explorer, {"family": "blocks"}, "full, block, diagonal"),
        (widgets.Explorer, {"z": [0, float("inf")]}, "finite"),
        (widgets.Explorer, {"block_size": 0}, "> 0"),
        (widgets.Explorer, {"digit": 1.5}, "integer"),
        (widgets.Explorer, {"angle": 3}, "has no state"),
        (widgets.Rotation, {"plane": "up"}, "inside, across"),
        (widgets.Taylor, {"decoder": 3}, "name"),
        (widgets.Playground, {"data": "faces"}, "digits, roll"),
        (widgets.Explorer, {"data": torch.zeros(2, 4)}, "no model"),
        (widgets.Explorer, {"model": 3}, "AutoEncoder"),
    ],
)
def test_bad_state_is_refused_with_a_reason(figure, state, words):
    with pytest.raises(ValueError, match=words):
        figure(**state)


def test_unknown_attribute_is_refused():
    with pytest.raises(AttributeError, match="has no state 'bta'"):
        widgets.Explorer().bta = 3


# --- live models ----------------------------------------------------------------------------------


@pytest.mark.parametrize("architecture", ["mlp", "conv"])
def test_live_explorer_sends_the_models_weights(architecture, kernel):
    hidden = (6, 4) if architecture == "conv" else (7,)
    model = models.build(architecture, shape=(1, 8, 8), latent_dim=3, hidden=hidden)
    x = torch.rand(5, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    explorer = widgets.Explorer(model, x, beta=0.7)
    sent = load(bytes(explorer.widget.weights))
    last = [m for m in model.decoder.modules() if hasattr(m, "weight")][-1]
    assert torch.equal(sent[f"{len(hidden)}.weight"], last.weight)
    assert torch.equal(sent["codes"], model.encode(x).mean)
    assert explorer.widget.live
    with torch.no_grad():
        last.weight.add_(1)
    explorer.refresh()
    assert torch.equal(load(bytes(explorer.widget.weights))[f"{len(hidden)}.weight"], last.weight)


def test_live_explorer_leaves_no_weights_in_a_static_page(static):
    model = models.build(shape=(4,), latent_dim=2, hidden=(3,))
    html = widgets.Explorer(model)._repr_mimebundle_()["text/html"]
    assert len(html) < 500
    assert "kernel" in html


def test_stored_explorer_refuses_refresh():
    with pytest.raises(ValueError, match="only a live model changes"):
        widgets.Explorer().refresh()


def test_kernel_answers_a_request_for_stored_data(kernel):
    shown = widgets.Playground()
    shown.widget.set_state({"file": "digits8"})
    assert shown.widget.weights_file == "digits8"
    tensors = load(bytes(shown.widget.weights))
    assert tensors["x"].shape == (400, 64)
    assert int(tensors["x"].max()) == 16


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_train_panel_trains_and_redraws(kernel):
    from grae_lib import data

    generator = torch.Generator().manual_seed(0)
    some = data.Dataset(
        x=torch.rand(40, 1, 4, 4, generator=generator), labels=torch.arange(40) % 3,
        source="generated", name="noise", split="train",
    )  # fmt: skip
    panel = widgets.TrainPanel(some, steps=20, beta=0.3)

    def weights() -> torch.Tensor:
        return load(bytes(panel.explorer.widget.weights))["0.weight"]

    before = weights()
    assert panel.beta.value == panel.explorer.beta == 0.3
    assert panel.beta.options[0][1] == 0.01
    assert panel.beta.options[-1][1] == 10.0
    panel.beta.value = 1.0
    panel.button.click()
    assert "Training stopped" not in panel.report.value
    assert panel.progress.value == 20
    assert panel.explorer.beta == 1.0
    assert not torch.equal(weights(), before)
    assert sum(h["steps"] for h in panel.history) == 20
    panel.again.click()
    assert torch.equal(weights(), before)
    panel.batch_size = 0
    panel.button.click()
    assert "Training stopped" in panel.report.value


# --- what a built book gets -----------------------------------------------------------------------


def test_manifest_takes_the_most_thorough_scale_and_sorts(tmp_path):
    for scale, beta in [("smoke", "0.1"), ("cpu", "1.0"), ("cpu", "0.2")]:
        decoder_file(tmp_path / "exp" / scale / "decoders" / f"run{beta}.safetensors", beta=beta)
    (tmp_path / "empty" / "cpu").mkdir(parents=True)
    found = assets.manifest(tmp_path)
    assert list(found) == ["exp"]
    assert [(e["id"], e["beta"]) for e in found["exp"]] == [
        ("exp/cpu/run0.2", 0.2),
        ("exp/cpu/run1.0", 1.0),
    ]


def test_install_writes_scripts_that_hold_the_files(tmp_path):
    path = decoder_file(tmp_path / "store/exp/cpu/decoders/one.safetensors")
    target = assets.install(tmp_path / "grae", tmp_path / "store")
    script = (target / "exp/cpu/one.js").read_text()
    assert base64.b64decode(re.search(r'="(.*)";', script)[1]) == path.read_bytes()
    assert {"grae-explorer.js", "grae-page.css", "manifest.js", "digits8.js", "explorer.png"} <= {
        p.name for p in target.iterdir()
    }


PNG = "iVBORw0KGgo="


def rd_record(
    beta: float, seed: int, rate: float | None, sheet: str | None = PNG, **labels
) -> dict:
    metrics: dict = {}
    for side in ("train", "test"):
        metrics |= {f"{side}/rate": rate, f"{side}/distortion": 2.0 + seed}
        metrics |= {f"{side}/mutual_information": None, f"{side}/marginal_kl": 1.0}
        if sheet and seed == 0:
            metrics[f"{side}/sheet"] = sheet
    labels = {"split": "easy", "capacity": "depth1", "depth": 1} | labels
    return {
        "format": results.FORMAT, "experiment": "rd", "scale": "cpu", "provenance": {},
        "run": f"{labels['split']}_{labels['capacity']}_{beta}_{seed}", "status": "finished",
        "job": {"labels": labels | {"beta": beta, "seed": seed}}, "metrics": metrics,
    }  # fmt: skip


def test_walk_averages_over_seeds_and_leaves_out_what_is_not_whole():
    records = [
        rd_record(1.0, 1, 3.0), rd_record(1.0, 0, 1.0), rd_record(0.1, 0, 9.0),
        rd_record(5.0, 0, 9.0), rd_record(5.0, 1, None),  # a seed without a number
        rd_record(2.0, 0, 1.0, sheet=None),
        rd_record(1.0, 0, 4.0, capacity="depth3", depth=3),
    ]  # fmt: skip
    data = assets.walk_data(records)
    assert data["capacities"] == {"depth1": "1 hidden layer", "depth3": "3 hidden layers"}
    assert data["splits"] == {"easy": "easy"}
    cell = data["cells"]["easy/depth1"]
    assert [(p["beta"], p["seeds"], p["train"]["rate"]) for p in cell] == [
        (0.1, 1, 9.0),
        (1.0, 2, 2.0),
    ]
    assert cell[1]["test"] == {
        "rate": 2.0, "distortion": 2.5, "mutual_information": None, "marginal_kl": 1.0,
        "sheet": PNG,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([], "no record holds"),
        ([rd_record(1.0, 0, None)], "no record holds"),
        ([rd_record(1.0, 0, 1.0, sheet="/9j/4AAQ")], "no PNG"),
        ([rd_record(1.0, 0, 1.0) | {"job": {"labels": {"beta": 1.0}}}], "lacks the labels split"),
    ],
)
def test_walk_refuses_records_without_curves(records, words):
    with pytest.raises(ValueError, match=words):
        assets.walk_data(records)


def test_walks_are_installed_and_sent_by_the_kernel(tmp_path, kernel, monkeypatch):
    decoder_file(tmp_path / "exp/cpu/decoders/one.safetensors")
    record = rd_record(1.0, 0, 1.0)
    results.write_run(record, tmp_path)
    assert assets.walks(tmp_path) == ["rd"]
    target = assets.install(tmp_path / "grae", tmp_path)
    script = (target / "walk/rd.js").read_text()
    sent = json.loads(base64.b64decode(re.search(r'="(.*)";', script)[1]))
    assert sent == assets.walk_data([record])
    monkeypatch.setattr(assets, "STORE", tmp_path)
    shown = widgets.Walk(experiment="rd")
    shown.widget.set_state({"file": "walk/rd"})
    assert json.loads(bytes(shown.widget.weights)) == sent
    with pytest.raises(results.MissingResult, match="no results of 'other'"):
        assets.content("walk/other")


def test_damaged_or_unnamed_decoders_are_refused(tmp_path):
    path = decoder_file(tmp_path / "exp/cpu/decoders/one.safetensors")
    with pytest.raises(ValueError, match="no decoder is stored as 'exp/cpu/two'"):
        assets.locate("exp/cpu/two", tmp_path)
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(ValueError, match="cut off"):
        assets.manifest(tmp_path)


def test_sphinx_extension_adds_the_module_to_pages_with_widgets_only(tmp_path):
    source, out = tmp_path / "source", tmp_path / "out"
    (source / "sub").mkdir(parents=True)
    (source / "conf.py").write_text("extensions = ['grae_lib.widgets.sphinx']\n")
    (source / "index.rst").write_text("Home\n====\n\n.. toctree::\n\n   sub/one\n")
    (source / "sub" / "one.rst").write_text(
        'One\n===\n\n.. grae-widget:: rotation\n   :state: {"theta": 45}\n'
    )
    code = (
        "import sys; from sphinx.cmd.build import main; "
        f"sys.exit(main(['-W', '-q', '-b', 'html', {str(source)!r}, {str(out)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    page, home = (out / "sub/one.html").read_text(), (out / "index.html").read_text()
    assert "grae-rotation.js" in page
    assert "grae-explorer.js" not in page
    assert 'src="../_static/grae/rotation.png"' in page
    assert '{"theta": 45}' in page
    assert "_static/grae/" not in home
    assert (out / "_static/grae/manifest.js").is_file()


def test_beta_means_the_same_as_in_the_library():
    # The closed form that the rotation widget draws (oracle C4), against the library's own Σ.
    a, b, beta, theta = 4 / 0.05**2, 0.25 / 0.05**2, 1.0, 0.5
    c, s = torch.cos(torch.tensor(theta).double()), torch.sin(torch.tensor(theta).double())
    R = torch.stack([torch.stack([c, -s]), torch.stack([s, c])])
    G = (R.T @ torch.diag(torch.tensor([a, b]).double()) @ R)[None]
    logs = [-torch.logdet(geometry.optimal_covariance(G, beta, f)) for f in ("diagonal", "full")]
    gap = 0.5 * beta * (logs[0] - logs[1])
    A, B = a / beta, b / beta
    closed = (
        0.5
        * beta
        * torch.log1p(
            (A - B) ** 2
            * torch.sin(torch.tensor(2 * theta).double()) ** 2
            / (4 * (1 + A) * (1 + B))
        )
    )
    torch.testing.assert_close(gap[0], closed)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_the_panel_is_shown_by_ipywidgets_7_too(kernel, monkeypatch):
    """Colab has that version, whose boxes return no bundle but display themselves."""
    from grae_lib import data

    monkeypatch.delenv("GRAE_STATIC", raising=False)
    panel = widgets.TrainPanel(data.load("mnist", "train", verbose=False).subset(64), steps=2)
    view = panel._repr_mimebundle_()
    found = view[0] if isinstance(view, tuple) else view
    assert "application/vnd.jupyter.widget-view+json" in found

    class Old:
        model_id = "0123"

    panel.box = Old()
    bundle = panel._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == "0123"
