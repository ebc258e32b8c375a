"""Real HTTP servers that speak the protocols of services which make videos, and have their faults.

ComfyUI itself can't be had here: the stand-in answers as its `server.py` does.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

Looks = Callable[[int], Response | dict[str, Any]]


class FilmServer:
    """What both have: the video that they give, and how they answer look number 0, 1 …"""

    def __init__(self, video: bytes) -> None:
        self.video = video
        self.url = ""
        self.orders: list[dict[str, Any]] = []
        self.pictures: list[bytes] = []
        self.keys: list[str | None] = []
        self.stopped: list[str] = []
        self.looks = 0
        self.begin: Callable[[], Response | None] = lambda: None
        self.before_answer: asyncio.Event | None = None  # what an order's answer waits for

    def routes(self) -> list[Route]:
        raise NotImplementedError

    @asynccontextmanager
    async def running(self) -> AsyncIterator[FilmServer]:
        config = uvicorn.Config(
            Starlette(routes=self.routes()), host="127.0.0.1", port=0, log_level="warning", lifespan="off"
        )
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve())
        while not server.started:
            await asyncio.sleep(0.01)
        self.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.should_exit = server.force_exit = True
            await serving


class VideosServer(FilmServer):
    """OpenAI's `/v1/videos`."""

    def __init__(self, video: bytes) -> None:
        super().__init__(video)
        self.answer: Looks = lambda look: {"status": "completed"} if look else {"status": "in_progress", "progress": 40}

    def routes(self) -> list[Route]:
        return [
            Route("/v1/videos", self._create, methods=["POST"]),
            Route("/v1/videos/{job}", self._look),
            Route("/v1/videos/{job}", self._delete, methods=["DELETE"]),
            Route("/v1/videos/{job}/content", self._content),
        ]

    async def _create(self, request: Request) -> Response:
        self.keys.append(request.headers.get("authorization"))
        if refusal := self.begin():
            return refusal
        async with request.form() as form:
            reference = form["input_reference"]
            assert not isinstance(reference, str) and reference.content_type == "image/png"
            self.pictures.append(await reference.read())
            self.orders.append({name: value for name, value in form.items() if isinstance(value, str)})
        if self.before_answer is not None:
            await self.before_answer.wait()
        return JSONResponse({"id": f"video_{len(self.orders)}", "object": "video", "status": "queued", "progress": 0})

    async def _look(self, request: Request) -> Response:
        answer = self.answer(self.looks)
        self.looks += 1
        if isinstance(answer, Response):
            return answer
        return JSONResponse({"id": request.path_params["job"], "object": "video", **answer})

    async def _content(self, request: Request) -> Response:
        return Response(self.video, media_type="video/mp4")

    async def _delete(self, request: Request) -> Response:
        self.stopped.append(request.path_params["job"])
        return JSONResponse({"id": request.path_params["job"], "object": "video.deleted", "deleted": True})


class ComfyServer(FilmServer):
    """ComfyUI with a queue of one, whose workflow saves a video."""

    def __init__(self, video: bytes) -> None:
        super().__init__(video)
        self.waits_for = 1  # looks until the video is there
        self.failure: str | None = None
        self.saves = [{"filename": "film_00001_.mp4", "subfolder": "video", "type": "output"}]

    def routes(self) -> list[Route]:
        return [
            Route("/upload/image", self._upload, methods=["POST"]),
            Route("/prompt", self._prompt, methods=["POST"]),
            Route("/history/{job}", self._history),
            Route("/queue", self._queue),
            Route("/queue", self._dequeue, methods=["POST"]),
            Route("/interrupt", self._interrupt, methods=["POST"]),
            Route("/view", self._view),
        ]

    async def _upload(self, request: Request) -> Response:
        async with request.form() as form:
            image = form["image"]
            assert not isinstance(image, str)
            self.pictures.append(await image.read())
            return JSONResponse({"name": image.filename, "subfolder": "", "type": "input"})

    async def _prompt(self, request: Request) -> Response:
        if refusal := self.begin():
            return refusal
        self.orders.append((await request.json())["prompt"])
        return JSONResponse({"prompt_id": f"job-{len(self.orders)}", "number": 1, "node_errors": {}})

    async def _history(self, request: Request) -> Response:
        self.looks += 1
        if self.looks <= self.waits_for:
            return JSONResponse({})
        messages = [] if self.failure is None else [["execution_error", json.loads(self.failure)]]
        status = {"status_str": "error" if self.failure else "success", "completed": True, "messages": messages}
        return JSONResponse({request.path_params["job"]: {"outputs": {"9": {"images": self.saves}}, "status": status}})

    async def _queue(self, request: Request) -> Response:
        running = [[0, f"job-{len(self.orders)}", {}, {}, []]] if self.looks <= self.waits_for else []
        return JSONResponse({"queue_running": running, "queue_pending": []})

    async def _dequeue(self, request: Request) -> Response:
        self.stopped += (await request.json())["delete"]
        return Response()

    async def _interrupt(self, request: Request) -> Response:
        return Response()

    async def _view(self, request: Request) -> Response:
        assert dict(request.query_params) == self.saves[0]
        return Response(self.video, media_type="video/mp4")


def write_workflow(path: Path, picture: str = "{{picture}}") -> Path:
    """A workflow as ComfyUI exports it for its API."""
    nodes = {
        "1": {"class_type": "LoadImage", "inputs": {"image": picture}},
        "2": {"class_type": "Animate", "inputs": {"image": ["1", 0], "text": "film: {{prompt}}", "seed": "{{seed}}"}},
        "9": {"class_type": "SaveVideo", "inputs": {"video": ["2", 0], "filename_prefix": "film"}},
    }
    path.write_text(json.dumps(nodes))
    return path
