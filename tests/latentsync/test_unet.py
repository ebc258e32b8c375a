"""The UNet against LatentSync 1.0's own output, and what it refuses to load."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from latentsync.unet import LatentSyncUNet, UNetConfig, UnsupportedUNetError, upstream_state_dict
from tests.support.reference import DEMO_UNET, TINY_UNET, recipe_weights, shapes_of


def tiny_unet(seed: int = 0) -> LatentSyncUNet:
    state = recipe_weights(shapes_of(upstream_state_dict(LatentSyncUNet(TINY_UNET))), seed)
    return LatentSyncUNet.from_upstream(state, **vars(TINY_UNET))


@pytest.mark.parametrize("name", ["unet_chunk5.npz", "unet_chunk16.npz"])
def test_output_matches_the_original(shared: Path, name: str) -> None:
    reference = np.load(shared / "fixtures" / name)
    channels = tuple(reference["block_out_channels"].tolist())
    shapes = shapes_of(upstream_state_dict(LatentSyncUNet(UNetConfig(block_out_channels=channels))))
    unet = LatentSyncUNet.from_upstream(recipe_weights(shapes, int(reference["seed"])), block_out_channels=channels)
    sample, audio = torch.from_numpy(reference["sample"]), torch.from_numpy(reference["audio"])
    for timestep, expected in zip(reference["timesteps"], reference["output"], strict=True):
        output = unet(sample, int(timestep), audio).numpy()
        assert np.abs(output - expected).max() <= 1e-5 * np.abs(expected).max()


def test_all_686_keys_of_the_full_checkpoint_load(shared: Path) -> None:
    shapes = json.loads((shared / "fixtures" / "latentsync_unet_v1_state_dict_shapes.json").read_text())
    state = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    unet = LatentSyncUNet.from_upstream(state)
    assert shapes_of(upstream_state_dict(unet)) == {key: tuple(shape) for key, shape in shapes.items()}
    assert len(shapes) == 686


def test_the_demo_configuration_builds_and_runs() -> None:
    config: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in DEMO_UNET.items()}
    shapes = shapes_of(upstream_state_dict(LatentSyncUNet(UNetConfig(**config))))
    unet = LatentSyncUNet.from_upstream(recipe_weights(shapes), **DEMO_UNET)
    output = unet(torch.randn(1, 13, 2, 16, 16), torch.tensor([501]), torch.randn(1, 2, 50, 384))
    assert output.shape == (1, 4, 2, 16, 16)
    assert output.isfinite().all()


def test_a_frame_depends_on_the_other_frames_of_its_chunk_only() -> None:
    unet = tiny_unet()
    generator = torch.Generator().manual_seed(1)
    sample = torch.randn(2, 13, 3, 8, 8, generator=generator)
    audio = torch.randn(2, 3, 50, 384, generator=generator)
    before = unet(sample, 501, audio)
    sample[0, :, 2] += 1
    after = unet(sample, 501, audio)
    assert (before[0, :, 0] - after[0, :, 0]).abs().max() > 1e-4
    torch.testing.assert_close(before[1], after[1], rtol=0, atol=1e-6)


def test_each_chunk_has_its_own_timestep() -> None:
    unet = tiny_unet()
    sample, audio = torch.randn(2, 13, 2, 8, 8), torch.randn(2, 2, 50, 384)
    together = unet(sample, torch.tensor([951, 1]), audio)
    torch.testing.assert_close(together[:1], unet(sample[:1], 951, audio[:1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(together[1:], unet(sample[1:], 1, audio[1:]), rtol=0, atol=1e-5)


def test_bfloat16_weights_give_a_float32_output_near_the_exact_one() -> None:
    exact = tiny_unet()
    sample, audio = torch.randn(1, 13, 2, 8, 8), torch.randn(1, 2, 50, 384)
    expected = exact(sample, 501, audio)
    output = tiny_unet().to(torch.bfloat16)(sample, 501, audio)
    assert output.dtype == torch.float32
    assert (output - expected).norm() < 0.05 * expected.norm()


def test_upstream_state_dict_round_trips() -> None:
    unet = tiny_unet()
    state = upstream_state_dict(unet)
    assert any(".audio_cross_attn.attn.to_k." in key for key in state)
    assert any(".audio_cross_attn.norm." in key for key in state)
    again = upstream_state_dict(LatentSyncUNet.from_upstream(state, **vars(TINY_UNET)))
    assert again.keys() == state.keys()
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_version_1_without_its_own_names_is_refused() -> None:
    names = (("audio_cross_attn.attn", "attn2"), ("audio_cross_attn.norm", "norm2"))
    state = {
        key.replace(*names[0]).replace(*names[1]): value for key, value in upstream_state_dict(tiny_unet()).items()
    }
    with pytest.raises(UnsupportedUNetError, match=r"found attn2, as in LatentSync 1\.5 and 1\.6"):
        LatentSyncUNet.from_upstream(state, **vars(TINY_UNET))


def test_missing_and_wrongly_sized_tensors_are_named() -> None:
    state = upstream_state_dict(tiny_unet())
    without = {key: value for key, value in state.items() if key != "conv_out.bias"}
    with pytest.raises(UnsupportedUNetError, match=r"conv_out\.bias"):
        LatentSyncUNet.from_upstream(without, **vars(TINY_UNET))
    with pytest.raises(UnsupportedUNetError, match=r"conv_in\.weight"):
        LatentSyncUNet.from_upstream(state | {"conv_in.weight": torch.zeros(16, 9, 3, 3)}, **vars(TINY_UNET))
