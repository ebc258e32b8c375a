"""The watchdog's questions: small, and answered by the models' own processes or by nobody."""

from collections.abc import AsyncIterator

import numpy as np
import pytest
import pytest_asyncio
from tritonclient.grpc.aio import InferenceServerClient

from inference.errors import InferenceError, InferenceFailed
from inference.launcher import TritonServer
from inference.pulse import Pulse, refused_inputs
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
def pulse(client: InferenceServerClient) -> Pulse:
    return Pulse(client, Traffic())


async def test_questions_to_all_models_of_full_size_are_a_tenth_of_a_megabyte() -> None:
    sizes = [tensor.nbytes for inputs, _ in refused_inputs(FULL_SIZE).values() for tensor in inputs.values()]
    assert sum(sizes) < 100_000


@pytest.mark.parametrize("model", ["whisper", "unet", "vae_decoder"])
async def test_living_model_refuses_the_question_itself(pulse: Pulse, model: str) -> None:
    await pulse.feel(model, *refused_inputs(LATENT_SIZE)[model])


async def test_model_that_has_answered_others_meanwhile_is_not_asked(
    client: InferenceServerClient, pulse: Pulse
) -> None:
    async def decoded() -> int:
        return (await settled_counters(client))["vae_decoder"].requests

    question = refused_inputs(LATENT_SIZE)["vae_decoder"]
    before = await decoded()
    for asked in (1, 2):
        await pulse.feel("vae_decoder", *question)
        assert await decoded() == before + asked
    await infer(client, "vae_decoder", {"LATENTS": np.zeros((16, 4, LATENT_SIZE, LATENT_SIZE), np.float16)})
    assert await decoded() == before + 3
    await pulse.feel("vae_decoder", *question)
    assert await decoded() == before + 3, "it was asked though it had answered"
    await pulse.feel("vae_decoder", *question)
    assert await decoded() == before + 4


async def test_question_that_triton_refuses_by_itself_is_no_sign_of_life(pulse: Pulse) -> None:
    inputs, output = refused_inputs(LATENT_SIZE)["whisper"]
    inputs["PCM"] = np.zeros((1, 1, 1), np.float32)  # as where a repository of another version wants another shape
    with pytest.raises(InferenceError, match=r"exported by another version.*export it again") as caught:
        await pulse.feel("whisper", inputs, output)
    assert not isinstance(caught.value, InferenceFailed), "to load the model again would mend nothing"
