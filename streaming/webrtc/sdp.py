"""What is checked in a viewer's offer before aiortc sees it, and what is changed in the answer."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

MOST_BYTES = 64_000
_MOST_LINES = 2_000
_CANDIDATE = re.compile(r"a=candidate:(\S+) (\d+) (\S+) (\d+) (\S+) (\d+) typ host(.*)")


class BadOffer(ValueError):
    """The offer is none, or of another kind; the message says what was expected."""


class NoCommonCodec(ValueError):
    """The viewer takes none of the codecs that there are."""


def checked_offer(text: str) -> tuple[str, tuple[str, ...]]:
    """The offer without its candidates, and the kinds of its sections, in their order.

    Its candidates are left out, so that nobody makes the server send packets to addresses of their choice: the viewer's
    own checks tell where it is. Raises BadOffer and NoCommonCodec.
    """
    lines = text.replace("\r\n", "\n").strip("\n").split("\n")
    if lines[0] != "v=0":
        raise BadOffer("an SDP offer begins with v=0")
    if len(lines) > _MOST_LINES:
        raise BadOffer(f"an offer has at most {_MOST_LINES} lines, and this one {len(lines)}")
    kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    sections = _sections(kept)
    kinds = tuple(section[0].split(" ")[0].removeprefix("m=") for section in sections)
    if not kinds:
        raise BadOffer("the offer has no m= section: one for video, and one for audio")
    if unknown := sorted({kind for kind in kinds if kind not in ("audio", "video")}):
        raise BadOffer(f"sections may be audio and video alone, and one is {unknown[0][:20]!r}")
    if len(set(kinds)) < len(kinds):
        raise BadOffer("the offer has two sections of one kind")
    for needed in ("a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"):
        if not any(line.startswith(needed) for line in kept):
            raise BadOffer(f"the offer has no line {needed}…, without which nobody can connect")
    for kind, section in zip(kinds, sections, strict=True):
        _require_codec(kind, section)
        if any(line in ("a=sendonly", "a=inactive") for line in section):
            raise BadOffer(f"the {kind} section must be recvonly: viewers send nothing here")
    return "\r\n".join(kept) + "\r\n", kinds


def announced(answer: str, addresses: Iterable[str]) -> str:
    """The answer with more candidates: each port at the addresses under which NAT shows this machine."""
    given = list(addresses)
    lines = []
    for line in answer.split("\r\n"):
        lines.append(line)
        match = _CANDIDATE.fullmatch(line)
        if match is None:
            continue
        foundation, component, transport, priority, host, port, rest = match.groups()
        version = ipaddress.ip_address(host).version
        if ipaddress.ip_address(host).is_loopback:
            continue
        for number, address in enumerate(given):
            if ipaddress.ip_address(address).version == version:
                own = f"{foundation}{number} {component} {transport} {priority}"
                lines.append(f"a=candidate:{own} {address} {port} typ host{rest}")
    return "\r\n".join(lines)


def checked_fragment(text: str) -> None:
    """Raises BadOffer for what is no fragment of trickle ICE (RFC 8840)."""
    for line in text.replace("\r\n", "\n").strip("\n").split("\n"):
        if not re.match(r"[a-z]=", line):
            raise BadOffer(f"a fragment has lines like a=candidate:…, and one is {line[:40]!r}")


def fragment_user(text: str) -> str | None:
    """The `ice-ufrag` of a fragment or a description; None where it has none."""
    found = re.search(r"^a=ice-ufrag:(\S+)", text, re.MULTILINE)
    return found[1] if found else None


def _sections(lines: list[str]) -> list[list[str]]:
    sections: list[list[str]] = []
    for line in lines:
        if line.startswith("m="):
            sections.append([])
        if sections:
            sections[-1].append(line)
    return sections


def _require_codec(kind: str, section: list[str]) -> None:
    names = {line.partition(" ")[2].split("/")[0].lower() for line in section if line.startswith("a=rtpmap:")}
    wanted = "h264" if kind == "video" else "opus"
    if wanted not in names:
        offered = ", ".join(sorted(names))[:100] or "nothing"
        raise NoCommonCodec(f"{kind} is {wanted.upper()} here, and the offer takes {offered}")
