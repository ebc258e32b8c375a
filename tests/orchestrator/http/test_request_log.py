"""What the log and the traces keep of a request's path."""

import logging
from pathlib import Path

import pytest

from tests.support.running_server import running, settings_in

SECRET = "s3cret-key"


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        (f"/v1/channels/rtmp:%2F%2Flive.example%2Fapp%2F{SECRET}", "/v1/channels/rtmp://live.example/app/***"),
        (f"/v1/tasks/lsr_{SECRET}", "/v1/tasks/lsr_***"),
        ("/v1/tasks/a%0Ab", "/v1/tasks/a%0Ab"),
    ],
)
async def test_secrets_in_a_path_are_masked_and_escapes_stay(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: str, shown: str
) -> None:
    caplog.set_level(logging.INFO, "orchestrator.http.middleware")
    async with running(settings_in(tmp_path)) as server:
        assert (await server.http.get(sent)).status_code == 404
    paths = [fields["path"] for record in caplog.records if (fields := getattr(record, "fields", None))]
    assert paths == [shown]
    assert SECRET not in caplog.text
