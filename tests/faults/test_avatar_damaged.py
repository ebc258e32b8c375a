"""A prepared avatar's files are damaged: refused by name at a start, survived and repaired on a live channel."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.fault_stage import Stage, patiently

pytestmark = pytest.mark.timeout(900)


def damaged_files(stage: Stage) -> Path:
    return stage.data_dir / "avatars" / "demo"


@pytest.mark.parametrize("name", ["frames.rgb", "condition.npy"])
def test_file_cut_short_while_live_stops_its_channel_alone_until_it_is_repaired(stage: Stage, name: str) -> None:
    path = damaged_files(stage) / name
    whole = path.read_bytes()
    assert stage.server is not None
    task_ids = stage.speaking()
    with path.open("r+b") as file:  # the mapped file itself, as a failing disk or a careless copy would cut it
        file.truncate(len(whole) // 3)
    try:
        if name == "frames.rgb":  # the channel's own file; what the orchestrator needs of an avatar is in its memory
            for _ in patiently("nobody says what is wrong", stage.log):
                if name in (stage.channel()["problem"] or ""):
                    break
            health = stage.http.get("/health/ready")
            assert health.status_code == 200, "requests must reach the API, which tells of the channel"
            part = health.json()["parts"]["channel main"]
            assert part["ready"] is False and name in part["message"]
            task_ids.append(stage.say(0.5))
        else:
            stage.all_played(task_ids)
        assert stage.server.poll() is None, stage.log()
    finally:
        path.write_bytes(whole)
    stage.all_played(task_ids)
    stage.until_ready()
    stage.assert_on_air()


def test_damaged_avatar_at_the_start_is_refused_by_its_file(stage: Stage) -> None:
    path = damaged_files(stage) / "condition.npy"
    whole = path.read_bytes()
    path.write_bytes(b"\xff" * len(whole))
    try:
        command = [sys.executable, "-m", "orchestrator.cli", "serve", "--port", "0"]
        command[-1] = str(int(stage.environment["LATENTSYNC_HTTP_PORT"]) ^ 1)
        ended = subprocess.run(command, env=stage.environment, capture_output=True, text=True, timeout=60, check=False)
    finally:
        path.write_bytes(whole)
    assert ended.returncode == 1
    assert str(path) in ended.stderr and "Traceback" not in ended.stderr, ended.stderr
