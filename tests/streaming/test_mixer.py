"""The mixer's specification, on frame numbers alone."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import pytest

from streaming.events import EndReason, MixerState, SpeechEnded, SpeechResumed, SpeechStarted, SpeechWaiting
from streaming.mixer import Mixer, Tick

PERIOD = 500
E = TypeVar("E")


def make_mixer(fade_frames: int = 5, position: int = 0) -> Mixer:
    return Mixer(fade_frames, linger_frames=4, period=PERIOD, position=position)


def run(mixer: Mixer, frames: int) -> list[Tick]:
    return [mixer.tick() for _ in range(frames)]


def run_until(mixer: Mixer, state: MixerState, limit: int = 400) -> list[Tick]:
    ticks: list[Tick] = []
    while not ticks or ticks[-1].state is not state:
        ticks.append(mixer.tick())
        assert len(ticks) < limit, f"never {state}"
    return ticks


def say(mixer: Mixer, speech: str, frames: int, lead: int = 3) -> int:
    """Opens a speech and makes all of it available."""
    start = mixer.open(speech, frames, lead, start_after=16)
    mixer.available(speech, frames)
    mixer.end(speech, frames)
    return start


def interrupt(mixer: Mixer) -> dict[str, int]:
    """Cancels everything; how much of each speech is heard."""
    return {speech: mixer.cancel(speech) for speech in mixer.speeches}


def played(ticks: list[Tick], speech: str) -> list[int]:
    return [t.audio for t in ticks if t.audio is not None and t.speech == speech]


def events(ticks: list[Tick], kind: type[E]) -> list[E]:
    return [e for t in ticks for e in t.events if isinstance(e, kind)]


def assert_body_never_jumps(ticks: list[Tick]) -> None:
    assert {b.position - a.position for a, b in pairwise(ticks)} <= {-1, 0, 1}


def assert_audio_has_its_lips(ticks: list[Tick]) -> None:
    assert all(t.audio is None or t.audio == t.face for t in ticks)


def test_idle_walks_one_position_a_frame() -> None:
    ticks = run(make_mixer(), 50)
    assert [t.position for t in ticks] == list(range(1, 51))
    assert all(t.face is None and t.audio is None and t.state is MixerState.IDLE for t in ticks)


def test_idle_comes_forwards_to_a_speech_whichever_way_it_waited_for_the_one_before() -> None:
    for waited in range(10, 40):
        mixer = make_mixer()
        first = mixer.open("a", 20, 5, start_after=1)
        run(mixer, waited)
        mixer.available("a", 20)
        mixer.end("a", 20)
        run(mixer, 60)
        assert mixer.position > first + 20
        second = mixer.open("b", 20, 5, start_after=1)
        before = mixer.position
        run(mixer, 3)
        assert mixer.position == before + 3, f"idle turned away from {second} after {waited} frames"


@pytest.mark.parametrize("waited", [10, 13, 16])
def test_idle_that_walks_slowly_back_comes_forwards_to_a_speech_that_is_moved(waited: int) -> None:
    mixer = make_mixer()
    mixer.open("a", 20, 5, start_after=1)
    run(mixer, waited)
    mixer.open("a", 20, 5, start_after=1)
    before = mixer.position
    assert [tick.position - before for tick in run(mixer, 8)][-1] >= 4


@pytest.mark.parametrize("fade", [0, 1, 5, 25])
def test_fades_last_exactly_as_configured_and_cover_nothing_else(fade: int) -> None:
    mixer = make_mixer(fade)
    say(mixer, "a", 80)
    ticks = [t for t in run(mixer, 120) if t.audio is not None]
    opacities = [t.opacity for t in ticks]
    assert len(ticks) == 80
    assert all(0 < o < 1 for o in opacities[:fade] + opacities[80 - fade :])
    assert opacities[fade : 80 - fade] == [1.0] * (80 - 2 * fade)
    assert [t.state for t in ticks].count(MixerState.FADING_IN) == fade
    assert [t.state for t in ticks].count(MixerState.FADING_OUT) == fade
    assert sorted(opacities[:fade]) == opacities[:fade]


def test_speech_starts_at_its_reserved_position_and_idle_goes_on_where_it_ended() -> None:
    mixer = make_mixer()
    start = say(mixer, "a", 40, lead=7)
    ticks = run(mixer, 80)
    spoken = [t for t in ticks if t.audio is not None]
    assert start == 8
    assert [t.position for t in spoken] == list(range(start, start + 40))
    assert ticks[ticks.index(spoken[-1]) + 1].position == start + 40
    assert {b.position - a.position for a, b in pairwise(ticks)} == {1}


def test_idle_lingers_near_the_reserved_position_until_frames_come() -> None:
    mixer = make_mixer()
    start = mixer.open("a", 40, 20, start_after=16)
    waiting = run(mixer, 200)
    assert_body_never_jumps(waiting)
    assert all(t.face is None for t in waiting)
    assert all(start - 10 <= t.position <= start for t in waiting[25:])
    mixer.available("a", 15)
    assert all(t.face is None for t in run(mixer, 30))
    mixer.available("a", 16)
    ticks = run_until(mixer, MixerState.FADING_IN)
    assert len(ticks) <= 16
    assert ticks[-1].position == start
    assert_body_never_jumps(waiting + ticks)


@pytest.mark.parametrize("lead", [1, 2, 5, 20])
def test_idle_walks_right_into_a_speech_whose_faces_come_in_the_frame_before_it(lead: int) -> None:
    mixer = make_mixer()
    run(mixer, 30)
    start = mixer.open("a", 100, lead, start_after=1)
    ticks = run(mixer, lead)
    mixer.available("a", 16)
    ticks += run(mixer, 3)
    assert (ticks[lead].position, ticks[lead].face) == (start, 0)
    assert [tick.position for tick in ticks] == list(range(31, 31 + len(ticks))), "the body stood still"


def test_a_short_speech_starts_when_it_is_complete() -> None:
    mixer = make_mixer()
    mixer.open("a", 12, 2, start_after=16)
    mixer.available("a", 12)
    assert played(run(mixer, 40), "a") == list(range(12))


@pytest.mark.parametrize("late", [1, 2, 5, 6, 20, 100])
@pytest.mark.parametrize("at", [16, 20, 37])
def test_late_frames_skip_nothing_and_never_part_audio_from_lips(at: int, late: int) -> None:
    mixer = make_mixer()
    start = mixer.open("a", 60, 5, start_after=16)
    mixer.available("a", at)
    ticks = run_until(mixer, MixerState.WAITING)
    ticks += run(mixer, late - 1)
    mixer.available("a", 60)
    mixer.end("a", 60)
    ticks += run(mixer, 150)
    assert played(ticks, "a") == list(range(60))
    assert all(t.position == start + t.audio for t in ticks if t.audio is not None)
    assert_audio_has_its_lips(ticks)
    assert_body_never_jumps(ticks)
    assert mixer.counters.late_waits == len(events(ticks, SpeechWaiting)) == 1
    assert events(ticks, SpeechResumed)[0].frame == at
    waited = [t for t in ticks if t.state is MixerState.WAITING]
    assert len(waited) == mixer.counters.late_frames == events(ticks, SpeechResumed)[0].late_frames


@pytest.mark.parametrize(("at", "late"), [(20, False), (24, True)])
def test_a_pause_between_sentences_is_not_late(at: int, late: bool) -> None:
    mixer = make_mixer()
    mixer.open("a", None, 5, start_after=16)
    mixer.available("a", 20, may_pause=True)
    mixer.available("a", at)
    ticks = run_until(mixer, MixerState.WAITING)
    ticks += run(mixer, 30)
    mixer.available("a", 60)
    mixer.end("a", 60)
    ticks += run(mixer, 150)
    assert played(ticks, "a") == list(range(60))
    assert events(ticks, SpeechWaiting)[0].frame == at, "it waits, and says so"
    assert (mixer.counters.late_waits > 0, mixer.counters.late_frames > 0) == (late, late)


def test_a_late_face_fades_away_in_silence_and_comes_back_with_its_sound() -> None:
    mixer = make_mixer(5)
    mixer.open("a", 60, 5, start_after=16)
    mixer.available("a", 30)
    ticks = run_until(mixer, MixerState.WAITING) + run(mixer, 40)
    mixer.available("a", 60)
    ticks += run_until(mixer, MixerState.SPEAKING)
    opacities = [t.opacity for t in ticks]
    assert all(abs(a - b) <= 1 / 6 + 1e-9 for a, b in pairwise(opacities))
    assert min(opacities[-30:]) == 0
    held = [t for t in ticks if t.state is MixerState.WAITING and t.face is not None]
    assert {t.face for t in held} == {29} and len(held) == 5
    assert [t.opacity for t in ticks if t.audio == 30] == [pytest.approx(1 / 6)], "no frame of silence more"


def test_a_speech_resumes_only_when_enough_is_there_to_go_on() -> None:
    mixer = make_mixer()
    mixer.open("a", 60, 5, start_after=16)
    mixer.available("a", 16)
    run_until(mixer, MixerState.WAITING)
    mixer.available("a", 31)
    assert all(t.state is MixerState.WAITING for t in run(mixer, 60))
    mixer.available("a", 32)
    run_until(mixer, MixerState.SPEAKING, limit=40)


def test_interrupt_shows_idle_again_after_one_frame_that_leaves_it_time_for_its_way_to_the_viewer() -> None:
    for fade in (0, 5, 25):
        for after in range(1, 60, 7):
            mixer = make_mixer(fade)
            start = say(mixer, "a", 200)
            before = run(mixer, 5 + after)
            heard = interrupt(mixer)
            ticks = run(mixer, 30)
            assert all(t.face is None for t in ticks[1:])
            sounding = [t for t in ticks if t.audio is not None]
            assert all(t.falls_silent for t in sounding[-1:]), "the sound ends with the fade"
            assert_body_never_jumps(before + ticks)
            assert_audio_has_its_lips(ticks)
            assert all(t.position == start + t.audio for t in ticks if t.audio is not None)
            (end,) = events(ticks, SpeechEnded)
            assert end.reason is EndReason.INTERRUPTED
            assert heard == {"a": end.played_frames} == {"a": len(played(before + ticks, "a"))}
            opacities = [before[-1].opacity] + [t.opacity for t in ticks]
            assert sorted(opacities, reverse=True) == opacities


@pytest.mark.parametrize("waited", range(1, 40, 3))
def test_interrupting_a_waiting_speech_only_shows_faces_that_are_at_hand(waited: int) -> None:
    mixer = make_mixer()
    mixer.open("a", 60, 5, start_after=16)
    mixer.available("a", 20)
    ticks = run_until(mixer, MixerState.WAITING) + run(mixer, 10)
    mixer.available("a", 60)
    ticks += run(mixer, waited)
    held = ticks[-1].face
    speaking = ticks[-1].state is not MixerState.WAITING
    interrupt(mixer)
    closing = run(mixer, 10)
    assert all(t.face is None for t in closing[7:])
    if not speaking:
        assert {t.face for t in closing} <= {held, None}
        assert all(t.audio is None for t in closing)
    assert_body_never_jumps(ticks + closing)


def test_interrupt_cancels_every_waiting_speech() -> None:
    mixer = make_mixer()
    say(mixer, "a", 100)
    say(mixer, "b", 100)
    run(mixer, 20)
    heard = interrupt(mixer)
    assert heard["b"] == 0 and mixer.cancel("c") == 0
    ticks = run(mixer, 300)
    assert {e.speech_id: e.played_frames > 0 for e in events(ticks, SpeechEnded)} == {"a": True, "b": False}
    assert all(t.face is None for t in ticks[7:])


def test_speeches_play_one_after_another_and_are_never_mixed() -> None:
    mixer = make_mixer()
    starts = [say(mixer, name, 40) for name in "abc"]
    ticks = run(mixer, 200)
    assert starts == [4, 44, 84]
    spoken = [(t.speech, t.audio) for t in ticks if t.audio is not None]
    assert spoken == [(name, i) for name in "abc" for i in range(40)]
    assert [e.speech_id for e in events(ticks, SpeechStarted)] == ["a", "b", "c"]
    assert [t.position for t in ticks if t.audio is not None] == list(range(4, 124)), "back to back"
    assert_body_never_jumps(ticks)


def test_cancelling_a_speech_leaves_the_next_one_to_play() -> None:
    mixer = make_mixer()
    say(mixer, "a", 450)
    start_b = say(mixer, "b", 40)
    ticks = run(mixer, 50)
    mixer.cancel("a")
    ticks += run(mixer, 101 + 5 + 40 + 20)  # idle walks back over the 101 positions that are the shorter way
    assert played(ticks, "b") == list(range(40))
    positions = [t.position for t in ticks if t.speech == "b"]
    assert (positions[0] - start_b) % PERIOD == 0, "the same avatar frames that the faces were made for"
    assert_body_never_jumps(ticks)


def test_cancelling_a_waiting_speech_lets_idle_walk_on() -> None:
    mixer = make_mixer()
    mixer.open("a", 40, 10, start_after=16)
    run(mixer, 60)
    mixer.cancel("a")
    ticks = run(mixer, 60)
    assert [b.position - a.position for a, b in pairwise(ticks[8:])] == [1] * 51


def test_a_speech_without_frames_can_be_opened_again_for_a_later_place() -> None:
    mixer = make_mixer()
    mixer.open("a", 40, 10, start_after=16)
    run(mixer, 30)
    again = mixer.open("a", 40, 50, start_after=16)
    mixer.available("a", 40)
    mixer.end("a", 40)
    ticks = run(mixer, 140)
    assert [t.position for t in ticks if t.audio == 0] == [again]
    with pytest.raises(ValueError, match="at least one frame"):
        mixer.open("b", 0, 10, start_after=16)


def test_a_speech_that_turns_out_shorter_ends_at_its_last_frame() -> None:
    mixer = make_mixer()
    mixer.open("a", 60, 5, start_after=16)
    mixer.available("a", 30)
    ticks = run_until(mixer, MixerState.WAITING)
    mixer.end("a", 30)
    ticks += run(mixer, 30)
    assert events(ticks, SpeechEnded)[0].played_frames == 30
    assert ticks[-1].state is MixerState.IDLE
    mixer.open("b", 60, 5, start_after=16)
    mixer.end("b", 0)
    assert events(run(mixer, 2), SpeechEnded)[0].played_frames == 0


def open_ended(mixer: Mixer, frames: int) -> list[Tick]:
    """Says the first frames of a speech whose end isn't known, and ticks to the last of them."""
    mixer.open("a", None, 3, start_after=4)
    mixer.available("a", frames)
    ticks = run(mixer, 3)
    return ticks + run(mixer, frames)


@pytest.mark.parametrize("remaining", [1, 2, 3, 5, 6, 20])
def test_an_end_that_comes_while_frames_remain_fades_out_over_the_last_ones(remaining: int) -> None:
    mixer = make_mixer(5)
    ticks = open_ended(mixer, 40)
    mixer.available("a", 40 + remaining)
    mixer.end("a", 40 + remaining)
    ticks += run(mixer, 60)
    assert played(ticks, "a") == list(range(40 + remaining))
    falling = [t for t in ticks[43:] if 0 < t.opacity < 1]
    assert [t.opacity for t in falling] == [pytest.approx(n / 6) for n in (5, 4, 3, 2, 1)]
    sounding = sum(t.audio is not None for t in falling)
    assert sounding == min(remaining, 5), "a face is held only where there are too few frames to fade over"


def test_an_end_that_comes_when_everything_was_played_closes_at_once_from_what_is_shown() -> None:
    mixer = make_mixer(5)
    ticks = open_ended(mixer, 40)
    assert ticks[-1].opacity == 1
    ticks += run(mixer, 2)
    assert [t.opacity for t in ticks[-2:]] == [pytest.approx(5 / 6), pytest.approx(4 / 6)], "an underrun"
    mixer.end("a", 40)
    closing = run(mixer, 6)
    assert [t.opacity for t in closing] == [pytest.approx(n / 6) for n in (3, 2, 1, 0, 0, 0)]
    assert all(t.audio is None for t in closing)
    (ended,) = events(closing, SpeechEnded)
    assert (ended.reason, ended.played_frames) == (EndReason.COMPLETED, 40)


def test_an_end_that_comes_during_a_long_underrun_shows_nothing_more() -> None:
    mixer = make_mixer(5)
    open_ended(mixer, 40)
    run(mixer, 50)
    mixer.end("a", 40)
    (ticks,) = [run(mixer, 20)]
    assert all(t.face is None for t in ticks) and len(events(ticks, SpeechEnded)) == 1


def test_nothing_is_opened_behind_a_speech_whose_end_is_not_known() -> None:
    mixer = make_mixer()
    first = say(mixer, "a", 40)
    mixer.open("b", None, 3, start_after=4)
    with pytest.raises(ValueError, match="the end of speech 'b' isn't known"):
        mixer.open("c", 40, 3, start_after=4)
    mixer.available("b", 30)
    mixer.end("b", 30)
    assert mixer.open("c", 40, 3, start_after=4) == first + 70
