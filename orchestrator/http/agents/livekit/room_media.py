"""The channel's stream as tracks of a room: its own H.264 as it is, its sound decoded."""

from __future__ import annotations

import asyncio
import logging
import time
from pathlib import Path

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.resampler import AudioResampler
from livekit import rtc

from latentsync.sound import SOUND_RATE_HZ
from streaming.annex_b import nal_units
from streaming.packet import Packet, Track
from streaming.packet_stream import PacketReader

_RECONNECT_S = 0.2
_SOUND_QUEUE_MS = 200
_LATE_S = 0.3
"""Sound that is older is left out: packets begin at the latest keyframe, and what waits would stay behind for ever."""
_NAL_TYPE, _AUD, _FILLER = 0x1F, 9, 12

logger = logging.getLogger(__name__)


class RoomMedia:
    """Two tracks that follow the channel over its restarts. WebRTC encodes nothing but the sound."""

    def __init__(self, packet_socket: Path, picture_size: tuple[int, int]) -> None:
        """`picture_size` in pixels, width first, as the channel's encoder makes it."""
        self._packet_socket = packet_socket
        self._width, self._height = picture_size
        self._picture = rtc.EncodedVideoSource(self._width, self._height)
        self._sound = rtc.AudioSource(SOUND_RATE_HZ, 1, queue_size_ms=_SOUND_QUEUE_MS)
        self._waits_for_keyframe = True

    async def publish(self, room: rtc.Room) -> None:
        """Publish both at once, whether somebody speaks or not: agents hold their speech back until there is a video.

        Raises PublishTrackError.
        """
        sound = rtc.LocalAudioTrack.create_audio_track("avatar_audio", self._sound)
        picture = rtc.LocalVideoTrack.create_video_track("avatar_video", self._picture)
        options = rtc.TrackPublishOptions(
            source=rtc.TrackSource.SOURCE_CAMERA,
            video_codec=rtc.VideoCodec.H264,
            video_encoder=rtc.VideoEncoderBackend.ENCODER_BACKEND_PRE_ENCODED,
            simulcast=False,
        )
        await room.local_participant.publish_track(
            sound, rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        )
        await room.local_participant.publish_track(picture, options)

    async def run(self) -> None:
        """Feed the tracks until it is cancelled."""
        while True:
            try:
                reader = await PacketReader.connect(self._packet_socket)
            except OSError:  # the channel starts, or starts again
                await asyncio.sleep(_RECONNECT_S)
                continue
            try:
                await self._feed(reader)
            except ValueError as error:
                logger.error("%s: connecting again", error)
            finally:
                reader.close()

    async def aclose(self) -> None:
        """Give the tracks' sources back."""
        await self._picture.aclose()
        await self._sound.aclose()

    async def _feed(self, reader: PacketReader) -> None:
        decoder = _decoder()
        resampler = AudioResampler("s16", "mono", SOUND_RATE_HZ)
        self._waits_for_keyframe = True
        async for message in reader:
            if not isinstance(message, Packet):
                continue
            if message.track is Track.H264:
                self._show(message, reader)
            elif message.track is Track.OPUS:
                for decoded in decoder.decode(av.Packet(message.data)):
                    for frame in resampler.resample(decoded):
                        await self._sound_out(frame.to_ndarray()[0].tobytes(), message.captured_s)

    async def _sound_out(self, samples: bytes, captured_s: float) -> None:
        queued_s = self._sound.queued_duration
        if time.monotonic() - captured_s <= _LATE_S and queued_s <= _SOUND_QUEUE_MS / 2000:
            await self._sound.capture_frame(rtc.AudioFrame(samples, SOUND_RATE_HZ, 1, len(samples) // 2))

    def _show(self, packet: Packet, reader: PacketReader) -> None:
        if self._picture.take_feedback().keyframe_requested:
            reader.request_keyframe()
        if self._waits_for_keyframe and not packet.keyframe:
            return
        self._waits_for_keyframe = False
        kind = rtc.EncodedFrameType.ENCODED_FRAME_KEY if packet.keyframe else rtc.EncodedFrameType.ENCODED_FRAME_DELTA
        frame = rtc.EncodedVideoFrame(
            data=_without_padding(packet.data),
            width=self._width,
            height=self._height,
            codec=rtc.VideoCodec.H264,
            frame_type=kind,
            timestamp_us=round(packet.captured_s * 1_000_000),
        )
        if not self._picture.capture_frame(frame):
            self._waits_for_keyframe = True


def _decoder() -> AudioCodecContext:
    decoder = av.CodecContext.create("opus", "r")
    assert isinstance(decoder, AudioCodecContext)
    decoder.sample_rate, decoder.layout = SOUND_RATE_HZ, "mono"
    return decoder


def _without_padding(annex_b: bytes) -> bytes:
    """The picture without delimiters and filler: a constant bitrate pads an idle picture, which nothing here needs."""
    kept = (nal for nal in nal_units(annex_b) if nal and nal[0] & _NAL_TYPE not in (_AUD, _FILLER))
    return b"".join(b"\0\0\0\1" + nal for nal in kept)
