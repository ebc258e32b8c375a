"""Muxes packets into a live fragmented MP4 (ISO/IEC 14496-12 and -15) for MediaSource."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from streaming.annex_b import avc_configuration, length_prefixed
from streaming.config import FPS
from streaming.mp4_boxes import AAC_FRAME, Sample, fragment, init_segment
from streaming.packet import Description, Packet, Track

_VIDEO_SCALE = 600 * FPS  # ticks a second


@dataclass(frozen=True)
class InitSegment:
    """ftyp and moov: what a player needs before any fragment; `codecs` as MediaSource wants them."""

    data: bytes
    codecs: str


@dataclass(frozen=True)
class Fragment:
    """moof and mdat; `keyframe` says that its first picture needs no other."""

    data: bytes
    keyframe: bool


class FragmentWriter:
    """Takes messages as they come and yields the segments that they complete.

    A fragment ends when its pictures last `fragment_ms`, before a keyframe, and where a run of the encoder ends. Times
    never go back, also where those of the packets begin anew.
    """

    def __init__(self, fragment_ms: int) -> None:
        self._fragment_ticks = fragment_ms * _VIDEO_SCALE // 1000
        self._sequence = 0
        self._picture_ticks = 0
        self._pictures: list[Sample] = []
        self._sounds: list[Sample] = []
        self._sound_scale = 1
        self._sound_end = 0
        self._shift_frames = 0
        self._last_frame = -1

    def feed(self, message: Description | Packet) -> Iterator[InitSegment | Fragment]:
        """Segments completed by a message."""
        if isinstance(message, Description):
            yield from self._flush()
            yield self._begin(message)
        elif message.track is Track.H264:
            frame = message.pts * message.time_base * FPS
            self._place(round(frame))
            if message.keyframe:
                yield from self._flush(pictures_only=True)
            time = round((frame + self._shift_frames) * _VIDEO_SCALE / FPS)
            self._pictures.append(Sample(time, length_prefixed(message.data), message.keyframe))
            if time + self._picture_ticks - self._pictures[0].time >= self._fragment_ticks:
                yield from self._flush()
        elif message.track is Track.AAC:
            time = message.pts + self._shift_frames * self._sound_scale // FPS
            self._sounds.append(Sample(time, message.data, True))

    def _begin(self, description: Description) -> InitSegment:
        video, audio = description.track(Track.H264), description.track(Track.AAC)
        self._picture_ticks = round(_VIDEO_SCALE / video.frames_per_second)
        self._sound_scale = audio.sample_rate_hz
        configuration = avc_configuration(video.extradata)
        data = init_segment(video, _VIDEO_SCALE, configuration, audio)
        return InitSegment(data, f"avc1.{configuration[1:4].hex()},mp4a.40.2")

    def _place(self, frame: int) -> None:
        """Moves all times on where the packets' begin anew."""
        if frame + self._shift_frames <= self._last_frame:
            shift = self._last_frame + 1 - frame
            moved = (shift - self._shift_frames) * self._sound_scale // FPS
            self._sounds = [Sample(each.time + moved, each.data, True) for each in self._sounds]
            self._shift_frames = shift
        self._last_frame = frame + self._shift_frames

    def _flush(self, pictures_only: bool = False) -> Iterator[Fragment]:
        if not self._pictures and (pictures_only or not self._sounds):
            return
        sounds, self._sounds = self._sounds, []
        if pictures_only:  # sound that came since the last picture belongs to the one that comes
            end = self._pictures[-1].time + self._picture_ticks
            later = [each for each in sounds if each.time * _VIDEO_SCALE >= end * self._sound_scale]
            sounds, self._sounds = sounds[: len(sounds) - len(later)], later
        # The priming of a new run's sound overlaps the end of the run before.
        sounds = [each for each in sounds if each.time >= self._sound_end]
        self._sound_end = sounds[-1].time + AAC_FRAME if sounds else self._sound_end
        pictures, self._pictures = self._pictures, []
        if pictures or sounds:
            self._sequence += 1
            keyframe = bool(pictures) and pictures[0].keyframe
            yield Fragment(fragment(self._sequence, pictures, self._picture_ticks, sounds), keyframe)
