"""Checkpoint folders: `config.json`, `unet.safetensors` (or `.pt`), `vae.safetensors`; Whisper's folder beside them.

Opening one reads the configuration only; torch and diffusers are imported when weights are loaded.
"""

from __future__ import annotations

import filecmp
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from latentsync.contract import CONTRACT
from latentsync.published import published_unet
from latentsync.scheduler import GuidedFrom, PredictionType, SchedulerConfig, TimestepSpacing

if TYPE_CHECKING:
    import torch

    from latentsync.unet import LatentSyncUNet
    from latentsync.vae import Vae
    from latentsync.whisper import AudioEncoder, WhisperConfig

CONFIG_FILE = "config.json"
_UNET_FILES = ("unet.safetensors", "unet.pt")
Model = TypeVar("Model")


class CheckpointError(ValueError):
    """A checkpoint folder or one of its files can't be used; the message names the file and what to do."""


@dataclass(frozen=True)
class Checkpoint:
    """An opened checkpoint: its settings, and loaders for its three models.

    `made_for` are the videos of the people that it was trained for, where it can speak as nobody else. `trained_on`
    says which faces it learned from, where it may do worse on others: "rendered people".
    """

    directory: Path
    name: str
    resolution: int
    scheduler: SchedulerConfig
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    whisper: Mapping[str, Any]
    made_for: tuple[Path, ...] = ()
    trained_on: str = ""

    @property
    def latent_size(self) -> int:
        """Width and height of the latents."""
        return self.resolution // CONTRACT.pixels_per_latent

    @property
    def whisper_directory(self) -> Path:
        """Where Whisper's `encoder.safetensors` (or `tiny.pt`) lies."""
        return self.directory.parent / str(self.whisper["path"])

    def is_made_for(self, video: Path) -> bool:
        """Whether it can speak as the person of this video, which is compared byte by byte with those of `made_for`."""
        return not self.made_for or any(
            filecmp.cmp(video, own, shallow=False) for own in self.made_for if own.is_file()
        )

    @classmethod
    def open(cls, directory: Path | str) -> Checkpoint:
        """Reads and checks a checkpoint's configuration; raises CheckpointError when it is missing or wrong."""
        folder = Path(directory).resolve()
        path = folder / CONFIG_FILE
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise CheckpointError(f"{path} can't be read ({error.strerror}): is this a checkpoint folder?") from error
        except ValueError as error:
            raise CheckpointError(f"{path} is not JSON: {error}") from error
        try:
            checkpoint = cls(
                directory=folder,
                name=str(values["name"]),
                resolution=_resolution(folder, values),
                scheduler=_scheduler(values["scheduler"]),
                unet=dict(values["unet"]),
                vae=dict(values["vae"]),
                whisper=dict(values["whisper"]),
                made_for=_made_for(folder, values.get("made_for", [])),
                trained_on=str(values.get("trained_on", "")),
            )
        except KeyError as error:
            raise CheckpointError(f"{path} lacks the setting {error}") from error
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path}: {error}") from error
        if checkpoint.resolution <= 0 or checkpoint.resolution % CONTRACT.pixels_per_latent:
            raise CheckpointError(
                f"{path}: resolution must be a multiple of {CONTRACT.pixels_per_latent}, not {checkpoint.resolution}"
            )
        if "path" not in checkpoint.whisper:
            raise CheckpointError(f"{path} lacks the setting whisper.path")
        return checkpoint

    def load_unet(self, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> LatentSyncUNet:
        """Loads the UNet, in float32 unless told; raises CheckpointError for a truncated file or another version's."""
        from latentsync.unet import LatentSyncUNet

        self.require_published_resolution()
        path = _existing(self.directory, *_UNET_FILES)
        state = _read_tensors(path)
        unet = _built(path, lambda: LatentSyncUNet.from_upstream(_as_dtype(state, dtype), **self.unet))
        return unet.to(device)

    def require_published_resolution(self) -> None:
        """Raises CheckpointError where the UNet is a published one for faces of another size than configured.

        Versions 1.5 and 1.6 have the same tensors; at the other one's size a UNet only blurs.
        """
        path = _existing(self.directory, *_UNET_FILES)
        known = published_unet(path)
        if known is not None and known.resolution != self.resolution:
            raise CheckpointError(
                f"{path} is {known.name}, made for faces of {known.resolution} pixels, and {CONFIG_FILE} says "
                f"resolution {self.resolution}: use the configuration of this checkpoint"
            )

    def load_vae(self, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> Vae:
        """Loads the VAE, in float32 unless told; raises CheckpointError for a truncated or unfitting file."""
        from latentsync.vae import Vae, VaeType

        path = _existing(self.directory, "vae.safetensors", "vae.pt")
        state = _as_dtype(_read_tensors(path), dtype)
        scale, config = float(self.vae["scaling_factor"]), self.vae["config"]
        vae = _built(path, lambda: Vae.from_state_dict(state, VaeType(self.vae["type"]), scale, config))
        return vae.to(device)

    def load_whisper(self, device: torch.device | str = "cpu", dtype: torch.dtype | None = None) -> AudioEncoder:
        """Loads Whisper's encoder in float32, which multiplies in `dtype` where that is given.

        Raises CheckpointError for a missing or unfitting file.
        """
        import torch

        from latentsync.whisper import AudioEncoder, WhisperConfig

        path = _existing(self.whisper_directory, "encoder.safetensors", "tiny.pt")
        state = _read_tensors(path)
        sizes = {key: value for key, value in self.whisper.items() if key != "path"}
        _require_whisper(path, state, WhisperConfig(**sizes))
        products = dtype or torch.float32
        encoder = _built(path, lambda: AudioEncoder.from_state_dict(state, WhisperConfig(**sizes), products))
        return encoder.to(device)

    def guidance_base(self, device: torch.device | str = "cpu") -> torch.Tensor | None:
        """The audio that guidance leads away from, [50, 384] float32, for `denoise`; None for zeros.

        Raises CheckpointError as `load_whisper` does.
        """
        if self.scheduler.guided_from is GuidedFrom.NOTHING:
            return None
        import torch

        from latentsync.audio import frame_windows

        silence = torch.zeros(1, 2 * CONTRACT.sample_rate_hz)
        with torch.inference_mode():
            features = self.load_whisper()(silence)[0].float().numpy()
        middle = frame_windows(features, [CONTRACT.frames_per_second])[0]
        return torch.from_numpy(middle).to(device)


def _resolution(folder: Path, values: Mapping[str, Any]) -> int:
    """The configured side of the faces, or that of a published UNet; raises KeyError where neither is known."""
    if "resolution" not in values:
        files = (folder / name for name in _UNET_FILES)
        known = next((published_unet(path) for path in files if path.is_file()), None)
        if known is not None:
            return known.resolution
    return int(values["resolution"])


def _made_for(folder: Path, values: Any) -> tuple[Path, ...]:
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError(f"made_for must be a list of videos in the checkpoint's folder, not {values!r}")
    return tuple(folder / value for value in values)


def _scheduler(values: Mapping[str, Any]) -> SchedulerConfig:
    unknown = set(values) - {field.name for field in fields(SchedulerConfig)}
    if unknown:
        raise ValueError(f"unknown scheduler settings: {', '.join(sorted(unknown))}")
    prediction = PredictionType(values.get("prediction_type", "epsilon"))
    settings = {
        # A UNet that predicts clean latents has nothing left to denoise after its last step.
        "set_alpha_to_one": prediction is PredictionType.SAMPLE,
        **values,
        "prediction_type": prediction,
        "timestep_spacing": TimestepSpacing(values.get("timestep_spacing", "leading")),
        "guided_from": GuidedFrom(values.get("guided_from", "nothing")),
    }
    return SchedulerConfig(**settings)


def _existing(directory: Path, *names: str) -> Path:
    for name in names:
        if (directory / name).is_file():
            return directory / name
    raise CheckpointError(f"{directory} holds none of {', '.join(names)}: fetch the checkpoint or fill the folder")


def _read_tensors(path: Path) -> dict[str, torch.Tensor]:
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" not in str(error) or "GLOBAL" not in str(error):
            raise CheckpointError(f"{path} is truncated or not a weights file: {error}") from error
        raise CheckpointError(
            f"{path} holds more than weights: loading it would run code of its own, and is refused. Use the file from "
            "its publisher, or safetensors"
        ) from error
    except (SafetensorError, RuntimeError, OSError, EOFError) as error:
        raise CheckpointError(f"{path} is truncated or not a weights file: {error}") from error
    for key in ("state_dict", "model_state_dict"):  # LatentSync's and Whisper's wrapping
        if isinstance(state, dict) and key in state:
            state = state[key]
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {type(state).__name__}, not a state dict")
    return state


# Width of the encoder by the model's name, in OpenAI's list.
_WHISPER_SIZES = {384: "tiny", 512: "base", 768: "small", 1024: "medium", 1280: "large"}


def _require_whisper(path: Path, state: Mapping[str, torch.Tensor], config: WhisperConfig) -> None:
    """Raises CheckpointError, naming both sizes, for a Whisper of another size than the UNet listens to."""
    weight = state.get("encoder.conv1.weight")
    if weight is None:
        raise CheckpointError(f"{path} is no Whisper: it has no encoder.conv1.weight")
    width, wanted = int(weight.shape[0]), config.n_audio_state
    if width != wanted:
        raise CheckpointError(
            f"{path} is Whisper {_WHISPER_SIZES.get(width, 'of an unknown size')} ({width} wide), the UNet listens to "
            f"{_WHISPER_SIZES.get(wanted, 'a size of its own')} ({wanted} wide): put that one there (size mismatch)"
        )


def _as_dtype(state: Mapping[str, torch.Tensor], dtype: torch.dtype | None) -> dict[str, torch.Tensor]:
    import torch

    return {key: value.to(dtype or torch.float32) for key, value in state.items()}


def _built(path: Path, build: Callable[[], Model]) -> Model:
    try:
        return build()
    except (RuntimeError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: {error}") from error
