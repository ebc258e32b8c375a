"""The queue that keeps picture and sound together."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np

from streaming.pairs import FramePool, Lane, Pair, PairQueue

TIMELINE = 1000


def pair(tick: int, pooled: bool = False, pool: FramePool | None = None) -> Pair:
    picture = pool.take() if pool else np.zeros((2, 2, 3), np.uint8)
    return Pair(tick, picture, b"", pooled)


def test_both_lanes_see_the_same_pairs_each_at_its_own_pace() -> None:
    queue = PairQueue(10, FramePool(2, 2), TIMELINE)
    for tick in range(5):
        queue.put(pair(tick))
    run, first = queue.begin_run(0.1)
    assert first == 0
    assert [queue.take(Lane.AUDIO, run).tick for _ in range(4)] == [0, 1, 2, 3]
    assert [queue.take(Lane.VIDEO, run).tick for _ in range(2)] == [0, 1]
    assert len(queue) == 3


def test_a_full_queue_drops_whole_pairs_for_the_newest_and_counts_them() -> None:
    queue = PairQueue(3, FramePool(2, 2), TIMELINE)
    for tick in range(5):
        queue.put(pair(tick))
    assert queue.dropped == 3
    run, first = queue.begin_run(0.1)
    assert first == 3
    for lane in Lane:
        assert [queue.take(lane, run).tick for _ in range(2)] == [3, 4]


def test_a_run_ends_for_both_lanes_where_pairs_were_dropped_and_the_next_begins_behind_the_gap() -> None:
    queue = PairQueue(3, FramePool(2, 2), TIMELINE)
    queue.put(pair(0))
    run, _ = queue.begin_run(0.1)
    queue.put(pair(1))
    assert [queue.take(Lane.AUDIO, run).tick for _ in range(2)] == [0, 1]
    for tick in range(2, 5):
        queue.put(pair(tick))
    assert [queue.take(Lane.VIDEO, run).tick for _ in range(2)] == [0, 1], "what the sound has got the picture gets too"
    assert queue.take(Lane.VIDEO, run) is queue.take(Lane.AUDIO, run) is None
    assert queue.begin_run(0.1)[1] == 4


def test_a_new_run_starts_both_lanes_at_the_same_pair() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    for tick in range(10):
        queue.put(pair(tick))
    run, _ = queue.begin_run(0.1)
    for _ in range(7):
        queue.take(Lane.AUDIO, run)
    for _ in range(2):
        queue.take(Lane.VIDEO, run)
    again, first = queue.begin_run(0.1)
    assert first == 7
    assert queue.take(Lane.VIDEO, run) is None, "the old run is over"
    assert queue.take(Lane.VIDEO, again).tick == queue.take(Lane.AUDIO, again).tick == 7


def test_a_run_begins_only_with_a_pair_to_begin_with() -> None:
    queue = PairQueue(20, FramePool(2, 2), TIMELINE)
    assert queue.begin_run(0.01) is None
    queue.put(pair(5))
    run, first = queue.begin_run(0.01)
    queue.take(Lane.VIDEO, run)
    assert first == 5
    assert queue.begin_run(0.01) is None, "a pair that was taken is not a beginning"


def test_picture_buffers_are_reused_but_not_while_they_are_written() -> None:
    pool = FramePool(2, 2)
    queue = PairQueue(10, pool, TIMELINE)
    first = pair(0, pooled=True, pool=pool)
    queue.put(first)
    queue.put(pair(1, pooled=True, pool=pool))
    run, _ = queue.begin_run(0.1)
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
    run, _ = queue.begin_run(0.1)
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
    run, _ = queue.begin_run(0.1)
    for lane in Lane:
        assert [queue.take(lane, run).tick for _ in range(2)] == [998, 999]
        assert queue.take(lane, run) is None
    again, first = queue.begin_run(0.1)
    assert first == 1000
    assert [queue.take(Lane.VIDEO, again).tick for _ in range(3)] == [1000, 1001, 1002]
