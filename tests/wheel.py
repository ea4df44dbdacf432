"""Run the published chapters from the built wheel, in a clean environment outside the repository.

    python tests/wheel.py                       the newest versions that the wheel's ranges allow
    python tests/wheel.py --pins older          the oldest: tests/oldest.txt
    python tests/wheel.py --python python3.12 --chapters grae ledger

It builds the wheel, makes a virtual environment in a temporary folder (or in --env, which is used
again if it exists), installs the wheel with nothing but what it asks for and a kernel, copies the
notebooks beside it, and executes each from top to bottom. The repository is not on any path. The
result is a table: chapter, seconds, and the versions that it ran with. Exit status 1 if one fails.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
#: What a kernel needs beside the wheel; Jupyter and Colab bring it themselves.
KERNEL = ("ipykernel", "nbclient", "nbformat")
NAMED = ("torch", "torchvision", "numpy", "matplotlib", "plotly", "ipywidgets", "anywidget")

EXECUTE = """
import json, sys, time, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], as_version=4)
started = time.perf_counter()
NotebookClient(notebook, timeout=900, kernel_name="python3").execute()
print(json.dumps(round(time.perf_counter() - started, 1)))
"""
VERSIONS = """
import json, platform, sys
from importlib import metadata
import grae_lib
found = {"python": platform.python_version(), "grae_lib": grae_lib.__file__}
print(json.dumps(found | {n: metadata.version(n) for n in sys.argv[1:]}))
"""


def call(command: list[str], folder: Path, **settings: str) -> str:
    """Output of a command that knows nothing of the repository; its errors are shown."""
    hidden = ("PYTHONPATH", "GRAE_STATIC", "GRAE_DATA", "VIRTUAL_ENV", "PYTHONHOME")
    environment = {k: v for k, v in os.environ.items() if k not in hidden}
    done = subprocess.run(
        command, cwd=folder, env=environment | settings, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:6])} … failed:\n{done.stderr[-3000:]}")
    return done.stdout


def build_wheel(folder: Path) -> Path:
    """The wheel of this checkout, built from a copy, so that no build folder is left behind."""
    source = folder / "source"
    skip = shutil.ignore_patterns("__pycache__", "*.pyc")
    shutil.copytree(ROOT / "grae_lib", source / "grae_lib", ignore=skip)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", str(source)]
    call([*command, "--wheel-dir", str(folder)], folder)
    return next(folder.glob("*.whl"))


def main() -> int:
    """Build, install, execute; print the table."""
    parser = argparse.ArgumentParser(description="Run the chapters from the wheel.")
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    parser.add_argument("--pins", choices=["newest", "older"], default="newest")
    parser.add_argument("--env", type=Path, help="folder of the environment; kept and used again")
    parser.add_argument("--chapters", nargs="*", help="names; all if none is given")
    parser.add_argument("--json", type=Path, help="write the table here as well")
    options = parser.parse_args()
    chapters = sorted((ROOT / "book").glob("*.ipynb"))
    if options.chapters:
        chapters = [p for p in chapters if p.stem in options.chapters]
    with tempfile.TemporaryDirectory(prefix="grae-wheel-") as name:
        folder = Path(name)
        wheel = build_wheel(folder)
        print(f"{wheel.name}, {wheel.stat().st_size / 1e6:.1f} MB", flush=True)
        environment = options.env or folder / "environment"
        python = environment / "bin" / "python"
        if not python.exists():
            call([options.python, "-m", "venv", str(environment)], folder)
        pins = ["-c", str(ROOT / "tests" / "oldest.txt")] if options.pins == "older" else []
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        call([*install, *pins, *KERNEL, str(wheel)], folder)
        call([*install, "--force-reinstall", "--no-deps", str(wheel)], folder)
        outside = folder / "reader"
        outside.mkdir()
        versions = json.loads(call([str(python), "-c", VERSIONS, *NAMED], outside))
        if str(ROOT) in versions["grae_lib"]:
            raise RuntimeError(f"the library came from {versions['grae_lib']}, not from the wheel")
        del versions["grae_lib"]
        print(", ".join(f"{k} {v}" for k, v in versions.items()), flush=True)
        rows, failed = {}, 0
        for chapter in chapters:
            shutil.copy(chapter, outside)
            started = time.perf_counter()
            try:
                command = [str(python), "-c", EXECUTE, chapter.name]
                seconds = json.loads(call(command, outside, OMP_NUM_THREADS="1").splitlines()[-1])
                rows[chapter.stem] = seconds
                print(f"{chapter.stem:>20}: {seconds:7.1f} s", flush=True)
            except RuntimeError as error:
                failed += 1
                rows[chapter.stem] = None
                spent = time.perf_counter() - started
                print(f"{chapter.stem:>20}: FAILED after {spent:.0f} s\n{error}", flush=True)
        if options.json:
            table = {"versions": versions, "wheel": wheel.name, "seconds": rows}
            options.json.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
