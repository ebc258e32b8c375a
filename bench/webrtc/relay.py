"""A UDP relay between one viewer and the server, which loses packets where a measurement wants it."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

_CANDIDATE = re.compile(r"^(a=candidate:\S+ \d+ udp \d+) (\d+\.\d+\.\d+\.\d+) (\d+) typ host", re.MULTILINE)


class _Side(asyncio.DatagramProtocol):
    def __init__(self, relay: Relay, to_server: bool) -> None:
        self._relay = relay
        self._to_server = to_server

    def datagram_received(self, data: bytes, addr: tuple[Any, ...]) -> None:
        self._relay.carry(data, addr, self._to_server)


class Relay:
    """`loss` is the share of the packets that it loses, in both directions; `dark` loses all of them."""

    def __init__(self, seed: int) -> None:
        self.loss = 0.0
        self.dark = False
        self.carried = self.lost = 0
        self._random = random.Random(seed)
        self._viewer: tuple[Any, ...] | None = None
        self._server: tuple[str, int] | None = None
        self._inner: asyncio.DatagramTransport | None = None
        self._outer: asyncio.DatagramTransport | None = None

    async def stand_between(self, answer: str) -> str:
        """The server's answer with the relay's address in the place of all candidates."""
        first = _CANDIDATE.search(answer)
        assert first is not None, "the answer has no IPv4 candidate"
        loop, host = asyncio.get_running_loop(), first[2]
        self._server = host, int(first[3])
        self._outer, _ = await loop.create_datagram_endpoint(lambda: _Side(self, True), local_addr=(host, 0))
        self._inner, _ = await loop.create_datagram_endpoint(lambda: _Side(self, False), local_addr=(host, 0))
        port = self._outer.get_extra_info("sockname")[1]
        own = f"{first[1]} {host} {port} typ host"
        kept = [line for line in answer.split("\r\n") if not line.startswith("a=candidate:")]
        lines = [line for each in kept for line in ((own, each) if each == "a=end-of-candidates" else (each,))]
        return "\r\n".join(lines)

    def carry(self, data: bytes, sender: tuple[Any, ...], to_server: bool) -> None:
        """Passes a packet on, or loses it."""
        assert self._inner is not None and self._outer is not None
        if to_server:
            self._viewer = sender
        self.carried += 1
        if self.dark or self._random.random() < self.loss:
            self.lost += 1
        elif to_server:
            self._inner.sendto(data, self._server)
        elif self._viewer is not None:
            self._outer.sendto(data, self._viewer)

    def close(self) -> None:
        """Ends it."""
        for transport in (self._inner, self._outer):
            if transport is not None:
                transport.close()
