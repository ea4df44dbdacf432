"""Draw the pictures that stand in for widgets where scripts do not run.

python tests/browser/make_pictures.py [--store STORE] [KIND ...]

Writes grae_lib/widgets/static/<kind>.png from the widgets themselves, of all kinds where none is
named; run it again when a widget's look or the stored results change.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright
from standalone import ARGUMENTS, READY, write_page

from grae_lib.sphinx_ext.pdf import executable
from grae_lib.widgets import assets, static_html

TRAIN = """async (e) => {
    e.scrollIntoView(); // a playground out of sight does not train
    const play = e.querySelector(".grae-main");
    play.click();
    while (e.grae.shell.numbers.steps < 1500) await new Promise((r) => setTimeout(r, 50));
    play.click();
}"""


def main(store: Path, kinds: list[str]) -> None:
    """Take one picture of each widget at its default state."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        page_file = write_page(Path(folder), store, [(kind, {}) for kind in kinds])
        chromium = playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        page = chromium.new_page(viewport={"width": 800, "height": 900}, device_scale_factor=1)
        page.goto(page_file.as_uri())
        page.wait_for_function(READY)
        page.add_style_tag(content=".grae-tools, .grae-status { display: none !important }")
        for kind in kinds:
            element = page.query_selector(f"[data-grae={kind}]")
            error = element.get_attribute("data-error")
            if error:
                raise SystemExit(f"{kind}: {error}")
            if kind == "playground":
                element.evaluate(TRAIN)
            page.wait_for_timeout(300)
            shot = element.query_selector(".grae").screenshot()
            target = assets.STATIC / f"{kind}.png"
            picture = Image.open(io.BytesIO(shot)).convert("RGB")
            colors = picture.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
            colors.save(target, optimize=True)
            print(target, target.stat().st_size, "bytes")
        chromium.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(static_html.KINDS))
    parser.add_argument("--store", type=Path, default=assets.STORE)
    arguments = parser.parse_args()
    main(arguments.store, arguments.kinds or list(static_html.KINDS))
