"""Blend two trainings of the UNet: python -m training.blend BEFORE.safetensors AFTER.safetensors TARGET.safetensors

The mean of the weights before and after the live stage keeps much of what each is better at. It moves the lips a little
less than the first, so the audio's part of the hidden state, the output of its attention, is raised by a factor.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

AUDIO_OUTPUT = ".audio_cross_attn.attn.to_out."


def blended(before: Mapping[str, Tensor], after: Mapping[str, Tensor], share: float, audio: float) -> dict[str, Tensor]:
    """`share` of `after`, the rest of `before`, in float16; `audio` multiplies the output of the audio's attention.

    Raises ValueError where the two don't have the same tensors.
    """
    if before.keys() != after.keys():
        raise ValueError(f"only one of the two has {', '.join(sorted(before.keys() ^ after.keys())[:3])}")
    mixed = {key: before[key].float() * (1 - share) + after[key].float() * share for key in before}
    return {key: (value * audio if AUDIO_OUTPUT in key else value).half() for key, value in mixed.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the weights after")
    parser.add_argument("--audio", type=float, default=1.03, help="factor of the audio's part")
    arguments = parser.parse_args()
    weights = blended(load_file(arguments.before), load_file(arguments.after), arguments.share, arguments.audio)
    save_file(weights, arguments.target)


if __name__ == "__main__":
    main()
