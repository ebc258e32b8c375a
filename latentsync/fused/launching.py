"""How the fused kernels are launched: blocks, grids and options."""

from __future__ import annotations

import functools
import math

import torch

from latentsync.fused.maps import Maps, Sums

BLOCK_ROWS, BLOCK_CHANNELS = 64, 64
# Rows that one program sums: few enough to leave programs that fill a GPU, enough to leave few partial sums.
MOST_SUMMED_ROWS = 128


def reads_by_descriptors(device: torch.device) -> bool:
    """Whether one instruction loads a block there (TMA); elsewhere Triton emulates that by single loads."""
    return device.type != "cuda" or _is_hopper(device)


def launch_options(device: torch.device) -> dict[str, bool]:
    """Launch options of all kernels, each of which begins with launches.await_inputs."""
    return {"launch_pdl": True} if device.type == "cuda" and _is_hopper(device) else {}


@functools.cache
def _is_hopper(device: torch.device) -> bool:
    """Whether it is a Hopper GPU or a later one."""
    return torch.cuda.get_device_capability(device) >= (9, 0)


def skip_or_own(maps: Maps) -> Maps:
    # A kernel needs some pointer; without a skip connection it does not read it.
    return maps if maps.skip is None else maps.skip


def block_channels(maps: Maps) -> int:
    """Channels of a block, which lie in the rows or in the skip connection, but not in both."""
    return BLOCK_CHANNELS if maps.skip is None else math.gcd(BLOCK_CHANNELS, maps.rows.shape[1])


def sum_layout(maps: Maps, channels: int) -> tuple[dict[str, int], Sums]:
    block, loops, splits = _split(maps.frame_rows)
    sums = maps.rows.new_empty(2, maps.frames * splits, channels, dtype=torch.float32)
    layout = {"SPLITS": splits, "BLOCK_R": block, "BLOCK_C": BLOCK_CHANNELS, "LOOPS": loops}
    return layout, Sums(sums[0], sums[1], splits)


def sum_grid(maps: Maps, channels: int) -> tuple[int]:
    return (maps.frames * _split(maps.frame_rows)[2] * ceil_div(channels, BLOCK_CHANNELS),)


def _split(frame_rows: int) -> tuple[int, int, int]:
    """Rows in a block, blocks in a split, splits in a frame."""
    block = min(BLOCK_ROWS, power_of_two(frame_rows))
    loops = min(MOST_SUMMED_ROWS // BLOCK_ROWS, ceil_div(frame_rows, block))
    return block, loops, ceil_div(frame_rows, block * loops)


def ceil_div(count: int, size: int) -> int:
    return -(-count // size)


def power_of_two(count: int) -> int:
    return 1 << (count - 1).bit_length()
