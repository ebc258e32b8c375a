"""A video whose frames would fill the disk is refused before anything of it is decoded."""

import subprocess
from pathlib import Path

import pytest

from speech.audio.decoder import ffmpeg_binary
from tests.support.running_server import running, settings_in


@pytest.fixture(scope="module")
def bomb(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Some kilobytes of H.264 that are 100 MB of pictures."""
    path = tmp_path_factory.mktemp("bomb") / "bomb.mp4"
    source = ["-f", "lavfi", "-i", "color=black:size=1920x1080:rate=25:duration=0.7"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *source, "-c:v", "libx264", str(path)], check=True)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("limits", "status", "code"),
    [
        ({"avatar_limit_bytes": 100_000_000}, 413, "avatar_too_large"),
        ({"avatar_reserve_bytes": 1 << 60}, 507, "disk_full"),
    ],
)
async def test_video_that_would_fill_the_disk_is_refused(
    tmp_path: Path, bomb: bytes, limits: dict[str, int], status: int, code: str
) -> None:
    assert len(bomb) < 100_000
    async with running(settings_in(tmp_path, **limits)) as server:
        await server.ready()
        answer = await server.http.post("/v1/avatars", data={"name": "bomb"}, files={"video": ("a.mp4", bomb)})
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert list(server.orchestrator.uploads_dir.iterdir()) == []
        answer = await server.http.post(
            "/v1/avatars", data={"name": "bomb", "max_height": "240"}, files={"video": ("a.mp4", bomb)}
        )
        assert answer.status_code == (202 if status == 413 else 507)
