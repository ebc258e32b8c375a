"""One real tritonserver for the tests that need one, serving a tiny checkpoint with random weights."""

from tests.triton.conftest import checkpoint, options_for
from tests.triton.conftest import server as triton_server

__all__ = ["checkpoint", "options_for", "triton_server"]
