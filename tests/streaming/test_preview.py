"""The preview: a live fragmented MP4 that anyone can join at a keyframe and nobody can hold up."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
import pytest

from streaming.mp4_fragments import Fragment, FragmentWriter, InitSegment
from streaming.packet import Description, Packet, Track
from streaming.preview import PreviewServer
from tests.support.encoded import encoded
from tests.support.receiver import FFMPEG, timestamps

Message = Description | Packet
FRAGMENT_MS = 200


@pytest.fixture(scope="session")
def clip() -> list[Message]:
    """Four seconds with a keyframe each second."""
    return encoded(100)


def segments(messages: list[Message], fragment_ms: int = FRAGMENT_MS) -> list[InitSegment | Fragment]:
    writer = FragmentWriter(fragment_ms)
    return [segment for message in messages for segment in writer.feed(message)]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PreviewServer]:
    preview = PreviewServer(tmp_path / "preview.sock", FRAGMENT_MS)
    yield preview
    preview.close()


def connect(tmp_path: Path) -> socket.socket:
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    reader.settimeout(60)
    reader.connect(str(tmp_path / "preview.sock"))
    return reader


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def receive(reader: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = reader.recv(1 << 16)
        assert piece, f"connection closed after {len(data)} of {size} bytes"
        data += piece
    return data


def decoded_frames(data: bytes, path: Path) -> int:
    path.write_bytes(data)
    command = [FFMPEG, "-v", "error", "-i", str(path), "-map", "0:v", "-f", "framecrc", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert not done.stderr
    return sum(not line.startswith("#") for line in done.stdout.splitlines())


def begins_with_sync_sample(fragment: InitSegment | Fragment) -> bool:
    """What the first picture's flags say (ISO/IEC 14496-12, 8.8.3.1); the first trun is the pictures'."""
    at = fragment.data.index(b"trun") + 4
    flags = int.from_bytes(fragment.data[at + 12 : at + 16], "big")
    return not flags & 0x10000


def packet_times(path: Path, kind: Literal["video", "audio"]) -> list[float]:
    """Times as the file has them: ffmpeg's program makes sound contiguous."""
    with av.open(str(path)) as container:
        packets = container.demux(**{kind: 0})
        return [float(p.pts * p.time_base) for p in packets if p.pts is not None and p.time_base is not None]


def written(found: list[InitSegment | Fragment], path: Path) -> Path:
    path.write_bytes(b"".join(segment.data for segment in found))
    return path


def test_fragments_last_as_long_as_asked_and_begin_anew_with_a_keyframe(clip: list[Message], tmp_path: Path) -> None:
    for fragment_ms, expected, frames in ((200, 5, 100), (400, 3, 95), (40, 25, 100)):
        init, *fragments = segments(clip, fragment_ms)
        assert isinstance(init, InitSegment)
        assert init.codecs.startswith("avc1.42c0") and init.codecs.endswith(",mp4a.40.2")
        assert all(isinstance(f, Fragment) for f in fragments)
        keyframes = [i for i, f in enumerate(fragments) if isinstance(f, Fragment) and f.keyframe]
        assert keyframes == [0, expected, 2 * expected, 3 * expected]
        assert [i for i, f in enumerate(fragments) if begins_with_sync_sample(f)] == keyframes, "players ask for it"
        whole = written([init, *fragments], tmp_path / "whole.mp4")
        assert decoded_frames(whole.read_bytes(), whole) == frames, "the last fragment may not be full yet"


def test_picture_and_sound_have_the_times_of_their_packets(clip: list[Message], tmp_path: Path) -> None:
    path = written(segments(clip), tmp_path / "times.mp4")
    video, audio = timestamps(path, "0:v"), timestamps(path, "0:a")
    assert np.allclose(video, 1 + np.arange(100) / 25, atol=1e-4)
    assert np.allclose(np.diff(audio), 1024 / 48_000, atol=1e-4)
    assert audio[0] == pytest.approx(1 - 1024 / 48_000, abs=1e-4), "the priming lies before the first picture"


def test_times_go_on_where_those_of_the_packets_begin_anew(clip: list[Message], tmp_path: Path) -> None:
    path = written(segments([*clip, *clip]), tmp_path / "again.mp4")
    audio = packet_times(path, "audio")
    assert np.allclose(packet_times(path, "video"), 1 + np.arange(200) / 25, atol=1e-4)
    assert np.diff(audio).min() > 1023 / 48_000, "none of them twice"
    assert min(abs(np.array(audio) - (5 + 1024 / 48_000))) < 1e-4, "as far from its picture as at first"


def test_a_gap_between_two_runs_is_kept(clip: list[Message], tmp_path: Path) -> None:
    later = [replace(m, pts=m.pts + int(10 / m.time_base)) if isinstance(m, Packet) else m for m in clip]
    path = written(segments([*clip, *later]), tmp_path / "gap.mp4")
    video = timestamps(path, "0:v")
    assert np.allclose(video[100:], np.array(video[:100]) + 10, atol=1e-4)


def test_a_reader_joins_at_the_latest_keyframe_and_goes_on_live(
    server: PreviewServer, clip: list[Message], tmp_path: Path
) -> None:
    init, *fragments = [segment.data for segment in segments(clip)]
    begun, rest = clip[: len(clip) * 65 // 100], clip[len(clip) * 65 // 100 :]
    for message in begun:
        server.publish(message)
    now = len(segments(begun)) - 1
    with connect(tmp_path) as reader:
        joined = init + b"".join(fragments[10:now])
        assert receive(reader, len(joined)) == joined
        for message in rest:
            server.publish(message)
        live = b"".join(fragments[now:])
        assert receive(reader, len(live)) == live
    assert decoded_frames(joined + live, tmp_path / "joined.mp4") == 50


def test_readers_go_on_with_a_new_encoder(server: PreviewServer, clip: list[Message], tmp_path: Path) -> None:
    with connect(tmp_path) as reader:
        wait_for(lambda: server.readers == 1)
        for message in [*clip, *clip]:
            server.publish(message)
        expected = b"".join(segment.data for segment in segments([*clip, *clip]))
        assert receive(reader, len(expected)) == expected


def large_picture(frame: int) -> Packet:
    """A keyframe of more than a viewer's socket takes at once, which completes a fragment at the next one."""
    return Packet(Track.H264, frame, Fraction(1, 25), True, b"\0\0\0\1\x65" + b"\1" * 400_000, 0.0)


def test_a_reader_that_does_not_read_is_dropped_and_holds_up_nobody(
    server: PreviewServer, clip: list[Message], tmp_path: Path
) -> None:
    writer = FragmentWriter(FRAGMENT_MS)
    with connect(tmp_path), connect(tmp_path) as eager:
        wait_for(lambda: server.readers == 2)
        for message in (clip[0], *map(large_picture, range(30))):
            server.publish(message)
            expected = b"".join(segment.data for segment in writer.feed(message))
            assert receive(eager, len(expected)) == expected
        assert server.readers == 1


def test_a_reader_may_begin_with_a_group_larger_than_it_may_fall_behind(server: PreviewServer, tmp_path: Path) -> None:
    description, *packets = encoded(20)
    assert isinstance(description, Description)
    server.publish(description)
    for packet in packets:
        assert isinstance(packet, Packet)
        pad = b"\0\0\1\x0c" + b"\xff" * 500_000 if packet.track is Track.H264 else b""
        server.publish(replace(packet, data=packet.data + pad))
    wait_for(lambda: server.codecs != "")
    with connect(tmp_path) as reader:
        received = 0
        while received < 5_000_000:
            data = reader.recv(1 << 20)
            assert data, "dropped"
            received += len(data)


def test_a_reader_that_takes_nothing_for_long_is_dropped_though_little_waits_for_it(
    clip: list[Message], tmp_path: Path
) -> None:
    now = 0.0
    server = PreviewServer(tmp_path / "preview.sock", FRAGMENT_MS, lambda: now)
    with contextlib.closing(server), connect(tmp_path), connect(tmp_path) as eager:
        wait_for(lambda: server.readers == 2)
        writer = FragmentWriter(FRAGMENT_MS)
        pictures = map(large_picture, range(100))

        def publish(message: Message) -> None:
            server.publish(message)
            receive(eager, sum(len(segment.data) for segment in writer.feed(message)))

        publish(clip[0])
        for _ in range(4):  # more than the kernel takes for it, far from the limit in bytes
            publish(next(pictures))
        now = 9.0
        publish(next(pictures))
        assert server.readers == 2
        now = 11.0
        publish(next(pictures))
        wait_for(lambda: server.readers == 1)
