"""A viewer that shares no code with the server: GStreamer's webrtcbin speaks WHEP to a real server."""

from __future__ import annotations

import asyncio
import subprocess
from asyncio.subprocess import PIPE
from itertools import pairwise
from pathlib import Path

import pytest

from tests.support.checkout import ROOT
from tests.support.packet_source import PacketSource
from tests.support.running_server import running, settings_in

PYTHON = "/usr/bin/python3"
NEEDED = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstWebRTC', '1.0');"
    "from gi.repository import Gst, GstWebRTC; Gst.init(None);"
    "assert all(map(Gst.ElementFactory.find, ('webrtcbin', 'nicesrc', 'avdec_h264', 'opusdec')))"
)


def installed() -> bool:
    try:
        return subprocess.run([PYTHON, "-c", NEEDED], capture_output=True, timeout=60, check=False).returncode == 0
    except OSError:
        return False


@pytest.mark.skipif(
    not installed(), reason="needs python3-gi, gir1.2-gst-plugins-bad-1.0, gstreamer1.0-nice and gstreamer1.0-libav"
)
async def test_gstreamer_shows_each_picture_and_hears(tmp_path: Path) -> None:
    with PacketSource(tmp_path / "packets.sock"):
        async with running(settings_in(tmp_path, webrtc_ports="50250-50299")) as server:
            server.orchestrator.audiences._packet_sockets = lambda: {"main": tmp_path / "packets.sock"}
            program = str(ROOT / "tests" / "support" / "gstreamer_viewer.py")
            url = f"{server.http.base_url}/v1/channels/main/whep"
            viewer = await asyncio.create_subprocess_exec(PYTHON, program, url, stdout=PIPE)
            assert viewer.stdout is not None
            numbers: list[int] = []
            heard = False
            try:
                while len(numbers) < 50 or not heard:
                    line = (await viewer.stdout.readline()).decode().strip()
                    assert line, "the viewer ended"
                    heard = heard or line == "sound"
                    numbers += [int(line)] if line != "sound" else []
            finally:
                viewer.kill()
                await viewer.wait()
            assert all(later - one == 1 for one, later in pairwise(numbers))
            async with asyncio.timeout(40):  # killed: it said no goodbye
                while server.orchestrator.audiences.viewers("main"):
                    await asyncio.sleep(0.1)
