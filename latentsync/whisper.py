"""Whisper's audio encoder as LatentSync uses it: five stacked hidden states of every 20 ms."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from whisper.audio import log_mel_spectrogram
from whisper.model import AudioEncoder as WhisperEncoder
from whisper.model import ResidualAttentionBlock

from latentsync.audio import (
    PADDING,
    frame_count,
    frame_windows,
    join_features,
    speech_samples,
    split_windows,
)
from latentsync.captured import Captured
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

MEL_FRAMES_PER_POSITION = 2  # the second convolution halves them
MEL_FRAMES = MEL_FRAMES_PER_POSITION * CONTRACT.window_positions  # of the longest window, 30 s


@dataclass(frozen=True)
class WhisperConfig:
    """Size of the encoder in OpenAI's terms; the defaults are those of the tiny models."""

    n_mels: int = 80
    n_audio_state: int = CONTRACT.hidden_size
    n_audio_head: int = 6
    n_audio_layer: int = CONTRACT.hidden_states - 1


class AudioEncoder(nn.Module):
    """Turns windows of speech into features: the hidden states after the convolutions and after each block."""

    def __init__(self, config: WhisperConfig, products: torch.dtype = torch.float32) -> None:
        """`products` is the type in which matrices are multiplied; weights and hidden states are float32."""
        super().__init__()
        self.config = config
        self.products = products
        self.encoder = WhisperEncoder(
            config.n_mels, CONTRACT.window_positions, config.n_audio_state, config.n_audio_head, config.n_audio_layer
        )
        self._longest: Captured | None = None

    @classmethod
    def from_state_dict(
        cls, state_dict: Mapping[str, Tensor], config: WhisperConfig, products: torch.dtype = torch.float32
    ) -> AudioEncoder:
        """Builds the encoder from OpenAI's tensors ("encoder.conv1.weight", …; the decoder's are left out).

        `encoder.positional_embedding` and `encoder.ln_post.*` may be missing: the first is a fixed sinusoid, the
        second is not used. Raises RuntimeError, naming the tensors, for any other misfit.
        """
        audio = cls(config, products)
        own = audio.encoder.state_dict()
        given = {key.removeprefix("encoder."): value for key, value in state_dict.items() if key.startswith("encoder.")}
        optional = {key: value for key, value in own.items() if key.startswith(("positional_embedding", "ln_post."))}
        # Copied into float32, whichever dtype they are stored in.
        audio.encoder.load_state_dict(optional | given, strict=True)
        audio.requires_grad_(False)
        return audio.eval()

    def forward(self, pcm: Tensor) -> Tensor:
        """Encodes windows of mono PCM [B, n] at 16 kHz in [-1, 1] to features [B, n // 320, 5, 384] float32.

        A window lasts 1 to 30 whole seconds; ValueError for others. Its speech ends at its first PADDING (NaN);
        `join_features` cuts the features after that off, and not all of them are made. In a shorter window there is
        less of the padding, which Whisper attends to and was trained with: the same speech gets slightly other features
        in it.
        """
        if pcm.ndim != 2:
            raise ValueError(f"PCM windows must have the shape [B, samples]; got {list(pcm.shape)}")
        positions, *_ = CONTRACT.features_shape(pcm.shape[1])
        mel_frames = MEL_FRAMES_PER_POSITION * positions
        lengths = [_speech_samples(window) for window in pcm]
        mels = [
            _padded(self._mel(window[:length]), mel_frames) for window, length in zip(pcm.float(), lengths, strict=True)
        ]
        heard = max(1, -(-max(lengths) // CONTRACT.samples_per_position))
        stacked = torch.stack(mels)
        if self._longest is not None and stacked.shape == self._longest.inputs[0].shape:
            return self._longest(stacked)
        return self.encode_mel(stacked, heard if pcm.device.type == "cpu" else None)

    def capture_longest(self) -> None:
        """From now on `forward`, in inference mode, encodes a single window of 30 s by a CUDA graph; for a GPU only.

        Live speech asks for such a window before each chunk, and starting its kernels takes longer than they do.
        """
        device = self.encoder.conv1.weight.device
        with torch.inference_mode():
            self._longest = Captured(self.encode_mel, [torch.zeros(1, self.config.n_mels, MEL_FRAMES, device=device)])

    def encode(self, pcm: Tensor) -> Tensor:
        """Encodes a whole recording [n] at once, as the original does, to features [n // 320, 5, 384] float32.

        Differs from `forward` on `split_windows` only beyond 30 s: here the loudness floor is the recording's, and the
        spectrogram continues across the windows' borders.
        """
        mel = self._mel(pcm.float())
        windows = torch.split(mel, MEL_FRAMES, dim=-1)
        features = [self.encode_mel(_padded(window, MEL_FRAMES)[None])[0] for window in windows]
        return torch.cat([each[: window.shape[-1] // 2] for each, window in zip(features, windows, strict=True)])

    def encode_mel(self, mel: Tensor, heard: int | None = None) -> Tensor:
        """Encodes log-mel spectrograms [B, 80, m], m even and at most 3000, to features [B, m / 2, 5, 384] float32.

        Of the last block only the first `heard` positions are made, if it is given; the others are zeros there. All
        blocks before it need every position: each one attends to all.
        """
        encoder = self.encoder
        with nullcontext() if self.products is torch.float32 else torch.autocast(mel.device.type, self.products):
            hidden = mel.to(encoder.conv1.weight.dtype)
            hidden = F.gelu(encoder.conv2(F.gelu(encoder.conv1(hidden)))).transpose(1, 2)
            hidden = hidden + encoder.positional_embedding[: hidden.shape[1]].to(encoder.conv1.weight.dtype)
            states = [hidden]
            *blocks, last = encoder.blocks
            for block in blocks:
                hidden = block(hidden)
                states.append(hidden)
            states.append(last(hidden) if heard is None else _first_positions(last, hidden, heard))
        return torch.stack(states, dim=2).float()

    def _mel(self, pcm: Tensor) -> Tensor:
        # Reflection at the ends needs more samples than half an FFT (200).
        if len(pcm) < CONTRACT.samples_per_position:
            pcm = F.pad(pcm, (0, CONTRACT.samples_per_position - len(pcm)))
        mel: Tensor = log_mel_spectrogram(pcm, n_mels=self.config.n_mels)
        return mel


def _speech_samples(window: Tensor) -> int:
    """Samples before the first PADDING."""
    if window.device.type == "cpu":
        return speech_samples(window.numpy())
    padding = window.isnan()
    return int(padding.int().argmax()) if bool(padding.any()) else len(window)


def _first_positions(block: ResidualAttentionBlock, hidden: Tensor, count: int) -> Tensor:
    """A block's output [B, n, s] at the first `count` positions, which attend to all of them; zeros behind those."""
    attention = block.attn
    everything = block.attn_ln(hidden)
    attended, _ = attention.qkv_attention(
        attention.query(everything[:, :count]), attention.key(everything), attention.value(everything)
    )
    first = hidden[:, :count] + attention.out(attended)
    first = first + block.mlp(block.mlp_ln(first))
    return F.pad(first, (0, 0, 0, hidden.shape[1] - count))


def _padded(mel: Tensor, mel_frames: int) -> Tensor:
    return F.pad(mel, (0, mel_frames - mel.shape[-1]))
