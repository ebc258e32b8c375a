"""Several real tritonservers behind one address: work is spread, and one that dies takes nothing with it."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest

from inference.client import TritonClient
from inference.errors import InferenceFailed
from inference.launcher import TritonOptions, TritonServer
from inference.servers import TritonServers
from inference.transport import TritonSettings
from latentsync.checkpoint import Checkpoint
from tests.support.client_chunk import chunk
from tests.support.processes import descendants
from tests.support.running_server import RunningServer, metric, running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.mark.parametrize(
    ("url", "target", "several"),
    [
        ("gpu-1:8001", "gpu-1:8001", False),
        ("127.0.0.1:8001", "127.0.0.1:8001", False),
        ("dns:///tritons:8001", "dns:///tritons:8001", True),
        ("10.0.0.1:8001,10.0.0.2:8001", "ipv4:10.0.0.1:8001,10.0.0.2:8001", True),
    ],
)
async def test_an_address_means_one_server_or_several(url: str, target: str, several: bool) -> None:
    servers = TritonServers(url)
    assert (servers.target, servers.several) == (target, several)


@pytest.mark.parametrize("url", ["gpu-1", "http://gpu-1:8001", "10.0.0.1:8001,", "gpu-1:8001,gpu-2:8001"])
async def test_a_wrong_address_is_refused_with_what_to_write(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be host:port|dns:///name:port"):
        TritonServers(url)


async def test_servers_behind_a_name_are_found() -> None:
    assert "127.0.0.1:8001" in await TritonServers("dns:///localhost:8001").addresses()
    assert await TritonServers("dns:///no-such-name.invalid:8001").addresses() == []
    assert await TritonServers("127.0.0.1:1,127.0.0.1:2").addresses() == ["127.0.0.1:1", "127.0.0.1:2"]


async def test_chunks_are_spread_and_a_killed_server_loses_none(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    async with (
        two_servers(exported, options_for, tmp_path) as servers,
        TritonClient(TritonSettings(addresses(servers))) as client,
    ):
        assert (await client.capacity()).chunks == 2
        expected = [await client.faces(*chunk(seed), steps=2, guidance=1.0) for seed in range(4)]
        for server in servers:
            assert await denoised(server) > 0, "one of the two was given nothing"
        steps = 40  # long enough that both are at work when one is killed
        slow = [await client.faces(*chunk(seed), steps=steps, guidance=1.0) for seed in range(4)]
        at_work = [asyncio.create_task(client.faces(*chunk(i % 4), steps=steps, guidance=1.0)) for i in range(12)]
        await asyncio.wait(at_work, return_when=asyncio.FIRST_COMPLETED)
        await servers[0].kill()
        for index, faces in enumerate(await asyncio.gather(*at_work)):
            np.testing.assert_array_equal(faces, slow[index % 4])
        for seed in range(4):
            faces = await client.faces(*chunk(seed), steps=2, guidance=1.0)
            np.testing.assert_array_equal(faces, expected[seed])
        assert not await client.recover(InferenceFailed("broken", "unet")), "which of them would be reloaded?"


async def test_a_server_killed_amid_a_speech_is_not_seen_on_the_stream(
    checkpoint: Checkpoint, exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    async with two_servers(exported, options_for, tmp_path) as servers:
        settings = settings_in(tmp_path, triton_url=addresses(servers), checkpoint_dir=checkpoint.directory)
        async with running(settings, real_client=True, resolution=checkpoint.resolution) as server:
            await server.ready()
            answer = await server.http.post("/generate_video", files={"audio_file": ("speech.wav", wav(8.0))})
            task_id = answer.json()["task_id"]
            await server.task(task_id, "streaming")
            await servers[0].kill()
            task = await server.task(task_id, "done")
    assert task["error"] is None
    assert task["frames"] == {"total": 202, "generated": 202, "played": 202, "heard": 200, "dropped": 0}


@pytest.mark.timeout(300)
async def test_failing_triton_is_named_and_recovered_while_the_other_makes_the_speech(
    checkpoint: Checkpoint, exported: Callable[..., Path], options_for: Callable[..., TritonOptions], tmp_path: Path
) -> None:
    async with two_servers(exported, options_for, tmp_path) as servers:
        for number in (signal.SIGKILL, signal.SIGSTOP):  # dead, hanging
            settings = settings_in(
                tmp_path / number.name, triton_url=addresses(servers), checkpoint_dir=checkpoint.directory
            )
            async with running(settings, real_client=True, resolution=checkpoint.resolution) as server:
                await server.ready()
                await fails_and_recovers(server, servers, number)
                if number is signal.SIGSTOP:
                    for each in servers:
                        await each.kill()
                    while (health := await server.http.get("/health/ready")).status_code == 200:
                        await asyncio.sleep(0.05)
                    assert health.json()["parts"]["triton"]["message"].startswith("0 of 2 at ")


async def fails_and_recovers(server: RunningServer, servers: list[TritonServer], number: signal.Signals) -> None:
    """A signal to the first Triton's UNet: it is told, a speech is said meanwhile, and the model is loaded again."""
    first, second = addresses(servers).split(",")
    assert await metric(server, f'latentsync_triton_server_up{{server="{first}"}}') == 1
    ([victim], [other]) = (unet_processes(each) for each in servers)
    os.kill(victim, number)
    told = await readiness_until(server, lambda message: "unet" in message)
    assert told.startswith(f"1 of 2 at {addresses(servers)} can take a speech; {first}: unet"), told
    assert await metric(server, f'latentsync_triton_server_up{{server="{first}"}}') == 0
    assert await metric(server, f'latentsync_triton_server_up{{server="{second}"}}') == 1
    assert await metric(server, 'latentsync_model_up{model="unet"}') == 0
    answer = await server.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(2.0))})
    assert (await server.task(answer.json()["task_id"], "done"))["error"] is None
    await readiness_until(server, lambda message: message.endswith("is ready"))
    assert unet_processes(servers[0]) - {victim}, "a stopped one stays until somebody ends it"
    assert unet_processes(servers[1]) == {other}, "nothing was wrong with it"
    assert await metric(server, 'latentsync_model_failures_total{model="unet"}') == 1
    assert await metric(server, 'latentsync_model_reloads_total{model="unet",result="true"}') == 1


def unet_processes(server: TritonServer) -> set[int]:
    return {pid for pid, command in descendants(server.pid).items() if "/unet/" in command}


async def readiness_until(server: RunningServer, said: Callable[[str], bool]) -> str:
    """What is said of Triton as soon as it is so; meanwhile the server is ready all the time."""
    while True:
        health = await server.http.get("/health/ready")
        assert health.status_code == 200, health.text
        if said(message := health.json()["parts"]["triton"]["message"]):
            return str(message)
        await asyncio.sleep(0.05)


@asynccontextmanager
async def two_servers(
    exported: Callable[..., Path], options_for: Callable[..., TritonOptions], folder: Path
) -> AsyncIterator[list[TritonServer]]:
    repository = exported(folder / "models")
    servers: list[TritonServer] = []
    # As on Kubernetes, and much shorter: every connection ends and is made again while the test runs.
    ages = ("--grpc-max-connection-age=1000", "--grpc-max-connection-age-grace=120000")
    try:
        for _ in range(2):
            options = options_for(repository, exit_timeout_s=1, extra_arguments=ages)
            servers.append(await TritonServer.start(options))
        yield servers
    finally:
        for server in servers:
            await server.kill()


def addresses(servers: list[TritonServer]) -> str:
    return ",".join(f"127.0.0.1:{server.options.grpc_port}" for server in servers)


async def denoised(server: TritonServer) -> int:
    """Chunks that this server has denoised."""
    async with TritonClient(TritonSettings(f"127.0.0.1:{server.options.grpc_port}")) as client:
        return (await client.statistics())["unet"].inferences
