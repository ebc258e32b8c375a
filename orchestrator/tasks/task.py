"""A task: one speech on one channel."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, WithJsonSchema
from typing_extensions import TypedDict

from speech.source import SpeechSource

Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
"""A time as the API writes it, in UTC."""
Share = Annotated[float, Field(ge=0, le=1)]
"""From 0 to 1."""


class TaskState(StrEnum):
    """Where a task is; the last three are final."""

    RECEIVING = "receiving"
    QUEUED = "queued"
    INFERRING = "inferring"
    STREAMING = "streaming"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def waits(self) -> bool:
        """Whether no channel has taken it yet."""
        return self in (TaskState.RECEIVING, TaskState.QUEUED)

    @property
    def final(self) -> bool:
        """Whether no other state follows."""
        return self in (TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED)


class Stage(StrEnum):
    """The stages of a task that are timestamped, in their order."""

    RECEIVED = "received"
    DECODED = "decoded"
    STARTED = "started"
    FEATURES = "features"
    FIRST_CHUNK = "first_chunk"
    FIRST_FACE = "first_face"
    HANDED_OVER = "handed_over"
    FIRST_FRAME = "first_frame"
    ENCODED_OPUS = "encoded_opus"
    ENCODED = "encoded"
    DONE = "done"


@dataclass(frozen=True)
class Failure:
    """Why a task failed: a stable code and a sentence."""

    code: str
    message: str


class FailureJson(TypedDict):
    """A stable code, and a sentence that says what to do."""

    code: str
    message: str


class FramesJson(TypedDict):
    """How far a speech is, in frames of 40 ms; `total` is null while its end is unknown.

    `heard` counts frames of its sound: not the silence around it, and what a microphone's speech left out.
    """

    total: int | None
    generated: int
    played: int
    heard: int
    dropped: int


class TaskJson(TypedDict):
    """A task as the API shows it; timings in seconds after the upload had arrived.

    `progress` and `duration_s` are null while the speech's end is unknown.
    """

    task_id: str
    channel: str
    file_name: str | None
    source: SpeechSource
    state: TaskState
    progress: Share | None
    duration_s: float | None
    num_inference_steps: int
    guidance_scale: float
    seed: int
    attempts: int
    frames: FramesJson
    created_at: Moment
    timings_s: dict[str, float]
    error: FailureJson | None


@dataclass(frozen=True)
class Task:
    """One speech; `created_at` and `stamps` are Unix seconds, `created_at` is when the upload had arrived whole.

    `duration_s` is None while more of it may come. A task that isn't over and has a `failure` fails with it once what
    came is played. `file_name` is a text for people (`shown_name`), never a path.
    """

    id: str
    channel: str
    steps: int
    guidance: float
    seed: int
    duration_s: float | None
    created_at: float
    state: TaskState = TaskState.QUEUED
    attempts: int = 0
    frames_total: int = 0
    frames_generated: int = 0
    frames_played: int = 0
    frames_dropped: int = 0
    failure: Failure | None = None
    stamps: Mapping[str, float] = field(default_factory=dict)
    file_name: str | None = None
    source: SpeechSource = SpeechSource.UPLOAD
    frames_heard: int = 0

    @property
    def kind(self) -> str:
        """The kind of its notices."""
        return "task"

    @property
    def awaits_its_sound(self) -> bool:
        """Whether nothing of its speech had come when it was accepted, and none of it is known to have come yet."""
        return self.source is not SpeechSource.UPLOAD and Stage.RECEIVED.value not in self.stamps

    @property
    def received_at(self) -> float:
        """When there was something to say: an upload as a whole, of other speech the first frame."""
        return self.stamps.get(Stage.RECEIVED.value, self.created_at)

    @property
    def progress(self) -> float | None:
        """From 0 to 1: half of it is frames generated, half is frames played; None while the length is unknown."""
        if self.state is TaskState.DONE:
            return 1.0
        if self.duration_s is None:
            return None
        return (self.frames_generated + self.frames_played) / (2 * self.frames_total) if self.frames_total else 0.0

    def as_json(self) -> TaskJson:
        """The task as the API shows it."""
        failure = self.failure if self.state.final else None
        known = self.duration_s is not None
        return {
            "task_id": self.id,
            "channel": self.channel,
            "file_name": self.file_name,
            "source": self.source,
            "state": self.state,
            "progress": None if self.progress is None else round(self.progress, 3),
            "duration_s": None if self.duration_s is None else round(self.duration_s, 3),
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance,
            "seed": self.seed,
            "attempts": self.attempts,
            "frames": {
                "total": self.frames_total if known else None,
                "generated": self.frames_generated,
                "played": self.frames_played,
                "heard": self.frames_heard,
                "dropped": self.frames_dropped,
            },
            "created_at": datetime.fromtimestamp(self.created_at, UTC).isoformat(timespec="milliseconds"),
            "timings_s": {
                stage.value: round(self.stamps[stage.value] - self.created_at, 3)
                for stage in Stage
                if stage.value in self.stamps
            },
            "error": None if failure is None else {"code": failure.code, "message": failure.message},
        }
