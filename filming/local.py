"""An image-to-video model of a local folder, in a process of its own for each video: its memory ends with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import sys
import tempfile
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from filming.service import FilmError, FilmFault, FilmOrder, FilmProgress
from processes.tethered import tethered

_LONGEST_LINE = 64 * 1024


@dataclass(frozen=True)
class LocalModel:
    """A folder as diffusers saves a pipeline, more arguments for its call, and the rate at which it was trained."""

    folder: Path
    options: Mapping[str, int | float]
    fps: int


@dataclass
class _Job:
    process: Process
    video: Path
    share: float | None = None
    error: str | None = None
    reading: asyncio.Task[None] = field(init=False)


class LocalFilms:
    """Makes one video at a time: each may need the whole GPU."""

    outlives_server = False

    def __init__(self, model: LocalModel) -> None:
        self._model = model
        self._jobs: dict[str, _Job] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="films-")
        self._free = asyncio.Semaphore(1)

    async def begin(self, order: FilmOrder) -> str:
        """Start the process, once the one before has ended."""
        await self._free.acquire()
        try:
            job_id = uuid4().hex
            video = Path(self._folder.name) / f"{job_id}.mp4"
            process = await asyncio.create_subprocess_exec(
                *tethered(sys.executable, "-m", "filming.local_process"),
                stdin=PIPE, stdout=PIPE, stderr=DEVNULL, limit=_LONGEST_LINE,
            )  # fmt: skip
        except BaseException:
            self._free.release()
            raise
        assert process.stdin is not None
        with contextlib.suppress(ConnectionError):  # which its end tells
            process.stdin.write(json.dumps(self._told(order, video)).encode())
            await process.stdin.drain()
            process.stdin.close()
        job = self._jobs[job_id] = _Job(process, video)
        job.reading = asyncio.create_task(self._read(job), name="film progress")
        return job_id

    async def look(self, job: str) -> FilmProgress:
        """What it said last."""
        found = self._known(job)
        if not found.reading.done():
            return FilmProgress(False, found.share)
        if found.process.returncode != 0 or not found.video.is_file():
            reason = found.error or f"its process ended with {found.process.returncode}"
            raise FilmError(FilmFault.FAILED, f"The model made no video ({reason}).")
        return FilmProgress(True, 1.0)

    async def fetch(self, job: str, into: Path, most_bytes: int) -> None:
        """Move the file; where that fails it can be tried again. Raises OSError."""
        video = self._known(job).video
        size = video.stat().st_size
        if size > most_bytes:
            raise FilmError(
                FilmFault.FAILED, f"The video has {size} bytes, of {most_bytes} that film_limit_bytes allows."
            )
        await asyncio.to_thread(shutil.move, video, into)
        self._jobs.pop(job, None)

    async def stop(self, job: str) -> None:
        """Kill its process."""
        found = self._jobs.pop(job, None)
        if found is None:
            return
        with contextlib.suppress(ProcessLookupError):
            found.process.kill()
        await found.reading
        found.video.unlink(missing_ok=True)

    async def aclose(self) -> None:
        """Kill what runs, and remove what nobody fetched."""
        for job in list(self._jobs):
            await self.stop(job)
        await asyncio.to_thread(self._folder.cleanup)

    def _told(self, order: FilmOrder, video: Path) -> dict[str, Any]:
        model = self._model
        return {
            "folder": str(model.folder), "options": dict(model.options), "fps": model.fps, "into": str(video),
            "picture": str(order.picture), "prompt": order.prompt, "seed": order.seed,
        }  # fmt: skip

    def _known(self, job: str) -> _Job:
        found = self._jobs.get(job)
        if found is None:
            raise FilmError(FilmFault.LOST, "The video was being made here when the server ended.")
        return found

    async def _read(self, job: _Job) -> None:
        assert job.process.stdout is not None
        try:
            async for line in job.process.stdout:
                with contextlib.suppress(ValueError):  # what libraries print there
                    said = json.loads(line)
                    if isinstance(said, dict):
                        job.share, job.error = said.get("share", job.share), said.get("error", job.error)
        finally:
            await job.process.wait()
            self._free.release()
