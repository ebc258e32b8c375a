"""Whisper's features of training speech twice: as a whole recording, and as live speech hears it.

Clips are strung together to streams of at most 30 s. A stream is heard whole by one window, and live by a window for
each hop of a few frames, which ends a little after the hop: what follows has not been said yet. The windows are those
of `speech.windows`, with random lengths in place of the pauses that the product waits for.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from whisper.audio import HOP_LENGTH, N_FFT, mel_filters

from latentsync.contract import CONTRACT
from latentsync.whisper import AudioEncoder
from training.augment import augment
from training.corpus import Clip, Corpus

FPS = CONTRACT.frames_per_second
SAMPLES = CONTRACT.samples_per_frame
POSITIONS = CONTRACT.positions_per_frame
LONGEST_STREAM = CONTRACT.window_s * FPS
SHORTEST_STREAM = 4 * FPS
HEARD_AFTER = 2  # a frame hears the positions of two frames after its own
MOST_LOOK_AHEAD = 10
"""Frames, 400 ms."""


@dataclass(frozen=True)
class Hearing:
    """How a stream is heard live: a window for each `hop` frames, `look_ahead` frames beyond what they hear.

    A window begins with the stream, or later, so that it has `shortest` to `longest` frames; it is padded to `padded_s`
    seconds.
    """

    hop: int
    look_ahead: int
    shortest: int
    longest: int
    padded_s: int

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Hearing":
        """A random hop and look-ahead; windows grow up to 30 s, or are those of 3 to 8 s padded to 15 (two cores)."""
        hop, look_ahead = int(rng.choice(CONTRACT.chunk_lengths)), int(rng.integers(MOST_LOOK_AHEAD + 1))
        if rng.random() < 0.5:
            return cls(hop, look_ahead, 8 * FPS, LONGEST_STREAM, CONTRACT.window_s)
        return cls(hop, look_ahead, 3 * FPS, 8 * FPS, 15)

    def windows(self, frames: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Of each frame of a stream: which window it hears [frames]; first frame and end of each window [k, 2]."""
        borders = [0, *range(int(rng.integers(1, self.hop + 1)), frames, self.hop), frames]
        which = np.empty(frames, np.int64)
        windows: list[tuple[int, int]] = []
        for first, end in pairwise(borders):
            which[first:end] = len(windows)
            until = min(frames, end + HEARD_AFTER + self.look_ahead)
            longest = min(self.longest, until)
            needed = min(longest, until - max(0, first - HEARD_AFTER))
            length = longest
            if rng.random() < 0.3 or longest < until:
                length = int(rng.integers(max(needed, min(self.shortest, longest)), longest + 1))
            windows.append((until - length, until))
        return which, np.array(windows, np.int64)


def window_mels(stream: Tensor, windows: Tensor, padded_s: int) -> Tensor:
    """Whisper's log-mel spectrograms [k, 80, 100·padded_s] of windows [k, 2] (frames) of a stream [samples].

    The same as `whisper.audio.log_mel_spectrogram` of each window alone, reflected at its ends and floored by its own
    loudest, and zeros after it.
    """
    begin, length = windows[:, :1] * SAMPLES, (windows[:, 1:] - windows[:, :1]) * SAMPLES
    at = torch.arange(-N_FFT // 2, padded_s * CONTRACT.sample_rate_hz + N_FFT // 2, device=stream.device).abs()
    at = at.expand(len(windows), -1)
    at = torch.where(at < length, at, 2 * (length - 1) - at).clamp(min=0)
    spectrum = torch.stft(
        stream[begin + at],
        N_FFT,
        HOP_LENGTH,
        window=torch.hann_window(N_FFT, device=stream.device),
        center=False,
        return_complex=True,
    )
    mel = mel_filters(stream.device, 80) @ spectrum[..., :-1].abs().square()
    log = mel.clamp(min=1e-10).log10()
    heard = (torch.arange(log.shape[-1], device=log.device) < length // HOP_LENGTH)[:, None]
    loudest = log.masked_fill(~heard, -torch.inf).amax((1, 2), keepdim=True)
    whisper_mel: Tensor = ((log.maximum(loudest - 8) + 4) / 4).masked_fill(~heard, 0)
    return whisper_mel


@dataclass(frozen=True)
class HeardSpeech:
    """Features of all clips, in `variants` of their sound, heard whole and live.

    whole float16 [variants, positions, 5·384] are those of whole streams, one after another; begin, end and at
    [variants, clips] are the first position and the end of each clip's stream in `whole`, and the clip's own position.
    live float16 [variants, frames, 50·384] are the frame windows of all clips, one clip after another.
    """

    whole: Tensor
    begin: Tensor
    end: Tensor
    at: Tensor
    live: Tensor

    def whole_windows(self, variant: Tensor, clip: Tensor, frame: Tensor) -> Tensor:
        """What frames [B, n] of clips [B] hear in variants [B] of a whole recording: [B, n, 50, 384]."""
        offsets = torch.arange(CONTRACT.frame_window_positions, device=frame.device) - CONTRACT.positions_before_frame
        at = self.at[variant, clip][:, None, None] + POSITIONS * frame[..., None] + offsets
        at = at.maximum(self.begin[variant, clip][:, None, None]).minimum(self.end[variant, clip][:, None, None] - 1)
        return self.whole[variant[:, None, None], at].float().reshape(*frame.shape, *CONTRACT.audio_shape)

    def live_windows(self, variant: Tensor, frame: Tensor) -> Tensor:
        """What frames [B, n] of all clips hear in variants [B] of live speech: [B, n, 50, 384]."""
        return self.live[variant[:, None], frame].float().reshape(*frame.shape, *CONTRACT.audio_shape)


@torch.inference_mode()
def heard_speech(
    corpus: Corpus, clips: list[Clip], encoder: AudioEncoder, variants: int, seed: int, device: str
) -> HeardSpeech:
    """Features of `clips`: unchanged, and `variants` − 1 times with another level, equaliser, noise and pitch."""
    rng = np.random.default_rng(seed)
    frames = np.array([clip.frames for clip in clips])
    first_frame, total = np.cumsum(frames) - frames, int(frames.sum())
    size = CONTRACT.hidden_states * CONTRACT.hidden_size
    live = torch.empty(variants, total, CONTRACT.frame_window_positions * size, dtype=torch.float16, device=device)
    whole = torch.empty(variants, POSITIONS * total, size, dtype=torch.float16, device=device)
    begin, end, at = (torch.zeros(variants, len(clips), dtype=torch.int64) for _ in range(3))
    for variant in range(variants):
        done = 0
        for numbers in _streams(frames, rng):
            pcm = [torch.from_numpy(corpus.pcm(clips[number])).to(device) for number in numbers]
            if variant:
                pcm = [augment(one, rng, pitch=variant % 2 == 1) for one in pcm]
            stream, counts = torch.cat(pcm), frames[numbers]
            count = int(counts.sum())
            features = encode_whole(encoder, stream, count)
            whole[variant, done : done + POSITIONS * count] = features
            begin[variant, numbers], end[variant, numbers] = done, done + POSITIONS * count
            at[variant, numbers] = torch.from_numpy(done + POSITIONS * (np.cumsum(counts) - counts))
            heard = encode_live(encoder, stream, count, Hearing.draw(rng), rng)
            for number, here in zip(numbers, np.cumsum(counts) - counts, strict=True):
                first, size_here = first_frame[number], frames[number]
                live[variant, first : first + size_here] = heard[here : here + size_here]
            done += POSITIONS * count
        print(f"features of variant {variant + 1} of {variants}", flush=True)
    return HeardSpeech(whole, begin.to(device), end.to(device), at.to(device), live)


def _streams(frames: NDArray[np.int64], rng: np.random.Generator) -> list[NDArray[np.int64]]:
    """All clips in random order, as streams of one clip up to 30 s."""
    streams: list[NDArray[np.int64]] = []
    held: list[int] = []
    most = int(rng.integers(SHORTEST_STREAM, LONGEST_STREAM + 1))
    for number in rng.permutation(len(frames)):
        if held and frames[held].sum() + frames[number] > most:
            streams.append(np.array(held))
            held, most = [], int(rng.integers(SHORTEST_STREAM, LONGEST_STREAM + 1))
        held.append(int(number))
    return [*streams, np.array(held)]


def _encode(encoder: AudioEncoder, mel: Tensor) -> Tensor:
    with torch.autocast(mel.device.type, torch.float16, enabled=mel.is_cuda):
        return encoder.encode_mel(mel).flatten(2).half()


def encode_whole(encoder: AudioEncoder, stream: Tensor, frames: int) -> Tensor:
    """The features [positions, 5·384] of a stream [samples] of so many frames, heard by one window of 30 s."""
    window = torch.tensor([[0, frames]], device=stream.device)
    return _encode(encoder, window_mels(stream, window, CONTRACT.window_s))[0, : POSITIONS * frames]


def encode_live(
    encoder: AudioEncoder, stream: Tensor, frames: int, hearing: Hearing, rng: np.random.Generator, batch: int = 64
) -> Tensor:
    """The frame windows [frames, 50·384] of a stream, each out of the window that the frame hears."""
    which, windows = hearing.windows(frames, rng)
    offsets = np.arange(CONTRACT.frame_window_positions) - CONTRACT.positions_before_frame
    found = []
    for start in range(0, len(windows), batch):
        part = windows[start : start + batch]
        mel = window_mels(stream, torch.from_numpy(part).to(stream.device), hearing.padded_s)
        features = _encode(encoder, mel)
        own = np.flatnonzero((which >= start) & (which < start + batch))
        row = which[own] - start
        at = np.clip(POSITIONS * (own - part[row, 0])[:, None] + offsets, 0, POSITIONS * np.diff(part)[row] - 1)
        found.append(features[torch.from_numpy(row)[:, None], torch.from_numpy(at)].flatten(1))
    return torch.cat(found)
