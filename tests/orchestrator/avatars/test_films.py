"""Orders of videos: how they end where the service doesn't answer in time, or where there is no room."""

import asyncio
import errno
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from filming.film import FilmLimits
from filming.service import FilmOrder, FilmProgress, FilmService
from inference.errors import TritonUnavailable
from latentsync.avatar import PreparedAvatar
from orchestrator.avatars.errors import NoRoomForAvatar, VideoError
from orchestrator.avatars.films import Films
from orchestrator.avatars.motions import MotionOptions
from orchestrator.avatars.preparations import Preparation, Preparations, PreparationsFull, PreparationState, Prepare
from orchestrator.avatars.prepare import PrepareOptions, Progress
from orchestrator.observability.notices import Broadcast
from orchestrator.private_file import write_private
from tests.support.grey_avatar import make_avatar

VIDEO = b"a video"


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


class AtOnce(SlowToStop):
    """Its videos are ready when they are ordered."""

    async def look(self, job: str) -> FilmProgress:
        return FilmProgress(True)

    async def fetch(self, job: str, into: Path, most_bytes: int) -> None:
        into.write_bytes(VIDEO)


class Faulty:
    """Prepares avatars; each fault ends one preparation, and the others succeed."""

    def __init__(self, folder: Path, *faults: Exception) -> None:
        self.folder, self.faults, self.tries = folder, list(faults), 0
        self.asked: list[PrepareOptions | MotionOptions] = []

    async def __call__(
        self, video: Path, name: str, options: PrepareOptions | MotionOptions, progress: Progress
    ) -> PreparedAvatar:
        assert await asyncio.to_thread(video.read_bytes) == VIDEO
        self.tries += 1
        self.asked.append(options)
        if self.faults:
            raise self.faults.pop(0)
        return await asyncio.to_thread(make_avatar, self.folder / name, 256, 256, 2)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def films_in(
    folder: Path, service: FilmService, prepare: Prepare | None = None, retry_s: float = 0.0
) -> AsyncIterator[tuple[Films, Preparations]]:
    """Orders that are worked on, and how each of them is."""
    prepare = Faulty(folder) if prepare is None else prepare
    preparations = Preparations(prepare, Broadcast(), lambda: 0.0, retry_s=retry_s)
    films = Films(folder, service, FilmLimits(), preparations, lambda: 0.0, lambda: 0.0)
    running = [asyncio.create_task(part.run()) for part in (films, preparations)]
    try:
        yield films, preparations
    finally:
        for part in running:
            part.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def known(preparations: Preparations, film: Preparation) -> Preparation:
    now = preparations.get(film.id)
    assert now is not None
    return now


def waits(preparations: Preparations, film: Preparation) -> bool:
    now = known(preparations, film)
    return now.state is PreparationState.QUEUED and now.warning is not None


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


FULL = NoRoomForAvatar("the avatar needs 0.1 GB more, and the disk has 1 GB: free some space")


async def test_a_film_for_which_there_is_no_room_now_is_prepared_later(tmp_path: Path, picture: Path) -> None:
    """It is made and paid for; the same where Triton starts again."""
    prepare = Faulty(
        tmp_path / "avatars", FULL, OSError(errno.ENOSPC, "No space left"), TritonUnavailable("Triton is away")
    )
    async with films_in(tmp_path / "films", AtOnce(), prepare) as (films, preparations):
        film = await films.submit("drawn", picture, FilmOrder(picture, "she nods"), PrepareOptions())
        await until(lambda: known(preparations, film).state.final)
        made = known(preparations, film)
        assert (made.state, made.warning, prepare.tries) == (PreparationState.DONE, None, 4)
        assert list((tmp_path / "films").iterdir()) == []


async def test_a_film_that_waits_says_why_holds_up_nobody_and_outlives_the_server(
    tmp_path: Path, picture: Path
) -> None:
    prepare = Faulty(tmp_path / "avatars", FULL)
    async with films_in(tmp_path / "films", AtOnce(), prepare, retry_s=600.0) as (films, preparations):
        asked = PrepareOptions(max_height=320, checkpoint="starter")
        film = await films.submit("drawn", picture, FilmOrder(picture, "she nods"), asked)
        await until(lambda: waits(preparations, film))
        assert "free some space" in (known(preparations, film).warning or "")
        picture.write_bytes(b"pixels")
        other = await films.submit("other", picture, FilmOrder(picture, "she nods"), PrepareOptions())
        await until(lambda: known(preparations, other).state is PreparationState.DONE)
        assert waits(preparations, film)
    async with films_in(tmp_path / "films", AtOnce(), prepare) as (_, preparations):
        await until(lambda: preparations.get(film.id) is not None and known(preparations, film).state.final)
        assert known(preparations, film).state is PreparationState.DONE
    assert prepare.asked[-1] == asked


async def test_a_film_that_waits_can_be_cancelled(tmp_path: Path, picture: Path) -> None:
    prepare = Faulty(tmp_path / "avatars", FULL)
    async with films_in(tmp_path / "films", AtOnce(), prepare, retry_s=600.0) as (films, preparations):
        film = await films.submit("drawn", picture, FilmOrder(picture, "she nods"), PrepareOptions())
        await until(lambda: waits(preparations, film))
        preparations.cancel(film.id)
        assert known(preparations, film).state is PreparationState.CANCELLED
        assert list((tmp_path / "films").iterdir()) == []


async def test_films_that_wait_are_limited(tmp_path: Path, picture: Path) -> None:
    prepare = Faulty(tmp_path / "avatars", *[FULL] * 8)
    async with films_in(tmp_path / "films", AtOnce(), prepare, retry_s=600.0) as (films, preparations):
        for number in range(8):
            picture.write_bytes(b"pixels")
            film = await films.submit(f"drawn{number}", picture, FilmOrder(picture, "nods"), PrepareOptions())
            await until(lambda film=film: waits(preparations, film))  # type: ignore[misc]
        picture.write_bytes(b"pixels")
        with pytest.raises(PreparationsFull):
            await films.submit("more", picture, FilmOrder(picture, "she nods"), PrepareOptions())


async def test_a_film_that_can_be_no_avatar_fails(tmp_path: Path, picture: Path) -> None:
    prepare = Faulty(tmp_path / "avatars", VideoError("it holds no picture"))
    async with films_in(tmp_path / "films", AtOnce(), prepare) as (films, preparations):
        film = await films.submit("drawn", picture, FilmOrder(picture, "she nods"), PrepareOptions())
        await until(lambda: known(preparations, film).state.final)
        assert known(preparations, film).error == ("bad_video", "it holds no picture")
        assert (prepare.tries, list((tmp_path / "films").iterdir())) == (1, [])
