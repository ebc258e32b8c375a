"""The ring of speech frames between two processes."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from streaming.config import FRAME_SAMPLES
from streaming.ring import FrameRing

R = 16


def frame(n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    return np.full((R, R, 3), n % 251, np.uint8), np.full(FRAME_SAMPLES, n, np.int16)


def consume(fd: int, slots: int, count: int, result: multiprocessing.Queue[int]) -> None:
    ring = FrameRing(fd, slots, R)
    wrong = 0
    for n in range(count):
        while (slot := ring.peek()) is None:
            pass
        face, audio = frame(n)
        wrong += (slot.speech, slot.frame) != (n // 100, n % 100)
        wrong += not (np.array_equal(slot.face, face) and np.array_equal(slot.audio, audio))
        ring.release()
    result.put(wrong)


def test_frames_arrive_whole_and_in_order_in_another_process() -> None:
    ring = FrameRing.create(8, R)
    fork = multiprocessing.get_context("fork")
    result = fork.Queue()
    consumer = fork.Process(target=consume, args=(ring.fd, 8, 1000, result))
    consumer.start()
    for n in range(1000):
        while not ring.push(n // 100, n % 100, *frame(n)):
            pass
    assert result.get(timeout=30) == 0
    consumer.join()
    ring.close()


def test_a_full_ring_refuses_and_loses_nothing() -> None:
    ring = FrameRing.create(4, R)
    assert [ring.push(1, n, *frame(n)) for n in range(6)] == [True] * 4 + [False] * 2
    assert (len(ring), ring.free) == (4, 0)
    ring.release()
    assert ring.push(1, 4, *frame(4))
    assert [slot and slot.frame for slot in map(ring.peek, range(4))] == [1, 2, 3, 4]
    assert ring.peek(4) is None
    ring.close()


def test_an_empty_ring_has_nothing_to_release() -> None:
    ring = FrameRing.create(4, R)
    assert ring.peek() is None
    with pytest.raises(IndexError):
        ring.release()
    ring.close()


def test_the_memory_has_no_name_that_a_crash_could_leave_behind() -> None:
    ring = FrameRing.create(64, R)
    ring.push(1, 0, *frame(0))
    assert os.fstat(ring.fd).st_nlink == 0
    link = Path(f"/proc/self/fd/{ring.fd}")
    assert "memfd" in str(link.readlink())
    ring.close()
    ring.close()


def test_all_of_its_memory_is_there_from_the_start_in_both_processes() -> None:
    ring = FrameRing.create(250, R)
    other = FrameRing(os.dup(ring.fd), 250, R)
    size_kib = (250 * (2 * FRAME_SAMPLES + 3 * R * R)) // 1024
    mapped = Path("/proc/self/smaps").read_text().split("memfd:latentsync-ring")[1:]
    resident = [int(text.split("Rss:")[1].split()[0]) for text in mapped]
    assert len([kib for kib in resident if kib >= size_kib]) >= 2
    ring.close()
    other.close()


def of_rings() -> tuple[int, int]:
    """Mappings and open files of this process that are rings."""
    files = [str(file.readlink()) for file in Path("/proc/self/fd").iterdir() if file.is_symlink()]
    mapped = Path("/proc/self/maps").read_text()
    return mapped.count("latentsync-ring"), sum("latentsync-ring" in file for file in files)


def test_a_closed_ring_is_unmapped_although_it_is_still_held() -> None:
    mapped, open_files = of_rings()
    ring = FrameRing.create(4, R)
    ring.push(1, 0, *frame(0))
    assert of_rings() == (mapped + 1, open_files + 2)
    ring.close()
    assert of_rings() == (mapped, open_files)


def test_a_slot_that_is_still_held_stays_readable_after_the_ring_is_closed() -> None:
    ring = FrameRing.create(4, R)
    ring.push(1, 0, *frame(7))
    slot = ring.peek()
    assert slot is not None
    ring.close()
    assert (slot.face == 7).all()
