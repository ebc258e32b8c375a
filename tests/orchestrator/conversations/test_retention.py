"""Files of conversations are deleted after their time, and not because a clock is wrong."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from orchestrator.conversations.retention import Retention

DAYS = 30
NOW = datetime(2026, 3, 4, 12, tzinfo=UTC)


class Machine:
    """Its clock, and a server that is started on it."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self._folder = folder
        self.start()

    def start(self) -> None:
        started = self.now
        self._ran = timedelta()
        self._retention = Retention(
            self._folder, DAYS, lambda: (started + self._ran).timestamp(), lambda: self.now.timestamp()
        )

    def run(self, **time: float) -> list[str]:
        """The days whose files are left after so much time, in which it looks every hour."""
        for _ in range(int(timedelta(**time) / timedelta(hours=1)) + 1):
            self._retention.delete_old()
            self._ran += timedelta(hours=1)
            self.now += timedelta(hours=1)
        return sorted(path.stem for path in self._folder.glob("*.jsonl"))


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    for age in range(40):
        (tmp_path / f"{(NOW - timedelta(days=age)).date()}.jsonl").touch()
    return Machine(tmp_path)


def test_what_is_older_than_its_time_is_deleted(machine: Machine) -> None:
    assert machine.run() == [str((NOW - timedelta(days=age)).date()) for age in range(DAYS, -1, -1)]


@pytest.mark.parametrize("noted", [True, False], ids=["noted", "by the newest file"])
def test_clock_that_is_years_ahead_at_the_start_and_set_right_deletes_nothing(machine: Machine, noted: bool) -> None:
    there = machine.run() if noted else sorted(path.stem for path in machine._folder.glob("*.jsonl"))
    machine.now += timedelta(days=4000)
    machine.start()
    assert machine.run(hours=5) == there
    machine.now -= timedelta(days=4000)  # the server runs on, with the wrong time of its start
    machine.run(hours=100)
    machine.start()
    assert len(machine.run()) >= DAYS - 5


def test_server_that_was_off_for_long_deletes_a_day_later_also_over_restarts(machine: Machine) -> None:
    machine.run()
    machine.now += timedelta(days=100)
    for _ in range(3):
        machine.start()
        assert machine.run(hours=6)
    machine.start()
    assert machine.run(hours=6) == []


def test_weekend_is_no_jump(machine: Machine) -> None:
    before = machine.run()
    machine.now += timedelta(days=3)
    machine.start()
    assert machine.run() == before[3:]


def test_damaged_note_counts_as_none(machine: Machine) -> None:
    (machine._folder / "clock.json").write_text("{")
    (machine._folder / "9999-99-99.jsonl").touch()  # nor does a file of no day hold up anything
    assert len(machine.run()) == DAYS + 2
