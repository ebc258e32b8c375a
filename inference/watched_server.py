"""One tritonserver as the watchdog sees it."""

from __future__ import annotations

import asyncio

import tritonclient.grpc.aio as grpcclient
from tritonclient.utils import InferenceServerException

from inference.errors import InferenceError
from inference.pulse import Pulse, Tensors, refused_inputs
from inference.reload import ModelReloader, OnReload
from inference.traffic import Traffic

SPEECH_MODELS = ("whisper", "unet", "vae_decoder")


class WatchedServer:
    """Asks a server for signs of life, and has it load a model again whose process died."""

    def __init__(self, client: grpcclient.InferenceServerClient, traffic: Traffic, on_reload: OnReload) -> None:
        """`client` reaches this server and no other; it stays its owner's."""
        self._client = client
        self._pulse = Pulse(client, traffic)
        self._reloader = ModelReloader(client, on_reload)

    async def is_ready(self) -> bool:
        """True when the server answers and the models of a speech are loaded; takes at most two seconds."""
        try:
            ready = [await self._client.is_model_ready(name, client_timeout=2.0) for name in SPEECH_MODELS]
        except InferenceServerException:
            return False
        return all(ready)

    async def feel_pulses(self, latent_size: int) -> dict[str, InferenceError | None]:
        """Each model of a speech, and what is wrong with its process; None for one that lives.

        Takes about a second where one is dead or hangs while nothing is asked of it.
        """

        async def feel(model: str, inputs: Tensors, output: str) -> InferenceError | None:
            try:
                await self._pulse.feel(model, inputs, output)
            except InferenceError as error:
                return error
            return None

        asked = {model: feel(model, *what) for model, what in refused_inputs(latent_size).items()}
        return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))

    async def reload(self, model: str) -> bool:
        """True when the model is loaded anew; False when that was done already this minute, or Triton refuses."""
        return await self._reloader.reload(model)

    async def aclose(self) -> None:
        """Let what has begun come to its end."""
        await self._reloader.aclose()
