"""What `bench talk` makes of a conversation: lost, doubled and mixed turns, what was heard, and its criteria."""

from __future__ import annotations

import asyncio
import subprocess
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest

from bench.machine import Machine
from bench.speech_latency.findings import Spread
from bench.stream.receiver import Part
from bench.talk.accounts import accounts_of
from bench.talk.at_once import parts_at_once
from bench.talk.bleed import Loudspeaker
from bench.talk.client import TalkClient, Told, TurnLost
from bench.talk.faults import FaultFound, meet
from bench.talk.findings import TurnFindings
from bench.talk.plan import SPOKEN, Asked, PlannedTurn, TalkPlan, planned_turns
from bench.talk.provider import GOOD_ANSWER, Fault, FaultyProvider
from bench.talk.received import Received, words_heard
from bench.talk.record import EchoFindings, criteria
from bench.talk.turns import TurnTaker
from conversation.message import Message, Role
from conversation.recognition.openai import OpenAiRecogniser, TranscriptionProvider
from conversation.response.openai import ChatProvider, OpenAiResponder
from conversation.response.responder import ResponseError, TextPiece
from conversation.synthesis.openai import OpenAiSynthesiser, Provider
from conversation.synthesis.synthesiser import Voice
from speech.audio.decoder import ffmpeg_binary
from streaming.flv_tags import FlvParser, TagKind
from tests.support.talk_client import talking_server

TIME = PlannedTurn(0, Asked.TIME, "What time is it?", "It is", None)
HELP = PlannedTurn(1, Asked.HELP, "What can you do?", "You can interrupt me", None)


def said(turn: int, sentence: str, heard: str | None = None) -> list[dict[str, Any]]:
    return [
        {"type": "transcript", "turn": turn, "text": "?", "final": True},
        {"type": "sentence", "turn": turn, "text": sentence},
        {"type": "heard", "turn": turn, "text": sentence if heard is None else heard},
    ]


def told(*messages: dict[str, Any]) -> list[Told]:
    return [Told(float(n), message) for n, message in enumerate(messages)]


def test_plan_is_the_same_each_time_and_who_interrupts_speaks() -> None:
    turns = planned_turns(TalkPlan(turns=200, seed=3))
    assert turns == planned_turns(TalkPlan(turns=200, seed=3)) != planned_turns(TalkPlan(turns=200, seed=4))
    cut = [turn for turn in turns if turn.cut_after_s is not None]
    assert len(cut) > 30 and all(turns[turn.number + 1].asked in SPOKEN for turn in cut)
    assert turns[-1].cut_after_s is None and {turn.asked for turn in turns} == set(Asked)


def test_turns_that_are_lost_doubled_or_mixed_are_counted() -> None:
    first, second = said(3, "It is noon."), said(4, "You can interrupt me. Ask!", "You can interrupt")
    fine = accounts_of(told(*first, *second), (TIME, HELP))
    assert (fine.lost, fine.doubled, fine.mixed, fine.numbers) == (0, 0, 0, (3, 4))
    assert accounts_of(told(*first), (TIME, HELP)).lost == 1
    assert accounts_of(told(*first, *second[:2]), (TIME, HELP)).lost == 1
    assert accounts_of(told(*first, *second, second[2]), (TIME, HELP)).doubled == 1
    assert accounts_of(told(*first, *second, *said(5, "It is noon.")), (TIME, HELP)).doubled == 1
    assert accounts_of(told(*said(3, "You can interrupt me."), *said(4, "It is noon.")), (TIME, HELP)).mixed == 2
    assert accounts_of(told(*first, *said(4, "You can interrupt me.", "It is")), (TIME, HELP)).mixed == 1


def test_words_are_counted_up_to_the_last_one_that_was_recognised() -> None:
    answer = "You can interrupt me, ask me for the time or the date."
    assert words_heard("you can interrupt me ask", answer) == 5
    assert words_heard("You can interrupt, ask me fo", answer) == 6
    assert words_heard("", answer) == 0


def test_sound_is_found_between_two_moments() -> None:
    received = Received((), np.array([10.0, 10.01, 10.5, 12.0]))
    assert received.first_loud_s(10.005, 11.0) == 10.01
    assert received.last_loud_s(10.005, 11.0) == pytest.approx(10.51)
    assert received.last_loud_s(10.6, 11.0) is None


def test_received_sound_is_loud_when_it_arrived(tmp_path: Path) -> None:
    """A tone from 1 to 2 s of the stream, whose pictures arrive 100.25 s after their time, and one of them late."""
    path, times = tmp_path / "part.flv", np.arange(3 * 48_000) / 48_000
    tone = np.where((times >= 1) & (times < 2), 5_000 * np.sin(2 * np.pi * 400 * times), 0).astype("<i2")
    command = [ffmpeg_binary(), "-v", "error", "-f", "s16le", "-ar", "48000", "-ac", "1", "-i", "pipe:0"]
    command += ["-f", "lavfi", "-i", "color=black:s=64x64:r=25", "-shortest", "-c:a", "aac", "-c:v", "libx264"]
    command += ["-tune", "zerolatency", "-bf", "0", "-f", "flv", str(path)]
    subprocess.run(command, input=tone.tobytes(), check=True)
    part = Part(path)
    for tag in FlvParser().feed(path.read_bytes()):
        if tag.kind is TagKind.PICTURE and not tag.configuration:
            part.picture_ms.append(tag.time_ms)
            part.arrived_s.append(tag.time_ms / 1000 + 100.25 + (tag.time_ms == 1200))
        elif tag.kind is TagKind.SOUND and not tag.configuration:
            part.sound_ms.append(tag.time_ms)
    received = Received.of([part], ffmpeg_binary())
    assert received.first_loud_s(0, 1000) == pytest.approx(101.25, abs=0.04)
    assert received.last_loud_s(0, 1000) == pytest.approx(102.25, abs=0.04)
    piece = received.between(101.0, 102.0)
    assert len(piece) == pytest.approx(16_000, abs=10)
    assert np.flatnonzero(np.abs(piece.astype(np.int32)) > 2_000)[0] == pytest.approx(0.25 * 16_000, abs=650)


FINE = TurnFindings(
    2, 1, 0, 0, 0, (), Spread(1, 1500.0, 1, 1), Spread(1, 600.0, 1, 1), Spread(1, 1, 250.0, 1), {"0": 1}, 50.0, {}
)
MACHINE = Machine(cpu="", cores=2, memory_gib=1.0, gpus=(), versions={})
ON_TIME = {"late_frames": 0, "late_waits": 0, "dropped_pairs": 0}
ECHO = EchoFindings(10, -20, 300.0, 0, 0)
MET = FaultFound(Fault.BUSY, ("responder_busy",), ("thinking",), True)


def broken(
    found: TurnFindings = FINE,
    counters: dict[str, int] = ON_TIME,
    growth: float = 1.0,
    echo: EchoFindings = ECHO,
    fault: FaultFound = MET,
) -> list[str]:
    kept = criteria(TalkPlan(), MACHINE, found, counters, {"channel": growth}, echo, [fault])
    return [criterion.name for criterion in kept if not criterion.kept]


def test_each_promise_can_be_broken() -> None:
    assert broken() == []
    assert broken(replace(FINE, voice_to_voice=Spread(1, 1801.0, 1, 1))) == ["voice_to_voice_ms"]
    assert broken(replace(FINE, voice_to_voice=Spread(0, None, None, None))) == ["voice_to_voice_ms"]
    assert broken(replace(FINE, text_to_sound=Spread(1, 701.0, 1, 1))) == ["text_to_sound_ms"]
    assert broken(replace(FINE, barge_in=Spread(1, 1, 301.0, 1))) == ["barge_in_p95_ms"]
    assert broken(replace(FINE, words_off={"1": 1, "2": 1})) == ["heard_within_a_word"]
    assert broken(replace(FINE, lost=1, doubled=1, mixed=1)) == ["turns_lost", "turns_doubled", "turns_mixed"]
    assert broken(counters={**ON_TIME, "late_waits": 1}) == ["late_frames"]
    assert broken(growth=1.06) == ["memory_growth_channel"]
    assert broken(echo=replace(ECHO, interrupted=1, played_s=0.0)) == ["self_interruptions", "bleed_played_s"]
    assert broken(echo=replace(ECHO, minutes=9.9)) == ["echo_minutes"]
    assert broken(fault=replace(MET, told=())) == ["fault_busy"]
    assert broken(fault=replace(MET, next_turn_works=False)) == ["fault_busy"]


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Fault.BROKEN_OFF, "answer_broken_off"),
        (Fault.BUSY, "responder_busy"),
        (Fault.GARBAGE, "answer_unreadable"),
        (Fault.ENDLESS, "answer_endless"),
        (Fault.EMPTY, None),
        (None, None),
    ],
)
async def test_provider_fails_as_it_is_told_to(fault: Fault | None, code: str | None) -> None:
    async with FaultyProvider().running() as provider:
        provider.fault = fault
        whole_s = 1.0 if fault is Fault.ENDLESS else 60.0
        responder = OpenAiResponder(ChatProvider(provider.url, "m", whole_s=whole_s))
        found, text = None, ""
        try:
            async with aclosing(responder.answer([Message(Role.PERSON, "?")])) as pieces:
                async for piece in pieces:
                    text += piece.text if isinstance(piece, TextPiece) else ""
        except ResponseError as error:
            found = error.code
        assert found == code and (fault is not None or text == GOOD_ANSWER)


async def test_turns_are_taken_and_faults_met_on_a_real_server(tmp_path: Path) -> None:
    async with FaultyProvider().running() as provider:
        settings = {"responder": "openai", "responder_url": provider.url}
        async with talking_server(tmp_path, **settings) as server:
            client = TalkClient(str(server.http.base_url).rstrip("/"), "main")
            async with client.talking():
                found = await meet(client, provider, Fault.GARBAGE)
                assert found.kept and found.told == ("answer_unreadable",)
                first = len(client.told)
                typed = PlannedTurn(0, Asked.TYPED, "Is all well?", GOOD_ANSWER, None)
                reported: list[str] = []
                (taken,) = await TurnTaker(client, {}).take_all([typed], reported.append)
                assert not taken.problem and taken.encoded_s is not None and taken.encoded_s > taken.asked_s
                assert reported and accounts_of(client.told[first:], [typed]).mixed == 0
                with pytest.raises(TurnLost, match="no heard within"):
                    await client.until(len(client.told), "heard", 0.1)
                server.orchestrator.conversations.stop()
                async with asyncio.timeout(30):
                    await client.until(first, "ended")
                with pytest.raises(TurnLost, match="has ended: stopping"):
                    await client.until(len(client.told), "heard", 10)


async def test_loudspeaker_gives_the_channel_s_sound_back_more_softly(tmp_path: Path) -> None:
    async with talking_server(tmp_path) as server:
        url = str(server.http.base_url).rstrip("/")
        loud, soft = Loudspeaker(0), Loudspeaker(-20)
        client = TalkClient(url, "main")
        async with client.talking(), loud.connected(url, "main"), soft.connected(url, "main"):
            await client.type("Say one two three four five six seven eight nine ten eleven twelve.")
            heard: dict[Loudspeaker, list[int]] = {loud: [], soft: []}
            async with asyncio.timeout(60):
                while min(loud.played, soft.played) < 4_000:
                    for speaker, levels in heard.items():
                        levels.append(int(np.abs(speaker.take(320)).max()))
                    await asyncio.sleep(0.02)
        assert max(heard[soft]) == pytest.approx(0.1 * max(heard[loud]), rel=0.2)


async def test_parts_that_answer_at_once_serve_the_products_own_clients() -> None:
    async with parts_at_once() as further, anyio.create_task_group() as group:
        url = further["RESPONDER_URL"]
        recogniser = OpenAiRecogniser(TranscriptionProvider(url, "any"))
        responder = OpenAiResponder(ChatProvider(url, "any"))
        synthesiser = OpenAiSynthesiser(Provider(url, "any", ("one",)))
        for part in (recogniser, responder, synthesiser):
            group.start_soon(part.run)
        text = await recogniser.recognise(np.zeros(1600, np.int16), "en")
        async with aclosing(responder.answer([Message(Role.PERSON, text)])) as pieces:
            answer = "".join([piece.text async for piece in pieces if isinstance(piece, TextPiece)])
        blocks = [block async for block in synthesiser.synthesise(answer, Voice("one"))]
        group.cancel_scope.cancel()
    turns = planned_turns(TalkPlan(turns=4, at_once=True))
    assert {turn.text for turn in turns} == {text} and all(answer.startswith(turn.begins) for turn in turns)
    assert [turn.asked for turn in turns] == [Asked.TIME, Asked.TYPED] * 2
    assert sum(map(len, blocks)) == 2 * synthesiser.rate_hz and np.abs(np.concatenate(blocks)).max() > 500
