"""`demo`: the whole product on the demo avatar."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.commands.options import DataDir, Host, HttpPort, Rtmp
from orchestrator.commands.terminal import errors_as_sentences, fail, run_until_signal, settings_or_exit

Lan = Annotated[
    bool, typer.Option("--lan", help="Let phones of this network talk with it: HTTPS, a key, and a QR code of both.")
]
Both = Annotated[bool, typer.Option("--both", help="Prepare the second presenter too, a man: the avatar 'second'.")]
Video = Annotated[
    Path | None,
    typer.Option(help="A video of anybody, who is shown in place of the presenter.", exists=True, dir_okay=False),
]
Preset = Annotated[str | None, typer.Option(help="A rendered person in place of the presenter; ? lists them.")]


def demo(
    host: Host = None,
    port: HttpPort = None,
    rtmp: Rtmp = None,
    data_dir: DataDir = None,
    lan: Lan = False,
    both: Both = False,
    video: Video = None,
    preset: Preset = None,
) -> None:
    """Run the whole product on the demo avatar, or on anybody's; the first start prepares it, Ctrl-C ends it."""
    if sum((both, video is not None, preset is not None)) > 1:
        fail("--both, --video and --preset exclude one another: each of them says who is shown")
    # Ctrl-C ends a demo at once, without draining.
    settings = settings_or_exit(http_host=host, http_port=port, rtmp_url=rtmp, data_dir=data_dir, drain_limit_s=0)
    from orchestrator.avatars.presets import presets
    from orchestrator.checkpoints import ServedCheckpoints
    from orchestrator.demo import demo as run_demo
    from orchestrator.demo_person import with_preset, with_video
    from orchestrator.observability.logs import log_to_stderr

    clip: Path | None = None
    with errors_as_sentences():
        if preset == "?":
            typer.echo("\n".join(presets(ServedCheckpoints.open(settings))))
            return
        if preset is not None:
            settings, clip = with_preset(settings, preset)
        elif video is not None:
            settings, clip = with_video(settings, video)
    log_to_stderr(settings.log_format)
    run_until_signal(partial(run_demo, settings, typer.echo, lan=lan, both=both, person=clip))
