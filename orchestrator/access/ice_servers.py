"""The STUN and TURN servers that viewers are told, with credentials that last for some hours."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

LASTS_S = 12 * 3600
_URL = re.compile(r"(stun|stuns|turn|turns):([A-Za-z0-9._-]+|\[[0-9A-Fa-f:]+\])(:[0-9]{1,5})?(\?transport=(udp|tcp))?")
_LINK = re.compile(r'<([^>]+)>; rel="ice-server"(?:; username="([^"]*)"; credential="([^"]*)")?')


@dataclass(frozen=True)
class IceServer:
    """One server; STUN has no credentials."""

    url: str
    username: str = ""
    credential: str = ""

    @property
    def link(self) -> str:
        """As a WHEP answer has it in its Link header."""
        text = f'<{self.url}>; rel="ice-server"'
        if self.username:
            text += f'; username="{self.username}"; credential="{self.credential}"; credential-type="password"'
        return text


def checked_url(url: str) -> str:
    """Raises ValueError for what is no address of a STUN or TURN server (RFC 7064, RFC 7065)."""
    if not _URL.fullmatch(url):
        raise ValueError(f"{url!r} must be like stun:host:3478, turn:host:3478?transport=udp or turns:host:5349")
    return url


def ice_servers(urls: tuple[str, ...], secret: str | None, clock: Callable[[], float] = time.time) -> list[IceServer]:
    """The servers, each TURN server with credentials that it can check by the secret alone.

    coturn's REST scheme (`use-auth-secret`): the name is the time of the end, the password its HMAC-SHA1.
    """
    user = f"{int(clock()) + LASTS_S}:{secrets.token_hex(4)}"
    password = "" if secret is None else _password(user, secret)
    return [IceServer(url, user, password) if url.startswith("turn") and secret else IceServer(url) for url in urls]


def parsed_links(links: Iterable[str]) -> list[IceServer]:
    """The servers of Link headers that `IceServer.link` wrote; all other links are left out."""
    found = (match for link in links for match in _LINK.finditer(link))
    return [IceServer(match[1], match[2] or "", match[3] or "") for match in found]


def _password(user: str, secret: str) -> str:
    return base64.b64encode(hmac.new(secret.encode(), user.encode(), hashlib.sha1).digest()).decode()
