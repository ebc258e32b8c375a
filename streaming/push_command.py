"""The command line of the ffmpeg that copies the encoded stream to one target."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import unquote_plus

import ffmpeg

from streaming.address import Address
from streaming.ca_bundle import ca_bundle
from streaming.config import ChannelConfig
from streaming.hidden_options import can_hide, option_file
from streaming.targets import is_whip, local_path, muxer_options


@dataclass(frozen=True)
class _Destination:
    """An address as the command line shows it, and the options that hold the rest of it."""

    shown: str
    hidden: dict[str, str]


@contextlib.contextmanager
def push_command(target: str, config: ChannelConfig) -> Iterator[tuple[list[str], tuple[int, ...]]]:
    """The arguments of an ffmpeg that copies FLV from its standard input to `target`, and what it must inherit.

    A stream key is in the arguments only where `shows_secret` says so. Raises ValueError for an address of no known
    kind.
    """
    options = {**muxer_options(target), **_tls_options(target, config)}
    destination = _split(target)
    if not destination.hidden or not can_hide(config.ffmpeg, destination.hidden):
        # From the parsed parts: ffmpeg must not find anything else in the address.
        whole = target if local_path(target) is not None else str(Address.parse(target))
        yield _arguments(whole, options, config.ffmpeg), ()
        return
    with option_file(destination.hidden) as fd:
        yield _arguments(destination.shown, {**options, "fpre": f"/dev/fd/{fd}"}, config.ffmpeg), (fd,)


def shows_secret(target: str, binary: str) -> bool:
    """Whether the command line of ffmpeg `binary` shows a key or a password of this target to all local users."""
    if is_whip(target):
        return False  # its process reads the address from a pipe
    destination = _split(target)
    if local_path(target) is None and Address.parse(target).credentials:
        return True  # ffmpeg accepts a user of rtmp in the address only
    return bool(destination.hidden) and not can_hide(binary, destination.hidden)


def _arguments(target: str, options: dict[str, str], binary: str) -> list[str]:
    # Nothing is decoded: all targets get the same encoded stream. `fflags nobuffer` is left out on purpose: it drops
    # the probed packets, and the first of them is the keyframe that a viewer needs.
    source = ffmpeg.input("pipe:0", format="flv", fpsprobesize=0, analyzeduration=500_000)
    output = ffmpeg.output(source.video, source.audio, target, c="copy", flush_packets=1, **options)
    output = output.global_args("-copyts", "-hide_banner", "-nostats", "-loglevel", "level+info").overwrite_output()
    arguments: list[str] = output.compile(cmd=binary)
    return arguments


def _tls_options(target: str, config: ChannelConfig) -> dict[str, str]:
    if local_path(target) is not None:
        return {}
    address = Address.parse(target)
    if address.scheme != "rtmps":
        return {}
    if any(fnmatchcase(address.host, pattern.lower()) for pattern in config.tls_unverified_hosts):
        return {"tls_verify": "0"}
    bundle = config.tls_ca_file or ca_bundle()
    return {"tls_verify": "1", **({"ca_file": bundle} if bundle else {})}


def _split(target: str) -> _Destination:
    if local_path(target) is not None:
        return _Destination(target, {})
    address = Address.parse(target)
    if address.scheme == "srt":
        return _split_srt(address)
    if address.application:
        return _split_rtmp(address)
    return _Destination(str(address), {})


def _split_rtmp(address: Address) -> _Destination:
    """Divides the path into application and stream as ffmpeg's rtmpproto.c does: the server sees the same names."""
    path = address.rest[1:]
    application, _, after = path.partition("/")
    instance, slash, stream = after.partition("/")
    if slash and ":" not in instance:
        application = f"{application}/{instance}"
    else:
        stream = after
    if ":" not in stream and stream.endswith((".f4v", ".mp4")):
        stream = f"mp4:{stream}"
    hidden = {"rtmp_app": application, "rtmp_playpath": stream.removesuffix(".flv")}
    if hidden == {"rtmp_app": address.application, "rtmp_playpath": ""}:
        return _Destination(str(address), {})
    credentials = f"{address.credentials}@" if address.credentials else ""
    shown = f"{address.scheme}://{credentials}{address.authority}/{address.application}"
    return _Destination(shown, {name: value for name, value in hidden.items() if value})


def _split_srt(address: Address) -> _Destination:
    hidden, shown = {}, []
    for name, value in address.query:
        if name in ("streamid", "srt_streamid"):
            hidden["srt_streamid"] = unquote_plus(value)
        elif name == "passphrase":
            hidden["passphrase"] = value.replace("+", " ")  # ffmpeg decodes no escapes here
        else:
            shown.append(f"{name}={value}")
    query = f"?{'&'.join(shown)}" if shown else ""
    return _Destination(f"srt://{address.authority}{query}", {name: value for name, value in hidden.items() if value})
