"""The secret that a tritonserver demands for every call but health checks.

Without it each local user, and over HTTP each web page, could load a model of their own, which runs their code.
"""

from __future__ import annotations

import re
import secrets

from tritonclient.grpc import InferenceServerClientPlugin, Request

_NAME = "latentsync-secret"
_PROTECTED = "metadata,inference,shared-memory,model-config,model-repository,statistics,trace,logging"
_FORM = re.compile(r"[A-Za-z0-9_-]{32,128}")

GRPC_HEADER = f"triton-grpc-protocol-{_NAME}"
"""Triton puts a prefix before the name that its option gives to a gRPC header, and none before an HTTP header."""
HTTP_HEADER = _NAME


def new_secret() -> str:
    """256 random bits."""
    return secrets.token_hex(32)


def checked_secret(text: str) -> str:
    """The secret without surrounding white space; raises ValueError, which doesn't repeat it."""
    secret = text.strip()
    if not _FORM.fullmatch(secret):
        raise ValueError("must hold 32 to 128 letters, digits, - or _, as `openssl rand -hex 32` prints them")
    return secret


def protection(secret: str, http: bool) -> list[str]:
    """Arguments of a tritonserver that demands `secret` over gRPC, and over HTTP where that is on."""
    restricted = f"{_PROTECTED}:{_NAME}={secret}"
    arguments = [f"--grpc-restricted-protocol={restricted}"]
    return [*arguments, f"--http-restricted-api={restricted}"] if http else arguments


class SecretHeader(InferenceServerClientPlugin):  # type: ignore[misc]  # tritonclient has no types
    """Adds the secret to each call of a client."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def __call__(self, request: Request) -> None:
        request.headers = {**(request.headers or {}), GRPC_HEADER: self._secret}
