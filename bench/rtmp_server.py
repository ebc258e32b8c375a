"""A real RTMP server for measurements and tests: nginx with its RTMP module, to be killed, hung and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

NGINX_MODULE = Path("/usr/lib/nginx/modules/ngx_rtmp_module.so")
_START_S = 4.0


class NoRtmpServer(RuntimeError):
    """There is no nginx with an RTMP module here, or it did not start."""


class RtmpServer:
    """nginx-rtmp on a free local port, with everything that it writes in `folder`."""

    def __init__(self, folder: Path) -> None:
        nginx = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if nginx is None or not NGINX_MODULE.exists():
            raise NoRtmpServer("no nginx with RTMP here: install Debian's nginx and libnginx-mod-rtmp")
        self._nginx = nginx
        self._folder = folder
        (folder / "logs").mkdir(parents=True)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        self._config = folder / "nginx.conf"
        self._config.write_text(
            f"load_module {NGINX_MODULE};\n"
            "worker_processes 1; daemon off; pid nginx.pid; error_log logs/error.log info;\n"
            + ("user root;\n" if os.getuid() == 0 else "")
            + "events { worker_connections 256; }\n"
            f"rtmp {{ server {{ listen 127.0.0.1:{self.port}; chunk_size 4096;\n"
            "  application live { live on; wait_key on; wait_video on; } } }\n"
        )
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def url(self, key: str) -> str:
        """Where to publish and to play the stream of this key."""
        return f"rtmp://127.0.0.1:{self.port}/live/{key}"

    @property
    def error_log(self) -> Path:
        """The server's log: connections, and the names that are published."""
        return self._folder / "logs/error.log"

    def start(self) -> None:
        """Starts the server and returns once it listens; raises NoRtmpServer with its log."""
        command = [self._nginx, "-p", f"{self._folder}/", "-c", str(self._config)]
        self._process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_S
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise NoRtmpServer(f"nginx does not listen: {self.error_log.read_text()}")

    def stop(self) -> None:
        """Ends the server at once, with all its connections."""
        if self._process is not None:
            self.resume()
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(10)
            self._process = None

    def hang(self) -> None:
        """Stops the server's processes: connections stay open, and nothing is answered on them."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Lets a hung server go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server does not run"
        master = self._process.pid
        children = Path(f"/proc/{master}/task/{master}/children").read_text().split()
        for pid in (master, *map(int, children)):
            os.kill(pid, number)
