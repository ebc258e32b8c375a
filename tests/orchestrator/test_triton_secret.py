"""The file with Triton's secret, which `triton` and `serve` share."""

import asyncio
import stat
from pathlib import Path

import pytest

from inference.secret import new_secret
from orchestrator.settings import SettingsError, load_settings
from orchestrator.triton import triton_options
from orchestrator.triton_secret import own_secret, triton_settings
from tests.support.running_server import settings_in


def test_server_and_client_agree_on_a_secret_whichever_starts_first(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, triton_url=None)
    assert triton_settings(settings).secret == triton_options(settings).secret == own_secret(settings)
    assert stat.S_IMODE(settings.triton_secret_path.stat().st_mode) == 0o600


async def test_processes_that_start_at_once_agree_on_a_secret(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, triton_url=None)
    secrets = await asyncio.gather(*(asyncio.to_thread(own_secret, settings) for _ in range(32)))
    assert len(set(secrets)) == 1
    assert list(settings.data_dir.glob("*secret*")) == [settings.triton_secret_path], "no temporary file stays"


def test_triton_elsewhere_gets_the_secret_of_its_file_and_no_other(tmp_path: Path) -> None:
    elsewhere = settings_in(tmp_path, triton_url="gpu1:8001")
    assert triton_settings(elsewhere).secret is None
    assert not elsewhere.triton_secret_path.exists()
    file = tmp_path / "given"
    file.write_text(secret := new_secret())
    given = settings_in(tmp_path, triton_url="gpu1:8001", triton_secret_file=file)
    assert triton_settings(given).secret == secret


def test_bad_secret_is_refused_without_being_repeated(tmp_path: Path) -> None:
    settings = settings_in(tmp_path, triton_url=None)
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    settings.triton_secret_path.write_text("hunter2")
    with pytest.raises(SettingsError, match=r"triton_secret_file=.*openssl rand -hex 32") as refused:
        own_secret(settings)
    assert "hunter2" not in str(refused.value)


def test_triton_off_loopback_must_be_asked_for_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"triton_host=0\.0\.0\.0 can be reached.*triton_exposed=true"):
        load_settings(data_dir=tmp_path, triton_host="0.0.0.0")
    assert load_settings(data_dir=tmp_path, triton_host="0.0.0.0", triton_exposed=True).triton_host == "0.0.0.0"
