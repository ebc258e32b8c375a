"""How many frames the next chunk has: a short one starts a speech early, long ones cost less a frame."""

from __future__ import annotations

from dataclasses import dataclass

from latentsync.contract import CONTRACT

# Group norms span a chunk, and Triton joins requests of one length only: few lengths are used.
CHUNK_LENGTHS = CONTRACT.chunk_lengths


@dataclass(frozen=True)
class ChunkPlan:
    """The lengths of a speech's first chunks, and what the others have at least. Raises ValueError for other lengths.

    Where more frames are ready than `steady`, a chunk has as many as are ready, up to the longest. The short ones at
    the beginning are left out where other speeches wait for the same GPU: they would cost those more than they gain.
    The last `overlap` frames of a chunk are made again by the next one, and counted there only; chunks that would have
    nothing else are longer.
    """

    opening: tuple[int, ...] = ()
    steady: int = CONTRACT.chunk_frames
    overlap: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < CHUNK_LENGTHS[-1]:
            raise ValueError(f"chunks overlap by 0 to {CHUNK_LENGTHS[-1] - 1} frames, not {self.overlap}")
        for length in (*self.opening, self.steady):
            if length not in CHUNK_LENGTHS:
                raise ValueError(f"a chunk has {', '.join(map(str, CHUNK_LENGTHS))} frames, not {length}")

    def least_count(self, number: int, crowded: bool = False) -> int:
        """Frames that chunk `number` has at least, unless it is the last."""
        length = self.opening[number] if self._opens(number, crowded) else self.steady
        return max(length, self._shortest) - self.overlap

    def next_count(self, number: int, ready: int, left: int | None, crowded: bool = False) -> int:
        """Frames of chunk `number` when `ready` frames can be made now; 0: wait for more of them.

        `left` frames remain of the speech; None while its end is unknown. The last chunk may have any count; any other
        makes `overlap` frames more.
        """
        wanted = self.least_count(number, crowded)
        if left is not None and left <= wanted + self.overlap and ready >= left:
            return left
        if ready < wanted + self.overlap:
            return 0
        if self._opens(number, crowded) or (left is not None and left <= 2 * self.steady):
            return wanted  # at the end there is no throughput to gain, and the frames that are due first come earlier
        return max(length for length in CHUNK_LENGTHS if length <= ready) - self.overlap

    @property
    def _shortest(self) -> int:
        return min(length for length in CHUNK_LENGTHS if length > self.overlap)

    def _opens(self, number: int, crowded: bool) -> bool:
        return not crowded and number < len(self.opening)


def chunk_length(count: int) -> int:
    """The shortest length of a chunk that holds `count` frames; its last frame fills it up. Raises ValueError."""
    for length in CHUNK_LENGTHS:
        if count <= length:
            return length
    raise ValueError(f"a chunk has at most {CHUNK_LENGTHS[-1]} frames, got {count}")


UPLOAD_CHUNKS = ChunkPlan(opening=(4, 8))
"""All of the sound is there: the first faces come early, and each chunk lasts until the longer one after it is made."""


def live_chunks(steady: int) -> ChunkPlan:
    """Chunks for sound that arrives as it is spoken: `steady` frames must arrive before a chunk can be made."""
    return ChunkPlan(tuple(min(length, steady) for length in UPLOAD_CHUNKS.opening), steady)
