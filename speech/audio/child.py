"""A confined child process that writes two streams of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from processes.confinement import Confinement

_READ_BYTES = 1 << 16
_LOG_BYTES = 1 << 16


class Child:
    """A process with two outputs, which are read together: were one left alone, the child would block on it."""

    def __init__(self, process: Process, pipes: list[asyncio.StreamReader]) -> None:
        """Use `started`."""
        assert process.stderr is not None
        self._process = process
        self._log = asyncio.create_task(_first_bytes(process.stderr))
        self._pipes = pipes
        self._reading: dict[int, asyncio.Task[bytes]] = {}
        for which in range(len(pipes)):
            self._read_on(which)

    @classmethod
    @asynccontextmanager
    async def started(
        cls, command: Callable[[int, int], Sequence[str]], confinement: Confinement, fed: bool = False
    ) -> AsyncIterator[Child]:
        """A child, which has ended when the context does; `command` is told the file descriptors of its outputs.

        One that is `fed` reads what it is given as its standard input.
        """
        async with contextlib.AsyncExitStack() as stack:
            first, second = ends = _pipe(stack), _pipe(stack)
            process = await asyncio.create_subprocess_exec(
                *command(first.write, second.write),
                stdin=PIPE if fed else DEVNULL,
                stdout=DEVNULL,
                stderr=PIPE,
                pass_fds=(first.write, second.write),
            )
            stack.push_async_callback(_end, process)
            confinement.apply(process.pid)
            for end in ends:
                end.close_write()  # else the pipe would never be at its end
            child = cls(process, [await end.reader() for end in ends])
            stack.push_async_callback(child._stop)
            yield child

    async def read_into(self, *outputs: Callable[[bytes], None]) -> bool:
        """Wait for a block of either output and hand over what has come; False once both are at their end."""
        if not self._reading:
            return False
        await asyncio.wait(self._reading.values(), return_when=asyncio.FIRST_COMPLETED)
        for which, reading in list(self._reading.items()):
            if reading.done():
                del self._reading[which]
                if block := reading.result():
                    outputs[which](block)
                    self._read_on(which)
        return True

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while the child runs."""
        return self._process.returncode

    async def feed(self, block: bytes) -> None:
        """Give a block to a child that is fed; waits while it takes nothing. Raises ConnectionError where it ended."""
        assert self._process.stdin is not None
        self._process.stdin.write(block)
        await self._process.stdin.drain()

    def end_of_input(self) -> None:
        """Nothing more is fed."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def log_of_the_whole(self) -> str:
        """The messages of a child whose outputs are at their end, once it has exited."""
        messages = (await self._log).decode(errors="replace")
        # Awaited, not killed: kill() polls the child, which would take the exit status from asyncio's watcher.
        await self._process.wait()
        return messages

    def _read_on(self, which: int) -> None:
        self._reading[which] = asyncio.create_task(self._pipes[which].read(_READ_BYTES))

    async def _stop(self) -> None:
        left = [self._log, *self._reading.values()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)


class _PipeEnds:
    """Both ends of a pipe, whose write end a child inherits; each is closed once."""

    def __init__(self) -> None:
        self._read, self.write = os.pipe()
        self._transport: asyncio.ReadTransport | None = None

    def close_write(self) -> None:
        if self.write >= 0:
            os.close(self.write)
            self.write = -1

    async def reader(self) -> asyncio.StreamReader:
        """What reads the pipe, and holds no more than twice a block that nobody takes."""
        reader = asyncio.StreamReader(_READ_BYTES)
        file = os.fdopen(self._read, "rb", 0)
        self._read = -1
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), file
        )
        return reader

    def close(self) -> None:
        self.close_write()
        if self._transport is not None:
            self._transport.close()
        elif self._read >= 0:
            os.close(self._read)


def _pipe(stack: contextlib.AsyncExitStack) -> _PipeEnds:
    ends = _PipeEnds()
    stack.callback(ends.close)
    return ends


async def _first_bytes(stream: asyncio.StreamReader) -> bytes:
    """The beginning of the log; the rest is read and dropped, so that ffmpeg never blocks on a full pipe."""
    kept = bytearray()
    while block := await stream.read(_READ_BYTES):
        kept += block[: _LOG_BYTES - len(kept)]
    return bytes(kept)


async def _end(process: Process) -> None:
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):  # it may exit between the two lines
            process.kill()
    # asyncio reports the exit only after the pipes are at their end, so they must be read.
    await asyncio.gather(_drained(process.stdout), _drained(process.stderr), process.wait())


async def _drained(stream: asyncio.StreamReader | None) -> None:
    while stream is not None and await stream.read(_READ_BYTES):
        pass
