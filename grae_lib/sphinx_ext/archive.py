"""The built book as one zip for a course page, with the SHA-256 of every file in it.

The list, ``manifest.sha256``, is in the form of ``sha256sum``: unzip the book and run
``sha256sum -c manifest.sha256`` in its folder, or ``python -m grae_lib.sphinx_ext.archive --verify
FOLDER``, which also names files that the list does not know. Two zips of equal books are equal byte
by byte: names are sorted and dates are fixed.

Command line: ``python -m grae_lib.sphinx_ext.archive SITE ZIP``; ``make zip`` calls it.
"""

from __future__ import annotations

import argparse
import sys
import zipfile
from pathlib import Path

from ..storage import sha256

MANIFEST = "manifest.sha256"
#: Folder that the zip unpacks into.
INSIDE = "implicit-regularisation-book"
_DATE = (2020, 1, 1, 0, 0, 0)


def site_files(site: Path) -> list[Path]:
    """Files of a built book in order; ValueError if it is none. Hidden files are left out."""
    if not (site / "index.html").is_file():
        raise ValueError(f"{site} holds no index.html, so no book; run: make book")
    found = (p for p in site.rglob("*") if p.is_file())
    inside = {p: p.relative_to(site) for p in found}
    hidden = {p for p, name in inside.items() if any(part.startswith(".") for part in name.parts)}
    return sorted(p for p, name in inside.items() if p not in hidden and str(name) != MANIFEST)


def write_manifest(site: Path) -> Path:
    """List every file of the book with its SHA-256; returns the list's path."""
    lines = [f"{sha256(path)}  {path.relative_to(site).as_posix()}" for path in site_files(site)]
    target = site / MANIFEST
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return target


def read_manifest(site: Path) -> dict[str, str]:
    """Name → SHA-256; ValueError names the line that is none."""
    path = site / MANIFEST
    if not path.is_file():
        raise ValueError(f"{path} is missing: this is not an unpacked book.")
    found = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        digest, two_spaces, name = line.partition("  ")
        parts = Path(name).parts
        if len(digest) != 64 or not two_spaces or name.startswith("/") or ".." in parts:
            raise ValueError(f"{path}, line {number} is not 'SHA-256  name': {line[:80]!r}")
        found[name] = digest
    return found


def faults(site: Path) -> list[str]:
    """Every file that is missing, changed, or not in the list, as sentences."""
    listed = read_manifest(site)
    present = {path.relative_to(site).as_posix(): path for path in site_files(site)}
    found = []
    for name in sorted(listed.keys() | present.keys()):
        if name not in present:
            found.append(f"{name} is missing")
        elif name not in listed:
            found.append(f"{name} is not in the list")
        elif sha256(present[name]) != listed[name]:
            found.append(f"{name} has changed")
    return found


def write_zip(site: Path, target: Path) -> int:
    """Pack a built book with its list; returns how many files the zip holds."""
    manifest = write_manifest(site)
    names = [*site_files(site), manifest]
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.tmp")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in names:
            name = f"{INSIDE}/{path.relative_to(site).as_posix()}"
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = 0o644 << 16
            archive.writestr(entry, path.read_bytes())
    temporary.replace(target)
    return len(names)


def main(arguments: list[str] | None = None) -> int:
    """Command line; exit status 1 if a book that is verified differs from its list."""
    parser = argparse.ArgumentParser(prog="python -m grae_lib.sphinx_ext.archive")
    parser.add_argument("site", type=Path, help="folder of the built book")
    parser.add_argument("zip", type=Path, nargs="?", help="file to write")
    parser.add_argument("--verify", action="store_true", help="compare a book with its list")
    options = parser.parse_args(arguments)
    try:
        if options.verify:
            found = faults(options.site)
            print("\n".join(found) or f"{len(read_manifest(options.site))} files as listed")
            return 1 if found else 0
        if options.zip is None:
            raise ValueError("name the zip file to write, after the book's folder.")
        count = write_zip(options.site, options.zip)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.zip}: {count} files, {options.zip.stat().st_size / 1e6:.1f} MB")
    print(f"SHA-256 {sha256(options.zip)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
