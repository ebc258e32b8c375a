"""Faults on a schedule, and what a run that was broken on purpose is judged by."""

import asyncio
import contextlib
import sqlite3
from collections import Counter
from dataclasses import replace
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np
import pytest

from bench.stream.commands import StreamOptions, stream_plan
from bench.stream.criteria import fault_criteria, load_criteria
from bench.stream.faults import FaultInjector
from bench.stream.findings import ChannelFindings, Fault, Outage, Said
from bench.stream.load import LoadMeter
from bench.stream.plan import FaultKind, Plan, PlannedFault, planned_faults
from bench.stream.scenario import Run
from bench.stream.stand_ins import NumberedModels
from inference.errors import InferenceFailed
from orchestrator.settings import SettingsError

TWO_HOURS_S = 7200.0


def plan(**values: float | None) -> Plan:
    return Plan(**{"duration_s": TWO_HOURS_S, "size": (320, 480)} | values)  # type: ignore[arg-type]


def test_two_hours_with_a_fault_each_five_minutes_meet_every_kind_at_least_twice() -> None:
    faults = planned_faults(plan(fault_minutes=5))
    assert [fault.at_s for fault in faults] == [300.0 * number for number in range(1, 24)]
    assert set(Counter(fault.kind for fault in faults).values()) == {2, 3}
    assert [fault.kind for fault in faults[:9]] == list(FaultKind)


def test_the_last_minute_which_is_compared_with_the_second_one_has_no_fault() -> None:
    assert planned_faults(plan(duration_s=389.0, fault_minutes=5)) == []
    assert len(planned_faults(plan(duration_s=390.0, fault_minutes=5))) == 1


def test_without_minutes_the_server_and_the_encoder_are_killed_as_often_as_the_plan_says() -> None:
    faults = planned_faults(plan(duration_s=600.0, server_restarts=2, encoder_kills=1))
    assert [(fault.kind, fault.lasts_s) for fault in faults] == [
        (FaultKind.SERVER_KILLED, 3.0),
        (FaultKind.ENCODER_KILLED, 0.0),
        (FaultKind.SERVER_KILLED, 15.0),
    ]
    assert planned_faults(plan(server_restarts=0, encoder_kills=0)) == []


def test_outages_of_the_server_are_short_and_long_in_turn_however_many_there_are() -> None:
    faults = planned_faults(plan(server_restarts=12, encoder_kills=0))
    assert [fault.lasts_s for fault in faults] == [3.0, 15.0] * 6


async def test_stand_in_for_the_models_fails_for_a_while_and_is_repaired_after_it() -> None:
    now = 100.0
    models = NumberedModels(1, rate=1e6, late={}, clock=lambda: now)
    window = np.zeros(480_000, np.float32)
    models.fail_for(0.05)
    with pytest.raises(InferenceFailed):
        await models.features(window)
    repaired = asyncio.create_task(models.recover(InferenceFailed("on purpose")))
    await asyncio.sleep(0)
    assert not repaired.done()
    assert await repaired
    now = 100.06
    await models.features(window)


def run_with(faults: list[Fault], states: dict[int, str], restarts: int = 0) -> Run:
    said = [Said(number, 0, 3.0, 85, state) for number, state in states.items()]
    return Run(
        plan(duration_s=600.0, server_restarts=len(faults), encoder_kills=0), said, faults, 0, [], LoadMeter(0),
        [{"restarts": restarts}], 0.0, 600.0,
    )  # fmt: skip


def findings(*outages: Outage) -> ChannelFindings:
    return ChannelFindings(
        frames_received=0, outages=list(outages), frames_missing_outside_outages=0, frames_repeated_or_out_of_order=0,
        timestamps_not_monotonic=0, timestamps_off_the_frame_clock=0, av_offset_ms={}, av_drift_ms_per_min=0.0,
        latency_ms={}, speeches_in_order=[], speeches_hidden_by_outages=[], speeches_wrong=[], waits_unexplained=[],
        fades_measured=0, fades_wrong=[], speech_lag_ms={}, sound_without_lips_frames=0, late_waits_seen=0,
        idle_after_interrupt_ms=[],
    )  # fmt: skip


def broken(run: Run, *outages: Outage) -> list[str]:
    return [criterion.name for criterion in fault_criteria(run, [findings(*outages)]) if not criterion.kept]


def test_each_kind_of_fault_has_its_own_limit_for_the_gap() -> None:
    killed = Fault("channel_killed", 60.0, 60.0)
    assert broken(run_with([killed], {}, restarts=1), Outage("channel_killed", 100, 4.0)) == []
    assert broken(run_with([killed], {}, restarts=1), Outage("channel_killed", 200, 8.0)) == [
        "on_air_after_channel_killed_s"
    ]
    restarted = Fault("server_killed", 60.0, 63.0)
    assert broken(run_with([restarted], {}), Outage("server_killed", 100, 4.0)) == ["on_air_after_server_killed_s"]


def test_the_stream_does_not_depend_on_the_task_store_nor_on_the_models() -> None:
    for kind in ("store_locked", "models_fail"):
        assert broken(run_with([Fault(kind, 60.0, 75.0)], {}), Outage(kind, 1, 0.0)) == [f"on_air_after_{kind}_s"]


def test_the_speech_that_played_during_a_fault_has_to_end_well() -> None:
    fault = Fault("models_fail", 60.0, 65.0, speech=4)
    assert broken(run_with([fault], {4: "done"})) == []
    assert broken(run_with([fault], {4: "failed"})) == ["speeches_lost_by_models_fail"]
    assert broken(run_with([fault], {5: "done"})) == ["speeches_lost_by_models_fail"]


def test_a_channel_that_restarts_unbroken_and_a_fault_that_was_left_out_are_named() -> None:
    fault = Fault("store_locked", 60.0, 75.0)
    assert broken(run_with([fault], {}, restarts=1)) == ["channel_restarts"]
    run = run_with([fault], {})
    assert broken(replace(run, plan=replace(run.plan, server_restarts=2))) == ["faults_made"]


def can_write(database: sqlite3.Connection) -> bool:
    try:
        database.execute("DELETE FROM tasks")
    except sqlite3.OperationalError:
        return False
    return True


async def test_a_locked_store_can_be_read_and_not_written_until_the_fault_ends(tmp_path: Path) -> None:
    store = tmp_path / "tasks.sqlite3"
    with contextlib.closing(sqlite3.connect(store, timeout=0, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE tasks (id TEXT)")
        injector = FaultInjector(MagicMock(), LoadMeter(0), store, MagicMock(), MagicMock(), MagicMock())
        striking = asyncio.create_task(injector.strike(PlannedFault(0.0, FaultKind.STORE_LOCKED, 0.5), speech=7))
        refused = False
        while not striking.done():
            assert database.execute("SELECT count(*) FROM tasks").fetchone() == (0,)
            refused |= not can_write(database)
            await asyncio.sleep(0.01)
        assert can_write(database)
    fault = await striking
    assert refused
    assert (fault.kind, fault.speech) == ("store_locked", 7)
    assert fault.back_at - fault.at >= 0.5


def test_options_of_two_hours_repeat_the_usual_ten_minutes() -> None:
    made = stream_plan(StreamOptions(duration=TWO_HOURS_S, fault_minutes=5))
    assert (made.speeches, made.interrupts, made.late_chunks, made.fault_minutes) == (240, 36, 24, 5)


@pytest.mark.parametrize(
    "options",
    [StreamOptions(size="831x1248"), StreamOptions(fault_minutes=5, faults=False)],
    ids=["an odd size", "faults and none"],
)
def test_options_that_cannot_be_are_refused_by_name(options: StreamOptions) -> None:
    with pytest.raises(SettingsError, match=r"--size|--fault-minutes"):
        stream_plan(options)


@pytest.mark.parametrize(
    ("files", "threads", "kept"), [((44, 43), (17, 17), True), ((44, 45), (17, 17), False), ((44, 44), (17, 16), False)]
)
def test_a_file_that_stays_open_and_a_thread_that_ends_are_told(
    files: tuple[int, int], threads: tuple[int, int], kept: bool
) -> None:
    """A connection of the measuring client that has ended isn't: it is one file fewer in the server."""
    handles = {
        "files_second": float(files[0]),
        "files_last": float(files[1]),
        "threads_second": float(threads[0]),
        "threads_last": float(threads[1]),
    }
    found = load_criteria(plan(), {}, {"orchestrator": handles}, {"channel": 0.1})
    assert [criterion.kept for criterion in found] == [True, kept]
