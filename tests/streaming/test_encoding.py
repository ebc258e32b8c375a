"""Pairs to packets: what every output may rely on, in the encoder's own process too."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from fractions import Fraction
from itertools import pairwise

import av
import numpy as np
import pytest
from av.audio.codeccontext import AudioCodecContext
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from numpy.typing import NDArray

from streaming.annex_b import avc_configuration, length_prefixed, nal_units
from streaming.encoder_settings import EncoderSettings
from streaming.encoding import Encoding
from streaming.packet import Description, Packet, Track
from streaming.packet_stream import PacketParser
from streaming.pair_stream import SOUND_BYTES, PairHeader
from tests.support.encoded import encoded, settings

_IDR, _SPS, _PPS = 5, 7, 8


def of_track(messages: Iterable[Description | Packet], track: Track) -> list[Packet]:
    return [m for m in messages if isinstance(m, Packet) and m.track is track]


def unit_types(packet: Packet) -> set[int]:
    return {unit[0] & 0x1F for unit in nal_units(packet.data)}


def pictures(packets: list[Packet]) -> list[NDArray[np.uint8]]:
    decoder = CodecContext.create("h264", "r")
    assert isinstance(decoder, VideoCodecContext)
    frames = [frame for p in packets for frame in decoder.decode(av.Packet(p.data))]
    return [np.asarray(f.to_ndarray(format="rgb24"), np.uint8) for f in [*frames, *decoder.decode(None)]]


def test_pictures_are_constrained_baseline_with_parameters_before_each_keyframe() -> None:
    description, *messages = encoded(60)
    assert isinstance(description, Description)
    assert avc_configuration(description.track(Track.H264).extradata)[1:3] == b"\x42\xc0"
    packets = of_track(messages, Track.H264)
    assert [p.pts for p in packets if p.keyframe] == [25, 50, 75]
    assert all({_IDR, _SPS, _PPS} <= unit_types(p) for p in packets if p.keyframe)
    assert not any({_IDR, _SPS} & unit_types(p) for p in packets if not p.keyframe)


def test_every_picture_and_every_sample_has_the_time_of_its_frame_and_when_that_was_due() -> None:
    messages = encoded(50, first=100)
    video = of_track(messages, Track.H264)
    assert [p.pts for p in video] == list(range(125, 175)), "no B-frames: in order"
    assert all(p.time_base == Fraction(1, 25) for p in video)
    for track, samples in ((Track.AAC, 1024), (Track.OPUS, 960)):
        sound = of_track(messages, track)
        assert {b.pts - a.pts for a, b in pairwise(sound)} == {samples}
        assert all(p.time_base == Fraction(1, 48_000) for p in sound)
        assert 0 < 5 * 48_000 - sound[0].pts <= 1024, "the priming lies before the first frame"
        assert sound[-1].pts + samples >= 7 * 48_000
    for packet in (m for m in messages if isinstance(m, Packet)):
        assert packet.captured_s == pytest.approx(1000 + packet.time_s - 1), "frame 0 was due at 1000 s"


def test_a_picture_leaves_the_encoder_with_its_pair() -> None:
    encoding = Encoding(settings())
    for frame in range(5):
        packets = list(encoding.encode(PairHeader(frame, 0.0, True, False), bytes(SOUND_BYTES)))
        assert [p.pts for p in packets if p.track is Track.H264] == [25 + frame]
    assert of_track(encoding.finish(), Track.H264) == []


def test_a_keyframe_comes_where_one_is_asked_for_and_a_second_later_again() -> None:
    encoding = Encoding(settings())
    keyframes = []
    for frame in range(50):
        header = PairHeader(frame, 0.0, True, keyframe=frame == 10)
        video = of_track(encoding.encode(header, bytes(SOUND_BYTES)), Track.H264)
        keyframes += [frame for p in video if p.keyframe and _IDR in unit_types(p)]
    assert keyframes == [0, 10, 35]


def test_with_fewer_pictures_the_sound_goes_on() -> None:
    encoding = Encoding(settings(frame_step=5))
    messages: list[Packet] = []
    for frame in range(50):
        messages += encoding.encode(PairHeader(frame, 0.0, frame % 5 == 0, False), bytes(SOUND_BYTES))
    assert [p.pts for p in of_track(messages, Track.H264)] == list(range(25, 75, 5))
    assert len(of_track(messages, Track.OPUS)) >= 98
    assert encoding.description.track(Track.H264).frames_per_second == 5


@pytest.mark.parametrize(("track", "codec"), [(Track.AAC, "aac"), (Track.OPUS, "libopus")])
def test_both_sounds_hold_the_tone_that_was_put_in(track: Track, codec: str) -> None:
    description, *messages = encoded(50)
    assert isinstance(description, Description)
    decoder = CodecContext.create(codec, "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.extradata = description.track(track).extradata
    frames = [frame for p in of_track(messages, track) for frame in decoder.decode(av.Packet(p.data))]
    sound = np.concatenate([frame.to_ndarray()[:1].ravel()[:: _interleaved(frame)] for frame in frames]).astype(float)
    spectrum = np.abs(np.fft.rfft(sound[12_000:60_000]))
    assert np.argmax(spectrum) == pytest.approx(48_000 / (2 * np.pi * 17), abs=3)


def _interleaved(frame: av.AudioFrame) -> int:
    return 1 if frame.format.is_planar else frame.layout.nb_channels


@pytest.mark.parametrize(("width", "height"), [(480, 128), (322, 130), (161, 129)], ids=["even", "padded", "odd"])
def test_the_process_gives_the_pictures_that_it_got(width: int, height: int) -> None:
    rows, columns = np.mgrid[0:height, 0:width]
    picture = np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 90)], axis=-1).astype(np.uint8)
    sides = {"width": width, "height": height, "out_width": width // 2 * 2, "out_height": height // 2 * 2}
    packets = of_track(run_process(settings(**sides), picture, 10), Track.H264)
    shown = pictures(packets)
    assert len(shown) == 10
    expected = picture[: height // 2 * 2, : width // 2 * 2].astype(int)
    assert shown[-1].shape == expected.shape
    assert np.abs(shown[-1] - expected).mean() < 6


def test_a_picture_of_another_shape_gets_black_borders() -> None:
    wide = EncoderSettings(1, 64, 128, 256, 128, True, "veryfast", 1, 25, 800, 1)
    shown = pictures(of_track(run_process(wide, np.full((128, 64, 3), 200, np.uint8), 3), Track.H264))[-1]
    assert shown.shape == (128, 256, 3)
    assert shown[:, :90].max() < 20 and shown[:, 170:].max() < 20
    assert abs(int(shown[:, 100:156].mean()) - 200) < 6


def run_process(asked: EncoderSettings, picture: NDArray[np.uint8], frames: int) -> list[Description | Packet]:
    command = [sys.executable, "-m", "streaming.encoder_process", asked.to_json()]
    pair = picture.tobytes() + bytes(SOUND_BYTES)
    given = b"".join(PairHeader(n, n / 25, True, False).to_bytes() + pair for n in range(frames))
    done = subprocess.run(command, input=given, capture_output=True, check=True, timeout=60)
    assert done.stderr == b""
    return list(PacketParser().feed(done.stdout))


def test_start_codes_become_lengths_and_zeros_between_units_are_left_out() -> None:
    stream = b"\0\0\0\1\x67abc\0\0\1\x68de\0\0\0\1\x65f\0\0"
    assert list(nal_units(stream)) == [b"\x67abc", b"\x68de", b"\x65f"]
    assert length_prefixed(stream) == b"\0\0\0\4\x67abc\0\0\0\3\x68de\0\0\0\2\x65f"
    assert list(nal_units(b"")) == []
