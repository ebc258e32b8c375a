"""The UNet of LatentSync 1.5 and 1.6 against the original's own output, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentsync.denoising import PlainPredictor, ReusingPredictor, SchedulerConfig, denoise
from latentsync.motion import POSITIONS
from latentsync.unet import LatentSyncUNet, MotionLayers, UNetConfig, UnsupportedUNetError, upstream_state_dict
from tests.support.reference import TINY_MOVING_UNET, TINY_UNET, recipe_weights, shapes_of

State = dict[str, torch.Tensor]


def reference(shared: Path, name: str) -> dict[str, Any]:
    with np.load(shared / "fixtures" / "v1_5" / name) as arrays:
        return dict(arrays)


def small_unet(shared: Path, case: dict[str, Any], layers: MotionLayers = MotionLayers.ALL) -> LatentSyncUNet:
    channels = tuple(case["block_out_channels"].tolist())
    config = UNetConfig(block_out_channels=channels, motion_modules=layers)
    shapes = shapes_of(upstream_state_dict(LatentSyncUNet(config)))
    if layers is MotionLayers.ALL:
        written = json.loads((shared / "fixtures" / "v1_5" / "unet_small_state_dict_shapes.json").read_text())
        assert shapes == {key: tuple(shape) for key, shape in written.items()}
    return LatentSyncUNet.from_upstream(recipe_weights(shapes, int(case["seed"])), block_out_channels=channels)


def state_of(config: UNetConfig) -> State:
    return upstream_state_dict(LatentSyncUNet(config))


def relative(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())


@pytest.mark.parametrize(
    ("name", "layers"),
    [
        ("unet_chunk16.npz", MotionLayers.ALL),
        ("unet_chunk5.npz", MotionLayers.ALL),
        ("unet_chunk1.npz", MotionLayers.ALL),
        ("unet_chunk3_decoder_only.npz", MotionLayers.UP),
    ],
)
@torch.inference_mode()
def test_output_matches_the_original(shared: Path, name: str, layers: MotionLayers) -> None:
    case = reference(shared, name)
    unet = small_unet(shared, case, layers)
    assert unet.config.motion_modules is layers
    sample, audio = torch.from_numpy(case["sample"]), torch.from_numpy(case["audio"])
    for timestep, expected in zip(case["timesteps"], case["output"], strict=True):
        assert relative(unet(sample, int(timestep), audio).numpy(), expected) <= 1e-5


@pytest.mark.parametrize("frames", [5, 16])
@torch.inference_mode()
def test_a_motion_module_matches_the_original(shared: Path, frames: int) -> None:
    case = reference(shared, "motion_module.npz")
    module: Any = small_unet(shared, case).blocks.get_submodule(str(case["key"]))
    hidden, expected = torch.from_numpy(case[f"hidden_{frames}"]), case[f"output_{frames}"]
    output = module(hidden.transpose(1, 2).flatten(0, 1), frames).unflatten(0, (-1, frames)).transpose(1, 2)
    assert relative(output.numpy(), expected) <= 1e-5


@pytest.mark.parametrize("reuse", [1, 3])
@torch.inference_mode()
def test_guided_denoising_matches_the_original_and_its_deep_cache(shared: Path, reuse: int) -> None:
    case = reference(shared, "denoise6.npz")
    unet, suffix = small_unet(shared, case), "" if reuse == 1 else f"_deepcache{reuse}"
    predictor = PlainPredictor(unet) if reuse == 1 else ReusingPredictor(unet)
    noise, condition, audio = (torch.from_numpy(case[name]) for name in ("noise", "condition", "audio"))
    latents = denoise(predictor, noise, condition, audio, 6, 1.5, SchedulerConfig(), reuse=reuse)
    assert relative(latents.transpose(1, 2).numpy(), case[f"final{suffix}"]) <= 1e-5


def test_reuse_changes_the_reference(shared: Path) -> None:
    case = reference(shared, "denoise6.npz")
    assert relative(case["final_deepcache3"], case["final"]) > 1e-4


@pytest.mark.parametrize("version", ["v1_5", "v1_6"])
def test_all_1246_keys_of_the_full_checkpoint_load(shared: Path, version: str) -> None:
    path = shared / "fixtures" / "v1_5" / f"latentsync_unet_{version}_state_dict_shapes.json"
    shapes = {key: tuple(shape) for key, shape in json.loads(path.read_text()).items()}
    unet = LatentSyncUNet.from_upstream({key: torch.empty(shape, device="meta") for key, shape in shapes.items()})
    assert shapes_of(upstream_state_dict(unet)) == shapes
    assert len(shapes) == 1246


def test_a_chunk_may_have_as_many_frames_as_there_are_places() -> None:
    unet = LatentSyncUNet(TINY_MOVING_UNET)
    audio = torch.randn(1, POSITIONS + 1, 50, 384)
    assert unet(torch.randn(1, 13, POSITIONS, 8, 8), 1, audio[:, :POSITIONS]).isfinite().all()
    with pytest.raises(ValueError, match="a chunk of 25 frames: the motion modules have 24 places"):
        unet(torch.randn(1, 13, POSITIONS + 1, 8, 8), 1, audio)


def test_many_chunks_at_once_are_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    # As CUDA's kernels need it for large pictures.
    monkeypatch.setattr("latentsync.motion._MOST_SEQUENCES", 100)
    unet = LatentSyncUNet(TINY_MOVING_UNET).eval()
    sample, audio = torch.randn(2, 13, 3, 8, 8), torch.randn(2, 3, 50, 384)
    together = unet(sample, 501, audio)
    torch.testing.assert_close(together[1:], unet(sample[1:], 501, audio[1:]), rtol=0, atol=1e-5)


def _without(*parts: str) -> Callable[[State], State]:
    return lambda state: {key: value for key, value in state.items() if not all(part in key for part in parts)}


@pytest.mark.parametrize(
    ("config", "change", "declared", "message"),
    [
        pytest.param(TINY_MOVING_UNET, None, "none", "are of LatentSync 1.5 or 1.6", id="1.5 as 1.0"),
        pytest.param(TINY_UNET, None, "all", r"are of LatentSync 1\.0", id="1.0 as 1.5"),
        pytest.param(
            TINY_MOVING_UNET,
            _without("down_blocks", "motion_modules"),
            "all",
            "are of a fine-tune by stage2_efficient.yaml",
            id="motion modules in the up blocks only",
        ),
        pytest.param(TINY_MOVING_UNET, _without("motion_modules"), None, "attn2", id="no motion modules"),
        pytest.param(
            TINY_MOVING_UNET,
            _without("motion_modules.0", "pe"),
            None,
            r"motion_modules\.0.*pos_encoder\.pe",
            id="a missing tensor",
        ),
        pytest.param(
            TINY_MOVING_UNET,
            lambda state: {key.replace(".attn2.", ".audio_cross_attn.attn."): state[key] for key in state},
            None,
            "audio_cross_attn",
            id="of both versions",
        ),
    ],
)
def test_other_weights_than_the_configuration_says_are_refused(
    config: UNetConfig, change: Callable[[State], State] | None, declared: str | None, message: str
) -> None:
    state = state_of(config)
    settings = {name: value for name, value in vars(config).items() if name != "motion_modules"}
    with pytest.raises(UnsupportedUNetError, match=message):
        LatentSyncUNet.from_upstream(change(state) if change else state, **settings, motion_modules=declared)


def test_other_widths_are_refused_with_both_shapes() -> None:
    settings = vars(TINY_MOVING_UNET) | {"block_out_channels": (32, 96)}
    with pytest.raises(UnsupportedUNetError, match=r"size mismatch .*torch\.Size\(\[64.*torch\.Size\(\[96"):
        LatentSyncUNet.from_upstream(state_of(TINY_MOVING_UNET), **settings)
    with pytest.raises(ValueError, match="a motion module of 48 channels: they must be a multiple of 32"):
        LatentSyncUNet.from_upstream(state_of(TINY_MOVING_UNET), **(settings | {"block_out_channels": (32, 48)}))


def test_the_tensors_names_are_the_original_ones_again() -> None:
    state = state_of(TINY_MOVING_UNET)
    again = upstream_state_dict(LatentSyncUNet.from_upstream(state, **vars(TINY_MOVING_UNET)))
    assert again.keys() == state.keys()
    assert not any("audio_cross_attn" in key for key in again)
