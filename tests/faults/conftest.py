"""One stage for all faults, in sequence: each test finds everything running, and leaves it as it may.

It is taken down after the last of them, since a channel that is on the air keeps a core busy.
"""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rtmp_server import NoRtmpServer
from export.repository import export_repository
from latentsync.checkpoint import Checkpoint
from tests.support.fault_stage import Stage
from tests.support.synthetic_avatar import write_avatar
from tests.support.tiny_checkpoint import RESOLUTION

DISK_MB = 160


@pytest.fixture(scope="package")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path | None]:
    """A file system of its own that a test may fill; None where only an administrator could mount one."""
    folder = tmp_path_factory.mktemp("disk")
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    if os.getuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        yield None
        return
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture(scope="package")
def whole_stage(
    checkpoint: Checkpoint, small_disk: Path | None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    data_dir = small_disk or folder / "var"
    try:
        stage = Stage(data_dir, checkpoint.directory, folder)
    except NoRtmpServer as error:
        pytest.skip(str(error))
    export_repository(checkpoint.directory, data_dir / "model_repository", device="cpu", cpu_threads=1)
    write_avatar(data_dir / "avatars", resolution=RESOLUTION)
    yield stage
    stage.close()


@pytest.fixture
def stage(whole_stage: Stage) -> Stage:
    """Everything runs and is on the air."""
    whole_stage.restored()
    return whole_stage
