"""The numbers that the model, its export and its clients must agree on, and the file that tells them to clients."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

CONTRACT_FILE = "contract.json"
CHECKPOINT_PARAMETER = "checkpoint"
"""The request parameter that names a checkpoint; a request without it is for the main one."""
POSITIONS_PARAMETER = "positions"
"""The request parameter that says how many of a window's features are wanted, from its first on; without it all are.

Most windows are 30 s of padding behind a few seconds of speech, and their features are 6 MB, copied four times.
"""


@dataclass(frozen=True)
class Contract:
    """Rates, chunk and tensor sizes; the defaults are LatentSync 1.0's. Raises ValueError for numbers that don't fit.

    A *position* is one output of Whisper's encoder in time; a *frame window* is the positions that a video frame
    hears: `frame_window_positions`, the first of them `positions_before_frame` before the frame's own.
    """

    sample_rate_hz: int = 16_000
    frames_per_second: int = 25
    chunk_frames: int = 16  # of the longest chunk, which LatentSync was trained on
    shortest_chunk_frames: int = 4
    window_s: int = 30  # of the longest window
    samples_per_position: int = 320
    hidden_states: int = 5
    hidden_size: int = 384
    frame_window_positions: int = 10
    positions_before_frame: int = 4
    latent_channels: int = 4
    condition_channels: int = 9  # mask 1, masked-image latents 4, reference latents 4
    pixels_per_latent: int = 8

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if type(value) is not int or value <= 0:
                raise ValueError(f"{field.name} must be a positive whole number, not {value!r}")
        if self.sample_rate_hz % self.frames_per_second:
            raise ValueError(
                f"a frame at {self.frames_per_second} frames/s is no whole number of samples at "
                f"{self.sample_rate_hz} Hz"
            )
        if self.chunk_frames not in self.chunk_lengths:
            raise ValueError(
                f"chunk_frames is {self.chunk_frames}, expected the {self.shortest_chunk_frames} of "
                "shortest_chunk_frames, doubled any number of times"
            )
        if self.samples_per_frame % self.samples_per_position:
            raise ValueError(
                f"a frame of {self.samples_per_frame} samples is no whole number of positions of "
                f"{self.samples_per_position} samples"
            )
        if self.positions_before_frame >= self.frame_window_positions:
            raise ValueError(
                f"positions_before_frame is {self.positions_before_frame}, expected less than the frame window's "
                f"{self.frame_window_positions}"
            )

    @property
    def chunk_lengths(self) -> tuple[int, ...]:
        """Frames that a chunk may have: 4, 8, 16. They are few, since only chunks of one length share a batch."""
        lengths = [self.shortest_chunk_frames]
        while 2 * lengths[-1] <= self.chunk_frames:
            lengths.append(2 * lengths[-1])
        return tuple(lengths)

    def require_chunk_length(self, frames: int) -> int:
        """Returns a chunk's number of frames as it is; raises ValueError for one that is none of `chunk_lengths`."""
        if frames not in self.chunk_lengths:
            raise ValueError(f"a chunk of {frames} frames, expected one of {', '.join(map(str, self.chunk_lengths))}")
        return frames

    @property
    def samples_per_frame(self) -> int:
        """PCM samples that a video frame lasts."""
        return self.sample_rate_hz // self.frames_per_second

    @property
    def positions_per_frame(self) -> int:
        """Positions by which the frame window moves from one frame to the next."""
        return self.samples_per_frame // self.samples_per_position

    @property
    def window_samples(self) -> int:
        """PCM samples of the longest window that Whisper encodes at once."""
        return self.window_s * self.sample_rate_hz

    @property
    def window_positions(self) -> int:
        """Positions of the longest window."""
        return self.window_samples // self.samples_per_position

    def features_shape(self, samples: int) -> tuple[int, int, int]:
        """Whisper's features of a window of so many samples: positions, hidden states, hidden size.

        Raises ValueError for a window that lasts no whole number of seconds from 1 to `window_s`: so lengths are few,
        and windows of several speeches share a batch.
        """
        seconds, rest = divmod(samples, self.sample_rate_hz)
        if rest or not 1 <= seconds <= self.window_s:
            raise ValueError(
                f"a window of {samples} samples, expected a whole number of seconds from 1 to {self.window_s}, of "
                f"{self.sample_rate_hz} samples each"
            )
        return samples // self.samples_per_position, self.hidden_states, self.hidden_size

    @property
    def audio_tokens(self) -> int:
        """Vectors that the UNet attends to for a frame."""
        return self.frame_window_positions * self.hidden_states

    @property
    def audio_shape(self) -> tuple[int, int]:
        """What a frame hears: tokens, hidden size."""
        return self.audio_tokens, self.hidden_size

    @property
    def sample_channels(self) -> int:
        """Channels of the UNet's input: noisy latents, then the condition."""
        return self.latent_channels + self.condition_channels


CONTRACT = Contract()


@dataclass(frozen=True)
class ServedContract:
    """What a client of a model repository must know: the contract, and the side of its faces in pixels.

    Raises ValueError for a resolution that is not a positive multiple of a latent's pixels.
    """

    contract: Contract
    resolution: int

    def __post_init__(self) -> None:
        scale = self.contract.pixels_per_latent
        if type(self.resolution) is not int or self.resolution <= 0 or self.resolution % scale:
            raise ValueError(f"resolution must be a positive multiple of {scale}, not {self.resolution!r}")

    @property
    def latent_size(self) -> int:
        """Width and height of the latents."""
        return self.resolution // self.contract.pixels_per_latent

    def to_json(self) -> str:
        """The content of `contract.json`."""
        return json.dumps(asdict(self.contract) | {"resolution": self.resolution}, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ServedContract:
        """The inverse of `to_json`; raises ValueError that names what is missing, unknown or out of range."""
        values: Any = json.loads(text)
        if not isinstance(values, dict):
            raise ValueError(f"expected an object, got {type(values).__name__}")
        expected = {*(field.name for field in fields(Contract)), "resolution"}
        if missing := expected - values.keys():
            raise ValueError(f"it lacks {', '.join(sorted(missing))}")
        if unknown := values.keys() - expected:
            raise ValueError(f"it has unknown entries: {', '.join(sorted(unknown))}")
        resolution = values.pop("resolution")
        return cls(Contract(**values), resolution)


def read_contract(model_repository: Path) -> ServedContract:
    """Reads `contract.json` of a model repository.

    Raises FileNotFoundError where there is none, and ValueError, naming the file, for one of another version.
    """
    path = model_repository / CONTRACT_FILE
    try:
        return ServedContract.from_json(path.read_text(encoding="utf-8"))
    except ValueError as error:  # JSON's and Unicode's errors are ValueErrors too
        raise ValueError(
            f"{path} is not the contract that this version reads: {error}. Run `latentsync-realtime export` again"
        ) from error
