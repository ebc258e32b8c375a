"""JSON that routes answer with, beside what tasks, channels and avatars say of themselves."""

from __future__ import annotations

from typing import Literal

from typing_extensions import TypedDict

from conversation.message import Role
from latentsync.avatar import Loop
from orchestrator.access.keys import Scope
from orchestrator.avatars.preparations import AvatarTaskJson
from orchestrator.channels.view import ChannelJson
from orchestrator.encoder_costs import EncoderCostJson
from orchestrator.observability.ledger import LedgerEntryJson
from orchestrator.tasks.task import TaskJson


class AcceptedJson(TypedDict):
    """A speech was taken; `task_id` tells what becomes of it."""

    status: Literal["processing_started"]
    task_id: str


class AcceptedAvatarJson(AcceptedJson):
    """A video was taken; `warning` says why the avatar will speak badly, or is null."""

    warning: str | None


class TasksJson(TypedDict):
    """Tasks, newest first."""

    tasks: list[TaskJson]


class CreatedChannelJson(ChannelJson):
    """A new channel, with what its picture costs; null while that isn't known."""

    encoder_cost: EncoderCostJson | None


class ChannelsJson(TypedDict):
    """All channels."""

    channels: list[ChannelJson]


class RemovedJson(TypedDict):
    """A channel that was removed, and the ids of its tasks, which are cancelled."""

    removed: str
    cancelled: list[str]


class HeardJson(TypedDict):
    """How much of a speech's own sound was heard before it was cut short, in frames of 40 ms and in seconds."""

    frames: int
    seconds: float


class CancelledJson(TypedDict):
    """Ids of the tasks that were cancelled, and what was heard of each."""

    cancelled: list[str]
    heard: dict[str, HeardJson]


class SaidJson(TypedDict):
    """One message of a conversation; of an answer it is what was heard."""

    role: Role
    text: str


class ConversationJson(TypedDict):
    """What was said in the conversation that is held on a channel, or in the last one that is remembered."""

    channel: str
    running: bool
    messages: list[SaidJson]


class ForgottenJson(TypedDict):
    """How many messages were forgotten."""

    forgotten: int


class LedgerJson(TypedDict):
    """The ledger: an entry for each channel and kind of speech."""

    ledger: list[LedgerEntryJson]


class AvatarJson(TypedDict):
    """A prepared avatar; it can speak on `speakable_frames` of its `frames`.

    `checkpoint` is the one that draws it, null for an avatar of an older version, which the main one draws. `fit_db` is
    how well it draws its mouth; `warning` says so in words where that is badly, else null.
    """

    name: str
    width: int
    height: int
    frames: int
    duration_s: float
    face_resolution: int
    loop: Loop
    speakable_frames: int
    idle_frames: int | None
    checkpoint: str | None
    fit_db: float | None
    warning: str | None
    motions: list[str]
    preview: str


class AvatarsJson(TypedDict):
    """All prepared avatars."""

    avatars: list[AvatarJson]


class AvatarMotionJson(TypedDict):
    """A motion of an avatar; where it resembles the idle clip most it differs by `nearest` grey levels."""

    name: str
    frames: int
    duration_s: float
    loop: Loop
    nearest: float
    ordinary: float
    preview: str


class AvatarMotionsJson(TypedDict):
    """The motions of an avatar."""

    motions: list[AvatarMotionJson]


class PlannedMotionJson(TypedDict):
    """When a motion begins: the position on the channel's path, and seconds from now; its length where it has one."""

    motion: str
    at_position: int
    starts_in_s: float
    duration_s: float | None


class StoppedMotionJson(TypedDict):
    """In how many seconds the motion that plays is over; null where none does."""

    ends_in_s: float | None


class AvatarTasksJson(TypedDict):
    """Avatars in the making, newest first."""

    avatar_tasks: list[AvatarTaskJson]


class NumberJson(TypedDict):
    """A number of a form: what is taken where it is left out, and the largest that this server accepts."""

    default: float
    maximum: float


class SpeechLimitsJson(TypedDict):
    """What a speech's form may hold on this server, and what is taken for what it leaves out."""

    channel: str
    num_inference_steps: NumberJson
    guidance_scale: NumberJson
    longest_s: float
    largest_bytes: int


class SessionJson(TypedDict):
    """Whether a key is needed, and what the one that was sent allows; `speech` is null where it allows nothing.

    `channel` is the only one that the key may watch, null where that is any.
    """

    key_required: bool
    scope: Scope | None
    channel: str | None
    speech: SpeechLimitsJson | None


class WatchKeyJson(TypedDict):
    """A key that may watch one channel, without the key itself."""

    name: str
    created_at: str


class WatchKeysJson(TypedDict):
    """All keys that may watch a channel and nothing else."""

    keys: list[WatchKeyJson]


class NewWatchKeyJson(TypedDict):
    """A key that was made now, which nothing tells again."""

    name: str
    channel: str
    key: str


class LiveJson(TypedDict):
    """Whether frames go out."""

    status: Literal["live", "stalled"]


class PartJson(TypedDict):
    """A part of the server, and how it is."""

    ready: bool
    message: str


class HealthJson(TypedDict):
    """Whether a speech would be taken and played; the parts are told to whoever may see them."""

    status: Literal["ready", "not ready"]
    parts: dict[str, PartJson]
