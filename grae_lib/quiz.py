"""Self-check questions that work wherever a chapter is read: page, folder, Jupyter, Colab.

Questions are plain values in the layout of JupyterQuiz's multiple choice, so a course can feed the
same list to `jupyterquiz.display_quiz`. Shown here they are a few lines of HTML without a script:
choosing an answer opens what there is to say about it. No network, no kernel, usable by keyboard.
"""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

#: Where the questions are, one file a chapter.
FOLDER = Path(__file__).parent / "assets" / "quiz"

_STYLE = """
.grae-quiz fieldset { border: 1px solid currentColor; border-radius: .5rem; margin: 1rem 0;
  padding: .6rem 1rem; min-width: 0; max-width: 46rem; }
.grae-quiz legend { font-size: 1em; font-weight: 600; padding: 0 .4rem; width: auto;
  float: none; margin: 0; }
.grae-quiz label { display: flex; gap: .6rem; align-items: baseline; min-height: 1.6rem;
  padding: .15rem 0; cursor: pointer; }
.grae-quiz input { flex: none; }
.grae-quiz [role=status] { display: none; margin: 0 0 .4rem 1.6rem; padding-left: .6rem;
  border-left: .25rem solid; }
.grae-quiz label:has(input:checked) + [role=status] { display: block; }
.grae-quiz .grae-right { border-color: #009e73; }
.grae-quiz .grae-wrong { border-color: #d55e00; }
"""


def checked_answers(question: str, answers: Any) -> list[dict[str, Any]]:
    """The answers themselves, if they can be shown; raises ValueError if not.

    Each is complete, exactly one of two or more is correct.
    """
    keys = {"answer", "correct", "feedback"}
    if not isinstance(answers, list):
        raise ValueError(f"answers of {question!r} are {answers!r}; expected a list.")
    for answer in answers:
        if not isinstance(answer, dict) or answer.keys() != keys:
            raise ValueError(f"answer {answer!r}: expected the keys {', '.join(sorted(keys))}.")
    right = sum(answer["correct"] is True for answer in answers)
    if right != 1 or len(answers) < 2:
        raise ValueError(
            f"{question!r} has {len(answers)} answers, {right} of them correct; "
            "give two or more, exactly one correct."
        )
    return answers


def _checked(question: Any) -> dict[str, Any]:
    """The question itself, if it is one that can be shown; raises ValueError if not."""
    if not isinstance(question, dict) or not {"question", "answers"} <= question.keys():
        raise ValueError(f"{question!r} was given; a question has the keys question and answers.")
    kind = question.get("type", "multiple_choice")
    if kind != "multiple_choice":
        raise ValueError(f"type {kind!r} was given; only 'multiple_choice' is shown here.")
    checked_answers(question["question"], question["answers"])
    return question


def fieldset(name: str, legend: str, answers: Sequence[dict[str, Any]]) -> str:
    """One question as HTML: radio buttons of that name, each with what there is to say about it."""
    rows = []
    for answer in answers:
        verdict, says = ("right", "Right. ") if answer["correct"] else ("wrong", "Not so. ")
        rows.append(
            f'<label><input type="radio" name="{html.escape(name)}">'
            f"<span>{html.escape(str(answer['answer']))}</span></label>"
            f'<div role="status" class="grae-{verdict}">'
            f"<b>{says}</b>{html.escape(answer['feedback'])}</div>"
        )
    return f"<fieldset><legend>{html.escape(legend)}</legend>{''.join(rows)}</fieldset>"


def styled(fieldsets: str) -> str:
    """Questions with the style that they need, for a page or a notebook."""
    return f'<div class="grae-quiz"><style>{_STYLE}</style>{fieldsets}</div>'


class Quiz:
    """Multiple-choice questions; the last expression of a cell shows them.

    questions: a list of ``{"question": str, "answers": [{"answer": str, "correct": bool,
    "feedback": str}, …]}`` with exactly one correct answer each. Plain text, no markup. Raises
    ValueError for anything else.
    """

    def __init__(self, questions: Sequence[dict[str, Any]]):
        self.questions = [_checked(question) for question in questions]
        if not self.questions:
            raise ValueError("no questions were given; give a list of one or more.")

    @classmethod
    def load(cls, chapter: str) -> Quiz:
        """The questions that the package carries for a chapter of the book."""
        path = FOLDER / f"{chapter}.json"
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in FOLDER.glob("*.json")))
            raise ValueError(f"chapter {chapter!r} has no questions; choose one of {known}.")
        return cls(json.loads(path.read_text(encoding="utf-8")))

    def __repr__(self) -> str:
        count = len(self.questions)
        return f"{count} self-check question{'s' if count > 1 else ''}"

    def _repr_html_(self) -> str:
        # Names of radio buttons must differ between quizzes of a page and not between builds.
        text = json.dumps(self.questions, sort_keys=True)
        name = "quiz-" + hashlib.sha256(text.encode()).hexdigest()[:8]
        return styled(
            "".join(
                fieldset(f"{name}-{i}", f"{i}. {question['question']}", question["answers"])
                for i, question in enumerate(self.questions, 1)
            )
        )
