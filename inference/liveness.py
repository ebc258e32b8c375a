"""Liveness probes of the models' own processes: Triton reports a model ready whose process is dead or hangs."""

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
_IDLE_TIMEOUT_S = 1.0
_BUSY_TIMEOUT_S = 5.0
_TIMES_THE_LONGEST = 4
_REFUSED_BY_TRITON = "[request id:"
"""Prefix of a refusal by Triton itself, which says nothing about the model's process."""

Tensors = dict[str, NDArray[Any]]


def refused_inputs(latent_size: int) -> dict[str, tuple[Tensors, str]]:
    """For each model of a speech: inputs that are too short for it, and the name of its output.

    The model's own process refuses them, after all earlier requests, at almost no cost.
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
class _Counts:
    """Requests since a model was loaded: those that its process answered, including with an error, and the others.

    Both are infinite where Triton gives no statistics, which proves nothing.
    """

    answered: float = math.inf
    failed: float = math.inf


class LivenessProbe:
    """Probes models, but not one that has answered other requests since its last probe."""

    def __init__(
        self,
        client: grpcclient.InferenceServerClient,
        traffic: Traffic,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._traffic = traffic
        self._clock = clock
        self._last: dict[str, _Counts] = {}

    async def check(self, model: str, inputs: Tensors, output: str) -> None:
        """Return when the model is alive.

        Raises `InferenceFailed` when its process is dead or hangs, `TritonUnavailable`, and `InferenceError` where it
        can't be probed because another version of this product wrote the repository.
        """
        seen = self._traffic.of(model)
        if seen.died.is_set():
            raise _dead(seen, model)
        if self._clock() - seen.answered_at < _FRESH_S:
            return
        counts = await self._counts(model)
        before, self._last[model] = self._last.get(model, _Counts()), counts
        if counts.answered > before.answered and counts.failed == before.failed:
            return  # no matter whose requests: a probe between them would split their batch
        busy_s = max(_BUSY_TIMEOUT_S, _TIMES_THE_LONGEST * seen.longest_s)
        timeout_s = busy_s if seen.in_flight else _IDLE_TIMEOUT_S
        probe = asyncio.create_task(self._send(model, inputs, output, timeout_s))
        died = asyncio.create_task(seen.died.wait())
        try:
            # Triton takes a second to fail each queued request of a dead process; the first failure is enough.
            await asyncio.wait({probe, died}, return_when=asyncio.FIRST_COMPLETED)
            if seen.died.is_set():
                raise _dead(seen, model)
            await probe
        except InferenceServerException as error:
            status, message = error.status() or "", error.message() or ""
            if status == "StatusCode.INVALID_ARGUMENT" and message.startswith(_REFUSED_BY_TRITON):
                reason = f"{model} was exported by another version, and its process can't be probed: export it again"
                raise InferenceError(reason, model) from error
            if status == "StatusCode.INVALID_ARGUMENT":
                self._last[model] = replace(counts, answered=counts.answered + 1)  # the refused probe is an answer too
                return
            if "Exceeds maximum queue size" in message:
                return
            if is_dead_process(error):
                raise InferenceFailed(f"{model}: its process is dead ({message})", model) from error
            if status != "StatusCode.DEADLINE_EXCEEDED":
                raise typed(error, model) from error
            # Other requests may take long; a model that has finished one meanwhile does not hang.
            if (await self._counts(model)).answered == counts.answered:
                reason = f"{model}: its process has answered nothing for {timeout_s:g} s"
                raise InferenceFailed(reason, model) from None
        finally:
            probe.cancel()
            died.cancel()
            await asyncio.gather(probe, died, return_exceptions=True)

    async def _send(self, model: str, inputs: Tensors, output: str, timeout_s: float) -> None:
        tensors = []
        for name, values in inputs.items():
            tensor = grpcclient.InferInput(name, list(values.shape), np_to_triton_dtype(values.dtype))
            tensor.set_data_from_numpy(values)
            tensors.append(tensor)
        wanted = [grpcclient.InferRequestedOutput(output)]
        await self._client.infer(model, tensors, outputs=wanted, client_timeout=timeout_s)

    async def _counts(self, model: str) -> _Counts:
        try:
            answer = await self._client.get_inference_statistics(model, client_timeout=1.0)
        except (TimeoutError, InferenceServerException):
            return _Counts()
        models = [each.inference_stats for each in answer.model_stats]
        return _Counts(sum(each.success.count for each in models), sum(each.fail.count for each in models))


def _dead(seen: ModelTraffic, model: str) -> InferenceFailed:
    """The error that a request reported, raised once: the next probe shows whether it still holds."""
    seen.died.clear()
    return InferenceFailed(f"{model}: its process is dead, as another request reported", model)
