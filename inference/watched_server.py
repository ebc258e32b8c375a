"""One tritonserver, as seen by the watchdog."""

from __future__ import annotations

import asyncio

import tritonclient.grpc.aio as grpcclient
from tritonclient.utils import InferenceServerException

from inference.errors import InferenceError
from inference.liveness import LivenessProbe, Tensors, refused_inputs
from inference.reload import ModelReloader, OnReload
from inference.traffic import Traffic

SPEECH_MODELS = ("whisper", "unet", "vae_decoder")


class WatchedServer:
    """Probes a server's models, and reloads one whose process died."""

    def __init__(self, client: grpcclient.InferenceServerClient, traffic: Traffic, on_reload: OnReload) -> None:
        """`client` reaches this server and no other; the caller closes it."""
        self._client = client
        self._probe = LivenessProbe(client, traffic)
        self._reloader = ModelReloader(client, on_reload)

    async def is_ready(self) -> bool:
        """True when the server answers and the models of a speech are loaded; takes at most two seconds."""
        try:
            ready = [await self._client.is_model_ready(name, client_timeout=2.0) for name in SPEECH_MODELS]
        except InferenceServerException:
            return False
        return all(ready)

    async def probe_models(self, latent_size: int) -> dict[str, InferenceError | None]:
        """For each model of a speech the failure of its process; None for one that is alive.

        Takes about a second where one is dead, or hangs without requests in flight.
        """

        async def probe(model: str, inputs: Tensors, output: str) -> InferenceError | None:
            try:
                await self._probe.check(model, inputs, output)
            except InferenceError as error:
                return error
            return None

        probes = {model: probe(model, *what) for model, what in refused_inputs(latent_size).items()}
        return dict(zip(probes, await asyncio.gather(*probes.values()), strict=True))

    async def reload(self, model: str) -> bool:
        """True when the model is reloaded; False when that was done within the last minute, or Triton refuses."""
        return await self._reloader.reload(model)

    async def aclose(self) -> None:
        """Wait for reloads in progress."""
        await self._reloader.aclose()
