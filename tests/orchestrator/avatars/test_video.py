"""Frames of a video, one after another."""

import os
import struct
import subprocess
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from orchestrator.avatars.errors import VideoError
from orchestrator.avatars.video import read_frames, video_info, without_still_ends
from speech.audio.decoder import ffmpeg_binary
from tests.support.processes import descendants


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


def test_colours_are_not_shifted(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(20, 235, (6, 8, 3), np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    video = tmp_path / "patches.mp4"
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "128x96", "-r", "25", "-i", "pipe:0"]
    exact = "scale=out_color_matrix=bt709:flags=accurate_rnd+full_chroma_int+full_chroma_inp+bicubic,format=yuv420p"
    written = ["-vf", exact, "-c:v", "libx264", "-qp", "0", "-colorspace", "bt709", str(video)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *raw, *written], input=picture.tobytes(), check=True)
    middles = (slice(8, None, 16), slice(8, None, 16))  # away from the edges, where colour is subsampled
    difference = next(read_frames(video, 100))[middles].astype(int) - picture[middles]
    assert np.abs(difference.mean(axis=(0, 1))).max() < 0.5
    assert np.abs(difference).max() <= 3


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
    assert not [line for line in descendants(os.getpid()).values() if "image2pipe" in line]


@pytest.mark.parametrize("content", [b"", b"not a video" * 100])
def test_what_is_no_video_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=r"clip\.mp4 is no video"):
        list(read_frames(tmp_path / "clip.mp4", 100))


def test_hevc_and_vp9_and_gif_are_read(tmp_path: Path) -> None:
    for name, codec in (("a.mov", "libx265"), ("a.webm", "libvpx-vp9"), ("a.gif", "gif"), ("a.avi", "mjpeg")):
        video = make_video(tmp_path / name, "-c:v", codec, seconds=0.2)
        assert next(read_frames(video, 100)).shape == (48, 64, 3), name


def test_variable_frame_rate_becomes_25_and_keeps_its_time(tmp_path: Path) -> None:
    video = tmp_path / "vfr.mkv"
    # Ten frames/s for the first half, then fifty: what is shown at a time must be what was shown then.
    source = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=50:d=2", "-vf", "select='if(lt(t,1),not(mod(n,5)),1)'"]
    command = [ffmpeg_binary(), "-v", "error", *source, "-vsync", "vfr", "-c:v", "ffv1", str(video)]
    subprocess.run(command, check=True)
    frames = list(read_frames(video, 100))
    assert len(frames) == pytest.approx(50, abs=1)
    first, second = frames[:25], frames[25:]
    assert sum(np.array_equal(one, other) for one, other in pairwise(first)) >= 12
    assert not any(np.array_equal(one, other) for one, other in pairwise(second))


def test_rotation_in_the_metadata_is_applied(tmp_path: Path) -> None:
    upright, lying = tmp_path / "upright.mp4", tmp_path / "lying.mp4"
    make_video(upright, "-vf", "drawbox=w=20:h=48:color=red:t=fill", size="80x48", seconds=0.2)
    # ffmpeg's way to write a rotation changes from version to version: the track's matrix itself, for 90° clockwise.
    content = bytearray(upright.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    content[matrix : matrix + 36] = struct.pack(">9i", 0, 1 << 16, 0, -1 << 16, 0, 0, 48 << 16, 0, 1 << 30)
    lying.write_bytes(content)
    frame = next(read_frames(lying, 100))
    assert frame.shape == (80, 48, 3)
    ends = frame[:10].reshape(-1, 3).mean(axis=0), frame[-10:].reshape(-1, 3).mean(axis=0)
    assert ends[0][0] > 180 and ends[0][1:].max() < 90, "what was left is above now"


def test_transparent_pictures_are_laid_on_black(tmp_path: Path) -> None:
    video = tmp_path / "alpha.mov"
    colours = ["-f", "lavfi", "-i", "color=white:s=64x48:r=25:d=0.2,format=rgba,geq=r=255:g=255:b=255:a='255*gt(X,31)'"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *colours, "-c:v", "qtrle", str(video)], check=True)
    assert video_info(video).alpha
    frame = next(read_frames(video, 100))
    assert frame[:, :32].max() == 0
    assert frame[:, 32:].min() == 255


def test_sound_beside_the_pictures_does_not_matter_and_cover_art_is_no_video(tmp_path: Path) -> None:
    with_sound = tmp_path / "a.mp4"
    sources = ["-f", "lavfi", "-i", "testsrc=s=64x48:r=25:d=0.4", "-f", "lavfi", "-i", "sine=d=0.4"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *sources, str(with_sound)], check=True)
    assert len(list(read_frames(with_sound, 100))) == 10
    cover, song = tmp_path / "cover.png", tmp_path / "song.m4a"
    still = ["-f", "lavfi", "-i", "testsrc=s=64x48:d=0.04", "-frames:v", "1", str(cover)]
    subprocess.run([ffmpeg_binary(), "-v", "error", *still], check=True)
    attach = ["-f", "lavfi", "-i", "sine=d=1", "-i", str(cover), "-map", "0", "-map", "1", "-c:v", "copy"]
    command = [ffmpeg_binary(), "-v", "error", *attach, "-disposition:v", "attached_pic", str(song)]
    subprocess.run(command, check=True)
    with pytest.raises(VideoError, match=r"song\.m4a is no video that can be read \(it has no pictures\)"):
        list(read_frames(song, 100))


def test_what_is_no_video_is_told_the_cure_and_no_path(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no video at all" * 50)
    with pytest.raises(VideoError, match=r"^text\.mp4 is no video .*: if players show it, convert it with") as raised:
        video_info(text)
    assert str(tmp_path) not in str(raised.value)


def test_a_script_that_names_other_files_is_not_followed(tmp_path: Path) -> None:
    make_video(tmp_path / "secret.mp4", seconds=0.2)
    script = tmp_path / "clip.mp4"
    script.write_text("ffconcat version 1.0\nfile secret.mp4\n")
    with pytest.raises(VideoError, match="is no video"):
        list(read_frames(script, 100))
    script.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:0.2,\nsecret.mp4\n#EXT-X-ENDLIST\n")
    with pytest.raises(VideoError, match="is no video"):
        list(read_frames(script, 100))


def numbered(*values: int) -> list[NDArray[Any]]:
    return [np.full((2, 2, 3), value, np.uint8) for value in values]


@pytest.mark.parametrize(
    ("clip", "kept"),
    [
        ((1, 1, 1, 2, 3, 3, 4, 4), [(2, 1), (3, 2), (4, 3), (5, 3), (6, 4)]),
        ((1, 2, 3), [(0, 1), (1, 2), (2, 3)]),
        ((5, 5, 5), [(0, 5)]),
        ((), []),
    ],
)
def test_pictures_that_stand_still_at_the_ends_are_left_out(clip: tuple[int, ...], kept: list[tuple[int, int]]) -> None:
    assert [(number, int(frame[0, 0, 0])) for number, frame in without_still_ends(numbered(*clip))] == kept
