"""Fixtures that every area's tests use."""

from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.triton_server import checkpoint, exported, options_for, triton_server

__all__ = ["checkpoint", "exported", "options_for", "triton_server"]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference numbers and local media beside the checkout; skips where it is absent."""
    folder = ROOT.parent / "shared"
    if not (folder / "fixtures").is_dir():
        pytest.skip("the reference fixtures (../shared) are not on this machine")
    return folder
