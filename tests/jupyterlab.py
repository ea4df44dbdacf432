"""The widgets with a kernel: slider to kernel and kernel to view in a real JupyterLab.

    python tests/jupyterlab.py [--env FOLDER]

Makes a virtual environment that sees this one's packages and adds JupyterLab (or uses that of an
earlier run, --env), serves a small notebook on this machine, drives it in Chromium with every
request to elsewhere refused, and fails where a widget does not follow its kernel or a kernel its
widget. Not part of `make test`: JupyterLab is some hundred packages that the book does not need.

Colab's front end cannot be run here. It loads the same module through the same anywidget, which
switches on Colab's manager of custom widgets by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "browser"))

from playwright.sync_api import Locator, Page, sync_playwright
from standalone import ARGUMENTS

from grae_lib.sphinx_ext.pdf import executable

CELLS = {
    "explorer": """import torch
from grae_lib import data, models, widgets
digits = data.load("mnist")
model = models.build(latent_dim=4, hidden=(32,), seed=0)
explorer = widgets.Explorer(model, digits, beta=0.5)
explorer""",
    "state": "print(explorer.beta, [round(v, 2) for v in explorer.z], explorer.family)",
    "set": "explorer.beta, explorer.z, explorer.family = 2.0, [0.5, -0.5, 1.0, 0.0], 'diagonal'",
    "refresh": """with torch.no_grad():
    next(model.decoder.parameters()).mul_(3)
explorer.refresh()""",
    "stored": "widgets.Explorer(digit=4)",
    "panel": "panel = widgets.TrainPanel(digits, steps=20, beta=0.3)\npanel",
    "trained": "print(sum(h['steps'] for h in panel.history))",
    "rotation": "widgets.Rotation(theta=45)",
    "playground": "widgets.Playground()",
}
ORDER = list(CELLS)


def environment(folder: Path) -> Path:
    """Python of an environment with JupyterLab and all that this one has."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        packages = folder / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"
        own = [p for p in sys.path if p.endswith("site-packages")]
        root = Path(__file__).resolve().parents[1]
        (packages / "these.pth").write_text("\n".join([*own, str(root)]) + "\n", encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "jupyterlab"], check=True)
    return python


def notebook(path: Path) -> None:
    """Write the notebook that is driven."""
    cells = [
        {"cell_type": "code", "id": name, "metadata": {}, "outputs": [], "execution_count": None}
        | {"source": source.splitlines(keepends=True)}
        for name, source in CELLS.items()
    ]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    text = {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}
    path.write_text(json.dumps(text), encoding="utf-8")


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Lab:
    """The open notebook."""

    def __init__(self, page: Page):
        self.page = page
        self.cells = page.locator(".jp-Notebook .jp-Cell")

    def run(self, name: str) -> Locator:
        """Execute a cell and wait until its prompt has a number; returns the cell."""
        at = ORDER.index(name)
        cell = self.cells.nth(at)
        cell.locator(".cm-content").click()
        self.page.keyboard.press("Control+Enter")
        self.page.wait_for_function(
            "i => /\\[\\d+\\]/.test(document.querySelectorAll('.jp-Notebook .jp-Cell')[i]"
            ".querySelector('.jp-InputPrompt').textContent)",
            arg=at,
        )
        return cell

    def ready(self, name: str) -> Any:
        """Handle of a cell's widget once it is ready; raises if it says why not."""
        handle = self.cells.nth(ORDER.index(name)).locator(".grae-widget").first.element_handle()
        self.page.wait_for_function("e => e.dataset.ready || e.dataset.error", arg=handle)
        error = handle.evaluate("e => e.dataset.error || null")
        check(error is None, f"{name}: {error or 'ready'}")
        return handle

    def printed(self, name: str) -> str:
        """What a cell prints now."""
        return self.run(name).locator(".jp-OutputArea-output").last.inner_text().strip()


def check(holds: bool, words: str) -> None:
    """Print a line, or stop with it."""
    print(("ok    " if holds else "FAULT ") + words, flush=True)
    if not holds:
        raise SystemExit(1)


def drive(lab: Lab) -> None:
    """Everything that a reader does with a kernel."""
    page = lab.page
    cell = lab.run("explorer")
    lab.ready("explorer")
    beta, z1 = (cell.locator(f"input[data-name={name}]") for name in ("beta", "z1"))
    before = beta.get_attribute("aria-valuetext")
    for _ in range(2):
        beta.press("ArrowRight")
    z1.press("ArrowRight")
    cell.locator("input[value=block]").check(force=True)
    page.wait_for_timeout(2000)
    moved = float(beta.get_attribute("aria-valuetext"))
    says = lab.printed("state")
    kernel = float(says.split()[0])
    check(abs(kernel / moved - 1) < 0.01, f"slider to kernel: β {before} → {moved}; kernel {says}")
    check(says.endswith("block"), "family to kernel: block")
    lab.run("set")
    page.wait_for_function("e => e.getAttribute('aria-valuetext') === '2.00'", arg=handle(beta))
    shown = [
        cell.locator(f"input[data-name=z{i}]").get_attribute("aria-valuetext") for i in range(1, 5)
    ]
    check(shown == ["0.50", "−0.50", "1.00", "0.00"], f"kernel to view: β 2.00, z {shown}")
    check(cell.locator("input[value=diagonal]").is_checked(), "kernel to view: diagonal")
    norms = cell.locator(".grae-tile b span").all_inner_texts()
    lab.run("refresh")
    page.wait_for_timeout(3000)
    again = cell.locator(".grae-tile b span").all_inner_texts()
    check(norms != again, f"changed weights reach the view: norms {norms} → {again}")
    cell = lab.run("stored")
    widget = lab.ready("stored")
    slider = cell.locator("input[data-name=beta]")
    slider.press("ArrowRight")
    page.wait_for_timeout(5000)
    shown_beta, computed = (
        slider.get_attribute("aria-valuetext"),
        widget.evaluate("e => e.grae.shell.numbers.beta"),
    )
    check(abs(float(shown_beta) / computed - 1) < 0.01, f"another stored decoder: β {shown_beta}")
    cell = lab.run("panel")
    button = cell.locator("button:has-text('Train')")
    button.wait_for()
    norms = cell.locator(".grae-tile b span").all_inner_texts()
    button.click()
    page.wait_for_function("e => /20 steps/.test(e.textContent)", arg=handle(cell))
    check(lab.printed("trained") == "20", "the panel trained 20 steps in the kernel")
    again = cell.locator(".grae-tile b span").all_inner_texts()
    check(norms != again, f"and shows the trained model: norms {norms} → {again}")
    theta = lab.run("rotation").locator("input[data-name=theta]")
    lab.ready("rotation")
    theta.press("ArrowRight")
    check(theta.input_value() == "46", "rotation: an arrow key turns 45° to 46°")
    cell = lab.run("playground")
    widget = lab.ready("playground")
    cell.get_by_role("button", name="Step", exact=True).click()
    page.wait_for_timeout(1500)
    check(widget.evaluate("e => e.grae.shell.numbers.steps") == 1, "playground: one step")


def handle(locator: Locator) -> Any:
    return locator.element_handle()


def main() -> int:
    """Serve, drive, stop."""
    parser = argparse.ArgumentParser(description="The widgets in JupyterLab.")
    parser.add_argument("--env", type=Path, help="environment; kept and used again")
    parser.add_argument("--picture", type=Path, help="write a screenshot here at the end")
    options = parser.parse_args()
    browser = executable()
    if browser is None:
        print("no Chromium was found; nothing was tested", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="grae-lab-") as name:
        folder = Path(name)
        python = environment(options.env or folder / "environment")
        served = folder / "served"
        served.mkdir()
        notebook(served / "live.ipynb")
        port = free_port()
        address = f"http://127.0.0.1:{port}"
        command = [str(python), "-m", "jupyterlab", "--no-browser", "--allow-root"]
        command += [f"--port={port}", "--IdentityProvider.token=", f"--notebook-dir={served}"]
        # The widgets' own front end lies with the packages of this environment.
        shared = str(Path(sys.prefix) / "share" / "jupyter")
        server = subprocess.Popen(
            command,
            env=os.environ | {"HOME": str(folder), "OMP_NUM_THREADS": "1", "JUPYTER_PATH": shared},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(240):
                try:
                    urllib.request.urlopen(f"{address}/api", timeout=2).close()
                    break
                except OSError:
                    time.sleep(0.5)
            with sync_playwright() as playwright:
                chromium = playwright.chromium.launch(executable_path=browser, args=ARGUMENTS)
                context = chromium.new_context(viewport={"width": 1400, "height": 3600})
                context.set_default_timeout(240_000)
                away: list[str] = []
                problems: list[str] = []
                context.route(
                    re.compile(r"^(https?|wss?)://(?!127\.0\.0\.1)"),
                    lambda route: (away.append(route.request.url), route.abort()),
                )
                page = context.new_page()
                page.on("pageerror", lambda error: problems.append(str(error)[:300]))
                page.goto(f"{address}/lab/tree/live.ipynb?reset")
                page.wait_for_selector(".jp-Notebook .jp-Cell")
                page.wait_for_timeout(10_000)
                for button in page.locator(".jp-Dialog button.jp-mod-accept").all():
                    button.click()
                version = subprocess.run(
                    [str(python), "-c", "import jupyterlab; print(jupyterlab.__version__)"],
                    capture_output=True,
                    text=True,
                    check=True,
                ).stdout.strip()
                print(f"JupyterLab {version} is open", flush=True)
                drive(Lab(page))
                check(not away, f"requests to elsewhere: {away}")
                check(not problems, f"errors of the page: {problems}")
                if options.picture:
                    page.screenshot(path=options.picture)
                chromium.close()
        finally:
            server.terminate()
            server.wait(30)
    return 0


if __name__ == "__main__":
    sys.exit(main())
