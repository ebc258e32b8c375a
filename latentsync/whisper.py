"""Whisper's audio encoder as LatentSync uses it: five stacked hidden states of every 20 ms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from whisper.audio import log_mel_spectrogram
from whisper.model import AudioEncoder as WhisperEncoder

from latentsync.audio import (
    PADDING,
    frame_count,
    frame_windows,
    join_features,
    split_windows,
)
from latentsync.contract import CONTRACT

__all__ = [
    "PADDING",
    "AudioEncoder",
    "WhisperConfig",
    "frame_count",
    "frame_windows",
    "join_features",
    "split_windows",
]

MEL_FRAMES = 2 * CONTRACT.window_positions  # 30 s; the second convolution halves them


@dataclass(frozen=True)
class WhisperConfig:
    """Size of the encoder in OpenAI's terms; the defaults are those of the tiny models."""

    n_mels: int = 80
    n_audio_state: int = CONTRACT.hidden_size
    n_audio_head: int = 6
    n_audio_layer: int = CONTRACT.hidden_states - 1


class AudioEncoder(nn.Module):
    """Turns windows of speech into features: the hidden states after the convolutions and after each block."""

    def __init__(self, config: WhisperConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = WhisperEncoder(
            config.n_mels, CONTRACT.window_positions, config.n_audio_state, config.n_audio_head, config.n_audio_layer
        )

    @classmethod
    def from_state_dict(cls, state_dict: Mapping[str, Tensor], config: WhisperConfig) -> AudioEncoder:
        """Builds the encoder from OpenAI's tensors ("encoder.conv1.weight", …; the decoder's are left out).

        `encoder.positional_embedding` and `encoder.ln_post.*` may be missing: the first is a fixed sinusoid, the
        second is not used. Raises RuntimeError, naming the tensors, for any other misfit.
        """
        audio = cls(config)
        own = audio.encoder.state_dict()
        given = {key.removeprefix("encoder."): value for key, value in state_dict.items() if key.startswith("encoder.")}
        optional = {key: value for key, value in own.items() if key.startswith(("positional_embedding", "ln_post."))}
        # Copied into float32, whichever dtype they are stored in.
        audio.encoder.load_state_dict(optional | given, strict=True)
        audio.requires_grad_(False)
        return audio.eval()

    def forward(self, pcm: Tensor) -> Tensor:
        """Encodes windows of mono PCM [B, 480000] at 16 kHz in [-1, 1] to features [B, 1500, 5, 384] float32.

        A window's speech ends at its first PADDING (NaN); `join_features` cuts the features after that off.
        """
        if pcm.ndim != 2 or pcm.shape[1] != CONTRACT.window_samples:
            raise ValueError(f"PCM windows must have the shape [B, {CONTRACT.window_samples}]; got {list(pcm.shape)}")
        return self.encode_mel(torch.stack([self._window_mel(window) for window in pcm.float()]))

    def encode(self, pcm: Tensor) -> Tensor:
        """Encodes a whole recording [n] at once, as the original does, to features [n // 320, 5, 384] float32.

        Differs from `forward` on `split_windows` only beyond 30 s: here the loudness floor is the recording's, and the
        spectrogram continues across the windows' borders.
        """
        mel = self._mel(pcm.float())
        windows = torch.split(mel, MEL_FRAMES, dim=-1)
        features = [self.encode_mel(_padded(window)[None])[0, : window.shape[-1] // 2] for window in windows]
        return torch.cat(features)

    def encode_mel(self, mel: Tensor) -> Tensor:
        """Encodes log-mel spectrograms [B, 80, 3000] to features [B, 1500, 5, 384] float32."""
        encoder = self.encoder
        hidden = mel.to(encoder.conv1.weight.dtype)
        hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(hidden)))).transpose(1, 2)
        hidden = hidden + encoder.positional_embedding.to(hidden.dtype)
        states = [hidden]
        for block in encoder.blocks:
            hidden = block(hidden)
            states.append(hidden)
        return torch.stack(states, dim=2).float()

    def _window_mel(self, window: Tensor) -> Tensor:
        padding = window.isnan()
        length = int(padding.int().argmax()) if bool(padding.any()) else len(window)
        return _padded(self._mel(window[:length]))

    def _mel(self, pcm: Tensor) -> Tensor:
        # Reflection at the ends needs more samples than half an FFT (200).
        if len(pcm) < CONTRACT.samples_per_position:
            pcm = F.pad(pcm, (0, CONTRACT.samples_per_position - len(pcm)))
        mel: Tensor = log_mel_spectrogram(pcm, n_mels=self.config.n_mels)
        return mel


def _padded(mel: Tensor) -> Tensor:
    return F.pad(mel, (0, MEL_FRAMES - mel.shape[-1]))
