"""What is said: recordings on an avatar, and rendered sentences whose true faces are known."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from latentsync.avatar import PreparedAvatar
from speech.request import SpokenAvatar

SILENT_FRAMES = 5
"""Before and after each speech, as on a channel."""
RECORDING = "recordings"
_GROUPS = {"heldA": "known voices", "heldB": "unseen voice", "heldC": "unseen synthesiser"}


class NoTruthError(ValueError):
    """A folder that should hold rendered sentences doesn't."""


@dataclass(frozen=True)
class BenchSpeech:
    """A sound file, who says it, and what the faces should be, uint8 [n, R, R, 3]; None where nobody knows."""

    name: str
    group: str
    path: Path
    avatar: SpokenAvatar
    truth: NDArray[np.uint8] | None = None


@dataclass(frozen=True)
class RenderedAvatar:
    """The idle clip of a data set from the frame at which a sentence was rendered; silence comes before that."""

    condition: NDArray[np.float16]
    start: int

    def frame_index(self, position: int) -> int:
        """The idle frame at a position of the speech."""
        return (self.start + position - SILENT_FRAMES) % len(self.condition)


def recordings(paths: tuple[Path, ...], avatar: PreparedAvatar) -> tuple[BenchSpeech, ...]:
    """Recordings that the avatar says."""
    return tuple(BenchSpeech(path.name, RECORDING, path, avatar) for path in paths)


def rendered_sentences(
    folder: Path, encode: Callable[[NDArray[np.uint8]], NDArray[np.float16]], of_each: int
) -> tuple[BenchSpeech, ...]:
    """The held-out sentences of a data set (training/corpus.py has its files), of each group the first `of_each`.

    The groups take turns, so that a few sentences are some of each. `encode` makes conditions of idle faces.
    Raises NoTruthError where files are missing or no sentence is held out.
    """
    try:
        entries = json.loads((folder / "speech.json").read_text())
        starts = json.loads((folder / "starts.json").read_text())
        held_out = _by_turns(entries, of_each)
        truths = [np.load(folder / "truth" / f"{entry['id']}.npy", mmap_mode="r") for entry in held_out]
        condition = encode(np.load(folder / "idle.npy"))
    except OSError as error:
        raise NoTruthError(f"{folder} is no data set with rendered faces: {error}") from error
    if not held_out:
        raise NoTruthError(f"{folder} has no held-out sentence (groups {', '.join(_GROUPS)})")
    return tuple(
        BenchSpeech(
            entry["id"],
            _GROUPS[entry["group"]],
            folder / "wav" / f"{entry['id']}.wav",
            RenderedAvatar(condition, starts[entry["id"]]),
            truth,
        )
        for entry, truth in zip(held_out, truths, strict=True)
    )


def _by_turns(entries: list[dict[str, Any]], of_each: int) -> list[dict[str, Any]]:
    groups = [[entry for entry in entries if entry["group"] == group][:of_each] for group in _GROUPS]
    return [entry for turn in zip_longest(*groups) for entry in turn if entry is not None]
