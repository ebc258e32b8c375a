"""Parts that answer at once: a recogniser, a language model and a synthesiser with the interfaces of OpenAI's.

With them a turn takes what the server itself takes, and the pause by which it knows that the person has ended.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import soxr
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.stream.stand_ins import voice
from bench.talk.plan import BEGINS, SPOKEN, Asked
from streaming.config import SAMPLE_RATE_HZ

ANSWER = f"{BEGINS[Asked.TIME]} time to begin."
_SOUND_HZ, _SOUND_S = 24_000, 2.0
_STARTED_EVERY_S = 0.01


@asynccontextmanager
async def parts_at_once() -> AsyncIterator[Mapping[str, str]]:
    """Serves them inside the block; gives the settings of a server that uses them, by name.

    All that is heard is the question for the time, and all that is answered is one short sentence of two seconds.
    """
    sound = soxr.resample(voice(_SOUND_S, seed=2), SAMPLE_RATE_HZ, _SOUND_HZ).astype("<i2").tobytes()

    async def transcribed(request: Request) -> Response:
        return JSONResponse({"text": SPOKEN[Asked.TIME]})

    async def answered(request: Request) -> Response:
        pieces = [({"content": ANSWER}, None), ({}, "stop")]
        events = [{"choices": [{"index": 0, "delta": delta, "finish_reason": end}]} for delta, end in pieces]
        lines = [*map(json.dumps, events), "[DONE]"]
        return Response("".join(f"data: {line}\n\n" for line in lines), media_type="text/event-stream")

    async def synthesised(request: Request) -> Response:
        return Response(sound, media_type="audio/pcm")

    routes = {"audio/transcriptions": transcribed, "chat/completions": answered, "audio/speech": synthesised}
    app = Starlette(routes=[Route(f"/v1/{path}", serve, methods=["POST"]) for path, serve in routes.items()])
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    # Not serve(), which would take this process's signals.
    running = asyncio.create_task(server._serve())
    try:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(_STARTED_EVERY_S)
        port = server.servers[0].sockets[0].getsockname()[1]
        parts = ("RESPONDER", "RECOGNISER", "SYNTHESISER")
        kinds = dict.fromkeys(parts, "openai")
        addresses = {f"{part}_URL": f"http://127.0.0.1:{port}/v1" for part in parts}
        yield kinds | addresses | {f"{part}_KEY": "none" for part in parts}
    finally:
        server.should_exit = True
        await running
