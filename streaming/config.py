"""What one channel needs to know before it starts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ

FPS = CONTRACT.frames_per_second
SAMPLE_RATE_HZ = SOUND_RATE_HZ
FRAME_SAMPLES = SOUND_FRAME_SAMPLES
"""PCM samples that one video frame lasts."""


@dataclass(frozen=True)
class ChannelConfig:
    """One channel: its avatar, fades, encoder and targets; carries only values that JSON can hold.

    Raises ValueError when a number is outside its range.
    """

    id: str
    avatar_dir: str
    preview_socket: str
    targets: tuple[str, ...] = ()
    """Addresses that the stream goes to: rtmp, rtmps, srt or udp, or a file."""
    packet_socket: str | None = None
    """Unix socket at which other processes, as the one for WebRTC, read the encoded packets; None: nobody may."""
    picture_size: tuple[int, int] | None = None
    """Width and height of the stream, even; None: the avatar's own. Another shape gets black borders."""
    fade_frames: int = 5
    """Frames of the crossfade between a separate idle clip and the speaking body."""
    mouth_fade_frames: int = 2
    """Frames in which the mouth alone fades in and out, where idle and speech are frames of one clip."""
    prebuffer_frames: int = 16
    """Frames of a speech that must be there before it starts, unless its reservation says another number."""
    linger_frames: int = 4
    """Half the width, in positions, of the band in which idle waits for a speech."""
    ring_frames: int = 250
    """Frames of speech that may lie between orchestrator and channel (10 s)."""
    queue_frames: int = 75
    """Pairs of picture and sound that may wait for the encoder (3 s)."""
    timeline_frames: int = 24 * 24 * 3600 * FPS
    """Frames after which the stream's times begin anew (24 days): FLV and RTMP have 31 bits for milliseconds."""
    video_bitrate_kbps: int = 2500
    x264_preset: str = "veryfast"
    encoder_threads: int = 1
    gop_frames: int = 25
    fragment_ms: int = 200
    encoder: tuple[str, ...] = ()
    """Program in the place of `python -m streaming.encoder_process`, and its first arguments."""
    ffmpeg: str = "ffmpeg"
    tls_ca_file: str | None = None
    """PEM file of the CAs that rtmps servers are checked with; None: those that the machine trusts."""
    tls_unverified_hosts: tuple[str, ...] = ()
    """Hosts whose certificate isn't checked, with * in the names."""
    disk_reserve_bytes: int = 0
    """Free space that recordings leave on their disk."""
    recording_part_s: int = 0
    """Length after which a recording goes on in another file; 0: never."""
    log_dir: str | None = None
    """Folder for `<id>.log`; None writes the log to the standard error output of the parent."""
    test_pattern: bool = field(default=False)
    """Stamps the frame number, and a flash and a beep each second, so that a receiver can check the stream."""

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"channel {self.id!r}: {name} must lie in {low}..{high}, got {value}")
        if self.picture_size is not None and any(n % 2 or not 64 <= n <= 4096 for n in self.picture_size):
            width, height = self.picture_size
            raise ValueError(
                f"channel {self.id!r}: picture_size must be even numbers of 64..4096 pixels, got {width}×{height}"
            )
        if len(set(self.targets)) < len(self.targets):
            raise ValueError(f"channel {self.id!r}: a target is given twice")
        if not self.id or "/" in self.id:
            raise ValueError(f"channel id must be a plain name, got {self.id!r}")
        if self.prebuffer_frames > self.ring_frames:
            raise ValueError(
                f"channel {self.id!r}: prebuffer_frames {self.prebuffer_frames} exceeds ring_frames {self.ring_frames}"
            )

    def to_json(self) -> dict[str, Any]:
        """All values as JSON can hold them."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> ChannelConfig:
        """The inverse of `to_json`; raises ValueError for a name that does not exist."""
        unknown = values.keys() - {f.name for f in fields(cls)}
        if unknown:
            raise ValueError(f"unknown channel settings: {', '.join(sorted(unknown))}")
        size = values.get("picture_size")
        lists = {
            "targets": tuple(values.get("targets", ())),
            "encoder": tuple(values.get("encoder", ())),
            "tls_unverified_hosts": tuple(values.get("tls_unverified_hosts", ())),
            "picture_size": None if size is None else tuple(size),
        }
        return cls(**{**values, **lists})

    @classmethod
    def load(cls, path: Path) -> ChannelConfig:
        """Reads a JSON file written from `to_json`."""
        return cls.from_json(json.loads(path.read_text()))


_RANGES = (
    ("fade_frames", 0, 25),
    ("mouth_fade_frames", 0, 25),
    ("prebuffer_frames", 1, 15_000),
    ("linger_frames", 2, 25),
    ("ring_frames", 16, 15_000),
    ("queue_frames", 50, 1500),
    ("timeline_frames", 50, 24 * 24 * 3600 * FPS),
    ("video_bitrate_kbps", 100, 50_000),
    ("encoder_threads", 1, 64),
    ("gop_frames", 5, 250),
    ("fragment_ms", 40, 2000),
    ("disk_reserve_bytes", 0, 1 << 60),
    ("recording_part_s", 0, 7 * 24 * 3600),
)
