"""What the deployment's tests read: docker-compose.yml as Compose itself understands it."""

import os
import shutil
import subprocess
import tempfile
from typing import Any

import pytest
import yaml

from tests.support.checkout import ROOT

PROFILES = ("gpu", "cpu")


def compose_config(profile: str) -> dict[str, Any]:
    """The configuration with one profile, merged and filled in; skips where Compose is not installed."""
    if shutil.which("docker-compose") is None:
        pytest.skip("docker-compose is not installed")
    command = ["docker-compose", "--file", str(ROOT / "docker-compose.yml"), "--profile", profile, "config"]
    answer = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin"}, check=False)
    assert answer.returncode == 0, answer.stderr
    assert "variable is not set" not in answer.stderr
    config: dict[str, Any] = yaml.safe_load(answer.stdout)
    return config


def services(profile: str) -> dict[str, Any]:
    """The services that run with a profile."""
    described: dict[str, Any] = compose_config(profile)["services"]
    return {name: one for name, one in described.items() if profile in one.get("profiles", [profile])}


SECRET = "0123456789abcdef" * 4


def triton_arguments(profile: str, otlp_endpoint: str = "", secret: str = SECRET) -> list[str]:
    """The arguments that the container's shell gives to tritonserver; none where it refuses to start it."""
    [command] = [one["command"] for name, one in services(profile).items() if name.startswith("tritonserver")]
    tidied, _, script = command[-1].replace("$$", "$").partition(" && ")
    assert tidied.startswith("rm -f /dev/shm/latentsync-triton-"), "this machine's own are not to be removed"
    printing = script.replace("exec tritonserver", "printf '%s\\n'")
    environment = {"PATH": os.environ["PATH"], "LATENTSYNC_OTLP_ENDPOINT": otlp_endpoint}
    with tempfile.NamedTemporaryFile("w") as file:
        file.write(secret)
        file.flush()
        environment["LATENTSYNC_TRITON_SECRET_FILE"] = file.name
        shell = subprocess.run(["sh", "-c", printing], capture_output=True, text=True, env=environment, check=False)
    return shell.stdout.splitlines()
