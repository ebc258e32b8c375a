"""The example receiver takes a stream that a channel publishes, and gives it to a player."""

import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rtmp_server import NGINX_MODULE
from tests.support.checkout import ROOT
from tests.support.running_server import free_port

NGINX = shutil.which("nginx", path="/usr/local/sbin:/usr/sbin:/usr/bin")
pytestmark = [
    pytest.mark.skipif(NGINX is None or not NGINX_MODULE.exists(), reason="no nginx with its RTMP module here"),
    pytest.mark.timeout(60),
]


def command(folder: Path, config: Path) -> list[str]:
    assert NGINX is not None
    return [NGINX, "-p", f"{folder}/", "-c", str(config)]


def test_nginx_accepts_the_configuration(tmp_path: Path) -> None:
    tested = subprocess.run(
        [*command(tmp_path, ROOT / "examples/receive-nginx.conf"), "-t"], capture_output=True, text=True
    )
    assert tested.returncode == 0, tested.stderr


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def address(tmp_path: Path) -> Iterator[str]:
    """The address of a stream at the example's nginx, moved to a free port."""
    port = free_port()
    text, moved = re.subn(r"\b1935;", f"{port};", (ROOT / "examples/receive-nginx.conf").read_text())
    assert moved == 1
    config = tmp_path / "nginx.conf"
    config.write_text(text)
    process = subprocess.Popen(command(tmp_path, config))
    try:
        while not listens(port):
            assert process.poll() is None, "nginx has ended"
            time.sleep(0.05)
        yield f"rtmp://127.0.0.1:{port}/live/main"
    finally:
        process.terminate()
        process.wait(10)


def test_a_stream_that_is_published_reaches_a_player(address: str, tmp_path: Path) -> None:
    ffmpeg = ["ffmpeg", "-v", "error", "-nostdin"]
    source = ["-re", "-f", "lavfi", "-i", "testsrc=size=160x120:rate=25", "-f", "lavfi", "-i", "sine"]
    codecs = ["-c:v", "libx264", "-preset", "ultrafast", "-g", "25", "-c:a", "aac"]
    publisher = subprocess.Popen([*ffmpeg, *source, *codecs, "-f", "flv", address])
    try:
        received = tmp_path / "received.flv"
        subprocess.run([*ffmpeg, "-i", address, "-t", "1", "-c", "copy", str(received)], check=True, timeout=40)
    finally:
        publisher.terminate()
        publisher.wait(10)
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0", str(received)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert sorted(probed.stdout.split()) == ["aac", "h264"]
