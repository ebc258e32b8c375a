"""The ffmpeg of a target: its format, whose certificate it accepts, and what every local user can read about it."""

from __future__ import annotations

import asyncio
import re
import socket
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest

from bench.rtmp_server import RtmpServer
from latentsync.avatar import PreparedAvatar
from streaming.ca_bundle import ca_bundle
from streaming.config import ChannelConfig
from streaming.events import PublisherState, Status
from streaming.push_command import push_command, shows_secret
from tests.support.processes import descendants
from tests.support.receiver import Recording
from tests.support.tls_front import TlsFront
from tests.support.watched import is_state, running

STATIC_FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
KEY = "s3cr3t"


def config(**values: Any) -> ChannelConfig:
    return ChannelConfig(**{"id": "c", "avatar_dir": "a", "preview_socket": "p", **values})


def options(target: str, **values: Any) -> list[str]:
    with push_command(target, config(**values)) as (command, _):
        return command


@pytest.mark.parametrize(
    ("target", "muxer"),
    [
        ("rtmp://h/a/k", "flv"),
        ("rtmps://h/a/k", "flv"),
        ("srt://h:9000?streamid=k", "mpegts"),
        ("x.m3u8", "hls"),
        ("x.mp4", "mp4"),
        ("file:x.ts", "mpegts"),
    ],
)
def test_each_kind_of_target_is_copied_into_its_own_format(target: str, muxer: str) -> None:
    command = options(target)
    assert target.partition("?")[0].removesuffix("/k") in command
    assert command[command.index("-c") + 1] == "copy"
    assert command[len(command) - 1 - command[::-1].index("-f") + 1] == muxer


@pytest.mark.parametrize(
    "path",
    ["live/s3cr3t", "live/inst/s3cr3t", "live/s3cr3t/more/x", "live/s3cr3t?sign=a&b=c", "live/s3cr3t.flv",
     "live/a:s3cr3t/x", "live/s3cr3t.mp4", "live/=s3cr3t#x", "live?token=s3cr3t/name", "live/s3cr3t/"],
)  # fmt: skip
def test_the_server_sees_the_same_names_whether_the_key_is_hidden_or_not(rtmp: RtmpServer, path: str) -> None:
    target = f"rtmp://127.0.0.1:{rtmp.port}/{path}"
    if shows_secret(target, "ffmpeg"):
        pytest.skip("this ffmpeg accepts no options from a file")
    seen = []
    log = rtmp.error_log
    for hidden in (True, False):
        before = len(log.read_text())
        with push_command(target, config()) as (command, inherited):
            if hidden:
                assert KEY not in " ".join(command)
            else:
                at = command.index("-fpre")
                command = [*command[:at], target, *command[at + 3 :]]
            subprocess.run(
                ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "color=s=64x64:d=0.2", "-c:v", "flv1",
                 *command[command.index("-f", command.index("-i")) :]],
                capture_output=True, pass_fds=inherited, check=False, timeout=30,
            )  # fmt: skip
        said = log.read_text()[before:]
        seen.append(re.findall(r" (connect: app='.*?' args='.*?'|tc_url='.*?'|publish: name='.*?' args='.*?')", said))
    assert seen[0] == seen[1] and len(seen[0]) >= 2


async def test_no_process_of_a_channel_shows_a_key(avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path) -> None:
    target = rtmp.url(f"{KEY}?token={KEY}")
    srt = f"srt://127.0.0.1:9?streamid={KEY}&passphrase={KEY}-{KEY}&latency=120000"
    if shows_secret(target, "ffmpeg"):
        pytest.skip("this ffmpeg accepts no options from a file")
    async with running(avatar, tmp_path, targets=(target, srt)) as watched:
        await watched.until(lambda e: isinstance(e, Status) and e.targets[0].state is PublisherState.ON_AIR)
        recorded = tmp_path / "x.flv"
        recording = Recording(rtmp.url(KEY), recorded)
        looks = 0
        # It was published under its key, or nothing could be recorded under it.
        while looks < 20 or not recorded.exists() or recorded.stat().st_size <= 1000:
            looks += 1
            lines = list(descendants(watched.channel.pid).values())
            assert any("/live" in line for line in lines) and not any(KEY in line for line in lines), lines
            await asyncio.sleep(0.1)
        await asyncio.to_thread(recording.stop)
    assert KEY not in (tmp_path / "c.log").read_text()


async def test_streamid_and_passphrase_of_srt_arrive_though_they_are_hidden(
    avatar: PreparedAvatar, tmp_path: Path
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"srt://127.0.0.1:{probe.getsockname()[1]}"
    target = f"{address}?streamid=a%20{KEY}&passphrase={KEY}-{KEY}&latency=120000"
    if shows_secret(target, "ffmpeg"):
        pytest.skip("this ffmpeg accepts no options from a file")
    assert KEY not in " ".join(options(target))
    source = ["-i", f"{address}?mode=listener&passphrase={KEY}-{KEY}", "-t", "1"]
    listener = subprocess.Popen(["ffmpeg", "-v", "verbose", *source, "-f", "null", "-"], stderr=subprocess.PIPE)
    async with running(avatar, tmp_path, targets=(target,)):
        _, said = await asyncio.to_thread(listener.communicate, timeout=60)
    assert listener.returncode == 0, "a wrong passphrase gets no packet through"
    assert f"streamid [a {KEY}]".encode() in said


def test_what_cannot_be_hidden_is_known() -> None:
    assert shows_secret(f"rtmp://user:{KEY}@h/app/name", "ffmpeg"), "there is no option for it"
    assert shows_secret(f"rtmp://h/app/{KEY}", STATIC_FFMPEG), "9.0 reads presets, and forgets them"
    assert shows_secret(f"rtmp://h/app/{'k' * 1000}", "ffmpeg"), "longer than a line of a preset"
    for harmless in ("udp://h:1", "srt://h:1?latency=5", "/srv/x.flv", "show.flv"):
        assert not shows_secret(harmless, STATIC_FFMPEG)
    assert f"rtmp://h/app/{KEY}" in options(f"rtmp://h/app/{KEY}", ffmpeg=STATIC_FFMPEG), "published all the same"


@pytest.mark.parametrize("binary", ["ffmpeg", STATIC_FFMPEG], ids=["system", "imageio"])
async def test_certificates_of_rtmps_servers_are_checked(
    avatar: PreparedAvatar, rtmp: RtmpServer, tmp_path: Path, binary: str
) -> None:
    on_air = is_state(PublisherState.ON_AIR)
    with (
        TlsFront(tmp_path / "ours", rtmp.port) as ours,
        TlsFront(tmp_path / "other", rtmp.port, "DNS:other.example") as other,
    ):
        url, wrong = (f"rtmps://127.0.0.1:{front.port}/live/key" for front in (ours, other))
        for target, trusted in ((url, None), (wrong, other.certificate)):
            settings = {"ffmpeg": binary, "tls_ca_file": trusted and str(trusted), "targets": (target,)}
            async with running(avatar, tmp_path, **settings) as watched:
                status = await watched.until(lambda e: isinstance(e, Status) and bool(e.targets[0].problem))
            assert isinstance(status, Status) and status.targets[0].state is not PublisherState.ON_AIR
            assert re.search("certificate|match hostname", status.targets[0].problem)
            assert not any(map(on_air, watched.events))
        for target, values in (
            (url, {"tls_ca_file": str(ours.certificate)}),
            (wrong, {"tls_unverified_hosts": ("127.0.0.*",)}),
        ):
            async with running(avatar, tmp_path, ffmpeg=binary, targets=(target,), **values) as watched:
                await watched.until(on_air)


def test_only_named_hosts_are_not_checked() -> None:
    for host, verified in (("live.lan", "0"), ("a.studio.lan", "0"), ("lan", "1"), ("youtube.example", "1")):
        command = options(f"rtmps://{host}/app/key", tls_unverified_hosts=("Live.lan", "*.studio.lan"))
        assert command[command.index("-tls_verify") + 1] == verified
        assert ("-ca_file" in command) is (verified == "1" and ca_bundle() is not None)
    assert "-tls_verify" not in options("rtmp://live.lan/app/key")
