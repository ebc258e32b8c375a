"""Audio augmentation: random level, equaliser, background noise and pitch."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

FFT = 512
HOP = 128


def shift_pitch(pcm: Tensor, semitones: float) -> Tensor:
    """Shift the pitch of `pcm` [samples] without changing its duration, by a phase vocoder and resampling."""
    ratio = 2 ** (semitones / 12)
    window = torch.hann_window(FFT, device=pcm.device)
    spectrum = torch.stft(pcm, FFT, HOP, window=window, return_complex=True)
    at = torch.arange(0, spectrum.shape[1] - 1, 1 / ratio, device=pcm.device)
    left, mix = at.long(), (at - at.floor())[None]
    spectrum = F.pad(spectrum, (0, 2))
    magnitude = spectrum[:, left].abs() * (1 - mix) + spectrum[:, left + 1].abs() * mix
    advance = math.pi * HOP * torch.linspace(0, 1, FFT // 2 + 1, device=pcm.device)[:, None]
    step = spectrum[:, left + 1].angle() - spectrum[:, left].angle() - advance
    step = step - 2 * math.pi * torch.round(step / (2 * math.pi)) + advance
    phase = torch.cumsum(torch.cat([spectrum[:, :1].angle(), step[:, :-1]], 1).double(), 1).float()
    stretched = torch.istft(torch.polar(magnitude, phase), FFT, HOP, window=window)
    return F.interpolate(stretched[None, None], size=len(pcm), mode="linear")[0, 0]


def equalise_and_add_noise(pcm: Tensor, rng: np.random.Generator) -> Tensor:
    """Random level, a smooth random equaliser of ±8 dB, and background noise 15–45 dB below the speech."""
    pcm = pcm * float(10 ** rng.uniform(-0.5, 0.2))
    spectrum = torch.fft.rfft(pcm)
    bands = np.interp(np.linspace(0, 1, len(spectrum)), np.linspace(0, 1, 7), rng.uniform(-8, 8, 7))
    gain = torch.tensor(10 ** (bands / 20), device=pcm.device, dtype=torch.float32)
    pcm = torch.fft.irfft(spectrum * gain, len(pcm))
    return pcm + torch.randn_like(pcm) * (pcm.std() * float(10 ** (-rng.uniform(15, 45) / 20)))


def augment(pcm: Tensor, rng: np.random.Generator, pitch: bool) -> Tensor:
    """One augmented variant of a clip, as long as the clip; with `pitch` its pitch is shifted too."""
    if pitch:
        pcm = shift_pitch(pcm, float(rng.choice([-4.0, -3.0, -2.0, 2.0, 3.0, 4.0])))
    return equalise_and_add_noise(pcm, rng)
