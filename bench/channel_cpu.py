"""What an idle channel costs, beside the same channel of another checkout: `python -m bench.channel_cpu OTHER`.

Nothing but the channel runs: its process by itself, its encoder, and an ffmpeg that records the stream as a target. The
two checkouts take turns, so that what else the machine does meets both.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Annotated

import typer

from bench.machine import Machine, this_machine
from bench.stream.load import LoadMeter
from bench.stream.stand_ins import numbered_avatar
from orchestrator.avatars.video import read_frames
from orchestrator.settings import load_settings
from speech.audio.decoder import ffmpeg_binary

_HERE = Path(__file__).resolve().parent.parent
_SETTLE_S = 8.0
_SAMPLE_S = 1.0
_END_S = 15.0


@dataclass(frozen=True)
class ChannelRun:
    """Cores of one run by role, and of all processes together."""

    commit: str
    cores: dict[str, float]
    total: float


@dataclass(frozen=True)
class ChannelCpu:
    """All runs; `ratio` is the median of this checkout's totals over that of the other one's."""

    date: str
    machine: Machine
    command: str
    size: tuple[int, int]
    seconds: float
    load_average: tuple[float, float, float]
    this: list[ChannelRun]
    other: list[ChannelRun]
    ratio: float


class _ChannelMeter(LoadMeter):
    """The channel is the process itself, and what encodes is its oldest child that writes to no target."""

    def __init__(self, pid: int) -> None:
        super().__init__(pid)
        self._pid = pid

    def processes(self) -> list[tuple[str, int]]:
        """The channel with all of its children."""
        found = [("channel", self._pid)]
        for child in _children(self._pid):
            command = Path(f"/proc/{child}/cmdline").read_bytes()
            raw = b"rawvideo" in command
            found.append(("encoder" if raw or b"streaming.encoder_process" in command else "push", child))
        return found


measuring = typer.Typer()


@measuring.command()
def measure_both(
    other: Annotated[Path, typer.Argument(help="The other checkout.")],
    runs: Annotated[int, typer.Option(min=1, help="Runs of each.")] = 3,
    seconds: Annotated[float, typer.Option(min=5, help="Seconds that are measured of each run.")] = 20,
) -> None:
    """Measure both, and print the record as JSON."""
    settings = load_settings()
    ffmpeg = str(settings.ffmpeg or ffmpeg_binary())
    with tempfile.TemporaryDirectory(prefix="channel-cpu-") as name:
        folder = Path(name)
        clip = settings.checkpoint_dir / "avatar" / "idle.mp4"
        first = next(iter(read_frames(clip, 10_000)))
        size = (first.shape[1], first.shape[0])
        numbered_avatar(clip, folder / "avatar", size)
        this: list[ChannelRun] = []
        others: list[ChannelRun] = []
        for _ in range(runs):
            this.append(_measure(_HERE, folder, ffmpeg, seconds))
            others.append(_measure(other.resolve(), folder, ffmpeg, seconds))
        record = ChannelCpu(
            date=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=this_machine(ffmpeg),
            command=f"python -m bench.channel_cpu OTHER --runs {runs} --seconds {seconds:g}",
            size=size,
            seconds=seconds,
            load_average=os.getloadavg(),
            this=this,
            other=others,
            ratio=round(median(run.total for run in this) / median(run.total for run in others), 3),
        )
    typer.echo(json.dumps(asdict(record), indent=2))


def _measure(checkout: Path, folder: Path, ffmpeg: str, seconds: float) -> ChannelRun:
    target = folder / "recording.flv"
    target.unlink(missing_ok=True)
    config = {
        "id": "main",
        "avatar_dir": str(folder / "avatar"),
        "preview_socket": str(folder / "preview.sock"),
        "packet_socket": str(folder / "packets.sock"),
        "targets": [str(target)],
        "ffmpeg": ffmpeg,
    }
    path = folder / "channel.json"
    path.write_text(json.dumps(config))
    channel = subprocess.Popen(
        [sys.executable, "-m", "streaming.process", str(path)],
        cwd=checkout,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(checkout)},
    )
    try:
        time.sleep(_SETTLE_S)
        if channel.poll() is not None or not target.exists():
            raise RuntimeError(f"the channel of {checkout} doesn't run: code {channel.poll()}")
        meter, until = _ChannelMeter(channel.pid), time.monotonic() + seconds
        while time.monotonic() < until:
            meter.sample()
            time.sleep(_SAMPLE_S)
        meter.sample()
        cores = meter.cores()
    finally:
        channel.send_signal(signal.SIGINT)
        channel.wait(_END_S)
    return ChannelRun(_commit(checkout), cores, round(sum(cores.values()), 3))


def _commit(checkout: Path) -> str:
    found = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=checkout, capture_output=True, text=True)
    return found.stdout.strip() or checkout.name


def _children(pid: int) -> list[int]:
    pids: set[int] = set()
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        pids |= {int(field) for field in task.read_text().split()}
    return sorted(pids)


if __name__ == "__main__":
    measuring()
