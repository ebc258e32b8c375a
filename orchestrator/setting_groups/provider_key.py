"""The key of a provider, as it goes into a header."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, SecretStr


def checked_key(value: SecretStr) -> SecretStr:
    """The key without the blanks around it; raises ValueError, which doesn't repeat it, for what no header can hold.

    Files and secrets of clusters often end with a line break. HTTP clients refuse such a header with an error that
    quotes it, and errors of providers are shown to whoever speaks with the avatar.
    """
    key = value.get_secret_value().strip()
    if not all("!" <= char <= "~" for char in key):
        raise ValueError("must hold visible ASCII characters alone: was something else copied with the key?")
    return SecretStr(key)


ProviderKey = Annotated[SecretStr, AfterValidator(checked_key)]
