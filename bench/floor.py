"""How fast a processor could run the networks if it did nothing but multiply."""

from __future__ import annotations

import timeit
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.upsampling import merge_upsampling
from latentsync.whisper import MEL_FRAMES

_SIDE = 2048  # large enough that a product runs at the processor's full rate, small enough for 0.1 s a try
_TRIES = 5


@dataclass(frozen=True)
class Floor:
    """What float32 networks can't go below: their multiplications at the rate of a large matrix product.

    `gflop` are of one call: a window of 30 s, a denoising step of a chunk, a chunk decoded. `ms_per_frame` are those of
    a whole speech over its frames, each network having all `threads` to itself.
    """

    gflop_per_s: float
    threads: int
    gflop: dict[str, float]
    ms_per_frame: dict[str, float]


def floor_here(checkpoint: Checkpoint, frames: int, steps: int, guidance: float, threads: int) -> Floor:
    """The floor of a speech of so many frames on this processor, which should do nothing else meanwhile."""
    flops, rate = network_flops(checkpoint), multiplication_rate(threads)
    chunks = -(-frames // CONTRACT.chunk_frames)
    passes = 2 if guidance > 1 else 1
    windows = -(-frames * CONTRACT.samples_per_frame // CONTRACT.window_samples)
    calls = {"whisper": windows, "unet": chunks * steps * passes, "vae_decoder": chunks}
    return Floor(
        gflop_per_s=round(rate / 1e9, 1),
        threads=threads,
        gflop={name: round(count / 1e9, 3) for name, count in flops.items()},
        ms_per_frame={name: round(1000 * calls[name] * count / rate / frames, 3) for name, count in flops.items()},
    )


def network_flops(checkpoint: Checkpoint) -> dict[str, int]:
    """Floating point operations of one call of each network, two for a multiplication with its addition."""
    unet, vae, whisper = checkpoint.load_unet("meta"), checkpoint.load_vae("meta"), checkpoint.load_whisper("meta")
    size, heard = checkpoint.latent_size, whisper.config
    tokens = CONTRACT.frame_window_positions * (heard.n_audio_layer + 1)  # after the convolutions, and after each layer
    merge_upsampling(vae.autoencoder.decoder)  # as it is served on a processor
    sample = torch.empty(1, CONTRACT.sample_channels, CONTRACT.chunk_frames, size, size, device="meta")
    audio = torch.empty(1, CONTRACT.chunk_frames, tokens, heard.n_audio_state, device="meta")
    latents = torch.empty(CONTRACT.chunk_frames, CONTRACT.latent_channels, size, size, device="meta")
    mel = torch.empty(1, heard.n_mels, MEL_FRAMES, device="meta")
    return {
        "whisper": _flops(lambda: whisper.encode_mel(mel)),
        "unet": _flops(lambda: unet(sample, 0, audio)),
        "vae_decoder": _flops(lambda: vae.decode(latents)),
    }


def _flops(call: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def multiplication_rate(threads: int) -> float:
    """Operations a second of a large float32 matrix product on so many threads, the best of some tries."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        left, right = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE)
        left @ right
        best = min(timeit.repeat(lambda: left @ right, number=1, repeat=_TRIES))
    finally:
        torch.set_num_threads(before)
    return 2 * _SIDE**3 / best
