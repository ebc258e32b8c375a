"""What is sent to a Realtime server, and what of its events matters, by their names in OpenAI's reference."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conversation.message import Message, Role
from conversation.response.responder import Tool

RATE_HZ = 24_000
"""Of the sound in both directions, which is mono int16."""

Sent = dict[str, Any]


@dataclass(frozen=True)
class Wish:
    """What the model is to be: its prompt, voice, tools; the person's language, empty where it isn't known."""

    prompt: str = ""
    voice: str = "marin"
    language: str = ""
    transcriber: str = "gpt-4o-mini-transcribe"
    most_tokens: int = 2000
    tools: tuple[Tool, ...] = ()


def session(wish: Wish) -> Sent:
    """The first message. Turns are told by us: we know what of the microphone's sound is the avatar's echo."""
    transcription = {"model": wish.transcriber}
    if wish.language:
        transcription["language"] = wish.language.partition("-")[0].lower()
    format_ = {"type": "audio/pcm", "rate": RATE_HZ}
    asked: Sent = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "instructions": wish.prompt,
        "max_output_tokens": wish.most_tokens,
        "audio": {
            "input": {"format": format_, "transcription": transcription, "turn_detection": None},
            "output": {"format": format_, "voice": wish.voice},
        },
    }
    if wish.tools:
        # Chat completions wrap a function's fields once more.
        functions = [tool.get("function", tool) for tool in wish.tools]
        asked["tools"] = [{**function, "type": "function"} for function in functions]
    return {"type": "session.update", "session": asked}


def said(message: Message) -> Sent:
    """A message of the history, or a typed turn."""
    kind = "output_text" if message.role is Role.AVATAR else "input_text"
    content = [{"type": kind, "text": message.text}]
    return {
        "type": "conversation.item.create",
        "item": {"type": "message", "role": message.role.value, "content": content},
    }


def sound(samples: NDArray[np.int16]) -> Sent:
    """The next samples of the microphone, mono at 24 kHz."""
    encoded = base64.b64encode(samples.astype("<i2").tobytes()).decode()
    return {"type": "input_audio_buffer.append", "audio": encoded}


COMMIT: Sent = {"type": "input_audio_buffer.commit"}
CLEAR: Sent = {"type": "input_audio_buffer.clear"}
CANCEL: Sent = {"type": "response.cancel"}


def ask(turn: int, remark: str = "") -> Sent:
    """Answer what was said, or say a remark that nobody asked for.

    The server repeats the metadata, by which late events of other answers are told apart.
    """
    response: Sent = {"metadata": {"turn": str(turn)}}
    if remark:
        response["instructions"] = f"Say exactly this, and nothing else: {remark}"
    return {"type": "response.create", "response": response}


def truncate(item: str, content: int, heard_ms: int) -> Sent:
    """Let the model know how much of its sound was heard."""
    return {
        "type": "conversation.item.truncate",
        "item_id": item,
        "content_index": content,
        "audio_end_ms": heard_ms,
    }


def samples_of(event: Sent) -> NDArray[np.int16]:
    """The sound in a `response.output_audio.delta`; raises ValueError where there is none."""
    data = base64.b64decode(str(event["delta"]), validate=True)
    return np.frombuffer(data[: len(data) // 2 * 2], "<i2").astype(np.int16)


def history_of(messages: Sequence[Message]) -> list[Sent]:
    """What was said before, for a server that has forgotten it; the prompt is the session's."""
    return [said(message) for message in messages if message.text and message.role is not Role.SYSTEM]
