"""How many frames a chunk gets, by what is there and what waits."""

from __future__ import annotations

import pytest

from speech.chunking import UPLOAD_CHUNKS, ChunkPlan, chunk_length, live_chunks


def counts(plan: ChunkPlan, frames: int) -> list[int]:
    """The chunks of a speech that is there."""
    found: list[int] = []
    while (left := frames - sum(found)) > 0:
        found.append(plan.next_count(len(found), left, left))
    return found


def test_upload_opens_with_a_short_chunk_and_each_lasts_until_the_next_is_made() -> None:
    assert counts(UPLOAD_CHUNKS, 60) == [4, 8, 16, 16, 16]
    assert counts(UPLOAD_CHUNKS, 63) == [4, 8, 16, 16, 16, 3]
    assert counts(UPLOAD_CHUNKS, 2) == [2]


def test_without_an_opening_chunks_are_the_longest() -> None:
    assert counts(ChunkPlan(), 35) == [16, 16, 3]


def test_live_chunk_waits_for_its_frames_and_takes_more_where_more_are_there() -> None:
    plan = live_chunks(8)
    assert [plan.next_count(0, ready, None) for ready in (3, 4, 30)] == [0, 4, 4]
    assert [plan.next_count(5, ready, None) for ready in (7, 8, 15, 16, 90)] == [0, 8, 8, 16, 16]


def test_rest_is_taken_once_the_end_is_known() -> None:
    plan = live_chunks(8)
    assert plan.next_count(5, ready=5, left=5) == 5
    assert plan.next_count(5, ready=7, left=9) == 0, "two more are on their way"
    assert plan.next_count(5, ready=9, left=9) == 8
    assert plan.next_count(5, ready=16, left=16) == 8, "the end has come at once: what is due first is made first"
    assert plan.next_count(5, ready=30, left=30) == 16


def test_overlapping_chunks_count_what_no_other_makes_again() -> None:
    assert counts(ChunkPlan(overlap=4), 28) == [12, 16]
    assert counts(ChunkPlan(overlap=4), 29) == [12, 12, 5]
    assert counts(ChunkPlan(opening=(4, 8), overlap=4), 40) == [4, 4, 12, 12, 8], "a chunk of 4 would have nothing else"
    assert counts(ChunkPlan(opening=(4, 8), overlap=2), 40) == [2, 6, 14, 14, 4]


def test_an_overlapping_live_chunk_waits_for_the_frames_that_it_shares() -> None:
    plan = ChunkPlan(opening=(4,), steady=8, overlap=2)
    assert [plan.next_count(0, ready, None) for ready in (3, 4, 30)] == [0, 2, 2]
    assert [plan.next_count(5, ready, None) for ready in (7, 8, 15, 16)] == [0, 6, 6, 14]
    assert plan.next_count(5, ready=5, left=5) == 5, "nothing is shared at the end"
    with pytest.raises(ValueError, match="chunks overlap by 0 to 15 frames, not 16"):
        ChunkPlan(overlap=16)


@pytest.mark.parametrize(("count", "length"), [(1, 4), (4, 4), (5, 8), (9, 16), (16, 16)])
def test_chunk_has_the_shortest_length_that_holds_it(count: int, length: int) -> None:
    assert chunk_length(count) == length


def test_other_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="4, 8, 16 frames, not 6"):
        ChunkPlan(opening=(6,))
    with pytest.raises(ValueError, match="at most 16"):
        chunk_length(17)
