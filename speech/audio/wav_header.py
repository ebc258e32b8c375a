"""How much audio a wav header announces: ffmpeg accepts a shorter file without a message."""

from __future__ import annotations

from pathlib import Path

# Recorders that cannot seek back leave a placeholder of 2 or 4 GB in the header.
_PLACEHOLDER_BYTES = 0x7FFF_0000
_MAX_CHUNKS = 64


def missing_share(path: Path) -> float:
    """The share, 0 to 1, of a RIFF wav's announced audio that is missing from the file; 0 for any other file.

    Layout: "RIFF", size, "WAVE", then chunks: a 4-byte name, a little-endian size, that many bytes, padded to even.
    """
    with path.open("rb") as file:
        riff = file.read(12)
        if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
            return 0.0
        for _ in range(_MAX_CHUNKS):
            header = file.read(8)
            if len(header) < 8:
                return 0.0
            size = int.from_bytes(header[4:], "little")
            if header[:4] == b"data":
                held = path.stat().st_size - file.tell()
                return 0.0 if size >= _PLACEHOLDER_BYTES or size == 0 else max(0.0, 1 - held / size)
            file.seek(size + size % 2, 1)
    return 0.0
