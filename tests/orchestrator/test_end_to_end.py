"""Upload to stream through everything that is real: tritonserver, channel process, ffmpeg."""

import asyncio
import subprocess
from pathlib import Path

import pytest

from inference.launcher import TritonServer
from latentsync.checkpoint import Checkpoint
from speech.audio.decoder import ffmpeg_binary
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_uploaded_speech_is_on_the_stream_with_a_repainted_face(
    triton_server: TritonServer, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    settings = settings_in(
        tmp_path,
        triton_url=f"127.0.0.1:{triton_server.options.grpc_port}",
        checkpoint_dir=checkpoint.directory,
    )
    async with running(settings, real_client=True, resolution=checkpoint.resolution) as server:
        await server.ready()
        recording = tmp_path / "preview.mp4"

        async def record() -> None:
            async with server.http.stream("GET", "/v1/channels/main/preview.mp4") as preview:
                assert preview.headers["content-type"].startswith("video/mp4")
                with recording.open("wb") as file:
                    async for block in preview.aiter_bytes():
                        file.write(block)

        recorder = asyncio.create_task(record())
        while not recording.exists() or not await asyncio.to_thread(mouth_colours, recording):  # of idle, before it
            assert not recorder.done()
            await asyncio.sleep(0.1)
        answer = await server.http.post("/generate_video", files={"audio_file": ("speech.wav", wav(2.0))})
        task = await server.task(answer.json()["task_id"], "done")
        while not await asyncio.to_thread(is_idle_again, recording):  # what is shown reaches the recording later
            await asyncio.sleep(0.1)
        recorder.cancel()
        await asyncio.wait({recorder})

    assert task["frames"] == {"total": 52, "generated": 52, "played": 52, "heard": 50, "dropped": 0}
    assert task["error"] is None
    idle, *_ = faces = mouth_colours(recording)
    assert max(distance(idle, face) for face in faces) > 10, "no face was pasted"


def is_idle_again(recording: Path) -> bool:
    """Whether the recording ends with idle, behind all frames of the speech."""
    idle, *_ = faces = mouth_colours(recording)
    said = [place for place, face in enumerate(faces) if distance(idle, face) > 4]
    return len(said) > 40 and said[-1] < len(faces) - 5


def mouth_colours(recording: Path) -> list[tuple[float, ...]]:
    """Mean colour of the mouth's place in every frame of a 160×192 recording."""
    command = [ffmpeg_binary(), "-v", "error", "-i", str(recording), "-vf", "crop=24:24:68:114", "-f", "rawvideo"]
    raw = subprocess.run([*command, "-pix_fmt", "rgb24", "-"], capture_output=True, check=False).stdout
    size = 24 * 24 * 3
    frames = [raw[start : start + size] for start in range(0, len(raw) - size + 1, size)]
    return [tuple(sum(frame[channel::3]) / (size / 3) for channel in range(3)) for frame in frames]


def distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    return max(abs(x - y) for x, y in zip(a, b, strict=True))
