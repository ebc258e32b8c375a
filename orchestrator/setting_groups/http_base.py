"""The base address of a provider's HTTP interface, as settings and channels name it."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, StringConstraints


def checked_base(value: str) -> str:
    """The address without a slash at its end; raises ValueError for what is none, or holds a password."""
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("must be http://host/path or https://host/path, to which the provider's paths are added")
    if parts.username or parts.password:
        raise ValueError("must hold no password: it is printed, and keys are not")
    return value.rstrip("/")


HttpBase = Annotated[str, StringConstraints(max_length=1000), AfterValidator(checked_base)]
