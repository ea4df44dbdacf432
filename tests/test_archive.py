"""The book as a zip: equal books give equal bytes, and one changed byte is named."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest

from grae_lib.sphinx_ext import archive


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A book of three files and a hidden one."""
    folder = tmp_path / "html"
    (folder / "book").mkdir(parents=True)
    (folder / "index.html").write_text("<p>front</p>")
    (folder / "book" / "one.html").write_text("<p>one</p>")
    (folder / "book" / "φ.png").write_bytes(bytes(range(256)))
    (folder / ".buildinfo").write_text("when")
    return folder


def test_the_zip_holds_every_file_and_the_list(site: Path, tmp_path: Path) -> None:
    assert archive.write_zip(site, tmp_path / "book.zip") == 4
    with zipfile.ZipFile(tmp_path / "book.zip") as packed:
        assert packed.testzip() is None
        packed.extractall(tmp_path / "out")
    unpacked = tmp_path / "out" / archive.INSIDE
    names = ["book/one.html", "book/φ.png", "index.html", "manifest.sha256"]
    found = (p for p in unpacked.rglob("*") if p.is_file())
    assert sorted(p.relative_to(unpacked).as_posix() for p in found) == names
    assert archive.faults(unpacked) == []
    if shutil.which("sha256sum"):
        command = ["sha256sum", "--quiet", "--check", archive.MANIFEST]
        assert subprocess.run(command, cwd=unpacked, check=False).returncode == 0


def test_equal_books_give_equal_zips(site: Path, tmp_path: Path) -> None:
    archive.write_zip(site, tmp_path / "one.zip")
    (site / "index.html").touch()
    archive.write_zip(site, tmp_path / "two.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_changed_a_missing_and_a_new_file_are_named(site: Path) -> None:
    archive.write_manifest(site)
    (site / "index.html").write_text("<p>Front</p>")
    (site / "book" / "φ.png").unlink()
    (site / "book" / "new.js").write_text("alert(1)")
    assert archive.faults(site) == [
        "book/new.js is not in the list",
        "book/φ.png is missing",
        "index.html has changed",
    ]
    assert archive.main([str(site), "--verify"]) == 1


@pytest.mark.parametrize(
    "line", ["abc  x", "0" * 64 + " x", "0" * 64 + "  /etc/passwd", "0" * 64 + "  ../x"]
)
def test_a_damaged_list_is_refused_by_line(site: Path, line: str) -> None:
    archive.write_manifest(site)
    path = site / archive.MANIFEST
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(ValueError, match="line 4 is not 'SHA-256  name'"):
        archive.faults(site)


def test_a_folder_without_a_book_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    assert archive.main([str(tmp_path), str(tmp_path / "x.zip")]) == 2
    assert "holds no index.html" in capsys.readouterr().err
    assert not (tmp_path / "x.zip").exists()
