"""What neighbouring chunks share: frames that both make, in which the later one fades in."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from speech.request import FaceChunk


@dataclass(frozen=True)
class MadeChunk:
    """A chunk, and the faces uint8 [n, R, R, 3] of the frames behind it, which the next one makes again."""

    chunk: FaceChunk
    shared: NDArray[np.uint8]


def blended(before: MadeChunk | None, chunk: FaceChunk) -> FaceChunk:
    """The chunk, fading in over the frames that the one before has made too."""
    if before is None or not len(before.shared):
        return chunk
    earlier = before.chunk
    if earlier.timeline_frame + len(earlier.faces) != chunk.timeline_frame:
        return chunk  # frames were left out between them: the shared ones are of other sound
    faces, count = chunk.faces.copy(), min(len(before.shared), len(chunk.faces))
    for index in range(count):
        own = (index + 1) / (count + 1)
        faces[index] = cv2.addWeighted(before.shared[index], 1 - own, faces[index], own, 0)
    return replace(chunk, faces=faces)
