"""The overlay of an avatar's frame over HTTP: how the avatar was understood."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.support.running_server import running, settings_in

pytestmark = pytest.mark.timeout(60)


async def test_overlay_is_a_picture_of_the_frame_that_was_asked_for(tmp_path: Path) -> None:
    url = "/v1/avatars/demo/overlay.png"
    async with running(settings_in(tmp_path)) as server:
        first, other = [await server.http.get(url, params={"frame": frame}) for frame in (0, 7)]
        assert first.content == (await server.http.get(url)).content != other.content
        picture = cv2.imdecode(np.frombuffer(first.content, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (192, 160, 3)
        for frame in ("999", "x"):
            answer = await server.http.get(url, params={"frame": frame})
            assert (answer.status_code, answer.json()["error"]["code"]) == (422, "bad_frame")
        nobody = await server.http.get("/v1/avatars/nobody/overlay.png")
        assert (nobody.status_code, nobody.json()["error"]["code"]) == (404, "unknown_avatar")
