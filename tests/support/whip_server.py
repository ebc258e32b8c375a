"""A server that takes a stream by WHIP, by aiortc: it decodes what it gets, and counts who says goodbye."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import repeat

import uvicorn
from aiortc import RTCSessionDescription
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from tests.support.running_server import free_port
from tests.support.webrtc_client import WebRtcClient


class WhipServer:
    """Takes streams that bring the token."""

    def __init__(self, token: str, port: int) -> None:
        self.token = token
        self.port = port
        self.streams: list[WebRtcClient] = []
        self.goodbyes = 0
        self.refused = 0
        self.answers_endlessly = False

    async def begin(self, request: Request) -> Response:
        if request.headers.get("authorization") != f"Bearer {self.token}":
            self.refused += 1
            return Response(status_code=401)
        if self.answers_endlessly:
            return StreamingResponse(repeat(b"v=0\r\n" * 1000), 201, media_type="application/sdp")
        stream = WebRtcClient()
        self.streams.append(stream)
        connection = stream.connection
        await connection.setRemoteDescription(RTCSessionDescription((await request.body()).decode(), "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        location = f"/whip/session/{len(self.streams) - 1}"
        headers = {"Location": location, "Content-Type": "application/sdp"}
        return Response(connection.localDescription.sdp, 201, headers)

    async def end(self, request: Request) -> Response:
        await self.streams[int(request.path_params["number"])].close()
        self.goodbyes += 1
        return Response(status_code=200)


@asynccontextmanager
async def whip_server(token: str, port: int | None = None) -> AsyncIterator[WhipServer]:
    """A server at a port of the loopback."""
    server = WhipServer(token, port or free_port())
    routes = [
        Route("/whip/avatar", server.begin, methods=["POST"]),
        Route("/whip/session/{number}", server.end, methods=["DELETE"]),
    ]
    config = uvicorn.Config(Starlette(routes=routes), port=server.port, log_config=None, lifespan="off")
    serving = uvicorn.Server(config)
    task = asyncio.create_task(serving._serve())
    while not serving.started:
        await asyncio.sleep(0.01)
    try:
        yield server
    finally:
        for stream in server.streams:
            await stream.close()
        serving.should_exit = True
        await task
