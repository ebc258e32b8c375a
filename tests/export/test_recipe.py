"""Drawn checkpoints: the sizes are those of a version's configuration, and what is drawn loads."""

import json
from pathlib import Path

import pytest
import torch

from bench.gpu.served import model_version
from export.recipe import Version, recipe_checkpoint
from latentsync.checkpoint import Checkpoint
from latentsync.motion import sinusoid
from latentsync.unet import MotionLayers
from orchestrator.settings import SettingsError
from tests.support.checkout import ROOT
from tests.support.tiny_checkpoint import MOVING_UNET


def test_a_drawn_checkpoint_is_of_its_versions_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = json.loads((ROOT / "checkpoints" / "latentsync-1.6" / "config.json").read_text())
    vae = {"block_out_channels": [8, 8, 8, 8], "norm_num_groups": 4}
    small = config | {"unet": MOVING_UNET, "vae": config["vae"] | {"config": config["vae"]["config"] | vae}}
    (tmp_path / "latentsync-1.6").mkdir()
    (tmp_path / "latentsync-1.6" / "config.json").write_text(json.dumps(small))
    monkeypatch.setattr("export.recipe._CHECKPOINTS", tmp_path)

    checkpoint = Checkpoint.open(recipe_checkpoint(tmp_path / "drawn", Version.V1_6))

    assert (checkpoint.name, checkpoint.resolution) == ("recipe-1.6", 512)
    unet = checkpoint.load_unet()
    assert unet.config.motion_modules is MotionLayers.ALL
    for key, value in unet.blocks.state_dict().items():
        if key.endswith(".pe"):
            torch.testing.assert_close(value, sinusoid(value.shape[-1]), rtol=0, atol=1e-3)
        elif key.endswith("proj_out.weight"):
            assert value.std() > 0.05, "zeros would hide the module"


def test_an_unknown_version_is_refused_by_name() -> None:
    assert model_version("1.5") is Version.V1_5
    with pytest.raises(SettingsError, match=r"--version is '2.0' and must be one of 1.0, 1.5, 1.6"):
        model_version("2.0")
