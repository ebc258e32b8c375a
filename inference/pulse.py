"""Whether a served model's own process lives: Triton keeps calling one ready whose process is dead or hangs."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tritonclient.grpc.aio as grpcclient
from numpy.typing import NDArray
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from inference.errors import InferenceError, InferenceFailed
from inference.retry import is_dead_process, typed
from inference.traffic import ModelTraffic, Traffic
from latentsync.contract import CONTRACT

_FRESH_S = 1.0
_IDLE_PATIENCE_S = 1.0
_BUSY_PATIENCE_S = 5.0
_TIMES_THE_LONGEST = 4
_TRITONS_OWN = "[request id:"
"""So begins what Triton refuses by itself, where it says nothing of the model's process."""

Tensors = dict[str, NDArray[Any]]


def refused_inputs(latent_size: int) -> dict[str, tuple[Tensors, str]]:
    """For each model of a speech inputs that are too short for it, and the name of its output.

    The refusal comes from the model's own process, after all requests before it, and costs next to nothing.
    """
    size = latent_size
    chunk: Tensors = {
        "NOISE": np.zeros((1, 4, size, size), np.float32),
        "CONDITION": np.zeros((1, 1, 9, size, size), np.float16),
        "AUDIO": np.zeros((1, 1, *CONTRACT.audio_shape), np.float16),
        "STEPS": np.ones((1, 1), np.int32),
        "GUIDANCE": np.ones((1, 1), np.float32),
    }
    return {
        "whisper": ({"PCM": np.zeros((1, 1), np.float32)}, "FEATURES"),
        "unet": (chunk, "LATENTS"),
        "vae_decoder": ({"LATENTS": np.zeros((1, 1, 4, size, size), np.float16)}, "FACES"),
    }


@dataclass(frozen=True)
class _Tally:
    """What became of all requests since a model was loaded: its process answered, also with an error of its own; or it
    didn't. Both are infinite where Triton doesn't tell, which is no sign of life."""

    answered: float = math.inf
    failed: float = math.inf


class Pulse:
    """Asks a model for a sign of life, unless requests that it answered since the last time were one."""

    def __init__(
        self,
        client: grpcclient.InferenceServerClient,
        traffic: Traffic,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._traffic = traffic
        self._clock = clock
        self._last: dict[str, _Tally] = {}

    async def feel(self, model: str, inputs: Tensors, output: str) -> None:
        """Returns when the model lives; raises `InferenceFailed` when it is dead or hangs, and `TritonUnavailable`.

        Raises `InferenceError` where it can't be asked, since its repository was written by another version.
        """
        seen = self._traffic.of(model)
        if seen.died.is_set():
            raise _dead(seen, model)
        if self._clock() - seen.answered_at < _FRESH_S:
            return
        tally = await self._tally(model)
        before, self._last[model] = self._last.get(model, _Tally()), tally
        if tally.answered > before.answered and tally.failed == before.failed:
            return  # whoever asked: a question amid their requests would cost them their batch
        busy_s = max(_BUSY_PATIENCE_S, _TIMES_THE_LONGEST * seen.longest_s)
        patience_s = busy_s if seen.in_flight else _IDLE_PATIENCE_S
        asking = asyncio.create_task(self._ask(model, inputs, output, patience_s))
        told = asyncio.create_task(seen.died.wait())
        try:
            # Each request that waits before ours costs a dead process a second; the first of them tells.
            await asyncio.wait({asking, told}, return_when=asyncio.FIRST_COMPLETED)
            if seen.died.is_set():
                raise _dead(seen, model)
            await asking
        except InferenceServerException as error:
            status, message = error.status() or "", error.message() or ""
            if status == "StatusCode.INVALID_ARGUMENT" and message.startswith(_TRITONS_OWN):
                reason = (
                    f"{model} was exported by another version, and can't be asked whether it lives: export it again"
                )
                raise InferenceError(reason, model) from error
            if status == "StatusCode.INVALID_ARGUMENT":
                self._last[model] = replace(tally, answered=tally.answered + 1)  # the refusal counts too
                return
            if "Exceeds maximum queue size" in message:
                return
            if is_dead_process(error):
                raise InferenceFailed(f"{model}: its process is dead ({message})", model) from error
            if status != "StatusCode.DEADLINE_EXCEEDED":
                raise typed(error, model) from error
            # What others asked for may be long; a model that finishes something meanwhile does not hang.
            if (await self._tally(model)).answered == tally.answered:
                reason = f"{model}: its process has answered nothing for {patience_s:g} s"
                raise InferenceFailed(reason, model) from None
        finally:
            asking.cancel()
            told.cancel()
            await asyncio.gather(asking, told, return_exceptions=True)

    async def _ask(self, model: str, inputs: Tensors, output: str, patience_s: float) -> None:
        tensors = []
        for name, values in inputs.items():
            tensor = grpcclient.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            tensors.append(tensor)
        wanted = [grpcclient.InferRequestedOutput(output)]
        await self._client.infer(model, tensors, outputs=wanted, client_timeout=patience_s)

    async def _tally(self, model: str) -> _Tally:
        try:
            answer = await self._client.get_inference_statistics(model, client_timeout=1.0)
        except (TimeoutError, InferenceServerException):
            return _Tally()
        counts = [each.inference_stats for each in answer.model_stats]
        return _Tally(sum(each.success.count for each in counts), sum(each.fail.count for each in counts))


def _dead(seen: ModelTraffic, model: str) -> InferenceFailed:
    """What a request was told, once: whether it is still so, the next question shows."""
    seen.died.clear()
    return InferenceFailed(f"{model}: its process is dead, as a request was told", model)
