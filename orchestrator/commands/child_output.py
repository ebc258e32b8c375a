"""What a child process writes, for commands that send it on."""

from __future__ import annotations

import asyncio
from asyncio.subprocess import PIPE
from collections.abc import AsyncGenerator
from contextlib import suppress

_BLOCK_BYTES = 9_600  # 100 ms of PCM at 48 kHz


async def output_of(command: list[str]) -> AsyncGenerator[bytes, None]:
    """What a child writes: its standard input may block for ever, as no thread of ours could."""
    # In a session of its own: Ctrl-C is for the speech, whose end is still to be told.
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, start_new_session=True)
    assert process.stdout is not None
    try:
        while block := await process.stdout.read(_BLOCK_BYTES):
            yield block
        await process.wait()  # not killed: kill() would take its exit status from asyncio's watcher
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):  # it may have ended already
                process.kill()
        await process.communicate()
