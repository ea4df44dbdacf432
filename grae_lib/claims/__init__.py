"""The ledger of claims, and the numbers that sentences of the book are bound to.

- :mod:`~grae_lib.claims.entries`: what the sources and this book claim, and the rule of verdicts;
- :mod:`~grae_lib.claims.evidence`: what is measured for each claim;
- :mod:`~grae_lib.claims.values`: addresses of numbers in the store;
- :mod:`~grae_lib.claims.marks`: marks in the text that bind a number to its address;
- :mod:`~grae_lib.claims.table`: the ledger and the provenance of results as HTML.
"""

from __future__ import annotations

from .entries import CLAIMS, VERDICTS, Claim, Judgement, get, judge_all, verdict
from .evidence import Observation
from .values import number, shown

__all__ = [
    "CLAIMS",
    "VERDICTS",
    "Claim",
    "Judgement",
    "Observation",
    "get",
    "judge_all",
    "number",
    "shown",
    "verdict",
]
