"""Settings of texts that a channel says."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from orchestrator.fields import LanguageTag, VoiceName


class TextSettings(BaseModel):
    """What says texts, with which voice."""

    synthesiser: Literal["hibari", "none"] = Field(
        "hibari", description="what says texts: hibari, which is embedded and speaks English; none: texts are refused"
    )
    voice: VoiceName | None = Field(None, description="voice of the channel; none: the synthesiser's default")
    language: LanguageTag | None = Field(
        None, description="language of the channel's texts, such as en or zh-CN; none: that of the voice"
    )
    say_limit_chars: int = Field(5000, ge=1, le=1_000_000, description="longest text that is sent as a whole")
