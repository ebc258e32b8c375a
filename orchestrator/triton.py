"""The tritonserver of the settings, run until SIGINT or SIGTERM."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from prometheus_client import CollectorRegistry, start_http_server

from export.repository import exported_from, is_of_this_version
from inference.launcher import TritonLaunchError, TritonOptions, require_repository
from inference.served_contract import served_contract
from inference.supervisor import TritonSupervisor
from latentsync.checkpoint import CheckpointError
from orchestrator.checkpoints import ServedCheckpoints
from orchestrator.exclusive import running_triton
from orchestrator.observability.metrics import triton_restarts
from orchestrator.settings import Settings, SettingsError
from orchestrator.triton_secret import own_secret
from processes.stop_signals import StopSignals

logger = logging.getLogger(__name__)


class PortTaken(RuntimeError):
    """Another process listens on the port of the supervisor's metrics."""


async def run_triton(
    settings: Settings, ready: Callable[[], None], signals: StopSignals, protected: bool = True
) -> None:
    """Run tritonserver until a signal, again when it exits or hangs; raises TritonLaunchError when it can't start.

    What it counts itself is at /metrics of `triton_supervisor_port`. Raises PortTaken where that is not free,
    ContractMismatch for models that expect other clients, and LockRefused where the data folder has a `triton` already,
    or its model repository is being written.
    """
    options = triton_options(settings)
    if not protected:
        options = replace(options, secret=None)
    require_repository(options)  # checked before the ports, since this is what a first start lacks
    if not is_of_this_version(options.model_repository):
        # Models of another version may load, and fail at each request.
        raise TritonLaunchError(
            f"{options.model_repository} was exported by another version: run `latentsync-realtime export` again, "
            "with the options that it was made with"
        )
    served_contract(options.model_repository)
    _warn_of_other_checkpoints(settings)
    registry = CollectorRegistry()
    triton = TritonSupervisor(options, triton_restarts(registry).inc)
    with (
        running_triton(settings, "triton"),
        _metrics_at(settings.triton_host, settings.triton_supervisor_port, registry),
    ):
        await triton.start()
        try:
            ready()
            await triton.run()
        finally:
            signals.ignore()
            await triton.aclose()


def _warn_of_other_checkpoints(settings: Settings) -> None:
    # No refusal: `export --checkpoint` needs no setting, and Triton itself reads nothing of the checkpoints.
    exported, wanted = exported_from(settings.model_repository), _configured(settings)
    if exported and (exported[0] != wanted[0] or set(exported) != set(wanted)):
        logger.warning(
            "%s was exported from %s, and checkpoint_dir is %s with further_checkpoints %s: from these `serve` takes "
            "steps and guidance, and `avatar` who is drawn by which. Set LATENTSYNC_CHECKPOINT_DIR=%s and "
            "LATENTSYNC_FURTHER_CHECKPOINTS='%s' for all of them, or export again",
            settings.model_repository, " and ".join(map(str, exported)), wanted[0], _as_json(wanted[1:]),
            exported[0], _as_json(exported[1:]),
        )  # fmt: skip


def _configured(settings: Settings) -> tuple[Path, ...]:
    """The folders that the settings name, the main one first; of what can't be opened as they name it."""
    try:
        return ServedCheckpoints.open(settings).directories
    except (CheckpointError, SettingsError):
        return tuple(path.resolve() for path in (settings.checkpoint_dir, *(settings.further_checkpoints or ())))


def _as_json(folders: Iterable[Path]) -> str:
    return json.dumps([str(folder) for folder in folders])


@contextmanager
def _metrics_at(host: str, port: int, registry: CollectorRegistry) -> Iterator[None]:
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        reason = f"{host}:{port} is not free for the supervisor's metrics ({error.strerror})"
        raise PortTaken(f"{reason}: choose another triton_supervisor_port") from None
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def triton_options(settings: Settings) -> TritonOptions:
    """How to run the tritonserver of these settings; its secret is made where there is none. Raises SettingsError."""
    return TritonOptions(
        model_repository=settings.model_repository,
        run_dir=settings.run_dir,
        log_dir=settings.log_dir,
        binary=settings.triton_binary,
        host=settings.triton_host,
        http_port=settings.triton_http_port,
        grpc_port=settings.triton_grpc_port,
        metrics_port=settings.triton_metrics_port,
        cpu_threads=settings.cpu_threads,
        otlp_endpoint=settings.otlp_endpoint,
        secret=own_secret(settings),
    )
