"""The data set in memory: speech, the matching faces, and the Whisper features of the speech.

A data set folder holds
    speech.json     clips: id, voice, group ("train" or "held…"), text, phones, n_frames
    wav/<id>.wav    16 kHz mono, 640 samples a frame
    curves.npz      face units of each clip
    idle.npy        uint8 [N, R, R, 3]: the aligned face of each frame of the idle clip, or of all clips
    truth/<id>.npy  uint8 [n_frames, R, R, 3]: the ground truth, the rendered face that speaks the clip
    starts.json     id → idle frame at which the clip starts; or poses.npz, with motions (see training.poses)
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from latentsync.audio import PADDING
from latentsync.contract import CONTRACT
from latentsync.whisper import AudioEncoder
from training.augment import augment
from training.poses import Poses, read_poses

WINDOW = CONTRACT.window_samples


@dataclass(frozen=True)
class Clip:
    id: str
    group: str
    frames: int
    poses: Poses
    """The row of idle.npy on which each frame is shown, [frames]."""


@dataclass(frozen=True)
class Corpus:
    folder: Path
    clips: list[Clip]
    idle: NDArray[np.uint8]

    @classmethod
    def open(cls, folder: Path) -> "Corpus":
        entries = json.loads((folder / "speech.json").read_text())
        entries = [entry for entry in entries if (folder / "truth" / f"{entry['id']}.npy").exists()]
        idle = np.load(folder / "idle.npy")
        poses = read_poses(folder, {str(entry["id"]): int(entry["n_frames"]) for entry in entries}, len(idle))
        clips = [Clip(name, e["group"], int(e["n_frames"]), poses[name]) for e in entries for name in [str(e["id"])]]
        return cls(folder, clips, idle)

    def training_clips(self) -> list[Clip]:
        return [clip for clip in self.clips if clip.group == "train"]

    def truth(self, clip: Clip) -> NDArray[np.uint8]:
        """uint8 [frames, R, R, 3], memory-mapped."""
        faces: NDArray[np.uint8] = np.load(self.folder / "truth" / f"{clip.id}.npy", mmap_mode="r")
        return faces

    def pcm(self, clip: Clip) -> NDArray[np.float32]:
        samples, _ = soundfile.read(self.folder / "wav" / f"{clip.id}.wav", dtype="float32")
        return np.asarray(samples, np.float32)


class TruthFrames:
    """The ground-truth faces of several clips as one sequence, every `stride`-th frame of each clip.

    On a CPU they are memory-mapped; on a GPU they are in its memory, so that no training step waits for the host.
    """

    def __init__(self, corpus: Corpus, clips: list[Clip], device: str, stride: int = 1) -> None:
        self._clips = [corpus.truth(clip)[::stride] for clip in clips]
        self._ends = np.cumsum([len(frames) for frames in self._clips])
        self._device = device
        self._resident = (
            None if device == "cpu" else torch.cat([torch.from_numpy(np.array(c)).to(device) for c in self._clips])
        )

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getitem__(self, rows: Tensor) -> Tensor:
        """uint8 [n, R, R, 3] on the device, for rows [n]."""
        if self._resident is not None:
            return self._resident[rows.to(self._device)]
        return torch.from_numpy(np.stack([self._one(int(row)) for row in rows]))

    def _one(self, row: int) -> NDArray[np.uint8]:
        which = int(np.searchsorted(self._ends, row, side="right"))
        return np.asarray(self._clips[which][row - self._ends[which]])  # negative: an index from the clip's end


@torch.inference_mode()
def audio_features(
    corpus: Corpus, clips: list[Clip], encoder: AudioEncoder, variants: int, seed: int, device: str
) -> Tensor:
    """Whisper features of each clip, unchanged and `variants` − 1 times augmented: float16 [variants, 2·frames, 5·384].

    Augmented clips share windows of 30 s: the features depend on the position of a sound in its window, and speech lies
    anywhere in an upload. On a CPU the unchanged clips share windows too, because a window costs the same computation
    however little speech it holds.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for variant in range(variants):
        found: dict[str, Tensor] = {}
        order = list(clips) if variant == 0 else [clips[i] for i in rng.permutation(len(clips))]
        for window_clips in _windows(order, shared=variant > 0 or device == "cpu"):
            pcm = [torch.from_numpy(corpus.pcm(clip)).to(device) for clip in window_clips]
            if variant:
                pcm = [augment(one, rng, pitch=variant % 2 == 1) for one in pcm]
            window = F.pad(torch.cat(pcm), (0, WINDOW), value=float(PADDING))[:WINDOW]
            features = encoder(window[None])[0].flatten(1).half().cpu()
            sizes = [2 * clip.frames for clip in window_clips]
            found |= zip((clip.id for clip in window_clips), features[: sum(sizes)].split(sizes), strict=True)
        rows.append(torch.cat([found[clip.id] for clip in clips]))
    return torch.stack(rows)


def _windows(clips: list[Clip], shared: bool) -> Iterator[list[Clip]]:
    batch: list[Clip] = []
    for clip in clips:
        if batch and (not shared or sum(c.frames for c in batch) + clip.frames > WINDOW // CONTRACT.samples_per_frame):
            yield batch
            batch = []
        batch.append(clip)
    yield batch
