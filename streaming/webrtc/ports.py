"""The UDP ports and addresses that viewers reach this process at."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Sequence

import aioice.ice
from aioice.candidate import Candidate, candidate_foundation, candidate_priority
from aioice.ice import Connection, StunProtocol

_MOST_ADDRESSES = 16
_LOOPBACK = "127.0.0.1"


class NoPort(RuntimeError):
    """All ports of the range are taken; the message says what to do."""


class Ports:
    """A range of UDP ports, of which each viewer takes one at each address."""

    def __init__(self, first: int, last: int, addresses: Sequence[str] = ()) -> None:
        """`addresses` are those to listen at; none: all of this machine."""
        self._first = first
        self._last = last
        self._addresses = tuple(addresses)

    def give(self, connection: Connection, loopback: bool) -> None:
        """Lets an aioice connection take its ports here; aioice itself takes any, and never the loopback's.

        `loopback` says that the viewer is on this machine.
        """

        async def candidates(
            component: int,
            addresses: list[str],
            timeout: int = 5,  # noqa: ASYNC109  # aioice gives it
        ) -> list[Candidate]:
            own = self._addresses or tuple(addresses)[:_MOST_ADDRESSES]
            if loopback and _LOOPBACK not in own:
                own = (*own, _LOOPBACK)
            bound = await self._bound(connection, component, own)
            connection._protocols += bound
            return [protocol.local_candidate for protocol in bound]

        connection.get_component_candidates = candidates  # type: ignore[method-assign]  # it has no option for this

    async def _bound(self, connection: Connection, component: int, addresses: Iterable[str]) -> list[StunProtocol]:
        found = []
        for address in addresses:
            if protocol := await self._bound_at(connection, component, address):
                found.append(protocol)
        if not found:
            raise NoPort(
                f"no UDP port of {self._first}-{self._last} is free: widen webrtc_ports, or let fewer viewers in"
            )
        return found

    async def _bound_at(self, connection: Connection, component: int, address: str) -> StunProtocol | None:
        loop = asyncio.get_running_loop()
        count = self._last - self._first + 1
        start = random.randrange(count)  # several channels share the range
        for step in range(count):
            port = self._first + (start + step) % count
            try:
                transport, protocol = await loop.create_datagram_endpoint(
                    lambda: StunProtocol(connection), local_addr=(address, port)
                )
            except OSError:
                continue  # taken, or the address is gone
            host, bound_port = transport.get_extra_info("sockname")[:2]
            protocol.local_candidate = Candidate(
                foundation=candidate_foundation("host", "udp", host),
                component=component,
                transport="udp",
                priority=candidate_priority(component, "host"),
                host=host,
                port=bound_port,
                type="host",
            )
            return protocol
        return None


def own_addresses() -> list[str]:
    """The addresses of this machine, without the loopback."""
    return aioice.ice.get_host_addresses(use_ipv4=True, use_ipv6=True)
