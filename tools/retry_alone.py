"""pytest with its own arguments; what failed runs once more after the rest, alone.

Beside others a test may lack the machine. One that passes alone doesn't fail the run: it is named at the end, and in
the file that PASSED_ALONE names, if set. What fails again fails the run, as do more than five failures, and a run that
doesn't come to its end.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

_MOST = 5  # noise doesn't strike more
_MOST_LINES = 25


class Failures:
    """The first message of each test, or file, that failed, in whichever process."""

    def __init__(self) -> None:
        self.messages: dict[str, str] = {}
        self.options: list[str] = []

    def pytest_configure(self, config: pytest.Config) -> None:
        """Keeps the arguments that don't say which tests are to run."""
        self.options = [each for each in config.invocation_params.args if each not in config.args]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Of set-up and tear-down too, and of a process that died."""
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Of a file that can't be imported."""
        self._note(report)

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.failed:
            crash = getattr(report.longrepr, "reprcrash", None)
            self.messages.setdefault(report.nodeid, crash.message if crash else report.longreprtext)


def main(arguments: list[str]) -> int:
    """The exit status, as pytest's."""
    failures = Failures()
    status = pytest.main(arguments, plugins=[failures])
    failed = failures.messages
    if status != pytest.ExitCode.TESTS_FAILED:
        return int(status)
    if len(failed) > _MOST:
        _say(f"{len(failed)} failed: that isn't noise, and none of them runs again")
        return int(status)
    _say(f"once more, alone: {' '.join(failed)}")
    # The tests come first, or --cov would take one for its value; without --cov-append it would begin anew.
    once_more = [*failed, *failures.options, "--numprocesses=0", "--cov-append", "--cov-report="]
    again = subprocess.run([sys.executable, "-m", "pytest", *once_more]).returncode
    if again:
        _say("failed again, alone")
        return again
    report = "".join(_named(test, message) for test, message in failed.items())
    print(report, end="", flush=True)
    if path := os.environ.get("PASSED_ALONE"):
        with Path(path).open("a") as file:
            file.write(report)
    return 0


def _say(text: str) -> None:
    print(f"################  {text}  ################", flush=True)


def _named(test: str, message: str) -> str:
    lines = message.strip().splitlines()
    shown = [*lines[:_MOST_LINES], *(["…"] if len(lines) > _MOST_LINES else [])]
    return "".join(
        [f"################  failed beside others, passed alone: {test}\n", *(f"    {each}\n" for each in shown)]
    )


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # as with `python -m pytest`
    sys.exit(main(sys.argv[1:]))
