"""Chapters are kept with their outputs; this module knows whether the outputs are still true.

Each executed chapter carries a key in its metadata: a SHA-256 over all that its outputs depend on,
namely the code of its cells, the library modules that it reaches through imports (comments and
docstrings left out), the files beside those modules, the embedded data and the stored results if it
reaches the modules that read them, and the pins. A chapter is executed again when, and only when,
the key computed now differs from the key it carries.

Imports are followed in the source text, so a module loaded under a computed name is not seen; a
chapter that starts ``python -m grae_lib`` depends on the whole library.

Command line: ``python -m grae_lib.sphinx_ext.notebooks run|check [--force] [chapters...]``.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import io
import json
import os
import re
import sys
import time
import tokenize
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "grae_lib"
CELL_TIMEOUT = 900
# Module that reads them -> folder of the package that it reads.
DATA_OF_MODULE = {"data": "assets", "results": "store"}
# Tools that write pages; a chapter's outputs do not depend on them.
NOT_FOLLOWED = {f"{PACKAGE}.sphinx_ext"}


# --- what a chapter depends on --------------------------------------------------------------------


def cell_source(cell: dict[str, Any]) -> str:
    """Source of a cell as one string; the file format also allows a list of lines."""
    source = cell.get("source", "")
    return source if isinstance(source, str) else "".join(source)


def python_of(cells: Iterable[str]) -> str:
    """Code cells joined, with shell lines, magics and whole magic cells taken out."""
    kept = [cell for cell in cells if not cell.lstrip().startswith("%%")]
    return "\n".join(re.sub(r"^(\s*)[%!].*$", r"\1pass", cell, flags=re.M) for cell in kept)


def without_comments(source: str) -> str:
    """Python source without comments, docstrings and blank lines.

    Positions come from ``tokenize`` and ``ast``, the text from the source itself, so the result is
    the same under every Python version.
    """
    lines = source.splitlines()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        if not isinstance(body, list) or not body or not isinstance(body[0], ast.Expr):
            continue
        value = body[0].value
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            first, last = value.lineno - 1, value.end_lineno or value.lineno
            for row in range(first, last):
                lines[row] = ""
    return "\n".join(line.rstrip() for line in lines if line.strip())


def module_file(name: str, root: Path) -> Path | None:
    """File of module ``name`` of the package under ``root``; None if there is none."""
    base = root.joinpath(*name.split("."))
    for candidate in (base.with_suffix(".py"), base / "__init__.py"):
        if candidate.is_file():
            return candidate
    return None


def imported(source: str, module: str | None, root: Path) -> Iterator[str]:
    """Names of package modules that ``source`` imports; ``module`` resolves relative imports."""
    is_package = module is not None and (root.joinpath(*module.split(".")) / "__init__.py").exists()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                if module is None:
                    continue
                parts = module.split(".")
                keep = len(parts) - node.level + (1 if is_package else 0)
                base = ".".join(parts[:keep] + ([node.module] if node.module else []))
            names = [base, *(f"{base}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            if name.split(".")[0] == PACKAGE and module_file(name, root):
                yield name


def reached_modules(code: str, root: Path = ROOT) -> set[str]:
    """Package modules that ``code`` reaches through imports, parents included."""
    if re.search(rf"-m\s+{PACKAGE}\b", code):
        files = (root / PACKAGE).rglob("*.py")
        found = {".".join(p.relative_to(root).with_suffix("").parts) for p in files}
        names = {name.removesuffix(".__init__") for name in found}
        return {n for n in names if not any(n.startswith(skip) for skip in NOT_FOLLOWED)}
    reached: set[str] = set()
    queue = list(imported(code, None, root))
    while queue:
        name = queue.pop()
        if name in reached or any(name.startswith(skip) for skip in NOT_FOLLOWED):
            continue
        reached.add(name)
        if "." in name:
            queue.append(name.rpartition(".")[0])
        path = module_file(name, root)
        if path is not None:
            queue.extend(imported(path.read_text(encoding="utf-8"), name, root))
    return reached


def files_beside(path: Path, root: Path) -> Iterator[Path]:
    """Files other than Python in the folder of a sub-package's ``__init__.py``."""
    if path.name == "__init__.py" and path.parent != root / PACKAGE:
        for other in path.parent.rglob("*"):
            if other.is_file() and other.suffix not in {".py", ".pyc"}:
                yield other


def pins(root: Path = ROOT) -> list[str]:
    """Lines of requirements.txt that pin a package, comments left out."""
    text = (root / "requirements.txt").read_text(encoding="utf-8")
    lines = (line.split("#")[0].strip() for line in text.splitlines())
    return [line for line in lines if "==" in line]


def key_of(notebook: dict[str, Any], root: Path = ROOT) -> str:
    """SHA-256, as hex, over everything that the outputs of ``notebook`` depend on."""
    cells = [cell_source(c) for c in notebook["cells"] if c["cell_type"] == "code"]
    digest = hashlib.sha256()

    def add(label: str, content: bytes) -> None:
        digest.update(f"{label}\0{len(content)}\0".encode())
        digest.update(content)

    for cell in cells:
        add("cell", cell.encode())
    for pin in pins(root):
        add("pin", pin.encode())
    shell = "\n".join(cells)
    modules = reached_modules(shell if f"-m {PACKAGE}" in shell else python_of(cells), root)
    for name in sorted(modules):
        path = module_file(name, root)
        if path is None:
            continue
        add(name, without_comments(path.read_text(encoding="utf-8")).encode())
        for other in sorted(files_beside(path, root)):
            add(other.relative_to(root).as_posix(), other.read_bytes())
    for module, folder in DATA_OF_MODULE.items():
        if f"{PACKAGE}.{module}" in modules:
            for path in sorted((root / PACKAGE / folder).rglob("*")):
                if path.is_file():
                    add(path.relative_to(root).as_posix(), path.read_bytes())
    return digest.hexdigest()


def stored_key(notebook: dict[str, Any]) -> str | None:
    """Key that the notebook got at its last execution; None if it was never executed here."""
    return notebook.get("metadata", {}).get("grae", {}).get("key")


def gaps(notebook: dict[str, Any]) -> list[str]:
    """One sentence for each code cell that was never run, ended in an error or wrote a warning.

    What a cell writes to stderr names folders of the machine that ran it, and differs on the next.
    """
    found = []
    for number, cell in enumerate(notebook["cells"]):
        if cell["cell_type"] != "code" or not cell_source(cell).strip():
            continue
        tags = cell.get("metadata", {}).get("tags", [])
        if "skip-execution" in tags:
            continue
        if cell.get("execution_count") is None:
            found.append(f"cell {number} was never executed")
        if "raises-exception" in tags:
            continue
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                text = cell_source({"source": output.get("text", "")}).strip()
                found.append(f"cell {number} wrote to stderr: {text[:120]}")
            if output.get("output_type") == "error":
                error = f"{output.get('ename')}: {output.get('evalue')}"
                found.append(f"cell {number} ended in {error}")
    return found


# --- executing ------------------------------------------------------------------------------------


def chapters(root: Path = ROOT) -> list[Path]:
    """All notebooks of the book."""
    found = (root / "book").rglob("*.ipynb")
    return sorted(p for p in found if ".ipynb_checkpoints" not in p.parts)


def read(path: Path) -> dict[str, Any]:
    """A notebook as a dictionary; ValueError says which file is no notebook and why."""
    try:
        notebook = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not a notebook (JSON): {error}") from error
    if not isinstance(notebook, dict) or "cells" not in notebook:
        raise ValueError(f"{path} is not a notebook: it has no 'cells'")
    return notebook


def clean(notebook: Any) -> None:
    """Take out of an executed notebook what differs between two equal runs."""
    notebook.metadata.pop("widgets", None)
    notebook.metadata["kernelspec"] = {
        "display_name": "Python 3",
        "language": "python",
        "name": "python3",
    }
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)


def execute(path: Path, root: Path = ROOT) -> float:
    """Run a chapter, keep its outputs and its key; returns seconds.

    The file is replaced in one step after the last cell: a cell that fails leaves it as it was.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    key = key_of(read(path), root)
    started = time.perf_counter()
    client = NotebookClient(
        notebook,
        timeout=CELL_TIMEOUT,
        kernel_name="python3",
        resources={"metadata": {"path": str(path.parent)}},
    )
    client.execute()
    clean(notebook)
    notebook.metadata["grae"] = {"key": key}
    temporary = path.with_name(f".{path.name}.tmp")
    nbformat.write(notebook, temporary)
    os.replace(temporary, path)
    return time.perf_counter() - started


def state(path: Path, root: Path = ROOT) -> str:
    """'' if the outputs of a chapter are true, else one sentence saying what is wrong."""
    notebook = read(path)
    found = gaps(notebook)
    if found:
        return "; ".join(found)
    if stored_key(notebook) is None:
        return "it does not say what it was executed with"
    if stored_key(notebook) != key_of(notebook, root):
        return "its code, the library, the data or a pin changed since it was executed"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status, 1 for a stale chapter or a failing cell."""
    parser = argparse.ArgumentParser(prog="python -m grae_lib.sphinx_ext.notebooks")
    parser.add_argument("action", choices=["run", "check"])
    parser.add_argument("chapters", nargs="*", type=Path, help="notebooks; all if none is named")
    parser.add_argument("--force", action="store_true", help="run also what is up to date")
    options = parser.parse_args(arguments)
    paths = [p.resolve() for p in options.chapters] or chapters()
    status = 0
    for path in paths:
        name = os.path.relpath(path, ROOT)
        reason = state(path)
        if options.action == "check":
            if reason:
                print(f"{name}: {reason}; run: make notebooks", file=sys.stderr)
                status = 1
            continue
        if not reason and not options.force:
            print(f"{name}: up to date")
            continue
        print(f"{name}: executing ({reason or 'asked to'})", flush=True)
        from nbclient.exceptions import CellExecutionError, CellTimeoutError

        try:
            print(f"{name}: {execute(path):.0f} s")
        except (CellExecutionError, CellTimeoutError) as error:
            print(f"{name}: a cell failed; the file is left as it was\n{error}", file=sys.stderr)
            status = 1
    if options.action == "check" and status == 0:
        print(f"{len(paths)} chapter(s): outputs belong to this code, library and data")
    return status


if __name__ == "__main__":
    sys.exit(main())
