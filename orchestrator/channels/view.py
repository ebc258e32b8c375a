"""A channel as the API shows it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from typing_extensions import TypedDict

from orchestrator.channels.definition import DefinitionJson
from streaming.events import MixerState, PublisherState, Status
from streaming.targets import mask


class ChannelState(StrEnum):
    """Whether the channel's process runs."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    CLOSED = "closed"


class TargetJson(TypedDict):
    """One target; `target` is its address with the key masked."""

    target: str
    state: PublisherState | Literal["refused"]
    reconnects: int
    dropped_packets: int
    problem: str | None


class StreamJson(TypedDict):
    """What a channel's process says each second."""

    state: MixerState
    publisher: PublisherState
    targets: list[TargetJson]
    frames_sent: int
    late_waits: int
    late_frames: int
    repeated_frames: int
    dropped_pairs: int
    dropped_speech_pairs: int
    queue_s: float
    stalls: int
    reconnects: int
    av_offset_s: float
    encoder_speed: float
    encoder_step: str
    encoder_steps_down: int
    encoder_restarts: int
    preview_readers: int


class ChannelJson(DefinitionJson):
    """A channel as the API shows it: its definition, and how it is doing."""

    state: ChannelState
    problem: str | None
    restarts: int
    playing: str | None
    preparing: list[str]
    waiting: int
    motions: list[str]
    motion: str | None
    preview: str
    preview_codecs: str
    stream: StreamJson | None


@dataclass(frozen=True)
class ChannelView:
    """A snapshot of a channel; `status` is the last report of its process, None before the first.

    `refused` are the targets that it can't publish to, each with the reason; they are not passed to its process.
    """

    id: str
    definition: DefinitionJson
    state: ChannelState
    playing: str | None
    preparing: tuple[str, ...]
    waiting: int
    restarts: int
    problem: str | None
    status: Status | None
    refused: Mapping[str, str] = field(default_factory=dict)
    motions: tuple[str, ...] = ()
    motion: str | None = None

    @property
    def kind(self) -> str:
        """The kind of its notices."""
        return "channel"

    @property
    def avatar(self) -> str:
        """Name of the channel's avatar."""
        return self.definition["avatar"]

    @property
    def summary(self) -> str:
        """The state in words, with each target that is off the air."""
        targets = self._targets()
        off_air = [t for t in targets if t["state"] != PublisherState.ON_AIR and t["problem"]]
        if self.problem or not off_air:
            return self.problem or self.state.value
        reasons = "; ".join(f"{t['target']}: {t['problem']}" for t in off_air)
        return f"{self.state.value}; {len(off_air)} of {len(targets)} targets off the air: {reasons}"

    def _targets(self) -> list[TargetJson]:
        published: list[TargetJson] = [
            {
                "target": t.target,
                "state": t.state,
                "reconnects": t.reconnects,
                "dropped_packets": t.dropped_packets,
                "problem": t.problem or None,
            }
            for t in (() if self.status is None else self.status.targets)
        ]
        refused: list[TargetJson] = [
            {"target": mask(target), "state": "refused", "reconnects": 0, "dropped_packets": 0, "problem": reason}
            for target, reason in self.refused.items()
        ]
        return published + refused

    def as_json(self) -> ChannelJson:
        """The channel as the API shows it; stream keys are masked by the channel itself."""
        status = self.status
        return {
            **self.definition,
            "state": self.state,
            "problem": self.problem,
            "restarts": self.restarts,
            "playing": self.playing,
            "preparing": list(self.preparing),
            "waiting": self.waiting,
            "motions": list(self.motions),
            "motion": self.motion,
            "preview": f"/v1/channels/{self.id}/preview.mp4",
            "preview_codecs": status.preview_codecs if status else "",
            "stream": None
            if status is None
            else {
                "state": status.state,
                "publisher": status.publisher,
                "targets": self._targets(),
                "frames_sent": status.frames_sent,
                "late_waits": status.late_waits,
                "late_frames": status.late_frames,
                "repeated_frames": status.repeated_frames,
                "dropped_pairs": status.dropped_pairs,
                "dropped_speech_pairs": status.dropped_speech_pairs,
                "queue_s": round(status.queue_s, 3),
                "stalls": status.stalls,
                "reconnects": status.reconnects,
                "av_offset_s": round(status.av_offset_s, 3),
                "encoder_speed": round(status.encoder_speed, 3),
                "encoder_step": status.encoder_step,
                "encoder_steps_down": status.encoder_steps_down,
                "encoder_restarts": status.encoder_restarts,
                "preview_readers": status.preview_readers,
            },
        }
