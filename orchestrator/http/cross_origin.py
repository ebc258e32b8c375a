"""What pages of other sites may use with a key of theirs: WHEP, which players anywhere speak."""

from __future__ import annotations

import re

_WHEP = re.compile(r"/v1/channels/[^/]+/whep(/[^/]+)?")
CROSS_ORIGIN = {
    "Access-Control-Allow-Origin": "*",  # never with cookies: a foreign page needs a key
    "Access-Control-Allow-Methods": "OPTIONS, POST, PATCH, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, If-Match",
    "Access-Control-Expose-Headers": "Location, Link, ETag",
    "Access-Control-Max-Age": "600",
}
"""Headers of every answer below a path of WHEP, where a key is needed; elsewhere any page could watch."""


def is_whep(path: str) -> bool:
    """Whether a path belongs to WHEP."""
    return _WHEP.fullmatch(path) is not None
