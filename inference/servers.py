"""The address of one or several Triton servers, as gRPC needs it."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from dataclasses import dataclass
from typing import Any

_DNS = "dns:///"
# Without gRPC's health checks: Triton answers "Check" and not "Watch", which gRPC needs. A server that refuses
# connections is left out all the same, and a request that fails in transport is sent to another.
_ROUND_ROBIN: dict[str, Any] = {"loadBalancingConfig": [{"round_robin": {}}]}


@dataclass(frozen=True)
class TritonServers:
    """The servers that an address means: `host:port`, `dns:///name:port` for all behind a name, or `ip:port,ip:port`.

    Raises ValueError, which says what an address must look like.
    """

    url: str

    def __post_init__(self) -> None:
        for address in self._addresses():
            host, _, port = address.rpartition(":")
            if not host or "/" in host or not port.isdigit():
                raise ValueError("must be host:port, such as 127.0.0.1:8001, dns:///name:port, or ip:port,ip:port")
            if "," in self.url and not _is_ipv4(host):
                raise ValueError(f"{host} in a list must be an IPv4 address; for names use dns:///name:port")

    @property
    def several(self) -> bool:
        """Whether there may be more than one server, so that two calls may reach different ones."""
        return self.url.startswith(_DNS) or "," in self.url

    @property
    def target(self) -> str:
        """The address in gRPC's own syntax."""
        return f"ipv4:{self.url}" if "," in self.url else self.url

    @property
    def channel_options(self) -> list[tuple[str, str | int]]:
        """What gRPC needs to balance calls over several servers."""
        if not self.several:
            return []
        return [
            ("grpc.service_config", json.dumps(_ROUND_ROBIN)),
            ("grpc.dns_min_time_between_resolutions_ms", 5_000),  # instead of 30 s: a new server should be used soon
        ]

    async def addresses(self) -> list[str]:
        """`host:port` of each server now; empty while the name can't be resolved."""
        if not self.url.startswith(_DNS):
            return self._addresses()
        host, _, port = self.url.removeprefix(_DNS).rpartition(":")
        try:
            found = await asyncio.get_running_loop().getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
        except OSError:
            return []
        hosts = {str(address[0]) for *_, address in found}
        return sorted(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)

    def _addresses(self) -> list[str]:
        return self.url.removeprefix(_DNS).split(",")


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True
