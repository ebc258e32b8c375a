"""A small synthetic avatar, an RTMP server, and a receiver that reads frame numbers, flashes and beeps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rtmp_server import NoRtmpServer, RtmpServer
from latentsync.avatar import PreparedAvatar
from tests.support.grey_avatar import make_avatar


@pytest.fixture(scope="session")
def avatar(tmp_path_factory: pytest.TempPathFactory) -> PreparedAvatar:
    """320×240, 100 frames, loops in a cycle."""
    return make_avatar(tmp_path_factory.mktemp("avatars") / "grey", 320, 240, 100)


@pytest.fixture
def rtmp(tmp_path: Path) -> Iterator[RtmpServer]:
    """A running RTMP server; skips where Debian's libnginx-mod-rtmp is not installed."""
    try:
        server = RtmpServer(tmp_path / "nginx")
    except NoRtmpServer as error:
        pytest.skip(str(error))
    yield server
    server.stop()
