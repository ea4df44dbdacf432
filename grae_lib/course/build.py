"""Assignments from their masters, by otter-grader.

A master, `assignments/masters/NAME.py`, is a notebook in jupytext's percent format with otter's
marks: text, solutions in place, tests public and hidden. From it come

    assignments/student/NAME/     NAME.ipynb and tests/, without solutions and hidden tests;
                                  committed, since Colab opens them from the repository
    _build/assignments/NAME/      solution.ipynb, tests/ with all tests, questions.json with the
                                  points; for the instructor, never committed
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
MASTERS = ROOT / "assignments" / "masters"
STUDENT = ROOT / "assignments" / "student"
INSTRUCTOR = ROOT / "_build" / "assignments"
#: In the order of the course.
NAMES = ("uniqueness", "grae", "rate_distortion")


def questions_of(notebook: Any) -> dict[str, dict[str, float]]:
    """{"points": {question: points}, "manual": {…}} from the marks of a master."""
    found: dict[str, dict[str, float]] = {"points": {}, "manual": {}}
    for cell in notebook.cells:
        if not cell.source.startswith("# BEGIN QUESTION"):
            continue
        settings = dict(re.findall(r"^(\w+):\s*(.+?)\s*$", cell.source, flags=re.M))
        kind = "manual" if settings.get("manual") == "true" else "points"
        found[kind][settings["name"]] = float(settings["points"])
    return found


def _settled(path: Path) -> None:
    """Rewrite a notebook so that it depends on the master alone: ids in order, no versions."""
    import nbformat

    notebook = nbformat.read(path, as_version=4)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata.pop("vscode", None)
    notebook.metadata = nbformat.from_dict(
        {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        }
    )
    notebook.nbformat_minor = 5
    nbformat.write(notebook, path)


def generate(name: str, student: Path = STUDENT, instructor: Path = INSTRUCTOR) -> Path:
    """Write both versions of an assignment; returns the student's folder.

    Raises ValueError for an unknown name or a master whose points do not add up.
    """
    import jupytext
    import nbformat

    with warnings.catch_warnings():
        # A package under otter declares its traits in a way that traitlets calls deprecated.
        warnings.simplefilter("ignore", DeprecationWarning)
        from otter.assign import main as assign

    if name not in NAMES:
        raise ValueError(f"assignment {name!r} is unknown; choose one of {', '.join(NAMES)}.")
    notebook = jupytext.read(MASTERS / f"{name}.py")
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, f"{name}.ipynb")
        nbformat.write(notebook, source)
        made = Path(scratch, "made")
        assign(str(source), str(made), no_pdfs=True, no_run_tests=True)
        for version in ("student", "autograder"):
            _settled(made / version / source.name)
        _replace(made / "student", student / name, source.name)
        _replace(made / "autograder", instructor / name, source.name)
    (instructor / name / source.name).rename(instructor / name / "solution.ipynb")
    questions = json.dumps(questions_of(notebook), indent=1) + "\n"
    (instructor / name / "questions.json").write_text(questions, encoding="utf-8")
    return student / name


def _replace(made: Path, target: Path, notebook: str) -> None:
    if target.exists():
        shutil.rmtree(target)
    target.mkdir(parents=True)
    shutil.copyfile(made / notebook, target / notebook)
    shutil.copytree(made / "tests", target / "tests")
