"""Where motions may come, faces are made no further ahead than needed; a slow machine makes all that it can."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.motions.stand_ins import QuickLog
from bench.virtual_loop import in_virtual_time
from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES
from speech.audio.frames import FPS, SilentFrames
from speech.generation import GenerationSettings
from speech.horizon import Horizon
from speech.live import LiveSettings
from speech.log import LogEnd
from speech.pacing import Pace
from speech.speaking import SpeechMaker
from speech.urgency import UrgentFirst
from streaming.handle import Reservation
from tests.support.boards import task
from tests.support.controlled_models import RESOLUTION, ControlledModels
from tests.support.mixed_channel import unheard
from tests.support.synthetic_avatar import write_avatar

_FRAMES = 250


class RatedModels(ControlledModels):
    """Makes so many frames/s of the loop's time."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self._rate = rate

    async def faces(self, noise: object, condition: object, audio: NDArray[Any], *_: object) -> NDArray[Any]:
        await asyncio.sleep(len(audio) / self._rate)
        return np.zeros((len(audio), RESOLUTION, RESOLUTION, 3), np.uint8)


class Stream:
    """A sink with room for everything, and the path that it shows; notes how far ahead each chunk was requested."""

    has_motions = True  # so that chunks wait for their time

    def __init__(self) -> None:
        self.ahead_s: list[float] = []
        self._began = 0.0

    async def open(self, *_: object, **__: object) -> Reservation:
        self._began = asyncio.get_running_loop().time()
        return Reservation(20, 0)

    async def condition(self, positions: list[int]) -> NDArray[np.float16]:
        shown_at = self._began + positions[0] / FPS
        self.ahead_s.append(shown_at - asyncio.get_running_loop().time())
        side = RESOLUTION // CONTRACT.pixels_per_latent
        return np.zeros((len(positions), CONTRACT.condition_channels, side, side), np.float16)

    async def cue(self, name: str, position: int) -> None:
        raise AssertionError("the speech has no cue")

    async def write(self, *_: object, **__: object) -> None:
        return None

    def unplayed(self, speech_id: str) -> int:
        return 0

    def waited(self, speech_id: str) -> int:
        return 0

    async def end(self, speech_id: str) -> None:
        return None


def ahead_s(folder: Path, rate: float) -> list[float]:
    """How long before its first frame is shown each chunk of a speech was requested."""
    path = folder / "log"
    path.write_bytes(bytes(_FRAMES * 2 * (CONTRACT.samples_per_frame + SOUND_FRAME_SAMPLES)))
    avatar, stream = write_avatar(folder / "avatars"), Stream()

    async def say() -> None:
        maker = SpeechMaker(
            RatedModels(rate), avatar, unheard, SilentFrames(0, 0), asyncio.get_running_loop().time,
            GenerationSettings(2), UrgentFirst(4), Pace(), LiveSettings(), stream,
        )  # fmt: skip
        await maker.say(task("a"), QuickLog(path, LogEnd()), stream)

    in_virtual_time(say())
    return stream.ahead_s


def test_a_fast_machine_leaves_what_is_shown_later_open_to_motions(tmp_path: Path) -> None:
    horizon = Horizon().seconds(100.0)
    assert horizon is not None
    later = ahead_s(tmp_path, rate=100.0)[6:]
    assert len(later) > 8
    assert max(later) == pytest.approx(horizon, abs=0.2), "its measured rate counts the first chunks too"
    assert min(later) > 0.5, "a slow moment of half a second is bridged"


def test_a_slow_machine_makes_as_many_as_there_is_room_for(tmp_path: Path) -> None:
    assert Horizon().seconds(30.0) is None
    assert max(ahead_s(tmp_path, rate=30.0)) > 1.5


def test_nothing_is_held_back_before_a_rate_is_known() -> None:
    assert Horizon().seconds(None) is None
