"""The measurement of chunks' borders: what is compared with what, and that a border is told from what lies between."""

from datetime import UTC, datetime

import pytest
import torch

from bench import chunk_borders as borders
from latentsync.unet import LatentSyncUNet
from speech.audio.decoder import ffmpeg_binary
from tests.support.reference import TINY_MOVING_UNET

DATE = datetime(2026, 1, 2, tzinfo=UTC)


def measured(unet: LatentSyncUNet) -> borders.ChunkBorders:
    return borders.chunk_borders(unet, "tiny", 8, 1, 1.0, DATE, ffmpeg_binary())


def test_every_way_is_compared_with_one_chunk_of_all_frames() -> None:
    torch.manual_seed(0)
    record = measured(LatentSyncUNet(TINY_MOVING_UNET).requires_grad_(False).eval())
    assert [way.work for way in record.ways] == [1.333, 1.0, 1.0, 1.0, 1.167]
    assert "padded" in record.ways[0].name and "blended" in record.ways[-1].name
    assert all(way.difference > 0 for way in record.ways)


def test_a_jump_between_chunks_shows_at_the_border_alone_and_less_where_chunks_are_blended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls = iter(range(100))

    def drifts_and_jumps(
        unet: object, noise: torch.Tensor, condition: torch.Tensor, audio: torch.Tensor, *_: object
    ) -> torch.Tensor:
        return condition[:, :, :4] + 5.0 * (next(calls) % 2)

    monkeypatch.setattr(borders, "denoise", drifts_and_jumps)
    apart, blended = measured(LatentSyncUNet(TINY_MOVING_UNET)).ways[-2:]
    assert apart.inner_step == pytest.approx(1, abs=0.01)
    assert apart.border_step > 3 * blended.border_step > 6
