"""`serve`: the server."""

from __future__ import annotations

from functools import partial

from orchestrator.commands.options import DataDir, Host, HttpPort, Rtmp
from orchestrator.commands.terminal import run_until_signal, settings_or_exit


def serve(host: Host = None, port: HttpPort = None, rtmp: Rtmp = None, data_dir: DataDir = None) -> None:
    """Run the server: HTTP API, page and streams. Triton is run by `triton`, or elsewhere."""
    settings = settings_or_exit(http_host=host, http_port=port, rtmp_url=rtmp, data_dir=data_dir)
    from orchestrator.observability.logs import log_to_stderr
    from orchestrator.server import serve as run_serve

    log_to_stderr(settings.log_format)
    run_until_signal(partial(run_serve, settings))
