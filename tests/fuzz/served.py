"""A server in a process of its own, with models that answer at once: what it leaks can be counted from outside."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import httpx
from websockets.sync.client import connect

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.orchestrator import Orchestrator
from orchestrator.server import OrchestratorServer
from tests.support.checkout import ROOT
from tests.support.controlled_models import ControlledModels
from tests.support.processes import descendants
from tests.support.running_server import free_port, settings_in
from tests.support.synthetic_avatar import write_avatar

LIMITS = {
    "requests_per_minute": 0,
    "uploads_per_minute": 0,
    "queue_limit": 100_000,  # what is queued is cancelled now and then: a full queue would hide the decoder
    "channel_limit": 3,
    "speech_limit_s": 10.0,
    "upload_limit_bytes": 1_000_000,
    "avatar_upload_limit_bytes": 1_000_000,
    "drain_limit_s": 0.0,
}
ANSWERED_WITHIN_S = 90.0
"""An upload waits for a decoder for at most 40 s, and is decoded in at most 30 s; all else takes less."""
_SETTLED_S = 120.0


class Served:
    """The process, and what it holds."""

    def __init__(self, folder: Path, key_required: bool) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = KeyFile(folder / "var" / "keys.json").add("fuzz", Scope.ADMINISTER) if key_required else None
        command = [sys.executable, "-m", "tests.fuzz.served", str(folder), str(self.port), str(int(key_required))]
        self.log_path = folder / "served.log"
        with self.log_path.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
        self.http = self._client()
        self._until_ready()
        self._until_parts_run()
        self.http.close()
        self.quiet = self._settled()
        self.http = self._client()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"} if self.key else {}

    def _client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=ANSWERED_WITHIN_S)

    def held(self) -> dict[str, object]:
        """Processes, open files and written files of the server now."""
        pid = self._process.pid
        var = self.folder / "var"
        return {
            "processes": dict(Counter(line.split(" ")[0].rpartition("/")[2] for line in descendants(pid).values())),
            "open files": len(list(Path(f"/proc/{pid}/fd").iterdir())),
            "files": sorted(
                str(path.relative_to(var))
                for folder in ("tasks", "uploads", "avatars")
                for path in (var / folder).rglob("*")
                if path.is_file() and not path.name.startswith("tasks.sqlite3")
            ),
            "shared memory": len(list(Path("/dev/shm").glob(f"latentsync-{pid}-*"))),
        }

    def _settled(self) -> dict[str, object]:
        """What it holds once that stays the same for two seconds: a busy server sees late who has left."""
        held, since = self.held(), time.monotonic()
        while time.monotonic() < since + 2:
            time.sleep(0.25)
            if (now := self.held()) != held:
                held, since = now, time.monotonic()
        return held

    def tidy(self) -> None:
        """Cancels what the requests began: speeches, channels, avatars in the making."""
        for channel in self.http.get("/v1/channels").json()["channels"]:
            self.http.post(f"/v1/channels/{channel['channel']}/interrupt", params={"queue": "true"})
            self.http.delete(f"/v1/channels/{channel['channel']}")  # refused for the one of the settings
        for making in self.http.get("/v1/avatar-tasks").json()["avatar_tasks"]:
            self.http.delete(f"/v1/avatar-tasks/{making['task_id']}")

    def assert_nothing_stays(self) -> None:
        """After some time the server holds what it held before the requests."""
        self.tidy()
        self.http.close()
        deadline = time.monotonic() + _SETTLED_S
        while (held := self.held()) != self.quiet and time.monotonic() < deadline:
            time.sleep(0.25)
        self.http = self._client()
        assert held == self.quiet, f"it holds {held} and held {self.quiet}"
        assert self._process.poll() is None, self.log_path.read_text()
        assert "Traceback" not in self.log_path.read_text(errors="replace"), self.log_path.read_text()[-4000:]

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(30)

    def _until_ready(self) -> None:
        deadline = time.monotonic() + _SETTLED_S
        while time.monotonic() < deadline:
            assert self._process.poll() is None, self.log_path.read_text()
            try:
                if self.http.get("/health/ready").status_code == 200:
                    channel = self.http.get("/v1/channels/main").json()
                    if channel["preview_codecs"]:
                        self.http.get("/v1/avatars")  # what is opened at first use is open
                        return
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        raise AssertionError(self.log_path.read_text())

    def _until_parts_run(self) -> None:
        """Hold a conversation: the processes of its parts start with the first one, and stay for the next."""
        with connect(
            f"{self.url.replace('http', 'ws', 1)}/v1/channels/main/conversation", additional_headers=self.headers
        ) as client:
            client.send('{"type": "start", "sample_rate": 16000}')
            while json.loads(client.recv(timeout=_SETTLED_S))["type"] != "ready":
                pass


def main(folder: Path, port: int, key_required: bool) -> None:
    settings = settings_in(
        folder,
        http_port=port,
        require_key=key_required,
        synthesiser="hibari",  # else nobody could be talked with
        allowed_targets=("rtmp://nobody.invalid",),  # no drawn address is one, and none is ever connected to
        **LIMITS,
    )
    write_avatar(settings.avatars_dir)

    async def serve() -> None:
        orchestrator = Orchestrator(settings, client=ControlledModels())  # type: ignore[arg-type]
        await OrchestratorServer(orchestrator).serve()

    asyncio.run(serve())


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "1")
