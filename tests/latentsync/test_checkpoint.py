"""Checkpoint folders: what loads, and what is refused with a message that names the file."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, AutoencoderTiny
from safetensors.torch import save_file

from latentsync.checkpoint import Checkpoint, CheckpointError
from latentsync.denoising import PredictionType, TimestepSpacing
from latentsync.published import PublishedUNet
from latentsync.unet import LatentSyncUNet, MotionLayers, UNetConfig, upstream_state_dict
from latentsync.whisper import AudioEncoder, WhisperConfig
from tests.support.checkout import ROOT
from tests.support.reference import TINY_MOVING_UNET, TINY_UNET, TINY_VAE, recipe_weights, shapes_of

WHISPER = WhisperConfig(n_audio_state=16, n_audio_head=2, n_audio_layer=4)
CONFIG: dict[str, Any] = {
    "name": "test",
    "resolution": 64,
    "scheduler": {"prediction_type": "sample", "timestep_spacing": "trailing", "default_steps": 2},
    "unet": {key: list(value) if isinstance(value, tuple) else value for key, value in vars(TINY_UNET).items()},
    "vae": {"type": "AutoencoderTiny", "scaling_factor": 0.5, "config": TINY_VAE},
    "whisper": {"path": "whisper", **vars(WHISPER)},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small whole checkpoint, saved as training saves one."""
    torch.manual_seed(0)
    directory = tmp_path / "test"
    directory.mkdir()
    (tmp_path / "whisper").mkdir()
    (directory / "config.json").write_text(json.dumps(CONFIG))
    shapes = shapes_of(upstream_state_dict(LatentSyncUNet(TINY_UNET)))
    save_file(recipe_weights(shapes), directory / "unet.safetensors")
    save_file(AutoencoderTiny(**TINY_VAE).state_dict(), directory / "vae.safetensors")
    encoder = AudioEncoder(WHISPER).encoder.state_dict()
    weights = {f"encoder.{key}": value.contiguous() for key, value in encoder.items()}
    save_file(weights, tmp_path / "whisper" / "encoder.safetensors")
    return directory


def rewrite_config(folder: Path, **changes: Any) -> None:
    (folder / "config.json").write_text(json.dumps(CONFIG | changes))


def test_a_checkpoint_that_names_nobody_is_made_for_everybody(folder: Path, tmp_path: Path) -> None:
    assert Checkpoint.open(folder).is_made_for(tmp_path / "anybody.mp4")


def test_a_checkpoint_knows_the_videos_that_it_was_made_for_by_their_bytes(folder: Path, tmp_path: Path) -> None:
    rewrite_config(folder, made_for=["avatar/lost.mp4", "avatar/idle.mp4"])
    (folder / "avatar").mkdir()
    (folder / "avatar" / "idle.mp4").write_bytes(b"the presenter")
    renamed, other = tmp_path / "renamed.mp4", tmp_path / "idle.mp4"
    renamed.write_bytes(b"the presenter")
    other.write_bytes(b"another woman")
    assert Checkpoint.open(folder).is_made_for(renamed)
    assert not Checkpoint.open(folder).is_made_for(other)


@pytest.mark.parametrize("made_for", ["avatar/idle.mp4", [1], {"idle": 1}])
def test_a_list_of_videos_that_is_none_is_refused(folder: Path, made_for: object) -> None:
    rewrite_config(folder, made_for=made_for)
    with pytest.raises(CheckpointError, match=r"config\.json: made_for must be a list of videos"):
        Checkpoint.open(folder)


@torch.inference_mode()
def test_a_saved_checkpoint_opens_and_its_models_run(folder: Path) -> None:
    checkpoint = Checkpoint.open(folder)
    assert (checkpoint.name, checkpoint.resolution, checkpoint.latent_size) == ("test", 64, 8)
    assert checkpoint.scheduler.prediction_type is PredictionType.SAMPLE
    assert checkpoint.scheduler.timestep_spacing is TimestepSpacing.TRAILING
    assert checkpoint.scheduler.set_alpha_to_one
    unet = checkpoint.load_unet(dtype=torch.bfloat16)
    assert unet.dtype == torch.bfloat16
    assert unet(torch.randn(1, 13, 2, 8, 8), 1, torch.randn(1, 2, 50, 384)).shape == (1, 4, 2, 8, 8)
    vae = checkpoint.load_vae()
    latents = vae.encode(torch.rand(2, 3, 64, 64) * 2 - 1)
    assert latents.shape == (2, 4, 8, 8)
    assert vae.decode(latents).shape == (2, 3, 64, 64)
    assert checkpoint.load_whisper()(torch.zeros(1, 480000)).shape == (1, 1500, 5, 16)


@torch.inference_mode()
def test_guidance_leads_away_from_what_whisper_hears_in_silence_where_a_checkpoint_says_so(folder: Path) -> None:
    assert Checkpoint.open(folder).guidance_base() is None
    scheduler = json.loads((folder / "config.json").read_text())["scheduler"]
    rewrite_config(folder, scheduler=scheduler | {"guided_from": "silence"})
    checkpoint = Checkpoint.open(folder)
    base = checkpoint.guidance_base()
    assert base is not None
    with torch.inference_mode():
        heard = checkpoint.load_whisper()(torch.zeros(1, 32_000))[0]
    torch.testing.assert_close(base, heard[46:56].reshape(50, -1))
    rewrite_config(folder, scheduler=scheduler | {"guided_from": "noise"})
    with pytest.raises(CheckpointError, match="noise"):
        Checkpoint.open(folder)


def test_latents_are_scaled_and_pixels_clamped(folder: Path) -> None:
    vae = Checkpoint.open(folder).load_vae()
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    torch.testing.assert_close(vae.encode(pixels), vae.autoencoder.encoder(pixels) * 0.5)
    latents = torch.randn(1, 4, 8, 8)
    exact = vae.autoencoder.decoder(latents / 0.5)
    torch.testing.assert_close(vae.decode(latents), exact.clamp(-1, 1))
    vae.autoencoder.decoder.layers[-1].bias += 100
    assert vae.decode(latents).max() == 1


def test_the_official_kind_of_checkpoint_opens(folder: Path) -> None:
    """The original's .pt with its wrapping, and Stable Diffusion's VAE with its old attention names."""
    config = {"block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4, "layers_per_block": 1,
              "down_block_types": ["DownEncoderBlock2D"] * 4, "up_block_types": ["UpDecoderBlock2D"] * 4}  # fmt: skip
    rewrite_config(folder, scheduler={}, vae={"type": "AutoencoderKL", "scaling_factor": 0.18215, "config": config})
    torch.manual_seed(1)
    expected = AutoencoderKL(**config)
    old = {}
    for key, value in expected.state_dict().items():
        is_old = ".attentions." in key
        for new, name in (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn")):
            key = key.replace(f".{new}.", f".{name}.") if is_old else key
        old[key] = value.contiguous()
    assert any(".query." in key for key in old)
    save_file(old, folder / "vae.safetensors")
    state = recipe_weights(shapes_of(upstream_state_dict(LatentSyncUNet(TINY_UNET))))
    (folder / "unet.safetensors").unlink()
    torch.save({"global_step": 1, "state_dict": state}, folder / "unet.pt")

    checkpoint = Checkpoint.open(folder)
    assert checkpoint.scheduler.prediction_type is PredictionType.EPSILON
    assert checkpoint.scheduler.default_steps == 20
    assert not checkpoint.scheduler.set_alpha_to_one
    checkpoint.load_unet()
    vae = checkpoint.load_vae()
    pixels = torch.rand(1, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        latents = expected.encode(pixels).latent_dist.mode() * 0.18215
        torch.testing.assert_close(vae.encode(pixels), latents, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(
            vae.decode(latents), expected.decode(latents / 0.18215).sample.clamp(-1, 1), rtol=1e-4, atol=1e-4
        )


def save_moving_unet(folder: Path) -> None:
    state = recipe_weights(shapes_of(upstream_state_dict(LatentSyncUNet(TINY_MOVING_UNET))))
    (folder / "unet.safetensors").unlink()
    torch.save({"state_dict": state}, folder / "unet.pt")


def moving_config(**changes: Any) -> dict[str, Any]:
    sizes = {name: value for name, value in vars(TINY_MOVING_UNET).items() if name != "motion_modules"}
    return json.loads(json.dumps(sizes | changes))  # type: ignore[no-any-return]


def test_weights_of_a_later_version_are_refused_by_the_configuration_of_the_first(folder: Path) -> None:
    save_moving_unet(folder)
    rewrite_config(folder, unet=moving_config(motion_modules="none"))
    with pytest.raises(
        CheckpointError, match=r"unet\.pt: these weights are of LatentSync 1\.5 or 1\.6 .*of LatentSync 1"
    ):
        Checkpoint.open(folder).load_unet()
    rewrite_config(folder, unet=moving_config(motion_modules="some"))
    with pytest.raises(CheckpointError, match="'some' is not a valid MotionLayers"):
        Checkpoint.open(folder).load_unet()
    rewrite_config(folder, unet=moving_config())
    assert Checkpoint.open(folder).load_unet().config.motion_modules is MotionLayers.ALL


@pytest.fixture
def published(folder: Path, monkeypatch: pytest.MonkeyPatch) -> PublishedUNet:
    """Takes the folder's UNet for a published one for faces of 128 pixels, as its bytes say."""
    save_moving_unet(folder)
    content = (folder / "unet.pt").read_bytes()
    known = PublishedUNet("LatentSync 9", 128, len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr("latentsync.published.PUBLISHED", (known,))
    return known


def test_the_bytes_of_a_published_unet_tell_the_resolution(folder: Path, published: PublishedUNet) -> None:
    config = {name: value for name, value in (CONFIG | {"unet": moving_config()}).items() if name != "resolution"}
    (folder / "config.json").write_text(json.dumps(config))
    assert Checkpoint.open(folder).resolution == published.resolution
    with (folder / "unet.pt").open("r+b") as file:
        file.write(b"x")
    with pytest.raises(CheckpointError, match="lacks the setting 'resolution'"):
        Checkpoint.open(folder)


def test_a_published_unet_is_refused_at_another_resolution(folder: Path, published: PublishedUNet) -> None:
    rewrite_config(folder, unet=moving_config(), resolution=64)
    expected = r"unet\.pt is LatentSync 9, made for faces of 128 pixels, and config\.json says resolution 64"
    with pytest.raises(CheckpointError, match=expected):
        Checkpoint.open(folder).load_unet()
    rewrite_config(folder, unet=moving_config(), resolution=published.resolution)
    Checkpoint.open(folder).load_unet()


@pytest.mark.parametrize("name", ["unet.safetensors", "vae.safetensors"])
def test_a_truncated_file_is_named(folder: Path, name: str) -> None:
    path = folder / name
    path.write_bytes(path.read_bytes()[:-1000])
    checkpoint = Checkpoint.open(folder)
    with pytest.raises(CheckpointError, match=f"{name} is truncated"):
        checkpoint.load_unet() if name.startswith("unet") else checkpoint.load_vae()


def test_a_truncated_pt_file_is_named(folder: Path) -> None:
    path = folder / "unet.pt"
    torch.save({"state_dict": upstream_state_dict(LatentSyncUNet(TINY_UNET))}, path)
    path.write_bytes(path.read_bytes()[:-1000])
    (folder / "unet.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"unet\.pt is truncated"):
        Checkpoint.open(folder).load_unet()


def test_pickled_code_is_not_run(folder: Path) -> None:
    (folder / "unet.safetensors").unlink()
    torch.save({"state_dict": {"weight": pytest.raises}}, folder / "unet.pt")
    with pytest.raises(CheckpointError, match=r"unet\.pt holds more than weights: loading it would run code"):
        Checkpoint.open(folder).load_unet()


def test_a_pickle_that_wants_to_run_a_command_is_refused_before_it_does(folder: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {folder / 'ran'}",))

    (folder / "unet.safetensors").unlink()
    torch.save({"state_dict": {"weight": Evil()}}, folder / "unet.pt")
    with pytest.raises(CheckpointError, match="run code of its own, and is refused"):
        Checkpoint.open(folder).load_unet()
    assert not (folder / "ran").exists()


def test_another_whisper_is_refused_by_name(folder: Path) -> None:
    rewrite_config(folder, whisper=CONFIG["whisper"] | {"n_audio_state": 384, "n_audio_head": 6})
    small = {"encoder.conv1.weight": torch.zeros(768, 80, 3)}
    save_file(small, folder.parent / "whisper" / "encoder.safetensors")
    with pytest.raises(CheckpointError, match=r"is Whisper small \(768 wide\), the UNet listens to tiny \(384 wide\)"):
        Checkpoint.open(folder).load_whisper()
    save_file({"conv.weight": torch.zeros(1)}, folder.parent / "whisper" / "encoder.safetensors")
    with pytest.raises(CheckpointError, match="is no Whisper"):
        Checkpoint.open(folder).load_whisper()


@pytest.mark.parametrize(
    ("version", "resolution", "layers"),
    [("1.0", 256, MotionLayers.NONE), ("1.5", 256, MotionLayers.ALL), ("1.6", 512, MotionLayers.ALL)],
)
def test_the_official_checkpoints_configurations_are_the_published_sizes(
    version: str, resolution: int, layers: MotionLayers
) -> None:
    checkpoint = Checkpoint.open(ROOT / "checkpoints" / f"latentsync-{version}")
    assert (checkpoint.name, checkpoint.resolution) == (f"latentsync-{version}", resolution)
    unet: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in checkpoint.unet.items()}
    assert UNetConfig(**unet) == UNetConfig(motion_modules=layers)
    assert WhisperConfig(**{k: v for k, v in checkpoint.whisper.items() if k != "path"}) == WhisperConfig()


def test_weights_of_another_size_are_refused(folder: Path) -> None:
    rewrite_config(folder, unet=CONFIG["unet"] | {"block_out_channels": [32, 64]})
    with pytest.raises(CheckpointError, match="size mismatch"):
        Checkpoint.open(folder).load_unet()
    rewrite_config(folder, whisper=CONFIG["whisper"] | {"n_audio_state": 32})
    with pytest.raises(CheckpointError, match="size mismatch"):
        Checkpoint.open(folder).load_whisper()


def test_missing_weights_say_where_they_belong(folder: Path) -> None:
    (folder.parent / "whisper" / "encoder.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"whisper holds none of encoder\.safetensors"):
        Checkpoint.open(folder).load_whisper()


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("{", "not JSON"),
        ("{}", "lacks the setting 'name'"),
        (json.dumps(CONFIG | {"resolution": 100}), "multiple of 8"),
        (json.dumps(CONFIG | {"whisper": {}}), r"whisper\.path"),
        (json.dumps(CONFIG | {"scheduler": {"prediction_type": "velocity"}}), "velocity"),
        (json.dumps(CONFIG | {"scheduler": {"steps": 3}}), "unknown scheduler settings: steps"),
    ],
)
def test_a_wrong_configuration_is_refused(folder: Path, content: str, named: str) -> None:
    (folder / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=named):
        Checkpoint.open(folder)


def test_a_folder_without_configuration_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="is this a checkpoint folder"):
        Checkpoint.open(tmp_path)
