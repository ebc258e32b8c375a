"""Somebody sets the machine's clock while a speech plays: nothing waits, hurries, or is counted wrongly."""

import mmap
import shutil
import struct
import subprocess
import time
from collections.abc import Callable, Iterator
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest

from tests.support.fault_stage import Stage, patiently
from tests.support.processes import one
from tests.support.starved import Starved

pytestmark = pytest.mark.timeout(900)

SOURCE = Path(__file__).with_name("wall_clock.c")
HOUR_S = 3600


@pytest.fixture
def jump(stage: Stage, tmp_path: Path) -> Iterator[Callable[[int], None]]:
    """Sets the wall clock of the server and of all its processes to so many seconds from the machine's own."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("moving a server's clock needs a C compiler")
    library, offset = tmp_path / "wall_clock.so", tmp_path / "offset"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"], check=True)
    offset.write_bytes(bytes(8))
    with offset.open("r+b") as file, mmap.mmap(file.fileno(), 8) as shared:

        def to(seconds: int) -> None:
            shared[:] = struct.pack("=q", seconds)

        try:
            stage.restart(LD_PRELOAD=str(library), WALL_CLOCK_OFFSET=str(offset))
            yield to
        finally:
            stage.restart()


def test_wall_clock_that_jumps_is_noticed_by_nobody(stage: Stage, jump: Callable[[int], None]) -> None:
    assert stage.server is not None
    began, first, starved = time.time(), stage.stream(), Starved(one(stage.server.pid, "streaming.process"))
    task_ids = stage.speaking(8)
    for offset_s in (3 * HOUR_S, -48 * HOUR_S):
        jump(offset_s)
        before = stage.stream()["frames_sent"]
        for _ in patiently("no frame goes out"):
            if stage.stream()["frames_sent"] > before:
                break
        for _ in patiently("the server's clock has not jumped"):  # it writes its date anew each second
            told = parsedate_to_datetime(stage.http.get("/health/live").headers["Date"]).timestamp()
            if abs(told - began - offset_s) < HOUR_S:
                break
        task_ids.append(stage.say(0.5))
    for task in stage.all_played(task_ids):
        assert task["attempts"] == 1
        stamps = list(task["timings_s"].values())
        assert stamps == sorted(stamps) and 0 <= stamps[-1] < time.time() - began
    last = stage.stream()
    for count in ("reconnects", "encoder_restarts"):
        assert last[count] == first[count], count
    for count in ("stalls", "dropped_pairs"):
        assert last[count] == first[count] or starved.seconds > 0.5, count
    stage.assert_on_air()
