"""From PCM to chunks of faces in order, whatever order the answers come in."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from inference.errors import InferenceFailed
from latentsync.audio import frame_windows, join_features, split_windows
from speech.features import SpeechFeatures
from speech.generation import GenerationSettings, SpeechChunk, SpeechGeneration, SpeechRequest

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
            return np.broadcast_to(values[:, None, None, None], (16, RESOLUTION, RESOLUTION, 3)).copy()
        finally:
            self.out -= 1


@pytest.fixture
def clip() -> Clip:
    numbers = np.arange(10, dtype=np.float16)[:, None, None, None]
    return Clip(np.broadcast_to(numbers, (10, 9, 2, 2)).copy())


def request(frames: float) -> SpeechRequest:
    pcm = np.random.default_rng(1).uniform(-0.5, 0.5, round(frames * 640)).astype(np.float32)
    return SpeechRequest(pcm, seed=7, steps=2, guidance=1.0)


async def collect(generation: SpeechGeneration, first_position: int = 0) -> list[SpeechChunk]:
    return [chunk async for chunk in generation.chunks(first_position)]


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 100, 100.5])
async def test_every_frame_comes_once_and_in_order_though_answers_do_not(clip: Clip, frames: float) -> None:
    models = Models()
    models.reverse = True
    asked = request(frames)
    chunks = await collect(SpeechGeneration(models, clip, asked), first_position=3)
    count = int(np.ceil(frames))
    assert [chunk.first_frame for chunk in chunks] == list(range(0, count, 16))
    faces = np.concatenate([chunk.faces for chunk in chunks])
    assert faces[:, 0, 0, 0].tolist() == [(3 + frame) % 10 for frame in range(count)]
    heard = np.concatenate([chunk.audio for chunk in chunks]).reshape(-1)
    assert heard.shape == (count * 640,)
    np.testing.assert_allclose(heard[: len(asked.pcm)] / 32768, asked.pcm, atol=1 / 65000)


async def test_frames_that_only_whisper_hears_have_no_faces_and_shift_nothing_else(clip: Clip) -> None:
    whole, later = Models(), Models()
    asked = request(48 + 5)
    await collect(SpeechGeneration(whole, clip, asked))
    chunks = await collect(SpeechGeneration(later, clip, replace(asked, unspoken_frames=5)), first_position=3)
    assert sum(len(chunk.faces) for chunk in chunks) == 48
    assert [int(chunk.faces[0, 0, 0, 0]) for chunk in chunks] == [3, 9, 5], "the first face is where the speech begins"
    heard, expected = (np.concatenate(models.audios) for models in (later, whole))
    np.testing.assert_array_equal(heard[:48], expected[5:53])
    np.testing.assert_allclose(chunks[0].audio[0] / 32768, asked.pcm[5 * 640 : 6 * 640], atol=1 / 65000)


async def test_last_chunk_repeats_its_last_frame_in_everything(clip: Clip) -> None:
    models = Models()
    await collect(SpeechGeneration(models, clip, request(18)))
    condition, audio = models.conditions[1], models.audios[1]
    assert condition[:, 0, 0, 0].tolist() == [6, *[7] * 15]
    assert all(np.array_equal(audio[frame], audio[1]) for frame in range(2, 16))


async def test_one_noise_from_the_seed_serves_the_whole_speech(clip: Clip) -> None:
    models = Models()
    await collect(SpeechGeneration(models, clip, request(64)))
    await collect(SpeechGeneration(models, clip, request(16)))
    assert len(models.noises) == 5
    assert all(np.array_equal(noise, models.noises[0]) for noise in models.noises)
    assert models.noises[0].shape == (4, 2, 2)


async def test_slow_reader_bounds_what_is_asked_for(clip: Clip) -> None:
    models = Models()
    generation = SpeechGeneration(models, clip, request(640), GenerationSettings(chunks_ahead=3))
    async with aclosing(generation.chunks()) as chunks:
        await anext(chunks)
        for _ in range(100):
            await asyncio.sleep(0)
        assert len(models.conditions) == 3
    assert models.most_out == 2, "the first went alone"


async def test_others_wait_for_the_first_chunk_which_a_viewer_waits_for(clip: Clip) -> None:
    models = Models()
    models.answer = asyncio.Event()
    generation = SpeechGeneration(models, clip, request(640), GenerationSettings(chunks_ahead=4))
    async with aclosing(generation.chunks()) as chunks:
        first = asyncio.ensure_future(anext(chunks))
        for _ in range(100):
            await asyncio.sleep(0)
        assert models.out == 1
        models.answer.set()
        await first
        models.answer.clear()
        for _ in range(100):
            await asyncio.sleep(0)
        assert models.out == 3, "asked for without waiting for the reader"


async def test_leaving_early_cancels_what_is_out(clip: Clip) -> None:
    models = Models()
    models.answer = asyncio.Event()
    task = asyncio.create_task(collect(SpeechGeneration(models, clip, request(640))))
    while models.out < 1:
        await asyncio.sleep(0)
    models.answer.set()
    while models.most_out < 4:
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert models.out == 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_chunk_that_fails_once_is_made_again(clip: Clip) -> None:
    models = Models()
    models.failures = {6: 1}
    assert len(await collect(SpeechGeneration(models, clip, request(64)))) == 4


async def test_chunk_that_keeps_failing_ends_the_speech_with_its_reason(clip: Clip) -> None:
    models = Models()
    models.failures = {6: 5}
    given = []
    with pytest.raises(InferenceFailed, match=r"chunk 1 failed 2 times: out of memory"):
        async for chunk in SpeechGeneration(models, clip, request(64)).chunks():
            given.append(chunk.first_frame)
    assert given == [0]
    assert models.out == 0


async def test_first_chunk_waits_for_its_own_window_only(clip: Clip) -> None:
    models = Models()
    generation = SpeechGeneration(models, clip, request(3000), GenerationSettings(chunks_ahead=2))
    async with aclosing(generation.chunks()) as chunks:
        await anext(chunks)
        assert len(models.windows) == 1
        await asyncio.sleep(0)
        assert len(models.windows) == 2, "the next window is fetched once the first chunk is there"


async def test_features_can_come_before_the_place_is_known(clip: Clip) -> None:
    models = Models()
    generation = SpeechGeneration(models, clip, request(64))
    async with aclosing(generation):
        generation.request_features()
        await asyncio.sleep(0)
        assert len(models.windows) == 1
        assert [chunk.faces[0, 0, 0, 0] for chunk in await collect(generation, first_position=5)] == [5, 1, 7, 3]
    assert len(models.windows) == 1, "fetched once"


async def test_listening_alone_leaves_nothing_behind(clip: Clip) -> None:
    generation = SpeechGeneration(Models(), clip, request(64))
    async with aclosing(generation):
        generation.request_features()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_features_are_those_of_the_whole_speech_joined() -> None:
    models = Models()
    pcm = request(1600).pcm
    windows, counts = split_windows(pcm)
    whole = join_features([await models.features(window) for window in windows], counts)
    models.windows.clear()
    features = SpeechFeatures(models, pcm, windows_ahead=1, attempts=1, clock=lambda: 0.0)
    for first in range(0, 1600, 16):
        features.move_on(first)
        got = await features.for_frames(first, first + 15)
        np.testing.assert_array_equal(got, frame_windows(whole, range(first, first + 16)))
    assert len(models.windows) == len(windows) == 3
    await features.aclose()


async def test_windows_that_are_done_are_let_go() -> None:
    models = Models()
    features = SpeechFeatures(models, request(6000).pcm, windows_ahead=1, attempts=1, clock=lambda: 0.0)
    for first in range(0, 6000, 16):
        await features.for_frames(first, first + 15)
        features.move_on(first + 16)
        assert len(features._tasks) <= 3
    await features.aclose()


class SlowModels(Models):
    """Each chunk takes one second of a clock that nothing else moves."""

    now = 0.0

    async def faces(self, *arguments: object) -> NDArray[Any]:
        self.now += 1.0
        return await super().faces(*arguments)  # type: ignore[arg-type]


async def test_timings_say_when_the_speech_may_start(clip: Clip) -> None:
    models = SlowModels()
    generation = SpeechGeneration(
        models, clip, request(64), GenerationSettings(chunks_ahead=1), clock=lambda: models.now
    )
    assert generation.wait_before_start_s() is None
    assert generation.wait_before_start_s(expected_rate=16.0) == pytest.approx(4 - 48 / 25)
    async with aclosing(generation.chunks()) as chunks:
        await anext(chunks)
        assert generation.timings.first_chunk_s == 1.0
        assert generation.timings.frames_per_s == 16.0
        assert generation.wait_before_start_s() == pytest.approx(3 - 48 / 25)
        # Latency of the first chunks, not yet a rate: an earlier speech's counts until more is made.
        assert generation.wait_before_start_s(expected_rate=100.0) == 0.0


async def test_measured_rate_counts_once_enough_is_made(clip: Clip) -> None:
    models = SlowModels()
    generation = SpeechGeneration(
        models, clip, request(160), GenerationSettings(chunks_ahead=1), clock=lambda: models.now
    )
    async with aclosing(generation.chunks()) as chunks:
        for _ in range(3):
            await anext(chunks)
        wait_s = generation.wait_before_start_s()
        assert wait_s and wait_s > 0
        assert generation.wait_before_start_s(expected_rate=100.0) == wait_s
