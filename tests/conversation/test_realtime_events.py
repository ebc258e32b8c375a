"""Events of a Realtime server as they are read: what matters of them, nothing of others, and a refusal of garbage."""

from __future__ import annotations

from typing import Any

import pytest

from conversation.realtime import server_events as server
from conversation.response.responder import ToolCall

PIECE = {"response_id": "r", "item_id": "i", "content_index": 1}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ({"type": "input_audio_buffer.committed", "item_id": "i"}, server.Committed("i")),
        (
            {"type": "response.created", "response": {"id": "r", "metadata": {"turn": "3"}}},
            server.AnswerBegan("r", "3"),
        ),
        ({"type": "response.created", "response": {"id": "r", "metadata": None}}, server.AnswerBegan("r", None)),
        (
            {"type": "response.output_audio_transcript.delta", **PIECE, "delta": "Yes"},
            server.AnswerWords("r", "i", 1, "Yes"),
        ),
        (
            {"type": "response.function_call_arguments.done", **PIECE, "call_id": "c", "name": "f", "arguments": "{}"},
            server.AnswerCall("r", ToolCall("c", "f", "{}")),
        ),
        (
            {"type": "response.done", "response": {"id": "r", "status": "completed"}},
            server.AnswerOver("r", True, "completed"),
        ),
        (
            {
                "type": "response.done",
                "response": {"id": "r", "status": "failed", "status_details": {"error": {"message": "no quota"}}},
            },
            server.AnswerOver("r", False, "no quota"),
        ),
        ({"type": "response.content_part.added", **PIECE}, server.AnswerGoesOn("r")),
        ({"type": "error", "error": {"type": "server_error"}}, server.Failed(None, "server_error")),
        ({"type": "rate_limits.updated"}, None),
        ({}, None),
    ],
)
def test_event_is_read_as_what_it_says(event: dict[str, Any], told: server.ServerEvent | None) -> None:
    assert server.read(event) == told


def test_sound_is_read_as_whole_samples() -> None:
    told = server.read({"type": "response.output_audio.delta", **PIECE, "delta": "AQD//wc="})
    assert isinstance(told, server.AnswerSound)
    assert told.samples.tolist() == [1, -1]


@pytest.mark.parametrize(
    "event",
    [
        {"type": "input_audio_buffer.committed"},
        {"type": "response.created", "response": "r"},
        {"type": "response.created", "response": {}},
        {"type": "response.output_audio.delta", **PIECE, "delta": "no base64!"},
        {"type": "response.output_audio_transcript.delta", **PIECE, "content_index": "first", "delta": "Yes"},
        {"type": "response.done", "response": {"id": "r", "status_details": "no quota"}},
        {"type": "error", "error": None},
    ],
)
def test_garbage_is_refused(event: dict[str, Any]) -> None:
    with pytest.raises(ValueError):
        server.read(event)
