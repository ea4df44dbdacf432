"""A page of its own with widgets on it, for tests and measurements that need no built book."""

from __future__ import annotations

import base64
import functools
import http.server
import io
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from safetensors.torch import save_file

from grae_lib import models, results
from grae_lib.widgets import assets, static_html

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
# Every widget of the page is ready or says why not.
READY = """[...document.querySelectorAll('[data-grae]')]
    .every(e => e.dataset.ready || e.dataset.error)"""
# The same on pages of the book: formulas are set and figures drawn, where the page has any.
DRAWN = """async () => {
  if (document.querySelector('.math')) {
    if (!(window.MathJax && MathJax.startup && MathJax.startup.promise)) return false;
    await MathJax.startup.promise;
  }
  return [...document.querySelectorAll('.grae-plotly')].every(f => f.dataset.ready)
    && [...document.querySelectorAll('[data-grae]')].every(e => e.dataset.ready || e.dataset.error);
}"""
PAGE = """<!doctype html><html lang="en" data-theme="light"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Widgets</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="_static/grae/grae-page.css">
<style>body {{ font-family: system-ui, sans-serif; max-width: 780px; margin: 0 auto; padding: 8px }}
html[data-theme=dark] body {{ background: #121417; color: #ddd }}</style></head>
<body><main><h1>Widgets</h1>{body}</main>
{scripts}</body></html>"""


def write_decoders(store: Path, latent_dims: tuple[int, ...] = (8,), hidden: int = 128) -> None:
    """Random decoders of the stored architecture, in the layout of the store; seeded."""
    for d in latent_dims:
        for method in ("beta_vae_diagonal", "grae_log_det"):
            for k, beta in enumerate((0.06, 0.2, 1.0)):
                model = models.build(
                    latent_dim=d, hidden=(hidden, hidden), seed=10 * d + k + (method[0] == "g")
                )
                layers = [m for m in model.decoder if hasattr(m, "weight")]
                tensors = {}
                for i, layer in enumerate(layers):
                    # Wider than torch's first weights, so that images and Jacobians vary.
                    tensors[f"{i}.weight"] = (2 * layer.weight.detach()).half()
                    tensors[f"{i}.bias"] = layer.bias.detach().half()
                generator = torch.Generator().manual_seed(d)
                images = (torch.rand(20, 784, generator=generator) * 255).to(torch.uint8)
                tensors["codes"] = torch.randn(20, d, generator=generator).half()
                tensors["codes_images"] = images
                tensors["codes_labels"] = torch.arange(20) // 2
                about = {"activation": "tanh", "output": "sigmoid", "method": method}
                about |= {"latent_dim": str(d), "shape": "[1, 28, 28]", "beta": str(beta)}
                folder = store / f"test-d{d}" / "cpu" / "decoders"
                path = folder / f"{method}_beta{beta:g}.safetensors"
                path.parent.mkdir(parents=True, exist_ok=True)
                save_file({k: v.contiguous() for k, v in tensors.items()}, path, about)


def write_page(
    root: Path, store: Path, widgets: list[tuple[str, dict]], name: str = "index"
) -> Path:
    """Assets and one page with the given widgets; returns the page's path."""
    assets.install(root / "_static" / "grae", store)
    blocks = [static_html.block(kind, state) for kind, state in widgets]
    body = "\n".join(blocks).replace(static_html.PLACE, "_static/grae/")
    page = root / f"{name}.html"
    kinds = sorted({kind for kind, _ in widgets})
    scripts = "".join(f'<script defer src="_static/grae/grae-{k}.js"></script>' for k in kinds)
    page.write_text(PAGE.format(body=body, scripts=scripts), encoding="utf-8")
    return page


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Requests are not news."""


@contextmanager
def served(root: Path) -> Iterator[str]:
    """Address of a folder on a free port of this machine."""
    handler = functools.partial(_Quiet, directory=str(root))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


def numbers(page, kind: str) -> dict:
    """What a widget shows, from its own state, as plain values."""
    return json.loads(
        page.evaluate(f"""() => {{
        const n = document.querySelector('[data-grae={kind}]').grae.shell.numbers;
        const plain = (v) => ArrayBuffer.isView(v) ? Array.from(v) : v;
        return JSON.stringify(n, (k, v) => k === 'trainer' ? undefined : plain(v));
    }}""")
    )


def walk_records(size: int = 16, experiment: str = "made-up") -> list[dict]:
    """Made-up records of a rate–distortion experiment: 2 splits, 2 networks, 4 β, 2 seeds."""
    generator = torch.Generator().manual_seed(0)
    records = []
    for split, gap in (("easy", 0.1), ("hard", 1.0)):
        for depth in (1, 3):
            for beta in (0.01, 0.1, 1.0, 5.0):
                for seed in (0, 1):
                    metrics: dict = {}
                    for side in ("train", "test"):
                        rate = 12 / (1 + beta) + 0.1 * seed
                        extra = gap * (side == "test") / depth
                        metrics |= {
                            f"{side}/rate": rate,
                            f"{side}/distortion": 4 + 20 * beta / (1 + beta) + extra + 0.2 * seed,
                            f"{side}/mutual_information": 0.6 * rate,
                            f"{side}/marginal_kl": 0.4 * rate,
                        }
                        if seed == 0:
                            pixels = torch.rand(2 * size, 8 * size, generator=generator)
                            file = io.BytesIO()
                            Image.fromarray((255 * pixels).byte().numpy()).save(file, "png")
                            text = base64.b64encode(file.getvalue()).decode()
                            metrics[f"{side}/sheet"] = text
                    labels = {"split": split, "capacity": f"depth{depth}", "depth": depth}
                    run = f"{split}_depth{depth}_beta{beta:g}_seed{seed}"
                    records.append({
                        "format": results.FORMAT, "experiment": experiment, "scale": "cpu",
                        "run": run, "status": "finished", "provenance": {}, "metrics": metrics,
                        "job": {"labels": labels | {"beta": beta, "seed": seed}},
                    })  # fmt: skip
    return records
