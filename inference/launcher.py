"""Starts and stops a tritonserver on a model repository: a given binary, the one on PATH, or the embedded one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
import socket
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

from tritonclient.utils import InferenceServerException

from inference.embedded_triton import TritonLaunchError, embedded_triton
from inference.secret import protection
from inference.transport import TritonSettings, connect
from processes.hidden_argument import hide_argument
from processes.tethered import tethered

__all__ = ["TritonLaunchError", "TritonOptions", "TritonServer", "launch_command"]

logger = logging.getLogger(__name__)

_POLL_S = 0.2
_LOG_POLL_S = 0.01
_READY_TIMEOUT_S = 2.0
_LOG_LINES_IN_ERROR = 20
_KILL_GRACE_S = 5.0
_SHARED_MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class TritonOptions:
    """How to run a tritonserver.

    `binary` None means the tritonserver on PATH, or else the embedded one. Links to the embedded one's backend lie in
    `run_dir`; stdout and stderr go to tritonserver.log in `log_dir`. `cpu_threads` None leaves the thread count of
    libraries outside PyTorch alone; PyTorch's own is in each model's configuration. `otlp_endpoint` is the base
    address of an OpenTelemetry collector, which receives the spans of requests that carry a trace context.
    `http_port` None: Triton doesn't listen for HTTP, and nothing here needs it. `secret` is demanded for every call but
    health checks; None: whoever reaches the ports may load models, which run code.
    """

    model_repository: Path
    run_dir: Path
    log_dir: Path
    binary: Path | None = None
    host: str = "127.0.0.1"
    http_port: int | None = None
    grpc_port: int = 8001
    metrics_port: int = 8002
    cpu_threads: int | None = None
    ready_timeout_s: float = 300.0
    exit_timeout_s: int = 10
    otlp_endpoint: str | None = None
    secret: str | None = field(default=None, repr=False)
    extra_arguments: tuple[str, ...] = ()

    @property
    def log_path(self) -> Path:
        return self.log_dir / "tritonserver.log"

    @property
    def shared_memory_prefix(self) -> str:
        """The prefix of the Python backend's shared memory regions; the port makes it unique to this server."""
        return f"latentsync-triton-{self.grpc_port}-"


class TritonServer:
    """A running tritonserver, started by `start`; owns the process and its log file."""

    def __init__(self, options: TritonOptions, process: asyncio.subprocess.Process) -> None:
        self.options = options
        self._process = process
        self._client = connect(TritonSettings(f"{options.host}:{options.grpc_port}"))

    @classmethod
    async def start(cls, options: TritonOptions) -> TritonServer:
        """Start the server and return when all of its models are ready.

        The kernel ends the server together with the calling thread. Raises TritonLaunchError when it cannot be
        started, ends early, or is not ready in time; then no process stays.
        """
        command, environment = launch_command(options)
        require_free_ports(options)
        _remove_shared_memory(options)  # left by a killed server on these ports
        options.log_dir.mkdir(parents=True, exist_ok=True)
        with options.log_path.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal reaches only this process, which stops the server in order.
            process = await asyncio.create_subprocess_exec(
                *tethered(*command),
                env=environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
            written_before = os.fstat(log.fileno()).st_size
        server = cls(options, process)
        try:
            async with asyncio.timeout(options.ready_timeout_s):
                await server._hide_secret(written_before)
                await server._wait_ready()
        except TimeoutError:
            await server.kill()
            raise TritonLaunchError(
                f"tritonserver was not ready after {options.ready_timeout_s:g} s; "
                f"the end of {options.log_path}:\n{server.log_tail()}"
            ) from None
        except BaseException:  # cancelled or failed: the process must not outlive a failed start
            await server.kill()
            raise
        return server

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit status once the process has ended, None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Wait for the process to end; return its exit status."""
        return await self._process.wait()

    async def is_ready(self) -> bool:
        """Whether the server reports itself ready; a model whose process died still counts as ready."""
        try:
            return bool(await self._client.is_server_ready(client_timeout=_READY_TIMEOUT_S))
        except (TimeoutError, InferenceServerException):
            return False

    async def is_live(self, timeout_s: float) -> bool:
        """Whether the server answers at all, within `timeout_s`."""
        try:
            return bool(await self._client.is_server_live(client_timeout=timeout_s))
        except (TimeoutError, InferenceServerException):
            return False

    async def aclose(self) -> None:
        """Let requests in flight finish within `exit_timeout_s`, then end the process, with SIGKILL if necessary."""
        if self._process.returncode is None:
            self._process.terminate()
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._process.wait(), self.options.exit_timeout_s + _KILL_GRACE_S)
        await self.kill()

    async def kill(self) -> None:
        """Kill the process and the model processes that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        await self._client.close()
        _remove_shared_memory(self.options)

    def log_tail(self, lines: int = _LOG_LINES_IN_ERROR) -> str:
        """The last lines of the server's log, without the tables that it prints at start."""
        with self.options.log_path.open(errors="replace") as log:
            lines_kept = (line for line in log if line.strip() and not line.startswith(("|", "+")))
            return "".join(deque(lines_kept, maxlen=lines)).rstrip()

    async def _hide_secret(self, written_before: int) -> None:
        """Take the secret off the command line, which Triton has read when it writes its first line of log.

        Triton takes it from no file and no variable. Until then other users of the machine can read it.
        """
        secret = self.options.secret
        if secret is None:
            return
        log = self.options.log_path
        while self._process.returncode is None and log.stat().st_size == written_before:  # noqa: ASYNC110, a file
            await asyncio.sleep(_LOG_POLL_S)
        if self._process.returncode is not None:
            return
        try:
            hide_argument(self.pid, secret)
        except OSError as error:
            logger.warning("other users of this machine can read Triton's secret in /proc/%d: %s", self.pid, error)

    async def _wait_ready(self) -> None:
        while not await self.is_ready():
            if self._process.returncode is not None:
                raise TritonLaunchError(
                    f"tritonserver ended with status {self._process.returncode} before it was ready; "
                    f"the end of {self.options.log_path}:\n{self.log_tail()}"
                )
            await asyncio.sleep(_POLL_S)


def require_repository(options: TritonOptions) -> None:
    """Raise TritonLaunchError where the model repository is missing."""
    if not options.model_repository.is_dir():
        raise TritonLaunchError(
            f"{options.model_repository} does not exist: `latentsync-realtime export` writes a model repository"
        )


def launch_command(options: TritonOptions) -> tuple[list[str], dict[str, str]]:
    """The command line and environment of the server; raises TritonLaunchError when there is none to run."""
    require_repository(options)
    # The models' threads share the cores with each other and with the encoder. A thread that spins while it waits for
    # its team takes the core from the thread that it waits for, and everything runs several times slower.
    # Without a limit malloc gives each gRPC thread an arena of its own, and memory grows from day to day.
    environment = {"OMP_WAIT_POLICY": "PASSIVE", "MALLOC_ARENA_MAX": "2"} | dict(os.environ)
    if options.cpu_threads is not None:
        environment |= {"OMP_NUM_THREADS": str(options.cpu_threads), "MKL_NUM_THREADS": str(options.cpu_threads)}
    binary = _server_binary(options)
    arguments: list[str] = []
    if binary is None:
        embedded = embedded_triton(options.run_dir)
        binary = embedded.binary
        arguments = list(embedded.arguments)
        environment |= embedded.environment
    command = [str(binary), f"--model-repository={options.model_repository.resolve()}", *arguments]
    command += ["--model-control-mode=explicit", "--load-model=*", "--disable-auto-complete-config"]
    for service, port in (("http", options.http_port), ("grpc", options.grpc_port), ("metrics", options.metrics_port)):
        if port is None:
            command += [f"--allow-{service}=false"]
        else:
            command += [f"--{service}-address={options.host}", f"--{service}-port={port}"]
    if options.secret is not None:
        command += protection(options.secret, http=options.http_port is not None)
    command += [f"--backend-config=python,shm-region-prefix-name={options.shared_memory_prefix}"]
    if options.otlp_endpoint is not None:
        # Rate 0: requests without a trace context are the watchdog's probes, which are of no interest in traces.
        for trace in ("mode=opentelemetry", "rate=0", "level=TIMESTAMPS", "opentelemetry,resource=service.name=triton"):
            command += [f"--trace-config={trace}"]
        command += [f"--trace-config=opentelemetry,url={options.otlp_endpoint}/v1/traces"]
    command += [f"--exit-timeout-secs={options.exit_timeout_s}", *options.extra_arguments]
    return command, environment


def _server_binary(options: TritonOptions) -> Path | None:
    if options.binary is not None:
        if not os.access(options.binary, os.X_OK):
            raise TritonLaunchError(f"{options.binary} is not an executable file")
        return options.binary.resolve()
    found = shutil.which("tritonserver")
    return Path(found) if found else None


def _remove_shared_memory(options: TritonOptions) -> None:
    for region in _SHARED_MEMORY.glob(f"{options.shared_memory_prefix}*"):
        region.unlink(missing_ok=True)


def require_free_ports(options: TritonOptions) -> None:
    """Raises TritonLaunchError where another process listens on a port that tritonserver is to have."""
    named = {"http": options.http_port, "grpc": options.grpc_port, "metrics": options.metrics_port}
    for name, port in named.items():
        if port is not None:
            _require_free(options.host, port, f"triton_{name}_port")


def _require_free(host: str, port: int, setting: str) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise TritonLaunchError(
                f"{host}:{port} is not free ({error.strerror}): stop what listens there, or choose another {setting} "
                f"(LATENTSYNC_{setting.upper()})"
            ) from None
