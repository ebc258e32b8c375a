"""The orchestrator as its users run it: a `serve` process behind HTTP."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from orchestrator.settings import ENV_PREFIX, Settings
from processes.tethered import tethered

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 15.0
_CALL_TIMEOUT_S = 30.0
_ASK_EVERY_S = 0.1


class ProductFailed(RuntimeError):
    """The service did not start, or refused what the bench asked for; the message holds what it said."""


class ProductServer:
    """A running service; `pid` is the orchestrator's."""

    def __init__(self, url: str, pid: int) -> None:
        self.pid = pid
        self._url = url

    async def call(self, method: str, path: str, values: dict[str, Any] | None = None) -> Any:
        """The JSON answer to a request with a JSON body; raises ProductFailed."""
        body = None if values is None else json.dumps(values).encode()
        return await asyncio.to_thread(self._send, method, path, body, "application/json")

    async def say(self, wav: bytes, channel: str, steps: int, guidance: float) -> str:
        """Upload a speech; returns the task's id. Raises ProductFailed."""
        fields = {"channel": channel, "num_inference_steps": str(steps), "guidance_scale": str(guidance)}
        body, content_type = _multipart(fields, wav)
        answer = await asyncio.to_thread(self._send, "POST", "/generate_video", body, content_type)
        return str(answer["task_id"])

    async def task(self, task_id: str, *states: str) -> dict[str, Any]:
        """The task, once it is in one of the states; raises ProductFailed when it ends in another."""
        while True:
            task: dict[str, Any] = await self.call("GET", f"/v1/tasks/{task_id}")
            if task["state"] in states:
                return task
            if task["state"] in ("done", "failed", "cancelled"):
                raise ProductFailed(f"task {task_id} ended as {task['state']}: {task['error']}")
            await asyncio.sleep(_ASK_EVERY_S)

    async def ready(self) -> None:
        """Returns once the service takes speeches and its channels run."""
        while True:
            with suppress(ProductFailed):
                health = await self.call("GET", "/health/ready")
                if all(part["ready"] for part in health["parts"].values()):  # the channels too
                    return
            await asyncio.sleep(0.1)

    def _send(self, method: str, path: str, body: bytes | None, content_type: str) -> Any:
        headers = {"Content-Type": content_type} if body is not None else {}
        request = urllib.request.Request(self._url + path, body, headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=_CALL_TIMEOUT_S) as answer:
                return json.loads(answer.read())
        except urllib.error.HTTPError as error:
            raise ProductFailed(f"{method} {path}: {error.code} {error.read().decode(errors='replace')}") from None
        except OSError as error:
            raise ProductFailed(f"{method} {path}: {error}") from None


@asynccontextmanager
async def product_server(settings: Settings) -> AsyncIterator[ProductServer]:
    """Runs `serve` with these settings until the block ends; its log is serve.log. Raises ProductFailed.

    Tasks and channels that an earlier run left in `settings.data_dir` are removed.
    """
    shutil.rmtree(settings.tasks_dir, ignore_errors=True)
    (settings.data_dir / "channels.json").unlink(missing_ok=True)
    settings.log_dir.mkdir(parents=True, exist_ok=True)
    log_path = settings.log_dir / "serve.log"
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *tethered(sys.executable, "-m", "orchestrator.cli", "serve"),
            env=_environment(settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    server = ProductServer(f"http://{settings.http_host}:{settings.http_port}", process.pid)
    ready, ended = asyncio.ensure_future(server.ready()), asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({ready, ended}, timeout=_START_LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        if not ready.done() or ended.done():
            tail = log_path.read_text(errors="replace")[-2000:]
            raise ProductFailed(f"`serve` was not ready within {_START_LIMIT_S:g} s; the end of {log_path}:\n{tail}")
        yield server
    finally:
        ready.cancel()
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait({ended}, timeout=_STOP_LIMIT_S)
        with suppress(ProcessLookupError):
            process.kill()
        await ended


def _environment(settings: Settings) -> dict[str, str]:
    """This process's environment with these settings and no others of ours, a settings file included."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
    values = {
        "http_host": settings.http_host,
        "http_port": settings.http_port,
        "triton_url": settings.triton_grpc_url,
        "data_dir": settings.data_dir,
        "checkpoint_dir": settings.checkpoint_dir,
        "avatar": settings.avatar,
        "x264_preset": settings.x264_preset,
        "video_bitrate_kbps": settings.video_bitrate_kbps,
        "fade_frames": settings.fade_frames,
        "mouth_fade_frames": settings.mouth_fade_frames,
        "cpu_threads": settings.cpu_threads,
        "max_steps": 1000,
        "requests_per_minute": 0,
        "uploads_per_minute": 0,
        "channel_limit": 1000,
        "drain_limit_s": 0,
    }
    if settings.ffmpeg is not None:
        values["ffmpeg"] = settings.ffmpeg
    return kept | {ENV_PREFIX + name.upper(): str(value) for name, value in values.items()}


def _multipart(fields: dict[str, str], wav: bytes) -> tuple[bytes, str]:
    boundary = uuid.uuid4().hex
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
        for name, value in fields.items()
    ]
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="audio_file"; filename="speech.wav"\r\n'
    parts += [head.encode(), b"Content-Type: audio/wav\r\n\r\n", wav, f"\r\n--{boundary}--\r\n".encode()]
    return b"".join(parts), f"multipart/form-data; boundary={boundary}"
