"""What the server sets for its process's memory."""

import gc
from pathlib import Path

import pytest

from orchestrator import server
from orchestrator.orchestrator import Orchestrator
from processes.stop_signals import StopSignals
from tests.support.controlled_models import ControlledModels
from tests.support.running_server import settings_in
from tests.support.synthetic_avatar import write_avatar


async def test_serve_and_demo_give_back_the_memory_of_faces_that_were_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in(tmp_path)
    write_avatar(settings.avatars_dir, settings.avatar)
    asked: list[bool] = []
    monkeypatch.setattr(server, "give_back_freed_memory", lambda: asked.append(True))
    monkeypatch.setattr("orchestrator.encoder_costs.EncoderCosts.measure", lambda costs: None)
    signals = StopSignals()
    orchestrator = Orchestrator(settings, client=ControlledModels())  # type: ignore[arg-type]
    frozen: list[int] = []

    def started() -> None:
        frozen.append(gc.get_freeze_count())
        signals.action()

    # Both commands run their server by this one function.
    await server.run_server(orchestrator, signals, started)
    assert asked == [True]
    assert frozen[0] > 10_000, "no collection stops the streams to look at all modules"
    assert gc.get_freeze_count() == 0
