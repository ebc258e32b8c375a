"""Settings of where channels publish and record."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, SecretStr, StringConstraints, field_validator, model_validator

from orchestrator.access.allowed_targets import EVERYWHERE, AllowedTargets


class PublishingSettings(BaseModel):
    """Targets, recordings and the certificates of rtmps servers."""

    rtmp_url: SecretStr | None = Field(None, description="where the channel is published, rtmp:// or rtmps://")
    allowed_targets: tuple[str, ...] = Field(
        EVERYWHERE, description="where channels may publish: scheme://host with * in the host, and recordings for files"
    )
    recordings_reserve_bytes: int = Field(
        500_000_000, ge=0, description="free space that recordings leave on their disk, for tasks and logs"
    )
    recordings_limit_bytes: int | None = Field(
        None, ge=1, description="most that all recordings may take, the oldest are deleted; none: no limit"
    )
    recordings_limit_days: float | None = Field(
        None, gt=0, description="age at which recordings are deleted; none: never"
    )
    recording_part_s: int | None = Field(
        None,
        ge=10,
        le=7 * 24 * 3600,
        description="length after which a recording goes on in another file; none: an hour where recordings are "
        "limited, else never",
    )
    tls_ca_file: Path | None = Field(
        None, description="PEM file of the CAs that rtmps servers are checked with; none: those this machine trusts"
    )
    tls_unverified_hosts: tuple[Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.*_:-]{1,253}$")], ...] = Field(
        (), description="hosts of rtmps targets whose certificate is not checked, with * in the names"
    )

    @field_validator("tls_ca_file")
    @classmethod
    def _holds_certificates(cls, value: Path | None) -> Path | None:
        if value is not None:
            try:
                ssl.create_default_context(cafile=str(value))
            except OSError as error:  # ssl.SSLError too
                raise ValueError(f"must be a PEM file of CA certificates: {error}") from None
        return value

    @field_validator("allowed_targets")
    @classmethod
    def _are_patterns(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        AllowedTargets(value)
        return value

    @field_validator("rtmp_url")
    @classmethod
    def _is_rtmp(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("rtmp://", "rtmps://")):
            # The value itself may hold a stream key, and is not repeated.
            raise ValueError("must begin with rtmp:// or rtmps://")
        return value

    @model_validator(mode="after")
    def _rtmp_url_is_allowed(self) -> PublishingSettings:
        if self.rtmp_url is not None:
            refusal = AllowedTargets(self.allowed_targets).refusal(self.rtmp_url.get_secret_value())
            if refusal:
                raise ValueError(f"rtmp_url: {refusal}")
        return self

    @property
    def recording_length_s(self) -> int:
        """Length of one file of a recording; 0 where it never ends."""
        if self.recording_part_s is not None:
            return self.recording_part_s
        # A file that is written to is never deleted, so a limit needs files that end.
        limited = self.recordings_limit_bytes is not None or self.recordings_limit_days is not None
        return 3600 if limited else 0
