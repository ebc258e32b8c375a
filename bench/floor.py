"""A lower bound of the networks' time on a processor: their multiplications at the highest rate that it has shown."""

from __future__ import annotations

import timeit
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from latentsync.checkpoint import Checkpoint
from latentsync.contract import CONTRACT
from latentsync.cpu import preferred_dtype
from latentsync.upsampling import merge_upsampling
from latentsync.whisper import MEL_FRAMES

_SIDE = 2048  # large enough that a product runs at the processor's full rate, small enough for 0.1 s a try
_CHANNELS, _PICTURE = 128, 64  # of the convolution: a layer in the middle of a VAE's decoder
_TRIES = 5


@dataclass(frozen=True)
class Floor:
    """What the networks can't go below: their multiplications at the highest rate that these cores have shown.

    `gflop` are of one call: a window of 30 s, a denoising step of a chunk, a chunk decoded. `ms_per_frame` are those of
    a whole speech over its frames, each network having all `threads` to itself. `rate_of` names what ran at
    `gflop_per_s`: a kernel that was measured alone, or a stage of the render, which proves that rate as well.
    """

    gflop_per_s: float
    rate_of: str
    threads: int
    gflop: dict[str, float]
    ms_per_frame: dict[str, float]


def floor(
    checkpoint: Checkpoint,
    frames: int,
    steps: int,
    guidance: float,
    threads: int,
    kernels: Mapping[str, float],
    measured_ms: Mapping[str, float],
) -> Floor:
    """The floor of a speech of so many frames, with the kernels' operations a second as `kernel_rates` has them.

    `measured_ms` are milliseconds a frame by stage, as the render took them. Where other programs use the cores while
    the kernels are measured, a stage can have been faster than they are; its rate is the better evidence, so that no
    floor lies above what was measured.
    """
    flops = network_flops(checkpoint)
    chunks = -(-frames // CONTRACT.chunk_frames)
    passes = 2 if guidance > 1 else 1
    windows = -(-frames * CONTRACT.samples_per_frame // CONTRACT.window_samples)
    calls = {"whisper": windows, "unet": chunks * steps * passes, "vae_decoder": chunks}
    work = {name: calls[name] * count / frames for name, count in flops.items()}
    proven = {name: 1000 * work[name] / measured_ms[name] for name in work if measured_ms.get(name, 0.0) > 0}
    rates = {**kernels, **proven}
    fastest = max(rates, key=lambda name: rates[name])
    return Floor(
        gflop_per_s=round(rates[fastest] / 1e9, 1),
        rate_of=fastest,
        threads=threads,
        gflop={name: round(count / 1e9, 3) for name, count in flops.items()},
        ms_per_frame={name: round(1000 * each / rates[fastest], 3) for name, each in work.items()},
    )


def network_flops(checkpoint: Checkpoint) -> dict[str, int]:
    """Floating point operations of one call of each network, two for a multiplication with its addition."""
    unet, vae, whisper = checkpoint.load_unet("meta"), checkpoint.load_vae("meta"), checkpoint.load_whisper("meta")
    size, whisper_config = checkpoint.latent_size, whisper.config
    tokens = CONTRACT.frame_window_positions * (
        whisper_config.n_audio_layer + 1
    )  # after the convolutions, and after each layer
    merge_upsampling(vae.autoencoder.decoder)  # as it is served on a processor
    sample = torch.empty(1, CONTRACT.sample_channels, CONTRACT.chunk_frames, size, size, device="meta")
    audio = torch.empty(1, CONTRACT.chunk_frames, tokens, whisper_config.n_audio_state, device="meta")
    latents = torch.empty(CONTRACT.chunk_frames, CONTRACT.latent_channels, size, size, device="meta")
    mel = torch.empty(1, whisper_config.n_mels, MEL_FRAMES, device="meta")
    return {
        "whisper": _flops(lambda: whisper.encode_mel(mel)),
        "unet": _flops(lambda: unet(sample, 0, audio)),
        "vae_decoder": _flops(lambda: vae.decode(latents)),
    }


def _flops(call: Callable[[], object]) -> int:
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def kernel_rates(threads: int) -> dict[str, float]:
    """Operations a second of the kernels that the networks spend their time in, by name: the best of some tries.

    Matrix products and convolutions come from different libraries, one of which can be several times as fast as the
    other. Each is measured in float32 and in the type that an export chooses on this processor.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            return {
                f"{name}, {str(dtype).removeprefix('torch.')}": rate
                for dtype in dict.fromkeys((torch.float32, preferred_dtype()))
                for name, rate in (("matrix product", _product_rate(dtype)), ("convolution", _convolution_rate(dtype)))
            }
    finally:
        torch.set_num_threads(before)


def _product_rate(dtype: torch.dtype) -> float:
    left, right = torch.rand(_SIDE, _SIDE).to(dtype), torch.rand(_SIDE, _SIDE).to(dtype)
    return 2 * _SIDE**3 / _best_s(lambda: left @ right)


def _convolution_rate(dtype: torch.dtype) -> float:
    pictures = torch.rand(CONTRACT.chunk_frames, _CHANNELS, _PICTURE, _PICTURE)
    pictures = pictures.to(dtype=dtype, memory_format=torch.channels_last)
    weights = torch.rand(_CHANNELS, _CHANNELS, 3, 3).to(dtype=dtype, memory_format=torch.channels_last)
    # Without padding each output pixel takes all nine products.
    outputs = CONTRACT.chunk_frames * _CHANNELS * (_PICTURE - 2) ** 2
    return 2 * 9 * _CHANNELS * outputs / _best_s(lambda: F.conv2d(pictures, weights))


def _best_s(call: Callable[[], object]) -> float:
    call()  # chooses its kernel
    return min(timeit.repeat(call, number=1, repeat=_TRIES))
