"""The whole product as an operator runs it: tritonserver, orchestrator and RTMP server, each a process to be broken."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench.rtmp_server import RtmpServer
from speech.audio.decoder import ffmpeg_binary
from tests.support.processes import descendants, kill_all
from tests.support.running_server import free_port
from tests.support.speech_samples import wav

FINAL = ("done", "failed", "cancelled")
PATIENCE_S = 180.0


class Stage:
    """`latentsync-realtime triton` and `serve` with one channel, and an RTMP server that it publishes to."""

    def __init__(self, data_dir: Path, checkpoint_dir: Path, folder: Path) -> None:
        self.data_dir = data_dir
        self.folder = folder
        self.rtmp = RtmpServer(folder / "nginx")
        names = ("HTTP", "TRITON_HTTP", "TRITON_GRPC", "TRITON_METRICS", "TRITON_SUPERVISOR")
        ports = {name: free_port() for name in names}
        self.environment = {
            **os.environ,
            **{f"LATENTSYNC_{name}_PORT": str(port) for name, port in ports.items()},
            "LATENTSYNC_DATA_DIR": str(data_dir),
            "LATENTSYNC_CHECKPOINT_DIR": str(checkpoint_dir),
            "LATENTSYNC_RTMP_URL": self.rtmp.url("main"),
            "LATENTSYNC_CPU_THREADS": "1",
            "LATENTSYNC_X264_PRESET": "ultrafast",
            "LATENTSYNC_DRAIN_LIMIT_S": "0",
        }
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{ports['HTTP']}", timeout=30)
        self.triton: subprocess.Popen[bytes] | None = None
        self.server: subprocess.Popen[bytes] | None = None
        self._family: list[int] = []  # of orchestrators that were killed

    def close(self) -> None:
        for process in (self.server, self.triton):
            end(process)
        kill_all(self._family)
        self.http.close()
        self.rtmp.stop()

    def restored(self) -> None:
        """Everything runs, whatever an earlier test has left."""
        kill_all(self._family)
        self._family = []
        if self.triton is None or self.triton.poll() is not None:
            self.triton = self.run("triton")
        if self.server is None or self.server.poll() is not None:
            self.server = self.run("serve")
        try:
            self.until_ready()
        except AssertionError:
            self.restart()

    def restart(self, **environment: str) -> None:
        """Another orchestrator, with more in its environment; the one before is killed, and it alone."""
        assert self.server is not None
        self._family += descendants(self.server.pid)
        self.server.kill()
        self.server.wait()
        self.server = self.run("serve", **environment)
        self.until_ready()

    def run(self, command: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (self.folder / f"{command}.log").open("ab") as log:
            arguments = [sys.executable, "-m", "orchestrator.cli", command]
            return subprocess.Popen(arguments, env={**self.environment, **environment}, stdout=log, stderr=log)

    def log(self) -> str:
        """All that the orchestrators have said."""
        return (self.folder / "serve.log").read_text(errors="replace")

    def until_ready(self) -> None:
        for _ in patiently("the server is not ready", self.log):
            assert self.server is not None and self.server.poll() is None, self.log()
            with contextlib.suppress(httpx.TransportError):
                health = self.http.get("/health/ready")
                if health.status_code == 200 and self.stream()["publisher"] == "on_air":
                    return

    def until_noticed(self) -> None:
        """/health/ready has said that something is broken."""
        for _ in patiently("nobody noticed"):
            if self.http.get("/health/ready").status_code == 503:
                return

    def say(self, seconds: float) -> str:
        """Uploads a speech; the task's id, which is now the server's promise."""
        answer = self.http.post("/v1/tasks", files={"audio_file": ("speech.wav", wav(seconds))})
        assert answer.status_code == 200, answer.text
        return str(answer.json()["task_id"])

    def speaking(self, seconds: float = 9.0) -> list[str]:
        """One speech that is on the stream, and a short one that waits behind it."""
        task_ids = [self.say(seconds), self.say(0.5)]
        self.until_streaming(task_ids[0])
        return task_ids

    def until_streaming(self, task_id: str) -> None:
        for _ in patiently("the speech does not begin", self.log):
            task = self.task(task_id)
            assert task["state"] not in FINAL, task
            if task["state"] == "streaming":
                return

    def task(self, task_id: str) -> dict[str, Any]:
        task: dict[str, Any] = self.http.get(f"/v1/tasks/{task_id}").json()
        return task

    def over(self, task_id: str) -> dict[str, Any]:
        """The task once it has a final state."""
        for _ in patiently("the task does not end", self.log):
            with contextlib.suppress(httpx.TransportError):
                if (task := self.task(task_id))["state"] in FINAL:
                    return task
        raise AssertionError

    def all_played(self, task_ids: list[str]) -> list[dict[str, Any]]:
        """The tasks, each of which was said to its last frame."""
        tasks = [self.over(task_id) for task_id in task_ids]
        for task in tasks:
            assert (task["state"], task["error"]) == ("done", None), task
            assert task["frames"]["played"] == task["frames"]["total"] > 0, task
        return tasks

    def channel(self) -> dict[str, Any]:
        channel: dict[str, Any] = self.http.get("/v1/channels/main").json()
        return channel

    def stream(self) -> dict[str, Any]:
        """The channel's counters; empty publisher while it has no process."""
        return self.channel()["stream"] or {"publisher": ""}

    def metric(self, line: str) -> float:
        lines = self.http.get("/metrics").text.splitlines()
        return next((float(each.rpartition(" ")[2]) for each in lines if each.startswith(line + " ")), 0.0)

    def assert_on_air(self) -> None:
        """A viewer of the RTMP server sees a second of moving pictures, with sound."""
        command = [ffmpeg_binary(), "-v", "error", "-nostdin", "-rw_timeout", "5000000", "-i", self.rtmp.url("main")]
        output = ["-map", "0:v", "-map", "0:a", "-frames:v", "25", "-f", "framemd5", "-"]
        for _ in patiently("no viewer sees the stream", self.log):
            seen = subprocess.run([*command, *output], capture_output=True, text=True, timeout=120, check=False).stdout
            rows = [line.split(",") for line in seen.splitlines() if not line.startswith("#")]
            pictures = {row[5] for row in rows if row[0] == "0"}
            if len(pictures) >= 20 and any(row[0] == "1" for row in rows):
                return


def patiently(complaint: str, log: Any = lambda: "") -> Iterator[None]:
    """Asks again and again; the limit only turns a hang into a failure that says what hangs."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)
    raise AssertionError(f"{complaint} after {PATIENCE_S:.0f} s\n{log()[-4000:]}")


def end(process: "subprocess.Popen[bytes] | None") -> None:
    """Stops a process that was started here, and whatever of it doesn't stop by itself."""
    if process is None:
        return
    family = list(descendants(process.pid))
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(20)
    process.kill()
    process.wait()
    kill_all(family)
