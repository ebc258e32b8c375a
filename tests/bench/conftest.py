"""One real tritonserver for the tests that need one, serving a tiny checkpoint with random weights."""

from tests.support.triton_server import checkpoint, options_for, triton_server

__all__ = ["checkpoint", "options_for", "triton_server"]
