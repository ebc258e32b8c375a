"""Frames of a video, one after another."""

import subprocess
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from orchestrator.audio.decoder import ffmpeg_binary
from orchestrator.avatars.errors import VideoError
from orchestrator.avatars.video import read_frames


def make_video(path: Path, *options: str, size: str = "64x48", rate: int = 25, seconds: float = 1) -> Path:
    source = ["-f", "lavfi", "-i", f"testsrc=s={size}:r={rate}:d={seconds}"]
    subprocess.run([ffmpeg_binary(), "-v", "error", "-y", *source, *options, str(path)], check=True)
    return path


@pytest.mark.parametrize(("rate", "count"), [(25, 25), (50, 25), (10, 25)])
def test_any_frame_rate_becomes_25(tmp_path: Path, rate: int, count: int) -> None:
    frames = list(read_frames(make_video(tmp_path / "a.mp4", rate=rate), max_frames=100))
    assert len(frames) == pytest.approx(count, abs=2)
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    assert {frame.dtype for frame in frames} == {np.dtype(np.uint8)}


def test_colours_are_rgb(tmp_path: Path) -> None:
    video = tmp_path / "red.mkv"
    red = ["-f", "lavfi", "-i", "color=red:s=16x16:d=0.2", "-c:v", "ffv1"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *red, str(video)], check=True)
    assert next(read_frames(video, 100))[8, 8].tolist() == pytest.approx([255, 0, 0], abs=4)


def test_odd_sides_are_cut_to_even_and_high_pictures_made_smaller(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mkv", "-c:v", "ffv1", size="65x47", seconds=0.2)
    assert next(read_frames(video, 100)).shape == (46, 64, 3)
    assert next(read_frames(make_video(tmp_path / "b.mp4"), 100, max_height=24)).shape == (24, 32, 3)
    assert next(read_frames(tmp_path / "b.mp4", 100, max_height=480)).shape == (48, 64, 3)


def test_clip_over_the_limit_is_refused(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4")
    assert len(list(read_frames(video, max_frames=25))) == 25
    with pytest.raises(VideoError, match=r"longer than 0\.8 s"):
        list(read_frames(video, max_frames=20))


def test_leaving_early_ends_the_child(tmp_path: Path) -> None:
    frames = read_frames(make_video(tmp_path / "a.mp4", seconds=20, size="640x480"), max_frames=1000)
    list(islice(frames, 3))
    frames.close()
    children = [pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()]
    assert not [pid for pid in children if b"image2pipe" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=r"clip\.mp4 is no video"):
        list(read_frames(tmp_path / "clip.mp4", 100))
