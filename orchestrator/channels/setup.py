"""What a channel's process and its speeches need, derived from its definition."""

from __future__ import annotations

import hashlib
import logging
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from latentsync.avatar import PreparedAvatar
from latentsync.motions import motion_names
from orchestrator.access.allowed_targets import AllowedTargets
from orchestrator.avatars.store import known_avatars
from orchestrator.channels.definition import ChannelDefinition, target_problem
from orchestrator.channels.shared_path import RING_WITH_MOTIONS
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.observability.traces import Traces
from orchestrator.settings import Settings, SettingsError
from speech.audio.decoder import ffmpeg_binary
from speech.audio.frames import SilentFrames
from speech.pacing import Pace
from speech.request import SpokenPath
from speech.speaking import SpeechMaker
from streaming.config import ChannelConfig
from streaming.events import Status
from streaming.push_command import shows_secret
from streaming.targets import check_target, mask

# sockaddr_un holds 107 bytes and an end mark.
_SOCKET_PATH_BYTES = 107

logger = logging.getLogger(__name__)

MakeSpeech = Callable[[PreparedAvatar, SilentFrames, Pace, SpokenPath | None], SpeechMaker]
"""Creates a speech maker from avatar, silence around each speech, the pace that earlier speeches have measured, and the
path of the channel's frames where that shows motions."""


@dataclass(frozen=True)
class ChannelSetup:
    """Opens the parts of a channel, each time that its process starts."""

    settings: Settings
    make_speech: MakeSpeech
    test_pattern: bool = False
    traces: Traces = field(default_factory=Traces)
    pace: Pace = field(default_factory=Pace)
    """Of all channels: they share the models, so that a channel's first speech takes what those of others took."""
    warned_of: set[str] = field(default_factory=set)
    """Targets whose visible key was logged already."""
    said: dict[str, dict[str, str]] = field(default_factory=dict)
    """For each channel the refused targets that were logged last, each with the reason."""

    def avatar(self, definition: ChannelDefinition) -> PreparedAvatar:
        """The channel's avatar, its condition in memory; raises SettingsError when there is none, and AvatarError."""
        return open_avatar(self.settings, definition.avatar).with_own_condition()

    def addresses(self, definition: ChannelDefinition) -> tuple[str, ...]:
        """The addresses that the channel publishes to; impossible targets are left out, and logged once."""
        refused = self.refused_targets(definition)
        for target, reason in refused.items() - self.said.get(definition.channel, {}).items():
            logger.error("channel %s does not publish to %s: %s", definition.channel, mask(target), reason)
        self.said[definition.channel] = refused
        kept = tuple(target for target in definition.targets if target not in refused)
        self._warn_of_visible_keys(definition.channel, kept)
        return definition.model_copy(update={"targets": kept}).addresses(self.settings.recordings_dir)

    def refused_targets(self, definition: ChannelDefinition) -> dict[str, str]:
        """The targets that the channel can't publish to now, each with the reason; makes the folders of recordings.

        A target that was possible when it was saved may not be later: `allowed_targets` change, and so do disks, and
        the rules of addresses with the server's version.
        """
        allowed = AllowedTargets(self.settings.allowed_targets)
        refused = {}
        for target in definition.targets:
            try:
                if reason := target_problem(target) or allowed.refusal(target):
                    refused[target] = reason
                    continue
                (address,) = definition.model_copy(update={"targets": (target,)}).addresses(
                    self.settings.recordings_dir
                )
                check_target(address)
            except OSError as error:
                refused[target] = f"the recording's folder can't be made ({error.strerror})"
            except ValueError as error:
                refused[target] = str(error)
        return refused

    def as_defined(self, status: Status) -> Status:
        """The status with recordings called as in the definition, instead of by their path on this machine."""
        folder = f"{self.settings.recordings_dir}/"
        targets = (
            replace(each, target=each.target.removeprefix(folder), problem=each.problem.replace(folder, ""))
            for each in status.targets
        )
        return replace(status, targets=tuple(targets))

    def config(self, definition: ChannelDefinition) -> ChannelConfig:
        """The configuration of the channel's process; creates the folders of its recordings. Raises OSError."""
        settings = self.settings
        avatar_dir = settings.avatars_dir / definition.avatar
        return ChannelConfig(
            id=definition.channel,
            avatar_dir=str(avatar_dir),
            preview_socket=str(socket_path(settings, definition.channel, "preview")),
            packet_socket=str(socket_path(settings, definition.channel, "packets")),
            targets=self.addresses(definition),
            picture_size=definition.picture_size,
            fade_frames=definition.fade_frames,
            mouth_fade_frames=definition.mouth_fade_frames,
            video_bitrate_kbps=definition.video_bitrate_kbps,
            x264_preset=definition.x264_preset,
            ffmpeg=self._ffmpeg,
            tls_ca_file=None if settings.tls_ca_file is None else str(settings.tls_ca_file),
            tls_unverified_hosts=settings.tls_unverified_hosts,
            disk_reserve_bytes=settings.recordings_reserve_bytes,
            recording_part_s=settings.recording_length_s,
            log_dir=str(settings.log_dir),
            test_pattern=self.test_pattern,
            ring_frames=RING_WITH_MOTIONS if motion_names(avatar_dir) else ChannelConfig.ring_frames,
        )

    @property
    def _ffmpeg(self) -> str:
        return str(self.settings.ffmpeg or ffmpeg_binary())

    def _warn_of_visible_keys(self, channel: str, targets: tuple[str, ...]) -> None:
        for target in targets:
            if target not in self.warned_of and shows_secret(target, self._ffmpeg):
                self.warned_of.add(target)
                logger.warning(
                    "channel %s: every user of this machine can read the key of %s in the process list, because "
                    "ffmpeg %s accepts it on its command line only; docs/security.md says how to hide it",
                    channel, mask(target), self._ffmpeg,
                )  # fmt: skip

    def maker(
        self, definition: ChannelDefinition, avatar: PreparedAvatar, path: SpokenPath | None = None
    ) -> SpeechMaker:
        """The speech maker of the channel; `path` where it shows motions."""
        return self.make_speech(avatar, definition.silence(avatar), self.pace, path)


def open_avatar(settings: Settings, name: str) -> PreparedAvatar:
    """The prepared avatar `name`; raises SettingsError when there is none.

    Raises AvatarError for one that is damaged, or was prepared for another checkpoint than those of the settings.
    """
    folder = settings.avatars_dir / name
    if not folder.is_dir():
        raise SettingsError(
            f"avatar: {name!r} is not in {settings.avatars_dir}; {known_avatars(settings.avatars_dir)}. "
            f"`latentsync-realtime avatar add VIDEO --name {name}` prepares one"
        )
    avatar = PreparedAvatar.open(folder)
    ServedCheckpoints.open(settings).of(avatar)
    return avatar


def socket_path(settings: Settings, channel_id: str, what: Literal["preview", "packets"]) -> Path:
    """Where a channel serves its preview, or its packets."""
    path = settings.run_dir / f"{channel_id}.{what}.sock"
    if len(bytes(path)) <= _SOCKET_PATH_BYTES:
        return path
    # The data folder's path is too long: the socket lies in the temporary folder, its name derived from that path.
    digest = hashlib.sha256(bytes(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"latentsync-{digest}.sock"
