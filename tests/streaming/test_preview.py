"""The preview: a live fragmented MP4 that anyone can join at a keyframe and nobody can hold up."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from streaming.mp4_boxes import Fragment, FragmentParser, InitSegment
from streaming.preview import PreviewServer
from tests.support.receiver import FFMPEG, timestamps


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Four seconds of fragmented MP4 with a keyframe each second and fragments of 200 ms."""
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    command = [
        FFMPEG, "-v", "error", "-f", "lavfi", "-i", "testsrc2=s=160x120:r=25", "-f", "lavfi", "-i", "sine=r=44100",
        "-t", "4", "-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-g", "25", "-c:a", "aac",
        "-movflags", "+empty_moov+default_base_moof+frag_keyframe", "-frag_duration", "200000", str(path),
    ]  # fmt: skip
    subprocess.run(command, check=True)
    return b"".join(segment.data for segment in FragmentParser().feed(path.read_bytes()))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[PreviewServer]:
    preview = PreviewServer(tmp_path / "preview.sock")
    yield preview
    preview.close()


def connect(tmp_path: Path) -> socket.socket:
    reader = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    reader.settimeout(5)
    reader.connect(str(tmp_path / "preview.sock"))
    return reader


def feed(server: PreviewServer, *segments: bytes) -> int:
    """Attaches a new source that holds these segments, and waits until they are served."""
    source, sink = os.pipe()
    server.attach(source)
    for segment in segments:
        served = server.fragments + (b"moov" not in segment[:200])
        view = memoryview(segment)
        while len(view):
            view = view[os.write(sink, view) :]
        wait_for_fragments(server, served)
    return sink


def wait_for_fragments(server: PreviewServer, count: int) -> None:
    wait_for(lambda: server.fragments >= count)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
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


def test_the_parser_finds_the_segments_in_any_pieces(clip: bytes) -> None:
    whole = list(FragmentParser().feed(clip))
    parser = FragmentParser()
    pieces = [s for i in range(0, len(clip), 777) for s in parser.feed(clip[i : i + 777])]
    assert pieces == whole
    assert isinstance(whole[0], InitSegment)
    assert whole[0].codecs.startswith("avc1.42c0") and whole[0].codecs.endswith(",mp4a.40.2")
    fragments = [s for s in whole if isinstance(s, Fragment)]
    assert [i for i, f in enumerate(fragments) if f.keyframe] == [0, 5, 10, 15]
    assert clip == b"".join(s.data for s in whole)


def test_the_parser_moves_every_track_to_the_time_at_which_its_run_began(clip: bytes, tmp_path: Path) -> None:
    begin = []
    for start_s in (0.0, 1000.0):
        path = tmp_path / "moved.mp4"
        path.write_bytes(b"".join(s.data for s in FragmentParser(start_s).feed(clip)))
        begin.append([timestamps(path, stream) for stream in ("0:v", "0:a")])
    for at_zero, moved in zip(*begin, strict=True):
        assert np.allclose(np.array(moved) - np.array(at_zero), 1000.0, atol=1e-6)
    video, audio = begin[0]
    # The muxer's zero is the encoder's priming, 1024 samples; it stretches the first picture back to there.
    assert np.allclose(np.diff(video)[1:], 0.04, atol=1e-4)
    assert video[1] - audio[0] == pytest.approx(0.04 + 1024 / 44_100, abs=1e-4)


def test_the_parser_refuses_what_is_no_mp4() -> None:
    with pytest.raises(ValueError, match="no MP4 box"):
        list(FragmentParser().feed(b"\x00\x00\x00\x01 this is something else"))


def test_a_reader_joins_at_the_latest_keyframe_and_goes_on_live(
    server: PreviewServer, clip: bytes, tmp_path: Path
) -> None:
    init, *fragments = [s.data for s in FragmentParser().feed(clip)]
    sink = feed(server, init, *fragments[:13])
    joined = init + b"".join(fragments[10:13])
    with connect(tmp_path) as reader:
        assert receive(reader, len(joined)) == joined
        os.write(sink, fragments[13])
        assert receive(reader, len(fragments[13])) == fragments[13]
    assert decoded_frames(joined + fragments[13], tmp_path / "joined.mp4") == 20
    os.close(sink)


def test_readers_go_on_with_a_new_encoder(server: PreviewServer, clip: bytes, tmp_path: Path) -> None:
    init, *fragments = [s.data for s in FragmentParser().feed(clip)]
    with connect(tmp_path) as reader:
        os.close(feed(server, init, *fragments[:3]))
        expected = init + b"".join(fragments[:3])
        assert receive(reader, len(expected)) == expected
        sink = feed(server, init, *fragments[:2])
        expected = init + b"".join(fragments[:2])
        assert receive(reader, len(expected)) == expected
        os.close(sink)


def test_a_reader_that_does_not_read_is_dropped_and_holds_up_nobody(
    server: PreviewServer, clip: bytes, tmp_path: Path
) -> None:
    init, *fragments = [s.data for s in FragmentParser().feed(clip)]
    with connect(tmp_path), connect(tmp_path) as eager:
        wait_for(lambda: server.readers == 2)
        source, sink = os.pipe()
        server.attach(source)
        os.write(sink, init)
        receive(eager, len(init))
        sent = 0
        while server.readers == 2:
            os.write(sink, fragments[0])
            receive(eager, len(fragments[0]))
            sent += len(fragments[0])
            assert sent < 32 << 20
        assert server.readers == 1
        os.write(sink, fragments[1])
        assert receive(eager, len(fragments[1])) == fragments[1]
        os.close(sink)


def test_a_reader_that_takes_nothing_for_long_is_dropped_though_little_waits_for_it(
    clip: bytes, tmp_path: Path
) -> None:
    init, *fragments = [s.data for s in FragmentParser().feed(clip)]
    now = 0.0
    server = PreviewServer(tmp_path / "preview.sock", lambda: now)
    with contextlib.closing(server), connect(tmp_path):
        wait_for(lambda: server.readers == 1)
        source, sink = os.pipe()
        server.attach(source)
        os.write(sink, init)
        for _ in range(200):  # until the kernel takes no more for it: far from the limit in bytes
            os.write(sink, fragments[0])
        wait_for(lambda: server.fragments == 200)
        now = 9.0
        os.write(sink, fragments[0])
        wait_for(lambda: server.fragments == 201)
        assert server.readers == 1
        now = 11.0
        os.write(sink, fragments[0])
        wait_for(lambda: server.readers == 0)
        os.close(sink)
