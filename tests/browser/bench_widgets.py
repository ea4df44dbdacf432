"""Measure the widgets in Chromium: bytes, time to ready, time of an update, training speed.

python tests/browser/bench_widgets.py

Decoders are random ones of the stored architecture (d-128-128-784) and of a wider one
(d-256-256-784). Targets: ready within 500 ms, 95 % of updates within 8 ms, 300 steps/s. Times are
of the clock; on a busy machine only the CPU time of the page's main thread, beside them, says much.
"""

from __future__ import annotations

import gzip
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from standalone import ARGUMENTS, READY, served, write_decoders, write_page

from grae_lib.sphinx_ext.pdf import executable
from grae_lib.widgets import assets, static_html

UPDATE = """async () => {
    const { grae } = document.querySelector('[data-grae]');
    const d = grae.shell.numbers.z.length, times = [];
    for (let i = 0; i < 220; i++) {
        grae.model.set('z', Array.from({ length: d }, (_, k) => Math.sin(i / 9 + k)));
        const start = performance.now();
        grae.update();
        times.push(performance.now() - start);
        if (i % 10 === 0) await new Promise((r) => requestAnimationFrame(r));
    }
    const sorted = times.slice(20).sort((a, b) => a - b);
    return [sorted[100], sorted[190]];
}"""
TRAIN = """async () => {
    const e = document.querySelector('[data-grae]');
    e.querySelector('.grae-main').click();
    const steps = () => e.grae.shell.numbers.steps;
    await new Promise((r) => setTimeout(r, 1500));
    const start = performance.now(), before = steps();
    await new Promise((r) => setTimeout(r, 3000));
    const rate = (1000 * (steps() - before)) / (performance.now() - start);
    e.querySelector('.grae-main').click();
    const t = e.grae.shell.numbers.trainer, s = performance.now();
    for (let i = 0; i < 300; i++) t.step();
    return [rate, 300000 / (performance.now() - s)];
}"""


def thread_time(client) -> float:
    """CPU seconds of the page's main thread since it began."""
    metrics = client.send("Performance.getMetrics")["metrics"]
    return next(m["value"] for m in metrics if m["name"] == "ThreadTime")


def main() -> None:
    """Print one table."""
    for kind in static_html.KINDS:
        module = assets.bundle(kind).read_bytes()
        packed = len(gzip.compress(module, 9))
        print(f"{kind}: module {len(module):,} bytes, {packed:,} compressed as servers send it")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder)
        chromium = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        for hidden in (128, 256):
            store = root / f"store{hidden}"
            write_decoders(store, (2, 8, 12), hidden)
            site = root / f"site{hidden}"
            for d in (2, 8, 12):
                write_page(site, store, [("explorer", {"collection": f"test-d{d}"})], f"d{d}")
            write_page(site, store, [("playground", {})], "playground")
            with served(site) as address:
                for d in (2, 8, 12):
                    for slow in (1, 6):
                        page = chromium.new_page(viewport={"width": 1000, "height": 900})
                        client = page.context.new_cdp_session(page)
                        client.send("Performance.enable", {"timeDomain": "threadTicks"})
                        client.send("Emulation.setCPUThrottlingRate", {"rate": slow})
                        page.goto(f"{address}/d{d}.html")
                        page.wait_for_function(READY)
                        at = float(page.get_attribute("[data-grae]", "data-ready-at"))
                        begun = thread_time(client)
                        median, p95 = page.evaluate(UPDATE)
                        mean = 1000 * (thread_time(client) - begun) / 220
                        print(
                            f"hidden {hidden} d {d:2} CPU 1/{slow}: ready {at:4.0f} ms, update "
                            f"median {median:.1f} ms, 95 % {p95:.1f} ms; CPU: ready "
                            f"{1000 * begun:.0f} ms, update {mean:.1f} ms in the mean"
                        )
                        page.close()
                if hidden == 128:
                    for state in ("digits", "roll"):
                        page = chromium.new_page(viewport={"width": 1000, "height": 900})
                        page.goto(f"{address}/playground.html#grae:playground;data={state}")
                        page.wait_for_function(READY)
                        shown, alone = page.evaluate(TRAIN)
                        print(f"playground, {state}: {shown:.0f} steps/s shown, {alone:.0f} alone")
                        page.close()
        chromium.close()


if __name__ == "__main__":
    main()
