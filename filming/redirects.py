"""Where a service may send this server: not into the network that only this server can reach."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Awaitable, Callable

import httpx

from filming.service import FilmError, FilmFault

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[httpx.URL], Awaitable[list[Address]]]


async def addresses_of(url: httpx.URL) -> list[Address]:
    """The addresses of a URL's host, none where it has none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(url.host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # who connects there says why it can't
        return []
    return [_plain(ipaddress.ip_address(str(where[0]).partition("%")[0])) for *_, where in found]


class OutwardRedirects:
    """A hook of an HTTP client: raises FilmError for a request to where its service may not redirect it.

    That is a link-local address, as of a cloud's metadata, and an address of an inner network where the service's own
    is not in one. What is found there would be shown as an answer of the service.
    """

    def __init__(self, home: str, resolve: Resolve = addresses_of) -> None:
        """`home` is the service's address."""
        self._home = httpx.URL(home)
        self._resolve = resolve

    async def __call__(self, request: httpx.Request) -> None:
        """Called before each request, also those that follow a redirection."""
        home, url = self._home, request.url
        if (url.scheme, url.host, url.port) == (home.scheme, home.host, home.port):
            return
        there = await self._resolve(url)
        inner = any(not address.is_global for address in there)
        if any(address.is_link_local for address in there) or (
            inner and all(address.is_global for address in await self._resolve(home))
        ):
            message = f"The service redirects to {url.host}, an address of this server's own network."
            raise FilmError(FilmFault.FAILED, message)


def _plain(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
