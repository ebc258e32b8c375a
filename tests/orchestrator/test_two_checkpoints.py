"""Two checkpoints on one server: channels whose avatars they draw, side by side, through a real tritonserver."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from export.repository import export_repository
from inference.launcher import TritonOptions, TritonServer
from latentsync.checkpoint import Checkpoint
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav
from tests.support.synthetic_avatar import write_avatar_of
from tests.support.tiny_checkpoint import write_tiny_checkpoint

pytestmark = pytest.mark.asyncio(loop_scope="module")

OWN_STEPS, OWN_GUIDANCE = 3, 1.3


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    """The main one, and one with larger faces, other steps and another guidance."""
    parent = tmp_path_factory.mktemp("checkpoints")
    main, other = write_tiny_checkpoint(parent), write_tiny_checkpoint(parent, name="other", resolution=96, seed=1)
    config = json.loads((other / "config.json").read_text())
    config["scheduler"] |= {"default_steps": OWN_STEPS, "default_guidance": OWN_GUIDANCE, "guided_from": "silence"}
    (other / "config.json").write_text(json.dumps(config))
    return Checkpoint.open(main), Checkpoint.open(other)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address(
    checkpoints: tuple[Checkpoint, Checkpoint],
    options_for: Callable[..., TritonOptions],
    tmp_path_factory: pytest.TempPathFactory,
) -> AsyncIterator[str]:
    main, other = (checkpoint.directory for checkpoint in checkpoints)
    repository = tmp_path_factory.mktemp("repository") / "models"
    export_repository(main, repository, further=[other], device="cpu", dtype="fp32", cpu_threads=1)
    server = await TritonServer.start(options_for(repository, exit_timeout_s=5))
    yield f"127.0.0.1:{server.options.grpc_port}"
    await server.aclose()


async def test_channels_of_both_speak_at_once_each_as_its_own_checkpoint_does(
    checkpoints: tuple[Checkpoint, Checkpoint], address: str, tmp_path: Path
) -> None:
    main, other = checkpoints
    settings = settings_in(
        tmp_path, triton_url=address, checkpoint_dir=main.directory, further_checkpoints=(other.directory,)
    )
    write_avatar_of(main.name, settings.avatars_dir, settings.avatar, main.resolution)
    write_avatar_of(other.name, settings.avatars_dir, "anna", other.resolution)
    async with running(settings, real_client=True) as server:
        await server.ready()
        await server.http.post("/v1/channels", json={"channel": "second", "avatar": "anna"})
        async with asyncio.timeout(60):
            while (await server.http.get("/v1/channels/second")).json()["state"] != "running":
                await asyncio.sleep(0.1)

        async def say(channel: str, **fields: Any) -> Any:
            answer = await server.http.post(
                "/generate_video", files={"audio_file": ("speech.wav", wav(1.0))}, data={"channel": channel, **fields}
            )
            return await server.task(answer.json()["task_id"], "done")

        tasks = await asyncio.gather(say("main"), say("second"), say("second", guidance_scale="2"))
    assert [task["error"] for task in tasks] == [None] * 3
    assert [task["frames"]["played"] for task in tasks] == [task["frames"]["total"] for task in tasks]
    assert [(task["num_inference_steps"], task["guidance_scale"]) for task in tasks] == [
        (main.scheduler.default_steps, main.scheduler.default_guidance),
        (OWN_STEPS, OWN_GUIDANCE),
        (OWN_STEPS, 2.0),
    ]


async def test_a_triton_that_lacks_the_avatars_checkpoint_is_not_ready_and_says_what_to_do(
    checkpoints: tuple[Checkpoint, Checkpoint], address: str, tmp_path: Path
) -> None:
    main, _ = checkpoints
    missing = write_tiny_checkpoint(tmp_path / "checkpoints", name="missing")
    settings = settings_in(tmp_path, triton_url=address, checkpoint_dir=main.directory, further_checkpoints=(missing,))
    write_avatar_of("missing", settings.avatars_dir, settings.avatar, main.resolution)
    async with running(settings, real_client=True) as server:
        async with asyncio.timeout(60):
            while "prepared for missing" not in (message := (await server.http.get("/health/ready")).text):
                await asyncio.sleep(0.1)
        answer = await server.http.post("/generate_video", files={"audio_file": ("speech.wav", wav(1.0))})
    assert "draws with tiny, other and the avatar was prepared for missing: export that too" in message
    assert answer.status_code == 503
