"""Fixtures that every area's tests use, and how several processes share the tests."""

from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.triton_server import checkpoint, exported, options_for, triton_server
from tests.support.work_order import ByFile, in_order

__all__ = ["checkpoint", "exported", "options_for", "triton_server"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and local media beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "fixtures").is_dir():
        pytest.skip("the reference fixtures (../shared) are not on this machine")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items[:] = in_order(items)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> ByFile | None:
    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None
