"""The measurement of what encoding costs, as the server runs it beside everything else."""

import threading
import time
from pathlib import Path

import pytest

from orchestrator.encoder_costs import EncoderCosts
from orchestrator.orchestrator import Orchestrator
from orchestrator.server import run_server
from processes.state import state_of
from processes.stop_signals import StopSignals
from tests.support.controlled_models import ControlledModels
from tests.support.running_server import settings_in
from tests.support.synthetic_avatar import write_avatar


def test_a_measurement_that_goes_on_ends_with_the_server(tmp_path: Path) -> None:
    started = tmp_path / "started"
    endless = tmp_path / "ffmpeg"
    endless.write_text(f"#!/bin/sh\necho $$ > {started}.part\nmv {started}.part {started}\nexec sleep 1000\n")
    endless.chmod(0o755)
    costs = EncoderCosts(settings_in(tmp_path, ffmpeg=endless))
    costs.measure_in_background()
    while not started.exists():
        time.sleep(0.01)
    costs.close()
    assert state_of(int(started.read_text())) is None
    costs.close()  # a second time changes nothing


async def test_serve_and_demo_measure_beside_the_running_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, settings.avatar)
    begun = threading.Event()
    monkeypatch.setattr(EncoderCosts, "measure", lambda costs: begun.set())
    orchestrator = Orchestrator(settings, client=ControlledModels())  # type: ignore[arg-type]
    signals = StopSignals()
    # Both commands run their server by this one function.
    await run_server(orchestrator, signals, lambda: signals.action())
    assert begun.is_set()
