"""Live sound in a container, such as a browser records it, as a source of frames."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from functools import partial

from latentsync.contract import CONTRACT
from latentsync.sound import SOUND_FRAME_SAMPLES, SOUND_RATE_HZ
from processes.confinement import Confinement
from speech.audio.child import Child
from speech.audio.decoder import FORMATS, MEMORY_BYTES, ffmpeg_binary, outputs
from speech.audio.errors import EmptyAudio, NotAudio
from speech.audio.ffmpeg_log import failure
from speech.audio.sample_bytes import SampleBytes
from speech.log import SoundFrames

# Decoding takes about a hundredth of the time that the speech lasts.
_CORE_S_AT_LEAST = 30
_CORE_SHARE = 0.1
# What holds no sound for so long is none; pictures may lie between two packets of sound.
_MOST_BYTES_WITHOUT_SOUND = 8_000_000


class ContainerSource:
    """Decoded by a confined ffmpeg that reads a pipe; samples are counted at 48 kHz, which Opus decodes to."""

    rate_hz = SOUND_RATE_HZ
    silent_samples = 0

    def __init__(self, longest_s: float, demuxer: str | None = None) -> None:
        """`demuxer` is ffmpeg's name of the container's format; None lets ffmpeg find out, which delays the first
        sound. The child may take the time of a core that a speech of `longest_s` needs."""
        self._demuxer = demuxer
        self._core_s = _CORE_S_AT_LEAST + round(_CORE_SHARE * longest_s)
        self._sound = SampleBytes(SOUND_FRAME_SAMPLES)
        self._bytes_without_sound = 0

    @property
    def samples(self) -> int:
        """Samples that have been decoded, at 48 kHz."""
        return self._sound.count

    async def frames(self, blocks: AsyncIterator[bytes]) -> AsyncGenerator[SoundFrames, None]:
        """The frames as they are decoded; raises NotAudio, TruncatedAudio or EmptyAudio."""
        heard, sound = SampleBytes(CONTRACT.samples_per_frame), self._sound
        confinement = Confinement(MEMORY_BYTES, self._core_s)
        async with Child.started(partial(_command, self._demuxer), confinement, fed=True) as child:
            feeding = asyncio.create_task(self._feed(child, blocks))
            try:
                while await child.read_into(heard.add, sound.add):
                    if count := min(heard.whole_frames, sound.whole_frames):
                        self._bytes_without_sound = 0
                        yield SoundFrames(heard.take(count), sound.take(count))
                log = await child.log_of_the_whole()
                if feeding.done():
                    feeding.result()
            finally:
                feeding.cancel()
                await asyncio.gather(feeding, return_exceptions=True)
        if count := heard.fill_up():
            sound.fit(count)
            yield SoundFrames(heard.take(count), sound.take(count))
        if not heard.count and "Output #0" in log:
            raise EmptyAudio("The sound lasts zero seconds. Send some speech.")
        if self._bytes_without_sound > _MOST_BYTES_WITHOUT_SOUND:
            raise NotAudio(f"There is no sound in {self._bytes_without_sound / 1e6:.0f} MB of it. Send sound alone.")
        if not heard.count or child.exit_code:
            raise failure(log)

    async def _feed(self, child: Child, blocks: AsyncIterator[bytes]) -> None:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it has ended; its log says why
            async for block in blocks:
                await child.feed(block)
                self._bytes_without_sound += len(block)
                if self._bytes_without_sound > _MOST_BYTES_WITHOUT_SOUND:
                    break
        child.end_of_input()


def _command(demuxer: str | None, heard: int, sound: int) -> list[str]:
    """ffmpeg that reads its standard input, and writes each packet's sound at once."""
    options = ["-hide_banner", "-nostats", "-loglevel", "info", "-threads", "1"]
    allowed = ["-protocol_whitelist", "pipe", "-format_whitelist", FORMATS]
    known = [] if demuxer is None else ["-analyzeduration", "0", "-f", demuxer]
    return [ffmpeg_binary(), *options, *allowed, *known, "-i", "pipe:0", *outputs(heard, sound, "-flush_packets", "1")]
