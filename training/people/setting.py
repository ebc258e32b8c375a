"""How a person is seen: light, background, pose and camera, drawn anew for each take."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import cv2
import numpy as np
from numpy.typing import NDArray

from training.avatar.motion import Pose
from training.avatar.projection import FRAME_SIZE

Vector = tuple[float, float, float]
Picture = NDArray[np.uint8]


@dataclass(frozen=True)
class Light:
    """Directions towards four lamps (key, fill, two from behind) and linear colours; sky and ground are all around."""

    key: Vector
    key_colour: Vector
    fill: Vector
    fill_colour: Vector
    rims: tuple[Vector, Vector]
    rim_colours: tuple[Vector, Vector]
    sky: Vector
    ground: Vector
    softness: float


@dataclass(frozen=True)
class Camera:
    """What a camera does to a face crop: `width` is how many pixels the face had before it was enlarged.

    `h264` is the constant rate factor with which the clip was compressed afterwards; None where it wasn't.
    """

    width: float
    blur: float
    noise: float
    gain: Vector
    gamma: float
    saturation: float
    jpeg: int
    h264: int | None = None


@dataclass(frozen=True)
class Take:
    """One take: where the head looks and how far it drifts, what the face shows at rest, and how wide it speaks."""

    pose: Pose
    drift: float
    phase: float
    expression: dict[str, float]
    openness: float
    light: Light
    camera: Camera
    background_seed: int


def draw_take(seed: int, number: int) -> Take:
    """The take of that number of the person of that seed."""
    rng = np.random.default_rng((26, seed, number))
    pose = Pose(
        yaw=float(np.clip(rng.normal(0, 0.17), -0.45, 0.45)),
        pitch=float(np.clip(rng.normal(0, 0.09), -0.22, 0.22)),
        roll=float(np.clip(rng.normal(0, 0.05), -0.15, 0.15)),
    )
    both = {
        "mouthSmile": max(0.0, rng.normal(0.14, 0.16)),
        "mouthFrown": max(0.0, rng.normal(-0.10, 0.10)),
        "eyeSquint": max(0.0, rng.normal(0.02, 0.12)),
        "browOuterUp": max(0.0, rng.normal(0.0, 0.15)),
        "browDown": max(0.0, rng.normal(-0.02, 0.15)),
        "cheekSquint": max(0.0, rng.normal(0.05, 0.12)),
        "mouthPress": max(0.0, rng.normal(0.06, 0.08)),
        "noseSneer": max(0.0, rng.normal(-0.1, 0.1)),
    }
    expression = {f"{name}{side}": float(v * rng.uniform(0.8, 1.2)) for name, v in both.items() for side in SIDES}
    expression["browInnerUp"] = float(max(0.0, rng.normal(0.05, 0.15)))
    # One clip in five rests with parted lips, as a video may that was cut out of speech.
    if rng.random() < 0.2:
        expression |= {"jawOpen": float(rng.uniform(0.02, 0.14)), "mouthLowerDownLeft": 0.1, "mouthLowerDownRight": 0.1}
    return Take(
        pose=pose,
        drift=float(rng.uniform(0.2, 1.6)),
        phase=float(rng.uniform(0, 2 * np.pi)),
        expression=expression,
        openness=float(rng.uniform(0.75, 1.25)),
        light=_light(rng),
        camera=replace(_camera(rng), h264=_compression(np.random.default_rng((33, seed, number)))),
        background_seed=int(rng.integers(1 << 31)),
    )


SIDES = ("Left", "Right")


def _direction(azimuth: float, height: float) -> Vector:
    flat = float(np.cos(height))
    return float(np.sin(azimuth)) * flat, float(np.sin(height)), float(np.cos(azimuth)) * flat


def _warmth(rng: np.random.Generator, spread: float) -> NDArray[np.float64]:
    """A white of some colour temperature; one lamp in twelve is coloured."""
    if rng.random() < 1 / 12:
        return np.asarray(0.6 + rng.dirichlet((1.2, 1.2, 1.2)) * 1.2)
    warm = rng.normal(0, spread)
    return np.asarray(np.exp(np.array([0.5, 0.05, -0.65]) * warm))


def _scaled(colour: NDArray[np.float64], power: float) -> Vector:
    return float(colour[0] * power), float(colour[1] * power), float(colour[2] * power)


def _light(rng: np.random.Generator) -> Light:
    side = rng.choice([-1.0, 1.0])
    from_below = rng.random() < 0.06
    height = float(rng.uniform(-0.7, -0.2) if from_below else rng.uniform(0.05, 1.0))
    # The rest of the light is what the key leaves: hard light is dark elsewhere.
    contrast = float(rng.beta(1.6, 1.6))
    ambient = 1.15 - 0.95 * contrast
    sky, ground = _warmth(rng, 0.35), _warmth(rng, 0.35)
    return Light(
        key=_direction(float(side * rng.uniform(0.0, 1.15)), height),
        key_colour=_scaled(_warmth(rng, 0.35), 0.55 + 1.25 * contrast),
        fill=_direction(float(-side * rng.uniform(0.3, 1.2)), float(rng.uniform(-0.2, 0.5))),
        fill_colour=_scaled(_warmth(rng, 0.35), float(rng.uniform(0.05, 0.45))),
        rims=(_direction(float(rng.uniform(1.9, 2.5)), 0.3), _direction(float(-rng.uniform(1.9, 2.5)), 0.25)),
        rim_colours=(
            _scaled(_warmth(rng, 0.4), float(rng.random() ** 2 * 2.2)),
            _scaled(_warmth(rng, 0.4), float(rng.random() ** 2 * 1.6)),
        ),
        sky=_scaled(sky, 0.75 * ambient),
        ground=_scaled(ground * np.array([1.0, 0.85, 0.75]), 0.45 * ambient),
        softness=float(rng.uniform(0.05, 0.45)),
    )


def _camera(rng: np.random.Generator) -> Camera:
    white = np.exp(np.array([1.0, 0.0, -1.0]) * rng.normal(0, 0.07)) * np.exp(rng.normal(0, 0.10))
    return Camera(
        width=float(np.exp(rng.uniform(np.log(90), np.log(420)))),
        blur=float(max(0.0, rng.normal(0.1, 0.45))),
        noise=float(rng.exponential(1.6)),
        gain=_scaled(white, 1.0),
        gamma=float(np.exp(rng.normal(0, 0.12))),
        saturation=float(np.clip(rng.normal(1.0, 0.16), 0.4, 1.5)),
        jpeg=int(rng.integers(45, 98)),
    )


def _compression(rng: np.random.Generator) -> int | None:
    """Three clips in five are videos; of a stream of its own, so that the rest of a take stays as it was."""
    return int(rng.integers(20, 37)) if rng.random() < 0.6 else None


def paint_background(seed: int, size: int = FRAME_SIZE) -> Picture:
    """A background out of focus, RGB uint8 [size, size, 3]: a wall or a sky, with blobs and boxes before it."""
    rng = np.random.default_rng((27, seed))
    y, x = (np.mgrid[0:size, 0:size].astype(np.float32) + 0.5) / size
    corners = np.exp(rng.uniform(np.log(0.03), np.log(0.85), (2, 2, 1))) * (
        0.55 + rng.dirichlet((3, 3, 3), (2, 2)) * 1.35
    )
    top = corners[0, 0] * (1 - x[..., None]) + corners[0, 1] * x[..., None]
    low = corners[1, 0] * (1 - x[..., None]) + corners[1, 1] * x[..., None]
    light = (top * (1 - y[..., None]) + low * y[..., None]).astype(np.float32)
    for _ in range(int(rng.integers(0, 14))):
        shape = np.zeros((size, size, 3), np.float32)
        colour = np.exp(rng.uniform(np.log(0.01), np.log(1.0))) * (0.3 + rng.dirichlet((2, 2, 2)) * 2.1)
        centre = tuple(int(v) for v in rng.uniform(0, size, 2))
        extent = rng.uniform(0.02, 0.35, 2) * size
        if rng.random() < 0.5:
            corner = (int(centre[0] + extent[0]), int(centre[1] + 2 * extent[1]))
            cv2.rectangle(shape, centre, corner, (1.0, 1.0, 1.0), -1)
        else:
            axes = (int(extent[0]), int(extent[1]))
            cv2.ellipse(shape, centre, axes, float(rng.uniform(0, 180)), 0, 360, (1.0, 1.0, 1.0), -1)
        light = light * (1 - shape) + shape * colour.astype(np.float32)
    blurred = cv2.GaussianBlur(light, (0, 0), float(np.exp(rng.uniform(np.log(1.5), np.log(30)))))
    return np.asarray(np.clip(blurred, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


def photographed(face: Picture, camera: Camera, rng: np.random.Generator) -> Picture:
    """A face crop RGB uint8 [R, R, 3] as this camera gives it; `rng` is for the noise, new in each frame."""
    side = face.shape[0]
    picture = face.astype(np.float32) / 255
    grey = picture.mean(axis=2, keepdims=True)
    picture = grey + (picture - grey) * camera.saturation
    picture = np.clip(picture * np.array(camera.gain, np.float32), 0, 1) ** camera.gamma
    small = min(side, round(camera.width))
    if small < side:
        picture = cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA)
    if camera.blur > 0.25:
        picture = cv2.GaussianBlur(picture, (0, 0), camera.blur)
    picture = picture + rng.normal(0, camera.noise / 255, picture.shape).astype(np.float32)
    coded = np.asarray(np.clip(picture, 0, 1) * 255 + 0.5).astype(np.uint8)
    _, data = cv2.imencode(".jpg", coded[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, camera.jpeg])
    coded = cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    if small < side:
        coded = cv2.resize(np.ascontiguousarray(coded), (side, side), interpolation=cv2.INTER_LANCZOS4)
    return np.ascontiguousarray(coded)


def filmed(faces: Picture, rate_factor: int) -> Picture:
    """Face crops RGB uint8 [T, R, R, 3] of one clip after H.264 of that constant rate factor; R is even."""
    import av  # here, for pictures without this damage need no codec

    side = faces.shape[1]
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width = encoder.height = side
    encoder.pix_fmt, encoder.time_base = "yuv420p", Fraction(1, 25)
    encoder.options = {"crf": str(rate_factor), "preset": "veryfast", "threads": "1"}
    decoder = av.CodecContext.create("h264", "r")
    assert isinstance(decoder, av.VideoCodecContext)
    packets = [p for face in faces for p in encoder.encode(av.VideoFrame.from_ndarray(face, format="rgb24"))]
    frames = [frame for packet in [*packets, *encoder.encode(None)] for frame in decoder.decode(packet)]
    return np.stack([frame.to_ndarray(format="rgb24") for frame in [*frames, *decoder.decode(None)]])
