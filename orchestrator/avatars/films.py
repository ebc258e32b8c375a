"""Avatars and motions from pictures: a service makes the video, which is then prepared. Orders outlive the server."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from filming.film import FilmLimits, filmed
from filming.service import FilmError, FilmFault, FilmOrder, FilmProgress, FilmService
from latentsync.avatar import Loop
from orchestrator.avatars.motions import MotionOptions
from orchestrator.avatars.preparations import Preparation, Preparations, PreparationsFull
from orchestrator.avatars.prepare import PrepareOptions
from orchestrator.clock import Clock
from orchestrator.private_file import write_private

_RECORD, _VIDEO = "film.json", "video.mp4"
_MOST_FILMS = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FilmRecord:
    """One order on the disk. `asked` is set before the service is asked, `job` once it has answered.

    It becomes the avatar, or the motion of that name of the avatar.
    """

    id: str
    avatar: str
    picture: str
    prompt: str
    seed: int
    created_at: float
    max_height: int | None = None
    loop: Loop | None = None
    face_at: tuple[float, float] | None = None
    asked: bool = False
    job: str | None = None
    motion: str | None = None
    checkpoint: str | None = None

    @property
    def options(self) -> PrepareOptions | MotionOptions:
        """How the video is prepared."""
        if self.motion is not None:
            return MotionOptions(self.avatar, self.loop)
        return PrepareOptions(
            max_height=self.max_height, loop=self.loop, face_at=self.face_at, checkpoint=self.checkpoint
        )


@dataclass(frozen=True)
class FilmFolder:
    """What an order has on the disk, until its avatar is made or can't be."""

    path: Path

    def cleanup(self) -> None:
        """Remove it."""
        shutil.rmtree(self.path, ignore_errors=True)


class Films:
    """The orders; each is one folder, and one avatar task from the order to the prepared avatar."""

    def __init__(
        self,
        folder: Path,
        service: FilmService | None,
        limits: FilmLimits,
        preparations: Preparations,
        clock: Clock,
        monotonic: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._service = service
        self._limits = limits
        self._preparations = preparations
        self._clock = clock
        self._monotonic = monotonic
        self._records: dict[str, FilmRecord] = {}
        self._works: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._arrived = asyncio.Event()
        self._arriving: set[str] = set()  # whose record isn't on the disk yet

    @property
    def offered(self) -> bool:
        """Whether a service is set."""
        return self._service is not None

    async def submit(
        self,
        avatar: str,
        picture: Path,
        order: FilmOrder,
        options: PrepareOptions,
        motion: str | None = None,
    ) -> Preparation:
        """Take an order; the picture is moved. Raises PreparationsFull and OSError.

        `motion` names the motion that it becomes of an avatar that there is; of the options only `loop` counts then.
        """
        if len(self._records) + self._preparations.films >= _MOST_FILMS:
            raise PreparationsFull
        record = FilmRecord(
            str(uuid.uuid4()), avatar, f"picture{order.picture.suffix}", order.prompt, order.seed, self._clock(),
            options.max_height, options.loop, options.face_at, motion=motion, checkpoint=options.checkpoint,
        )  # fmt: skip
        self._arriving.add(record.id)
        try:
            await asyncio.to_thread(self._keep, record, picture)
        finally:
            self._arriving.discard(record.id)
        preparation = self._announce(record)
        self._arrived.set()
        return preparation

    def cancel(self, film_id: str) -> bool:
        """End an order whose video isn't there yet; returns whether it is one."""
        work = self._works.get(film_id)
        if work is not None:
            self._cancelled.add(film_id)
            work.cancel()
        return work is not None

    async def run(self) -> None:
        """Work on all orders, also on those of the server before, until cancelled."""
        for record in await asyncio.to_thread(self._found):
            self._announce(record)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    self._arrived.clear()
                    for film_id in [each for each in self._records if each not in self._works]:
                        self._works[film_id] = group.create_task(self._work(film_id), name="film")
                    await self._arrived.wait()
        finally:
            self._works.clear()

    async def _work(self, film_id: str) -> None:
        folder = self._folder / film_id
        try:
            await self._make(film_id, folder)
        except FilmError as error:
            self._over(film_id)
            self._preparations.fail(film_id, error.fault.value, error.message)
        except OSError as error:
            self._over(film_id)
            self._preparations.fail(film_id, "disk_failed", f"The film's folder can't be used: {error.strerror}.")
        except asyncio.CancelledError:
            if film_id not in self._cancelled:
                raise  # the server stops: the order stays
            self._cancelled.discard(film_id)
            record = self._records[film_id]
            # It is over before the service hears of it: that may take long, and be cut short by a second
            # cancellation, or by the server's end, after which the order would begin again.
            self._over(film_id)
            self._preparations.cancelled(film_id)
            await self._stop(record)
        except Exception:  # a bug must not end the other orders; the log has its traceback
            logger.exception("the film of %s failed", self._records[film_id].avatar)
            self._over(film_id)
            self._preparations.fail(film_id, "internal_error", "The server failed at this order. Its log says why.")
        else:
            record = self._records.pop(film_id)
            self._works.pop(film_id, None)
            self._preparations.submit_film(film_id, folder / _VIDEO, record.options, FilmFolder(folder))

    async def _make(self, film_id: str, folder: Path) -> None:
        if await asyncio.to_thread((folder / _VIDEO).is_file):
            return
        if self._service is None:
            message = "No service that makes videos is set any more: set film_service, and order it again."
            raise FilmError(FilmFault.LOST, message)
        record = self._records[film_id]
        if record.job is None or not self._service.outlives_server:
            record = await self._ordered(record, folder, self._service)
        assert record.job is not None
        part = folder / f"{_VIDEO}.part"
        await filmed(
            self._service, record.job, part, self._limits, lambda progress: self._tell(film_id, progress),
            self._monotonic,
        )  # fmt: skip
        await asyncio.to_thread(part.replace, folder / _VIDEO)

    async def _ordered(self, record: FilmRecord, folder: Path, service: FilmService) -> FilmRecord:
        if record.asked and service.outlives_server:
            message = (
                "The server ended while the service was asked: nobody knows whether it took the order. Order again."
            )
            raise FilmError(FilmFault.LOST, message)
        await self._change(replace(record, asked=True))
        job = await service.begin(FilmOrder(folder / record.picture, record.prompt, record.seed))
        record = replace(record, asked=True, job=job)
        try:
            return await self._change(record)
        except OSError as error:  # it is paid for: only a restart loses it now
            logger.error("the film of %s is ordered as %s, which can't be noted: %s", record.avatar, job, error)
            return record

    async def _stop(self, record: FilmRecord) -> None:
        if self._service is None or record.job is None:
            return
        try:
            await self._service.stop(record.job)
        except Exception:  # whatever it raises: the order is over here, and its log tells what may still cost something
            logger.warning("film %s of the service could not be stopped", record.job, exc_info=True)

    def _tell(self, film_id: str, progress: FilmProgress) -> None:
        self._preparations.filmed(film_id, progress.share)

    def _announce(self, record: FilmRecord) -> Preparation:
        self._records[record.id] = record
        return self._preparations.announce(record.id, record.avatar, record.created_at, record.motion)

    def _over(self, film_id: str) -> None:
        del self._records[film_id]
        self._works.pop(film_id, None)
        FilmFolder(self._folder / film_id).cleanup()

    async def _change(self, record: FilmRecord) -> FilmRecord:
        self._records[record.id] = record
        text = json.dumps(asdict(record))
        await asyncio.to_thread(write_private, self._folder / record.id / _RECORD, text)
        return record

    def _keep(self, record: FilmRecord, picture: Path) -> None:
        folder = self._folder / record.id
        folder.mkdir(parents=True)
        try:
            shutil.move(picture, folder / record.picture)
            write_private(folder / _RECORD, json.dumps(asdict(record)))
        except BaseException:
            FilmFolder(folder).cleanup()
            raise

    def _found(self) -> list[FilmRecord]:
        records = []
        for folder in sorted(self._folder.glob("*")) if self._folder.is_dir() else ():
            if folder.name not in self._arriving and not (folder / _RECORD).exists():
                # A server was killed before it had taken the order, or when its avatar was made.
                FilmFolder(folder).cleanup()
                continue
            try:
                values = json.loads((folder / _RECORD).read_text())
                values["loop"] = values["loop"] and Loop(values["loop"])
                values["face_at"] = values["face_at"] and tuple(values["face_at"])
                records.append(FilmRecord(**values))
            except (OSError, ValueError, TypeError, KeyError) as error:
                logger.warning("the film of %s can't be read (%s), and is left where it is", folder, error)
        return sorted(records, key=lambda record: record.created_at)
