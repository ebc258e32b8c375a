"""The audit of the images' packages says loudly when it couldn't ask, and never passes without having asked."""

import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.checkout import ROOT


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout with stand-ins for the environment's programs."""
    for name in ("tools", "docker/requirements"):
        shutil.copytree(ROOT / name, tmp_path / name)
    return tmp_path


def audit(checkout: Path, service_answers: bool, auditor: str) -> subprocess.CompletedProcess[str]:
    folder = checkout / ".venv" / "bin"
    folder.mkdir(parents=True, exist_ok=True)
    for name, script in (("python", f"exit {0 if service_answers else 1}"), ("pip-audit", auditor)):
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return subprocess.run([checkout / "tools" / "audit.sh"], capture_output=True, text=True, check=False)


def test_audit_that_could_not_ask_says_so_and_does_not_pass(checkout: Path) -> None:
    answer = audit(checkout, service_answers=False, auditor="exit 0")
    assert answer.returncode == 75 and "NOT AUDITED" in answer.stderr


def test_audit_asks_about_every_file_and_takes_no_unknown_package_for_a_safe_one(checkout: Path) -> None:
    answer = audit(checkout, service_answers=True, auditor='echo "$@"')
    assert answer.returncode == 0
    calls = answer.stdout.splitlines()
    files = sorted((ROOT / "docker" / "requirements").glob("*.txt"))
    assert len(calls) == len(files) and all("--strict" in call for call in calls)
    assert all(any(file.name in call for call in calls) for file in files)


def test_one_vulnerable_file_fails_the_audit(checkout: Path) -> None:
    auditor = 'case "$*" in *torch.txt*) exit 1 ;; esac'
    assert audit(checkout, service_answers=True, auditor=auditor).returncode == 1
