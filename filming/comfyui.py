"""ComfyUI: a workflow of the operator's, into which picture, text and seed are put.

The protocol is that of ComfyUI's `server.py`: `/upload/image`, `/prompt`, `/queue`, `/history/{id}`, `/view`.
"""

from __future__ import annotations

import asyncio
import json
import mimetypes
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from filming.answers import asked, job_of, saved, text_of
from filming.service import FilmError, FilmFault, FilmOrder, FilmProgress

PICTURE, PROMPT, SEED = "{{picture}}", "{{prompt}}", "{{seed}}"
_MOST_WORKFLOW_BYTES = 4_000_000
_VIDEOS = (".mp4", ".webm", ".mov", ".mkv", ".avi", ".gif", ".webp")


class BadWorkflow(ValueError):
    """The file is no workflow that can be used; the message says what to do."""


@dataclass(frozen=True)
class Workflow:
    """A workflow as ComfyUI's "Export (API)" writes it, with places for picture, text and seed."""

    nodes: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Workflow:
        """Raises BadWorkflow."""
        try:
            if path.stat().st_size > _MOST_WORKFLOW_BYTES:
                raise BadWorkflow(f"{path} has more than {_MOST_WORKFLOW_BYTES} bytes")
            nodes = json.loads(path.read_text())
        except OSError as error:
            raise BadWorkflow(f"{path}: {error.strerror}") from None
        except ValueError as error:
            raise BadWorkflow(f"{path} is no JSON ({error})") from None
        if not isinstance(nodes, dict) or not all(
            isinstance(node, dict) and "class_type" in node for node in nodes.values()
        ):
            raise BadWorkflow(f'{path} is no workflow for the API: in ComfyUI choose "Export (API)", not "Export"')
        if PICTURE not in _texts(nodes):
            raise BadWorkflow(
                f"{path} has no place for the picture: write {PICTURE} as the image of its LoadImage node"
            )
        return cls(nodes)

    def filled(self, picture: str, order: FilmOrder) -> dict[str, Any]:
        """The nodes of one order; `picture` is the name that ComfyUI gave it."""
        put = {PICTURE: picture, PROMPT: order.prompt, SEED: order.seed}
        return {name: _filled(node, put) for name, node in self.nodes.items()}


class ComfyUi:
    """One ComfyUI."""

    outlives_server = True  # while ComfyUI itself runs: it forgets its history with its process

    def __init__(self, url: str, workflow: Workflow, key: str | None = None, timeout_s: float = 30.0) -> None:
        headers = {} if key is None else {"Authorization": f"Bearer {key}"}  # for a proxy before it: it has none itself
        self._workflow = workflow
        self._client = httpx.AsyncClient(base_url=url, headers=headers, timeout=timeout_s)

    async def begin(self, order: FilmOrder) -> str:
        """Upload the picture, and queue the workflow."""
        name = f"{uuid4().hex}{order.picture.suffix.lower()}"
        kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
        picture = await asyncio.to_thread(order.picture.read_bytes)
        taken = await asked(self._client, "POST", "upload/image", files={"image": (name, picture, kind)})
        folder = taken.get("subfolder") or ""
        stored = f"{folder}/{text_of(taken, 'name')}" if folder else text_of(taken, "name")
        body = {"prompt": self._workflow.filled(stored, order), "client_id": uuid4().hex}
        answer = await asked(self._client, "POST", "prompt", json=body)
        if errors := answer.get("node_errors"):
            raise FilmError(FilmFault.REFUSED, f"ComfyUI refuses the workflow: {json.dumps(errors)[:300]}")
        return job_of(answer, "prompt_id")

    async def look(self, job: str) -> FilmProgress:
        """Ready when its history has it; it must be in the queue before. Its share is only told over a WebSocket."""
        entry = (await asked(self._client, "GET", f"history/{job}")).get(job)
        if entry is None:
            queue = await asked(self._client, "GET", "queue")
            if not any(job in item for key in ("queue_running", "queue_pending") for item in queue.get(key, [])):
                # It may have ended between the two looks.
                entry = (await asked(self._client, "GET", f"history/{job}")).get(job)
                if entry is None:
                    raise FilmError(FilmFault.LOST, "ComfyUI knows nothing of the video: was it started anew?")
            else:
                return FilmProgress(False)
        status = entry.get("status") or {}
        if status.get("status_str") == "error":
            raise FilmError(FilmFault.FAILED, f"ComfyUI failed: {_failure(status)}")
        return FilmProgress(True, 1.0)

    async def fetch(self, job: str, into: Path, most_bytes: int) -> None:
        """The first video among the outputs."""
        entry = (await asked(self._client, "GET", f"history/{job}")).get(job) or {}
        found = next(_videos(entry.get("outputs") or {}), None)
        if found is None:
            message = "The workflow's outputs hold no video: end it with a node that saves one, such as Save Video."
            raise FilmError(FilmFault.FAILED, message)
        query = {key: str(found.get(key, "")) for key in ("filename", "subfolder", "type")}
        await saved(self._client, "view", into, most_bytes, params=query)

    async def stop(self, job: str) -> None:
        """Take it out of the queue, or end it where it runs."""
        await self._client.post("queue", json={"delete": [job]})
        await self._client.post("interrupt", json={"prompt_id": job})

    async def aclose(self) -> None:
        """Close its connections."""
        await self._client.aclose()


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    for each in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _texts(each)


def _filled(value: Any, put: dict[str, Any]) -> Any:
    if isinstance(value, str):
        if value in put:
            return put[value]  # a seed stays a number
        for place, text in put.items():
            value = value.replace(place, str(text))
        return value
    if isinstance(value, dict):
        return {key: _filled(each, put) for key, each in value.items()}
    return [_filled(each, put) for each in value] if isinstance(value, list) else value


def _videos(outputs: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Nodes name what they saved `videos`, `gifs` or `images`: the file's name tells what it is."""
    for node in outputs.values():
        for files in node.values() if isinstance(node, dict) else ():
            for file in files if isinstance(files, list) else ():
                if isinstance(file, dict) and str(file.get("filename", "")).lower().endswith(_VIDEOS):
                    yield file


def _failure(status: dict[str, Any]) -> str:
    for kind, said in status.get("messages") or ():
        if kind == "execution_error" and isinstance(said, dict):
            return f"{said.get('node_type', 'a node')}: {said.get('exception_message', 'no reason given')}"[:300]
    return "its log says why"
