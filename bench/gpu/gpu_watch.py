"""What nvidia-smi sees of the GPUs while the bench runs; without it, nothing."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

_EVERY_MS = 500
_ASK_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Gpu:
    """One GPU as its driver describes it."""

    index: int
    name: str
    uuid: str
    driver: str
    memory_mib: int


class GpuWatch:
    """Samples of all GPUs; `peak_process_mib` by process id, where the driver shows processes at all."""

    def __init__(self, gpus: tuple[Gpu, ...]) -> None:
        self.gpus = gpus
        self.peak_mib: dict[str, int] = {gpu.uuid: 0 for gpu in gpus}
        self.peak_process_mib: dict[int, int] = {}
        self._busy: dict[str, list[int]] = {gpu.uuid: [] for gpu in gpus}

    def forget_load(self) -> None:
        """`utilization` begins anew."""
        for samples in self._busy.values():
            samples.clear()

    def utilization(self) -> dict[str, float] | None:
        """Mean percentage of time in which each GPU ran a kernel, by UUID; None without a sample."""
        means = {uuid: round(sum(values) / len(values), 1) for uuid, values in self._busy.items() if values}
        return means or None

    def memory_mib(self) -> int:
        """Memory in use on all GPUs at this moment; raises OSError and subprocess.SubprocessError."""
        lines = _ask("--query-gpu=memory.used").splitlines()
        return sum(int(line) for line in lines)

    def see_gpu(self, line: str) -> None:
        """One line of `--query-gpu=uuid,utilization.gpu,memory.used`."""
        uuid, busy, used = (field.strip() for field in line.split(","))
        if busy.isdecimal():
            self._busy.setdefault(uuid, []).append(int(busy))
        if used.isdecimal():
            self.peak_mib[uuid] = max(self.peak_mib.get(uuid, 0), int(used))

    def see_process(self, line: str) -> None:
        """One line of `--query-compute-apps=pid,used_memory`; some containers hide the memory."""
        pid, used = (field.strip() for field in line.split(","))
        if pid.isdecimal() and used.isdecimal():
            self.peak_process_mib[int(pid)] = max(self.peak_process_mib.get(int(pid), 0), int(used))


@asynccontextmanager
async def watching_gpus() -> AsyncIterator[GpuWatch]:
    """Watches inside the block; a machine without nvidia-smi or without a GPU has none to watch."""
    watch = GpuWatch(await asyncio.to_thread(_gpus))
    if not watch.gpus:
        yield watch
        return
    queries = (
        ("--query-gpu=uuid,utilization.gpu,memory.used", watch.see_gpu),
        ("--query-compute-apps=pid,used_memory", watch.see_process),
    )
    processes, readers = [], []
    try:
        for query, see in queries:
            process = await asyncio.create_subprocess_exec(
                *("nvidia-smi", query, "--format=csv,noheader,nounits", "-lms", str(_EVERY_MS)),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            processes.append(process)
            assert process.stdout is not None
            readers.append(asyncio.create_task(_read(process.stdout, see)))
        yield watch
    finally:
        for process in processes:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        await asyncio.gather(*readers)


async def _read(lines: asyncio.StreamReader, see: object) -> None:
    assert callable(see)
    async for line in lines:
        text = line.decode(errors="replace").strip()
        if text.count(","):  # not a message such as "No running processes found"
            see(text)


def _gpus() -> tuple[Gpu, ...]:
    if shutil.which("nvidia-smi") is None:
        return ()
    try:
        text = _ask("--query-gpu=index,name,uuid,driver_version,memory.total")
    except subprocess.CalledProcessError:
        return ()  # the tool without a driver or a GPU
    rows = [[field.strip() for field in line.split(",")] for line in text.splitlines()]
    return tuple(Gpu(int(index), name, uuid, driver, int(total)) for index, name, uuid, driver, total in rows)


def _ask(query: str) -> str:
    command = ["nvidia-smi", query, "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=True).stdout
