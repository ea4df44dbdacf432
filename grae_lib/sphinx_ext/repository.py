"""The repository's address, named once in ``_config.yml``, and the cells that install from it.

A chapter in Colab installs the library from that address, so the address stands in the first code
cell of every chapter too: written there by this module, never by hand.

Command line: ``python -m grae_lib.sphinx_ext.repository show|check|set [URL]``; ``make fork
REPOSITORY=https://github.com/NAME/PROJECT`` calls it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
from pathlib import Path
from typing import Any

from .. import storage
from . import notebooks

ROOT = notebooks.ROOT
_URL = re.compile(r"https://[\w.-]+/[\w.-]+/[\w.-]+")
_CONFIGURED = re.compile(r"^(repository:\n(?:[ \t]+.*\n)*?[ \t]+url:[ \t]*)(\S+)", re.M)
# In assignments: the installation and the copy of the course's files.
_ASSIGNED = re.compile(r"((?:git\+|git clone [-\w ]*?))(https://[\w./-]+)")
_INSTALLED = re.compile(r'(%pip install -q "git\+)([^"\s]+)(")')


def check_url(url: str) -> str:
    """The address without a slash or ``.git`` at its end; ValueError if it is not a repository's.

    Nothing but letters, digits, dots, dashes and underscores is let through: the address becomes
    part of a command in every chapter.
    """
    plain = url.strip().removesuffix("/").removesuffix(".git")
    if not _URL.fullmatch(plain):
        raise ValueError(
            f"{url!r} is not the address of a repository; write https://github.com/NAME/PROJECT."
        )
    return plain


def configured(root: Path = ROOT) -> str:
    """The address in ``_config.yml``; ValueError if there is none."""
    text = (root / "_config.yml").read_text(encoding="utf-8")
    found = _CONFIGURED.search(text)
    if found is None:
        raise ValueError(f"{root / '_config.yml'} names no repository: url under repository:.")
    return check_url(found[2])


def installed(notebook: dict[str, Any]) -> list[str]:
    """Addresses that the cells of a chapter install from."""
    cells = (notebooks.cell_source(c) for c in notebook["cells"] if c["cell_type"] == "code")
    return [found[2] for cell in cells for found in _INSTALLED.finditer(cell)]


def assignments(root: Path = ROOT) -> list[Path]:
    """Masters and student versions of the assignments."""
    folder = root / "assignments"
    return sorted([*folder.glob("masters/*.py"), *folder.glob("student/*/*.ipynb")])


def faults(root: Path = ROOT) -> list[str]:
    """One sentence for each chapter or assignment that installs from another address."""
    url = configured(root)
    found = []
    for path in notebooks.chapters(root):
        addresses = installed(notebooks.read(path))
        if addresses != [url]:
            stated = ", ".join(addresses) or "nothing"
            found.append(f"{path.name} installs from {stated}, not from {url}; run: make fork")
    for path in assignments(root):
        others = {m[2] for m in _ASSIGNED.finditer(path.read_text(encoding="utf-8"))} - {url}
        if others:
            stated = ", ".join(sorted(others))
            found.append(f"{path.name} installs from {stated}, not from {url}; run: make fork")
    return found


def retarget(url: str, root: Path = ROOT) -> list[str]:
    """Write an address into ``_config.yml``, every chapter and every assignment.

    Returns the files that changed.

    A chapter's outputs do not depend on the address: one that was up to date stays so.
    """
    url = check_url(url)
    changed = []
    config = root / "_config.yml"
    text = config.read_text(encoding="utf-8")
    configured(root)
    new = _CONFIGURED.sub(lambda m: m[1] + url, text, count=1)
    if new != text:
        storage.write_bytes(config, new.encode())
        changed.append(config.name)
    for path in notebooks.chapters(root):
        notebook = notebooks.read(path)
        if installed(notebook) in ([url], []):
            continue
        current = notebooks.stored_key(notebook) == notebooks.key_of(notebook, root)
        for cell in notebook["cells"]:
            source = notebooks.cell_source(cell)
            if cell["cell_type"] == "code" and _INSTALLED.search(source):
                source = _INSTALLED.sub(lambda m: m[1] + url + m[3], source)
                cell["source"] = source.splitlines(keepends=True)
        if current:
            notebook["metadata"]["grae"]["key"] = notebooks.key_of(notebook, root)
        # The layout that nbformat writes.
        layout: dict[str, Any] = {"indent": 1, "ensure_ascii": False, "sort_keys": True}
        storage.write_bytes(path, (json.dumps(notebook, **layout) + "\n").encode())
        changed.append(os.path.relpath(path, root))
    for path in assignments(root):
        text = path.read_text(encoding="utf-8")
        new = _ASSIGNED.sub(lambda m: m[1] + url, text)
        if new != text:
            storage.write_bytes(path, new.encode())
            changed.append(os.path.relpath(path, root))
    return changed


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 1 if a chapter installs from elsewhere, 2 for a bad address."""
    parser = argparse.ArgumentParser(prog="python -m grae_lib.sphinx_ext.repository")
    parser.add_argument("action", choices=["show", "check", "set"])
    parser.add_argument("url", nargs="?", help="for set; without it, that of _config.yml")
    options = parser.parse_args(arguments)
    try:
        if options.action == "show":
            print(configured())
        elif options.action == "set":
            for name in retarget(options.url or configured()):
                print(f"{name}: now {options.url or configured()}")
        else:
            found = faults()
            for fault in found:
                print(fault, file=sys.stderr)
            return 1 if found else 0
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
