"""Settings of conversations, and what of them each channel may define for itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, field_serializer, field_validator

from orchestrator.setting_groups.http_base import HttpBase
from orchestrator.setting_groups.provider_key import ProviderKey

MASK = "***"
"""What stands for a key wherever one is shown; given as a key it means the one that is there."""

ResponderKind = Literal["rules", "openai", "transformers", "realtime"]
RecogniserKind = Literal["tiny.en", "base", "openai", "none"]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Prompt = Annotated[str, StringConstraints(max_length=20_000)]
Remark = Annotated[str, StringConstraints(max_length=1_000)]
Remarks = Annotated[tuple[Remark, ...], Field(max_length=50)]
Tokens = Annotated[int, Field(ge=1, le=100_000)]
HistoryChars = Annotated[int, Field(ge=100, le=10_000_000)]
Turns = Annotated[int, Field(ge=1, le=100_000)]
LimitS = Annotated[float, Field(gt=0, le=7 * 86_400)]
SilenceS = Annotated[float, Field(ge=0.2, le=5)]
WaitS = Annotated[float, Field(ge=0.5, le=3600)]


class ConversationSettings(BaseModel):
    """Who answers on the channels, who recognises what was said, and the rules of talking."""

    responder: ResponderKind = Field(
        "rules",
        description="what answers: rules, which say that they are rules; openai: a server with the interface of "
        "OpenAI's chat completions; transformers: a language model of a local folder, of the extra transformers; "
        "realtime: a server with the interface of OpenAI's Realtime, which hears and speaks by itself",
    )
    responder_url: HttpBase = Field(
        "https://api.openai.com/v1",
        description="address before /chat/completions of the responder openai, before /realtime of realtime",
    )
    responder_key: ProviderKey | None = Field(None, description="API key of the responders openai and realtime")
    responder_model: ModelName = Field("gpt-4o-mini", description="model of the responders openai and realtime")
    responder_voice: ModelName = Field("marin", description="voice of the responder realtime")
    responder_tokens: Tokens = Field(400, description="most tokens that one answer may have")
    responder_timeout_s: float = Field(
        20.0, gt=0, le=600, description="within which an answer of a language model must begin"
    )
    responder_folder: Path | None = Field(
        None, description="folder of the responder transformers, as save_pretrained writes it; none: there is none"
    )
    responder_device: str = Field(
        "cpu", pattern=r"^(cpu|cuda(:[0-9]+)?)$", description="device of the responder transformers: cpu, cuda, cuda:1"
    )
    responder_threads: int = Field(1, ge=1, le=256, description="threads of the responder transformers on a CPU")
    recogniser: RecogniserKind = Field(
        "tiny.en",
        description="what recognises speech: Whisper tiny.en (English) or base (99 languages, of the extra "
        "multilingual), both embedded; openai: a server with the interface of OpenAI's; none: turns are typed",
    )
    recogniser_url: HttpBase = Field(
        "https://api.openai.com/v1", description="address before /audio/transcriptions of the recogniser openai"
    )
    recogniser_key: ProviderKey | None = Field(None, description="API key of the recogniser openai")
    recogniser_model: ModelName = Field("whisper-1", description="model of the recogniser openai")
    conversation_prompt: Prompt = Field(
        "", description="what the language model is told before the conversation: persona, knowledge, manners"
    )
    conversation_history_chars: HistoryChars = Field(
        16_000,
        description="characters of what was said that the language model is given beside its prompt, the latest ones; "
        "four are about a token of English, one is a token of Chinese",
    )
    conversation_greeting: Remark = Field("", description="what the avatar says first; empty: nothing")
    conversation_remarks: Remarks = Field((), description="what the avatar says when nobody speaks, one after another")
    conversation_remark_after_s: WaitS = Field(30.0, description="silence after which it says one of them")
    conversation_silence_s: SilenceS = Field(0.5, description="pause that ends what the person says")
    turn_detector: Path | None = Field(
        None,
        description="ONNX of Smart Turn 3, which hears whether a sentence is finished; none: silence alone tells",
    )
    conversation_filler: Remark = Field("", description="what is said where an answer is slow; empty: nothing")
    conversation_filler_after_s: WaitS = Field(3.0, description="time after which an answer is slow")
    conversation_apology: Remark = Field(
        "", description="what is said where there is no answer, since something failed; empty: nothing"
    )
    conversation_turns: Turns = Field(1000, description="turns of the person after which a conversation ends")
    conversation_limit_s: LimitS = Field(7200.0, description="time after which a conversation ends")
    conversation_unused_s: LimitS = Field(600.0, description="time without a turn after which a conversation ends")
    conversation_kept_s: float = Field(
        300.0, ge=0, le=7 * 86_400, description="how long what was said is remembered for a client that connects again"
    )
    conversation_log: bool = Field(
        False, description="whether what is said is written to files, conversations in the data folder"
    )
    conversation_log_days: int = Field(30, ge=1, le=3650, description="days after which such files are deleted")


class ConversationDefinition(BaseModel):
    """What one channel has of its own; what is None is as the settings say."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    responder: ResponderKind | None = None
    url: HttpBase | None = None
    model: ModelName | None = None
    key: ProviderKey | None = None
    tokens: Tokens | None = None
    recogniser: RecogniserKind | None = None
    prompt: Prompt | None = None
    history_chars: HistoryChars | None = None
    greeting: Remark | None = None
    remarks: Remarks | None = None
    remark_after_s: WaitS | None = None
    silence_s: SilenceS | None = None
    filler: Remark | None = None
    filler_after_s: WaitS | None = None
    apology: Remark | None = None
    turns: Turns | None = None
    limit_s: LimitS | None = None

    @field_validator("key")
    @classmethod
    def _is_no_mask(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and value.get_secret_value() == MASK:
            raise ValueError(f"{MASK} only stands for a key that the channel has already")
        if value is not None and not value.get_secret_value():
            raise ValueError("an empty key is none: give null")
        return value

    @field_serializer("key", when_used="json")
    def _saved_key(self, value: SecretStr | None) -> str | None:
        """As JSON it is saved, in a file that its owner alone can read; the API shows `as_json`."""
        return None if value is None else value.get_secret_value()

    def as_json(self) -> dict[str, Any]:
        """What it has of its own, the key masked."""
        values = self.model_dump(exclude_none=True, exclude={"key"})
        return {**values, "key": MASK} if self.key is not None else values

    def changed_by(self, values: dict[str, Any]) -> dict[str, Any]:
        """The fields after a change of those that `values` names; a mask leaves the key as it is."""
        kept = self.model_dump(exclude_none=True)
        if values.get("key") == MASK and self.key is not None:
            values = {name: value for name, value in values.items() if name != "key"}
        return {**kept, **values}
