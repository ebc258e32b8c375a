"""The definition of a channel: avatar, picture and targets, as the API accepts it and the store saves it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, ValidationError
from typing_extensions import TypedDict

from latentsync.avatar import PreparedAvatar
from orchestrator.fields import (
    AvatarName,
    BitrateKbps,
    ChannelName,
    FadeFrames,
    LanguageTag,
    Preset,
    VoiceName,
    unknown,
)
from orchestrator.setting_groups.conversation import ConversationDefinition
from speech.audio.frames import SilentFrames
from streaming.address import SCHEMES, Address
from streaming.targets import mask

_ONE_ARGUMENT = r"^[\x21-\x7e]{1,1024}$"
"""No spaces or control characters: an address is one argument of ffmpeg."""

Target = Annotated[str, StringConstraints(pattern=_ONE_ARGUMENT)]
Side = Annotated[int, Field(ge=64, le=4096, multiple_of=2)]
Model = TypeVar("Model", bound=BaseModel)

ConversationState = Literal["listening", "hearing", "thinking", "speaking"]
"""States of a conversation, as its socket tells them."""

_WITHIN_PROCESS = (
    "targets",
    "voice",
    "language",
    "conversation",
    "idle_motions",
    "idle_motions_every_s",
    "state_motions",
)

MAX_TARGETS = 8
# Fields whose values hold keys, or may.
_SECRETIVE = ("targets", "instead_of", "conversation.key", "conversation.url")
_FILES = (".flv", ".ts", ".mp4", ".m3u8")


class DefinitionError(ValueError):
    """An invalid definition; the message names each wrong field and never repeats a target."""


def target_problem(target: str) -> str | None:
    """Why no channel can publish to a target, without its key; None for one that a channel can."""
    if "://" in target:
        try:
            Address.parse(target)
        except ValueError as error:
            return str(error)
    elif not _is_recording(target):
        return (
            f"it must be an address with {', '.join(f'{s}://' for s in SCHEMES)}, or the name of "
            f"a {', '.join(_FILES)} file below the recordings folder, such as show.flv or news/live.m3u8"
        )
    if not re.fullmatch(_ONE_ARGUMENT, target):
        return "it must have at most 1024 characters, and neither spaces nor any beyond ASCII"
    return None


def _known_targets(targets: tuple[str, ...]) -> tuple[str, ...]:
    for number, target in enumerate(targets):
        if problem := target_problem(target):
            raise ValueError(f"number {number}: {problem}")
    if len(set(targets)) < len(targets):
        raise ValueError("one target is given twice")
    return targets


Targets = Annotated[
    tuple[Target, ...],
    Field(max_length=MAX_TARGETS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_known_targets),
]


class DefinitionJson(TypedDict):
    """A definition as the API shows it, with the keys of its targets masked."""

    channel: str
    avatar: str
    targets: list[str]
    picture_size: list[int] | None
    fade_frames: int
    mouth_fade_frames: int
    video_bitrate_kbps: int
    x264_preset: str
    voice: str | None
    language: str | None
    conversation: dict[str, Any] | None
    idle_motions: list[str]
    idle_motions_every_s: float
    state_motions: dict[str, str]


class ChannelDefinition(BaseModel):
    """One channel; sizes in pixels, fades in frames of 40 ms."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: ChannelName
    avatar: AvatarName
    targets: Targets = ()
    picture_size: tuple[Side, Side] | None = None
    fade_frames: FadeFrames = 5
    mouth_fade_frames: FadeFrames = 2
    video_bitrate_kbps: BitrateKbps = 2500
    x264_preset: Preset = "veryfast"
    voice: VoiceName | None = None
    language: LanguageTag | None = None
    conversation: ConversationDefinition | None = None
    idle_motions: Annotated[tuple[AvatarName, ...], Field(max_length=32)] = ()
    """Motions of which one is shown every so often while nothing is said."""
    idle_motions_every_s: Annotated[float, Field(ge=1, le=3600)] = 20.0
    """Mean time between two of them."""
    state_motions: dict[ConversationState, AvatarName] = Field(default_factory=dict)
    """Motions that are held while a conversation listens, hears, thinks or speaks."""

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> ChannelDefinition:
        """Validates a JSON object; raises DefinitionError."""
        return _validated(cls, values)

    @classmethod
    def parse_saved(cls, values: Any) -> ChannelDefinition:
        """Validates what `parse` accepted once; raises DefinitionError.

        The targets are taken as they are: one that breaks a rule of today is refused by itself (`target_problem`).
        """
        return _validated_but_targets(cls, values)

    def motion_for_state(self, state: str) -> str | None:
        """The motion that is held while a conversation is in this state; None shows idle."""
        return next((motion for name, motion in self.state_motions.items() if name == state), None)

    @property
    def named_motions(self) -> set[str]:
        """The motions that it names."""
        return {*self.idle_motions, *self.state_motions.values()}

    def differs_in_process(self, other: ChannelDefinition) -> bool:
        """Whether the channel's process must begin anew to become the other: what needs no new process is left out."""
        unheard = {name: getattr(other, name) for name in _WITHIN_PROCESS}
        return self.model_copy(update=unheard) != other

    def addresses(self, recordings_dir: Path) -> tuple[str, ...]:
        """The targets, each recording as an absolute path; creates its folder."""
        found = []
        for target in self.targets:
            if _is_recording(target):
                path = recordings_dir / target
                path.parent.mkdir(parents=True, exist_ok=True)
                target = str(path)
            found.append(target)
        return tuple(found)

    def silence(self, avatar: PreparedAvatar) -> SilentFrames:
        """The silence around each speech: before it only where another body must go before the speaking one is seen."""
        if avatar.idle is None:
            return SilentFrames(before=0, behind=self.mouth_fade_frames)
        return SilentFrames(before=self.fade_frames, behind=self.fade_frames)

    def as_json(self) -> DefinitionJson:
        """All fields, with the keys of the targets masked."""
        return {
            "channel": self.channel,
            "avatar": self.avatar,
            "targets": [mask(target) for target in self.targets],
            "picture_size": None if self.picture_size is None else list(self.picture_size),
            "fade_frames": self.fade_frames,
            "mouth_fade_frames": self.mouth_fade_frames,
            "video_bitrate_kbps": self.video_bitrate_kbps,
            "x264_preset": self.x264_preset,
            "voice": self.voice,
            "language": self.language,
            "conversation": None if self.conversation is None else self.conversation.as_json(),
            "idle_motions": list(self.idle_motions),
            "idle_motions_every_s": self.idle_motions_every_s,
            "state_motions": {str(state): motion for state, motion in self.state_motions.items()},
        }


class ChangedTargets(BaseModel):
    """Targets that the API gave to the channel of the settings, which hold while these name `instead_of`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    channel: ChannelName
    instead_of: tuple[str, ...]
    targets: Targets

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> ChangedTargets:
        """Validates a JSON object; raises DefinitionError."""
        return _validated(cls, values)

    @classmethod
    def parse_saved(cls, values: Any) -> ChangedTargets:
        """As `ChannelDefinition.parse_saved`."""
        return _validated_but_targets(cls, values)


def _validated_but_targets(model: type[Model], values: Any) -> Model:
    targets = values.get("targets", []) if isinstance(values, dict) else None
    if not isinstance(targets, list) or not all(isinstance(target, str) for target in targets):
        return _validated(model, values)  # which says what is wrong
    checked = _validated(model, {**values, "targets": []})
    return checked.model_copy(update={"targets": tuple(dict.fromkeys(targets))})


def _validated(model: type[Model], values: Mapping[str, Any]) -> Model:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        sentences = (_sentence(model, item) for item in error.errors(include_url=False))
        raise DefinitionError("; ".join(sentences)) from None


def _is_recording(target: str) -> bool:
    path = PurePosixPath(target)
    named = path.suffix in _FILES and not path.is_absolute() and ".." not in path.parts
    return named and ":" not in target and not target.startswith("-")


def _sentence(model: type[BaseModel], item: Any) -> str:
    name = ".".join(str(part) for part in item["loc"]) or "the channel"
    if item["type"] == "extra_forbidden":
        known = [*model.model_fields, *(f"conversation.{field}" for field in ConversationDefinition.model_fields)]
        return unknown(name[:40], known, "field")
    value = item["input"]
    # A target holds a stream key; the input of a missing field is the whole object.
    shown = isinstance(value, (int, float, str)) and not name.startswith(_SECRETIVE)
    return f"{name}: {item['msg'].removeprefix('Value error, ')}" + (f" (it is {value!r:.40})" if shown else "")
