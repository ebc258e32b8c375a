"""A temporary file for an upload while it is decoded."""

from __future__ import annotations

import asyncio
import logging
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from speech.audio.errors import EmptyAudio, TooLarge

logger = logging.getLogger(__name__)


@asynccontextmanager
async def spool_upload(blocks: AsyncIterator[bytes], directory: Path, max_bytes: int) -> AsyncIterator[Path]:
    """Write `blocks` to a private file in `directory`, which is removed when the context ends.

    A file, not a pipe: an m4a often has its index at the end, which needs a seekable input.
    Raises `TooLarge` as soon as `max_bytes` are exceeded, `EmptyAudio` when there were no bytes.
    """
    handle, name = tempfile.mkstemp(prefix="upload-", dir=directory)
    path = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            size = 0
            async for block in blocks:
                size += len(block)
                if size > max_bytes:
                    raise TooLarge(
                        f"The upload is larger than {max_bytes / 1e6:g} MB. Send a shorter or a compressed file."
                    )
                await asyncio.to_thread(file.write, block)
        if size == 0:
            raise EmptyAudio("The uploaded file is empty. Send a file with speech in it.")
        yield path
    finally:
        try:
            await asyncio.to_thread(path.unlink)
        except OSError as error:  # by now the speech may have been accepted; the server's next start deletes the file
            logger.warning("the upload %s was not deleted: %s", path, error)
