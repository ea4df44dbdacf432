"""What the book says about the library is what the library does."""

from __future__ import annotations

import doctest
import importlib
import inspect
import re
from pathlib import Path

import pytest

from grae_lib import results
from grae_lib.sphinx_ext import api

ROOT = Path(__file__).resolve().parents[1]
FAQ = (ROOT / "book" / "faq.md").read_text(encoding="utf-8")
ERRORS = re.findall(r"```python\n(.*?)```\s+```text\n(.*?)\n```", FAQ, re.S)
MODULES = re.findall(r"\{grae-api\} (\S+)", (ROOT / "book" / "api.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize(("code", "printed"), ERRORS, ids=lambda text: text.split("\n")[-2:][0])
def test_the_errors_of_the_faq_are_raised(
    code: str, printed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GRAE_DATA", raising=False)
    with pytest.raises(Exception) as raised:  # noqa: PT011 - the text says which
        exec(code, {})
    found = f"{raised.type.__name__}: {raised.value}"
    assert found.replace(str(results.STORE), "…/store") == printed


def test_the_faq_has_errors_to_check() -> None:
    assert len(ERRORS) >= 8


@pytest.mark.parametrize("name", MODULES)
def test_every_public_name_is_documented_and_its_examples_are_right(name: str) -> None:
    module = importlib.import_module(name)
    assert module.__doc__
    listed = api.public(module)
    assert listed
    for label, value in listed:
        assert inspect.getdoc(value), f"{name}.{label} has no docstring"
        assert api.signature(label, value).startswith(label)
    assert doctest.testmod(module).failed == 0


def test_docstrings_become_paragraphs_with_code_in_them() -> None:
    first, second, third = api.text("Gives `x` back.\n\n    >>> 1\n    1\n\nSee :func:`f`.")
    assert [child.tagname for child in first.children] == ["#text", "literal", "#text"]
    assert second.tagname == "literal_block"
    assert third.astext() == "See f."
