"""The fused kernels against plain PyTorch: interpreted on the CPU, and compiled where there is a GPU."""

import ast
import json
import os
import subprocess
import sys

import pytest
import torch

from latentsync.contract import CONTRACT
from latentsync.denoising import PlainPredictor, SchedulerConfig, denoise
from latentsync.unet import LatentSyncUNet, MotionLayers, UNetConfig
from tests.support.checkout import ROOT


@pytest.mark.timeout(820)
def test_networks_are_the_same_on_fused_kernels() -> None:
    pytest.importorskip("triton", reason="torch for this platform brings no Triton compiler")
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": str(ROOT)}
    program = [sys.executable, "-m", "tests.support.fused_networks"]
    done = subprocess.run(program, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    ways = json.loads(done.stdout)
    for errors in ways.values():
        assert errors.pop("shallow is another prediction") > 1e-3
        assert max(errors.values()) < 1e-4, errors
    del ways["without descriptors"]  # the same additions in the same order
    traces = {errors["unet"] for errors in ways.values()}
    assert len(traces) == 4, "additions in another order leave a trace: two ways were the same"


def test_every_kernel_waits_for_its_inputs_first() -> None:
    # They are launched before their inputs have been written, which no test on a CPU can notice.
    folder = ROOT / "latentsync" / "fused"
    functions = [
        function
        for path in (folder / "kernels").glob("*.py")
        for function in ast.parse(path.read_text()).body
        if isinstance(function, ast.FunctionDef)
    ]
    launches = [
        (call.func.value.attr, call)
        for module in ("operators.py", "convolutions.py")
        for call in ast.walk(ast.parse((folder / module).read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Subscript)
        and isinstance(call.func.value, ast.Attribute)
    ]
    launched = {name for name, _ in launches}
    kernels = [function for function in functions if function.name in launched]
    assert len(kernels) == len(launched) + 4  # three modules of tiles, two transforms each
    for kernel in kernels:
        first = kernel.body[1]  # after the docstring
        assert ast.unparse(first) == "await_inputs()", kernel.name
    for name, call in launches:
        assert "launch_options" in ast.unparse(call.keywords[-1]), name


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("reuse", [1, 2])
@pytest.mark.parametrize("motion", [MotionLayers.NONE, MotionLayers.ALL])
@pytest.mark.parametrize("widths", [(64, 128, 128, 128), (320, 640, 640, 640)], ids=["narrow", "tiled"])
@torch.inference_mode()
def test_graphs_denoise_as_plain_pytorch(widths: tuple[int, ...], motion: MotionLayers, reuse: int) -> None:
    from latentsync.denoising import ReusingPredictor
    from latentsync.fused.graphed import GraphedUNet
    from latentsync.fused.unet import FusedUNet

    torch.manual_seed(0)
    unet = (
        LatentSyncUNet(UNetConfig(block_out_channels=widths, motion_modules=motion)).cuda().requires_grad_(False).eval()
    )
    scheduler = SchedulerConfig()
    cases = []
    for frames in (16, 8, 4):
        for chunks, guidance in ((1, 1.0), (2, 1.0), (2, 1.5)):
            noise = torch.randn(chunks, 4, 16, 16, device="cuda")
            condition = torch.randn(chunks, frames, 9, 16, 16, device="cuda")
            audio = torch.randn(chunks, frames, 50, 384, device="cuda")
            plain = ReusingPredictor(unet.float()) if reuse > 1 else PlainPredictor(unet.float())
            inputs = noise, condition, audio, 4, guidance, scheduler
            cases.append((inputs, denoise(plain, *inputs, reuse=reuse)))
    # One predictor for all, as it is served: the graphs share their inputs, and come in any order.
    graphed = GraphedUNet(FusedUNet(unet.half()), reuses=reuse > 1)
    for inputs, expected in (*cases, *reversed(cases)):
        found = denoise(graphed, *inputs, reuse=reuse)
        assert float((found - expected).norm() / expected.norm()) < 5e-3


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@torch.inference_mode()
def test_a_graphed_decoder_takes_chunks_of_all_lengths() -> None:
    from latentsync.fused.graphed import GraphedDecoder

    torch.manual_seed(0)
    decode = torch.nn.ConvTranspose2d(4, 3, 8, stride=8).cuda()
    graphed = GraphedDecoder(decode, CONTRACT.chunk_lengths)
    for frames in (4, 8, 12, 16, 24, 48, 64, 4):
        latents = torch.randn(frames, 4, 8, 8, device="cuda")
        torch.testing.assert_close(graphed(latents), decode(latents), rtol=1e-3, atol=1e-3)
