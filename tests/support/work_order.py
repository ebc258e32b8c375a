"""How several processes share the tests: by files, of which the longest come first.

A long file that came last would leave the other processes idle.
"""

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.support.checkout import ROOT

LONGEST_FIRST = (
    "tests/faults/",
    "tests/streaming/test_supervision.py",
    "tests/orchestrator/channels/test_lineup.py",
    "tests/inference/test_several_servers.py",
    "tests/orchestrator/test_watchdog.py",
    "tests/bench/gpu/test_bench_gpu.py",
    "tests/bench/test_stream_bench.py",
    "tests/fuzz/test_fuzz.py",
    "tests/streaming/test_channel.py",
    "tests/streaming/test_slow_encoder.py",
    "tests/streaming/test_recording.py",
    "tests/latentsync/test_fused.py",
    "tests/streaming/test_push_command.py",
)
"""Files and folders that take longest, longest first; the order of all others is that of their names."""
_TOGETHER = "tests/faults/"
"""A folder whose tests share one stage of a Triton, a server and a stream: a second one would cost a core."""


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """The tests with those of `LONGEST_FIRST` first; within a file they stay as they are."""
    gone = [name for name in LONGEST_FIRST if not (ROOT / name).exists()]
    assert not gone, f"LONGEST_FIRST names {gone}, which are no longer there: correct {__file__}"

    def place(item: pytest.Item) -> int:
        return next((n for n, name in enumerate(LONGEST_FIRST) if item.nodeid.startswith(name)), len(LONGEST_FIRST))

    return sorted(items, key=place)


class ByFile(LoadFileScheduling):
    """xdist's `--dist loadfile`, but for one folder whose tests belong together."""

    def _split_scope(self, nodeid: str) -> str:
        return _TOGETHER if nodeid.startswith(_TOGETHER) else super()._split_scope(nodeid)
