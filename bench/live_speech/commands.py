"""`bench live-speech`."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import AvatarName, CheckpointDir, DataDir
from orchestrator.commands.terminal import errors_as_sentences, settings_or_exit


def bench_live_speech(
    speech: Annotated[
        list[Path] | None, typer.Argument(help="Recordings that are said live.", exists=True, dir_okay=False)
    ] = None,
    rendered: Annotated[
        Path | None,
        typer.Option(
            help="A data set of training/: its held-out sentences are said too.", exists=True, file_okay=False
        ),
    ] = None,
    sentences: Annotated[int, typer.Option(min=1, help="Of each group of them at most.")] = 100,
    long: Annotated[
        Path | None,
        typer.Option(help="A recording of two minutes: the steps where windows meet.", exists=True, dir_okay=False),
    ] = None,
    avatar: AvatarName = None,
    checkpoint: CheckpointDir = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    seconds: Annotated[float, typer.Option(min=2, help="Of each recording at most.")] = 20.0,
    windows: Annotated[str, typer.Option(help="Of growing,short.")] = "growing,short",
    chunks: Annotated[str, typer.Option(help="Frames of a chunk, of 4,8,16.")] = "4,8,16",
    look_ahead: Annotated[str, typer.Option(help="Frames of look-ahead.")] = "0,1,2,3,5,7,10",
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Compare live speech's lips with the whole recording's and the truth; Ctrl-C keeps what is finished."""
    if not speech and rendered is None and long is None:
        raise typer.BadParameter("name recordings, a data set with --rendered, or a recording with --long")
    settings = settings_or_exit(checkpoint_dir=checkpoint, data_dir=data_dir)
    from bench.live_speech.quality import summary
    from bench.live_speech.record import Said, measure_quality

    with errors_as_sentences():
        said = Said(
            tuple(speech or ()),
            rendered,
            sentences,
            long,
            tuple(windows.split(",")),
            _numbers(chunks),
            _numbers(look_ahead),
            seconds,
        )
        record = asyncio.run(
            measure_quality(settings, avatar or settings.avatar, said, device, partial(typer.echo, err=True))
        )
    if as_json:
        typer.echo(record.to_json())
        return
    for line in summary(record.points):
        typer.echo(line)


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(each) for each in text.split(","))
    except ValueError:
        raise typer.BadParameter(f"{text!r} is no list of numbers such as 4,8,16") from None
