"""Drawn requests and damaged files: none is answered with a fault or not at all, and the server holds nothing of them.

`make test` sends a few of each kind; `make fuzz` (FUZZ_SCALE) many, and prints what they were answered.
"""

import asyncio
import contextlib
import itertools
import json
import os
import random
import socket
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.fuzz import messages
from tests.fuzz import requests as drawn
from tests.fuzz.media import audio_seeds, damaged, deceptions, video_seeds
from tests.fuzz.served import ANSWERED_WITHIN_S, Served
from tests.support.drawn_cases import ask_everything

SCALE = int(os.environ.get("FUZZ_SCALE", "1"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
RECORD = os.environ.get("FUZZ_RECORD")
EXAMPLES = {
    "schema": 3,
    "json": 100,
    "query": 60,
    "form": 100,
    "wire": 40,
    "methods": 100,
    "upgrades": 80,
    "targets": 80,
    "definitions": 60,
    "messages": 40,
    "stalled": 30,
    "audio": 24,
    "video": 3,
}
AT_ONCE = 4

pytestmark = pytest.mark.timeout(300 + 300 * SCALE)


class Answers:
    """What each kind of request was answered, and the longest that one took."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {}
        self.longest_s: dict[str, float] = {}

    def note(self, kind: str, status: str, taken_s: float) -> None:
        self.counts.setdefault(kind, Counter())[status] += 1
        self.longest_s[kind] = max(taken_s, self.longest_s.get(kind, 0.0))

    def as_lines(self) -> list[str]:
        lines = []
        for kind, counts in self.counts.items():
            told = ", ".join(f"{status}: {count}" for status, count in sorted(counts.items()))
            lines.append(f"| {kind} | {counts.total()} | {told} | {self.longest_s[kind]:.2f} |")
        return lines


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    noted = Answers()
    yield noted
    if RECORD:
        Path(RECORD).parent.mkdir(parents=True, exist_ok=True)
        total = sum(counts.total() for counts in noted.counts.values())
        Path(RECORD).write_text("\n".join([*noted.as_lines(), f"| all | {total} | | |", ""]))


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    server = Served(tmp_path_factory.mktemp("served"), key_required=False)
    yield server
    server.close()


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Served]:
    server = Served(tmp_path, key_required=True)
    yield server
    server.close()


def many(kind: str) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=EXAMPLES[kind] * SCALE,
        deadline=None,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


def check(answers: Answers, kind: str, answer: httpx.Response, sent: object) -> None:
    answers.note(kind, str(answer.status_code), answer.elapsed.total_seconds())
    assert answer.status_code < 500 or answer.status_code == 503, (answer.status_code, answer.text[:300], sent)
    if answer.status_code >= 400:
        assert set(answer.json()["error"]) == {"code", "message"}, sent


def test_requests_that_nobody_described_are_refused(served: Served, answers: Answers) -> None:
    @hypothesis.seed(SEED)
    @many("json")
    @hypothesis.given(drawn.JSON_TARGETS, drawn.OBJECTS | drawn.RAW)
    def send_json(target: tuple[str, str], body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        check(answers, "JSON", served.http.request(*target, content=content, headers=headers), (target, content))

    @hypothesis.seed(SEED)
    @many("query")
    @hypothesis.given(drawn.QUERY_TARGETS, drawn.WORDS, drawn.QUERIES)
    def send_query(target: str, word: str, query: dict[str, str]) -> None:
        try:
            sent = served.http.build_request("GET", httpx.URL(served.url).copy_with(path=target.replace("{}", word)))
            sent.url = sent.url.copy_merge_params(query)
        except (httpx.InvalidURL, UnicodeEncodeError):
            hypothesis.reject()
        with contextlib.suppress(httpx.LocalProtocolError):  # the client's own library won't send it
            check(answers, "query", served.http.send(sent), sent.url)

    @hypothesis.seed(SEED)
    @many("form")
    @hypothesis.given(drawn.FORM_TARGETS, drawn.FORM_TYPES, drawn.FORMS)
    def send_form(target: str, kind: str, body: bytes) -> None:
        headers = {"Content-Type": kind} if kind else {}
        check(answers, "form", served.http.post(target, content=body, headers=headers), (target, kind, body))

    send_json()
    send_query()
    send_form()
    served.assert_nothing_stays()


def sent_raw(served: Served, answers: Answers, kind: str, data: bytes) -> None:
    """Sends bytes on a connection of their own, and notes with which status they are answered, or that none came."""
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", served.port), timeout=ANSWERED_WITHIN_S) as connection:
        answer = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            while block := connection.recv(1 << 16):
                answer += block
    status = answer.split(b" ")[1].decode() if answer.startswith(b"HTTP/1.1 ") else "closed"
    answers.note(kind, status, time.monotonic() - began)
    assert not status.startswith("5") or status in ("501", "503"), (data, answer)


def test_bytes_that_are_no_request_end_their_connection_alone(served: Served, answers: Answers) -> None:
    @hypothesis.seed(SEED)
    @many("wire")
    @hypothesis.given(drawn.WIRE)
    def send(data: bytes) -> None:
        sent_raw(served, answers, "bytes", data)

    send()
    assert served.http.get("/health/live").status_code == 200
    served.assert_nothing_stays()


def test_methods_and_upgrades_that_nobody_has_are_refused(served: Served, answers: Answers) -> None:
    @hypothesis.seed(SEED)
    @many("methods")
    @hypothesis.given(drawn.METHODS)
    def send_method(data: bytes) -> None:
        sent_raw(served, answers, "methods", data)

    @hypothesis.seed(SEED)
    @many("upgrades")
    @hypothesis.given(drawn.UPGRADES)
    def send_upgrade(data: bytes) -> None:
        sent_raw(served, answers, "upgrades", data)

    send_method()
    send_upgrade()
    assert len(served.http.get("/metrics").content) < 1_000_000
    served.assert_nothing_stays()


def converse(served: Served, path: str, said: list[str | bytes], end: str) -> str:
    """Send messages on a WebSocket and leave it; the code that it was closed with, or the status of a refusal."""
    url = f"ws://127.0.0.1:{served.port}{path}"
    try:
        with connect(url, close_timeout=ANSWERED_WITHIN_S, max_size=None, compression=None) as client:
            for message in said:
                client.send(message)
            if end == "cut":
                client.socket.close()
                return "cut"
            if end == "half-closed":
                client.socket.shutdown(socket.SHUT_WR)
            else:
                client.close()
            while True:
                client.recv(timeout=ANSWERED_WITHIN_S)
    except InvalidStatus as refused:
        return str(refused.response.status_code)
    except ConnectionClosed as closed:
        return str(closed.rcvd.code) if closed.rcvd else "closed"


def test_messages_that_nobody_described_end_their_connection_alone(served: Served, answers: Answers) -> None:
    @hypothesis.seed(SEED)
    @many("messages")
    @hypothesis.given(messages.SOCKETS, messages.MESSAGES, messages.ENDS)
    def send(path: str, said: list[str | bytes], end: str) -> None:
        began = time.monotonic()
        ended = converse(served, path, said, end)
        answers.note("messages", ended, time.monotonic() - began)
        assert ended not in ("1011", "500"), (path, said)

    send()
    assert served.http.get("/health/live").status_code == 200
    served.assert_nothing_stays()


def test_targets_and_definitions_that_cannot_be_are_refused(served: Served, answers: Answers) -> None:
    def send(kind: str, method: str, path: str, body: Any) -> None:
        content = json.dumps(body).encode()
        answer = served.http.request(method, path, content=content, headers={"Content-Type": "application/json"})
        check(answers, kind, answer, content)
        assert answer.status_code >= 400, content

    @hypothesis.seed(SEED)
    @many("targets")
    @hypothesis.given(drawn.TARGETS)
    def send_targets(change: Any) -> None:
        send("targets", "PATCH", "/v1/channels/main", change)  # what could be a target is not allowed here

    @hypothesis.seed(SEED)
    @many("definitions")
    @hypothesis.given(drawn.DEFINITIONS)
    def send_definition(definition: Any) -> None:
        send("definitions", "POST", "/v1/channels", definition)

    send_targets()
    send_definition()
    served.assert_nothing_stays()


def test_readers_that_stall_leave_nothing(served: Served, answers: Answers) -> None:
    dice, most_at_once = random.Random(SEED), 15
    left = EXAMPLES["stalled"] * SCALE
    while left > 0:
        clients = []
        for _ in range(min(left, most_at_once)):
            client = socket.socket()
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.connect(("127.0.0.1", served.port))
            path = dice.choice(drawn.LONG_ANSWERS)
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode() * dice.choice((1, 1, 3)))
            clients.append(client)
        time.sleep(dice.choice((0.01, 0.1, 0.3)))
        began = time.monotonic()
        check(answers, "beside stalled readers", served.http.get("/v1/tasks"), "beside stalled readers")
        for client in clients:
            client.close()
            answers.note("stalled readers", "unread", time.monotonic() - began)
        left -= most_at_once
    served.assert_nothing_stays()


def ask(server: Served, answers: Answers, kind: str, headers: dict[str, str], least: int = 1) -> None:
    def noted(status: str, taken_s: float) -> None:
        answers.note(f"description, {kind}", status, taken_s)

    examples = max(EXAMPLES["schema"] * SCALE, least)
    sent, wrong = ask_everything(server.url, examples, headers, noted)
    assert wrong == [] and sent > 10 * examples
    server.assert_nothing_stays()


def test_described_requests_are_answered_as_described(served: Served, answers: Answers) -> None:
    ask(served, answers, "no keys", {}, least=15)
    assert served.http.get("/health/live").status_code == 200


def test_described_requests_are_answered_as_described_where_keys_are_needed(guarded: Served, answers: Answers) -> None:
    ask(guarded, answers, "with a key", guarded.headers)
    ask(guarded, answers, "without its key", {})


async def upload_all(
    served: Served, answers: Answers, path: str, field: str, files: Iterator[tuple[str, str, bytes]]
) -> None:
    """Sends the files, some at once; each is (kind, name, content)."""
    async with httpx.AsyncClient(base_url=served.url, timeout=ANSWERED_WITHIN_S) as http:

        async def send() -> None:
            for kind, name, content in files:
                sent = {field: (name, content)}
                answer = await http.post(path, files=sent, data={"name": "fuzzed"} if field == "video" else {})
                check(answers, kind, answer, name)
                if random.random() < 0.02:
                    await http.post("/v1/channels/main/interrupt", params={"queue": "true"})

        await asyncio.gather(*(send() for _ in range(AT_ONCE)))


def test_damaged_audio_is_said_or_refused(served: Served, answers: Answers, tmp_path: Path) -> None:
    dice, seeds = random.Random(SEED), audio_seeds(tmp_path)
    several = itertools.islice(damaged(dice, seeds), EXAMPLES["audio"] * SCALE)
    files = ((f"audio: damaged {name.rpartition('.')[2]}", name, content) for name, content in several)
    asyncio.run(upload_all(served, answers, "/v1/tasks", "audio_file", files))
    served.assert_nothing_stays()


def test_files_made_to_deceive_are_refused(served: Served, answers: Answers, tmp_path: Path) -> None:
    built = deceptions(tmp_path)
    files = (("audio: made to deceive", name, content) for name, content in built.items())
    asyncio.run(upload_all(served, answers, "/v1/tasks", "audio_file", files))
    more = itertools.islice(damaged(random.Random(SEED), built), EXAMPLES["audio"] * (SCALE - 1) // 4)
    asyncio.run(
        upload_all(served, answers, "/v1/tasks", "audio_file", (("audio: deceiving, damaged", n, c) for n, c in more))
    )
    served.assert_nothing_stays()


def test_damaged_videos_are_refused_or_fail_as_avatars(served: Served, answers: Answers, tmp_path: Path) -> None:
    dice, seeds = random.Random(SEED), video_seeds(tmp_path)
    several = itertools.islice(damaged(dice, seeds), EXAMPLES["video"] * SCALE)
    files = ((f"video: damaged {name}", name, content) for name, content in several)
    asyncio.run(upload_all(served, answers, "/v1/avatars", "video", files))
    served.assert_nothing_stays()
