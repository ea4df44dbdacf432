"""Command line of the course: assignments, grading, slides."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path


def main(arguments: list[str] | None = None) -> int:
    """Run one of the actions; returns the exit status, 2 for bad input."""
    parser = argparse.ArgumentParser(prog="python -m grae_lib.course")
    actions = parser.add_subparsers(dest="action", required=True)
    make = actions.add_parser("assignments", help="student and solution versions from the masters")
    make.add_argument("names", nargs="*", help="assignments; all if none is named")
    marks = actions.add_parser("grade", help="grade a folder of submissions, offline")
    marks.add_argument("assignment")
    marks.add_argument("folder", type=Path, help="NAME.ipynb files, or one folder a student")
    marks.add_argument("--out", type=Path, default=Path("grades.csv"), help="CSV to write")
    marks.add_argument("--jobs", type=int, default=1, help="submissions at a time")
    marks.add_argument("--seconds", type=float, default=600, help="limit of a submission")
    marks.add_argument(
        "--cell-seconds", type=float, default=60, help="processor time of a cell or a test"
    )
    marks.add_argument("--memory", type=int, default=2048, help="MiB a submission may take")
    decks = actions.add_parser("slides", help="decks from the pages of the built book")
    decks.add_argument("--html", type=Path, default=Path("_build/html"), help="the built book")
    options = parser.parse_args(arguments)
    try:
        return ACTIONS[options.action](options)
    except (ValueError, OSError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 2


def _assignments(options: argparse.Namespace) -> int:
    from . import build

    for name in options.names or build.NAMES:
        print(f"{name}: {build.generate(name)}")
    return 0


def _grade(options: argparse.Namespace) -> int:
    from . import grade

    started = time.perf_counter()
    limits = grade.Limits(options.seconds, options.cell_seconds, options.memory)
    reports = grade.grade_folder(
        options.assignment, options.folder, options.out, limits=limits, jobs=options.jobs
    )
    seconds = time.perf_counter() - started
    print(f"{len(reports)} submissions in {seconds:.0f} s: {options.out}, and feedback beside it")
    return 0


def _slides(options: argparse.Namespace) -> int:
    from . import slides

    for path in slides.make(options.html):
        print(path)
    return 0


ACTIONS = {"assignments": _assignments, "grade": _grade, "slides": _slides}

if __name__ == "__main__":
    sys.exit(main())
