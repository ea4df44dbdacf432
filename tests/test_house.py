"""Promises of the project: a light import, ranges and pins, chapters that know what they used."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from grae_lib.sphinx_ext import assets, notebooks
from grae_lib.sphinx_ext.plotly_renderer import description, figure_html

if sys.version_info >= (3, 11):
    import tomllib
else:
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = "from grae_lib import data\nfrom grae_lib.nets import build\n"


def notebook(*cells: str, **first_cell: object) -> dict:
    """A notebook of executed code cells; keywords replace fields of the first one."""
    made = [
        {"cell_type": "code", "source": c, "execution_count": 1, "outputs": [], "metadata": {}}
        for c in cells
    ]
    made[0].update(first_cell)
    return {"cells": made, "metadata": {}}


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A small project of the same layout."""
    files = {
        "requirements.txt": "alpha==1.0  # why\n-e .\n",
        "grae_lib/__init__.py": '"""Doc."""\n',
        "grae_lib/data.py": '"""Doc."""\nVALUE = 1  # comment\n',
        "grae_lib/nets.py": "from .linear import layer\n",
        "grae_lib/linear.py": 'def layer():\n    """Doc."""\n    return 1\n',
        "grae_lib/other.py": "X = 1\n",
        "grae_lib/results.py": "X = 1\n",
        "grae_lib/assets/digits.npz": "bytes",
        "grae_lib/store/run/metrics.json": "{}",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return tmp_path


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = "import sys, grae_lib; sys.exit(bool({'torch', 'numpy', 'sphinx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_library_asks_for_ranges_and_the_book_for_pins() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {p.split("==")[0].lower() for p in notebooks.pins(ROOT)}
    for requirement in settings["dependencies"]:
        name, at_least, _ = re.split(r"(>=)", requirement)
        assert at_least
        assert name in pinned, f"{name} is a dependency, but requirements.txt does not pin it"
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    wanted = [line for line in lines if line.strip() and not line.startswith("#")]
    assert wanted[-1] == "-e ."
    assert all("==" in line for line in wanted[:-1])


def test_the_repository_is_named_once() -> None:
    config = (ROOT / "_config.yml").read_text(encoding="utf-8")
    assert len(re.findall(r"https://github\.com/\S+", config)) == 1


@pytest.mark.parametrize(
    ("changed", "text", "stale"),
    [
        ("grae_lib/data.py", "VALUE = 2\n", True),
        ("grae_lib/data.py", '"""Other words."""\n\nVALUE = 1\n# more\n', False),
        ("grae_lib/linear.py", "def layer():\n    return 2\n", True),
        ("grae_lib/other.py", "X = 2\n", False),
        ("grae_lib/assets/digits.npz", "other bytes", True),
        ("grae_lib/store/run/metrics.json", "[]", False),
        ("requirements.txt", "alpha==1.1\n", True),
        ("requirements.txt", "# words\nalpha==1.0\n", False),
    ],
)
def test_a_chapter_is_stale_when_what_it_uses_changes(
    project: Path, changed: str, text: str, stale: bool
) -> None:
    chapter = notebook(CHAPTER)
    before = notebooks.key_of(chapter, project)
    (project / changed).write_text(text, encoding="utf-8")
    assert (notebooks.key_of(chapter, project) != before) == stale


def test_a_chapter_that_reads_results_depends_on_the_store(project: Path) -> None:
    chapter = notebook("from grae_lib import results")
    before = notebooks.key_of(chapter, project)
    (project / "grae_lib/store/run/metrics.json").write_text("[]", encoding="utf-8")
    assert notebooks.key_of(chapter, project) != before


def test_a_chapter_is_stale_when_its_code_changes(project: Path) -> None:
    assert notebooks.key_of(notebook("x = 1"), project) != notebooks.key_of(
        notebook("x = 2"), project
    )


def test_shell_lines_do_not_hide_imports(project: Path) -> None:
    code = notebooks.python_of(["if True:\n    %pip install x\nimport grae_lib.data", "%%bash\nls"])
    assert notebooks.reached_modules(code, project) == {"grae_lib", "grae_lib.data"}
    everything = notebooks.reached_modules("!python -m grae_lib bench", project)
    assert {"grae_lib.other", "grae_lib.linear"} <= everything


@pytest.mark.parametrize(
    ("cell", "gap"),
    [
        ({"execution_count": None}, "cell 0 was never executed"),
        (
            {"outputs": [{"output_type": "error", "ename": "ValueError", "evalue": "bad"}]},
            "cell 0 ended in ValueError: bad",
        ),
        (
            {"outputs": [{"output_type": "stream", "name": "stderr", "text": ["a warning\n"]}]},
            "cell 0 wrote to stderr: a warning",
        ),
        ({"execution_count": None, "metadata": {"tags": ["skip-execution"]}}, None),
        ({"execution_count": None, "source": " "}, None),
        ({}, None),
    ],
)
def test_gaps_in_a_chapter_are_named(cell: dict, gap: str | None) -> None:
    assert notebooks.gaps(notebook("x", **cell)) == ([gap] if gap else [])


def test_state_says_why_a_chapter_is_stale(project: Path) -> None:
    path = project / "chapter.ipynb"
    chapter = notebook(CHAPTER)
    path.write_text(json.dumps(chapter), encoding="utf-8")
    assert "does not say" in notebooks.state(path, project)
    chapter["metadata"]["grae"] = {"key": notebooks.key_of(chapter, project)}
    path.write_text(json.dumps(chapter), encoding="utf-8")
    assert notebooks.state(path, project) == ""
    (project / "grae_lib/linear.py").write_text("layer = 3\n", encoding="utf-8")
    assert "changed since" in notebooks.state(path, project)


@pytest.mark.parametrize("text", ["", "[1]", "{"])
def test_a_damaged_chapter_is_refused_by_name(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.ipynb"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"broken\.ipynb is not a notebook"):
        notebooks.read(path)


def test_a_plotly_figure_cannot_end_its_script() -> None:
    figure = {"data": [{"name": "</script><b>"}], "layout": {"template": {"x": 1}, "height": 300}}
    text = figure_html(figure, 'a "quoted" <b>')
    assert text.count("</script>") == 1
    assert "template" not in text
    assert "<b>" not in text
    payload = re.search(r'json">(.*?)</script>', text)
    assert payload is not None
    assert json.loads(payload[1])["data"] == figure["data"]


def test_a_description_comes_from_the_cell_or_the_figure() -> None:
    figure = {"layout": {"meta": {"alt": "from the figure"}}}
    assert description(figure, {"mystnb": {"image": {"alt": "from the cell"}}}) == "from the cell"
    assert description(figure, {}) == "from the figure"
    assert description({"layout": {}}, {}) == ""


def test_what_pages_load_is_installed() -> None:
    missing = [str(path) for path in assets.vendor_files().values() if not path.exists()]
    assert missing == []
    with pytest.raises(ModuleNotFoundError, match="pip install -r requirements"):
        assets.package_folder("no_such_package")
