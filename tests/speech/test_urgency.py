"""Chunks of all channels in the order in which they are shown."""

import asyncio

import pytest

from inference.capacity import Capacity
from speech.urgency import SpeechSlots, UrgentFirst


async def made(gate: UrgentFirst, name: str, due: float, log: list[str], hold: asyncio.Event) -> None:
    async with gate.slot(due):
        log.append(name)
        await hold.wait()


async def test_the_most_urgent_of_all_channels_goes_first() -> None:
    gate, hold = UrgentFirst(1), asyncio.Event()
    log: list[str] = []
    first = asyncio.create_task(made(gate, "out already", 9.0, log, hold))
    await asyncio.sleep(0)
    dues = {"a later": 5.0, "b now": 1.0, "a last": 8.0, "c soon": 2.0}
    others = [asyncio.create_task(made(gate, name, due, log, hold)) for name, due in dues.items()]
    await asyncio.sleep(0)
    assert log == ["out already"]
    hold.set()
    await asyncio.gather(first, *others)
    assert log == ["out already", "b now", "c soon", "a later", "a last"]


async def test_no_more_are_out_than_there_are_slots() -> None:
    gate, hold = UrgentFirst(2), asyncio.Event()
    log: list[str] = []
    tasks = [asyncio.create_task(made(gate, str(n), float(n), log, hold)) for n in range(5)]
    await asyncio.sleep(0.01)
    assert log == ["0", "1"]
    hold.set()
    await asyncio.gather(*tasks)
    assert log == ["0", "1", "2", "3", "4"]


async def test_who_is_cancelled_leaves_its_slot_to_the_next() -> None:
    gate, hold = UrgentFirst(1), asyncio.Event()
    log: list[str] = []
    tasks = [asyncio.create_task(made(gate, str(n), float(n), log, hold)) for n in range(4)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[0].cancel()
    await asyncio.sleep(0)
    tasks[2].cancel()  # granted just now, not yet running
    hold.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert log[0] == "0" and log[-1] == "3"
    await asyncio.wait_for(made(gate, "after", 0.0, log, hold), 1)


async def test_more_and_fewer_slots_take_effect_at_once() -> None:
    gate, hold = UrgentFirst(1), asyncio.Event()
    log: list[str] = []
    tasks = [asyncio.create_task(made(gate, str(n), float(n), log, hold)) for n in range(4)]
    await asyncio.sleep(0.01)
    assert log == ["0"]
    gate.resize(3, Capacity(1, 1))
    await asyncio.sleep(0.01)
    assert log == ["0", "1", "2"]
    gate.resize(1, Capacity(1, 1))
    tasks[0].cancel()
    await asyncio.sleep(0.01)
    assert log == ["0", "1", "2"], "two are still out where one may be"
    hold.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert log == ["0", "1", "2", "3"]
    await asyncio.wait_for(made(gate, "after", 0.0, log, hold), 1)


def test_without_a_slot_nothing_would_ever_be_made() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        UrgentFirst(0)


async def test_a_speech_knows_when_its_next_chunk_comes_by_what_others_have_before_it() -> None:
    now = 0.0
    gate = UrgentFirst(1)
    gate.resize(5, Capacity(instances=2, batch=4))
    mine, other = (SpeechSlots(gate, "20 steps", lambda: now) for _ in range(2))
    assert mine.next_chunk_s(due=3.0, frames=16, together=3) is None, "no chunk was ever made"
    async with mine.slot(0.0, 16):
        now = 0.5
    async with other.slot(0.0, 16):
        now = 1.5
    assert mine.next_chunk_s(due=3.0, frames=16, together=3) == 0.5 * 3, "alone: its own, by the shortest that was seen"
    assert mine.next_chunk_s(due=3.0, frames=16, together=9) == 0.5 * 4, "no more than a batch"
    hold = asyncio.Event()
    log: list[str] = []
    dues = [1.0, 2.0, 3.0, 4.0, 5.0, 2.5, 3.5]  # five are out, the last two wait
    others = [asyncio.create_task(made(gate, str(due), due, log, hold)) for due in dues]
    await asyncio.sleep(0)
    assert mine.others(due=3.0) == 6, "who waits and is due later comes after"
    assert mine.next_chunk_s(due=3.0, frames=16, together=3) == 0.5 * (3 + 6 / 2)
    hold.set()
    await asyncio.gather(*others)
    assert mine.others(due=3.0) == 0
    assert SpeechSlots(gate, "4 steps", lambda: now).next_chunk_s(3.0, 16, 3) is None, "of others nothing is known"


async def test_a_chunk_that_failed_says_nothing_of_its_time() -> None:
    gate = UrgentFirst(1)
    slots = SpeechSlots(gate, "20 steps", lambda: 0.0)
    with pytest.raises(RuntimeError, match="no faces"):
        async with slots.slot(0.0, 16):
            raise RuntimeError("no faces")
    assert gate.shortest_s("20 steps", 16) is None and gate.before(1.0) == 0


async def test_time_of_a_length_that_was_never_made_is_estimated_from_the_nearest() -> None:
    gate = UrgentFirst(1)
    gate.record("20 steps", 4, 0.06)
    assert gate.shortest_s("20 steps", 8) == 0.12, "no chunk takes longer in proportion"
    gate.record("20 steps", 16, 0.11)
    assert gate.shortest_s("20 steps", 8) == 0.12
    gate.record("20 steps", 8, 0.08)
    assert [gate.shortest_s("20 steps", frames) for frames in (4, 8, 16)] == [0.06, 0.08, 0.11]


async def test_a_speech_is_crowded_where_others_have_every_instance() -> None:
    gate = UrgentFirst(5)
    gate.resize(5, Capacity(instances=2, batch=4))
    mine, other = (SpeechSlots(gate, "20 steps", lambda: 0.0) for _ in range(2))
    async with other.slot(1.0, 16):
        assert not mine.crowded(3.0), "an instance is free"
        async with other.slot(1.0, 16), mine.slot(1.0, 4):
            assert mine.crowded(3.0) and not other.crowded(3.0)


async def test_a_spoken_speech_reckons_with_a_chunk_of_another_one_at_any_time() -> None:
    gate = UrgentFirst(3)
    gate.resize(3, Capacity(instances=1, batch=1))
    mine, other, upload = (SpeechSlots(gate, "20 steps", lambda: 0.0) for _ in range(3))
    gate.record("20 steps", 8, 0.07)
    with mine.spoken():
        assert mine.beside_s(8, features_s=0.05) == 0, "nobody else speaks"
        with other.spoken():
            assert mine.beside_s(8, features_s=0.05) == other.beside_s(8, features_s=0.05) == pytest.approx(0.12)
            assert upload.beside_s(8, features_s=0.05) == 0, "it gets ahead"
            gate.resize(3, Capacity(instances=2, batch=1))
            assert mine.beside_s(8, features_s=0.05) == 0, "each has an instance"
        gate.resize(3, Capacity(instances=1, batch=1))
        assert mine.beside_s(8, features_s=0.05) == 0
