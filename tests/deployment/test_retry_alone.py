"""`make test` gives what failed beside other tests one more chance, alone, and tells it."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

BESIDE_ANOTHER = ("--numprocesses", "1", "--dist", "loadfile", "--no-loadscope-reorder")
FAILS_ONCE = """
import os
from pathlib import Path
def test_of_speed():
    mark = Path(__file__).with_suffix(".ran")
    ran = mark.exists()
    mark.touch()
    assert ran, "too slow"
    assert "PYTEST_XDIST_WORKER" not in os.environ, "not alone"
def test_of_something_else():
    with open(__file__ + ".times", "a") as times:
        times.write("x")
"""
SAID = "failed beside others, passed alone: test_once.py::test_of_speed\n    AssertionError: too slow\n"


@dataclass
class Run:
    """One run of the script over a folder of tests."""

    status: int
    printed: str
    told: str


def run(folder: Path, tests: dict[str, str], *options: str) -> Run:
    for name, text in tests.items():
        (folder / name).write_text(text)
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -q\n")
    told = folder / "told.txt"
    plugins = ("-p", "xdist", "-p", "pytest_cov")
    # This test may itself run beside others, which isn't how those run that it starts.
    outside = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment = {**outside, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PASSED_ALONE": str(told)}
    command = [sys.executable, str(ROOT / "tools" / "retry_alone.py"), *plugins, *options]
    done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
    return Run(done.returncode, done.stdout, told.read_text() if told.exists() else "")


def test_what_passes_alone_does_not_fail_the_run_and_is_named_with_what_it_failed_by(tmp_path: Path) -> None:
    done = run(tmp_path, {"test_once.py": FAILS_ONCE}, *BESIDE_ANOTHER)
    assert done.status == 0
    assert SAID in done.told and done.printed.endswith(done.told)
    assert (tmp_path / "test_once.py.times").read_text() == "x", "what had passed ran again"


def test_what_fails_again_fails_the_run_with_its_output_and_nothing_is_excused(tmp_path: Path) -> None:
    broken = "def test_of_sense():\n    print('what it printed')\n    assert False\n"
    done = run(tmp_path, {"test_once.py": FAILS_ONCE, "test_twice.py": broken})
    assert (done.status, done.told) == (1, "")
    once_more = done.printed.partition("once more, alone: ")[2]
    assert "what it printed" in once_more and "1 failed, 1 passed" in once_more and "failed again" in once_more


@pytest.mark.parametrize(("count", "status"), [(5, 0), (6, 1)])
def test_more_than_five_fail_the_run_at_once(tmp_path: Path, count: int, status: int) -> None:
    done = run(tmp_path, {f"test_{number}.py": FAILS_ONCE for number in range(count)})
    assert done.status == status
    assert ("once more" in done.printed) == (status == 0)
    assert done.told.count("too slow") == (count if status == 0 else 0)


def test_a_set_up_that_fails_and_a_file_that_cannot_be_imported_are_failures_like_others(tmp_path: Path) -> None:
    first_time = (
        "from pathlib import Path\nmark = Path(__file__).with_suffix('.ran')\nran = mark.exists()\nmark.touch()\n"
    )
    fixture = "import pytest\n@pytest.fixture\ndef server():\n    import late\ndef test_it(server): pass\n"
    imports = f"{first_time}assert ran or __import__('time').sleep(0)\ndef test_it(): pass\n"
    late = f"{first_time}if not ran: raise OSError('no port')\n"
    done = run(tmp_path, {"test_set_up.py": fixture, "test_import.py": imports, "late.py": late}, *BESIDE_ANOTHER)
    assert done.status == 0
    assert "passed alone: test_set_up.py::test_it\n    OSError: no port\n" in done.told
    assert "passed alone: test_import.py\n    AssertionError" in done.told
    assert "2 passed" in done.printed, "the tests of the file, which hadn't run at all"


def test_a_test_that_takes_its_process_down_runs_again_in_another(tmp_path: Path) -> None:
    crashes = FAILS_ONCE.replace('assert ran, "too slow"', 'ran or __import__("os")._exit(3)')
    done = run(tmp_path, {"test_once.py": crashes}, *BESIDE_ANOTHER)
    assert done.status == 0
    assert "passed alone: test_once.py::test_of_speed\n" in done.told and "crashed while running" in done.told
    assert (tmp_path / "test_once.py.times").read_text() == "x"


def test_a_test_that_takes_each_process_down_fails_the_run(tmp_path: Path) -> None:
    crashes = "def test_it():\n    __import__('os')._exit(3)\n"
    done = run(tmp_path, {"test_crash.py": crashes}, *BESIDE_ANOTHER)
    assert (done.status, done.told) == (3, "")


@pytest.mark.parametrize(
    ("options", "status"),
    [(("--no-such-option",), 4), (("no_such_test.py",), 4), (("-k", "nothing"), 5), (("-p", "interrupting"), 2)],
)
def test_a_run_that_does_not_come_to_its_end_fails_at_once(
    tmp_path: Path, options: tuple[str, ...], status: int
) -> None:
    interrupting = "def pytest_runtest_teardown(): raise KeyboardInterrupt\n"
    done = run(tmp_path, {"test_once.py": FAILS_ONCE, "interrupting.py": interrupting}, *options)
    assert (done.status, done.told) == (status, "")
    assert "once more" not in done.printed


def test_the_second_run_keeps_the_paths_out_and_adds_to_the_first_ones_coverage(tmp_path: Path) -> None:
    watched = "def of_all():\n    return 1\ndef of_one():\n    return 2\n"
    tests = {
        "watched.py": watched,
        "test_once.py": FAILS_ONCE.replace("ran = mark", "import watched\n    watched.of_one()\n    ran = mark"),
        "test_other.py": "import watched\ndef test_it(): assert watched.of_all()\n",
    }
    done = run(tmp_path, tests, "test_once.py", "test_other.py", *BESIDE_ANOTHER, "--cov")
    assert done.status == 0
    assert "1 failed, 2 passed" in done.printed and "\n1 passed" in done.printed
    assert done.printed.count("TOTAL") == 1
    report = subprocess.run(
        [sys.executable, "-m", "coverage", "report", "--include=watched.py"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert "100%" in report.stdout


@pytest.mark.parametrize("part", ["uncovered", "coverage"])
def test_each_part_of_make_test_has_the_second_run_unless_arguments_are_given(part: str) -> None:
    assert "python tools/retry_alone.py --numprocesses" in planned(part)
    with_arguments = planned(part, "ARGS=-k mixer")
    assert "python -m pytest --numprocesses" in with_arguments and "-k mixer" in with_arguments
    assert "retry_alone" not in with_arguments


def test_make_test_names_at_its_end_what_passed_alone_this_time(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    (tmp_path / "pyproject.toml").touch()
    programs = tmp_path / ".venv" / "bin"
    programs.mkdir(parents=True)
    of_parts = 'case "$*" in *--cov*) exit 1 ;; *retry_alone*) echo "$PARTS passed alone" >> "$PASSED_ALONE" ;; esac'
    for name in ("ruff", "mypy", "lint-imports", "latentsync-realtime", "python"):
        (programs / name).write_text(f"#!/bin/sh\n{of_parts if name == 'python' else ''}\n")
        (programs / name).chmod(0o755)
    for installed in (".installed", ".installed-for-tests"):
        (tmp_path / ".venv" / installed).touch()
    for parts in ("first", "second"):
        done = make("test", folder=tmp_path, PARTS=parts)
        assert done.returncode == 2, "the second part failed"
        assert done.stdout.splitlines()[-1] == f"{parts} passed alone"
    assert "first" not in done.stdout


def planned(*arguments: str) -> str:
    done = make("--dry-run", *arguments)
    assert done.returncode == 0
    return done.stdout


def make(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    """As from a terminal: a make above, which may run these tests, says nothing to it."""
    above = ("MAKEFLAGS", "MFLAGS", "MAKELEVEL", "ARGS", "PASSED_ALONE")
    environment = {name: value for name, value in os.environ.items() if name not in above} | variables
    return subprocess.run(["make", *arguments], cwd=folder, env=environment, stdout=subprocess.PIPE, text=True)
