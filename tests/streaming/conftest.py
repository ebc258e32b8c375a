"""A small synthetic avatar, an RTMP server, and a receiver that reads frame numbers, flashes and beeps."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from latentsync.avatar import Loop, PreparedAvatar

NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
RESOLUTION = 128


def make_avatar(folder: Path, width: int, height: int, frames: int, loop: Loop = Loop.CYCLE) -> PreparedAvatar:
    """A grey gradient whose brightness tells the frame; the face is a square of 128 pixels that walks."""
    gradient = np.linspace(30, 90, width, dtype=np.uint8)[None, :, None]
    pictures = (np.broadcast_to(gradient + np.uint8(i), (height, width, 3)).copy() for i in range(frames))
    matrices = np.tile(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), (frames, 1, 1))
    matrices[:, 0, 2] = -(width // 2 - RESOLUTION // 2) - np.arange(frames) % 8
    matrices[:, 1, 2] = -(height // 2 - RESOLUTION // 2)
    condition = np.zeros((frames, 9, RESOLUTION // 8, RESOLUTION // 8), np.float16)
    return PreparedAvatar.create(
        folder, name=folder.name, frames=pictures, matrices=matrices, condition=condition, loop=loop, source_sha256=""
    )


@pytest.fixture(scope="session")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> PreparedAvatar:
    """320×240, 100 frames, loops in a cycle."""
    return make_avatar(tmp_path_factory.mktemp("avatars") / "grey", 320, 240, 100)


class RtmpServer:
    """nginx with its RTMP module on a free local port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        (folder / "logs").mkdir()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self._config = folder / "nginx.conf"
        self._config.write_text(
            f"load_module {NGINX_MODULE};\n"
            "worker_processes 1; daemon off; pid nginx.pid; error_log logs/error.log info;\n"
            + ("user root;\n" if os.getuid() == 0 else "")
            + "events { worker_connections 64; }\n"
            f"rtmp {{ server {{ listen 127.0.0.1:{self.port}; chunk_size 4096;\n"
            "  application live { live on; wait_key on; wait_video on; } } }\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, key: str) -> str:
        """Where to publish and to play the stream of this key."""
        return f"rtmp://127.0.0.1:{self.port}/live/{key}"

    def start(self) -> None:
        """Starts the server and waits until it listens."""
        nginx = shutil.which("nginx") or "/usr/sbin/nginx"
        self._process = subprocess.Popen(
            [nginx, "-p", f"{self._folder}/", "-c", str(self._config)], stderr=subprocess.DEVNULL
        )
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise RuntimeError(f"nginx does not listen: {(self._folder / 'logs/error.log').read_text()}")

    def stop(self) -> None:
        """Ends the server at once."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None


@pytest.fixture
def rtmp(tmp_path: Path) -> Iterator[RtmpServer]:
    """A running RTMP server; skips where Debian's libnginx-mod-rtmp is not installed."""
    if not NGINX_MODULE.exists():
        pytest.skip("no nginx with libnginx-mod-rtmp on this machine")
    folder = tmp_path / "nginx"
    folder.mkdir()
    server = RtmpServer(folder)
    yield server
    server.stop()
