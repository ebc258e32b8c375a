"""The queue that keeps picture and sound together."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

from streaming.frame_pool import FramePool
from streaming.pair import Lane, Pair
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


def taken(queue: PairQueue, lane: Lane, run: int) -> Pair:
    """The next pair of a run that goes on."""
    found = queue.take(lane, run)
    assert found is not None, "the run is over"
    return found


def test_both_lanes_see_the_same_pairs_each_at_its_own_pace() -> None:
    queue = PairQueue(10, FramePool(2, 2), TIMELINE)
    for tick in range(5):
        queue.put(pair(tick))
    run, first = begun(queue)
    assert first == 0
    assert [taken(queue, Lane.AUDIO, run).tick for _ in range(2)] == [0, 1]
    assert [taken(queue, Lane.VIDEO, run).tick for _ in range(4)] == [0, 1, 2, 3]
    assert len(queue) == 1


def kept(queue: PairQueue) -> list[int]:
    """Ticks of the pairs that are in the queue and were not dropped, taken out of it."""
    run, _ = begun(queue)
    queue.close()
    found: list[Pair] = []
    while (taken := queue.take(Lane.VIDEO, run)) is not None:
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
    queue = PairQueue(3, FramePool(2, 2), TIMELINE)
    for tick in range(3):
        queue.put(pair(tick, speech="a", sound=b"\1" * 3840))
    run, _ = begun(queue)
    shown, heard = taken(queue, Lane.VIDEO, run), taken(queue, Lane.AUDIO, run)
    assert (shown.tick, heard.tick) == (0, 0)
    queue.put(pair(3, speech="a", sound=b"\1" * 3840))
    assert queue.dropped == 1
    pictures = [taken(queue, Lane.VIDEO, run) for _ in range(3)]
    sounds = [taken(queue, Lane.AUDIO, run) for _ in range(3)]
    assert [p.tick for p in pictures] == [s.tick for s in sounds] == [1, 2, 3]
    assert [p.picture is shown.picture for p in pictures] == [True, False, False]
    assert [any(s.sound) for s in sounds] == [False, True, True]


def test_a_picture_that_is_repeated_is_not_reused_meanwhile() -> None:
    pool = FramePool(2, 2)
    queue = PairQueue(2, pool, TIMELINE)
    first = pair(0, pooled=True, pool=pool)
    queue.put(first)
    run, _ = begun(queue)
    for lane in Lane:
        queue.take(lane, run)
    for tick in range(1, 3):
        queue.put(pair(tick))
    assert queue.dropped == 1
    for lane in Lane:
        assert taken(queue, lane, run).tick == 1
    assert all(pool.take() is not first.picture for _ in range(8))


def test_a_run_ends_for_both_lanes_before_a_long_row_of_dropped_pairs_and_the_next_begins_behind_it() -> None:
    queue = PairQueue(3, FramePool(2, 2), TIMELINE)
    queue.put(pair(0))
    run, _ = begun(queue)
    queue.put(pair(1))
    assert [taken(queue, Lane.AUDIO, run).tick for _ in range(2)] == [0, 1]
    for tick in range(2, 100):
        queue.put(pair(tick))
    assert [taken(queue, Lane.VIDEO, run).tick for _ in range(2)] == [0, 1], "what is heard is seen too"
    assert queue.take(Lane.VIDEO, run) is queue.take(Lane.AUDIO, run) is None
    assert begun(queue)[1] == 99


def test_a_run_that_is_finished_loses_no_pair() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    for tick in range(10):
        queue.put(pair(tick))
    run, _ = begun(queue)
    assert [taken(queue, Lane.AUDIO, run).tick for _ in range(2)] == [0, 1]
    assert taken(queue, Lane.VIDEO, run).tick == 0
    queue.finish_run(run)
    assert queue.take(Lane.AUDIO, run) is None
    assert taken(queue, Lane.VIDEO, run).tick == 1
    assert queue.take(Lane.VIDEO, run) is None
    again, first = begun(queue)
    assert first == 2 and queue.dropped == 0
    assert taken(queue, Lane.VIDEO, again).tick == taken(queue, Lane.AUDIO, again).tick == 2


def test_sound_waits_for_its_pictures_so_that_little_is_lost_with_an_encoder() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    for tick in range(10):
        queue.put(pair(tick, speech="a"))
    run, _ = begun(queue)
    heard: list[Pair | None] = []
    lane = threading.Thread(target=lambda: heard.extend(iter(lambda: queue.take(Lane.AUDIO, run), None)))
    lane.start()
    while len(heard) < 2:
        pass
    lane.join(0.2)
    assert [p.tick for p in heard if p] == [0, 1]
    queue.end_run(run)
    lane.join(5)
    assert begun(queue)[1] == 2
    assert queue.dropped_of("a") == 2, "their sound went to the encoder that is gone"


def test_a_tick_has_passed_once_nothing_up_to_it_waits() -> None:
    queue = PairQueue(2, FramePool(2, 2), TIMELINE)
    for tick in range(2):
        queue.put(pair(tick))
    run, _ = begun(queue)
    assert not queue.has_passed(0)
    queue.take(Lane.VIDEO, run)
    assert queue.has_passed(0) and not queue.has_passed(1)
    queue.put(pair(2))
    assert queue.has_passed(1), "it was dropped"


def test_a_new_run_starts_both_lanes_at_the_same_pair() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    for tick in range(10):
        queue.put(pair(tick))
    run, _ = begun(queue)
    for _ in range(3):
        queue.take(Lane.VIDEO, run)
    for _ in range(5):
        queue.take(Lane.AUDIO, run)
    again, first = begun(queue)
    assert first == 5
    assert queue.take(Lane.VIDEO, run) is None, "the old run is over"
    assert taken(queue, Lane.VIDEO, again).tick == taken(queue, Lane.AUDIO, again).tick == 5


def test_a_run_begins_only_with_a_pair_to_begin_with() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    assert queue.begin_run(0.01) is None
    queue.put(pair(5))
    run, first = begun(queue)
    queue.take(Lane.VIDEO, run)
    assert first == 5
    assert queue.begin_run(0.01) is None, "a pair that was taken is not a beginning"


def test_picture_buffers_are_reused_but_not_while_they_are_written() -> None:
    pool = FramePool(2, 2)
    queue = PairQueue(10, pool, TIMELINE)
    first = pair(0, pooled=True, pool=pool)
    queue.put(first)
    queue.put(pair(1, pooled=True, pool=pool))
    run, _ = begun(queue)
    queue.take(Lane.VIDEO, run)
    queue.take(Lane.AUDIO, run)
    queue.take(Lane.AUDIO, run)
    assert pool.take() is not first.picture
    queue.take(Lane.VIDEO, run)
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


def test_closing_lets_the_lanes_drain() -> None:
    queue = PairQueue(10, FramePool(2, 2), TIMELINE)
    queue.put(pair(0))
    run, _ = begun(queue)
    taken: list[Pair | None] = []
    lane = threading.Thread(target=lambda: taken.extend(queue.take(Lane.VIDEO, run) for _ in range(2)))
    lane.start()
    queue.close()
    lane.join(5)
    assert [p and p.tick for p in taken] == [0, None]


def test_a_run_ends_where_time_begins_anew() -> None:
    queue = PairQueue(10, FramePool(2, 2), TIMELINE)
    for tick in range(998, 1003):
        queue.put(pair(tick))
    run, _ = begun(queue)
    for lane in Lane:
        assert [taken(queue, lane, run).tick for _ in range(2)] == [998, 999]
        assert queue.take(lane, run) is None
    again, first = begun(queue)
    assert first == 1000
    assert [taken(queue, Lane.VIDEO, again).tick for _ in range(3)] == [1000, 1001, 1002]
