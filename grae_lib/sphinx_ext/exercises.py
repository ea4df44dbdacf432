"""Exercises that check themselves in the page: a number, a choice, or a prediction.

    ```{grae-exercise} numeric
    :label: ex-gap
    :answer: rotations.mean_field_gap(45, 1600, 100)
    :tolerance: 0.01
    :unit: nats
    :right: Both squared norms enter through A and B.
    :mistakes: {"0.375": "The squared sine is of 2θ, not of θ."}

    What does mean field pay at 45° …?
    ```

- `numeric`: `answer` is a Python expression over the library, computed when the page is built, so
  no number is typed in; `tolerance` is absolute.
- `choice`: the question, a line `---`, and a YAML list of {answer, correct, feedback}, exactly one
  correct.
- `predict`: like `numeric`, with a widget below that stays veiled until a prediction is made.
  `widget`, `state` (JSON) say which and how it starts; `target` (JSON) is the state to move it to,
  and `reads` the number of the widget that is compared with the prediction. Its `answer` is the
  same number by the library, for readers without scripts.

Pages that hold one load one small script, which needs no network. Without scripts a reader opens
the answer by hand.
"""

from __future__ import annotations

import html
import json
import math
from typing import Any, ClassVar

import yaml
from docutils import nodes
from docutils.parsers.rst import directives
from sphinx.util.docutils import SphinxDirective

from .. import quiz
from ..widgets import static_html

KINDS = ("numeric", "choice", "predict")


def computed(expression: str) -> float:
    """The number that an expression over the library stands for; ValueError if it is none."""
    import torch

    from .. import geometry, objectives, posteriors, rotations

    names = {
        "math": math,
        "torch": torch,
        "geometry": geometry,
        "objectives": objectives,
        "posteriors": posteriors,
        "rotations": rotations,
    }
    try:
        value = float(eval(expression, names))
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise ValueError(
            f"answer {expression!r} was given; expected an expression over {', '.join(names)}: "
            f"{error}"
        ) from error
    if not math.isfinite(value):
        raise ValueError(f"answer {expression!r} is {value}; expected a finite number.")
    return value


def shown(value: float) -> str:
    """Four significant digits with a true minus sign."""
    return f"{value:.4g}".replace("-", "−")


class ExerciseDirective(SphinxDirective):
    """```{grae-exercise} numeric|choice|predict```; see the module."""

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {
        "label": directives.unchanged_required,
        **dict.fromkeys(
            (
                "answer",
                "tolerance",
                "unit",
                "right",
                "mistakes",
                "widget",
                "state",
                "target",
                "reads",
            ),
            directives.unchanged,
        ),
    }

    def run(self) -> list[nodes.Node]:
        kind = self.arguments[0]
        try:
            return self._nodes(kind)
        except (ValueError, KeyError) as error:
            raise self.error(f"grae-exercise {kind}: {error}") from error

    def _nodes(self, kind: str) -> list[nodes.Node]:
        if kind not in KINDS:
            raise ValueError(f"there is no such kind; choose one of {', '.join(KINDS)}.")
        lines = list(self.content)
        rest: list[str] = []
        if kind == "choice":
            cut = lines.index("---")
            lines, rest = lines[:cut], lines[cut + 1 :]
        label = self.options["label"]
        data: dict[str, Any] = {"kind": kind}
        if kind != "choice":
            data["answer"] = computed(self.options["answer"])
            data["tolerance"] = float(self.options["tolerance"])
            data["unit"] = self.options.get("unit", "")
            data["right"] = self.options.get("right", "")
            wrong = json.loads(self.options.get("mistakes", "{}"))
            data["mistakes"] = [[float(value), text] for value, text in wrong.items()]
        if kind == "predict":
            data["target"] = json.loads(self.options["target"])
            data["reads"] = self.options["reads"]

        question = nodes.container(classes=["grae-check-question"])
        self.state.nested_parse(lines, self.content_offset, question)
        text = json.dumps(data, ensure_ascii=False).replace("<", "\\u003c")
        # Several exercises of a page must have names that tell them apart.
        name = html.escape(f"Exercise {label.removeprefix('practice-').replace('-', ' ')}")
        start = (
            f'<section class="grae-check" id="{html.escape(label)}" aria-label="{name}">'
            f'<script type="application/json">{text}</script>'
        )
        if rest:
            answers = quiz.checked_answers(label, yaml.safe_load("\n".join(rest)))
            body = quiz.styled(quiz.fieldset(label, "Choose one", answers))
        else:
            body = _number(label, data)
        found: list[nodes.Node] = [nodes.raw("", start, format="html"), question]
        found.append(nodes.raw("", body, format="html"))
        if kind == "predict":
            state = json.loads(self.options.get("state", "{}"))
            widget = static_html.block(self.options["widget"], state)
            found.append(
                nodes.raw("", f'<div class="grae-check-veil">{widget}</div>', format="html")
            )
        found.append(nodes.raw("", "</section>", format="html"))
        return found


def _number(label: str, data: dict[str, Any]) -> str:
    name, unit = html.escape(label), html.escape(data["unit"])
    predicts = data["kind"] == "predict"
    word, verb = ("Your prediction", "Predict") if predicts else ("Your answer", "Check")
    return (
        f'<form class="grae-check-form"><label for="{name}-in">{word}</label>'
        f'<input id="{name}-in" type="text" inputmode="decimal" autocomplete="off" '
        f'aria-describedby="{name}-unit"><span id="{name}-unit">{unit}</span>'
        f'<button type="submit">{verb}</button></form>'
        '<p class="grae-check-says" role="status"></p>'
        f"<details><summary>Show the answer</summary><p>{shown(data['answer'])} {unit}. "
        f"{html.escape(data['right'])}</p></details>"
    )


def add_script(
    app: Any, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Load script and style on pages that hold an exercise, and on no other."""
    if 'class="grae-check"' in (context.get("body") or ""):
        app.add_css_file("exercises.css")
        app.add_js_file("exercises.js", loading_method="defer")


def setup(app: Any) -> None:
    """Connect to Sphinx; called by the extension of the book."""
    app.add_directive("grae-exercise", ExerciseDirective)
    app.connect("html-page-context", add_script)
