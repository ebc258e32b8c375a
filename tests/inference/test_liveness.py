"""Liveness probes: small, and answered by the process of the model or by nobody."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient

from inference.errors import InferenceError, InferenceFailed
from inference.launcher import TritonServer
from inference.liveness import LivenessProbe, refused_inputs
from inference.traffic import Traffic
from tests.support.chunks import infer
from tests.support.counts import settled_counters
from tests.support.tiny_checkpoint import LATENT_SIZE

pytestmark = pytest.mark.asyncio(loop_scope="session")

FULL_SIZE = 32


@pytest_asyncio.fixture(loop_scope="session")
async def client(triton_server: TritonServer) -> AsyncIterator[InferenceServerClient]:
    async with InferenceServerClient(f"127.0.0.1:{triton_server.options.grpc_port}") as connected:
        yield connected


@pytest.fixture
def probe(client: InferenceServerClient) -> LivenessProbe:
    return LivenessProbe(client, Traffic())


async def test_probes_of_all_models_at_full_size_are_below_a_tenth_of_a_megabyte() -> None:
    sizes = [tensor.nbytes for inputs, _ in refused_inputs(FULL_SIZE).values() for tensor in inputs.values()]
    assert sum(sizes) < 100_000


@pytest.mark.parametrize("model", ["whisper", "unet", "vae_decoder"])
async def test_model_that_is_alive_refuses_the_probe_itself(probe: LivenessProbe, model: str) -> None:
    await probe.check(model, *refused_inputs(LATENT_SIZE)[model])


async def test_model_that_has_answered_other_requests_is_not_probed(
    client: InferenceServerClient, probe: LivenessProbe
) -> None:
    async def decoded() -> int:
        return (await settled_counters(client))["vae_decoder"].requests

    inputs = refused_inputs(LATENT_SIZE)["vae_decoder"]
    before = await decoded()
    for asked in (1, 2):
        await probe.check("vae_decoder", *inputs)
        assert await decoded() == before + asked
    await infer(client, "vae_decoder", {"LATENTS": np.zeros((16, 4, LATENT_SIZE, LATENT_SIZE), np.float16)})
    assert await decoded() == before + 3
    await probe.check("vae_decoder", *inputs)
    assert await decoded() == before + 3, "it was probed though it had answered other requests"
    await probe.check("vae_decoder", *inputs)
    assert await decoded() == before + 4


async def test_probe_that_triton_itself_refuses_does_not_count_as_alive(probe: LivenessProbe) -> None:
    inputs, output = refused_inputs(LATENT_SIZE)["whisper"]
    inputs["PCM"] = np.zeros((1, 1, 1), np.float32)  # as where a repository of another version wants another shape
    with pytest.raises(InferenceError, match=r"exported by another version.*export it again") as caught:
        await probe.check("whisper", inputs, output)
    assert not isinstance(caught.value, InferenceFailed), "a reload would repair nothing"
