"""The queue between the frame clock and the encoder: whole pairs, one run after another."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from streaming.frame_pool import FramePool
from streaming.pair import Pair
from streaming.pairs import PairQueue

TIMELINE = 1000


def pair(
    tick: int,
    pooled: bool = False,
    pool: FramePool | None = None,
    speech: str | None = None,
    sound: bytes = b"",
) -> Pair:
    picture = pool.take() if pool else np.zeros((2, 2, 3), np.uint8)
    return Pair(tick, picture, sound, pooled, speech)


def begun(queue: PairQueue) -> tuple[int, int]:
    """The run that begins with the pairs that wait, and the tick of its first pair."""
    run = queue.begin_run(0.1)
    assert run is not None, "no pair waits"
    return run


def taken(queue: PairQueue, run: int) -> Pair:
    """The next pair of a run that goes on."""
    found = queue.take(run)
    assert found is not None, "the run is over"
    return found


def kept(queue: PairQueue) -> list[int]:
    """Ticks of the pairs that are in the queue and were not dropped, taken out of it."""
    run, _ = begun(queue)
    queue.close()
    found: list[Pair] = []
    while (taken := queue.take(run)) is not None:
        found.append(taken)
    return [each.tick for each, before in zip(found, [None, *found], strict=False)
            if before is None or each.picture is not before.picture]  # fmt: skip


def test_a_full_queue_drops_single_pairs_and_counts_them() -> None:
    queue = PairQueue(4, FramePool(2, 2), TIMELINE)
    for tick in range(7):
        queue.put(pair(tick))
    assert queue.dropped == 3
    assert kept(queue) == [1, 3, 5, 6], "not two beside each other while there is a choice"


def test_a_stuck_encoder_costs_the_oldest_pairs_and_what_comes_after_it_is_whole() -> None:
    queue = PairQueue(50, FramePool(2, 2), TIMELINE)
    for tick in range(150):
        queue.put(pair(tick, speech="a"))
    assert queue.dropped_of("a") == 100
    assert kept(queue) == list(range(100, 150))


def test_idle_is_dropped_before_speech_and_the_pairs_of_each_speech_are_counted() -> None:
    queue = PairQueue(3, FramePool(2, 2), TIMELINE)
    for tick, speech in enumerate(["a", None, "b", "b", "b"]):
        queue.put(pair(tick, speech=speech))
    assert (queue.dropped, queue.dropped_speech) == (2, 1)
    assert [queue.dropped_of(speech) for speech in "ab"] == [0, 1]
    assert kept(queue) == [0, 2, 4]


def test_in_the_place_of_a_dropped_pair_the_last_picture_is_repeated_in_silence() -> None:
    queue = PairQueue(2, FramePool(2, 2), TIMELINE)
    for tick in range(2):
        queue.put(pair(tick, speech="a", sound=b"\1" * 3840))
    run, _ = begun(queue)
    shown = taken(queue, run)
    for tick in (2, 3):
        queue.put(pair(tick, speech="a", sound=b"\1" * 3840))
    assert queue.dropped == 1
    others = [taken(queue, run) for _ in range(3)]
    assert [each.tick for each in others] == [1, 2, 3]
    assert [each.picture is shown.picture for each in others] == [True, False, False]
    assert [any(each.sound) for each in others] == [False, True, True]
    assert others[0].due_s == pytest.approx(shown.due_s + 0.04)


def test_a_picture_that_is_repeated_is_not_reused_meanwhile() -> None:
    pool = FramePool(2, 2)
    queue = PairQueue(2, pool, TIMELINE)
    first = pair(0, pooled=True, pool=pool)
    queue.put(first)
    run, _ = begun(queue)
    queue.take(run)
    for tick in range(1, 4):
        queue.put(pair(tick))
    assert queue.dropped == 1
    assert taken(queue, run).tick == 1
    assert all(pool.take() is not first.picture for _ in range(8))


def test_a_run_ends_before_a_long_row_of_dropped_pairs_and_the_next_begins_behind_it() -> None:
    queue = PairQueue(3, FramePool(2, 2), TIMELINE)
    queue.put(pair(0))
    run, _ = begun(queue)
    assert taken(queue, run).tick == 0
    for tick in range(1, 100):
        queue.put(pair(tick))
    assert queue.take(run) is None
    assert begun(queue)[1] == 97


def test_the_pair_that_a_run_begins_with_is_not_dropped_while_its_encoder_starts() -> None:
    queue = PairQueue(3, FramePool(2, 2), TIMELINE)
    for tick in range(3):
        queue.put(pair(tick))
    run, first = begun(queue)
    for tick in range(3, 60):
        queue.put(pair(tick))
    assert first == taken(queue, run).tick == 0
    assert taken(queue, run).tick == 1, "the picture before, repeated"


def test_room_for_an_encoder_that_starts_is_made_of_the_oldest_pairs() -> None:
    queue = PairQueue(40, FramePool(2, 2), TIMELINE)
    for tick in range(60):
        queue.put(pair(tick))
    begins = queue.begin_run(0.1, room=5)
    assert begins is not None
    run, first = begins
    assert first == 25, "the oldest were dropped: 20 for a full queue, 5 for the start"
    for tick in range(60, 65):
        queue.put(pair(tick))
    found = [taken(queue, run) for _ in range(40)]
    assert [each.tick for each in found] == list(range(25, 65))
    assert all(each.picture is not before.picture for each, before in zip(found[1:], found, strict=False))
    assert queue.dropped == 25


def test_a_run_that_is_finished_loses_no_pair() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    for tick in range(10):
        queue.put(pair(tick))
    run, _ = begun(queue)
    assert [taken(queue, run).tick for _ in range(2)] == [0, 1]
    queue.finish_run(run)
    assert queue.take(run) is None
    again, first = begun(queue)
    assert (first, queue.dropped, queue.sent) == (2, 0, 2)
    assert taken(queue, again).tick == 2


def test_a_pair_that_an_encoder_was_not_given_whole_begins_the_next_run() -> None:
    pool = FramePool(2, 2)
    queue = PairQueue(20, pool, TIMELINE)
    pairs = [pair(tick, pooled=True, pool=pool) for tick in range(3)]
    for each in pairs:
        queue.put(each)
    run, _ = begun(queue)
    assert [taken(queue, run).tick for _ in range(2)] == [0, 1]
    queue.end_run(run)  # the encoder died while it was given the second
    again, first = begun(queue)
    assert (first, queue.dropped, queue.sent) == (1, 0, 1)
    assert taken(queue, again).picture is pairs[1].picture
    assert all(pool.take() is not pairs[1].picture for _ in range(8))


def test_a_tick_has_passed_once_nothing_up_to_it_waits() -> None:
    queue = PairQueue(2, FramePool(2, 2), TIMELINE)
    for tick in range(2):
        queue.put(pair(tick))
    run, _ = begun(queue)
    assert not queue.has_passed(0)
    queue.take(run)
    assert queue.has_passed(0) and not queue.has_passed(1)
    for tick in (2, 3):
        queue.put(pair(tick))
    assert queue.has_passed(1), "it was dropped"


def test_the_next_encoder_gets_the_sound_again_that_the_one_before_may_have_held_back() -> None:
    queue = PairQueue(40, FramePool(2, 2), timeline=20)
    for tick in range(40):
        queue.put(pair(tick, sound=bytes([tick]) * 3840))
    run, first = begun(queue)
    assert queue.pre_roll(first) == []
    for _ in range(13):
        taken(queue, run)
    queue.end_run(run)
    run, first = begun(queue)
    assert first == 12, "the last one was not written"
    assert [(each.tick, each.sound[0], each.picture.size) for each in queue.pre_roll(first)] == [
        (tick, tick, 0) for tick in range(4, 12)
    ]
    assert queue.pre_roll(14) == [], "not where time is missing between them"
    while queue.take(run) is not None:
        pass
    assert queue.pre_roll(begun(queue)[1]) == [], "not where time begins anew"


def test_a_pair_that_a_hung_encoder_was_not_given_whole_is_dropped_with_those_behind_it() -> None:
    queue = PairQueue(50, FramePool(2, 2), TIMELINE)
    for tick in range(2):
        queue.put(pair(tick, speech="a"))
    run, _ = begun(queue)
    assert taken(queue, run).tick == 0
    for tick in range(2, 120):
        queue.put(pair(tick, speech="a"))
    again, first = begun(queue)
    assert first == 70
    assert queue.dropped_of("a") == 70
    assert taken(queue, again).tick == 70


def test_the_writer_of_a_run_that_is_over_gets_nothing_more() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    for tick in range(10):
        queue.put(pair(tick))
    run, _ = begun(queue)
    assert [taken(queue, run).tick for _ in range(3)] == [0, 1, 2]
    again, first = begun(queue)
    assert first == 2
    assert queue.take(run) is None
    assert taken(queue, again).tick == 2


def test_a_run_begins_only_with_a_pair_to_begin_with() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    assert queue.begin_run(0.01) is None
    queue.put(pair(5))
    run, first = begun(queue)
    assert first == 5 and taken(queue, run).tick == 5
    queue.finish_run(run)
    assert queue.take(run) is None
    assert queue.begin_run(0.01) is None, "a pair that was written is not a beginning"


def test_picture_buffers_are_reused_but_not_while_they_are_written() -> None:
    pool = FramePool(2, 2)
    queue = PairQueue(10, pool, TIMELINE)
    first = pair(0, pooled=True, pool=pool)
    queue.put(first)
    queue.put(pair(1, pooled=True, pool=pool))
    run, _ = begun(queue)
    queue.take(run)
    assert pool.take() is not first.picture
    queue.take(run)
    assert pool.take() is first.picture


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_the_pictures_of_a_backlog_are_in_memory_from_the_start() -> None:
    pool = FramePool(1500, 1000)
    before = resident_bytes()
    pictures = [pool.take() for _ in range(8)]
    for picture in pictures:
        picture.fill(1)
    assert resident_bytes() - before < pictures[0].nbytes


def test_pictures_of_an_outage_go_and_those_from_the_start_stay() -> None:
    pool = FramePool(2, 2)
    pictures = [pool.take() for _ in range(20)]
    for picture in pictures:
        pool.give_back(picture)
    again = [pool.take() for _ in range(9)]
    assert {id(picture) for picture in again[:8]} == {id(picture) for picture in pictures[:8]}
    assert all(again[8] is not picture for picture in pictures)


def test_memory_of_an_outage_goes_back_whatever_was_allocated_meanwhile() -> None:
    pool = FramePool(1500, 1000)
    between = []

    def outage() -> None:
        pictures = []
        for _ in range(60):
            pictures.append(pool.take())
            pictures[-1].fill(1)
            between.append(bytes(100_000))  # as packets are, which live longer than some pictures
        for picture in pictures:
            pool.give_back(picture)

    before = resident_bytes()
    for _ in range(3):
        outage()
    assert resident_bytes() - before - sum(map(len, between)) < 5 * 1500 * 1000 * 3


def test_closing_lets_the_writer_drain() -> None:
    queue = PairQueue(10, FramePool(2, 2), TIMELINE)
    queue.put(pair(0))
    run, _ = begun(queue)
    taken: list[Pair | None] = []
    lane = threading.Thread(target=lambda: taken.extend(queue.take(run) for _ in range(2)))
    lane.start()
    queue.close()
    lane.join(5)
    assert [p and p.tick for p in taken] == [0, None]


def test_a_run_ends_where_time_begins_anew() -> None:
    queue = PairQueue(10, FramePool(2, 2), TIMELINE)
    for tick in range(998, 1003):
        queue.put(pair(tick))
    run, _ = begun(queue)
    assert [taken(queue, run).tick for _ in range(2)] == [998, 999]
    assert queue.take(run) is None
    again, first = begun(queue)
    assert first == 1000
    assert [taken(queue, again).tick for _ in range(3)] == [1000, 1001, 1002]
