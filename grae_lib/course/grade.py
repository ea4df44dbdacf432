"""Grade a folder of submissions offline: a CSV, and one page of feedback for each submission.

A submission is a notebook `NAME.ipynb` in the folder, or a folder `NAME` with a notebook in it.
Each runs in a process of its own with limits of time and memory; whatever happens there, the others
are graded. Tests come from the instructor's files only (`grae_lib.course.build`). See
`grae_lib.course.worker` for what a submission may not do.
"""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

from .build import INSTRUCTOR, MASTERS, NAMES


class Limits(NamedTuple):
    """seconds: of a submission, by the clock; cell_seconds: of the processor, for a cell or a test;
    memory: MiB."""

    seconds: float = 600.0
    cell_seconds: float = 60.0
    memory: int = 2048


class Submission(NamedTuple):
    """Whose it is and its notebook; `trouble` says why there is none."""

    name: str
    path: Path | None
    trouble: str = ""


def submissions_in(folder: Path, assignment: str) -> list[Submission]:
    """The submissions in a folder, by name; NotADirectoryError if there is no such folder."""
    if not folder.is_dir():
        raise NotADirectoryError(
            f"{folder} is not a folder; give one with NAME.ipynb files, or with a folder a student."
        )
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith((".", "__")):
            continue
        if path.is_file() and path.suffix == ".ipynb":
            found.append(Submission(path.stem, path))
        elif path.is_dir():
            found.append(_in_folder(path, assignment))
    return found


def _in_folder(path: Path, assignment: str) -> Submission:
    notebooks = [p for p in sorted(path.rglob("*.ipynb")) if ".ipynb_checkpoints" not in p.parts]
    named = [p for p in notebooks if p.stem == assignment]
    if len(named) == 1 or len(notebooks) == 1:
        return Submission(path.name, (named or notebooks)[0])
    what = f"{len(notebooks)} notebooks, none called" if notebooks else "no notebook; expected"
    return Submission(path.name, None, f"the folder holds {what} {assignment}.ipynb")


class Key(NamedTuple):
    """The instructor's side: points by question, those read by a person, and the tests' text."""

    points: dict[str, float]
    manual: dict[str, float]
    tests: dict[str, str]


def read_key(assignment: str, instructor: Path = INSTRUCTOR) -> Key:
    """The instructor's files of an assignment; raises with what to do if they are not there."""
    if assignment not in NAMES:
        raise ValueError(f"assignment {assignment!r} is unknown; choose one of {', '.join(NAMES)}.")
    folder = instructor / assignment
    summary = folder / "questions.json"
    if not summary.is_file():
        raise FileNotFoundError(f"{summary} is missing; make it with: make assignments")
    questions = json.loads(summary.read_text(encoding="utf-8"))
    tests = {
        name: (folder / "tests" / f"{name}.py").read_text(encoding="utf-8")
        for name in questions["points"]
    }
    return Key(questions["points"], questions["manual"], tests)


def _context() -> Any:
    if sys.platform == "win32":
        raise OSError("grading needs Linux or macOS: Windows has no limits a process can be given.")
    context = multiprocessing.get_context("forkserver")
    # PyTorch and the library are loaded once; each submission starts from a copy of that process.
    context.set_forkserver_preload(["grae_lib.course.preloaded"])
    return context


def grade_one(
    submission: Submission, key: Key, limits: Limits, forbidden: list[str], context: Any
) -> dict[str, Any]:
    """The report of one submission; never raises for anything that the submission does."""
    started = time.perf_counter()
    report: dict[str, Any] = {"status": "", "failed": [], "notes": [], "questions": {}}
    text = b""
    if submission.path is None:
        report |= {"status": "no file", "failed": [submission.trouble]}
    else:
        try:
            text = submission.path.read_bytes()
            report = _run(text.decode("utf-8"), key, limits, forbidden, context)
        except (OSError, UnicodeDecodeError) as error:
            report |= {"status": "no notebook", "failed": [f"the file cannot be read: {error}"]}
    earned = {
        name: sum(case["points"] for case in report["questions"].get(name, []))
        for name in key.points
    }
    return report | {
        "name": submission.name,
        "sha256": hashlib.sha256(text).hexdigest()[:16] if text else "",
        "points": earned,
        "score": sum(earned.values()),
        "seconds": time.perf_counter() - started,
    }


def _run(
    notebook: str, key: Key, limits: Limits, forbidden: list[str], context: Any
) -> dict[str, Any]:
    from . import worker

    with tempfile.TemporaryDirectory(prefix="submission-") as folder:
        task = worker.Task(
            notebook, key.tests, folder, forbidden, limits.cell_seconds, limits.memory
        )
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=worker.main, args=(task, sender), daemon=True)
        process.start()
        sender.close()
        status, report = "", {}
        try:
            if receiver.poll(limits.seconds):
                report = json.loads(receiver.recv_bytes())
            else:
                status = f"stopped after {limits.seconds:g} s"
        except (EOFError, ValueError):
            process.join(5)
            status = f"ended its own process (exit status {process.exitcode})"
        finally:
            receiver.close()
            _end(process)
    if not status:
        return report
    says = {
        "stopped": "the notebook as a whole ran too long; look for a loop that does not end",
        "ended": "the process ended before the tests: out of memory, or the program was ended",
    }[status.split()[0]]
    return {"status": status, "failed": [says], "notes": [], "questions": {}}


def _end(process: Any) -> None:
    """End a worker with everything that it started: it leads a process group of its own."""
    if process.pid is not None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):
            process.kill()
    process.join()


def grade_folder(
    assignment: str,
    folder: Path,
    out: Path,
    *,
    limits: Limits | None = None,
    jobs: int = 1,
    instructor: Path = INSTRUCTOR,
    say: Callable[[str], None] = print,
) -> list[dict[str, Any]]:
    """Grade every submission in `folder`; writes the CSV `out` and `feedback/NAME.md` beside it.

    Returns the reports in the order of the CSV. Raises ValueError or FileNotFoundError for an
    unknown assignment, missing instructor's files, a missing folder or one without submissions.
    """
    key = read_key(assignment, instructor)
    found = submissions_in(folder, assignment)
    if not found:
        raise ValueError(f"{folder} holds no submission: no NAME.ipynb and no folder.")
    limits = limits or Limits()
    context = _context()
    forbidden = [str(MASTERS.parent), str(instructor), str(folder)]

    def one(submission: Submission) -> dict[str, Any]:
        report = grade_one(submission, key, limits, forbidden, context)
        total = sum(key.points.values())
        say(f"{report['name']}: {report['score']:g}/{total:g}  {report['status']}")
        return report

    with ThreadPoolExecutor(jobs) as pool:
        reports = list(pool.map(one, found))
    write_csv(out, assignment, key, reports)
    pages = out.parent / "feedback"
    pages.mkdir(parents=True, exist_ok=True)
    for report in reports:
        page = feedback(assignment, key, report)
        (pages / f"{report['name']}.md").write_text(page, encoding="utf-8")
    return reports


def write_csv(out: Path, assignment: str, key: Key, reports: list[dict[str, Any]]) -> None:
    """One row a submission; columns for questions read by a person are left empty for them."""
    out.parent.mkdir(parents=True, exist_ok=True)
    manual = {name: f"{name} (0–{points:g}, read)" for name, points in key.manual.items()}
    header = ["name", "assignment", "status", *key.points, "score", "out_of", *manual.values()]
    header += ["seconds", "sha256", "notes"]
    with out.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        for report in reports:
            row = {name: f"{value:g}" for name, value in report["points"].items()}
            row |= {
                "name": report["name"],
                "assignment": assignment,
                "status": report["status"],
                "score": f"{report['score']:g}",
                "out_of": f"{sum(key.points.values()):g}",
                "seconds": f"{report['seconds']:.1f}",
                "sha256": report["sha256"],
                "notes": "; ".join(report["notes"]),
            }
            writer.writerow(row)


def feedback(assignment: str, key: Key, report: dict[str, Any]) -> str:
    """A page in Markdown that a student can act on: what failed, where, and what was expected."""
    total = sum(key.points.values())
    lines = [
        f"# {assignment}: {report['name']}",
        "",
        f"**{report['score']:g} of {total:g} points**",
    ]
    if report["status"] != "graded":
        lines += ["", f"The notebook was not graded: {report['status']}."]
    for title, items in (("Cells that failed", report["failed"]), ("Notes", report["notes"])):
        if items:
            lines += ["", f"## {title}", "", *(f"- {item}" for item in items)]
    for name, points in key.points.items():
        cases = report["questions"].get(name, [])
        lines += ["", f"## {name}: {report['points'][name]:g} of {points:g}", ""]
        for case in cases:
            head = f"{case['test'].removeprefix('test_').replace('_', ' ')}"
            verdict = case["says"] or "passed"
            lines.append(f"- **{head}** ({case['points']:g}/{case['out_of']:g}): {verdict}")
    for name, points in key.manual.items():
        lines += ["", f"## {name}: read by a person (0–{points:g})"]
    return "\n".join(lines) + "\n"
