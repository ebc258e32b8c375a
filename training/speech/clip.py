"""The description of a speech clip: voice, text and phone timings."""

import json
from dataclasses import dataclass
from pathlib import Path

from latentsync.contract import CONTRACT

SAMPLE_RATE = CONTRACT.sample_rate_hz
FRAME_RATE = CONTRACT.frames_per_second
FRAME_SAMPLES = CONTRACT.samples_per_frame
SILENCE = "SIL"

TRAIN = "train"
KNOWN_VOICE = "heldA"
UNSEEN_VOICE = "heldB"
UNSEEN_SYNTHESISER = "heldC"
HELD_OUT = (KNOWN_VOICE, UNSEEN_VOICE, UNSEEN_SYNTHESISER)


@dataclass(frozen=True)
class Phone:
    """A phone of CMUdict without stress, or `SIL`, between two times in seconds from the clip's start."""

    name: str
    start_s: float
    end_s: float

    @property
    def duration_s(self) -> float:
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Clip:
    """One clip. `phones` cover it from 0 to its end; `n_frames` video frames of 640 samples each."""

    id: str
    voice: str
    group: str
    text: str
    phones: tuple[Phone, ...]
    n_frames: int


def write_clips(path: Path, clips: list[Clip]) -> None:
    """Write `speech.json`: a list of objects with the fields of `Clip`, phones as [name, start_s, end_s]."""
    rows = [
        {
            "id": clip.id,
            "voice": clip.voice,
            "group": clip.group,
            "text": clip.text,
            "n_frames": clip.n_frames,
            "phones": [[p.name, round(p.start_s, 4), round(p.end_s, 4)] for p in clip.phones],
        }
        for clip in clips
    ]
    path.write_text("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]\n")


def read_clips(path: Path) -> list[Clip]:
    """Read `speech.json` as `write_clips` wrote it."""
    return [
        Clip(
            id=row["id"],
            voice=row["voice"],
            group=row["group"],
            text=row["text"],
            phones=tuple(Phone(name, start, end) for name, start, end in row["phones"]),
            n_frames=row["n_frames"],
        )
        for row in json.loads(path.read_text())
    ]
