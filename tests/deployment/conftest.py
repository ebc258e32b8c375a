"""A tiny checkpoint, and one real tritonserver that serves it."""

from tests.triton.conftest import checkpoint, options_for
from tests.triton.conftest import server as triton_server

__all__ = ["checkpoint", "options_for", "triton_server"]
