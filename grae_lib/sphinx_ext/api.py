"""The library's reference, made from its docstrings.

    ```{grae-api} grae_lib.geometry
    ```

lists the public functions and classes that a module defines, with signature and docstring. The
docstrings are prose with formulas in plain characters, so they are shown as they are written.
"""

from __future__ import annotations

import importlib
import inspect
import re
from types import ModuleType
from typing import Any, ClassVar

from docutils import nodes
from sphinx.util.docutils import SphinxDirective


def public(module: ModuleType) -> list[tuple[str, Any]]:
    """Functions and classes that a module defines and does not hide, in the order of its source."""
    found = [
        (name, value)
        for name, value in vars(module).items()
        if not name.startswith("_")
        and (inspect.isfunction(value) or inspect.isclass(value))
        and value.__module__ == module.__name__
    ]
    return sorted(found, key=lambda pair: inspect.getsourcelines(pair[1])[1])


def methods(value: Any) -> list[tuple[str, Any]]:
    """Public methods that a class defines itself and documents."""
    if not inspect.isclass(value):
        return []
    return [
        (f"{value.__name__}.{name}", member)
        for name, member in vars(value).items()
        if not name.startswith("_") and inspect.isfunction(member) and member.__doc__
    ]


def signature(name: str, value: Any) -> str:
    """Name and parameters as one line; annotations are left to the docstring."""
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return name
    plain = [p.replace(annotation=inspect.Parameter.empty) for p in found.parameters.values()]
    # A default without a readable form, such as a function, is shown as an ellipsis.
    empty = inspect.Parameter.empty
    plain = [
        p.replace(default=...) if p.default is not empty and "<" in repr(p.default) else p
        for p in plain
    ]
    return f"{name}{inspect.Signature(plain)}"


def text(docstring: str) -> list[nodes.Node]:
    """Docstring as paragraphs; `code` in backticks, indented blocks and lists kept as written."""
    found: list[nodes.Node] = []
    for block in re.split(r"\n\s*\n", inspect.cleandoc(docstring)):
        if block.startswith((" ", ">>> ", "- ", "| ")) or "\n    " in block or "\n- " in block:
            found.append(nodes.literal_block(block, block, language="none"))
            continue
        paragraph = nodes.paragraph()
        for k, part in enumerate(re.split(r"`{1,2}([^`]+)`{1,2}", re.sub(r":\w+:`", "`", block))):
            paragraph += nodes.literal(text=part) if k % 2 else nodes.Text(part)
        found.append(paragraph)
    return found


class ApiDirective(SphinxDirective):
    """```{grae-api} module```."""

    required_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        name = self.arguments[0]
        try:
            module = importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise self.error(f"grae-api {name}: {error}") from error
        self.env.note_dependency(str(module.__file__))
        listed = nodes.definition_list()
        for label, value in public(module):
            for shown, member in ((label, value), *methods(value)):
                anchor = f"{name}.{shown}"
                term = nodes.term("", "", ids=[anchor.replace(".", "-").replace("_", "-").lower()])
                term += nodes.literal(text=signature(shown, member))
                body = nodes.definition("", *text(inspect.getdoc(member) or ""))
                listed += nodes.definition_list_item("", term, body)
        return [*text(module.__doc__ or ""), listed]
