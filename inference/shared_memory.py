"""System shared memory regions for tensors, where Triton runs on the same host.

A region is lent to one request at a time. After an unanswered request Triton may still write into its region, so that
region is never lent again: it is unlinked at once, and unregistered when nothing can write to it any more. Regions of a
killed process are removed in the same way; a file lock on each shows whether its process is alive.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import secrets
import shutil
import time
from collections.abc import Callable
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc.aio as grpcclient
from numpy.typing import DTypeLike, NDArray
from tritonclient.utils import InferenceServerException

from inference.retry import is_unavailable

logger = logging.getLogger(__name__)

_FOLDER = Path("/dev/shm")
_PREFIX = "latentsync-"
_SMALLEST_BYTES = 1 << 16
# Triton refuses to unregister a region in use, and releases it only after the request was answered or cancelled.
_RELEASE_LIMIT_S = 2.0
_RELEASE_POLL_S = 0.05


class Region:
    """One registered region; `name` is what Triton knows it by."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.name, self._memory, self._lock = _locked_memory(size)
        try:
            # Pages are allocated on first touch, and a full /dev/shm then kills the process; allocate all of them now.
            os.posix_fallocate(self._lock, 0, size)
        except OSError:
            self.unlink()
            raise

    def write(self, offset: int, values: NDArray[Any]) -> None:
        """Copy `values` to `offset`."""
        np.ndarray(values.shape, values.dtype, self._memory.buf, offset)[...] = values

    def read(self, offset: int, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """A copy of the array at `offset`."""
        return np.ndarray(shape, dtype, self._memory.buf, offset).copy()

    def unlink(self) -> None:
        """Free the memory; Triton's own mapping stays valid until the region is unregistered."""
        self._memory.close()
        self._memory.unlink()
        os.close(self._lock)


class RegionPool:
    """Regions of power-of-two sizes, registered once and reused."""

    def __init__(
        self, client: grpcclient.InferenceServerClient, settle_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._client = client
        self._settle_s = settle_s
        self._clock = clock
        self._free: dict[int, list[Region]] = {}
        self._retired: list[tuple[float, str]] = []
        self._usable = _FOLDER.is_dir()
        if self._usable:
            self._retired += [(clock(), name) for name in _remove_abandoned()]

    async def lend(self, size: int) -> Region | None:
        """A region of at least `size` bytes, or None where Triton cannot map this host's memory.

        Raises `InferenceServerException` when Triton is unreachable, which the caller retries.
        """
        if not self._usable:
            return None
        size = max(_SMALLEST_BYTES, 1 << (size - 1).bit_length())
        await self._unregister_settled()
        free = self._free.setdefault(size, [])
        return free.pop() if free else await self._register(size)

    async def _register(self, size: int) -> Region | None:
        if shutil.disk_usage(_FOLDER).free < size:
            self._disable(f"{_FOLDER} has less than {size} bytes left")
            return None
        try:
            region = Region(size)
        except OSError as error:
            self._disable(str(error))
            return None
        try:
            await self._client.register_system_shared_memory(region.name, f"/{region.name}", size)
        except InferenceServerException as error:
            region.unlink()
            if is_unavailable(error):
                raise
            self._disable(error.message())
            return None
        except BaseException:
            region.unlink()  # cancelled
            raise
        return region

    def _disable(self, reason: str) -> None:
        self._usable = False
        logger.warning("tensors go through gRPC, without shared memory: %s", reason)

    def take_back(self, region: Region) -> None:
        """Return a region whose request was answered."""
        self._free.setdefault(region.size, []).append(region)

    def retire(self, region: Region) -> None:
        """Take a region whose request was not answered out of use."""
        region.unlink()
        self._retired.append((self._clock(), region.name))

    def forget_free(self) -> None:
        """Free all regions that are not lent: Triton has restarted and knows none of them."""
        for region in (region for regions in self._free.values() for region in regions):
            region.unlink()
        self._free.clear()

    async def _unregister_settled(self) -> None:
        while self._retired and self._clock() - self._retired[0][0] > self._settle_s:
            _, name = self._retired.pop(0)
            if not await self._unregister(name):
                self._retired.append((self._clock(), name))

    async def _unregister(self, name: str) -> bool:
        """False where Triton may still have the region."""
        try:
            await self._client.unregister_system_shared_memory(name, client_timeout=2.0)
        except InferenceServerException as error:
            logger.debug("region %s was not unregistered: %s", name, error.message())
            return is_unavailable(error)  # its registrations ended with it
        return True

    async def _unregister_all(self, names: list[str]) -> list[str]:
        """Unregister regions; return those that Triton may still have."""
        gone = await asyncio.gather(*(self._unregister(name) for name in names))
        return [name for name, is_gone in zip(names, gone, strict=True) if not is_gone]

    async def aclose(self) -> None:
        """Unregister and free every region that is not lent."""
        names = [region.name for regions in self._free.values() for region in regions]
        names += [name for _, name in self._retired]
        self.forget_free()
        self._retired.clear()
        end = self._clock() + _RELEASE_LIMIT_S
        while names := await self._unregister_all(names):
            if self._clock() > end:
                logger.warning("Triton keeps %d regions of shared memory until it restarts", len(names))
                return
            await asyncio.sleep(_RELEASE_POLL_S)


def _locked_memory(size: int) -> tuple[str, SharedMemory, int]:
    """New shared memory: its name, itself, and a descriptor that is locked as long as this process lives."""
    while True:
        name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(4)}"
        memory = SharedMemory(name, create=True, size=size)
        descriptor = os.open(_FOLDER / name, os.O_RDWR)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_nlink:
            return name, memory, descriptor
        # Another server of ours, starting now, removed it as abandoned before it was locked.
        os.close(descriptor)
        memory.close()


def _remove_abandoned() -> list[str]:
    """Remove the regions of killed processes; return their names, under which Triton may still have them registered."""
    removed = []
    for path in _FOLDER.glob(f"{_PREFIX}[0-9]*-*"):
        try:
            descriptor = os.open(path, os.O_RDWR)
        except OSError:
            continue  # removed meanwhile, or another user's
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
            removed.append(path.name)
        except OSError:
            continue  # its process is alive, or it was removed meanwhile
        finally:
            os.close(descriptor)
    return removed
