"""Types of values that settings, channel definitions and requests share, each with its range or pattern."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

AVATAR_NAME = r"^[a-z0-9][a-z0-9_-]{0,63}$"
SITE = r"^https?://(\*\.)?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*(:[0-9]{1,5})?$"
"""An origin, or all below a name: a source of Content-Security-Policy, in which nothing else may be smuggled."""

AvatarName = Annotated[str, StringConstraints(pattern=AVATAR_NAME)]
ChannelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]{0,31}$")]
Port = Annotated[int, Field(ge=1, le=65535)]
FadeFrames = Annotated[int, Field(ge=0, le=25)]
"""Length of a fade in frames of 40 ms."""
BitrateKbps = Annotated[int, Field(ge=100, le=50_000)]
VoiceName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}$")]
LanguageTag = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$")]
"""A tag of BCP 47, such as en or zh-CN."""
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"]
"""x264's trade of quality for time."""


def unknown(name: str, known: Iterable[str], what: str) -> str:
    """That there is no `what` of this name, and which one of the known is probably meant."""
    near = difflib.get_close_matches(name, list(known), n=1)
    return f"{name}: there is no such {what}" + (f"; probably {near[0]} is meant" if near else "")
