"""Which sound the features of a frame are made of, while a speech arrives and when it is whole."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.audio import frame_windows, join_features, split_windows
from latentsync.contract import CONTRACT
from speech.features import SpeechFeatures
from speech.log import SpeechLog
from speech.timeline import SpeechTimeline
from speech.windows import WHOLE_WINDOWS, WindowPolicy, growing_window, short_window
from tests.support.logs import noise, sealed_log, sound_frames

_OFFSET = 1000  # loud enough to be no pause


class Echo:
    """The feature of a position is the first sample of its 20 ms, so that it tells which frame was heard."""

    def __init__(self) -> None:
        self.windows: list[NDArray[np.float32]] = []

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        self.windows.append(window)
        await asyncio.sleep(0)
        heard = window[:: CONTRACT.samples_per_position] * 32768
        return np.broadcast_to(heard[:, None, None], (len(heard), 5, 384)).astype(np.float16)


def numbered(frames: int, pauses: range = range(0)) -> NDArray[np.int16]:
    """Each frame's samples are its number; those of a pause are silent."""
    values = np.arange(frames) + _OFFSET
    values[list(pauses)] = 0
    return np.repeat(values, CONTRACT.samples_per_frame).astype(np.int16)


def heard_frames(features: NDArray[np.float16]) -> list[list[int]]:
    """For each frame the numbers of the frames that its ten positions come from."""
    return [[int(value) - _OFFSET for value in frame[::5, 0]] for frame in features]


def expected(frames: range, total: int | None = None) -> list[list[int]]:
    positions = [[2 * frame - 4 + k for k in range(10)] for frame in frames]
    last = None if total is None else 2 * total - 1
    return [[max(0, p if last is None else min(p, last)) // 2 for p in each] for each in positions]


def features_of(model: Any, timeline: SpeechTimeline, policy: WindowPolicy) -> SpeechFeatures:
    return SpeechFeatures(model, timeline, policy, attempts=1, clock=lambda: 0.0)


async def test_upload_of_one_window_is_heard_as_a_whole_recording(tmp_path: Path) -> None:
    samples = noise(700.5)
    log = await sealed_log(tmp_path / "log", samples)
    timeline = SpeechTimeline(log, 5, 5)
    model = Echo()
    features = features_of(model, timeline, WHOLE_WINDOWS)
    got = np.concatenate([await features.for_frames(first, min(first + 15, 710)) for first in range(0, 711, 16)])
    pcm = np.pad(samples, (3200, 3200 + 320)).astype(np.float32) / np.float32(32768)
    windows, counts = split_windows(pcm)
    whole = join_features([await model.features(window) for window in windows], counts)
    np.testing.assert_array_equal(model.windows[0], windows[0])
    assert len(model.windows) == 2, "one for the speech, and the test's own"
    np.testing.assert_array_equal(got, frame_windows(whole, range(711)))


@pytest.mark.parametrize("policy", [WHOLE_WINDOWS, growing_window(5), short_window(5)])
async def test_every_frame_hears_its_own_surroundings_in_a_long_speech(tmp_path: Path, policy: WindowPolicy) -> None:
    total = 1024
    log = await sealed_log(tmp_path / "log", numbered(total))
    model, timeline = Echo(), SpeechTimeline(log, 0, 0)
    features = features_of(model, timeline, policy)
    for first in range(0, total, 16):
        assert features.ready_to(first) == total
        assert heard_frames(await features.for_frames(first, first + 15)) == expected(range(first, first + 16), total)
    assert {len(window) for window in model.windows} == {policy.padded_s * 16_000}
    assert len(model.windows) <= 2 + total // (policy.length_frames - policy.overlap_frames - 32)


@pytest.mark.parametrize("policy", [growing_window(5), growing_window(0), short_window(10)])
@pytest.mark.parametrize("step", [1, 3, 20])
async def test_arriving_speech_is_heard_no_sooner_than_its_look_ahead(
    tmp_path: Path, policy: WindowPolicy, step: int
) -> None:
    log = SpeechLog(tmp_path / "log")
    model, timeline = Echo(), SpeechTimeline(log, 0, 0)
    features = features_of(model, timeline, policy)
    sound, first, ahead = sound_frames(numbered(900)), 0, 2 + (policy.look_ahead_frames or 0)
    for frame in range(0, 900, step):
        await log.append(type(sound)(sound.heard[frame : frame + step], sound.sound[frame : frame + step]))
        assert features.ready_to(first) == max(first, log.frames - ahead)
        while first + 8 <= features.ready_to(first):
            got = heard_frames(await features.for_frames(first, first + 7))
            assert got == expected(range(first, first + 8))
            first += 8
    assert first > 860
    log.seal()
    assert features.ready_to(first) == 900


async def test_sentence_that_is_whole_waits_for_no_look_ahead(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "log")
    model, timeline = Echo(), SpeechTimeline(log, 0, 0)
    features = features_of(model, timeline, short_window(5))
    await log.append(sound_frames(numbered(30)))
    assert features.ready_to(0) == 30 - 2 - 5
    await log.append(replace(sound_frames(numbered(40)[-10 * 640 :]), may_pause=True))
    assert features.ready_to(0) == 40
    assert heard_frames(await features.for_frames(36, 39)) == expected(range(36, 40), 40)
    await features.for_frames(0, 15)
    assert len(model.windows) == 1
    await log.append(sound_frames(numbered(50)[-10 * 640 :]))
    assert features.ready_to(0) == 50 - 2 - 5, "the next sentence has begun"
    log.close()


async def test_what_a_window_covers_is_not_encoded_again(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "log")
    await log.append(sound_frames(numbered(100)))
    model = Echo()
    features = features_of(model, SpeechTimeline(log, 0, 0), growing_window(5))
    for first in range(0, 88, 8):
        await features.for_frames(first, first + 7)
    assert len(model.windows) == 1


async def test_window_begins_anew_at_a_pause_with_what_was_said_before(tmp_path: Path) -> None:
    pause = range(560, 580)
    log = SpeechLog(tmp_path / "log")
    model = Echo()
    features = features_of(model, SpeechTimeline(log, 0, 0), growing_window(5))
    sound, first, began = sound_frames(numbered(700, pause)), 0, {}
    for frame in range(700):
        await log.append(type(sound)(sound.heard[frame : frame + 1], sound.sound[frame : frame + 1]))
        while first + 8 <= features.ready_to(first):
            await features.for_frames(first, first + 7)
            began[first] = features._begin
            first += 8
    renewed = [frame for frame, begin in began.items() if begin]
    assert pause.start <= renewed[0] < pause.stop
    assert {began[frame] for frame in renewed} == {renewed[0] - 200}
    assert features.joins == [renewed[0]]


async def test_upload_that_is_still_decoded_waits_for_its_whole_window(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "log")
    features = features_of(Echo(), SpeechTimeline(log, 5, 5), WHOLE_WINDOWS)
    await log.append(sound_frames(numbered(744)))
    assert features.ready_to(0) == 0
    await log.append(sound_frames(numbered(1)))
    assert features.ready_to(0) == 748, "all that hears nothing beyond the window"
    await features.for_frames(0, 3)
    assert features.ready_to(748) == 748
    log.seal()
    assert features.ready_to(748) == 755


async def test_first_window_is_encoded_before_anybody_asks(tmp_path: Path) -> None:
    log = SpeechLog(tmp_path / "log")
    model = Echo()
    now_s = 7.0
    features = SpeechFeatures(model, SpeechTimeline(log, 5, 5), growing_window(5), 1, lambda: now_s)
    features.begin(5, 4)
    await asyncio.sleep(0)  # it waits
    await log.append(sound_frames(numbered(10)))
    await asyncio.sleep(0.01)
    assert not model.windows and features.sound_due_s(5, 4) == 0.04, "it would not hold the whole chunk"
    now_s += 0.03
    assert features.sound_due_s(5, 4) == pytest.approx(0.01), "most of what is missing has been spoken"
    now_s += 0.03
    assert features.sound_due_s(5, 4) == 0 and features.sound_due_s(9, 8) == pytest.approx(0.32), "a frame is late"
    await log.append(sound_frames(numbered(1)))
    while not features.covers(5, 4):
        await asyncio.sleep(0.001)
    assert features.sound_due_s(5, 4) == 0 and not features.covers(5, 5)
    await features.for_frames(5, 8)
    assert len(model.windows) == 1
    await features.aclose()


async def test_no_window_is_encoded_ahead_of_a_pause(tmp_path: Path) -> None:
    log, model = SpeechLog(tmp_path / "log"), Echo()
    features = features_of(model, SpeechTimeline(log, 5, 5), growing_window(5))
    await log.append(replace(sound_frames(numbered(10)), may_pause=True))
    features.begin(5, 4)
    features.begin(9, 8)  # six frames are left of the sentence
    features.begin(15, 8)  # none is
    while not features.covers(9, 6):
        await asyncio.sleep(0.001)
    await log.append(sound_frames(numbered(30)))
    await asyncio.sleep(0.01)
    assert len(model.windows) == 1, "the sentence's; what follows it is nobody's yet"
    await features.aclose()


def test_windows_that_hold_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="padding holds it"):
        WindowPolicy(751, 30, 5, 500, 200)
    with pytest.raises(ValueError, match="longer than overlap"):
        WindowPolicy(200, 15, 120, 200, 75)
