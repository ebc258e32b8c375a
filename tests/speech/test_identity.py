"""Geometry and colour, end to end: a speech whose faces are the reference's own gives the original frames back."""

import asyncio
import dataclasses
import json
import subprocess
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from latentsync.checkpoint import Checkpoint
from latentsync.landmarks import FaceLandmarker
from orchestrator.avatars.prepare import prepare_avatar
from orchestrator.avatars.video import read_frames
from orchestrator.offline.mp4_writer import Mp4Options
from orchestrator.offline.render import RenderOptions, render
from speech.audio.decoder import ffmpeg_binary
from streaming.compositor import Compositor
from tests.support.checkout import ROOT
from tests.support.identity_models import IdentityModels
from tests.support.tiny_checkpoint import CONFIG

pytestmark = pytest.mark.asyncio(loop_scope="session")

PRESENTER, IDLE = "presenter_1080x1920_25fps.mp4", "idle_832x1248_25fps.mp4"
SPEECH_FRAMES = 105


def first_seconds(media: Path, folder: Path) -> Path:
    """Three seconds of a clip of a real person."""
    path = folder / media.name
    cut = ["-i", str(media), "-t", "3", "-an", "-c", "copy", str(path)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *cut], check=True)
    return path


def checkpoint_in(folder: Path, resolution: int) -> Checkpoint:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({**CONFIG, "resolution": resolution}))
    return Checkpoint.open(folder)


def in_the_face(avatar: PreparedAvatar, frame: int, one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Absolute differences of two pictures where the soft mask of `frame` is at least half."""
    left, top, width, height = avatar.paste_back().rectangle(frame)
    area = (slice(top, top + height), slice(left, left + width))
    mask = avatar.paste_back().weight(frame) >= 128
    difference: NDArray[Any] = np.abs(one[area].astype(int) - other[area])
    return difference[mask]


@pytest.mark.parametrize(("media", "resolution"), [(PRESENTER, 256), (IDLE, 256), (PRESENTER, 512)])
async def test_a_speech_that_changes_nothing_gives_the_frames_back(
    media: str, resolution: int, shared: Path, tmp_path: Path
) -> None:
    clip = first_seconds(shared / "media" / media, tmp_path)
    if not (ROOT / "checkpoints" / "face").is_dir():
        pytest.skip("the face models are not fetched: run `latentsync-realtime fetch`")
    models, landmarker = IdentityModels(), FaceLandmarker(ROOT / "checkpoints" / "face")
    avatar = await prepare_avatar(
        clip, "person", tmp_path / "avatars", checkpoint_in(tmp_path / "checkpoint", resolution), models, landmarker
    )
    speech, output = shared / "media" / "speech_zh_4s.wav", tmp_path / "out.mp4"
    options = RenderOptions(steps=1, mp4=Mp4Options(crf=1))
    report = await render(avatar, speech, output, models, options)
    assert report.frames == SPEECH_FRAMES

    originals = await asyncio.to_thread(lambda: list(read_frames(clip, 1000)))
    compositor, picture = Compositor(avatar), np.empty_like(originals[0])
    seen: list[NDArray[Any]] = []
    for position, rendered in enumerate(read_frames(output, 1000)):
        index = avatar.frame_index(position)
        # In the file, after it was encoded: geometry, colour, order.
        difference = in_the_face(avatar, index, rendered, originals[index])
        assert difference.mean() < 2, f"frame {position}"
        seen.append(difference)
    assert len(seen) == SPEECH_FRAMES

    # Before it was encoded: exact outside the mask, near inside.
    for index, original in enumerate(islice(originals, 20)):
        condition = np.repeat(avatar.condition[index][None], 16, 0)
        crop = (await models.faces(np.zeros(0, np.float32), condition, np.zeros(0, np.float16), 1, 1))[0]
        compositor.speaking(index, index, crop, 1.0, picture)
        left, top, width, height = avatar.paste_back().rectangle(index)
        difference = in_the_face(avatar, index, picture, original)
        assert difference.mean() < 2
        assert np.quantile(difference, 0.95) <= 6
        # The same face a pixel off is worse: the measure sees geometry.
        off = 1.5 * resolution / 256
        shifted = dataclasses.replace(avatar, matrices=avatar.matrices + np.array([[0, 0, off], [0, 0, off]]))
        Compositor(shifted).speaking(index, index, crop, 1.0, picture)
        assert in_the_face(avatar, index, picture, original).mean() > 1.3 * difference.mean()
        picture[top : top + height, left : left + width] = original[top : top + height, left : left + width]
        np.testing.assert_array_equal(picture, original)
    everything = np.concatenate(seen)
    near = np.quantile(everything, 0.95)
    print(f"{clip.name} at {resolution}: mean {everything.mean():.2f}, 95 % below {near:.0f} grey levels")
