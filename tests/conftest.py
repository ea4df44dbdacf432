"""What all tests share: precision, device, seeded generators, and how a missing tool is treated.

In CI (the variable ``CI`` is set) a tool that is missing fails the test that needs it; on a
reader's machine it skips the test and says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

import pytest

if TYPE_CHECKING:
    import torch


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--dtype",
        choices=["float32", "float64"],
        default="float64",
        help="precision of the fixture 'dtype' (closed forms are held to float64)",
    )
    parser.addoption("--device", default="cpu", help="device of the fixture 'device'")


def in_ci() -> bool:
    """Whether the tests run in continuous integration."""
    return os.environ.get("CI", "").lower() not in {"", "0", "false"}


def unavailable(what: str) -> NoReturn:
    """Fail in CI, skip elsewhere, for want of ``what``."""
    if in_ci():
        pytest.fail(f"{what} is missing, and CI must have it", pytrace=False)
    pytest.skip(f"{what} is missing: this was NOT tested")


@pytest.fixture(scope="session")
def need() -> Callable[[Any, str], Any]:
    """``need(value, what)`` returns a true value, and otherwise fails in CI and skips elsewhere."""

    def _need(value: Any, what: str) -> Any:
        return value if value else unavailable(what)

    return _need


@pytest.fixture
def dtype(request: pytest.FixtureRequest) -> torch.dtype:
    """float64 unless ``--dtype`` says otherwise."""
    import torch

    return getattr(torch, request.config.getoption("--dtype"))


@pytest.fixture
def device(request: pytest.FixtureRequest) -> torch.device:
    """CPU unless ``--device`` says otherwise."""
    import torch

    return torch.device(request.config.getoption("--device"))


@pytest.fixture
def float64(dtype: torch.dtype) -> Iterator[torch.dtype]:
    """Makes ``dtype`` torch's default for one test and puts the old default back after it."""
    import torch

    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    yield dtype
    torch.set_default_dtype(before)


@pytest.fixture
def generator() -> torch.Generator:
    """A CPU generator with a fixed seed; no test touches torch's global one."""
    import torch

    return torch.Generator().manual_seed(0)
