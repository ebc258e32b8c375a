"""What a channel's picture costs on this machine, for who adds an avatar or creates a channel."""

from __future__ import annotations

import logging
import subprocess
import threading

from typing_extensions import TypedDict

from orchestrator.channels.definition import ChannelDefinition
from orchestrator.settings import Settings
from speech.audio.decoder import ffmpeg_binary
from streaming.encoder_cost import EncoderCost, EncoderCostError, known_cost, measured_cost

logger = logging.getLogger(__name__)


class EncoderCostJson(TypedDict):
    """What encoding a channel takes, in cores; the suggested size is the largest that fits, None where none does."""

    cores: float
    fits: bool
    suggested_picture_size: list[int] | None


class EncoderCosts:
    """The figures of one data folder: measured once, in seconds, and again for another ffmpeg or processor."""

    def __init__(self, settings: Settings) -> None:
        self._file = settings.data_dir / "encoder-cost.json"
        self._ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
        self._thread: threading.Thread | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Event()

    def measure(self) -> EncoderCost | None:
        """What is known, or else is measured now; None, with a line in the log, where that fails."""
        try:
            return measured_cost(self._file, self._ffmpeg, self._started)
        except (EncoderCostError, OSError) as error:
            if self._closing.is_set():
                return None
            logger.warning("what encoding costs on this machine is not known: %s", error)
            return None

    def measure_in_background(self) -> None:
        """Measure in a thread of its own, for which the server's start doesn't wait; `close` ends it."""
        self._thread = threading.Thread(target=self.measure, name="encoder-cost")
        self._thread.start()

    def close(self) -> None:
        """End a measurement that goes on; no process of it stays. The next start measures again."""
        self._closing.set()
        if self._thread is not None:
            while self._thread.is_alive():
                if (process := self._process) is not None:
                    process.kill()
                self._thread.join(0.05)

    def _started(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        if self._closing.is_set():
            process.kill()

    def of_channel(self, definition: ChannelDefinition, avatar_size: tuple[int, int]) -> EncoderCostJson | None:
        """What a channel costs, as the API shows it; None while it isn't known."""
        cost = known_cost(self._file, self._ffmpeg)
        size, preset = definition.picture_size or avatar_size, definition.x264_preset
        cores = cost.cores(preset, size) if cost else None
        if cost is None or cores is None:
            return None
        suggested = cost.suggestion(preset, size)
        if suggested != size:
            logger.warning("channel %s: %s", definition.channel, cost.sentence(preset, size))
        return {
            "cores": round(cores, 2),
            "fits": suggested == size,
            "suggested_picture_size": None if suggested is None else list(suggested),
        }
