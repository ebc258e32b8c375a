"""What is on the picture while the avatar is idle, speaks, or fades between the two."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from streaming.compositor import Compositor, fitted
from streaming.mixer import Mixer
from tests.support.grey_avatar import RESOLUTION, make_avatar


class Clip:
    """Seven flat pictures of another size, their brightness telling the number."""

    frames = np.stack([np.full((60, 80, 3), 150 + n, np.uint8) for n in range(7)])

    def frame_index(self, position: int) -> int:
        return position % len(self.frames)


@pytest.fixture(scope="module")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> PreparedAvatar:
    return make_avatar(tmp_path_factory.mktemp("avatars") / "grey", 320, 240, 20)


FACE = np.full((RESOLUTION, RESOLUTION, 3), 255, np.uint8)


def picture(compositor: Compositor, tick: int, opacity: float, position: int = 3) -> NDArray[Any]:
    out = np.empty((240, 320, 3), np.uint8)
    return compositor.speaking(position, tick, FACE, opacity, out)


def test_without_an_idle_clip_a_fade_changes_the_mouth_alone(avatar: PreparedAvatar) -> None:
    compositor = Compositor(avatar)
    plain, half = compositor.idle(3, 100), picture(compositor, 100, 0.5)
    changed = (plain != half).any(axis=2)
    assert changed.any() and not changed[:50].any() and not changed[:, :80].any()


def test_an_idle_clip_of_another_size_plays_on_its_own_time_and_at_the_streams_size(avatar: PreparedAvatar) -> None:
    compositor = Compositor(avatar, Clip())
    shown = [compositor.idle(3, tick) for tick in range(10)]
    assert {p.shape for p in shown} == {(240, 320, 3)}
    assert [int(p[0, 0, 0]) for p in shown] == [150 + tick % 7 for tick in range(10)]


def test_a_fade_between_idle_clip_and_speech_blends_the_whole_picture(avatar: PreparedAvatar) -> None:
    compositor = Compositor(avatar, Clip())
    idle, speech = compositor.idle(3, 5).astype(float), picture(compositor, 5, 1.0).astype(float)
    assert np.median(np.abs(idle - speech)) > 50, "two different pictures"
    for opacity in (1 / 6, 0.5, 5 / 6):
        wanted = speech * opacity + idle * (1 - opacity)
        assert np.abs(picture(compositor, 5, opacity) - wanted).max() <= 1


def test_no_frame_of_a_whole_speech_is_a_cut(avatar: PreparedAvatar) -> None:
    compositor = Compositor(avatar, Clip())
    mixer = Mixer(5, 4, compositor.period)
    mixer.open("a", 40, 3, 16)
    mixer.available("a", 40)
    mixer.end("a", 40)
    corner = []
    for number in range(80):
        tick = mixer.tick()
        if tick.face is None:
            corner.append(compositor.idle(tick.position, number)[0, 0, 0])
        else:
            corner.append(picture(compositor, number, tick.opacity, tick.position)[0, 0, 0])
    levels = np.array(corner, int)
    # Idle is about 150 there and speech about 40: six steps of a sixth each.
    assert np.abs(np.diff(levels)).max() <= 110 / 6 + 10
    assert levels.min() < 60 and levels.max() > 145


def test_a_picture_is_cut_and_never_stretched() -> None:
    stripes = np.zeros((100, 100, 3), np.uint8)
    stripes[:, 40:60] = 255
    wide = fitted(stripes, (200, 100))
    assert wide.shape == (100, 200, 3)
    assert (wide[50, :, 0] > 128).sum() == pytest.approx(40, abs=2), "as wide as the scale says"
    assert fitted(stripes, (100, 100)) is stripes


def test_an_avatar_folder_opens_without_a_clip(avatar: PreparedAvatar) -> None:
    compositor = Compositor.open(Path(avatar.directory))
    assert (compositor.idle(7, 0) == avatar.frames[7]).all()
