"""A synthesiser slower than real time, over real HTTP: a viewer hears silence between its sentences alone."""

import asyncio
import re
from pathlib import Path

import pytest

from speech.audio.decoder import ffmpeg_binary
from tests.support.running_server import running, settings_in
from tests.support.speech_provider import Exchange, SpeechProvider, pcm

SPEED, LETTER_S = 0.5, 0.06
TEXT = (
    "This sentence needs some time, as its synthesiser is a slow one.",
    "And here is another one of them, which is about as long as that.",
)


async def at_half_the_speed(exchange: Exchange) -> None:
    sound = pcm(len(exchange.body["input"]) * LETTER_S)
    await exchange.head(Connection="close")
    for first in range(0, len(sound), 4_800):
        await asyncio.sleep(0.1 / SPEED)
        await exchange.chunk(sound[first : first + 4_800])
    await exchange.end()


@pytest.mark.slow
async def test_silence_falls_between_sentences_alone(tmp_path: Path) -> None:
    provider = SpeechProvider()
    provider.answer = at_half_the_speed
    async with provider.running():
        settings = settings_in(tmp_path, synthesiser="openai", synthesiser_url=provider.url)
        async with running(settings) as server:
            await server.ready()
            address, recording = f"{server.http.base_url}/v1/channels/main/preview.mp4", tmp_path / "heard.mp4"
            viewer = await asyncio.create_subprocess_exec("curl", "-sN", "-o", str(recording), address)
            try:
                await asyncio.sleep(1)
                answer = await server.http.post("/v1/channels/main/say", json={"text": " ".join(TEXT)})
                await server.task(answer.json()["task_id"], "done")
                await asyncio.sleep(1)
            finally:
                viewer.kill()
                await viewer.wait()
    heard = await sounding_s(recording)
    assert heard == [pytest.approx(len(sentence) * LETTER_S, abs=0.15) for sentence in TEXT]


async def sounding_s(recording: Path) -> list[float]:
    """How long each sound between two silences lasts."""
    detect = ("-af", "silencedetect=noise=-45dB:d=0.05", "-f", "null", "-")
    process = await asyncio.create_subprocess_exec(
        ffmpeg_binary(), "-i", str(recording), *detect, stderr=asyncio.subprocess.PIPE
    )
    _, log = await process.communicate()
    found = re.findall(r"silence_(start|end): ([0-9.]+)", log.decode())
    times = [float(at) for kind, at in found if not (kind == "start" and float(at) < 0.05)]
    return [end - begin for begin, end in zip(times[::2], times[1::2], strict=False)]
