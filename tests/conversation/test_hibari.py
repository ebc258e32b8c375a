"""The embedded synthesiser, in its real process: it speaks, and is there again when that died or hung."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from conversation.synthesis.hibari import HibariSynthesiser
from conversation.synthesis.synthesiser import SynthesisError, Voice
from tests.support.processes import descendants, is_running, one

# A text with "die" in it ends it, "fail" is answered by an error, "hang" never, "slow" late, any other by 0.1 s.
_STAND_IN = """
import json, struct, sys, time
def answer(): sys.stdout.buffer.write(struct.pack("<i", 2400) + b"\\x01\\x02" * 2400); sys.stdout.buffer.flush()
answer()
for line in sys.stdin:
    text = json.loads(line)["text"]
    if "die" in text: sys.exit(1)
    if "hang" in text: time.sleep(60)
    if "slow" in text: time.sleep(0.2)
    if "fail" in text: sys.stdout.buffer.write(struct.pack("<ii", -1, 3) + b"why"); sys.stdout.buffer.flush()
    else: answer()
"""


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[HibariSynthesiser]:
    synthesiser = HibariSynthesiser(**options)
    work = asyncio.create_task(synthesiser.run())
    try:
        yield synthesiser
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def said(synthesiser: HibariSynthesiser, text: str, rate: float = 1.0) -> NDArray[np.int16]:
    voice = Voice("heart", "en-US", rate)
    return np.concatenate([np.zeros(0, np.int16), *[b async for b in synthesiser.synthesise(text, voice)]])


async def test_it_speaks_in_its_voice_and_survives_its_process() -> None:
    async with running(wait_s=60.0) as synthesiser:
        assert synthesiser.voices[0] == Voice("heart", "en-US")
        sound = await said(synthesiser, "Good morning, how can I help you?")
        assert 1.5 < len(sound) / synthesiser.rate_hz < 4.0 and np.abs(sound).max() > 3_000
        np.testing.assert_array_equal(sound, await said(synthesiser, "Good morning, how can I help you?"))
        assert len(await said(synthesiser, "Good morning, how can I help you?", 2.0)) < 0.7 * len(sound)
        pid = one(os.getpid(), "hibari_process")
        os.kill(pid, signal.SIGKILL)
        assert len(await said(synthesiser, "And again."))
    assert not is_running(pid)
    assert not any("hibari_process" in line for line in descendants(os.getpid()).values()), "it ends with its owner"


STAND_IN: dict[str, Any] = {"command": (sys.executable, "-c", _STAND_IN)}


async def test_text_that_kills_it_twice_is_refused_and_the_next_one_said() -> None:
    async with running(**STAND_IN) as synthesiser:
        with pytest.raises(SynthesisError) as refused:
            await said(synthesiser, "die")
        assert refused.value.code == "synthesis_failed"
        assert len(await said(synthesiser, "on")) == 2400


async def test_process_that_hangs_is_replaced() -> None:
    async with running(**STAND_IN, answer_s=2.0) as synthesiser:
        with pytest.raises(SynthesisError) as refused:
            await said(synthesiser, "hang")
        assert refused.value.code == "synthesiser_unavailable"
        assert len(await said(synthesiser, "on")) == 2400


async def test_many_that_wait_for_each_other_are_all_said() -> None:
    async with running(**STAND_IN, answer_s=2.0) as synthesiser:
        await said(synthesiser, "warm")
        pid = one(os.getpid(), "json.loads")
        said_all = await asyncio.gather(*(said(synthesiser, "slow") for _ in range(12)))
        assert [len(each) for each in said_all] == [2400] * 12
        assert is_running(pid), "it was busy, and answered one after another"


async def test_text_that_waits_behind_those_that_kill_the_process_is_not_blamed() -> None:
    async with running(**STAND_IN) as synthesiser:
        await said(synthesiser, "warm")
        killing = [asyncio.create_task(said(synthesiser, "die")) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(SynthesisError, match="another text") as refused:
            await said(synthesiser, "on")
        assert refused.value.code == "synthesiser_unavailable"
        await asyncio.gather(*killing, return_exceptions=True)
        assert len(await said(synthesiser, "on")) == 2400


async def test_failure_is_that_of_its_own_text() -> None:
    async with running(**STAND_IN) as synthesiser:
        results = await asyncio.gather(
            *(said(synthesiser, text) for text in ("one", "fail", "two")), return_exceptions=True
        )
        assert [len(each) if isinstance(each, np.ndarray) else getattr(each, "code", each) for each in results] == [
            2400,
            "synthesis_failed",
            2400,
        ]


async def test_who_waits_no_more_takes_no_one_elses_answer() -> None:
    async with running(**STAND_IN) as synthesiser:
        await said(synthesiser, "warm")
        leaving = asyncio.create_task(said(synthesiser, "fail"))
        await asyncio.sleep(0)
        leaving.cancel()
        assert len(await said(synthesiser, "on")) == 2400


async def test_one_that_never_starts_says_so() -> None:
    async with running(command=("/nonexistent/hibari",), wait_s=0.2) as synthesiser:
        with pytest.raises(SynthesisError, match="hibari") as refused:
            await said(synthesiser, "on")
        assert refused.value.code == "synthesiser_unavailable"
