"""The log as JSON: whose request, which task, and no secret."""

import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.access.keys import KeyFile, Scope
from orchestrator.observability import logs
from tests.support.running_server import running, settings_in
from tests.support.speech_samples import wav


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    handler.setFormatter(logs.JsonFormatter())
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield written
    root.removeHandler(handler)
    root.setLevel(level)


async def test_lines_name_the_request_the_task_and_the_key_that_asked(tmp_path: Path, lines: io.StringIO) -> None:
    settings = settings_in(tmp_path, require_key=True)
    key = KeyFile(settings.keys_path).add("studio", Scope.ADMINISTER)
    async with running(settings) as server:
        await server.ready()
        server.http.headers["Authorization"] = f"Bearer {key}"
        answer = await server.http.post("/v1/tasks", files={"audio_file": ("a.wav", wav(0.3))})
        task_id = answer.json()["task_id"]
        await server.task(task_id, "done")
        targets = {"channel": "b", "avatar": "demo", "targets": ["rtmp://127.0.0.1:9/app/s3cret-key"]}
        assert (await server.http.post("/v1/channels", json=targets)).status_code == 201
        await server.http.get(f"/nothing%0a{{%22level%22:%22forged%22}}?key={key}")
    log = [json.loads(line) for line in lines.getvalue().splitlines()]
    upload = next(line for line in log if line.get("path") == "/v1/tasks" and line["method"] == "POST")
    assert upload["request_id"] == answer.headers["X-Request-ID"]
    assert (upload["task_id"], upload["caller"], upload["status"]) == (task_id, "key studio", 200)
    assert any(line["message"] == f"task {task_id} is done" and line["task_id"] == task_id for line in log)
    assert {line["level"] for line in log} <= {"info", "warning", "error"}
    assert key not in lines.getvalue() and "s3cret-key" not in lines.getvalue()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("key lsr_Abc-_9 is wrong", "key lsr_*** is wrong"),
        ("to rtmp://user:pw@live.example/app/s3cret: refused", "to rtmp://live.example/app/***: refused"),
        ("'srt://a:9000?passphrase=s3cret'", "'srt://a:9000?***'"),
        ("'whips://T0KEN@a/whip/s3cret'", "'whips://a/whip/***'"),
        ("to rtmp://a/app/s3cret/ now", "to rtmp://a/app/*** now"),
        ("to rtmp://a/app/one/s3cret now", "to rtmp://a/app/*** now"),
        ("to rtmp://[::1/app/s3cret now", "to rtmp://*** now"),
        ("rtmp://elsewhere:1935 is not allowed", "rtmp://elsewhere:1935 is not allowed"),
        ("GET /rtmp:%2F%2Fa%2Fapp%2Fs3cret%2F 404", "GET /rtmp://*** 404"),
        ("GET /rtmp:/a/app/s3cret 404", "GET /rtmp://*** 404"),
        ("rtmp://a/app/***, again", "rtmp://a/app/***, again"),
    ],
)
@pytest.mark.parametrize("formatter", [logs.JsonFormatter(), logs.TextFormatter()])
def test_secrets_are_masked_whoever_logs_them(said: str, shown: str, formatter: logging.Formatter) -> None:
    try:
        raise ValueError(said)
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "", 0, "%s", (said,), (ValueError, error, error.__traceback__))
    assert formatter.format(record).count(shown) == 2


def test_secrets_are_masked_in_every_field_of_a_json_line() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "GET", (), None)
    address, key = "rtmp://a/app/s3cret/", "lsr_Abc-_9"
    record.fields = {"path": f"/v1/{address}", "list": [key, {"deep": address}], "error": ValueError(address), "n": 3}
    record.task_id = address
    line = json.loads(logs.JsonFormatter().format(record))
    assert line["path"] == "/v1/rtmp://a/app/***" and line["n"] == 3
    assert line["list"] == ["lsr_***", {"deep": "rtmp://a/app/***"}] and line["error"] == "rtmp://a/app/***"
    assert "s3cret" not in json.dumps(line) and key not in json.dumps(line)


def test_text_names_the_task_once() -> None:
    record = logging.LogRecord("x", logging.INFO, "", 0, "chunk 3 is late", (), None)
    record.task_id = "5bdf"
    assert logs.TextFormatter().format(record).endswith("chunk 3 is late [5bdf]")
