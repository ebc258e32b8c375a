"""Takes of rendered people as the UNet learns from them: latents, pixels, and the Whisper features of their speech."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from latentsync.contract import CONTRACT
from latentsync.mask import face_mask, latent_mask
from latentsync.vae import Vae
from latentsync.whisper import AudioEncoder
from training.corpus import Clip, Corpus, audio_features
from training.starter.growing import Growing
from training.starter.variety import varied
from training.train_vae import pixels

CHUNK = CONTRACT.chunk_frames
_TOKEN_DROPOUT = 0.1
_SILENT_CHUNKS = 0.05
_OTHER_MOUTHS = 0.2
_ENCODED_TOGETHER = 48


@dataclass(frozen=True)
class Speech:
    """Whisper features float16 [variants, 2·frames of all clips, 1920], and where each clip begins and ends in them."""

    features: Tensor
    spans: dict[str, tuple[int, int]]

    @classmethod
    def load(
        cls, folder: Path, clips: Sequence[str], encoder: AudioEncoder, variants: int, seed: int, device: str
    ) -> Speech:
        """Hear these clips of a folder of `training.speech.make`, unchanged and augmented."""
        entries = {str(e["id"]): e for e in json.loads((folder / "speech.json").read_text())}
        unposed = np.zeros(0, np.int64)
        heard = [Clip(name, entries[name]["group"], entries[name]["n_frames"], unposed) for name in sorted(set(clips))]
        corpus = Corpus(folder, heard, np.zeros((0, 0, 0, 3), np.uint8))
        features = audio_features(corpus, heard, encoder, variants, seed, device)
        ends = np.cumsum([2 * clip.frames for clip in heard])
        spans = {clip.id: (int(end) - 2 * clip.frames, int(end)) for clip, end in zip(heard, ends, strict=True)}
        return cls(features.to(device), spans)


@dataclass(eq=False)
class Takes:
    """All takes on the device, to which more may be added: latents [3, T, 4, h, w] float16 of speaking, masked and
    resting faces, faces uint8 [T, R, R, 3] that speak; for each take its first row and length, and its speech's first
    feature and span.
    """

    latents: Tensor
    faces: Tensor
    mask: Tensor
    first_row: Tensor
    frames: Tensor
    heard_from: Tensor
    span: Tensor

    def __post_init__(self) -> None:
        self._growing_faces = Growing(self.faces)

    @classmethod
    @torch.inference_mode()
    def load(
        cls, paths: Sequence[Path], vae: Vae, speech: Speech, device: str, variety: torch.Generator | None = None
    ) -> Takes:
        """Encode these takes; those that are shorter than a chunk, or say nothing of `speech`, are left out.

        With a generator on the device each take is there twice: as it was rendered, and `varied`.
        """
        latents: list[Tensor] = []
        faces: list[Tensor] = []
        places: list[tuple[int, int, int, int, int]] = []
        row = 0
        for path in paths:
            with np.load(path) as take:
                talking, idle, clip = take["talking"], take["idle"], str(take["clip"])
                first = int(take["first_frame"])
            if len(talking) < CHUNK or clip not in speech.spans:
                continue
            begin, end = speech.spans[clip]
            both = [torch.from_numpy(frames).to(device) for frames in (talking, idle)]
            for speaking, resting in [both] if variety is None else [both, varied(both, variety)]:
                latents.append(_encoded(vae, speaking, resting))
                faces.append(speaking)
                places.append((row, len(talking), begin + 2 * first, begin, end))
                row += len(talking)
        if not places:
            raise ValueError(f"none of {len(paths)} takes is long enough and says a sentence of the speech data")
        side = faces[0].shape[1]
        mask = torch.from_numpy(latent_mask(side, side // CONTRACT.pixels_per_latent)).to(device)
        table = torch.tensor(places, device=device)
        first_row, frames, heard_from = table[:, :3].unbind(1)
        return cls(torch.cat(latents, 1), torch.cat(faces), mask, first_row, frames, heard_from, table[:, 3:])

    def add(self, others: Takes) -> None:
        """Append takes that were rendered meanwhile."""
        self.first_row = torch.cat([self.first_row, others.first_row + len(self.faces)])
        self.latents = torch.cat([self.latents, others.latents], 1)
        self._growing_faces.append(others.faces)
        self.faces = self._growing_faces.rows
        self.frames = torch.cat([self.frames, others.frames])
        self.heard_from = torch.cat([self.heard_from, others.heard_from])
        self.span = torch.cat([self.span, others.span])


def _encoded(vae: Vae, talking: Tensor, idle: Tensor) -> Tensor:
    device = str(talking.device)
    keep = torch.from_numpy(face_mask(talking.shape[1])).to(device)
    parts = []
    for start in range(0, len(talking), _ENCODED_TOGETHER):
        speaking, resting = (pixels(faces[start : start + _ENCODED_TOGETHER], device) for faces in (talking, idle))
        parts.append(torch.stack([vae.encode(x).half() for x in (speaking, resting * keep, resting)]))
    return torch.cat(parts, 1)


@dataclass(frozen=True)
class Batch:
    """audio [B, 16, 50, 384], condition [B, 9, 16, h, w], target [B, 4, 16, h, w], row [B, 16] into the faces."""

    audio: Tensor
    condition: Tensor
    target: Tensor
    row: Tensor


def draw_batch(takes: Takes, speech: Speech, batch: int, generator: torch.Generator) -> Batch:
    """Chunks of 16 frames of one take each: half of them neighbours, half spread over the take."""
    device = takes.faces.device

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=device)

    take = (uniform(batch) * len(takes.frames)).long()
    count = takes.frames[take][:, None]
    reach = (count - 1) // (CHUNK - 1)
    stride = torch.where(uniform(batch, 1) < 0.5, torch.ones_like(reach), 1 + (uniform(batch, 1) * reach).long())
    stride = stride.minimum(reach)
    begin = (uniform(batch, 1) * (count - stride * (CHUNK - 1))).long()
    frame = begin + stride * torch.arange(CHUNK, device=device)
    row = takes.first_row[take][:, None] + frame
    # A frame hears ten positions of Whisper, of which there are two a frame, and none beyond its clip.
    at = (takes.heard_from[take][:, None] + 2 * frame)[..., None] + torch.arange(-4, 6, device=device)
    low, high = takes.span[take].unbind(1)
    at = at.clamp(min=low[:, None, None]).minimum((high - 1)[:, None, None])
    variant = (uniform(batch) * len(speech.features)).long()
    audio = speech.features[variant[:, None, None], at].float().reshape(batch, CHUNK, *CONTRACT.audio_shape)
    audio = audio * (uniform(batch, 1, 1, 1) > _SILENT_CHUNKS)
    audio = audio * (uniform(batch, CHUNK, CONTRACT.audio_tokens, 1) > _TOKEN_DROPOUT)
    target, masked, reference = takes.latents[:, row].float().transpose(2, 3)
    # An avatar's own frames may speak: what its mouth does then has nothing to do with what is heard.
    elsewhere = takes.first_row[take][:, None] + (frame + (uniform(batch, 1) * count).long()) % count
    speaks = uniform(batch, 1, 1, 1, 1) < _OTHER_MOUTHS
    reference = torch.where(speaks, takes.latents[0][elsewhere].float().transpose(1, 2), reference)
    mask = takes.mask.expand(batch, 1, CHUNK, -1, -1)
    return Batch(audio, torch.cat([mask, masked, reference], 1), target, row)
