"""The alert rules: valid, and each fires on what it is for and on nothing else."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.checkout import ROOT

RULES = ROOT / "docker" / "prometheus" / "alerts.yml"
SCENARIOS = Path(__file__).with_name("alerts_test.yml")
NAMES = [rule["alert"] for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


@pytest.mark.parametrize("arguments", [("check", "rules", RULES), ("test", "rules", SCENARIOS)])
def test_promtool_is_content(arguments: tuple[str, str, Path]) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool, which comes with prometheus, is not installed")
    answer = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stdout + answer.stderr


def test_every_alert_is_seen_to_fire() -> None:
    scenarios = SCENARIOS.read_text()
    assert [name for name in NAMES if f'alertname="{name}"' not in scenarios] == []


def test_every_alert_has_its_cause_and_cure_in_the_operations_guide() -> None:
    guide = (ROOT / "docs" / "operations.md").read_text()
    for name in NAMES:
        section = guide.partition(f"### {name}\n")[2].partition("\n#")[0]
        assert "**Cause:**" in section and "**Cure:**" in section, name
