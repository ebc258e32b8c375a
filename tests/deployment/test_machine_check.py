"""`make setup` names what the machine lacks before it fills .venv; programs on PATH stand for other machines."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.support.checkout import ROOT

FITTING = {
    "uname": "case $1 in -s) echo Linux ;; *) echo x86_64 ;; esac",
    "getconf": "echo glibc 2.35",
    "df": "echo header; echo /dev/disk 99 0 8000001 1% /",
}
MEMORY = "MemTotal:       16000000 kB\n"


def checked(
    folder: Path, programs: Mapping[str, str] | None = None, meminfo: str = MEMORY, installed: bool = False
) -> subprocess.CompletedProcess[str]:
    """The script in a checkout on a machine whose programs answer so."""
    checkout, bin_folder = folder / "checkout", folder / "bin"
    for each in (checkout / "tools", checkout / ".venv", bin_folder):
        each.mkdir(parents=True)
    if installed:
        (checkout / ".venv" / ".installed").touch()
    shutil.copy(ROOT / "tools" / "check_machine.sh", checkout / "tools")
    (folder / "meminfo").write_text(meminfo)
    for name, script in {**FITTING, **(programs or {})}.items():
        (bin_folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (bin_folder / name).chmod(0o755)
    environment = {"PATH": f"{bin_folder}:{os.environ['PATH']}", "MEMINFO": str(folder / "meminfo")}
    return subprocess.run([checkout / "tools" / "check_machine.sh"], env=environment, capture_output=True, text=True)


def test_a_machine_that_fits_is_told_nothing(tmp_path: Path) -> None:
    answer = checked(tmp_path)
    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("program", "answers", "said"),
    [
        (
            "uname",
            "case $1 in -s) echo Darwin ;; *) echo arm64 ;; esac",
            "This machine is Darwin arm64: Linux on x86-64",
        ),
        ("uname", "case $1 in -s) echo Linux ;; *) echo aarch64 ;; esac", "This machine is Linux aarch64"),
        ("getconf", "echo glibc 2.31", "glibc is 2.31: 2.35 or newer is needed"),
        ("getconf", "exit 1", "No glibc was found"),
        ("df", "echo header; echo /dev/disk 99 0 2000000 1% /", "has 2048 MB free"),
    ],
)
def test_what_is_missing_is_said_in_a_line(tmp_path: Path, program: str, answers: str, said: str) -> None:
    answer = checked(tmp_path, {program: answers})
    assert answer.returncode == 1
    assert said in answer.stderr and answer.stderr.count("\n") == 1


@pytest.mark.parametrize("version", ["2.36", "2.100", "3.0"])
def test_a_newer_glibc_will_do(tmp_path: Path, version: str) -> None:
    assert checked(tmp_path, {"getconf": f"echo glibc {version}"}).returncode == 0


def test_a_second_setup_asks_for_no_space(tmp_path: Path) -> None:
    full = "echo header; echo /dev/disk 99 0 5 100% /"
    assert checked(tmp_path, {"df": full}, installed=True).returncode == 0


def test_little_memory_is_a_warning(tmp_path: Path) -> None:
    answer = checked(tmp_path, meminfo="MemTotal:       2000000 kB\n")
    assert answer.returncode == 0
    assert "This machine has 2000 MB of memory" in answer.stderr


def test_setup_runs_the_check_before_it_installs() -> None:
    planned = subprocess.run(["make", "-n", "-B", "setup"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert 0 <= planned.find("tools/check_machine.sh") < planned.find("pip install")
