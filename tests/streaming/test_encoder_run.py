"""How one run of the encoder learns that its process has ended, whatever holds the process's pipes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from streaming.config import ChannelConfig
from streaming.encoder import EncoderRun
from streaming.encoder_steps import EncoderStep
from streaming.frame_pool import FramePool
from streaming.pairs import PairQueue

# Another process holds its output for as long as its input is open.
_HELD_OUTPUT = """
import subprocess, sys
subprocess.Popen(["cat"])
sys.exit(3)
"""
_CLOSED_OUTPUT = """
import os, time
os.close(1)
time.sleep(60)
"""


@contextmanager
def a_run_of(program: str) -> Iterator[EncoderRun]:
    config = ChannelConfig("c", "avatar", "preview", encoder=(sys.executable, "-c", program))
    queue = PairQueue(50, FramePool(2, 2), timeline=50)
    run = EncoderRun(config, (64, 64), queue, 0, 0, EncoderStep("as configured", "veryfast"), lambda message: None)
    try:
        yield run
    finally:
        run.kill()
        run.close(timeout_s=5)


def test_an_encoder_that_ended_is_seen_although_another_process_holds_its_output() -> None:
    with a_run_of(_HELD_OUTPUT) as run:
        while (code := run.wait(0.1)) is None:
            pass
        assert code == 3


def test_an_encoder_that_only_closed_its_output_runs_on() -> None:
    with a_run_of(_CLOSED_OUTPUT) as run:
        assert run._silent.wait(60), "it never closed its output"
        assert run.wait(1) is None and run.wait(0) is None


def test_the_end_of_an_encoder_is_its_code() -> None:
    with a_run_of("raise SystemExit(4)") as run:
        assert run.wait(20) == 4
