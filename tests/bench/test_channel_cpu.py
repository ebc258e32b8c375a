"""What an idle channel costs beside another checkout: here this one beside itself."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.channel_cpu import measuring


@pytest.mark.slow
def test_channel_is_measured_with_its_encoder_and_its_target() -> None:
    here = Path(__file__).resolve().parents[2]
    result = CliRunner().invoke(measuring, [str(here), "--runs", "1", "--seconds", "5"])
    record = json.loads(result.stdout)
    for run in (*record["this"], *record["other"]):
        assert set(run["cores"]) == {"channel", "encoder", "push"}
        assert run["cores"]["encoder"] > run["cores"]["push"]
        assert run["total"] == pytest.approx(sum(run["cores"].values()), abs=0.002)
    assert record["ratio"] > 0
