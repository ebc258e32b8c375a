"""A real image-to-video pipeline of diffusers, tiny and of drawn weights, in the process that makes films."""

import asyncio
import errno
import shutil
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from filming.film import FilmLimits, filmed
from filming.local import LocalFilms, LocalModel
from filming.service import FilmError, FilmFault, FilmOrder, FilmProgress

pytest.importorskip("transformers", reason="the pipeline's picture encoder needs transformers")

SIDE, FRAMES = 32, 6
OPTIONS = {"width": SIDE, "height": SIDE, "num_frames": FRAMES, "num_inference_steps": 2, "decode_chunk_size": 2}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stable Video Diffusion's pipeline, as diffusers saves one."""
    import torch
    from diffusers import (
        AutoencoderKLTemporalDecoder,
        EulerDiscreteScheduler,
        StableVideoDiffusionPipeline,
        UNetSpatioTemporalConditionModel,
    )
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(0)
    pipeline = StableVideoDiffusionPipeline(
        image_encoder=CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=32,
                projection_dim=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                image_size=224,
                intermediate_size=37,
                patch_size=56,
            )
        ),
        unet=UNetSpatioTemporalConditionModel(
            block_out_channels=(32, 64),
            layers_per_block=2,
            sample_size=32,
            in_channels=8,
            out_channels=4,
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            cross_attention_dim=32,
            num_attention_heads=8,
            projection_class_embeddings_input_dim=96,
            addition_time_embed_dim=32,
        ),
        vae=AutoencoderKLTemporalDecoder(
            block_out_channels=(32, 64),
            in_channels=3,
            out_channels=3,
            latent_channels=4,
            down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        ),
        scheduler=EulerDiscreteScheduler(prediction_type="v_prediction", use_karras_sigmas=True),
        feature_extractor=CLIPImageProcessor(crop_size=32, size=32),
    )
    folder = tmp_path_factory.mktemp("pipeline")
    pipeline.save_pretrained(folder)
    return folder


@pytest.fixture
def order(tmp_path: Path) -> FilmOrder:
    picture = tmp_path / "person.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)).save(picture)
    return FilmOrder(picture, "she listens")


async def told_of(service: LocalFilms, job: str, into: Path) -> list[FilmProgress]:
    told: list[FilmProgress] = []
    clock = asyncio.get_running_loop().time
    await filmed(service, job, into, FilmLimits(), told.append, clock)
    return told


@pytest.mark.slow  # diffusers is read anew by the process
async def test_pipeline_of_a_folder_makes_a_video(
    folder: Path, order: FilmOrder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    move, full = shutil.move, [OSError(errno.ENOSPC, "No space left on device")]

    def moved(video: Path, into: Path) -> None:
        if full:
            raise full.pop()
        move(video, into)

    monkeypatch.setattr(shutil, "move", moved)
    monkeypatch.setattr("filming.film._NO_ROOM_PAUSE_S", 0.01)
    service = LocalFilms(LocalModel(folder, OPTIONS, fps=8))
    told = await told_of(service, await service.begin(order), tmp_path / "film.mp4")
    await service.aclose()
    assert told[-1] == FilmProgress(True, 1.0)
    with av.open(str(tmp_path / "film.mp4")) as film:
        (stream,) = film.streams
        assert isinstance(stream, av.VideoStream)
        assert (stream.width, stream.height, stream.average_rate) == (SIDE, SIDE, Fraction(8))
        assert len(list(film.decode(stream))) == FRAMES


@pytest.mark.slow
async def test_option_that_the_pipeline_has_not_is_named(folder: Path, order: FilmOrder, tmp_path: Path) -> None:
    service = LocalFilms(LocalModel(folder, {"num_framse": 6}, fps=8))
    with pytest.raises(FilmError, match="no option 'num_framse'") as failed:
        await told_of(service, await service.begin(order), tmp_path / "film.mp4")
    assert failed.value.fault is FilmFault.FAILED
    await service.aclose()


async def test_stopped_order_makes_room_for_the_next(folder: Path, order: FilmOrder, tmp_path: Path) -> None:
    service = LocalFilms(LocalModel(folder, {**OPTIONS, "num_inference_steps": 1_000}, fps=8))
    first = await service.begin(order)
    next_one = asyncio.create_task(service.begin(order))
    await asyncio.sleep(0.1)
    assert not next_one.done(), "one at a time"
    await service.stop(first)
    second = await next_one
    with pytest.raises(FilmError, match="when the server ended"):
        await service.look(first)
    assert not (await service.look(second)).ready
    await service.aclose()
