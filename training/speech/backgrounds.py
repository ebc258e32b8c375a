"""Audio without speech, during which the mouth must stay closed."""

import numpy as np
from numpy.typing import NDArray

from training.speech.clip import SAMPLE_RATE

KINDS = ("silence", "room", "hum", "clicks", "rustle")


def background(kind: str, duration_s: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Mono 16 kHz samples of one of `KINDS`. Raises KeyError for another kind."""
    length = round(duration_s * SAMPLE_RATE)
    make = {"silence": _silence, "room": _room, "hum": _hum, "clicks": _clicks, "rustle": _rustle}[kind]
    return make(length, rng).astype(np.float32)


def coloured_noise(length: int, slope: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Noise of unit variance whose power falls as frequency to the power −2·`slope`."""
    spectrum = np.fft.rfft(rng.normal(size=length))
    frequency = np.maximum(np.fft.rfftfreq(length, 1 / SAMPLE_RATE), 40)
    noise = np.fft.irfft(spectrum * frequency**-slope, length)
    return noise / max(1e-12, float(noise.std()))


def _silence(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.normal(size=length) * 10 ** rng.uniform(-5, -4)


def _room(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return coloured_noise(length, rng.uniform(0.2, 1.0), rng) * 10 ** rng.uniform(-3.3, -1.7)


def _hum(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    time_s = np.arange(length) / SAMPLE_RATE
    mains = rng.choice([50.0, 60.0])
    tone = sum(rng.uniform(0, 1) / k * np.sin(2 * np.pi * (mains * k * time_s + rng.random())) for k in range(1, 9))
    return np.asarray(tone) * 10 ** rng.uniform(-2.7, -1.8) + _room(length, rng) * 0.3


def _clicks(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A keyboard or a knock on the desk: bursts of 4 to 40 ms."""
    sound = _room(length, rng) * 0.3
    for _ in range(max(2, length // 4000)):
        burst = round(rng.uniform(0.004, 0.04) * SAMPLE_RATE)
        at = int(rng.integers(0, length - burst))
        decay = np.exp(-np.arange(burst) / (burst / 5))
        sound[at : at + burst] += coloured_noise(burst, rng.uniform(0, 1), rng) * decay * 10 ** rng.uniform(-2, -1.1)
    return sound


def _rustle(length: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Clothes or paper near the microphone: noise of changing level."""
    swell = np.interp(np.arange(length), np.linspace(0, length, 12), rng.uniform(0, 1, 12) ** 2)
    sound = coloured_noise(length, rng.uniform(0, 0.6), rng) * 10 ** rng.uniform(-2.5, -1.6)
    return sound * swell + _silence(length, rng)
