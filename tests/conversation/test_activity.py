"""Voices in sound: they begin and end where someone speaks, and the avatar's own echo isn't one."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from conversation.activity.coherence import LONGEST, WINDOW, explained
from conversation.activity.detector import FRAME_S, VoiceChange, VoiceDetector
from conversation.activity.echo import EchoRule
from conversation.activity.silero import FRAME, RATE_HZ, SileroVad
from tests.support.human_voice import said, silence

Sound = NDArray[np.int16]
ANSWER = "It is a quarter past nine, and the shop opens at ten. You may wait inside, where it is warm and dry."


def heard_as(heard: Sound, played: Sound | None = None, block: int = 320) -> list[tuple[float, VoiceChange]]:
    """What a detector tells of it in blocks of a worklet, with the time at which it does."""
    detector, told = VoiceDetector(SileroVad()), []
    for first in range(0, len(heard), block):
        own = None if played is None else played[first : first + block]
        told += [((first + block) / RATE_HZ, each) for each in detector.push(heard[first : first + block], own)]
    return told


def echo_of(played: Sound, delay_s: float, gain_db: float) -> Sound:
    """What a microphone hears of it: late, quieter, with the room's ringing and its noise."""
    room = np.zeros(round(0.06 * RATE_HZ))
    room[0], room[200], room[500], room[900] = 1.0, 0.4, -0.25, 0.1
    rung = np.convolve(played.astype(np.float64), room)[: len(played)] * 10 ** (gain_db / 20)
    late = np.concatenate([np.zeros(round(delay_s * RATE_HZ)), rung])[: len(played)]
    noise = np.random.default_rng(0).normal(0, 8, len(played))
    return np.asarray(np.rint(np.clip(late + noise, -32768, 32767)), np.int16)


def with_silence(sound: Sound) -> Sound:
    return np.concatenate([silence(0.5), sound, silence(1.0)])


def without_lead(sound: Sound) -> Sound:
    return sound[int(np.flatnonzero(np.abs(sound) > 600)[0]) :]


def test_voice_begins_and_ends_where_someone_speaks() -> None:
    sound = said("Good morning.")
    loud = np.flatnonzero(np.abs(sound) > 600)
    began_s, ended_s = 0.5 + loud[0] / RATE_HZ, 0.5 + loud[-1] / RATE_HZ
    (begin_told_s, begin), (end_told_s, end) = heard_as(with_silence(sound))
    assert begin.is_voice and begin_told_s - begin.lasted_s == pytest.approx(began_s, abs=0.1)
    assert not end.is_voice and end_told_s - end.silent_s == pytest.approx(ended_s, abs=0.2)
    assert end.lasted_s == pytest.approx(ended_s - began_s, abs=0.2)


def test_silence_is_counted_from_the_last_audible_sound() -> None:
    """A network hears a voice a little longer than a person does, and each turn would wait for that."""
    for text in ("Good morning.", "What time is it?", "Yes, please."):
        sound = said(text)
        loud = np.flatnonzero(np.abs(sound.astype(np.int32)) > 0.01 * np.abs(sound.astype(np.int32)).max())
        _, (told_s, end) = heard_as(with_silence(sound))
        assert told_s - end.silent_s == pytest.approx(0.5 + loud[-1] / RATE_HZ, abs=0.03)


def test_silence_of_a_noisy_room_is_counted_as_the_network_hears_it() -> None:
    sound = with_silence(said("Good morning."))
    noise = np.random.default_rng(2).normal(0, 300, len(sound))
    _, (_, end) = heard_as(np.asarray(np.clip(sound + noise, -32768, 32767), np.int16))
    assert end.silent_s == 3 * FRAME_S


@pytest.mark.parametrize("block", [1, 20, 4_000])
def test_size_of_the_blocks_changes_nothing(block: int) -> None:
    sound = with_silence(said("Good morning."))
    if block == 1:
        sound = sound[:12_000]
    assert [each for _, each in heard_as(sound, block=block)] == [each for _, each in heard_as(sound)]


def test_what_is_no_voice_begins_none() -> None:
    draw = np.random.default_rng(1)
    times = np.arange(2 * RATE_HZ) / RATE_HZ
    chord = sum(np.sin(2 * np.pi * hz * times) for hz in (262, 330, 392)) * 4_000
    clicks = np.zeros(2 * RATE_HZ)
    clicks[::4_000] = 30_000
    for sound in (draw.normal(0, 3_000, 2 * RATE_HZ), chord, clicks):
        assert heard_as(np.asarray(np.clip(sound, -32768, 32767), np.int16)) == []


def test_voice_that_lasts_ends_with_the_sound() -> None:
    detector = VoiceDetector(SileroVad())
    (began,) = detector.push(said("Good morning.")[:9_600])
    (ended,) = detector.finish()
    assert began.is_voice and not ended.is_voice and ended.lasted_s > began.lasted_s
    assert detector.finish() == []


@pytest.mark.parametrize("gain_db", [-10, -20, -30])
@pytest.mark.parametrize("delay_s", [0.05, 0.15, 0.4])
def test_own_echo_is_no_voice(gain_db: float, delay_s: float) -> None:
    played = with_silence(said(ANSWER))
    echo = echo_of(played, delay_s, gain_db)
    assert heard_as(echo, played) == []
    if gain_db == -10:
        assert heard_as(echo), "it would be one without the rule"


@pytest.mark.parametrize("gain_db", [-10, -20, -30])
@pytest.mark.parametrize("delay_s", [0.05, 0.4])
def test_person_is_heard_through_the_echo(gain_db: float, delay_s: float) -> None:
    played = np.concatenate([with_silence(said(ANSWER)), silence(1.0)])
    person = said("Excuse me, please stop.", pitch=0.85)
    began = round(2.5 * RATE_HZ)
    mixed = echo_of(played, delay_s, gain_db).astype(np.int32)
    mixed[began : began + len(person)] += person
    told = heard_as(np.asarray(np.clip(mixed, -32768, 32767), np.int16), played)
    assert told and told[0][1].is_voice
    loud_s = 2.5 + np.flatnonzero(np.abs(person) > 600)[0] / RATE_HZ
    assert 0 < told[0][0] - loud_s < 0.5, "soon, and not before anyone spoke"


def test_words_that_follow_the_avatars_once_are_not_taken_for_its_echo() -> None:
    """Who interrupts into a headset does so again and again, and each time it looks like a late echo."""
    draw, rule = np.random.default_rng(3), EchoRule()

    def noise(seconds: float) -> Sound:
        return np.asarray(draw.normal(0, 3_000, round(seconds * RATE_HZ / FRAME) * FRAME), np.int16)

    def frames(heard: Sound, played: Sound) -> list[bool]:
        starts = range(0, len(heard), FRAME)
        return [rule.is_echo(heard[first : first + FRAME], played[first : first + FRAME]) for first in starts]

    for _ in range(2):
        word, pause = noise(0.48), silence(0.32)
        heard = np.concatenate([silence(1.28), pause, word, silence(2.56)])
        played = np.concatenate([silence(1.28), noise(0.48), pause, silence(2.56)])
        frames(heard, played)
        assert not any(frames(noise(0.64), noise(0.64)))
        frames(silence(2.56), silence(2.56))


def test_soft_person_is_heard_where_there_is_no_echo() -> None:
    played = np.concatenate([with_silence(said(ANSWER)), silence(1.0)])
    person = np.asarray(said("Excuse me, please stop.", pitch=0.85) // 8, np.int16)  # 18 dB softer than the avatar
    began = round(2.5 * RATE_HZ)
    heard = echo_of(played, 0.1, -100)  # a headset: only the noise of the room
    heard[began : began + len(person)] += person
    told = heard_as(heard, played)
    assert told and told[0][1].is_voice and 2.5 < told[0][0] < 3.5


def test_person_with_a_voice_like_the_avatars_is_heard_soon_where_there_is_no_echo() -> None:
    """Six times, into a silent microphone, as headsets and echo cancellation leave it."""
    question, answer = said("What can you do?", pitch=0.9), said(ANSWER)
    starts = [5.0 * number + cut for number, cut in enumerate((2.9, 1.3, 2.1, 0.9, 2.5, 1.7))]
    played, heard = silence(32.0), silence(32.0)
    for number, start_s in enumerate(starts):
        first, cut = round(5.0 * number * RATE_HZ), round((start_s + 0.3) * RATE_HZ)
        played[first:cut] = answer[: cut - first]
        heard[round(start_s * RATE_HZ) :][: len(question)] = question
    begins_s = np.flatnonzero(np.abs(question) > 600)[0] / RATE_HZ
    told_s = [at_s for at_s, change in heard_as(heard, played) if change.is_voice]
    late_s = [min(at_s for at_s in told_s if at_s > start_s) - start_s - begins_s for start_s in starts]
    assert max(late_s) < 0.3, late_s


def test_person_who_begins_just_behind_the_avatar_is_heard() -> None:
    """Both were silent before, which makes them alike: it is no echo for that."""
    answer, person = without_lead(said(ANSWER)), without_lead(said("Wait, I meant tomorrow.", pitch=0.85))
    for start_s in (0.1, 0.2):
        heard = np.concatenate([silence(1.0 + start_s), person, silence(5.0)])[: len(answer) + RATE_HZ]
        told = heard_as(heard, np.concatenate([silence(1.0), answer]))
        assert told and told[0][1].is_voice and told[0][0] < 1.0 + start_s + len(person) / RATE_HZ, start_s


def test_microphone_that_hears_nothing_of_an_answer_hears_a_soft_person_at_once_in_the_next_one() -> None:
    """Echo cancellation leaves silence, in which there is no echo: nobody need be as loud as the avatar."""
    question, answer = said("What can you do?", pitch=0.9), without_lead(said(ANSWER))
    person = np.asarray(without_lead(said("Wait, I meant tomorrow.", pitch=0.85)) // 4, np.int16)
    asked = np.concatenate([question, silence(0.7)])
    heard = np.concatenate([asked, silence(len(answer) / RATE_HZ + 1.2), person, silence(0.5)])
    played = np.concatenate([silence(len(asked) / RATE_HZ), answer, silence(1.0), answer])[: len(heard)]
    heard = heard[: len(played)]
    began_s = (len(asked) + len(answer)) / RATE_HZ + 1.2
    told_s = [at_s for at_s, change in heard_as(heard, played) if change.is_voice]
    assert began_s < told_s[1] < began_s + 0.4


@pytest.mark.parametrize("gain_db", [-10, -20])
@pytest.mark.parametrize("delay_s", [0.05, 0.15])
def test_echo_that_begins_late_is_no_voice(gain_db: float, delay_s: float) -> None:
    """Someone unplugs their headphones between two answers."""
    answer = said(ANSWER)
    played = np.concatenate([with_silence(answer), with_silence(answer)])
    unplugged = len(played) // 2
    heard = echo_of(played, delay_s, gain_db)
    heard[:unplugged] = echo_of(played, delay_s, -100)[:unplugged]
    assert heard_as(heard, played) == []


def test_echo_is_explained_by_what_was_played_and_a_person_is_not() -> None:
    played, person = said(ANSWER), said("Excuse me, please stop, I have another question.", pitch=0.85)
    ends = 2 * RATE_HZ
    own = played[ends - WINDOW - LONGEST : ends].astype(np.float64)
    echo = echo_of(played, 0.2, -25)[ends - WINDOW : ends].astype(np.float64)
    other = person[RATE_HZ : RATE_HZ + WINDOW].astype(np.float64)
    found = explained(echo, own)
    assert found.share > 0.65 and found.delay == pytest.approx(0.2 * RATE_HZ, abs=2)
    assert 20 * np.log10(found.gain) == pytest.approx(-25, abs=2)
    assert explained(other, own).share < 0.3
    assert explained(np.zeros(WINDOW), own).share == 0


def test_rule_learns_how_loud_the_echo_is() -> None:
    rule, played = EchoRule(), with_silence(said(ANSWER))
    echo = echo_of(played, 0.2, -25)
    before_db = rule.gain_db
    for first in range(0, len(played) - FRAME + 1, FRAME):
        rule.is_echo(echo[first : first + FRAME], played[first : first + FRAME])
    assert before_db == pytest.approx(-7) and rule.gain_db == pytest.approx(-25, abs=4)


def test_sounds_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="512 samples were heard while 320 were played"):
        VoiceDetector(SileroVad()).push(silence(0.032), silence(0.02))
    assert FRAME_S == 0.032
