"""`python -m filming.local_process`: one video by an image-to-video pipeline of diffusers from a local folder.

The order is one JSON object at the standard input; progress comes as JSON lines at the standard output.
"""

from __future__ import annotations

import inspect
import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from diffusers import DiffusionPipeline
from PIL import Image, ImageOps

_RATE_FACTOR = 18  # libx264's quality: no artefact that a face's landmarks would notice


def main() -> int:
    """Make the video; what fails is told as a line with `error`, and by the exit code."""
    order = json.loads(sys.stdin.read())
    try:
        frames = _made(order)
        _write(frames, Path(order["into"]), order["fps"])
    except Exception as error:  # noqa: BLE001  # pipelines raise whatever they trip over, and the order must end with its reason
        print(json.dumps({"error": f"{type(error).__name__}: {error}"[:500]}), flush=True)
        return 1
    return 0


def _made(order: dict[str, Any]) -> list[Image.Image]:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.float32
    pipeline = DiffusionPipeline.from_pretrained(
        order["folder"], local_files_only=True, torch_dtype=dtype, use_safetensors=True
    ).to(device)
    pipeline.set_progress_bar_config(disable=True)
    takes = inspect.signature(pipeline.__call__).parameters
    if "image" not in takes:
        raise ValueError(f"{type(pipeline).__name__} takes no picture: an image-to-video pipeline is needed")
    unknown = [name for name in order["options"] if name not in takes]
    if unknown:
        raise ValueError(f"{type(pipeline).__name__} has no option {unknown[0]!r}; it has {', '.join(takes)}")
    steps = order["options"].get("num_inference_steps", getattr(takes.get("num_inference_steps"), "default", None))

    def told(_: object, step: int, __: object, tensors: dict[str, Any]) -> dict[str, Any]:
        if isinstance(steps, int) and steps:
            print(json.dumps({"share": min(1.0, (step + 1) / steps)}), flush=True)
        return tensors

    given = {
        "image": _picture(order),
        "prompt": order["prompt"],
        "generator": torch.Generator("cpu").manual_seed(order["seed"]),
        "callback_on_step_end": told,
        **order["options"],
    }
    result = pipeline(**{name: value for name, value in given.items() if name in takes})
    frames: list[Image.Image] = result.frames[0]
    return frames


def _picture(order: dict[str, Any]) -> Image.Image:
    picture = ImageOps.exif_transpose(Image.open(order["picture"])).convert("RGB")
    options = order["options"]
    if "width" in options and "height" in options:
        # Cut and not stretched: a stretched face stays one.
        return ImageOps.fit(picture, (options["width"], options["height"]))
    return picture


def _write(frames: list[Image.Image], into: Path, fps: int) -> None:
    with av.open(str(into), "w", format="mp4") as file:
        stream = file.add_stream("libx264", rate=Fraction(fps), options={"crf": str(_RATE_FACTOR)})
        width, height = frames[0].size
        stream.width, stream.height, stream.pix_fmt = width - width % 2, height - height % 2, "yuv420p"
        for each in frames:
            pixels = np.asarray(each.convert("RGB"), np.uint8)[: stream.height, : stream.width]
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")))
        file.mux(stream.encode(None))


if __name__ == "__main__":
    sys.exit(main())
