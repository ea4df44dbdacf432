"""The repository's address: named once, written into the chapters, and nothing else."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from grae_lib.sphinx_ext import notebooks, repository

ROOT = Path(__file__).resolve().parents[1]
FORK = "https://github.com/somebody/their-book"
CONFIG = "title: T\n\nrepository:\n  # here\n  url: https://github.com/a/b\n  branch: main\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A book with one executed chapter that installs from https://github.com/a/b."""
    (tmp_path / "_config.yml").write_text(CONFIG, encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("alpha==1.0\n", encoding="utf-8")
    (tmp_path / "grae_lib").mkdir()
    (tmp_path / "grae_lib" / "__init__.py").write_text("", encoding="utf-8")
    (tmp_path / "book").mkdir()
    first = 'import sys\n\nif "google.colab" in sys.modules:\n'
    first += '    %pip install -q "git+https://github.com/a/b"\n'
    cell = {"cell_type": "code", "execution_count": 1, "metadata": {}, "outputs": [], "id": "x"}
    chapter = {
        "cells": [cell | {"source": first.splitlines(keepends=True)}],
        "metadata": {"grae": {}},
        "nbformat": 4,
        "nbformat_minor": 5,
    }
    chapter["metadata"]["grae"]["key"] = notebooks.key_of(chapter, tmp_path)
    (tmp_path / "book" / "one.ipynb").write_text(json.dumps(chapter), encoding="utf-8")
    return tmp_path


def test_the_chapters_install_from_the_address_of_the_configuration() -> None:
    assert repository.faults(ROOT) == []


def test_one_command_retargets_a_fork_and_nothing_becomes_stale(project: Path) -> None:
    chapter = project / "book" / "one.ipynb"
    assert repository.faults(project) == []
    assert notebooks.state(chapter, project) == ""
    assert repository.retarget(f"{FORK}.git", project) == ["_config.yml", "book/one.ipynb"]
    assert repository.configured(project) == FORK
    assert repository.faults(project) == []
    assert notebooks.state(chapter, project) == ""
    text = (project / "_config.yml").read_text()
    assert text == CONFIG.replace("https://github.com/a/b", FORK)
    assert "a/b" not in chapter.read_text()
    assert repository.retarget(FORK, project) == []


def test_a_stale_chapter_stays_stale(project: Path) -> None:
    chapter = project / "book" / "one.ipynb"
    (project / "requirements.txt").write_text("alpha==2.0\n")
    assert "changed since" in notebooks.state(chapter, project)
    repository.retarget(FORK, project)
    assert "changed since" in notebooks.state(chapter, project)


def test_a_chapter_that_installs_from_elsewhere_is_named(project: Path) -> None:
    config = project / "_config.yml"
    config.write_text(CONFIG.replace("a/b", "a/c"), encoding="utf-8")
    (fault,) = repository.faults(project)
    assert (
        "one.ipynb installs from https://github.com/a/b, not from https://github.com/a/c" in fault
    )


@pytest.mark.parametrize(
    "url",
    [
        "github.com/a/b",
        "https://github.com/a",
        'https://github.com/a/b"; rm -rf ~; "',
        "https://github.com/a/b c",
        "https://github.com/a/b/tree/main",
        "file:///etc/passwd",
        "",
    ],
)
def test_what_is_no_repository_is_refused_before_anything_is_written(
    project: Path, url: str
) -> None:
    before = {p: p.read_bytes() for p in project.rglob("*") if p.is_file()}
    with pytest.raises(ValueError, match="is not the address of a repository"):
        repository.retarget(url, project)
    assert {p: p.read_bytes() for p in project.rglob("*") if p.is_file()} == before


def test_the_whole_project_can_be_retargeted(tmp_path: Path) -> None:
    old = repository.configured(ROOT)
    for name in ("_config.yml", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("book", "assignments"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns(".*"))
    assert len(repository.assignments(tmp_path)) == 6
    changed = repository.retarget(FORK, tmp_path)
    assert len(changed) == 1 + len(notebooks.chapters(tmp_path)) + 6
    assert repository.faults(tmp_path) == []
    for path in repository.assignments(tmp_path):
        text = path.read_text(encoding="utf-8")
        assert old not in text
        assert text.count(FORK) == 2
        path.write_text(text.replace(FORK, old), encoding="utf-8")
        (fault,) = repository.faults(tmp_path)
        assert f"{path.name} installs from {old}, not from {FORK}" in fault
        path.write_text(text, encoding="utf-8")
