"""Assignments and their grading: no solution leaves the house, and each mistake gets its marks."""

from __future__ import annotations

import copy
import csv
import json
import re
import shutil
from typing import Any

import pytest

from grae_lib.course import build, grade

pytest.importorskip("resource", reason="grading needs limits of processes")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """(student, instructor): both versions of all assignments, generated from the masters."""
    student, instructor = tmp_path_factory.mktemp("student"), tmp_path_factory.mktemp("instructor")
    for name in build.NAMES:
        build.generate(name, student, instructor)
    return student, instructor


def solution(made: Any, name: str) -> dict[str, Any]:
    return json.loads((made[1] / name / "solution.ipynb").read_text())


def edited(notebook: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """A copy with `old` replaced in the one code cell that holds it."""
    changed = copy.deepcopy(notebook)
    hits = [c for c in changed["cells"] if c["cell_type"] == "code" and old in "".join(c["source"])]
    assert len(hits) == 1, f"{old!r} stands in {len(hits)} cells"
    hits[0]["source"] = "".join(hits[0]["source"]).replace(old, new)
    return changed


def with_cell(notebook: dict[str, Any], source: str, last: bool = False) -> dict[str, Any]:
    changed = copy.deepcopy(notebook)
    cell = {"cell_type": "code", "source": source, "metadata": {}, "outputs": []}
    changed["cells"].insert(len(changed["cells"]) if last else 0, cell)
    return changed


# --- generated versions ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", build.NAMES)
def test_student_versions_hold_no_solution_and_no_hidden_test(made, name):
    master = (build.MASTERS / f"{name}.py").read_text()
    text = "".join(p.read_text() for p in (made[0] / name).rglob("*") if p.is_file())
    # As text and as JSON writes it.
    text += "".join(
        "".join(cell["source"])
        for cell in json.loads((made[0] / name / f"{name}.ipynb").read_text())["cells"]
    )
    solutions = re.findall(r"^    # BEGIN SOLUTION\n(.*?)\n    # END SOLUTION", master, re.M | re.S)
    solutions += re.findall(
        r"^# BEGIN SOLUTION NO PROMPT\n(.*?)\n# END SOLUTION", master, re.M | re.S
    )
    solutions += re.findall(r"# # BEGIN SOLUTION\n\n# %% \[markdown\]\n(.*?)\n# %%", master, re.S)
    lines = [line.strip().removeprefix("# ") for part in solutions for line in part.splitlines()]
    lines = [line for line in lines if len(line) > 12]
    assert len(lines) >= 10
    assert [line for line in lines if line in text] == []
    hidden = re.findall(r"hidden: true\n.*?\ndef (test_\w+)", master)
    assert len(hidden) >= 4
    assert [test for test in hidden if test in text] == []
    assert "SOLUTION" not in text


@pytest.mark.parametrize("name", build.NAMES)
def test_committed_student_versions_are_those_of_the_masters(made, name):
    for path in sorted((made[0] / name).rglob("*")):
        if path.is_file():
            committed = build.STUDENT / name / path.relative_to(made[0] / name)
            assert committed.read_text() == path.read_text(), "run: make assignments"


@pytest.mark.parametrize("name", build.NAMES)
def test_points_of_the_tests_add_up_to_those_of_the_question(made, name):
    worker = pytest.importorskip("grae_lib.course.worker")
    key = grade.read_key(name, made[1])
    assert key.manual
    for question, source in key.tests.items():
        cases = worker.cases_of(source, question)
        assert sum(case.points for case in cases) == key.points[question]
        assert {case.hidden for case in cases} == {True, False}
    announced = re.search(r"\*\*Points:\*\* (\d+) by tests, (\d+) by reading",
                          (build.MASTERS / f"{name}.py").read_text())  # fmt: skip
    assert announced
    assert float(announced[1]) == sum(key.points.values())
    assert float(announced[2]) == sum(key.manual.values())


# --- grading --------------------------------------------------------------------------------------

FULL = {"q1": 3, "q2": 3, "q3": 3, "q4": 4, "q5": 3}
MASTER = build.MASTERS / "grae.py"
ONE = "return z.shape[-1] * beta / 2 * torch.log1p(column"
DET = "return beta / 2 * torch.logdet(P)"
COLUMNS = "return beta / 2 * torch.log1p(J.square().sum(-2) / beta).sum(-1)"

#: name -> (change to the solution, points that differ from full marks, words of the feedback)
WRONG = {
    "wrong_factor": (
        lambda s: edited(s, ONE, ONE.replace("z.shape[-1] * ", "")),
        {"q4": 2},
        "is 0.250 times the column form",
    ),
    "wrong_sign": (
        lambda s: edited(s, DET, DET.replace("return ", "return -")),
        {"q2": 1, "q5": 1},
        "never negative; check the sign",
    ),
    "shape_error": (
        lambda s: edited(s, "return torch.stack(columns, -1)", "return torch.stack(columns, 1)"),
        {"q1": 0},  # q5 keeps its points: |I + JᵀJ/β| = |I + JJᵀ/β|
        r"the shape is (5, 3, 4); expected (B, n, d) = (5, 4, 3)",
    ),
    "wrong_axis": (
        lambda s: edited(s, COLUMNS, COLUMNS.replace("sum(-2)", "sum(-1)")),
        {"q3": 1},
        "sum the squares over the n entries of each column",
    ),
    "nan": (
        lambda s: edited(s, DET, DET + " * float('nan')"),
        {"q2": 0, "q5": 1},
        "your values hold NaN",
    ),
    "infinite_loop": (
        lambda s: edited(s, COLUMNS, "while True:\n        pass"),
        {"q3": 0},
        "ran past the time limit: is there a loop that does not end?",
    ),
    "import_error": (
        lambda s: edited(s, "import torch\nfrom", "import no_such_package\nimport torch\nfrom"),
        dict.fromkeys(FULL, 0),
        "No module named 'no_such_package' (cell 2, line 1)",
    ),
    "tampered_test": (
        lambda s: with_cell(
            edited(s, DET, "return beta * torch.logdet(P)"),
            "torch.allclose = lambda *a, **k: True\nabs = __builtins__.abs = lambda v: 0",
            last=True,
        ),
        {"q2": 1, "q5": 1},
        "replaced",
    ),
    "syntax_error": (
        lambda s: edited(s, COLUMNS, "return beta / 2 * (torch"),
        {"q3": 0},
        "SyntaxError: '(' was never closed (cell 7",
    ),
    "not_filled_in": (
        lambda s: edited(s, COLUMNS, "..."),
        {"q3": 0},
        "returned None: is it filled in",
    ),
    "reads_the_solution": (
        lambda s: edited(s, DET, f"exec(open({str(MASTER)!r}).read())"),
        {"q2": 0, "q5": 0},
        "may not open the instructor's files",
    ),
    "starts_a_program": (
        lambda s: with_cell(s, "import os\nos.system('cat /etc/hostname')"),
        {},
        "tried to start other programs",
    ),
    "ends_the_process": (
        lambda s: with_cell(s, "import os\nos._exit(0)"),
        dict.fromkeys(FULL, 0),
        "ended its own process",
    ),
    "takes_all_memory": (
        lambda s: edited(s, COLUMNS, "return torch.ones(10**10)"),
        {"q3": 0},
        "can't allocate memory",
    ),
}


@pytest.fixture(scope="session")
def graded(made, tmp_path_factory):
    """The reports, the CSV's rows and the feedback of a folder with every mistake in it."""
    folder, out = tmp_path_factory.mktemp("submissions"), tmp_path_factory.mktemp("grades")
    right = solution(made, "grae")
    for name, (change, _, _) in WRONG.items():
        (folder / name).mkdir()
        (folder / name / "grae.ipynb").write_text(json.dumps(change(right)))
    # Tests that a student brings along, all of them passing.
    tests = folder / "tampered_test" / "tests"
    shutil.copytree(made[1] / "grae" / "tests", tests)
    for path in tests.glob("*.py"):
        path.write_text(re.sub(r"assert .*", "pass", path.read_text()))
    (folder / "no_file").mkdir()
    (folder / "no_notebook.ipynb").write_text("this is no JSON")
    (folder / "empty.ipynb").write_text('{"cells": []}')
    (folder / "right.ipynb").write_text(json.dumps(right))
    reports = grade.grade_folder(
        "grae",
        folder,
        out / "grades.csv",
        limits=grade.Limits(seconds=300, cell_seconds=5, memory=1024),
        instructor=made[1],
    )
    with (out / "grades.csv").open(newline="") as file:
        rows = {row["name"]: row for row in csv.DictReader(file)}
    return {report["name"]: report for report in reports}, rows, out / "feedback"


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_submission_scores_what_it_should_and_is_told_why(graded, name):
    reports, rows, pages = graded
    _, differs, words = WRONG[name]
    assert reports[name]["points"] == FULL | differs
    assert float(rows[name]["score"]) == sum((FULL | differs).values())
    assert words in (pages / f"{name}.md").read_text() + rows[name]["notes"]


def test_one_bad_submission_never_stops_the_batch(graded):
    reports, rows, pages = graded
    assert set(rows) == set(reports) == {*WRONG, "no_file", "no_notebook", "empty", "right"}
    assert list(rows) == sorted(rows)
    assert rows["no_file"]["status"] == "no file"
    assert rows["no_notebook"]["status"] == "no notebook"
    for name in ("no_file", "no_notebook", "empty"):
        assert rows[name]["score"] == "0"
    assert "expected grae.ipynb" in (pages / "no_file.md").read_text()
    assert "jacobian is not defined" in (pages / "empty.md").read_text()
    assert rows["right"]["score"] == rows["right"]["out_of"] == "16"
    assert rows["right"]["notes"] == ""
    assert rows["right"]["q6 (0–6, read)"] == ""


@pytest.mark.parametrize("name", ["uniqueness", "rate_distortion"])
def test_solutions_score_full_marks(made, tmp_path, name):
    (tmp_path / "in").mkdir()
    shutil.copyfile(made[1] / name / "solution.ipynb", tmp_path / "in" / "right.ipynb")
    shutil.copyfile(made[0] / name / f"{name}.ipynb", tmp_path / "in" / "untouched.ipynb")
    right, untouched = grade.grade_folder(
        name, tmp_path / "in", tmp_path / "grades.csv", instructor=made[1]
    )
    assert right["failed"] == right["notes"] == []
    assert right["points"] == grade.read_key(name, made[1]).points
    assert untouched["score"] == 0


def test_bad_input_says_what_to_do(made, tmp_path):
    with pytest.raises(ValueError, match="'geometry' is unknown; choose one of uniqueness, grae"):
        grade.read_key("geometry")
    with pytest.raises(FileNotFoundError, match="make assignments"):
        grade.read_key("grae", tmp_path)
    with pytest.raises(NotADirectoryError, match="is not a folder"):
        grade.grade_folder("grae", tmp_path / "none", tmp_path / "o.csv", instructor=made[1])
    with pytest.raises(ValueError, match="holds no submission"):
        grade.grade_folder("grae", tmp_path, tmp_path / "o.csv", instructor=made[1])
