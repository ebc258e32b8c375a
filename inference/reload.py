"""Reloads of served models, since Triton never restarts a model process that died."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import tritonclient.grpc.aio as grpcclient
from tritonclient.utils import InferenceServerException

logger = logging.getLogger(__name__)

_SETTLE_S = 2.0
"""Between unload and load: Triton answers an unload before the model process has ended."""
_CALL_TIMEOUT_S = 600.0  # loading a large model from a cold disk takes minutes
_INTERVAL_S = 60.0

OnReload = Callable[[str, bool], None]
"""Called with each model that was reloaded (True), or that Triton refused to load (False)."""


class ModelReloader:
    """Reloads models: once for all callers that ask meanwhile, and at most once a minute for each model.

    A reload stalls all channels for seconds. A chunk that fails because of its content must not cause one each time.
    """

    def __init__(
        self,
        client: grpcclient.InferenceServerClient,
        on_reload: OnReload,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._on_reload = on_reload
        self._clock = clock
        self._reloads: dict[str, asyncio.Task[bool]] = {}
        self._done_at: dict[str, float] = {}

    async def reload(self, model: str) -> bool:
        """True when the model is reloaded; False when that was done within the last minute, or Triton refuses."""
        running = self._reloads.get(model)
        if running is None:
            done_at = self._done_at.get(model)
            if done_at is not None and self._clock() - done_at < _INTERVAL_S:
                return False
            running = self._reloads[model] = asyncio.create_task(self._reload(model), name=f"reload-{model}")
            running.add_done_callback(lambda _: self._reloads.pop(model, None))
        return await asyncio.shield(running)  # one caller may be cancelled while others wait for the same reload

    async def aclose(self) -> None:
        """Wait for reloads in progress: a model must not stay unloaded."""
        await asyncio.gather(*self._reloads.values(), return_exceptions=True)

    async def _reload(self, model: str) -> bool:
        logger.warning("model %s fails: reloading it", model)
        try:
            await self._client.unload_model(model, client_timeout=_CALL_TIMEOUT_S)
            await asyncio.sleep(_SETTLE_S)
            await self._client.load_model(model, client_timeout=_CALL_TIMEOUT_S)
        except InferenceServerException as error:
            logger.error("model %s was not reloaded: %s", model, error.message())
            self._on_reload(model, False)
            return False
        finally:
            self._done_at[model] = self._clock()
        logger.warning("model %s is reloaded", model)
        self._on_reload(model, True)
        return True
