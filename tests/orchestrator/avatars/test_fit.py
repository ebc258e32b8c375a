"""How well a checkpoint draws an avatar's mouth is measured, kept, and said where it is too little."""

import json
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from latentsync.alignment import FaceAligner, crop_face
from latentsync.avatar import Loop
from latentsync.avatar_files import AvatarSettings
from latentsync.checkpoint import Checkpoint
from latentsync.landmarks import FaceLandmarker
from latentsync.mask import face_mask
from latentsync.vae import Vae, pixels_to_uint8, uint8_to_pixels
from orchestrator.avatars.adding import summary
from orchestrator.avatars.fit import LEAST_FIT_DB, fit_warning, measured_fit_db, sampled_rows
from tests.support.checkout import ROOT
from tests.support.command_line import cli
from tests.support.running_server import running, settings_in
from tests.support.synthetic_avatar import write_avatar

SIDE = 128
LATENTS = np.zeros((4, 4, SIDE // 8, SIDE // 8), np.float16)
DEMO = ROOT / "checkpoints" / "demo"


class Decoded:
    """A decoder that answers given pictures."""

    def __init__(self, faces: NDArray[np.uint8]) -> None:
        self.faces = faces

    async def decode(self, latents: NDArray[np.float16]) -> NDArray[np.uint8]:
        return self.faces


class OwnVae:
    """The decoder of a VAE in this process."""

    def __init__(self, vae: Vae) -> None:
        self.vae = vae

    @torch.inference_mode()
    def encode(self, faces: NDArray[np.uint8]) -> NDArray[np.float16]:
        return np.asarray(self.vae.encode(uint8_to_pixels(torch.from_numpy(faces))).half())

    @torch.inference_mode()
    async def decode(self, latents: NDArray[np.float16]) -> NDArray[np.uint8]:
        return np.asarray(pixels_to_uint8(self.vae.decode(torch.from_numpy(latents))))


async def test_only_what_a_speech_repaints_counts() -> None:
    faces = np.full((4, SIDE, SIDE, 3), 100, np.uint8)
    outside, inside = faces.copy(), faces.copy()
    repainted = face_mask(SIDE) < 0.5
    outside[:, ~repainted], inside[:, repainted] = 250, 110
    equal = await measured_fit_db(Decoded(faces), faces, LATENTS)
    assert 50 < equal < 60, "finite, for JSON has no infinity"
    assert await measured_fit_db(Decoded(outside), faces, LATENTS) == equal
    assert await measured_fit_db(Decoded(inside), faces, LATENTS) == pytest.approx(20 * np.log10(25.5), abs=0.05)


def test_the_sample_is_spread_over_the_frames_that_can_speak() -> None:
    assert sampled_rows(np.arange(10, 110)).tolist() == [10, 43, 76, 109]
    assert sampled_rows(np.array([7])).tolist() == [7, 7, 7, 7]


async def test_the_demo_draws_its_presenter_and_nobody_of_another_colour() -> None:
    if not (ROOT / "checkpoints" / "face").is_dir():
        pytest.skip("the face models are not fetched: run `latentsync-realtime fetch`")
    vae = OwnVae(Checkpoint.open(DEMO).load_vae())
    _, frame = cv2.VideoCapture(str(DEMO / "avatar" / "idle.mp4")).read()
    picture = np.ascontiguousarray(frame[..., ::-1])
    (face, *_) = FaceLandmarker(ROOT / "checkpoints" / "face").detect(picture)
    own = np.repeat(crop_face(picture, FaceAligner().align(face.landmarks), SIDE)[None], 4, 0)
    assert await measured_fit_db(vae, own, vae.encode(own)) > LEAST_FIT_DB + 5
    blue = np.ascontiguousarray(own[..., ::-1])
    assert await measured_fit_db(vae, blue, vae.encode(blue)) < LEAST_FIT_DB - 5


def settings_with(fit_db: float | None) -> AvatarSettings:
    return AvatarSettings("anna", 160, 120, 10, 128, Loop.CYCLE, "0", checkpoint="demo", fit_db=fit_db)


def test_the_warning_has_the_figure_and_what_to_do() -> None:
    assert fit_warning(settings_with(None)) is None, "an older avatar, of which nothing is known"
    assert fit_warning(settings_with(LEAST_FIT_DB)) is None
    warning = fit_warning(settings_with(18.0))
    assert warning is not None
    assert "'demo' can't draw this face" in warning and "18 dB" in warning and "docs/checkpoints.md" in warning


async def test_the_fit_is_shown_wherever_the_avatar_is(tmp_path: Path) -> None:
    settings = settings_in(tmp_path)
    for name, fit_db in (("good", 40.1), ("spoiled", 17.6), ("older", None)):
        path = write_avatar(settings.avatars_dir, name).directory / "avatar.json"
        values = json.loads(path.read_text())
        del values["fit_db"]
        path.write_text(json.dumps(values if fit_db is None else values | {"checkpoint": "tiny", "fit_db": fit_db}))
    async with running(settings) as server:
        await server.ready()
        listed = (await server.http.get("/v1/avatars")).json()["avatars"]
        shown = {avatar["name"]: (avatar["fit_db"], avatar["warning"]) for avatar in listed}
        assert shown["good"] == (40.1, None)
        assert shown["older"] == (None, None)
        assert shown["spoiled"][0] == 17.6
        assert shown["spoiled"][1].startswith("The checkpoint 'tiny' can't draw this face")
    lines = cli("avatar", "list", LATENTSYNC_DATA_DIR=str(settings.data_dir)).stdout.splitlines()
    by_name = {line.split("\t")[0]: line for line in lines}
    assert by_name["good"].endswith("fit 40.1 dB")
    assert "fit 17.6 dB\ttoo low" in by_name["spoiled"]
    assert "fit" not in by_name["older"]


def test_the_command_ends_with_the_fit(tmp_path: Path) -> None:
    avatar = write_avatar(tmp_path)
    avatar = replace(avatar, settings=replace(avatar.settings, checkpoint="demo", fit_db=17.6))
    said = summary(avatar, 1.0)
    assert "mouth through the checkpoint's VAE 17.6 dB" in said
    assert "\nWARNING: the checkpoint 'demo' can't draw this face" in said
