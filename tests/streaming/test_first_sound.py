"""What is received of a speech's beginning and end: sound and mouth begin together, and the sound is never cut."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from streaming.config import SAMPLE_RATE_HZ
from streaming.events import PublisherState, SpeechEnded
from tests.support.grey_avatar import RESOLUTION
from tests.support.receiver import FFMPEG, timestamps
from tests.support.watched import is_kind, is_state, running

WIDTH, HEIGHT = 320, 240
FRAMES, SILENT = 30, 2


async def test_the_sound_begins_with_the_first_frame_of_the_face_and_ends_before_the_last(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    out = tmp_path / "out.flv"
    faces = np.full((FRAMES + SILENT, RESOLUTION, RESOLUTION, 3), 250, np.uint8)
    sound = np.zeros((FRAMES + SILENT, 1920), np.int16)
    tone = 8000 * np.sin(2 * np.pi * 440 * np.arange(FRAMES * 1920) / SAMPLE_RATE_HZ)
    sound[:FRAMES] = tone.reshape(FRAMES, 1920)
    async with running(avatar, tmp_path, targets=(str(out),), test_pattern=False) as watched:
        await watched.until(is_state(PublisherState.ON_AIR))
        await watched.channel.open("a", FRAMES + SILENT, 0.1)
        await watched.channel.write("a", 0, faces, sound)
        await watched.channel.end("a")
        await watched.until(is_kind(SpeechEnded))
    watched.skip_where_pictures_were_left_out()
    shown_s, opacity = mouth(out)
    face = np.flatnonzero(opacity > 0.1)
    heard_s = loud(out)
    assert heard_s[0] - shown_s[face[0]] == np.clip(heard_s[0] - shown_s[face[0]], -0.022, 0.022), "one AAC packet"
    assert len(face) == FRAMES + SILENT
    np.testing.assert_allclose(opacity[face[[0, 1, 2, -3, -2, -1]]], [1 / 3, 2 / 3, 1, 1, 2 / 3, 1 / 3], atol=0.08)
    assert abs(heard_s[-1] - heard_s[0] - FRAMES / 25) < 0.045, "all of it"
    assert heard_s[-1] < shown_s[face[-2]] + 0.022


def mouth(path: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Times of the pictures, and how much of the white face each one shows."""
    luma = decoded(path, "-map", "0:v", "-fps_mode", "passthrough", "-f", "rawvideo", "-pix_fmt", "gray")
    pictures = np.frombuffer(luma, np.uint8).reshape(-1, HEIGHT, WIDTH)
    middle = pictures[:, HEIGHT // 2 + 20 : HEIGHT // 2 + 40, WIDTH // 2 - 20 : WIDTH // 2 + 20].mean(axis=(1, 2))
    corner = pictures[:, 20:40, WIDTH // 2 - 20 : WIDTH // 2 + 20].mean(axis=(1, 2))  # the same columns, above the face
    return np.array(timestamps(path, "0:v")), np.asarray((middle - corner) / (middle.max() - corner), np.float64)


def loud(path: Path) -> NDArray[np.float64]:
    """Times of the samples that sound."""
    samples = np.frombuffer(decoded(path, "-map", "0:a", "-ac", "1", "-f", "s16le"), np.int16)
    return timestamps(path, "0:a")[0] + np.flatnonzero(np.abs(samples.astype(int)) > 1500) / SAMPLE_RATE_HZ


def decoded(path: Path, *output: str) -> bytes:
    command = [FFMPEG, "-v", "error", "-nostdin", "-copyts", "-i", str(path), *output, "-"]
    return subprocess.run(command, check=True, capture_output=True).stdout
