"""What a channel tells its orchestrator, and how each event travels as one JSON line."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class MixerState(StrEnum):
    """What the viewer sees."""

    IDLE = "idle"
    FADING_IN = "fading_in"
    SPEAKING = "speaking"
    WAITING = "waiting"
    FADING_OUT = "fading_out"


class PublisherState(StrEnum):
    """State of a target, or of the encoder."""

    CONNECTING = "connecting"
    ON_AIR = "on_air"
    RECONNECTING = "reconnecting"
    CLOSED = "closed"


class EndReason(StrEnum):
    """Why a speech is over."""

    COMPLETED = "completed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class SpeechStarted:
    """The first frame of a speech was mixed as frame `tick` of the channel, and goes into the encoder's queue."""

    speech_id: str
    tick: int
    position: int


@dataclass(frozen=True)
class SpeechEncoded:
    """Picture and sound of a speech's first frame came out of the encoder, `age_s` before this was sent.

    Picture and Opus did so `opus_age_s` before it.
    """

    speech_id: str
    tick: int
    age_s: float
    opus_age_s: float


@dataclass(frozen=True)
class SpeechWaiting:
    """Frame `frame` of a running speech isn't there: it is late, or the speech pauses. Idle and silence until it is."""

    speech_id: str
    frame: int


@dataclass(frozen=True)
class SpeechResumed:
    """A waiting speech resumes with `frame`, `late_frames` after its time."""

    speech_id: str
    frame: int
    late_frames: int


@dataclass(frozen=True)
class SpeechEnded:
    """A speech is over, and none of it waits for the encoder any more.

    `played_frames` of its frames were due, zero when it never started; of these the encoder was too slow for
    `dropped_frames`, so that nobody saw or heard them.
    """

    speech_id: str
    played_frames: int
    reason: EndReason
    tick: int
    dropped_frames: int = 0


@dataclass(frozen=True)
class MotionStarted:
    """The first frame of a motion was mixed as frame `tick` of the channel."""

    motion: str
    tick: int
    position: int


@dataclass(frozen=True)
class MotionEnded:
    """Frame `tick` of the channel is the first one without the motion."""

    motion: str
    tick: int


@dataclass(frozen=True)
class PathChanged:
    """The motions on the channel's path, as `latentsync.clip_path.ClipPath.to_json` gives them."""

    detours: list[dict[str, Any]]


@dataclass(frozen=True)
class TargetStatus:
    """One target; `target` is its address with the stream key masked, `problem` why it is not on the air."""

    target: str
    state: PublisherState
    reconnects: int
    dropped_packets: int = 0
    problem: str = ""


@dataclass(frozen=True)
class Status:
    """The channel's counters, sent each second; all counts are since the channel started."""

    state: MixerState
    position: int
    frames_sent: int
    late_waits: int
    late_frames: int
    repeated_frames: int
    dropped_pairs: int
    dropped_speech_pairs: int
    """Those of the dropped pairs that belonged to a speech."""
    stalls: int
    queue_s: float
    buffered_frames: int
    publisher: PublisherState
    targets: tuple[TargetStatus, ...]
    reconnects: int
    encoder_restarts: int
    encoder_speed: float
    encoder_step: str
    """How the encoder runs: `as configured`, or the step that it was relieved by."""
    encoder_steps_down: int
    av_offset_s: float
    """Newest picture's time minus newest sound's in the encoded stream, averaged over a second."""
    preview_readers: int
    preview_codecs: str
    """Codecs of the preview as MediaSource wants them, such as `avc1.64001f,mp4a.40.2`; empty until known."""
    next_frame_at: float
    """When the next frame is due, by the monotonic clock that all processes of a machine share."""
    motion: str = ""
    """The motion that is shown, empty for none."""


@dataclass(frozen=True)
class ChannelDied:
    """The channel process is gone; always the last event. `return_code` is negative for a signal."""

    return_code: int
    message: str


ChannelEvent = (
    SpeechStarted
    | SpeechEncoded
    | SpeechWaiting
    | SpeechResumed
    | SpeechEnded
    | MotionStarted
    | MotionEnded
    | PathChanged
    | Status
    | ChannelDied
)
MixerEvent = SpeechStarted | SpeechWaiting | SpeechResumed | SpeechEnded

_TYPES: dict[str, type[Any]] = {
    t.__name__: t
    for t in (
        SpeechStarted,
        SpeechEncoded,
        SpeechWaiting,
        SpeechResumed,
        SpeechEnded,
        MotionStarted,
        MotionEnded,
        PathChanged,
        Status,
        ChannelDied,
    )
}


def event_to_json(event: ChannelEvent) -> dict[str, Any]:
    """The event's values with its class name under `event`."""
    return {"event": type(event).__name__, **asdict(event)}


def event_from_json(message: dict[str, Any]) -> ChannelEvent:
    """The inverse of `event_to_json`; raises ValueError for an unknown event."""
    values = dict(message)
    name = values.pop("event", None)
    if name not in _TYPES:
        raise ValueError(f"unknown channel event {name!r}")
    if name == "SpeechEnded":
        values["reason"] = EndReason(values["reason"])
    if name == "Status":
        values["state"] = MixerState(values["state"])
        values["publisher"] = PublisherState(values["publisher"])
        values["targets"] = tuple(
            TargetStatus(**{**target, "state": PublisherState(target["state"])}) for target in values["targets"]
        )
    event: ChannelEvent = _TYPES[name](**values)
    return event
