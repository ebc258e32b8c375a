"""WebSockets to a server under test, by the `websockets` package's own client."""

import json
import math
from typing import Any

import numpy as np
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.support.running_server import RunningServer

PATH = "/v1/channels/main/speech"
START = {"type": "start", "sample_rate": 24_000}
END = {"type": "end"}

WRONG_STARTS = [
    ({"type": "start"}, "bad_sample_rate"),
    ({"type": "start", "sample_rate": 7_999}, "bad_sample_rate"),
    ({"type": "start", "sample_rate": 96_000}, "bad_sample_rate"),
    ({"type": "start", "sample_rate": "24000"}, "bad_sample_rate"),
    ({"type": "start", "sample_rate": 24_000.5}, "bad_sample_rate"),
    ({"type": "start", "sample_rate": True}, "bad_sample_rate"),
    ({"type": "start", "sample_rate": math.nan}, "bad_sample_rate"),
    ({"type": "start", "sample_rate": 24_000, "channels": 3}, "bad_channels"),
    ({"type": "start", "sample_rate": 24_000, "channels": 0}, "bad_channels"),
    ({"type": "start", "sample_rate": 24_000, "format": "f32le"}, "bad_format"),
    ({"type": "start", "sample_rate": 24_000, "num_inference_steps": 9_999}, "bad_num_inference_steps"),
    ({"type": "start", "sample_rate": 24_000, "guidance_scale": 0.1}, "bad_guidance_scale"),
    ({"type": "start", "sample_rate": 24_000, "seed": -1}, "bad_seed"),
    ({"type": "start", "format": "text", "rate": 2.5}, "bad_rate"),
    ({"type": "start", "format": "text", "voice": "a voice"}, "bad_voice"),
]


def open_socket(server: RunningServer, path: str, name: str = "127.0.0.1", **options: Any) -> connect:
    """A connection to come: to be awaited, or used as a context. `name` is what the client calls the server."""
    settings = server.orchestrator.settings
    url = f"ws://{name}:{settings.http_port}{path}"
    return connect(url, host=settings.http_host, port=settings.http_port, **options)


async def refusal(server: RunningServer, path: str, **options: Any) -> tuple[int, str]:
    """Status and code of the answer to a WebSocket that is refused."""
    try:
        socket: ClientConnection = await open_socket(server, path, **options)
    except InvalidStatus as error:
        assert error.response.body is not None
        return error.response.status_code, json.loads(error.response.body)["error"]["code"]
    await socket.close()
    return 101, ""


def tone(seconds: float, rate_hz: int = 24_000, channels: int = 1) -> bytes:
    wave = 9_000 * np.sin(2 * np.pi * 220 * np.arange(round(seconds * rate_hz)) / rate_hz)
    return np.repeat(np.rint(wave).astype("<i2")[:, None], channels, axis=1).tobytes()


async def send(socket: ClientConnection, *messages: dict[str, Any] | bytes) -> None:
    for message in messages:
        await socket.send(message if isinstance(message, bytes) else json.dumps(message))


async def receive(socket: ClientConnection, *kinds: str) -> dict[str, Any]:
    """The next message but for positions, which must be of one of these kinds."""
    async for text in socket:
        message: dict[str, Any] = json.loads(text)
        if message["type"] in kinds or message["type"] != "position":
            assert message["type"] in kinds, message
            return message
    raise AssertionError(f"closed with {socket.close_code}")
