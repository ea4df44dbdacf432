"""Marks that bind a number in the text to the computation it comes from.

In a page or in a Markdown cell of a chapter one writes::

    the gap at 45° is <!--=gap[theta=45] as .3f-->0.750<!--/--> nats

The two comments are invisible in the book, in Jupyter and in Colab. The first names the number
(:mod:`~grae_lib.claims.values`) and, after the word as, its format. (A bar would end the cell of a
table.) `check` compares what stands between
them with what is computed now; `write` puts the computed text there. Special names give text about
the ledger: ``verdict[claim=ID]``, ``ledger[verdict=partly]`` (how many) and ``ledger`` (all).

A number that a chapter computes while it runs is bound to what its cell printed::

    printed[cell=local_geometry/12dbe138,line='1',number=3]

is the third number on the line that begins with ``1`` (spaces between columns do not count), the
beginning left out, of the cell with that id in ``book/local_geometry.ipynb``; ``cell=bench.txt`` is
the text file of that name in ``book/``. number=1 may be left out; nth=2 takes the second such line.

Where results are told, that is in every paragraph, list, row of a table or directive with a mark
and between ``<!--results-->`` and ``<!--/results-->``, every decimal number, percentage and angle
must be bound or be declared a setting, ``<!--given-->.05<!--/-->``. Values of β after the letter
are settings and need no declaration; formulas and code are left out.
"""

from __future__ import annotations

import functools
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from .. import results, storage
from ..results import STORE
from . import entries, values

#: The checkout that holds the book, where this library runs from one.
PROJECT = Path(__file__).resolve().parents[2]

MARK = re.compile(r"<!--=(?P<what>.*?)-->(?P<text>.*?)<!--/-->", re.S)
_OPEN = re.compile(r"<!--=")
_GIVEN = re.compile(r"<!--given-->.*?<!--/-->", re.S)
_RESULTS = re.compile(r"<!--results-->(.*?)(<!--/results-->|\Z)", re.S)
_PARAGRAPH = re.compile(r"(?:^[ \t]*\|.*$|(?:^(?![ \t]*\|)[^\n]*\S[^\n]*\n?)+)", re.M)
# A line that begins with a comment is raw HTML up to its end: Markdown in it would not be read.
_BLOCK_START = re.compile(r"^[ \t]*(?:(?:[-*+>]|\d+[.)])[ \t]+)*<!--(?:=|given-->)", re.M)
_NUMBER = r"[−+-]?(?:\d[\d,]*)?\.?\d+"
_BETA = re.compile(
    rf"β\s*(?:=|≤|≥|<|>|from|of|at|between|below|above|near|is)*\s*{_NUMBER}"
    rf"(?:(?:, and|,| and| to| or| …) {_NUMBER})*"
)
_UNBOUND = re.compile(
    rf"(?<![\w.,−+-])(?:[−+-]?\d*\.\d+(?![\w.]*\d)|{_NUMBER}(?=\s?(?:%|percent|per cent|°)))"
)
# A fence of code or of a directive, with what it says it is.
_FENCE = re.compile(
    r"^(?P<ticks>```+)(?P<kind>[^\n`]*)\n(?P<body>.*?)^(?P=ticks)[ \t]*$", re.M | re.S
)
_NO_TEXT = re.compile(r"\{(?:grae-|code|math|image|figure|literalinclude)")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_NOT_PROSE = (
    re.compile(r"\$\$.*?\$\$", re.S),
    re.compile(r"(?<!\\)\$[^$\n]+\$"),
    re.compile(r"`[^`\n]*`"),
    re.compile(r"\]\([^)\n]*\)"),
    re.compile(r"\{[\w:]+\}"),
    re.compile(r"https?://\S+"),
    re.compile(r"arXiv:\S+"),
)  # fmt: skip


@dataclass
class Text:
    """One piece of Markdown: a page, or a cell of a chapter; `where` names it for a reader."""

    where: str
    source: str


@dataclass
class Report:
    """Faults as sentences, and counts of numbers in the prose."""

    faults: list[str] = field(default_factory=list)
    numbers: int = 0
    bound: int = 0
    given: int = 0


def files(root: Path = PROJECT) -> list[Path]:
    """Pages and chapters of the book."""
    found = [p for kind in ("*.md", "*.ipynb") for p in (root / "book").rglob(kind)]
    return sorted(p for p in found if ".ipynb_checkpoints" not in p.parts)


def texts(path: Path, root: Path = PROJECT) -> Iterator[Text]:
    """The Markdown of a file."""
    name = os.path.relpath(path, root)
    if path.suffix == ".md":
        yield Text(name, path.read_text(encoding="utf-8"))
        return
    for number, cell in enumerate(json.loads(path.read_text(encoding="utf-8"))["cells"]):
        if cell["cell_type"] == "markdown":
            yield Text(f"{name}, cell {number}", "".join(cell["source"]))


@functools.lru_cache(maxsize=256)
def _judged(claim_id: str, root: Path) -> entries.Judgement:
    return entries.get(claim_id).judge(root)


_PRINTED = re.compile(rf"{_NUMBER}(?:e[−+-]?\d+)?")


@functools.lru_cache(maxsize=16)
def _outputs(chapter: Path, stamp: int) -> dict[str, list[str]]:
    """What each code cell of a chapter printed, by the cell's id: lines, runs of spaces as one."""
    found = {}
    for cell in json.loads(chapter.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            text = "".join("".join(o["text"]) for o in cell["outputs"] if "text" in o)
            found[cell["id"]] = _lines(text)
    return found


def _lines(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def printed(
    project: Path, *, cell: str, line: str = "", number: str = "1", nth: str = "1"
) -> float:
    """A number that a cell of a chapter printed when it was last executed.

    cell: ``CHAPTER/CELL-ID``, or the name of a text file in ``book/``; line: how its line begins;
    number, nth: which number after that, in which of the lines that begin so, from 1. Raises
    UnknownAddress with what there is instead.
    """
    chapter, _, cell_id = cell.partition("/")
    path = project / "book" / (f"{chapter}.ipynb" if cell_id else cell)
    if path.suffix not in (".ipynb", ".txt") or not path.is_file():
        raise values.UnknownAddress(
            f"book/ has no {path.name}; cell is CHAPTER/CELL-ID or the name of a text file."
        )
    if cell_id:
        cells = _outputs(path, path.stat().st_mtime_ns)
        if cell_id not in cells:
            raise values.UnknownAddress(f"{path.name} has no code cell with the id {cell_id!r}.")
        said = cells[cell_id]
    else:
        said = _lines(path.read_text(encoding="utf-8"))
    # A line that begins with 1 does not begin with 10 or 1.5.
    begins = re.compile(re.escape(line) + r"(?![\w.])" if line else "")
    lines = [text for text in said if begins.match(text)]
    if not nth.isdecimal() or not 1 <= int(nth) <= len(lines):
        raise values.UnknownAddress(
            f"cell {cell} printed {len(lines)} lines that begin with {line!r}, and nth is {nth}; "
            f"its lines are {said}."
        )
    numbers = _PRINTED.findall(lines[int(nth) - 1][len(line) :])
    if not number.isdecimal() or not 1 <= int(number) <= len(numbers):
        raise values.UnknownAddress(
            f"the line {lines[int(nth) - 1]!r} of cell {cell} has the numbers {numbers} after "
            f"{line!r}, and number is {number}."
        )
    return float(numbers[int(number) - 1].replace(",", "").replace("−", "-"))


def computed(what: str, root: Path = STORE, project: Path = PROJECT) -> str:
    """The text that a mark's inside, ``address`` or ``address as format``, stands for.

    Raises UnknownAddress or ValueError for one that means nothing, MissingResult where its results
    are not stored.
    """
    text, word, how = what.rpartition(" as ")
    if not word or "]" in how:  # no format, or the word inside a quoted line
        text, how = what, values.DEFAULT_FORMAT
    how = how.strip()
    address = values.Address.parse(text)
    labels = dict(address.labels)
    if address.name == "verdict":
        return _judged(labels.get("claim", ""), root).verdict
    if address.name == "ledger":
        wanted = labels.get("verdict")
        if wanted is not None and wanted not in entries.VERDICTS:
            raise values.UnknownAddress(
                f"verdict {wanted!r} is unknown; choose one of {', '.join(entries.VERDICTS)}."
            )
        found = [_judged(c.id, root).verdict for c in entries.CLAIMS]
        return str(len(found) if wanted is None else found.count(wanted))
    if address.name == "printed":
        try:
            return values.shown(printed(project, **labels), how)
        except TypeError as error:
            raise values.UnknownAddress(
                f"{what!r}: printed takes cell, line, number and nth. ({error})"
            ) from error
    if address.name in entries.BY_ID:
        first = _judged(address.name, root).observations[0]
        if first.sample is None:
            raise results.MissingResult(first.missing)
        number = values.STATISTICS[address.statistic](first.sample)
    else:
        number = values.STATISTICS[address.statistic](values.sample(address, root))
    return values.shown(number, how)


def _line(text: str, position: int) -> int:
    return text.count("\n", 0, position) + 1


def _spaces(text: str) -> str:
    return re.sub(r"[^\n]", " ", text)


def _blank(pattern: re.Pattern[str], text: str) -> str:
    return pattern.sub(lambda m: _spaces(m[0]), text)


def _without_fences(source: str, no_text: bool) -> str:
    """Fenced code blanked, and with `no_text` directives whose content is no text as well; other
    directives keep their content, in which fences are looked for again.
    """

    def kept(found: re.Match[str]) -> str:
        kind = found["kind"].strip()
        if not kind.startswith("{") or (no_text and _NO_TEXT.match(kind)):
            return _spaces(found[0])
        start, end = found.span("body")
        inner = _without_fences(found["body"], no_text)
        return found[0][: start - found.start()] + inner + found[0][end - found.start() :]

    return _FENCE.sub(kept, source)


def prose(source: str) -> str:
    """Markdown with formulas, code and addresses of links blanked, positions kept."""
    source = _without_fences(source, no_text=True)
    for pattern in _NOT_PROSE:
        source = _blank(pattern, source)
    return source


def marks_in(source: str) -> list[re.Match[str]]:
    """The marks of a piece of Markdown; one that is shown as code is none."""
    return list(MARK.finditer(_without_code(source)))


def _without_code(source: str) -> str:
    return _blank(_INLINE_CODE, _without_fences(source, no_text=False))


def numbers_in(source: str) -> list[re.Match[str]]:
    """Decimal numbers, percentages and angles of the prose that are neither bound nor given."""
    bare = _blank(_GIVEN, _blank(MARK, source))
    bare = _blank(re.compile(r"<!--.*?-->", re.S), bare)
    return list(_UNBOUND.finditer(_blank(_BETA, prose(bare))))


def check_text(piece: Text, root: Path = STORE, project: Path = PROJECT) -> Report:
    """Faults of one piece of Markdown."""
    report, source = Report(), piece.source

    def fault(position: int, sentence: str) -> None:
        report.faults.append(f"{piece.where}, line {_line(source, position)}: {sentence}")

    marks = marks_in(source)
    if len(marks) != len(_OPEN.findall(_without_code(source))):
        fault(0, "a mark is not closed; write <!--=address as format-->number<!--/-->.")
    for found in marks:
        report.bound += 1
        try:
            now = computed(found["what"], root, project)
        except results.MissingResult as error:
            fault(found.start(), f"{found['what']}: {error}")
        except ValueError as error:
            fault(found.start(), str(error))
        else:
            if now != found["text"]:
                fault(
                    found.start(),
                    f"the text says {found['text']!r}, but {found['what']} is {now!r}; run: "
                    "python -m grae_lib claims write, and read the sentence again.",
                )
    for found in _BLOCK_START.finditer(_without_code(source)):
        fault(found.start(), "a line or list item must not begin with a mark; put a word first.")
    report.given = len(_GIVEN.findall(_without_code(source)))
    report.numbers = report.bound + report.given + len(numbers_in(source))
    if source.count("<!--results-->") != source.count("<!--/results-->"):
        fault(0, "a results section is not closed; end it with <!--/results-->.")
    told = [found.span(1) for found in _RESULTS.finditer(source)]
    told += [found.span() for found in _PARAGRAPH.finditer(source) if marks_in(found[0])]
    for number in numbers_in(source):
        if any(start <= number.start() < end for start, end in told):
            fault(
                number.start(),
                f"{number[0]!r} stands among results without a mark; bind it with "
                "<!--=address-->, or declare it with <!--given-->…<!--/--> if it is a setting.",
            )
    return report


def check(root: Path = PROJECT, store: Path = STORE) -> dict[str, Report]:
    """A report for each file of the book."""
    found = {}
    for path in files(root):
        total = Report()
        for piece in texts(path, root):
            report = check_text(piece, store, root)
            total.faults += report.faults
            total.numbers += report.numbers
            total.bound += report.bound
            total.given += report.given
        found[os.path.relpath(path, root)] = total
    return found


def rewritten(source: str, root: Path = STORE, project: Path = PROJECT) -> str:
    """Markdown with each mark's text computed now; raises as `computed` does."""
    for found in reversed(marks_in(source)):
        start, end = found.span("text")
        source = source[:start] + computed(found["what"], root, project) + source[end:]
    return source


def edit(path: Path, change: Callable[[str], str]) -> bool:
    """Apply `change` to the Markdown of a file, code and outputs untouched; whether it changed.

    The file is replaced in one step, and left alone where nothing differs.
    """
    before = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        after = change(before)
    else:
        notebook = json.loads(before)
        changed = False
        for cell in notebook["cells"]:
            if cell["cell_type"] == "markdown":
                old = "".join(cell["source"])
                new = change(old)
                if new != old:
                    changed = True
                    kept = isinstance(cell["source"], str)
                    cell["source"] = new if kept else new.splitlines(keepends=True)
        # The layout that nbformat writes.
        layout = {"indent": 1, "ensure_ascii": False, "sort_keys": True}
        after = json.dumps(notebook, **layout) + "\n" if changed else before
    if after == before:
        return False
    storage.write_bytes(path, after.encode())
    return True


def write(root: Path = PROJECT, store: Path = STORE) -> list[str]:
    """Put computed numbers into every mark; returns the files that changed."""
    return [
        os.path.relpath(path, root)
        for path in files(root)
        if edit(path, lambda source: rewritten(source, store, root))
    ]
