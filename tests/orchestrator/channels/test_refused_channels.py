"""Channels that can't be are refused with the reason, and without the keys of their targets."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.running_server import RunningServer, running, settings_in
from tests.support.synthetic_avatar import write_avatar

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(90)]

KEY = "s3cr3t-k3y"
NEWS: dict[str, Any] = {"channel": "news", "avatar": "other", "targets": [f"rtmp://127.0.0.1:9/live/{KEY}"]}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[RunningServer]:
    """One for all: none of the requests changes anything."""
    settings = settings_in(tmp_path_factory.mktemp("server"))
    write_avatar(settings.avatars_dir, "other")
    async with running(settings) as started:
        await started.ready()
        yield started


@pytest.mark.parametrize(
    ("body", "status", "code", "says"),
    [
        ({**NEWS, "channel": "main"}, 409, "channel_exists", "main"),
        ({**NEWS, "avatar": "nobody"}, 422, "bad_channel", "there is demo, other"),
        ({**NEWS, "channel": "No Spaces"}, 422, "bad_channel", "channel:"),
        ({**NEWS, "picture_size": [641, 480]}, 422, "bad_channel", "picture_size.0"),
        ({**NEWS, "fade_frames": 26}, 422, "bad_channel", "fade_frames"),
        ({**NEWS, "mouth_fade_frames": -1}, 422, "bad_channel", "mouth_fade_frames"),
        ({**NEWS, "target": []}, 422, "bad_channel", "target: there is no such field; probably targets is meant."),
        ({**NEWS, "targets": [f"gopher://h/{KEY}"]}, 422, "bad_channel", "number 0"),
        ({**NEWS, "targets": [f"rtmp://h:99999/a/{KEY}"]}, 422, "bad_channel", "number 0: the port must be a number"),
        ({**NEWS, "targets": [f"rtmp://h:http/a/{KEY}"]}, 422, "bad_channel", "number 0: the port must be a number"),
        ({**NEWS, "targets": [f"rtmp://[::1/a/{KEY}"]}, 422, "bad_channel", "number 0: the brackets must hold"),
        ({**NEWS, "targets": [f"rtmp:///a/{KEY}"]}, 422, "bad_channel", "number 0: the host is missing"),
        ({**NEWS, "targets": ["srt://0.0.0.0:9000#?mode=listener"]}, 422, "bad_channel", "must contain no '#'"),
        ({**NEWS, "targets": ["/etc/passwd.flv"]}, 422, "bad_channel", "below the recordings folder"),
        ({**NEWS, "targets": ["../../x.flv"]}, 422, "bad_channel", "below the recordings folder"),
        ({**NEWS, "targets": [f"rtmp://h/a/{KEY}"] * 2}, 422, "bad_channel", "given twice"),
        ({**NEWS, "targets": [f"rtmp://h/a/{KEY} -f x"]}, 422, "bad_channel", "targets.0"),
        ({**NEWS, "colour": "red"}, 422, "bad_channel", "colour"),
        ({"targets": [f"rtmp://h/a/{KEY}"]}, 422, "bad_channel", "channel: Field required"),
        ([1], 400, "broken_json", "Send a JSON object"),
    ],
)
async def test_a_channel_that_cannot_be_is_refused_with_the_reason(
    server: RunningServer, body: Any, status: int, code: str, says: str
) -> None:
    answer = await server.http.post("/v1/channels", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert says in answer.json()["error"]["message"]
    assert KEY not in answer.text
    assert list(server.orchestrator.channels) == ["main"]


async def test_mistyped_avatar_is_refused_with_those_that_there_are(server: RunningServer) -> None:
    asked: list[tuple[str, str, Any]] = [
        ("PATCH", "/v1/avatars/othre", {"name": "another"}),
        ("DELETE", "/v1/avatars/othre", None),
        ("GET", "/v1/avatars/othre/preview.png", None),
    ]
    for method, path, body in asked:
        answer = await server.http.request(method, path, json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "unknown_avatar")
        assert "'othre'; there is demo, other." in answer.json()["error"]["message"]
