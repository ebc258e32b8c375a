"""The served models as typed calls on arrays."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Set
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

import anyio
import numpy as np
import tritonclient.grpc.aio as grpcclient
from numpy.typing import NDArray

from inference.capacity import EMULATED_GPUS, Capacity
from inference.drawing import DrawingModels
from inference.errors import InferenceError, TritonUnavailable
from inference.reload import OnReload
from inference.retry import send
from inference.transport import Output, TensorTransport, TritonSettings, connect
from inference.watched_server import SPEECH_MODELS, WatchedServer
from latentsync.audio import speech_samples
from latentsync.contract import CHECKPOINT_PARAMETER, CONTRACT, POSITIONS_PARAMETER

CHUNK_FRAMES = CONTRACT.chunk_frames
_READY_POLL_S = 0.5


@dataclass(frozen=True)
class FaceModel:
    """Side length of the faces that Triton's checkpoint produces, in pixels, and of their latents."""

    resolution: int
    latent_size: int


@dataclass(frozen=True)
class StageStatistics:
    """What one served model has done since it was loaded."""

    inferences: int
    executions: int
    compute_s: float
    queue_s: float


class TritonClient:
    """Triton's gRPC service as typed calls; use it as an async context manager.

    Every call raises `TritonUnavailable` when Triton is unreachable through all retries, and `InferenceFailed` when it
    answers with an error. Calls can be cancelled; Triton then stops processing them.
    """

    def __init__(self, settings: TritonSettings) -> None:
        self._settings = settings
        self._client = connect(settings)
        self._transport = TensorTransport(self._client, settings)
        self._on_reload: OnReload = lambda model, loaded: None
        self._server = WatchedServer(self._client, self._transport.traffic, self._report_reload)
        self._by_address: dict[str, tuple[grpcclient.InferenceServerClient, WatchedServer]] = {}
        self._closing: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> TritonClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Free the shared memory and close the connection."""
        await self._server.aclose()
        self._close_servers(set(self._by_address))
        await asyncio.gather(*self._closing)
        await self._transport.aclose()
        await self._client.close()

    async def is_ready(self) -> bool:
        """True when Triton answers and the models of a speech are loaded; takes at most two seconds."""
        return await self._server.is_ready()

    async def each_server(self) -> dict[str, WatchedServer]:
        """The servers that exist now, by address."""
        servers = self._settings.servers
        if not servers.several:
            return {self._settings.url: self._server}
        addresses = await servers.addresses() or list(self._by_address)  # a failed name lookup may be temporary
        self._close_servers(self._by_address.keys() - addresses)
        for address in addresses:
            if address not in self._by_address:
                client = connect(replace(self._settings, url=address))
                traffic = self._transport.traffic.of_one_server()
                self._by_address[address] = client, WatchedServer(client, traffic, self._report_reload)
        return {address: server for address, (_, server) in self._by_address.items()}

    def drawing_with(self, checkpoint: str | None) -> DrawingModels:
        """The models with the networks of a served checkpoint; those of the main one for None."""
        return DrawingModels(self, checkpoint)

    async def face_models(self) -> dict[str, FaceModel]:
        """The faces of each checkpoint that Triton serves, by its name, those of the main one first."""

        async def configuration() -> Any:
            return await self._client.get_model_config("vae_decoder", client_timeout=5.0)

        config = (await send(configuration, "configuration of vae_decoder", self._settings.retry)).config
        if "resolutions" not in config.parameters:
            reason = "vae_decoder doesn't say whose faces it draws: it was exported by another version, export it again"
            raise InferenceError(reason, "vae_decoder")
        resolutions = json.loads(config.parameters["resolutions"].string_value)
        return {name: FaceModel(side, side // CONTRACT.pixels_per_latent) for name, side in resolutions.items()}

    async def encoder_batch(self) -> int:
        """The largest number of pictures in one `encode`."""

        async def configuration() -> Any:
            return await self._client.get_model_config("vae_encoder", client_timeout=5.0)

        answer = await send(configuration, "configuration of vae_encoder", self._settings.retry)
        return int(answer.config.max_batch_size)

    async def capacity(self) -> Capacity:
        """How many chunks all Triton servers process in parallel: the UNet's instances, each with a full batch.

        With several servers only one is asked; the others are assumed to be configured alike.
        """

        async def configuration() -> Any:
            return await self._client.get_model_config("unet", client_timeout=5.0)

        config = (await send(configuration, "configuration of unet", self._settings.retry)).config
        servers = len(await self._settings.servers.addresses())
        instances = sum(int(group.count) * max(1, len(group.gpus)) for group in config.instance_group)
        on_gpu = any(group.kind == group.KIND_GPU for group in config.instance_group)
        on_gpu = on_gpu or EMULATED_GPUS in config.parameters
        return Capacity(max(1, instances) * max(1, servers), max(1, int(config.max_batch_size)), on_gpu)

    async def server_version(self) -> str:
        """Triton's name and version."""

        async def metadata() -> Any:
            return await self._client.get_server_metadata(client_timeout=5.0)

        answer = await send(metadata, "metadata of the server", self._settings.retry)
        return f"{answer.name} {answer.version}"

    async def statistics(self) -> dict[str, StageStatistics]:
        """Counters of every loaded model, by its name."""

        async def statistics() -> Any:
            return await self._client.get_inference_statistics(client_timeout=5.0)

        answer = await send(statistics, "statistics", self._settings.retry)
        return {
            model.name: StageStatistics(
                inferences=model.inference_count,
                executions=model.execution_count,
                compute_s=sum(batch.compute_infer.ns for batch in model.batch_stats) / 1e9,
                queue_s=model.inference_stats.queue.ns / 1e9,
            )
            for model in answer.model_stats
        }

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        """Whisper's features [k, 5, 384] float16 of one window of PCM, float32 [n] at 16 kHz, for each 320 samples.

        A window lasts a whole number of seconds, 30 at most; ValueError for others. The speech in it ends at the first
        NaN, and so do its features.
        """
        inputs = {"PCM": _expect("PCM", window, (window.size,), np.float32)[None]}
        _, *each = CONTRACT.features_shape(window.size)
        positions = max(1, -(-speech_samples(window) // CONTRACT.samples_per_position))
        output = Output("FEATURES", (1, positions, *each), np.float16)
        wanted = {POSITIONS_PARAMETER: str(positions)}
        features: NDArray[np.float16] = (await self._transport.infer("whisper", inputs, output, wanted))[0]
        return features

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
        checkpoint: str | None = None,
    ) -> NDArray[np.uint8]:
        """A chunk's faces, uint8 RGB [k, R, R, 3], from the speech's noise and the chunk's condition and audio.

        They are drawn by the main checkpoint, or by the one that is named.
        `noise` float32 [4, h, h], `condition` float16 [k, 9, h, h], `audio` float16 [k, 50, 384]; R = 8 h, and k is one
        of the contract's `chunk_lengths`. Raises ValueError for other shapes.
        """
        size, frames = noise.shape[-1], CONTRACT.require_chunk_length(len(condition))
        conditioned = frames, CONTRACT.condition_channels, size, size
        inputs = {
            "NOISE": _expect("NOISE", noise, (CONTRACT.latent_channels, size, size), np.float32)[None],
            "CONDITION": _expect("CONDITION", condition, conditioned, np.float16)[None],
            "AUDIO": _expect("AUDIO", audio, (frames, *CONTRACT.audio_shape), np.float16)[None],
            "STEPS": np.array([[steps]], np.int32),
            "GUIDANCE": np.array([[guidance]], np.float32),
        }
        # Two calls and not the ensemble `lipsync`: Triton doesn't pass a cancellation on to an ensemble's models, so an
        # interrupted speech would keep the GPU busy. The latents that go back and forth are small.
        denoised = Output("LATENTS", (1, frames, CONTRACT.latent_channels, size, size), np.float16)
        latents = await self._transport.infer("unet", inputs, denoised, _parameters(checkpoint))
        return await self.decode(latents[0], checkpoint)

    async def decode(self, latents: NDArray[np.float16], checkpoint: str | None = None) -> NDArray[np.uint8]:
        """Faces RGB uint8 [k, R, R, 3] of scaled latents float16 [k, 4, R/8, R/8].

        k is one of the contract's `chunk_lengths`; ValueError for others.
        """
        frames, size = CONTRACT.require_chunk_length(len(latents)), latents.shape[-1]
        side = CONTRACT.pixels_per_latent * size
        given = _expect("LATENTS", latents, (frames, CONTRACT.latent_channels, size, size), np.float16)[None]
        output = Output("FACES", (1, frames, side, side, 3), np.uint8)
        drawn = await self._transport.infer("vae_decoder", {"LATENTS": given}, output, _parameters(checkpoint))
        faces: NDArray[np.uint8] = drawn[0]
        return faces

    async def recover(self, error: InferenceError) -> bool:
        """Wait for a Triton that is unreachable; otherwise reload the model that raised the error.

        Returns whether another attempt makes sense. A reload needs `--model-control-mode=explicit`. With several
        servers nothing is reloaded here: which of them the error came from is unknown until each is probed.
        """
        if error.model not in SPEECH_MODELS:
            return False
        if isinstance(error, TritonUnavailable) and not await self.is_ready():
            return await self._back()
        if self._settings.servers.several:
            return False
        return await self._server.reload(error.model)

    async def _back(self) -> bool:
        """True once Triton is ready again, False after `outage_s` without it."""
        with anyio.move_on_after(self._settings.outage_s):
            while True:
                if await self.is_ready():
                    return True
                await asyncio.sleep(_READY_POLL_S)
        return False

    def watch_reloads(self, on_reload: OnReload) -> None:
        """Call `on_reload` with each model that was reloaded (True), or that Triton refused to load (False)."""
        self._on_reload = on_reload

    def _report_reload(self, model: str, loaded: bool) -> None:
        self._on_reload(model, loaded)

    def _close_servers(self, addresses: Set[str]) -> None:
        for client, server in map(self._by_address.pop, addresses):
            # Not awaited: closing waits for a reload that is in progress, which may take minutes.
            closing = asyncio.create_task(_closed(client, server))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)

    async def encode(self, pixels: NDArray[np.float16], checkpoint: str | None = None) -> NDArray[np.float16]:
        """Latents, scaled, float16 [n, 4, R/8, R/8], of pictures in [-1, 1], float16 [n, 3, R, R].

        n is at most `encoder_batch()`.
        """
        count, side = pixels.shape[0], pixels.shape[-1]
        inputs = {"PIXELS": _expect("PIXELS", pixels, (count, 3, side, side), np.float16)}
        output = Output("LATENTS", (count, 4, side // 8, side // 8), np.float16)
        return await self._transport.infer("vae_encoder", inputs, output, _parameters(checkpoint))


async def _closed(client: grpcclient.InferenceServerClient, server: WatchedServer) -> None:
    await server.aclose()
    await client.close()


def _parameters(checkpoint: str | None) -> dict[str, str] | None:
    return None if checkpoint is None else {CHECKPOINT_PARAMETER: checkpoint}


def _expect(name: str, values: NDArray[Any], shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    if values.shape != shape or values.dtype != dtype:
        wanted = f"{np.dtype(dtype)} {list(shape)}"
        raise ValueError(f"{name} must be {wanted}, got {values.dtype} {list(values.shape)}")
    return values
