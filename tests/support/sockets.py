"""WebSockets to a server under test, by the `websockets` package's own client."""

import json
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus

from tests.support.running_server import RunningServer


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
