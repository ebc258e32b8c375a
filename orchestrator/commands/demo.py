"""`demo`: the whole product on the demo avatar."""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

from orchestrator.commands.options import DataDir, Host, HttpPort, Rtmp
from orchestrator.commands.terminal import run_until_signal, settings_or_exit

Lan = Annotated[
    bool, typer.Option("--lan", help="Let phones of this network talk with it: HTTPS, a key, and a QR code of both.")
]


Both = Annotated[bool, typer.Option("--both", help="Prepare the second presenter too, a man: the avatar 'second'.")]


def demo(
    host: Host = None,
    port: HttpPort = None,
    rtmp: Rtmp = None,
    data_dir: DataDir = None,
    lan: Lan = False,
    both: Both = False,
) -> None:
    """Run the whole product on the demo avatar, on the CPU; the first start prepares it, Ctrl-C ends it."""
    # Ctrl-C ends a demo at once, without draining.
    settings = settings_or_exit(http_host=host, http_port=port, rtmp_url=rtmp, data_dir=data_dir, drain_limit_s=0)
    from orchestrator.demo import demo as run_demo
    from orchestrator.observability.logs import log_to_stderr

    log_to_stderr(settings.log_format)
    run_until_signal(partial(run_demo, settings, typer.echo, lan=lan, both=both))
