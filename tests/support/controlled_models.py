"""Models under a test's control: they answer at once, when told, or with an error."""

import asyncio
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from inference.capacity import Capacity
from inference.client import FaceModel
from inference.errors import InferenceError, InferenceFailed
from latentsync.contract import CONTRACT

RESOLUTION = 128


class ControlledModels:
    """Stands where TritonClient stands. `gate` holds faces back, `ready` is Triton's readiness."""

    def __init__(self) -> None:
        self.ready = True
        self.failing = False
        self.failing_steps: int | None = None  # only speeches of so many steps fail
        self.mendable = False
        self.recovered: list[InferenceError] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.running = 0
        self.cancelled = 0

    async def __aenter__(self) -> "ControlledModels":
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def is_ready(self) -> bool:
        return self.ready

    async def face_models(self) -> dict[str, FaceModel]:
        return {"controlled": FaceModel(resolution=RESOLUTION, latent_size=RESOLUTION // 8)}

    def drawing_with(self, checkpoint: str | None) -> "ControlledModels":
        return self

    async def each_server(self) -> "dict[str, ControlledModels]":
        return {"controlled": self}

    async def probe_models(self, latent_size: int) -> dict[str, InferenceError | None]:
        return {}

    def watch_reloads(self, told: Callable[[str, bool], None]) -> None: ...

    async def capacity(self) -> Capacity:
        return Capacity(instances=1, batch=4)

    async def recover(self, error: InferenceError) -> bool:
        self.recovered.append(error)
        self.failing = self.failing and not self.mendable
        return self.mendable

    async def features(self, window: NDArray[np.float32]) -> NDArray[np.float16]:
        return np.zeros(CONTRACT.features_shape(len(window)), np.float16)

    async def faces(
        self,
        noise: NDArray[np.float32],
        condition: NDArray[np.float16],
        audio: NDArray[np.float16],
        steps: int,
        guidance: float,
    ) -> NDArray[np.uint8]:
        self.running += 1
        try:
            await self.gate.wait()
            await asyncio.sleep(0.02)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        finally:
            self.running -= 1
        if self.failing or steps == self.failing_steps:
            raise InferenceFailed("the model said no")
        return np.full((len(condition), RESOLUTION, RESOLUTION, 3), 200, np.uint8)
