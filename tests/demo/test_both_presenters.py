"""`demo --both`: two presenters with their motions, each on a channel of its own; all that is started ends with it."""

import asyncio
import json
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from speech.audio.decoder import ffmpeg_binary
from tests.support.checkout import ROOT
from tests.support.processes import descendants, is_running
from tests.support.running_server import free_port
from tests.support.speech_samples import wav

DEMO = ROOT / "checkpoints" / "demo"
FOLDERS = {"main": "avatar", "second": "second-avatar"}


def shortened(checkpoints: Path) -> Path:
    """The demo checkpoint with a second of each presenter's idle clip, and of one motion: it is prepared sooner."""
    for shared in ("face", "whisper-tiny.en"):
        if not (ROOT / "checkpoints" / shared).is_dir():
            pytest.skip("the face and Whisper models are not on this machine")
    checkpoints.mkdir()
    for shared in ("face", "whisper-tiny.en", "manifest.json"):
        (checkpoints / shared).symlink_to(ROOT / "checkpoints" / shared)
    folder = checkpoints / "demo"
    for file in ("config.json", "unet.safetensors", "vae.safetensors"):
        folder.mkdir(exist_ok=True)
        (folder / file).symlink_to(DEMO / file)
    for presenter in FOLDERS.values():
        for clip in ("idle.mp4", "motions/nod.mp4"):
            target = folder / presenter / clip
            target.parent.mkdir(parents=True, exist_ok=True)
            cut = ["-i", str(DEMO / presenter / clip), "-frames:v", "25", "-preset", "ultrafast", str(target)]
            subprocess.run([ffmpeg_binary(), "-v", "error", *cut], check=True)
    return folder


@asynccontextmanager
async def demo_of_both(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[str]]]:
    """The command, once it says that the avatar is live, and what it printed."""
    names = ("HTTP", "TRITON_HTTP", "TRITON_GRPC", "TRITON_METRICS", "TRITON_SUPERVISOR")
    environment = {
        **os.environ,
        **{f"LATENTSYNC_{name}_PORT": str(free_port()) for name in names},
        "LATENTSYNC_CHECKPOINT_DIR": str(shortened(folder / "checkpoints")),
        "LATENTSYNC_X264_PRESET": "ultrafast",
    }
    command = [sys.executable, "-m", "orchestrator.cli", "demo", "--both", "--data-dir", str(folder / "var")]
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=log
        )
    assert process.stdout is not None
    printed: list[str] = []
    try:
        while not printed or "Ctrl-C" not in printed[-1]:
            line = (await process.stdout.readline()).decode()
            assert line, f"the demo ended with {await process.wait()}: {(folder / 'log').read_text()[-2000:]}"
            printed.append(line)
        yield process, printed
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            await process.wait()


async def shown(http: httpx.AsyncClient, channel: str, folder: Path) -> NDArray[np.uint8]:
    """A picture of the channel's stream."""
    recording = folder / f"{channel}.mp4"
    async with http.stream("GET", f"/v1/channels/{channel}/preview.mp4") as preview:
        received = b""
        async for block in preview.aiter_bytes():
            received += block
            if len(received) > 200_000:
                break
    recording.write_bytes(received)
    return first_picture(recording)


def first_picture(video: Path) -> NDArray[np.uint8]:
    seen, picture = cv2.VideoCapture(str(video)).read()
    assert seen, f"{video.name} has no picture"
    return np.asarray(cv2.resize(picture, (64, 64)), np.uint8)


def difference(one: NDArray[np.uint8], other: NDArray[np.uint8]) -> float:
    return float(np.abs(one.astype(int) - other).mean())


async def until(http: httpx.AsyncClient, path: str, key: str, value: Any) -> dict[str, Any]:
    async with asyncio.timeout(60):
        while True:
            answer = await http.get(path)
            found: dict[str, Any] = answer.json()
            if found.get(key) == value:
                return found
            assert found.get(key) != "failed", found
            await asyncio.sleep(0.1)


async def left_of(started: dict[int, str]) -> dict[int, str]:
    """Those that still run; what only notices that its parent is gone has a few seconds for it."""
    left = started
    for _ in range(100):
        if not (left := {pid: line for pid, line in started.items() if is_running(pid)}):
            break
        await asyncio.sleep(0.05)
    return left


@pytest.mark.slow  # it exports a checkpoint, starts a Triton of its own, and prepares four clips
@pytest.mark.timeout(600)
async def test_both_presenters_speak_and_act_at_once_on_channels_of_their_own(tmp_path: Path) -> None:
    async with demo_of_both(tmp_path) as (process, printed):
        (line,) = (each for each in printed if "The second avatar:" in each)
        _, url, _, body = shlex.split(line.partition("avatar:")[2])
        async with httpx.AsyncClient(base_url=url.removesuffix("/v1/channels"), timeout=60) as http:
            created = await http.post(url, json=json.loads(body))
            assert created.status_code == 201, created.text
            avatars = (await http.get("/v1/avatars")).json()["avatars"]
            assert {avatar["name"]: avatar["motions"] for avatar in avatars} == {"demo": ["nod"], "second": ["nod"]}

            for channel in FOLDERS:
                await until(http, f"/v1/channels/{channel}", "state", "running")
            tasks = {}
            for channel in FOLDERS:
                files, form = {"audio_file": ("speech.wav", wav(2.0))}, {"channel": channel}
                answer = await http.post("/v1/tasks", files=files, data=form)
                assert answer.status_code == 200, answer.text
                tasks[channel] = answer.json()["task_id"]
                asked = await http.post(f"/v1/channels/{channel}/motions", json={"name": "nod"})
                assert asked.status_code == 202, asked.text

            own = {channel: first_picture(DEMO / folder / "idle.mp4") for channel, folder in FOLDERS.items()}
            for channel, other in (("main", "second"), ("second", "main")):
                picture = await shown(http, channel, tmp_path)
                assert difference(picture, own[channel]) < difference(picture, own[other]) / 2
            for task in tasks.values():
                said = await until(http, f"/v1/tasks/{task}", "state", "done")
                assert said["frames"]["heard"] == 50, said

        started = descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert await process.wait() == 0
        assert await left_of(started) == {}
