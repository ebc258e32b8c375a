"""Audio that tests send."""

import io
import wave

import numpy as np


def wav(seconds: float, amplitude: float = 0.25) -> bytes:
    """A wav file of a tone at 16 kHz."""
    times = np.arange(round(seconds * 16_000)) / 16_000
    samples = (32767 * amplitude * np.sin(2 * np.pi * 300 * times)).astype("<i2")
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16_000)
        file.writeframes(samples.tobytes())
    return buffer.getvalue()
