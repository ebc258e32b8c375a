"""What the process for WebRTC needs to know before it starts."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True)
class WebRtcConfig:
    """One channel's viewers; carries only values that JSON can hold."""

    channel: str
    packet_socket: str
    first_port: int
    last_port: int
    listen_at: tuple[str, ...] = ()
    """Addresses of this machine that viewers come to; none: all of them."""
    announced: tuple[str, ...] = ()
    """Addresses under which others see this machine, where NAT stands between."""
    most_peers: int = 64
    most_pending: int = 16
    """Viewers whose offer was answered and who have not connected yet; of one owner there may be half as many."""

    def to_json(self) -> dict[str, Any]:
        """All values as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> WebRtcConfig:
        """The inverse of `to_json`; raises TypeError for a name that does not exist."""
        lists = {name: tuple(values[name]) for name in ("listen_at", "announced")}
        return cls(**{**values, **lists})
