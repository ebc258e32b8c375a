"""Pairs to packets: one H.264, one AAC and one Opus encoder, by PyAV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Any

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.codec.context import CodecContext, Flags
from av.filter import Graph
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType, VideoFrame

from streaming.config import FPS, FRAME_SAMPLES, SAMPLE_RATE_HZ
from streaming.encoder_settings import EncoderSettings
from streaming.packet import START_FRAMES, Description, Packet, Track, TrackDescription
from streaming.pair_stream import PairHeader

_AAC_BITS = 128_000
_OPUS_BITS = 48_000
_BT709, _LIMITED = 1, 1
_PICTURE_BASE = Fraction(1, FPS)
_SOUND_BASE = Fraction(1, SAMPLE_RATE_HZ)


class Encoding:
    """The encoders of one run. Their packets leave them at once, but for what a codec's own frame needs."""

    def __init__(self, settings: EncoderSettings) -> None:
        self.picture = VideoFrame(settings.width, settings.height, "rgb24")
        """What `encode` encodes; the caller writes each picture into it."""
        self._settings = settings
        self._graph = _scaler(settings)
        self._h264 = _h264(settings)
        self._sounds = {Track.AAC: _aac(), Track.OPUS: _opus()}
        self._due: dict[int, float] = {}
        self._lead_s = 0.0  # due time of a frame minus its time in the stream

    @property
    def threads(self) -> int:
        """Threads of the picture's encoder."""
        return self._h264.thread_count

    @property
    def description(self) -> Description:
        """What decoders of this run are set up with."""
        settings = self._settings
        video = TrackDescription(
            Track.H264, bytes(self._h264.extradata or b""), settings.out_width, settings.out_height,
            frames_per_second=FPS / settings.frame_step,
        )  # fmt: skip
        sounds = (
            TrackDescription(
                track, bytes(sound.extradata or b""), sample_rate_hz=SAMPLE_RATE_HZ, channels=sound.layout.nb_channels
            )
            for track, sound in self._sounds.items()
        )
        return Description(settings.run, (video, *sounds))

    def encode(self, header: PairHeader, sound: bytes) -> Iterator[Packet]:
        """The packets that a pair completes; the sound first, which is s16le [1920]."""
        frame = START_FRAMES + header.frame
        self._lead_s = header.due_s - frame / FPS
        yield from self._encode_sound(frame, sound)
        if header.picture:
            self._graph.vpush(self._stamped(frame))
            picture = self._graph.vpull()
            picture.pict_type = PictureType.I if header.keyframe else PictureType.NONE
            self._due[frame] = header.due_s
            yield from self._pictures(self._h264.encode(picture))

    def finish(self) -> Iterator[Packet]:
        """The packets that the encoders still hold."""
        for track, encoder in self._sounds.items():
            yield from self._heard(track, encoder.encode(None))
        yield from self._pictures(self._h264.encode(None))

    def _stamped(self, frame: int) -> VideoFrame:
        self.picture.pts, self.picture.time_base = frame, _PICTURE_BASE
        return self.picture

    def _encode_sound(self, frame: int, sound: bytes) -> Iterator[Packet]:
        for track, encoder in self._sounds.items():
            samples = AudioFrame(format="s16", layout="mono", samples=FRAME_SAMPLES)
            samples.planes[0].update(sound)
            samples.sample_rate = SAMPLE_RATE_HZ
            samples.pts, samples.time_base = frame * FRAME_SAMPLES, _SOUND_BASE
            yield from self._heard(track, encoder.encode(samples))

    def _pictures(self, encoded: Iterable[av.Packet[Any]]) -> Iterator[Packet]:
        for packet in encoded:
            assert packet.pts is not None
            due_s = self._due.pop(packet.pts)
            yield Packet(Track.H264, packet.pts, _PICTURE_BASE, packet.is_keyframe, bytes(packet), due_s)

    def _heard(self, track: Track, encoded: Iterable[av.Packet[Any]]) -> Iterator[Packet]:
        for packet in encoded:
            assert packet.pts is not None
            due_s = packet.pts / SAMPLE_RATE_HZ + self._lead_s
            yield Packet(track, packet.pts, _SOUND_BASE, True, bytes(packet), due_s)


def _scaler(settings: EncoderSettings) -> Graph:
    width, height = settings.out_width, settings.out_height
    colours = "out_color_matrix=bt709:out_range=tv"
    if settings.letterbox:
        fit = "force_original_aspect_ratio=decrease:force_divisible_by=2:flags=bicubic"
        chain = [("scale", f"{width}:{height}:{fit}:{colours}"), ("pad", f"{width}:{height}:(ow-iw)/2:(oh-ih)/2")]
    else:
        even = f"{settings.width // 2 * 2}:{settings.height // 2 * 2}:0:0"
        chain = [("crop", even), ("scale", f"{width}:{height}:flags=fast_bilinear:{colours}")]
    graph = Graph()
    # By default each filter has a thread per core, and all of them wake for a picture of a millisecond's work.
    graph.threads = settings.threads
    source = graph.add_buffer(
        width=settings.width, height=settings.height, format=av.VideoFormat("rgb24"), time_base=_PICTURE_BASE
    )
    filters = [graph.add(name, arguments) for name, arguments in (*chain, ("setsar", "1"), ("format", "yuv420p"))]
    graph.link_nodes(source, *filters, graph.add("buffersink")).configure()
    return graph


def _h264(settings: EncoderSettings) -> VideoCodecContext:
    encoder = CodecContext.create("libx264", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = settings.out_width, settings.out_height, "yuv420p"
    encoder.time_base = _PICTURE_BASE  # with fewer pictures too: a run may begin between two of theirs
    encoder.framerate = Fraction(FPS, settings.frame_step)
    encoder.thread_count = settings.threads
    encoder.colorspace = encoder.color_primaries = encoder.color_trc = _BT709
    encoder.color_range = _LIMITED
    encoder.flags |= Flags.global_header  # or there would be no parameter sets before the first packet
    rate, gop = f"{settings.video_bitrate_kbps}k", str(settings.gop_frames)
    encoder.options = {
        # Phones decode it in hardware, and browsers offer it for WebRTC.
        "profile": "baseline",
        "preset": settings.preset,
        "tune": "zerolatency",
        "bf": "0",
        "g": gop,
        "keyint_min": gop,
        "sc_threshold": "0",
        "forced-idr": "1",
        "b": rate,
        "minrate": rate,
        "maxrate": rate,
        "bufsize": rate,
        # Parameter sets in the stream too: a recording goes on where a run has other ones than its file's header.
        "x264-params": "nal-hrd=cbr:force-cfr=1:repeat-headers=1",
    }
    encoder.open()
    return encoder


def _aac() -> AudioCodecContext:
    # The channel's own rate, which every ingest takes: nothing is resampled. Ingests and players expect stereo, and
    # two equal channels cost AAC's joint stereo next to nothing.
    return _sound("aac", "fltp", "stereo", _AAC_BITS, {})


def _opus() -> AudioCodecContext:
    return _sound("libopus", "s16", "mono", _OPUS_BITS, {"frame_duration": "20", "application": "audio"})


def _sound(codec: str, sample_format: str, layout: str, bits: int, options: dict[str, str]) -> AudioCodecContext:
    encoder = CodecContext.create(codec, "w")
    assert isinstance(encoder, AudioCodecContext)
    encoder.sample_rate, encoder.format, encoder.layout = SAMPLE_RATE_HZ, sample_format, layout
    encoder.time_base, encoder.bit_rate, encoder.options = _SOUND_BASE, bits, options
    encoder.flags |= Flags.global_header
    encoder.open()
    return encoder
