"""What requests may hold: the models that check them, and from which the API's description is made."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
)
from pydantic.json_schema import SkipJsonSchema

from conversation.synthesis.synthesiser import FASTEST, SLOWEST
from filming.service import MOST_PROMPT_CHARS
from latentsync.avatar import Loop
from orchestrator.avatars.adding import face_point
from orchestrator.avatars.motions import checked_motion_name
from orchestrator.avatars.store import checked_name
from orchestrator.channels.definition import ChannelDefinition
from orchestrator.fields import AVATAR_NAME, AvatarName, ChannelName, VoiceName
from orchestrator.http.conversation_messages import LONGEST_TEXT
from orchestrator.http.parameters import DIGITS, UploadedFile

LIST_LIMIT = 1000

_Absent = SkipJsonSchema[None]
_FacePoint = Annotated[
    tuple[float, float],
    BeforeValidator(face_point),
    WithJsonSchema({"type": "string", "description": "X,Y as shares of width and height"}),
]
# Checked by a function, which says what a name may be; the pattern is for the description.
_NewName = Annotated[str, AfterValidator(checked_name), WithJsonSchema({"type": "string", "pattern": AVATAR_NAME})]
_CheckpointName = Annotated[str, StringConstraints(max_length=64)]  # compared with those that are served
_NewMotionName = Annotated[
    str, AfterValidator(checked_motion_name), WithJsonSchema({"type": "string", "pattern": AVATAR_NAME})
]


class SpeechFields(BaseModel):
    """The text fields of a speech's form. The largest steps and guidance are the server's, which the context holds."""

    num_inference_steps: Annotated[int, Field(ge=1), DIGITS] | _Absent = None
    guidance_scale: Annotated[float, Field(ge=1, allow_inf_nan=False)] | _Absent = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), DIGITS] | _Absent = None
    channel: str | _Absent = None

    @field_validator("num_inference_steps", "guidance_scale")
    @classmethod
    def _within_this_server(cls, value: float | None, info: ValidationInfo) -> float | None:
        most = (info.context or {}).get(info.field_name)
        if value is not None and most is not None and value > most:
            raise ValueError(f"more than {most}")
        return value


class SpeechQuery(BaseModel):
    """The same for a speech whose sound is the body; `name` is shown in the list of tasks."""

    num_inference_steps: Annotated[int, Field(ge=1), DIGITS] | _Absent = None
    guidance_scale: Annotated[float, Field(ge=1, allow_inf_nan=False)] | _Absent = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), DIGITS] | _Absent = None
    name: str | _Absent = None


class SpeechForm(SpeechFields):
    """A speech with its sound: wav, mp3, m4a, ogg, flac, webm or aac."""

    audio_file: UploadedFile


class SayFields(BaseModel):
    """How a text is said; what is left out is as the channel has it."""

    voice: VoiceName | _Absent = None
    rate: Annotated[float, Field(ge=SLOWEST, le=FASTEST, allow_inf_nan=False)] | _Absent = None
    num_inference_steps: Annotated[int, Field(ge=1)] | _Absent = None
    guidance_scale: Annotated[float, Field(ge=1, allow_inf_nan=False)] | _Absent = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1)] | _Absent = None


class SayQuery(SayFields):
    """The same as text, for a body that is the text itself."""

    num_inference_steps: Annotated[int, Field(ge=1), DIGITS] | _Absent = None
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), DIGITS] | _Absent = None


class SayBody(SayFields):
    """A text, and how it is said."""

    text: str


class ChatBody(BaseModel):
    """What the person says."""

    text: str = Field(min_length=1, max_length=LONGEST_TEXT)


class AvatarFields(BaseModel):
    """The text fields of an avatar's form."""

    loop: Loop | _Absent = None
    max_height: Annotated[int, Field(ge=64, le=4320), DIGITS] | _Absent = None
    face: _FacePoint | _Absent = None
    checkpoint: _CheckpointName | _Absent = None
    name: _NewName


class AvatarForm(AvatarFields):
    """An avatar with its video, and a clip of its own for while nobody speaks."""

    video: UploadedFile
    idle: UploadedFile | _Absent = None


class FilmFields(BaseModel):
    """The text fields of an avatar's form whose video is made from a picture; or of a motion's, of `motion_of`."""

    name: _NewName
    motion_of: AvatarName | _Absent = None
    prompt: Annotated[str, Field(min_length=1, max_length=MOST_PROMPT_CHARS)]
    seed: Annotated[int, Field(ge=0, le=2**31 - 1), DIGITS] | _Absent = None
    loop: Loop | _Absent = None
    max_height: Annotated[int, Field(ge=64, le=4320), DIGITS] | _Absent = None
    face: _FacePoint | _Absent = None
    checkpoint: _CheckpointName | _Absent = None


class FilmForm(FilmFields):
    """A picture of a person, and what the person does in the video."""

    picture: UploadedFile


class MotionFields(BaseModel):
    """The text fields of a motion's form; frames are counted from 0, at 25 a second, and are both included."""

    name: _NewMotionName
    loop: Loop | _Absent = None
    from_frame: Annotated[int, Field(ge=0, le=90_000), DIGITS] = 0
    to_frame: Annotated[int, Field(ge=0, le=90_000), DIGITS] | _Absent = None


class MotionForm(MotionFields):
    """A motion with its video."""

    video: UploadedFile


class PlayMotionBody(BaseModel):
    """A motion, shown `repeat` times (0: until it is stopped), at the earliest in `at` seconds."""

    name: str
    at: Annotated[float, Field(ge=0, le=3600, allow_inf_nan=False)] = 0.0
    repeat: Annotated[int, Field(ge=0, le=1000)] = 1


class ChannelChange(ChannelDefinition):
    """The fields of a channel that are to change; its name can't."""

    channel: ChannelName = Field(default_factory=str)
    avatar: AvatarName = Field(default_factory=str)


class NewTarget(BaseModel):
    """A target that a channel is to publish to beside those that it has."""

    target: str


class TargetQuery(BaseModel):
    """The target's address as the channel shows it, so that another one that took its place isn't removed."""

    target: str | _Absent = None


class EventsQuery(BaseModel):
    """The channel whose tasks and changes are sent, all where nothing is said."""

    channel: str | _Absent = None


class TasksQuery(BaseModel):
    """The channel whose tasks are listed, all where nothing is said, and how many of the newest: 50 else."""

    channel: str | _Absent = None
    limit: Annotated[int, Field(ge=1, le=LIST_LIMIT), DIGITS] = 50


class LedgerQuery(BaseModel):
    """The channel whose speeches are meant, all where nothing is said."""

    channel: str | _Absent = None


class InterruptQuery(BaseModel):
    """Whether what waits is cancelled too."""

    queue: Literal["true", "false"] = "false"


class NewName(BaseModel):
    """The new name of an avatar."""

    name: str


class OverlayQuery(BaseModel):
    """The frame that is drawn on; the first that can speak where nothing is said."""

    frame: Annotated[int, Field(ge=0, le=10_000_000), DIGITS] | _Absent = None


class KeyBody(BaseModel):
    """The API key that a session is to stand for."""

    key: str


class NewWatchKey(BaseModel):
    """What a key is called that may watch one channel: 1 to 32 of a-z, 0-9, - and _."""

    name: str
