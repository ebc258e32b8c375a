"""A UNet's tensors by the names of LatentSync's own files: which version they are of, and diffusers' names for them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from torch import Tensor

from latentsync.motion import MotionLayers

# LatentSync 1.0 alone; later versions have diffusers' names.
_TO_DIFFUSERS = (
    (re.compile(r"\.audio_cross_attn\.attn\."), ".attn2."),
    (re.compile(r"\.audio_cross_attn\.norm\."), ".norm2."),
)
_TO_UPSTREAM = (
    (re.compile(r"\.attn2\."), ".audio_cross_attn.attn."),
    (re.compile(r"(\.transformer_blocks\.\d+)\.norm2\."), r"\1.audio_cross_attn.norm."),
)
_VERSIONS = {
    MotionLayers.NONE: "LatentSync 1.0 (no motion modules)",
    MotionLayers.UP: "a fine-tune by stage2_efficient.yaml (motion modules in the up blocks only)",
    MotionLayers.ALL: "LatentSync 1.5 or 1.6 (motion modules in down and up blocks)",
}


class UnsupportedUNetError(ValueError):
    """The weights are not those of a LatentSync UNet, or of another version than expected."""


def motion_layers(keys: Iterable[str]) -> MotionLayers:
    """Which blocks have motion modules, told by a state dict's keys."""
    blocks = {key.partition(".")[0] for key in keys if ".motion_modules." in key}
    if not blocks:
        return MotionLayers.NONE
    return MotionLayers.UP if blocks == {"up_blocks"} else MotionLayers.ALL


def require_latentsync(state_dict: Mapping[str, Tensor], expected: MotionLayers | None) -> MotionLayers:
    """Which blocks have motion modules; raises UnsupportedUNetError for weights of another version than `expected`.

    None expects any. A wrong one would load in part, and only blur mouths.
    """
    found = motion_layers(state_dict)
    if expected is not None and found is not expected:
        raise UnsupportedUNetError(
            f"these weights are of {_VERSIONS[found]}, and the configuration (motion_modules: {expected.value}) is of "
            f"{_VERSIONS[expected]}: use the configuration of this checkpoint"
        )
    has_audio = any(".audio_cross_attn." in key for key in state_dict)
    if found is MotionLayers.NONE and not has_audio:
        names = "attn2, as in LatentSync 1.5 and 1.6" if any(".attn2." in key for key in state_dict) else "none"
        raise UnsupportedUNetError(
            "this is no LatentSync UNet: without motion modules it must be version 1.0, whose audio attention is "
            f"named audio_cross_attn; found {names}"
        )
    if found is not MotionLayers.NONE and has_audio:
        raise UnsupportedUNetError(
            "this is no LatentSync UNet: it has motion modules, as versions 1.5 and 1.6, and version 1.0's "
            "audio_cross_attn"
        )
    return found


def diffusers_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under diffusers' names."""
    return {_renamed(key, _TO_DIFFUSERS): value for key, value in state_dict.items()}


def original_state_dict(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The inverse of `diffusers_state_dict`."""
    rules = _TO_UPSTREAM if motion_layers(state_dict) is MotionLayers.NONE else ()
    return {_renamed(key, rules): value for key, value in state_dict.items()}


def _renamed(key: str, rules: tuple[tuple[re.Pattern[str], str], ...]) -> str:
    for pattern, replacement in rules:
        key = pattern.sub(replacement, key)
    return key
