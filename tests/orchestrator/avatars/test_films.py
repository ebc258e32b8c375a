"""Orders of videos: how they end where the service doesn't answer in time."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from filming.film import FilmLimits
from filming.service import FilmOrder, FilmProgress, FilmService
from orchestrator.avatars.films import Films
from orchestrator.avatars.preparations import Preparations, PreparationState
from orchestrator.avatars.prepare import PrepareOptions
from orchestrator.observability.notices import Broadcast
from orchestrator.private_file import write_private


class SlowToStop:
    """Takes an order and never ends it; it answers a request to stop when it is let."""

    outlives_server = True

    def __init__(self) -> None:
        self.looks = self.asked_to_stop = 0
        self.may_answer = asyncio.Event()

    async def begin(self, order: FilmOrder) -> str:
        return "job"

    async def look(self, job: str) -> FilmProgress:
        self.looks += 1
        return FilmProgress(False)

    async def fetch(self, job: str, into: Path, most_bytes: int) -> None:
        raise AssertionError("it is never ready")

    async def stop(self, job: str) -> None:
        self.asked_to_stop += 1
        await self.may_answer.wait()

    async def aclose(self) -> None:
        """It has nothing to close."""


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def films_in(folder: Path, service: FilmService) -> AsyncIterator[tuple[Films, Preparations]]:
    """Orders that are worked on, and how each of them is."""
    preparations = Preparations(None, Broadcast(), lambda: 0.0)  # type: ignore[arg-type]  # it prepares nothing here
    films = Films(folder, service, FilmLimits(), preparations, lambda: 0.0, lambda: 0.0)
    running = asyncio.create_task(films.run())
    try:
        yield films, preparations
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "person.png"
    path.write_bytes(b"pixels")
    return path


async def test_an_order_that_is_cancelled_twice_is_cancelled(tmp_path: Path, picture: Path) -> None:
    """Who sees nothing happen asks again, and the service may be what is slow."""
    service = SlowToStop()
    async with films_in(tmp_path / "films", service) as (films, preparations):
        film = await films.submit("drawn", picture, FilmOrder(picture, "she nods"), PrepareOptions())
        await until(lambda: service.looks > 0)
        assert films.cancel(film.id)
        await until(lambda: service.asked_to_stop == 1)
        films.cancel(film.id)
        await asyncio.sleep(0)
        service.may_answer.set()
        await until(lambda: (now := preparations.get(film.id)) is not None and now.state.final)
        found = preparations.get(film.id)
        assert found is not None and found.state is PreparationState.CANCELLED
        assert list((tmp_path / "films").iterdir()) == []


async def test_an_order_that_can_not_be_noted_goes_on(
    tmp_path: Path, picture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = SlowToStop()

    def full(path: Path, text: str) -> None:
        if '"job": "job"' in text:
            raise OSError(errno.ENOSPC, "No space left on device")
        write_private(path, text)

    monkeypatch.setattr("orchestrator.avatars.films.write_private", full)
    async with films_in(tmp_path / "films", service) as (films, preparations):
        film = await films.submit("drawn", picture, FilmOrder(picture, "she nods"), PrepareOptions())
        await until(lambda: service.looks > 0)
        found = preparations.get(film.id)
        assert found is not None and found.state is PreparationState.FILMING


async def test_what_a_killed_server_left_without_an_order_is_removed(tmp_path: Path) -> None:
    folder = tmp_path / "films"
    for name, file in (("never-taken", "picture.png"), ("made", "video.mp4"), ("damaged", "film.json")):
        (folder / name).mkdir(parents=True)
        (folder / name / file).write_bytes(b"{")
    async with films_in(folder, SlowToStop()):
        await until(lambda: [path.name for path in folder.iterdir()] == ["damaged"])
