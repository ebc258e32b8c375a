"""An upload that is a playlist, a bomb or a flood gets nothing, whether it says to be sound or a video."""

import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

import pytest

from orchestrator.avatars import video
from orchestrator.avatars.errors import VideoError
from orchestrator.avatars.video import read_frames, video_info
from processes.confinement import Confinement
from speech.audio import decoder
from speech.audio.decoder import decode_heard, ffmpeg_binary
from speech.audio.errors import AudioError, NotAudio


class Bait(http.server.BaseHTTPRequestHandler):
    """Serves a good file to whoever comes, and remembers that somebody came."""

    visits: ClassVar[list[str]]
    content: bytes

    def do_GET(self) -> None:
        self.visits.append(self.path)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        """Not on the tests' output."""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A second with picture and sound."""
    path = tmp_path_factory.mktemp("clip") / "clip.ts"
    sources = ["-f", "lavfi", "-i", "testsrc2=s=64x64:r=25:d=1", "-f", "lavfi", "-i", "sine=d=1"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *sources, "-c:v", "libx264", "-c:a", "aac", path], check=True)
    return path


@pytest.fixture
def bait(clip: Path) -> Iterator[tuple[str, list[str]]]:
    class Handler(Bait):
        visits: ClassVar[list[str]] = []
        content = clip.read_bytes()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/clip.ts", Handler.visits
        server.shutdown()
        thread.join()


def playlists(address: str) -> dict[str, str]:
    media = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
    return {
        "hls": media,
        "hls master": f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{address}\n",
        "concat": f"ffconcat version 1.0\nfile '{address}'\n",
        "dash": f'<?xml version="1.0"?><MPD><BaseURL>{address}</BaseURL></MPD>',
        "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
        "redirect": f"[Reference]\r\nRef1={address}\r\n",
    }


@pytest.mark.parametrize("kind", playlists(""))
@pytest.mark.parametrize("where", ["http", "a file of the machine", "file:///etc/passwd"])
async def test_playlist_gets_nothing(
    kind: str, where: str, clip: Path, bait: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, visits = bait
    upload = tmp_path / "upload"
    upload.write_text(playlists({"http": address, "a file of the machine": str(clip)}.get(where, where))[kind])
    with pytest.raises(NotAudio) as as_sound:
        await decode_heard(upload)
    with pytest.raises(VideoError) as as_video:
        video_info(upload)
    with pytest.raises(VideoError):
        next(read_frames(upload, 10))
    assert visits == []
    assert "root:" not in f"{as_sound.value}{as_video.value}"


@pytest.mark.parametrize("kind", ["hls", "concat"])
async def test_the_same_playlists_would_be_followed_were_nothing_forbidden(
    kind: str, bait: tuple[str, list[str]], tmp_path: Path
) -> None:
    # Else the test before would prove nothing.
    address, visits = bait
    upload = tmp_path / "upload"
    upload.write_text(playlists(address)[kind])
    safe = ["-safe", "0"] if kind == "concat" else []
    allowed = ["-protocol_whitelist", "file,pipe,http,tcp", *safe]
    subprocess.run([ffmpeg_binary(), "-v", "error", *allowed, "-i", upload, "-f", "null", "-"], check=True)
    assert visits


async def test_memory_is_bounded(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = tmp_path / "sound.m4a"
    subprocess.run([ffmpeg_binary(), "-v", "error", "-i", clip, "-vn", "-c", "copy", sound], check=True)
    assert len(await decode_heard(sound))
    monkeypatch.setattr(decoder, "MEMORY_BYTES", 1 << 24)
    with pytest.raises(AudioError):
        await decode_heard(sound)


def test_pictures_that_would_fill_the_memory_are_refused(tmp_path: Path) -> None:
    bomb = tmp_path / "bomb.mkv"
    # Ten thousand pixels each way weigh 10 kB in the file and 300 MB in memory.
    source = ["-f", "lavfi", "-i", "color=s=10000x10000:r=1:d=1", "-c:v", "png", "-pix_fmt", "gray"]
    subprocess.run([ffmpeg_binary(), "-v", "error", *source, bomb], check=True)
    with pytest.raises(VideoError, match="10000×10000: scale it down"):
        video_info(bomb)


def test_flood_of_messages_is_cut(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flood = tmp_path / "flood.mkv"
    words = [word for number in range(200) for word in ("-metadata", f"tag{number}={'x' * 500}")]
    subprocess.run([ffmpeg_binary(), "-v", "error", "-i", clip, *words, "-c", "copy", flood], check=True)
    assert video_info(flood).duration_s is not None
    monkeypatch.setattr(video, "_CONFINEMENT", Confinement(4 << 30, 60, file_bytes=10_000))
    with pytest.raises(VideoError):
        video_info(flood)


def test_child_beyond_its_processor_time_is_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    Confinement(memory_bytes=1 << 30, cpu_s=1).apply(child.pid)
    assert child.wait() < 0


def test_child_writes_no_file(tmp_path: Path) -> None:
    program = "import sys; sys.stdin.read(); open(sys.argv[1], 'w').write('x')"
    child = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path / "file"], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    Confinement(memory_bytes=1 << 30, cpu_s=10).apply(child.pid)
    child.communicate()
    assert (tmp_path / "file").stat().st_size == 0
