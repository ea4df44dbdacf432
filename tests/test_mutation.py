"""The list of deliberate faults stays in step with the library; running it takes ten minutes."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

RUN = Path(__file__).parent / "mutation" / "run.py"


@pytest.fixture
def mutation():
    spec = importlib.util.spec_from_file_location("mutation_run", RUN)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_fault_still_fits_one_line_of_the_library(mutation):
    assert mutation.misfits(mutation.FAULTS) == []
    assert len({fault.name for fault in mutation.FAULTS}) == len(mutation.FAULTS) >= 10


def test_a_fault_that_no_longer_fits_is_named(mutation):
    stale = mutation.FAULTS[0]._replace(old="a line that nobody wrote")
    assert mutation.misfits([stale]) == [f"{stale.name}: 0 × in {stale.file}"]
