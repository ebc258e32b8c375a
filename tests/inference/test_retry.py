"""Which errors are waited out, and how."""

import pytest
from tritonclient.utils import InferenceServerException

from inference.errors import InferenceFailed, TritonUnavailable
from inference.retry import RetryPolicy, send

PASSING = [
    ("failed to connect to all addresses", "StatusCode.UNAVAILABLE"),
    ("Exceeds maximum queue size", "StatusCode.UNAVAILABLE"),
    ("Request for unknown model: 'unet' has no available versions", "StatusCode.NOT_FOUND"),
    ("Stub process 'unet_0' is not healthy.", "StatusCode.INTERNAL"),
]
LASTING = [
    ("Request for unknown model: 'unett' is not found", "StatusCode.NOT_FOUND"),
    ("the number of steps must be 1 to 1000, not 0", "StatusCode.INVALID_ARGUMENT"),
    ("denoising failed: out of memory", "StatusCode.INTERNAL"),
    ("Deadline Exceeded", "StatusCode.DEADLINE_EXCEEDED"),
]


class Server:
    """Fails with the given error so many times, then answers."""

    def __init__(self, message: str, status: str, failures: int) -> None:
        self.error = InferenceServerException(message, status)
        self.failures = failures
        self.asked = 0
        self.waits: list[float] = []

    async def request(self) -> str:
        self.asked += 1
        if self.asked <= self.failures:
            raise self.error
        return "answer"

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


@pytest.mark.parametrize(("message", "status"), PASSING)
async def test_what_passes_is_waited_out_with_growing_patience(message: str, status: str) -> None:
    server = Server(message, status, failures=4)
    policy = RetryPolicy(attempts=5, first_delay_s=0.1, max_delay_s=0.5)
    assert await send(server.request, "unet", policy, server.sleep) == "answer"
    assert server.waits == [0.1, 0.2, 0.4, 0.5]


@pytest.mark.parametrize(("message", "status"), PASSING)
async def test_what_does_not_pass_in_time_is_unavailable(message: str, status: str) -> None:
    server = Server(message, status, failures=9)
    with pytest.raises(TritonUnavailable, match="Check that tritonserver runs"):
        await send(server.request, "unet", RetryPolicy(attempts=3), server.sleep)
    assert server.asked == 3


@pytest.mark.parametrize(("message", "status"), LASTING)
async def test_what_lasts_is_not_tried_again(message: str, status: str) -> None:
    server = Server(message, status, failures=1)
    with pytest.raises(InferenceFailed, match="unet: "):
        await send(server.request, "unet", RetryPolicy(), server.sleep)
    assert server.asked == 1
