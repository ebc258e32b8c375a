"""From PCM to chunks of faces in order, whatever order the answers come in."""

import asyncio
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.errors import InferenceFailed
from speech.chunking import ChunkPlan
from speech.generation import FaceChunk, GenerationSettings, SpeechGeneration, SpeechRequest
from speech.log import SpeechLog
from speech.timeline import SpeechTimeline
from speech.windows import growing_window
from tests.support.logs import noise, sealed_log, sound_frames
from tests.support.mixed_channel import QuickLog

RESOLUTION = 16


@dataclass
class Clip:
    """An avatar of ten frames played in a circle; a frame's condition holds its number."""

    condition: NDArray[Any]

    def frame_index(self, position: int) -> int:
        return position % len(self.condition)


class Models:
    """Stands in for Triton where order and faults must be controlled; a face holds its frame's condition."""

    def __init__(self) -> None:
        self.windows: list[float] = []
        self.noises: list[NDArray[Any]] = []
        self.conditions: list[NDArray[Any]] = []
        self.audios: list[NDArray[Any]] = []
        self.out = self.most_out = 0
        self.answer: asyncio.Event | None = None
        self.failures: dict[int, int] = {}
        self.reverse = False

    async def features(self, window: NDArray[Any]) -> NDArray[Any]:
        self.windows.append(float(window[0]))
        await asyncio.sleep(0)
        return np.random.default_rng(int(abs(window[0]) * 1e6)).random((1500, 5, 384)).astype(np.float16)

    async def faces(
        self, noise: NDArray[Any], condition: NDArray[Any], audio: NDArray[Any], steps: int, guidance: float
    ) -> NDArray[Any]:
        number = len(self.conditions)
        self.noises.append(noise)
        self.conditions.append(condition)
        self.audios.append(audio)
        self.out += 1
        self.most_out = max(self.most_out, self.out)
        try:
            if self.answer is not None:
                await self.answer.wait()
            for _ in range(20 - 2 * number if self.reverse and number < 4 else 1):
                await asyncio.sleep(0)
            first = int(condition[0, 0, 0, 0])
            if self.failures.get(first, 0):
                self.failures[first] -= 1
                raise InferenceFailed("out of memory")
            values = condition[:, 0, 0, 0].astype(np.uint8)
            return np.broadcast_to(values[:, None, None, None], (len(values), RESOLUTION, RESOLUTION, 3)).copy()
        finally:
            self.out -= 1


@pytest.fixture
def clip() -> Clip:
    numbers = np.arange(10, dtype=np.float16)[:, None, None, None]
    return Clip(np.broadcast_to(numbers, (10, 9, 2, 2)).copy())


REQUEST = SpeechRequest(seed=7, steps=2, guidance=1.0)


class Speeches:
    """Makes generations of speeches whose logs lie in a folder."""

    def __init__(self, folder: Path, clip: Clip) -> None:
        self._folder = folder
        self._clip = clip

    async def of(
        self,
        models: Models,
        frames: float,
        settings: GenerationSettings | None = None,
        request: SpeechRequest = REQUEST,
        **options: Any,
    ) -> SpeechGeneration:
        """The generation of a speech of noise that is there."""
        log = await sealed_log(self._folder / f"{uuid4()}", noise(frames))
        return self.of_log(models, log, settings, request, **options)

    def of_log(
        self,
        models: Models,
        log: SpeechLog,
        settings: GenerationSettings | None = None,
        request: SpeechRequest = REQUEST,
        **options: Any,
    ) -> SpeechGeneration:
        return SpeechGeneration(models, self._clip, SpeechTimeline(log, 0, 0), request, settings, **options)


@pytest.fixture
def speeches(tmp_path: Path, clip: Clip) -> Speeches:
    return Speeches(tmp_path, clip)


async def collect(generation: SpeechGeneration, first_position: int = 0) -> list[FaceChunk]:
    return [chunk async for chunk in generation.chunks(first_position)]


async def until(is_so: Callable[[], bool]) -> None:
    while not is_so():
        await asyncio.sleep(0.001)


async def turns() -> None:
    """Time for everything that waits for nobody; reading a log takes a thread."""
    for _ in range(20):
        await asyncio.sleep(0.002)


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 100, 100.5])
async def test_every_frame_comes_once_and_in_order_though_answers_do_not(speeches: Speeches, frames: float) -> None:
    models = Models()
    models.reverse = True
    chunks = await collect(await speeches.of(models, frames), first_position=3)
    count = int(np.ceil(frames))
    assert [chunk.first_frame for chunk in chunks] == list(range(0, count, 16))
    faces = np.concatenate([chunk.faces for chunk in chunks])
    assert faces[:, 0, 0, 0].tolist() == [(3 + frame) % 10 for frame in range(count)]
    np.testing.assert_array_equal(np.concatenate([chunk.sound for chunk in chunks]), sound_frames(noise(frames)).sound)


async def test_last_chunk_repeats_its_last_frame_in_everything(speeches: Speeches) -> None:
    models = Models()
    await collect(await speeches.of(models, 18))
    condition, audio = models.conditions[1], models.audios[1]
    assert condition[:, 0, 0, 0].tolist() == [6, *[7] * 3]
    assert all(np.array_equal(audio[frame], audio[1]) for frame in range(2, 4))


async def test_one_noise_from_the_seed_serves_the_whole_speech(speeches: Speeches) -> None:
    models = Models()
    await collect(await speeches.of(models, 64))
    await collect(await speeches.of(models, 16))
    assert len(models.noises) == 5
    assert all(np.array_equal(noise, models.noises[0]) for noise in models.noises)
    assert models.noises[0].shape == (4, 2, 2)


async def test_slow_reader_bounds_what_is_asked_for(speeches: Speeches) -> None:
    models = Models()
    generation = await speeches.of(models, 640, GenerationSettings(chunks_ahead=3))
    async with aclosing(generation.chunks()) as chunks:
        await anext(chunks)
        await until(lambda: len(models.conditions) >= 3)
        await turns()
        assert len(models.conditions) == 3
    assert models.most_out <= 2, "the first went alone"


async def test_others_wait_for_the_first_chunk_which_a_viewer_waits_for(speeches: Speeches) -> None:
    models = Models()
    models.answer = asyncio.Event()
    generation = await speeches.of(models, 640, GenerationSettings(chunks_ahead=4))
    async with aclosing(generation.chunks()) as chunks:
        first = asyncio.ensure_future(anext(chunks))
        await until(lambda: models.out >= 1)
        await turns()
        assert models.out == 1
        models.answer.set()
        await first
        models.answer.clear()
        await until(lambda: models.out >= 3)
        await turns()
        assert models.out == 3, "asked for without waiting for the reader"


async def test_leaving_early_cancels_what_is_out(speeches: Speeches) -> None:
    models = Models()
    models.answer = asyncio.Event()
    task = asyncio.create_task(collect(await speeches.of(models, 640)))
    while models.out < 1:
        await asyncio.sleep(0.001)
    models.answer.set()
    models.answer.clear()
    while models.out < 3:
        await asyncio.sleep(0.001)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert models.out == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_chunk_that_fails_once_is_made_again(speeches: Speeches) -> None:
    models = Models()
    models.failures = {6: 1}
    assert len(await collect(await speeches.of(models, 64))) == 4


async def test_chunk_that_keeps_failing_ends_the_speech_with_its_reason(speeches: Speeches) -> None:
    models = Models()
    models.failures = {6: 5}
    given = []
    with pytest.raises(InferenceFailed, match=r"chunk 1 failed 2 times: out of memory"):
        async for chunk in (await speeches.of(models, 64)).chunks():
            given.append(chunk.first_frame)
    assert given == [0]
    assert models.out == 0


async def test_first_chunk_waits_for_its_own_window_only(speeches: Speeches) -> None:
    models = Models()
    generation = await speeches.of(models, 3000, GenerationSettings(chunks_ahead=2))
    async with aclosing(generation.chunks()) as chunks:
        await anext(chunks)
        await turns()
    assert len(models.windows) == 1


async def test_features_can_come_before_the_place_is_known(speeches: Speeches) -> None:
    models = Models()
    generation = await speeches.of(models, 64)
    async with aclosing(generation):
        generation.request_features()
        await until(lambda: len(models.windows) >= 1)
        await turns()
        assert len(models.windows) == 1
        assert [chunk.faces[0, 0, 0, 0] for chunk in await collect(generation, first_position=5)] == [5, 1, 7, 3]
    assert len(models.windows) == 1, "fetched once"


async def test_listening_alone_leaves_nothing_behind(speeches: Speeches) -> None:
    generation = await speeches.of(Models(), 64)
    async with aclosing(generation):
        generation.request_features()
    assert asyncio.all_tasks() == {asyncio.current_task()}


class SlowModels(Models):
    """Each chunk takes one second of a clock that nothing else moves."""

    now = 0.0

    async def faces(self, *arguments: object) -> NDArray[Any]:
        self.now += 1.0
        return await super().faces(*arguments)  # type: ignore[arg-type]


async def test_timings_say_how_long_chunks_took(speeches: Speeches) -> None:
    models = SlowModels()
    generation = await speeches.of(models, 160, GenerationSettings(chunks_ahead=1), clock=lambda: models.now)
    async with aclosing(generation.chunks()) as chunks:
        await anext(chunks)
        assert generation.timings.first_chunk_s == 1.0
        assert generation.timings.frames_per_s == 16.0
        assert generation.early, "latency of the first chunks, not yet a rate"
        for _ in range(2):
            await anext(chunks)
        assert not generation.early
        assert generation.timings.frames_per_s == 16.0


SHORT_FIRST = replace(REQUEST, chunks=ChunkPlan(opening=(4, 8)))


async def test_first_chunks_are_short_and_the_last_is_filled_up_to_a_length(speeches: Speeches) -> None:
    models = Models()
    chunks = await collect(await speeches.of(models, 4 + 8 + 16 + 5, request=SHORT_FIRST))
    assert [len(chunk.faces) for chunk in chunks] == [4, 8, 16, 5]
    assert [len(audio) for audio in models.audios] == [4, 8, 16, 8]
    assert [chunk.first_frame for chunk in chunks] == [0, 4, 12, 28]


async def test_first_long_chunk_is_made_before_another_that_would_share_its_batch(speeches: Speeches) -> None:
    models = Models()
    models.answer = asyncio.Event()
    generation = await speeches.of(models, 640, GenerationSettings(chunks_ahead=4), SHORT_FIRST)
    async with aclosing(generation.chunks()) as chunks:
        first = asyncio.ensure_future(anext(chunks))
        await turns()
        models.answer.set()
        await first
        models.answer.clear()
        await until(lambda: len(models.audios) >= 3)
        await turns()
        assert [len(audio) for audio in models.audios] == [4, 8, 16], "the second is still out"
        models.answer.set()
        await anext(chunks)
        await until(lambda: len(models.audios) >= 5)
        await turns()
        assert [len(audio) for audio in models.audios] == [4, 8, 16, 16, 16]


class BrighterModels(Models):
    """Each chunk's faces are by 100 brighter than those of the one before."""

    async def faces(self, *arguments: object) -> NDArray[Any]:
        number = len(self.conditions)
        return await super().faces(*arguments) + np.uint8(100 * number)  # type: ignore[arg-type]


async def test_the_next_chunk_fades_in_over_the_frames_that_both_have_made(speeches: Speeches) -> None:
    models, plain = BrighterModels(), Models()
    overlapping = GenerationSettings(overlap_frames=4)
    chunks = await collect(await speeches.of(models, 28, overlapping))
    await collect(await speeches.of(plain, 28))
    assert [len(chunk.faces) for chunk in chunks] == [12, 16]
    assert [len(audio) for audio in models.audios] == [16, 16]
    np.testing.assert_array_equal(models.audios[0], plain.audios[0], "the shared frames hear their own sound")
    assert [chunk.first_frame for chunk in chunks] == [0, 12]
    np.testing.assert_array_equal(np.concatenate([chunk.sound for chunk in chunks]), sound_frames(noise(28)).sound)
    numbers = np.arange(28) % 10
    expected = numbers[12:] + np.array([20, 40, 60, 80] + 12 * [100])
    np.testing.assert_array_equal(chunks[0].faces[:, 0, 0, 0], numbers[:12])
    np.testing.assert_array_equal(chunks[1].faces[:, 0, 0, 0], expected)


async def test_chunks_of_other_sound_are_not_blended(speeches: Speeches) -> None:
    generation = await speeches.of(BrighterModels(), 28, GenerationSettings(overlap_frames=4))
    left_out = iter([0, 3, 0, 0])

    async def skipping(first: int) -> int:
        return next(left_out)

    generation._catching_up.left_out = skipping  # type: ignore[method-assign]
    chunks = await collect(generation)
    assert [chunk.timeline_frame for chunk in chunks] == [0, 15]
    np.testing.assert_array_equal(chunks[1].faces[:, 0, 0, 0], np.arange(12, 25) % 10 + 100)


async def test_frames_before_the_first_are_heard_and_not_shown(speeches: Speeches) -> None:
    models, whole = Models(), Models()
    shown = await collect(await speeches.of(models, 37, request=replace(REQUEST, first_frame=5)))
    await collect(await speeches.of(whole, 37))
    np.testing.assert_array_equal(models.audios[0], np.concatenate([whole.audios[0][5:], whole.audios[1][:5]]))
    assert [chunk.first_frame for chunk in shown] == [0, 16]
    assert [chunk.timeline_frame for chunk in shown] == [5, 21]
    np.testing.assert_array_equal(shown[0].sound, sound_frames(noise(37)).sound[5:21])


LIVE = replace(REQUEST, windows=growing_window(look_ahead_frames=5), chunks=ChunkPlan((4,), steady=8))
HEARD_AFTER, LOOK_AHEAD = 2, 5


async def test_chunk_is_made_as_soon_as_its_look_ahead_has_arrived(speeches: Speeches, tmp_path: Path) -> None:
    models, log = Models(), QuickLog(tmp_path / "log")  # no thread, which a busy machine would let wait
    generation = speeches.of_log(models, log, request=LIVE)
    given: list[FaceChunk] = []

    async def read() -> None:
        async for chunk in generation.chunks():
            given.append(chunk)

    reading = asyncio.create_task(read())
    made_with: dict[int, int] = {}
    sound = noise(40)
    for frame in range(40):
        await log.append(sound_frames(sound[frame * 640 : (frame + 1) * 640]))
        await turns()
        for chunk in given:
            made_with.setdefault(chunk.first_frame, frame + 1)
        assert generation.frame_count is None and generation.waits_for_sound
    assert made_with == {
        first: first + count + HEARD_AFTER + LOOK_AHEAD for first, count in ((0, 4), (4, 8), (12, 8), (20, 8))
    }
    log.seal()
    await reading
    assert [len(chunk.faces) for chunk in given] == [4, 8, 8, 8, 8, 4], "nothing is waited for after the end"
    np.testing.assert_array_equal(np.concatenate([chunk.sound for chunk in given]), sound_frames(sound).sound)
    assert generation.frame_count == 40


async def test_sentence_is_made_to_its_end_before_the_next_one_comes(speeches: Speeches, tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "said")
    request = replace(REQUEST, windows=growing_window(5), chunks=ChunkPlan(opening=(4, 8)))
    generation = speeches.of_log(Models(), log, request=request)
    async with aclosing(generation.chunks()) as chunks:
        await log.append(replace(sound_frames(noise(30)), may_pause=True))
        first = [await anext(chunks) for _ in range(4)]
        assert [len(chunk.faces) for chunk in first] == [4, 8, 16, 2], "and not only as far as its look-ahead"
        assert (generation.frame_count, generation.count_to_pause) == (None, 30)
        coming = asyncio.ensure_future(anext(chunks))
        await log.append(sound_frames(noise(20, seed=2)))
        await turns()
        assert not coming.done() and generation.count_to_pause is None, "a sentence has begun, and isn't whole"
        await log.append(replace(sound_frames(noise(2, seed=3)), may_pause=True))
        second = [await coming, await anext(chunks)]
        assert [len(chunk.faces) for chunk in second] == [16, 6]
        assert [chunk.may_pause for chunk in (*first, *second)] == [False] * 3 + [True, False, True]
        log.seal()
        assert await anext(chunks, None) is None
    sound = np.concatenate([chunk.sound for chunk in (*first, *second)])
    whole = np.concatenate([noise(30), noise(20, seed=2), noise(2, seed=3)])
    np.testing.assert_array_equal(sound, sound_frames(whole).sound)


async def test_speech_without_a_single_frame_has_no_chunk(speeches: Speeches, tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "log")
    reading = asyncio.create_task(collect(speeches.of_log(Models(), log, request=LIVE)))
    await turns()
    assert not reading.done()
    log.break_off("source_lost")
    assert await reading == []


async def test_microphone_that_fell_behind_catches_up_in_a_pause(speeches: Speeches, tmp_path: Path) -> None:
    sound = noise(100)
    sound[40 * 640 : 80 * 640] = 0
    log = await sealed_log(tmp_path / "log", sound)
    request = replace(LIVE, catch_up_frames=10)
    chunks = await collect(speeches.of_log(Models(), log, request=request))
    left_out = sound_frames(sound).sound.any(axis=1)
    heard = np.concatenate(
        [np.arange(chunk.timeline_frame, chunk.timeline_frame + len(chunk.faces)) for chunk in chunks]
    )
    assert set(np.flatnonzero(left_out)) <= set(heard), "no word is shortened"
    assert len(heard) < 75, "most of the pause is left out"
    shown = np.concatenate([np.arange(chunk.first_frame, chunk.first_frame + len(chunk.faces)) for chunk in chunks])
    np.testing.assert_array_equal(shown, np.arange(len(heard)))
    whole = await collect(speeches.of_log(Models(), log, request=LIVE))
    assert sum(len(chunk.faces) for chunk in whole) == 100, "other sources lose nothing"


async def test_nothing_clicks_where_a_pause_is_shortened(speeches: Speeches, tmp_path: Path) -> None:
    sound = noise(100)
    hum = 100 * np.sin(2 * np.pi * 110 / 16_000 * np.arange(40 * 640))
    sound[40 * 640 : 80 * 640] = hum
    log = await sealed_log(tmp_path / "log", sound)
    chunks = await collect(speeches.of_log(Models(), log, request=replace(LIVE, catch_up_frames=10)))
    heard = np.concatenate([chunk.sound for chunk in chunks]).reshape(-1).astype(int)
    assert len(heard) < 75 * 1920
    steps = np.abs(np.diff(heard))
    quiet = np.convolve(np.abs(heard) <= 100, np.ones(2 * 1920), "same") == 2 * 1920
    assert steps[quiet[1:]].max() <= np.abs(np.diff(hum)).max() + 3


async def test_interrupted_reader_of_a_log_leaves_nothing_behind(speeches: Speeches, tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "log")
    await log.append(sound_frames(noise(20)))
    reading = asyncio.create_task(collect(speeches.of_log(Models(), log, request=LIVE)))
    await turns()
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    assert asyncio.all_tasks() == {asyncio.current_task()}
