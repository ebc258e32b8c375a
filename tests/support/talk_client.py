"""A client of a channel's conversation, and a server for it whose synthesiser is under the test's control."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection

from tests.support.chat_provider import ChatExchange
from tests.support.running_server import RunningServer, running, settings_in
from tests.support.sockets import open_socket, send
from tests.support.synthesisers import ToneSynthesiser

TALK = "/v1/channels/main/conversation"
TYPED = {"type": "start", "format": "text"}
LONG = "Say one two three four five six seven eight nine ten eleven twelve."


@asynccontextmanager
async def talking_server(folder: Path, **settings: Any) -> AsyncIterator[RunningServer]:
    async with running(settings_in(folder, **settings)) as server:
        server.orchestrator.synthesiser = ToneSynthesiser()
        await server.ready()
        yield server


class Talk:
    """A client of the conversation, and all that it was told."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.told: list[dict[str, Any]] = []

    async def say(self, text: str) -> None:
        await send(self.socket, {"type": "text", "text": text})

    async def until(self, kind: str, **fields: Any) -> dict[str, Any]:
        """The next message of this kind with these fields."""
        async for text in self.socket:
            message: dict[str, Any] = json.loads(text)
            self.told.append(message)
            if message["type"] == kind and fields.items() <= message.items():
                return message
        raise AssertionError(f"closed with {self.socket.close_code} after {self.told}")

    def texts(self, kind: str) -> list[str]:
        return [message["text"] for message in self.told if message["type"] == kind]


@asynccontextmanager
async def talking(server: RunningServer, **start: Any) -> AsyncIterator[Talk]:
    async with open_socket(server, TALK) as socket:
        await send(socket, {**TYPED, **start})
        talk = Talk(socket)
        await talk.until("ready")
        yield talk


async def conversation(server: RunningServer) -> dict[str, Any]:
    answer = await server.http.get(TALK)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def until_heard(server: RunningServer, frames: int) -> None:
    """So many frames of the newest speech are heard, by what its channel told last; it may begin a moment later."""

    async def heard() -> int:
        tasks = (await server.http.get("/v1/tasks")).json()["tasks"]
        return int(tasks[0]["frames"]["heard"]) if tasks else 0

    while await heard() < frames:
        await asyncio.sleep(0.02)


async def over(server: RunningServer) -> dict[str, Any]:
    """What was said, once nobody talks any more."""
    while (now := await conversation(server))["running"]:
        await asyncio.sleep(0.02)
    return now


async def all_tasks_are_final(server: RunningServer) -> bool:
    tasks = (await server.http.get("/v1/tasks")).json()["tasks"]
    return all(task["state"] in ("done", "failed", "cancelled") for task in tasks)


async def noon(exchange: ChatExchange) -> None:
    """What a language model answers that is asked for the time."""
    await exchange.stream()
    await exchange.delta(content="It is noon.")
    await exchange.done()
