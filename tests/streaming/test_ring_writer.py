"""What the producing end of the ring knows of the frames that it wrote."""

import numpy as np
from numpy.typing import NDArray

from streaming.config import FRAME_SAMPLES
from streaming.ring import FrameRing
from streaming.ring_writer import RingWriter

R = 16


def frames(count: int) -> tuple[NDArray[np.uint8], NDArray[np.int16]]:
    return np.zeros((count, R, R, 3), np.uint8), np.zeros((count, FRAME_SAMPLES), np.int16)


def test_speech_waited_for_as_many_frames_as_all_its_waits_together() -> None:
    writer = RingWriter(FrameRing.create(4, R))
    writer.register("a")
    writer.register("b")
    assert writer.waited("a") == 0
    writer.resumed("a", 2)
    writer.resumed("a", 3)
    writer.resumed("long over", 9)
    assert (writer.waited("a"), writer.waited("b"), writer.waited("long over")) == (5, 0, 0)


async def test_unplayed_frames_are_those_of_the_speech_that_the_channel_still_has() -> None:
    ring = FrameRing.create(16, R)
    writer = RingWriter(ring)
    for speech in ("first", "second"):
        writer.register(speech)
    await writer.write("first", 0, *frames(4))
    writer.end("first")
    assert (writer.unplayed("first"), writer.unplayed("second")) == (4, 0)
    await writer.write("second", 0, *frames(8))
    ring.release()
    assert writer.unplayed("second") == 8, "the first speech's frames are before them"
    for _ in range(6):
        ring.release()
    assert writer.unplayed("second") == 5
    writer.cancel("second")
    assert (writer.unplayed("second"), writer.unplayed("unknown")) == (0, 0)
    writer.close()
    ring.close()
