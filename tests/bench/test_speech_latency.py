"""What `bench speech-latency` makes of a received stream: its marks, and when their frames came."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bench.speech_latency.clients import Said
from bench.speech_latency.findings import Heard, Spread, first_sounds, microphones, path_to_viewer_s
from bench.speech_latency.marks import CHIRP, find_marks, marked, with_pauses
from bench.speech_latency.record import criteria
from bench.stream.reading import Sound
from bench.stream.receiver import Part
from bench.stream.stand_ins import voice
from speech.audio.decoder import ffmpeg_binary
from streaming.flv_tags import FlvParser, TagKind

ON_TIME = {"late_frames": 0, "late_waits": 0, "dropped_pairs": 0}


def said(asked_at: float, encoded_after_s: float, seconds: float, channel: str = "main") -> Said:
    class Fixed(Said):
        encoded_at = asked_at + encoded_after_s
        opus_at = encoded_at - 0.04

    timings = {"decoded": 0.1, "features": 0.2, "encoded_opus": encoded_after_s - 0.04, "encoded": encoded_after_s}
    return Fixed(channel, asked_at, asked_at + seconds, {"timings_s": timings})


def received(folder: Path, samples: np.ndarray[Any, Any], delay_s: float) -> Part:
    """The samples as a viewer receives them: AAC beside pictures in an FLV, each picture `delay_s` after its time."""
    path = folder / "part.flv"
    command = [ffmpeg_binary(), "-v", "error", "-y", "-f", "s16le", "-ar", "48000", "-ac", "1", "-i", "pipe:0"]
    command += ["-f", "lavfi", "-i", "color=black:s=64x64:r=25", "-shortest", "-c:a", "aac", "-c:v", "libx264"]
    command += ["-tune", "zerolatency", "-bf", "0", "-f", "flv", str(path)]
    subprocess.run(command, input=samples.astype("<i2").tobytes(), check=True)
    part = Part(path)
    for tag in FlvParser().feed(path.read_bytes()):
        if tag.kind is TagKind.PICTURE and not tag.configuration:
            part.picture_ms.append(tag.time_ms)
            part.arrived_s.append(tag.time_ms / 1000 + delay_s)
        elif tag.kind is TagKind.SOUND and not tag.configuration:
            part.sound_ms.append(tag.time_ms)
    return part


def test_marks_are_found_to_less_than_a_millisecond_and_speech_is_none() -> None:
    speech = voice(45.5, seed=3)
    sound = Sound(7.25, np.r_[np.zeros(1234, np.int16), marked(speech)])
    found = find_marks(sound)
    np.testing.assert_allclose(found, 7.25 + 1234 / 48_000 + np.arange(46), atol=0.0005)
    assert len(find_marks(Sound(0.0, speech))) == 0


def test_mark_on_the_border_of_two_blocks_is_found_once() -> None:
    for before in (300, 0, -2):
        samples = np.zeros(48_000 * 21, np.int16)
        samples[48_000 * 20 - before :][: len(CHIRP)] = CHIRP
        np.testing.assert_allclose(find_marks(Sound(0.0, samples)), [20 - before / 48_000], atol=0.0005)


def test_pauses_are_silent_and_hold_no_mark() -> None:
    speech = marked(with_pauses(voice(9, seed=3)))
    quiet = [second for second in np.arange(0, 9, 0.1) if not speech[round(second * 48_000) :][:4_800].any()]
    np.testing.assert_allclose(quiet, [*np.arange(3.2, 3.85, 0.1), *np.arange(7.2, 7.85, 0.1)])
    assert len(find_marks(Sound(0.0, speech))) == 9


def test_spoken_samples_are_followed_to_their_frames_at_the_viewer(tmp_path: Path) -> None:
    # The stream's time 2 s is when the first sample was heard; the microphone began 0.5 s before that.
    heard = Heard.of(
        [received(tmp_path, np.r_[np.zeros(96_000, np.int16), marked(voice(8, 1))], 10.0)], ffmpeg_binary()
    )
    assert len(heard.arrived_at) == 8 and np.diff(heard.frames).tolist() == [25] * 7
    speech = said(11.5, 0.45, 9)
    assert path_to_viewer_s([speech], heard) == pytest.approx(0.05, abs=0.041)
    found = microphones([speech], {"main": heard}, 8, 0.05, ON_TIME, 0.13, 1.0)
    assert found.unheard == 0 and found.sample_to_frame.p50 == pytest.approx(450, abs=41)
    assert found.aac_ms == pytest.approx(40)
    assert found.sample_to_opus.p50 == pytest.approx((found.sample_to_frame.p50 or 0) - 40)
    assert found.drift_ms["main"] == pytest.approx(0, abs=1)
    first = first_sounds("upload", [speech], heard, ON_TIME, 1.0)
    assert (
        first.at_encoder.p50 == 450
        and first.opus_at_encoder.p50 == 410
        and first.at_viewer.p50 == pytest.approx(500, abs=41)
    )
    assert first.steps_ms == {
        "request": 0.0,
        "decoded": 100.0,
        "features": 100.0,
        "encoded_opus": 210.0,
        "encoded": 40.0,
    }


def test_marks_that_nobody_heard_and_a_slope_are_told() -> None:
    arrived = np.array([1.5, 2.51, 4.53])  # 10 ms more each second; the third mark is missing
    heard = Heard(arrived, np.array([25, 50, 100]))
    found = microphones([said(1.0, 0.5, 3.6)], {"main": heard}, 4, 0.0, ON_TIME, 0.07, 1.0)
    assert found.unheard == 1 and found.drift_ms["main"] == pytest.approx(30, abs=0.1)
    assert found.by_minute_ms["main"] == [510.0]


def test_marks_are_counted_in_their_order_however_late_one_is_behind_another() -> None:
    arrived = np.array([1.5, 2.5, 4.2, 5.2])  # 0.7 s later from the third on
    heard = Heard(arrived, np.array([25, 50, 93, 118]))
    found = microphones([said(1.0, 0.5, 5)], {"main": heard}, 4, 0.0, ON_TIME, 0.07, 1.0)
    assert found.series_ms["main"] == pytest.approx([500, 500, 1200, 1200])


def test_goals_are_those_of_the_machine_and_late_frames_break_them() -> None:
    late = {**ON_TIME, "late_frames": 3}
    heard = Heard(np.arange(1.45, 5), np.arange(25, 125, 25))
    first = [first_sounds("upload", [said(1.0, 0.4, 4)], heard, late, 1.0)]
    paced = [microphones([said(1.0, 0.5, 4)], {"main": heard}, 4, 0.0, ON_TIME, 0.07, 1.0)]
    broken = {name for name, kept in _kept(first, paced, ()).items() if not kept}
    assert broken == {"late_frames_of_upload"}
    assert {"first_sound_of_upload_ms"} <= {name for name, kept in _kept(first, paced, ("H100",)).items() if not kept}


def _kept(first: Any, paced: Any, gpus: tuple[str, ...]) -> dict[str, bool]:
    return {criterion.name: criterion.kept for criterion in criteria(bool(gpus), first, paced)}


def test_spread_of_nothing_is_unknown() -> None:
    assert Spread.of([]) == Spread(0, None, None, None)
