"""docs/asyncapi.yaml describes the socket: it takes what the server takes, and has all that the server says."""

import json
from pathlib import Path
from typing import Any, get_args

import jsonschema
import pytest
import yaml

from conversation.turn.state import TurnState
from orchestrator.http import conversation_messages, speech_messages
from orchestrator.http.app import ROUTES
from orchestrator.http.speech_messages import (
    Accepted,
    BadMessage,
    Ended,
    EndReason,
    ErrorMessage,
    Format,
    Position,
    ServerMessage,
    Started,
    read_message,
    written,
)
from tests.support.checkout import ROOT
from tests.support.running_server import running, settings_in
from tests.support.sockets import END, PATH, START, WRONG_STARTS, open_socket, send, tone
from tests.support.synthesisers import ToneSynthesiser

DOCUMENT: dict[str, Any] = yaml.safe_load((ROOT / "docs/asyncapi.yaml").read_text())
MESSAGES: dict[str, Any] = DOCUMENT["components"]["messages"]


def check(message: dict[str, Any], prefix: str = "") -> None:
    """Raises ValidationError for a message that the document doesn't describe."""
    jsonschema.Draft202012Validator(MESSAGES[prefix + message["type"]]["payload"]).validate(message)


def check_conversation(message: dict[str, Any]) -> None:
    """The same for the conversation's socket."""
    check(message, "conversation_")


def resolved(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step.replace("~1", "/")]
    return found


def references(node: Any) -> list[str]:
    if isinstance(node, dict):
        return [node["$ref"]] if "$ref" in node else [each for child in node.values() for each in references(child)]
    return [each for child in node for each in references(child)] if isinstance(node, list) else []


def test_document_holds_together_and_names_the_route() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert all(resolved(each) for each in references(DOCUMENT))
    address = DOCUMENT["channels"]["speech"]["address"].replace("{channel}", "{channel_id}")
    assert address in {getattr(route, "path", None) for route in ROUTES}
    for message in MESSAGES.values():
        jsonschema.Draft202012Validator.check_schema(message["payload"])


def test_all_messages_of_the_server_are_described() -> None:
    kinds = {each.model_fields["type"].default for each in get_args(ServerMessage)}
    sent = {reference["$ref"].rpartition("/")[2] for reference in DOCUMENT["operations"]["tell"]["messages"]}
    assert kinds == sent
    messages: tuple[ServerMessage, ...] = (
        Accepted(task_id="x"),
        Accepted(task_id="x", sample_rate=24_000),
        Started(task_id="x", sample=0),
        Position(task_id="x", sample=5),
        *(Ended(task_id="x", heard_samples=1, reason=reason) for reason in EndReason),
        ErrorMessage(code="a", message="b"),
        ErrorMessage(code="a", message="b", task_id="x"),
    )
    for message in messages:
        check(json.loads(written(message)))
    assert set(MESSAGES["ended"]["payload"]["properties"]["reason"]["enum"]) == set(EndReason)
    assert set(MESSAGES["start"]["payload"]["properties"]["format"]["enum"]) == set(Format)


@pytest.mark.parametrize(
    "message",
    [
        START,
        END,
        {"type": "interrupt"},
        {"type": "start", "sample_rate": 8_000, "channels": 2, "format": "s16le"},
        {"type": "start", "format": "webm"},
        {"type": "start", "format": "text", "voice": "heart", "rate": 1.5},
        {"type": "text", "text": "Good morn"},
        {"type": "start", "format": "ogg", "seed": 1, "num_inference_steps": 2, "guidance_scale": 1.5},
    ],
)
def test_what_the_document_allows_the_server_takes(message: dict[str, Any]) -> None:
    check(message)
    assert read_message(json.dumps(message)).type == message["type"]


# What is more than this server's largest can't stand in a document for all of them.
@pytest.mark.parametrize("start", [start for start, code in WRONG_STARTS if code != "bad_num_inference_steps"])
def test_what_the_server_refuses_the_document_forbids(start: dict[str, Any]) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check(start)


def test_fields_of_a_start_are_the_same() -> None:
    assert set(MESSAGES["start"]["payload"]["properties"]) == set(speech_messages.Start.model_fields)
    with pytest.raises(BadMessage):
        read_message('{"type": "begin"}')


async def test_what_a_server_really_sends_is_described(tmp_path: Path) -> None:
    seen: list[str] = []
    async with running(settings_in(tmp_path)) as server:
        await server.ready()
        async with open_socket(server, PATH) as socket:
            server.orchestrator.synthesiser = ToneSynthesiser()
            await send(socket, tone(0.1), {"type": "start"}, START, tone(2.5), END, START, tone(0.1) + b"\1", END)
            await send(socket, {"type": "start", "format": "text"}, {"type": "text", "text": "Hi."}, END)
            async for text in socket:
                message = json.loads(text)
                check(message)
                seen.append(message["type"])
                if seen.count("ended") == 3:
                    break
    assert set(seen) == {"accepted", "started", "position", "ended", "error"}


SENT: tuple[conversation_messages.ServerMessage, ...] = (
    conversation_messages.Ready(channel="main", language="en", voice=None, greeting=None),
    conversation_messages.Ready(channel="main", language="zh-CN", voice="heart", greeting="Hello!", messages=4),
    *(conversation_messages.State(state=state) for state in TurnState),
    conversation_messages.Transcript(turn=1, text="What", final=False),
    conversation_messages.Sentence(turn=1, text="It is noon."),
    conversation_messages.Heard(turn=1, text=""),
    conversation_messages.ToolCall(turn=1, id="call-1", name="weather", arguments="{}"),
    conversation_messages.Ledger(turn=1, stages={"decided": 512.5}),
    conversation_messages.ErrorMessage(code="a", message="b"),
    *(conversation_messages.Ended(reason=reason) for reason in conversation_messages.EndReason),
)


def test_all_that_a_conversation_says_is_described() -> None:
    kinds = {each.model_fields["type"].default for each in get_args(conversation_messages.ServerMessage)}
    sent = {reference["$ref"].rpartition("/")[2] for reference in DOCUMENT["operations"]["answer"]["messages"]}
    assert kinds == sent == {message.type for message in SENT}
    for message in SENT:
        check_conversation(json.loads(conversation_messages.written(message)))
    reasons = MESSAGES["conversation_ended"]["payload"]["properties"]["reason"]["enum"]
    assert set(reasons) == set(conversation_messages.EndReason)
    assert set(MESSAGES["conversation_state"]["payload"]["properties"]["state"]["enum"]) == set(TurnState)


@pytest.mark.parametrize(
    "message",
    [
        {"type": "start", "sample_rate": 48_000},
        {"type": "start", "sample_rate": 8_000, "channels": 2, "format": "pcm_s16le", "mode": "push"},
        {"type": "start", "format": "text", "tools": [{"type": "function"}]},
        {"type": "release"},
        {"type": "interrupt"},
        {"type": "text", "text": "What time is it?"},
        {"type": "reset"},
    ],
)
def test_what_the_document_allows_a_conversation_takes(message: dict[str, Any]) -> None:
    check_conversation(message)
    assert conversation_messages.read_message(json.dumps(message)).type == message["type"]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "start"}, "bad_sample_rate"),
        ({"type": "start", "sample_rate": 96_000}, "bad_sample_rate"),
        ({"type": "start", "sample_rate": "16000"}, "bad_sample_rate"),
        ({"type": "start", "sample_rate": 16_000, "channels": 3}, "bad_channels"),
        ({"type": "start", "sample_rate": 16_000, "mode": "auto"}, "bad_mode"),
        ({"type": "start", "sample_rate": 16_000, "format": "webm"}, "bad_format"),
        ({"type": "start", "format": "text", "tools": [{}] * 65}, "bad_tools"),
        ({"type": "text", "text": ""}, "bad_text"),
        ({"type": "text", "text": "a" * 4_001}, "bad_text"),
    ],
)
def test_what_a_conversation_refuses_the_document_forbids(message: dict[str, Any], code: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check_conversation(message)
    with pytest.raises(BadMessage) as refused:
        conversation_messages.read_message(json.dumps(message))
    assert refused.value.code == code


def test_fields_of_a_conversations_start_are_the_same() -> None:
    fields = set(MESSAGES["conversation_start"]["payload"]["properties"])
    assert fields == set(conversation_messages.Start.model_fields)
