"""The judge of the stream: it finds each fault that it is there for, and none where there is none."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bench.stream.face_code import FacePlace, draw_face, read_faces
from bench.stream.findings import ChannelFindings, Fault, Said, find
from bench.stream.reading import PartReading, Sound
from bench.stream.stand_ins import voice
from streaming.config import FRAME_SAMPLES, SAMPLE_RATE_HZ
from streaming.pattern import read_stamp, stamp

TICKS, START, FADE = 400, 60, 2
SECONDS = 8.0
FRAMES = 8 * 25 + FADE
SAID = Said(number=3, channel=0, seconds=SECONDS, frames=FRAMES, state="done")


def received(sound_later_s: float = 0.0) -> PartReading:
    """A stream without a fault: one speech from frame 60 on, a flash and a beep each second."""
    tick = np.arange(TICKS)
    frame = np.clip(tick - START, 0, FRAMES - 1)
    inside = (tick >= START) & (tick < START + FRAMES)
    opacity = np.where(inside, np.clip(np.minimum(frame + 1, FRAMES - frame) / (FADE + 1), 0, 1), 0.0)
    speech = np.zeros(TICKS * FRAME_SAMPLES, np.float32)
    sent = voice(SECONDS, SAID.number)
    begin = START * FRAME_SAMPLES
    speech[begin : begin + len(sent)] = sent
    samples = speech.astype(np.int16)
    for second in range(TICKS // 25):
        samples[second * SAMPLE_RATE_HZ : second * SAMPLE_RATE_HZ + SAMPLE_RATE_HZ // 25] = 20_000
    flash = tick % 25 == 0
    return PartReading(
        tick=tick,
        time_s=1 + tick / 25,
        arrived_s=500 + tick / 25,
        flash=flash,
        contrast=(200 * opacity).astype(np.float32),
        speech=np.where(inside, SAID.number, 0),
        frame=frame,
        valid=opacity > 0.3,
        sound_ms=1000 + (np.arange(750) * 1024 / 48).astype(np.int64),
        beeps_s=1 + tick[flash] / 25 + sound_later_s,
        sounds=(Sound(1.0 + sound_later_s, samples),),
    )


def judged(*parts: PartReading, said: Said = SAID, faults: tuple[Fault, ...] = ()) -> ChannelFindings:
    return find(parts, [said], faults, FADE)


def without(part: PartReading, *places: int) -> PartReading:
    arrays: dict[str, Any] = {
        name: np.delete(getattr(part, name), places)
        for name in ("tick", "time_s", "arrived_s", "flash", "contrast", "speech", "frame", "valid")
    }
    return replace(part, **arrays)


def changed(part: PartReading, name: str, change: Callable[[NDArray[Any]], None]) -> PartReading:
    values = getattr(part, name).copy()
    change(values)
    return replace(part, **{name: values})


def shifted(by: int) -> Callable[[NDArray[Any]], None]:
    """Adds to all values from place 150 on."""

    def add(values: NDArray[Any]) -> None:
        values[150:] += by

    return add


def put(place: int | slice, value: int) -> Callable[[NDArray[Any]], None]:
    def write(values: NDArray[Any]) -> None:
        values[place] = value

    return write


def test_a_stream_without_a_fault_is_found_to_have_none() -> None:
    found = judged(received())
    assert found.frames_missing_outside_outages == found.frames_repeated_or_out_of_order == 0
    assert found.timestamps_not_monotonic == found.timestamps_off_the_frame_clock == 0
    assert found.speeches_wrong == found.waits_unexplained == found.fades_wrong == [] and not found.outages
    assert (found.fades_measured, found.speeches_in_order) == (2, [3])
    assert found.sound_without_lips_frames == found.late_waits_seen == 0
    assert found.av_offset_ms["max"] == 0 and abs(found.speech_lag_ms["max"]) < 0.1


def test_missing_frames_are_counted_and_explained_by_a_fault_alone() -> None:
    part = without(received(), 300, 301, 302)
    assert judged(part).frames_missing_outside_outages == 3
    at = 500 + 300 / 25
    explained = judged(part, faults=(Fault("server", at - 1, at - 0.5), Fault("encoder", 400, 400)))
    assert explained.frames_missing_outside_outages == 0
    assert (explained.outages[0].fault, explained.outages[0].frames) == ("server", 3)
    assert judged(part, faults=(Fault("server", at - 20, at - 15),)).frames_missing_outside_outages == 3


def test_a_speech_that_fell_into_an_outage_is_hidden_and_not_lost() -> None:
    part = without(received(), *range(START - 5, START + FRAMES + 5))
    fault = Fault("server", 500 + START / 25, 500 + (START + FRAMES) / 25)
    found = judged(part, faults=(fault,))
    assert (found.speeches_hidden_by_outages, found.speeches_wrong) == ([3], [])
    assert judged(part).speeches_wrong == ["speech 3 was not seen"]


def test_repeated_frames_and_times_that_go_back_are_counted() -> None:
    def swap(values: NDArray[Any]) -> None:
        values[[100, 101]] = values[[101, 100]]

    assert judged(changed(received(), "tick", swap)).frames_repeated_or_out_of_order == 1
    assert judged(changed(received(), "time_s", swap)).timestamps_not_monotonic == 1
    assert judged(changed(received(), "time_s", swap)).timestamps_off_the_frame_clock == 2
    assert judged(changed(received(), "sound_ms", swap)).timestamps_not_monotonic == 1


def test_frames_of_a_speech_that_are_skipped_are_named() -> None:
    skipped = judged(changed(received(), "frame", shifted(1)))
    assert "frame 91 follows 89" in skipped.speeches_wrong[0]
    assert skipped.waits_unexplained == []


def test_a_face_that_is_held_has_waited_and_needs_a_reason() -> None:
    held = changed(received(), "frame", shifted(-1))
    found = judged(held, said=replace(SAID, frames=FRAMES - 1))
    assert (found.speeches_wrong, found.waits_unexplained) == ([], ["speech 3 waits behind frame 89 for 1 frames"])
    late = judged(held, said=replace(SAID, late=True))
    assert (late.late_waits_seen, late.waits_unexplained) == (1, [])


def test_a_speech_that_is_cut_short_or_never_comes_is_named() -> None:
    cut = changed(received(), "valid", put(slice(200, None), 0))
    assert "ends with frame" in judged(cut).speeches_wrong[0]
    assert judged(received(), said=replace(SAID, number=9)).speeches_wrong == ["speech 9 was not seen"]
    assert judged(received(), said=replace(SAID, state="failed")).speeches_wrong == ["speech 3 ended as failed"]


@pytest.mark.parametrize("place", [START + 1, START + FRAMES - 2])
def test_a_fade_of_another_length_is_named(place: int) -> None:
    hard = changed(received(), "contrast", put(place, 200))
    assert len(judged(hard).fades_wrong) == 1


@pytest.mark.parametrize("place", [START + 1, START + FRAMES - 2])
def test_a_number_that_is_misread_in_a_fade_is_not_believed(place: int) -> None:
    def misread(frame: NDArray[Any]) -> None:
        frame[place] ^= 128

    found = judged(changed(received(), "frame", misread))
    assert found.speeches_wrong == found.fades_wrong == []
    assert found.fades_measured == 2
    whole = judged(changed(received(), "frame", put(150, 7)))
    assert len(whole.speeches_wrong) == 1


def test_sound_without_its_lips_is_counted() -> None:
    part = received()
    samples = part.sounds[0].samples.copy()
    at = round(330 / 25 * SAMPLE_RATE_HZ)
    samples[at : at + SAMPLE_RATE_HZ // 5] = 500
    assert judged(replace(part, sounds=(Sound(1.0, samples),))).sound_without_lips_frames == 5


def test_sound_that_comes_late_shows_in_the_beeps_and_in_the_speech() -> None:
    found = judged(received(sound_later_s=0.030))
    assert found.av_offset_ms["max"] == pytest.approx(30, abs=0.1)
    assert found.speech_lag_ms["max"] == pytest.approx(30, abs=0.1)


def test_the_time_from_an_interrupt_to_idle_is_that_of_the_arrival() -> None:
    said = replace(SAID, state="cancelled", interrupted_at=500 + (START + FRAMES - 10) / 25)
    assert judged(received(), said=said).idle_after_interrupt_ms == [pytest.approx(400, abs=41)]


def test_pictures_that_waited_in_a_server_that_hung_count_by_the_frame_clock() -> None:
    hangs, goes_on = 500 + 200 / 25, 500 + 300 / 25

    def hang(arrived: NDArray[Any]) -> None:
        arrived[200:300] = goes_on

    part = changed(received(), "arrived_s", hang)
    said = replace(SAID, state="cancelled", interrupted_at=500 + (START + FRAMES - 10) / 25)
    assert judged(part, said=said).idle_after_interrupt_ms == [pytest.approx(1920, abs=41)]
    hung = Fault("server_hung", hangs, goes_on)
    assert judged(part, said=said, faults=(hung,)).idle_after_interrupt_ms == [pytest.approx(400, abs=41)]
    slow = Fault("encoder_stopped", hangs, goes_on)
    assert judged(part, said=said, faults=(slow,)).idle_after_interrupt_ms == [pytest.approx(1920, abs=41)]


def test_an_interrupt_that_nobody_could_see_is_not_judged() -> None:
    part = without(received(), *range(START - 5, START + FRAMES + 5))
    at = 500 + START / 25
    said = replace(SAID, state="cancelled", interrupted_at=at + 1)
    found = judged(part, said=said, faults=(Fault("server", at, at + 8),))
    assert (found.idle_after_interrupt_ms, found.speeches_hidden_by_outages, found.speeches_wrong) == ([], [3], [])


@pytest.mark.parametrize("size", [(832, 1248), (320, 480)])
def test_a_face_is_read_from_a_blurred_picture_and_not_from_an_idle_one(size: tuple[int, int]) -> None:
    width, height = size
    place = FacePlace.within(width, height)
    pictures = np.full((3, height, width), 90, np.uint8)
    for picture, (speech, frame) in zip(pictures, [(1, 0), (700, 1000)], strict=False):
        face = draw_face(speech, frame)[:, :, 0]
        warped = cv2.warpAffine(face, place.matrix, size, flags=cv2.WARP_INVERSE_MAP, dst=picture.copy())
        picture[...] = cv2.GaussianBlur(warped, (5, 5), 0)
    codes = read_faces(pictures, place)
    assert codes.valid.tolist() == [True, True, False]
    assert list(zip(codes.speech[:2], codes.frame[:2], strict=True)) == [(1, 0), (700, 1000)]
    assert codes.contrast[2] == 0


def test_a_number_with_one_wrong_bit_is_not_believed() -> None:
    place, cell = FacePlace(0, 0, 256), 16
    whole = draw_face(300, 132)[:, :, 0]
    pictures = [whole]
    for bit in range(22):
        row, column = divmod(bit, 11)
        picture = whole.copy()
        top, left = 140 + (1 + row) * cell, 40 + column * cell
        picture[top : top + cell, left : left + cell] = 255 - picture[top : top + cell, left : left + cell]
        pictures.append(picture)
    assert read_faces(np.array(pictures), place).valid.tolist() == [True] + [False] * 22


def test_the_stamp_and_the_face_do_not_cover_each_other() -> None:
    picture = np.full((480, 320, 3), 128, np.uint8)
    stamp(picture, 123_450)
    assert FacePlace.within(320, 480).top >= 48
    assert read_stamp(picture[:, :, 0])[0] == 123_450 % (1 << 20)


def said_anew() -> tuple[PartReading, PartReading, Fault]:
    """A channel's process is killed in the middle of a speech, and the next one says it from its beginning."""
    whole = without(received(), *range(200, TICKS))
    sound = Sound(1.0, whole.sounds[0].samples[: 8 * SAMPLE_RATE_HZ])
    first = replace(whole, sound_ms=whole.sound_ms[whole.sound_ms < 9000], beeps_s=whole.beeps_s[:8], sounds=(sound,))
    killed_at = 500 + 200 / 25
    again = replace(received(), arrived_s=killed_at + 2.0 + np.arange(TICKS) / 25)
    return first, again, Fault("channel_killed", killed_at, killed_at, SAID.number)


def test_speech_that_another_process_says_anew_is_whole_and_its_gap_explained() -> None:
    first, again, killed = said_anew()
    found = judged(first, again, faults=(killed,))
    assert found.speeches_wrong == found.fades_wrong == []
    assert (found.speeches_in_order, found.fades_measured) == ([3], 2)
    assert [(outage.fault, outage.on_air_after_s) for outage in found.outages] == [("channel_killed", 2.0)]
    assert found.frames_repeated_or_out_of_order == found.timestamps_not_monotonic == 0
    assert found.timestamps_off_the_frame_clock == found.sound_without_lips_frames == 0
    assert found.av_offset_ms["max"] == 0 and found.latency_ms["p99"] < 1


def test_numbers_that_begin_anew_without_a_broken_process_are_an_error() -> None:
    first, again, killed = said_anew()
    for faults in ((), (replace(killed, kind="encoder_killed"),)):
        assert judged(first, again, faults=faults).frames_repeated_or_out_of_order > 0


def test_faults_of_the_speech_that_is_said_anew_are_still_found() -> None:
    first, again, killed = said_anew()
    skipped = changed(again, "frame", shifted(1))
    assert "frame 91 follows 89" in judged(first, skipped, faults=(killed,)).speeches_wrong[0]
    cut = changed(again, "valid", put(slice(200, None), 0))
    assert "ends with frame" in judged(first, cut, faults=(killed,)).speeches_wrong[0]


def test_faces_may_wait_where_models_failed_and_count_as_no_late_chunk() -> None:
    held = changed(received(), "frame", shifted(-1))
    found = judged(held, said=replace(SAID, may_wait=True, frames=FRAMES - 1))
    assert (found.speeches_wrong, found.late_waits_seen) == ([], 0)


def test_a_face_that_went_while_a_chunk_was_late_and_goes_on_with_the_next_frame_has_waited() -> None:
    def resumed_ten_frames_later(frame: NDArray[Any]) -> None:
        frame[150:] -= 10

    gone = changed(changed(received(), "frame", resumed_ten_frames_later), "valid", put(slice(150, 160 + FADE), 0))
    said = replace(SAID, frames=FRAMES - 10)
    found = judged(gone, said=replace(said, late=True))
    assert (found.speeches_wrong, found.waits_unexplained, found.late_waits_seen) == ([], [], 1)
    unexplained = judged(gone, said=said)
    assert (unexplained.speeches_wrong, unexplained.late_waits_seen) == ([], 0)
    assert unexplained.waits_unexplained == ["speech 3 waits behind frame 89 for 10 frames"]


def test_a_face_that_is_held_before_it_goes_and_comes_again_has_waited_once() -> None:
    def held_for_three_then_resumed(frame: NDArray[Any]) -> None:
        frame[150:153] = frame[149]
        frame[153:] -= 10

    gone = changed(changed(received(), "frame", held_for_three_then_resumed), "valid", put(slice(153, 160 + FADE), 0))
    found = judged(gone, said=replace(SAID, frames=FRAMES - 10))
    assert (found.speeches_wrong, found.waits_unexplained) == ([], ["speech 3 waits behind frame 89 for 10 frames"])


def test_a_wait_within_an_outage_may_have_shown_any_number_of_frames_but_none_too_many() -> None:
    def resumed_later(frames: int) -> PartReading:
        def change(frame: NDArray[Any]) -> None:
            frame[150:] -= frames

        return without(changed(received(), "frame", change), *range(150, 200))

    late, fault = replace(SAID, late=True), Fault("server", 500 + 150 / 25, 500 + 160 / 25)
    found = judged(resumed_later(20), said=late, faults=(fault,))
    assert (found.speeches_wrong, found.waits_unexplained, found.late_waits_seen) == ([], [], 1)
    assert len(judged(resumed_later(20), faults=(fault,)).waits_unexplained) == 1
    assert "frame 160 follows 89" in judged(resumed_later(-20), said=late, faults=(fault,)).speeches_wrong[0]
    assert "frame 70 follows 89" in judged(resumed_later(70), said=late, faults=(fault,)).speeches_wrong[0]
