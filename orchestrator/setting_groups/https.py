"""Settings of HTTPS without a proxy."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, model_validator


class HttpsSettings(BaseModel):
    """The server's own certificate."""

    https_certificate: Path | None = Field(
        None,
        description="PEM file of the server's certificate and of those between it and its CA; none: HTTP, as behind a "
        "proxy with TLS",
    )
    https_key: Path | None = Field(None, description="PEM file of the key of https_certificate")

    @model_validator(mode="after")
    def _both_or_none(self) -> HttpsSettings:
        if (self.https_certificate is None) != (self.https_key is None):
            raise ValueError("https_certificate and https_key belong together: set both or none of them")
        return self
