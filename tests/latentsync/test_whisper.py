"""Whisper's encoder on a GPU: a captured window is what the same kernels give one by one."""

import pytest
import torch

from latentsync.contract import CONTRACT
from latentsync.whisper import PADDING, AudioEncoder, WhisperConfig

RATE = CONTRACT.sample_rate_hz


def window(seed: int, spoken_s: float, seconds: int = CONTRACT.window_s) -> torch.Tensor:
    pcm = torch.full((1, seconds * RATE), float(PADDING))
    spoken = int(spoken_s * RATE)
    pcm[0, :spoken] = 0.1 * torch.randn(spoken, generator=torch.Generator().manual_seed(seed))
    return pcm.cuda()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@torch.inference_mode()
def test_captured_window_is_encoded_as_before() -> None:
    torch.manual_seed(0)
    encoder = AudioEncoder(WhisperConfig(), torch.float16).eval().requires_grad_(False).cuda()
    windows = [window(1, 3.2), window(2, 30), window(3, 0.04), window(4, 3.2, seconds=15)]
    windows.append(torch.cat([windows[0], windows[1]]))
    before = [encoder(each) for each in windows]
    encoder.capture_longest()
    after = [encoder(each) for each in windows]  # kept, so that a replay can't overwrite what another gave
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-3, atol=2e-3 * float(one.std()))
