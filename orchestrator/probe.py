"""`probe`: what a container's health check asks, answered by work that is really done."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Callable

import anyio
import numpy as np

from inference.client import TritonClient
from inference.errors import InferenceError
from inference.retry import RetryPolicy
from inference.transport import TritonSettings
from latentsync.contract import CONTRACT

_POLL_S = 1.0
_HTTP_TIMEOUT_S = 5.0

Tell = Callable[[str], None]


class ProbeFailed(RuntimeError):
    """What was probed doesn't do its work; the message says what it answered."""


async def probe_triton(
    url: str, timeout_s: float, wait_s: float = 0.0, tell: Tell = lambda text: None, secret: str | None = None
) -> float:
    """Send silence through Whisper, the UNet (one step) and the VAE decoder; returns the seconds that it took.

    Triton's own readiness stays true when a model's process has died. Tries again for up to `wait_s`, and tells why;
    raises ProbeFailed with the last reason.
    """
    give_up = anyio.current_time() + wait_s
    told = ""
    while True:
        try:
            return await _infer(url, timeout_s, secret)
        except ProbeFailed as failure:
            if anyio.current_time() >= give_up:
                raise
            if str(failure) != told:
                told = str(failure)
                tell(told)
        await anyio.sleep(_POLL_S)


def probe_server(url: str) -> str:
    """Ask an orchestrator for `/health/live`; returns its answer or raises ProbeFailed.

    Not for `/health/ready`: a server whose Triton is away plays on, and must not be restarted for it.
    """
    try:
        with urllib.request.urlopen(f"{url}/health/live", timeout=_HTTP_TIMEOUT_S) as answer:
            return str(json.load(answer)["status"])
    except (OSError, ValueError, KeyError) as error:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise ProbeFailed(f"{url}/health/live: {reason}") from None


async def _infer(url: str, timeout_s: float, secret: str | None) -> float:
    # Once and through gRPC: retries would hide what is asked for, and a health check must leave no shared memory.
    settings = TritonSettings(url, timeout_s, shared_memory=False, retry=RetryPolicy(attempts=1), secret=secret)
    started = time.monotonic()
    try:
        with anyio.fail_after(timeout_s):
            async with TritonClient(settings) as client:
                size = next(iter((await client.face_models()).values())).latent_size
                # The shortest window and chunk: speeches wait while a model answers this.
                frames = CONTRACT.shortest_chunk_frames
                await client.features(np.zeros(CONTRACT.sample_rate_hz, np.float32))
                await client.faces(
                    np.zeros((4, size, size), np.float32),
                    np.zeros((frames, CONTRACT.condition_channels, size, size), np.float16),
                    np.zeros((frames, *CONTRACT.audio_shape), np.float16),
                    steps=1,
                    guidance=1.0,
                )
    except TimeoutError:
        raise ProbeFailed(f"Triton at {url} made no face within {timeout_s:g} s") from None
    except InferenceError as error:
        raise ProbeFailed(f"Triton at {url}: {error.message}") from None
    return time.monotonic() - started
