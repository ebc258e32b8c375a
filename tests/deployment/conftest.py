"""A tiny checkpoint, and one real tritonserver that serves it."""

from tests.support.triton_server import checkpoint, options_for, triton_server

__all__ = ["checkpoint", "options_for", "triton_server"]
