"""An ffmpeg that decodes uploads no faster than they sound: what takes a machine long takes any machine long."""

from pathlib import Path

from speech.audio.decoder import ffmpeg_binary

_PROGRAM = """#!/bin/sh
case " $* " in *" -format_whitelist "*) set -- -re "$@" ;; esac
exec {ffmpeg} "$@"
"""


def slow_decoder(folder: Path) -> Path:
    """A program in place of ffmpeg, which is given out in a folder of its own, to be put before others in PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "ffmpeg"
    program.write_text(_PROGRAM.format(ffmpeg=ffmpeg_binary()))
    program.chmod(0o755)
    return program
