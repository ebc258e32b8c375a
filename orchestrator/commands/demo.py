"""`demo`: the whole product on the demo avatar."""

from __future__ import annotations

from functools import partial

import typer

from orchestrator.commands.options import DataDir, Host, HttpPort, Rtmp
from orchestrator.commands.terminal import run_until_signal, settings_or_exit


def demo(host: Host = None, port: HttpPort = None, rtmp: Rtmp = None, data_dir: DataDir = None) -> None:
    """Run the whole product on the demo avatar, on the CPU; the first start prepares it, Ctrl-C ends it."""
    # Ctrl-C ends a demo at once, without draining.
    settings = settings_or_exit(http_host=host, http_port=port, rtmp_url=rtmp, data_dir=data_dir, drain_limit_s=0)
    from orchestrator.demo import demo as run_demo
    from orchestrator.observability.logs import log_to_stderr

    log_to_stderr(settings.log_format)
    run_until_signal(partial(run_demo, settings, typer.echo))
