"""One submission in a process of its own: run its cells, then the instructor's tests.

The tests come in as text from the instructor's files, before anything of the submission runs. What
the submission holds under the same names is never looked at. Guards, in the order they act in:

- the process may not open the instructor's files or other submissions, write outside its own
  folder, start programs or use the network (an audit hook, which Python code cannot take off);
- memory is limited by the system, the processor's time of each cell and each test by a timer, the
  whole by the parent's clock;
- functions that tests rely on and that the submission replaced are put back, and this is reported.

They stop accidents and plain tampering. Code that takes the Python process itself apart is not
stopped: a mark that looks odd deserves a look at the notebook.
"""

from __future__ import annotations

import builtins
import inspect
import io
import itertools
import json
import linecache
import math
import os
import re
import resource
import signal
import sys
import tempfile
import traceback
import types
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

import torch

from .. import (
    data,
    evaluation,
    geometry,
    information,
    models,
    objectives,
    posteriors,
    rotations,
    training,
)
from ..sphinx_ext.notebooks import cell_source, python_of

#: What tests call; replaced entries are put back before they run.
GUARDED: tuple[Any, ...] = (
    builtins,
    math,
    itertools,
    torch,
    torch.linalg,
    torch.func,
    torch.nn.functional,
    torch.Tensor,
    data,
    evaluation,
    geometry,
    information,
    models,
    objectives,
    objectives.GRAE,
    posteriors,
    rotations,
    training,
)
#: Audit events of starting programs, of the network, and of changing files by name.
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn")
NETWORK = ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.gethostbyname")
CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate")
READS = ("os.listdir", "os.scandir")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Task(NamedTuple):
    """What a worker needs: the notebook's text, tests by question, limits, and forbidden folders.

    cell_seconds: of the processor, for each cell and each test; memory: MiB above what an idle
    worker holds.
    """

    notebook: str
    tests: dict[str, str]
    folder: str
    forbidden: list[str]
    cell_seconds: float = 60.0
    memory: int = 2048


class OutOfTime(BaseException):
    """A cell or a test ran past its limit. No Exception: `except Exception` must let it pass."""


class Refused(PermissionError):
    """The submission tried what a submission may not do."""


class Case(NamedTuple):
    """One test: what otter's decorator `test_case` makes of a function."""

    function: Callable[..., None]
    points: float
    hidden: bool


def cases_of(source: str, question: str) -> list[Case]:
    """The tests in an otter test file in its exception format, in order."""
    found: list[Case] = []

    def test_case(name: str = "", points: float = 0, hidden: bool = False, **_: Any):
        def keep(function: Callable[..., None]) -> Callable[..., None]:
            found.append(Case(function, float(points or 0), bool(hidden)))
            return function

        return keep

    # Test files import the decorator from otter; a worker needs nothing else of it.
    text = re.sub(r"^from otter\.test_files import test_case\s*$", "", source, flags=re.M)
    exec(compile(text, f"tests of {question}", "exec"), {"test_case": test_case})
    return found


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise OutOfTime in the block after `seconds`, and again each second while it is ignored.

    Seconds of the processor, so that a busy machine costs no marks; who sleeps meets the limit of
    the whole.
    """

    def stop(number: int, frame: Any) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def guard(folder: str, forbidden: Iterable[str], refused: list[str]) -> None:
    """From here on refuse what a submission may not do; cannot be undone in this process."""
    home = os.path.realpath(folder)
    closed = [os.path.realpath(path) for path in forbidden]
    real, within = os.path.realpath, lambda path, root: (path + os.sep).startswith(root + os.sep)

    def refuse(what: str) -> None:
        refused.append(what)
        raise Refused(f"a submission may not {what}")

    def check(path: Any, writing: bool) -> None:
        if not isinstance(path, (str, bytes, os.PathLike)):
            return
        path = real(os.fsdecode(path))
        if within(path, home) or path == os.devnull:
            return
        if any(within(path, root) for root in closed):
            refuse("open the instructor's files or those of other students")
        if writing:
            refuse("write outside its own folder")

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        path = next(iter(arguments), None)
        if event == "open":  # path, mode, flags
            check(path, bool((arguments[-1] or 0) & WRITING))
        elif event in READS:
            check(path, False)
        elif event in CHANGES:
            check(path, True)
        elif event in PROGRAMS:
            refuse("start other programs")
        elif event in NETWORK:
            refuse("use the network")

    sys.addaudithook(hook)


def snapshot() -> list[tuple[Any, dict[str, Any]]]:
    """What the guarded modules and classes hold now.

    Of torch itself only functions: it replaces some of its own classes when they are first used.
    """
    return [
        (place, {k: v for k, v in vars(place).items() if place is not torch or _is_function(v)})
        for place in GUARDED
    ]


def _is_function(value: Any) -> bool:
    return callable(value) and not isinstance(value, type)


def restore(before: list[tuple[Any, dict[str, Any]]]) -> list[str]:
    """Put back what was replaced or deleted since; returns its names."""
    changed = []
    for place, values in before:
        now = vars(place)
        for name, value in values.items():
            if name not in now or now[name] is not value:
                try:
                    setattr(place, name, value)
                except (AttributeError, TypeError):
                    continue  # a slot of the interpreter, which nobody can have replaced either
                if not name.startswith("_"):
                    changed.append(f"{place.__name__}.{name}")
    return changed


class _Inert:
    """Stands for otter's notebook object: a submission's own checks do nothing here."""

    def __init__(self, *arguments: Any, **settings: Any):
        pass

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments, **settings: None


def _stand_ins() -> None:
    otter = types.ModuleType("otter")
    vars(otter)["Notebook"] = _Inert
    sys.modules["otter"] = otter


def where(error: BaseException) -> str:
    """'TypeError: … (cell 4, line 3)': the last line of the student's own code in a traceback."""
    if isinstance(error, OutOfTime):
        text = "ran past the time limit: is there a loop that does not end?"
    else:
        text = f"{type(error).__name__}: {str(error)[:300]}"
    if isinstance(error, SyntaxError):
        return f"{text} ({error.filename}, line {error.lineno})"
    frames = [
        f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith("cell ")
    ]
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})" if frames else text


def run_cells(notebook: dict[str, Any], seconds: float) -> tuple[dict[str, Any], list[str]]:
    """Run the code cells in one namespace; a cell that fails does not stop the next ones.

    Returns the namespace and one sentence for each failed cell.
    """
    env: dict[str, Any] = {"__name__": "__main__"}
    failed = []
    number = 0
    for cell in notebook["cells"]:
        if cell.get("cell_type") != "code":
            continue
        number += 1
        source, name = python_of([cell_source(cell)]), f"cell {number}"
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        try:
            with limited(seconds):
                exec(compile(source, name, "exec"), env)
        except (KeyboardInterrupt, SystemExit) as error:
            failed.append(f"{name} asked to end the program ({type(error).__name__})")
        except BaseException as error:
            failed.append(where(error))
    return env, failed


def run_case(case: Case, env: dict[str, Any], seconds: float) -> str:
    """'' if the test passes, else what the student is told."""
    arguments = []
    for name in inspect.signature(case.function).parameters:
        if name not in env:
            return f"{name} is not defined: the cell that defines it is missing or failed"
        arguments.append(env[name])
    try:
        with limited(seconds):
            case.function(*arguments)
    except AssertionError as error:
        return str(error) or "the test failed"
    except BaseException as error:
        text = where(error)
        if "NoneType" in text or "ellipsis" in text:
            return f"{text}. Your function returned None: is it filled in, and does it return?"
        return text
    return ""


def grade(task: Task) -> dict[str, Any]:
    """Run one submission; returns points by question, what each test said, and failed cells."""
    report: dict[str, Any] = {"status": "graded", "failed": [], "notes": [], "questions": {}}
    tests = {question: cases_of(source, question) for question, source in task.tests.items()}
    try:
        notebook = json.loads(task.notebook)
        code = [c for c in notebook["cells"] if c.get("cell_type") == "code"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        report["status"] = "no notebook"
        report["failed"] = [f"the file cannot be read as a notebook: {error}"]
        code = notebook = None
    env: dict[str, Any] = {}
    refused: list[str] = []
    if code is not None:
        _stand_ins()
        before = snapshot()
        guard(task.folder, task.forbidden, refused)
        env, report["failed"] = run_cells(notebook, task.cell_seconds)
        changed = restore(before)
        if changed:
            report["notes"].append(f"replaced {', '.join(changed)}; put back before the tests")
    for question, cases in tests.items():
        results = []
        for case in cases:
            torch.manual_seed(0)
            says = run_case(case, env, task.cell_seconds)
            results.append(
                {
                    "test": case.function.__name__,
                    "points": 0.0 if says else case.points,
                    "out_of": case.points,
                    "hidden": case.hidden,
                    "says": says,
                }
            )
        report["questions"][question] = results
    report["notes"] += [f"tried to {what}" for what in dict.fromkeys(refused)]
    return report


def warm() -> None:
    """Make PyTorch load what it loads at the first derivative and the first step of an optimiser.

    No backward pass: with a GPU its threads would not survive the copying of the process.
    """
    weight = torch.zeros(1, requires_grad=True)
    weight.grad = torch.ones(1)
    torch.optim.Adam([weight]).step()
    for activation in ("tanh", "relu"):
        decoder = models.build(shape=(3,), latent_dim=2, hidden=(3,), activation=activation).decoder
        torch.func.jvp(decoder, (torch.zeros(1, 2),), (torch.ones(1, 2),))


def main(task: Task, connection: Connection) -> None:
    """What the process of a submission does; sends the report as JSON."""
    os.setsid()
    os.chdir(task.folder)
    silent = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(silent, descriptor)
    sys.stdout = sys.stderr = io.TextIOWrapper(io.FileIO(os.devnull, "w"))
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    os.environ |= {
        "MPLBACKEND": "Agg",
        "TMPDIR": task.folder,
        "TORCHINDUCTOR_CACHE_DIR": task.folder,
    }
    tempfile.tempdir = task.folder
    sys.dont_write_bytecode = True
    _limit_memory(task.memory)
    connection.send_bytes(json.dumps(grade(task)).encode())
    connection.close()
    os._exit(0)


def _limit_memory(megabytes: int) -> None:
    """Let this process hold `megabytes` more than it does now; Linux enforces it."""
    status = Path("/proc/self/status")
    held = 0
    if status.exists():
        held = int(re.findall(r"VmData:\s+(\d+)", status.read_text())[0]) << 10
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (held + (megabytes << 20), hard))


__all__ = ["Task", "cases_of", "grade", "main"]
