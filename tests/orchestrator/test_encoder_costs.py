"""The measurement of what encoding costs, as the server runs it beside everything else."""

import time
from pathlib import Path

from orchestrator.encoder_costs import EncoderCosts
from processes.state import state_of
from tests.support.running_server import settings_in


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
