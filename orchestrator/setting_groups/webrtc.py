"""Settings of WebRTC: where viewers reach this machine, and how many may."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, Field, StringConstraints, field_validator

from orchestrator.access.ice_servers import checked_url

IpAddress = Annotated[str, AfterValidator(lambda value: str(ipaddress.ip_address(value)))]


class WebRtcSettings(BaseModel):
    """Ports, addresses and helpers of the way to WebRTC's viewers."""

    webrtc_ports: Annotated[str, StringConstraints(pattern=r"^[0-9]{1,5}-[0-9]{1,5}$")] = Field(
        "50000-50199", description="UDP ports of WebRTC, of which each viewer takes one at each address"
    )
    webrtc_listen_at: tuple[IpAddress, ...] = Field(
        (), description="addresses of this machine that WebRTC uses; none: all, and for its own viewers the loopback"
    )
    webrtc_announced: tuple[IpAddress, ...] = Field(
        (), description="addresses under which WebRTC's viewers reach this machine, where NAT stands between"
    )
    webrtc_offers_per_minute: int = Field(
        120, ge=0, le=1_000_000, description="WebRTC viewers that one caller may begin; 0: no limit"
    )
    ice_servers: tuple[str, ...] = Field(
        (), description="STUN and TURN servers that viewers are told, such as turn:turn.example.com:3478?transport=udp"
    )
    turn_secret_file: Path | None = Field(
        None, description="secret shared with the TURN servers (coturn's static-auth-secret); none: no credentials"
    )

    @field_validator("webrtc_ports")
    @classmethod
    def _is_range(cls, value: str) -> str:
        first, last = map(int, value.split("-"))
        if not 1024 <= first <= last <= 65535:
            raise ValueError("must be first-last within 1024-65535, such as 50000-50199")
        return value

    @field_validator("ice_servers")
    @classmethod
    def _are_ice_servers(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(map(checked_url, value))

    @property
    def webrtc_port_range(self) -> tuple[int, int]:
        """The first and the last UDP port of WebRTC."""
        first, last = map(int, self.webrtc_ports.split("-"))
        return first, last
