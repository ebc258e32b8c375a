"""Renders the presenter without a display: whole frames, and the aligned face crop for training data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import moderngl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from training.avatar import makehuman, projection
from training.avatar.backdrop import Backdrop
from training.avatar.clothes import BLAZER_COLOUR, TOP_COLOUR, Clothes
from training.avatar.gpu_head import GpuHead, Morph, triangles
from training.avatar.hair import Hair
from training.avatar.head_mesh import HeadBuilder, HeadMesh, Part
from training.avatar.light_bake import LightBake
from training.avatar.motion import IDLE_FRAMES, FaceState, Pose, idle_state, talking_state
from training.avatar.scalp import head_follow_weight, scalp_height
from training.avatar.skin_paint import EXTENT, ORIGIN, paint_skin

FloatArray = NDArray[np.float32]
Picture = NDArray[np.uint8]

IRIS_COLOUR = (0.135, 0.088, 0.046)
HAIR_COLOUR = (0.060, 0.031, 0.017)
LIP_COLOUR = (0.43, 0.125, 0.115)
TEETH_COLOUR = (0.74, 0.69, 0.60)
SAMPLES = 4
SUPERSAMPLING = (2, 2)
# Scaling the template to the square crop removes more rows than columns.
CROP_SUPERSAMPLING = (2, 3)
MASKS = ("lips", "eyelids", "inside-mouth")
PARTING = ("mouthLowerDownLeft", "mouthLowerDownRight", "mouthUpperUpLeft", "mouthUpperUpRight")
# The part of the head that speech moves, and the neck that a moving chin covers or uncovers.
SPEECH_LOW, SPEECH_HIGH = (-0.74, -1.00, -0.05), (0.74, 0.14, 2.0)
BAKED_FACES: tuple[dict[str, float], ...] = (
    {"jawOpen": 0.10},
    {"jawOpen": 0.22, "eyeBlinkLeft": 1.0, "eyeBlinkRight": 1.0},
)


class Drawable(Protocol):
    """Something drawn with its own programs, which all use the uniforms of the head."""

    @property
    def programs(self) -> list[moderngl.Program]: ...

    def draw(self) -> None: ...


class Renderer:
    """Renders the presenter at `projection.FRAME_SIZE`; with fixed seeds, so each frame is reproducible."""

    def __init__(self) -> None:
        self._context = moderngl.create_standalone_context(backend="egl")
        self._context.enable(moderngl.DEPTH_TEST)
        mesh = HeadBuilder().build()
        bake = _bake(self._context, mesh)
        self._targets: dict[tuple[int, int, int], tuple[moderngl.Framebuffer, moderngl.Framebuffer]] = {}
        self._whole = GpuHead(self._context, mesh, bake)
        self._mouth = _speech_part(self._context, mesh, bake)
        self._clothes_and_hair: list[Drawable] = [Clothes(self._context, mesh, bake), Hair(self._context, mesh)]
        self._backdrop = Backdrop(self._context)
        self._load_textures()
        self._set_materials([p for d in (self._whole, self._mouth, *self._clothes_and_hair) for p in d.programs])

    def render(
        self,
        face_units: dict[str, float],
        pose: Pose,
        view: NDArray[np.float64] | None = None,
        size: tuple[int, int] | None = None,
    ) -> Picture:
        """One frame as RGB uint8 [H, W, 3].

        `view` [2, 3] maps pixels of the whole frame to those of a picture of `size` (width, height), in OpenCV's
        convention; without it the picture is the whole frame.
        """
        self._whole.morph(face_units, pose)
        drawn = [self._whole, *self._clothes_and_hair]
        size = size or (projection.FRAME_SIZE, projection.FRAME_SIZE)
        return self._draw(drawn, face_units, pose, view, size, SAMPLES, SUPERSAMPLING)

    def render_idle(self, index: int, count: int = IDLE_FRAMES) -> Picture:
        """Frame `index` of the idle clip, RGB uint8 [640, 640, 3]."""
        state = idle_state(index, count)
        return self.render(state.units, state.pose)

    def render_crop(
        self,
        face_units: dict[str, float],
        shown: FaceState,
        matrix: NDArray[np.float64],
        size: int,
        plate: Picture,
    ) -> Picture:
        """The aligned face of a frame in the state `shown` with this mouth, RGB uint8 [size, size, 3].

        `matrix` [2, 3] maps frame pixels to the 210×280 face template, as LatentSync aligns; the template is
        scaled to the square crop. `plate` is the frame itself [640, 640, 3], rendered or decoded from its clip; only
        what speech moves is drawn over it. The result equals the warped talking frame, except for how edges are
        sampled.
        """
        state = talking_state(shown, face_units)
        self._mouth.morph(state.units, state.pose)
        view = projection.crop_view(matrix, size)
        self._backdrop.show(plate)
        crop = self._draw([self._mouth], state.units, state.pose, view, (size, size), 0, CROP_SUPERSAMPLING)
        self._backdrop.show(None)
        return crop

    def _draw(
        self,
        drawn: Sequence[Drawable],
        units: dict[str, float],
        pose: Pose,
        view: NDArray[np.float64] | None,
        size: tuple[int, int],
        samples: int,
        scale: tuple[int, int],
    ) -> Picture:
        cut = projection.view_clip(view, size)
        clip = (cut @ projection.camera_clip()).T.astype("f4").tobytes()
        turn = projection.head_transform(pose).T.astype("f4").tobytes()
        for program in (p for d in drawn for p in d.programs):
            _write(program, "clip", clip)
            _write(program, "head", turn)
            _set(program, "breath", (0.028 * pose.breath, 0.030 * pose.breath, 0.0))
            _set(program, "opening", opening(units))
        pixels = (size[0] * scale[0], size[1] * scale[1])
        target, resolved = self._framebuffers(pixels, samples)
        target.use()
        target.clear(depth=1.0)
        self._backdrop.draw(cut)
        for each in drawn:
            each.draw()
        if samples:
            self._context.copy_framebuffer(resolved, target)
        data = np.frombuffer(resolved.read(components=3, alignment=1), np.uint8)
        return shrunk(data.reshape(pixels[1], pixels[0], 3)[::-1], scale)

    def _framebuffers(self, size: tuple[int, int], samples: int) -> tuple[moderngl.Framebuffer, moderngl.Framebuffer]:
        key = (*size, samples)
        if key not in self._targets:
            plain = self._context.simple_framebuffer(size, components=3)
            drawn = self._context.simple_framebuffer(size, components=3, samples=samples) if samples else plain
            self._targets[key] = (drawn, plain)
        return self._targets[key]

    def _texture(self, picture: Picture, unit: int) -> None:
        flipped = np.ascontiguousarray(picture[::-1])
        size = (picture.shape[1], picture.shape[0])
        texture = self._context.texture(size, picture.shape[2], flipped.tobytes(), alignment=1)
        texture.repeat_x = texture.repeat_y = False
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        texture.use(unit)

    def _load_textures(self) -> None:
        self._texture(paint_skin(), 0)
        masks = [np.asarray(Image.open(makehuman.texture_path(m)).convert("L")) for m in MASKS]
        self._texture(np.stack(masks, axis=-1), 1)

    def _set_materials(self, programs: Sequence[moderngl.Program]) -> None:
        for program in programs:
            _set(program, "paint", 0)
            _set(program, "masks", 1)
            _set(program, "paint_origin", ORIGIN)
            _set(program, "paint_scale", (1 / EXTENT[0], 1 / EXTENT[1]))
            _set(program, "eye_point", tuple(projection.CAMERA))
            _set(program, "iris_colour", IRIS_COLOUR)
            _set(program, "hair_colour", HAIR_COLOUR)
            _set(program, "lip_colour", LIP_COLOUR)
            _set(program, "teeth_colour", TEETH_COLOUR)
            _set(program, "hair_cover", 1.0)
            _set(program, "top_colour", TOP_COLOUR)
            _set(program, "blazer_colour", BLAZER_COLOUR)


def _speech_part(context: moderngl.Context, mesh: HeadMesh, bake: FloatArray) -> GpuHead:
    """The faces that speech moves; their neighbours are kept for smooth normals, but not drawn."""
    near = ((mesh.rest > np.array(SPEECH_LOW) - 0.15) & (mesh.rest < np.array(SPEECH_HIGH) + 0.15)).all(axis=1)
    for part in (Part.LASH, Part.EYE):
        near[mesh.vertices_of(part)] = False
    used = np.unique(np.concatenate([q[near[q].all(axis=1)].ravel() for q in mesh.quads.values()]))
    face = mesh.subset(near)
    shown = ((face.rest > SPEECH_LOW) & (face.rest < SPEECH_HIGH)).all(axis=1)
    x, y, z = np.abs(face.rest[:, 0]), face.rest[:, 1], face.rest[:, 2]
    # The roof of the mouth, the eye sockets and the ears would be visible at the border of the cut.
    shown &= ~((y > -0.14) & (z < 0.60) & (x < 0.46)) & ~((y > 0.02) & (z < 0.74) & (x < 0.42))
    shown &= ~((y > -0.16) & (x > 0.66))
    return GpuHead(context, face, bake[used], shown)


def _set(program: moderngl.Program, name: str, value: object) -> None:
    if name in program:
        program[name].value = value


def _write(program: moderngl.Program, name: str, data: bytes) -> None:
    if name in program:
        program[name].write(data)


def shrunk(large: Picture, scale: tuple[int, int]) -> Picture:
    """The mean of each block of `scale` (columns, rows) pixels."""
    columns, rows = scale
    total = np.zeros((large.shape[0] // rows, large.shape[1] // columns, 3), np.uint16)
    for y in range(rows):
        for x in range(columns):
            total += large[y::rows, x::columns]
    return ((total + rows * columns // 2) // (rows * columns)).astype(np.uint8)


def opening(units: dict[str, float]) -> float:
    """Share of the light that reaches the teeth through the open lips, 0..1."""
    lips = sum(units.get(name, 0.0) for name in PARTING)
    return float(np.clip(units.get("jawOpen", 0.0) / 0.28 + 0.35 * lips, 0.0, 1.0))


def _bake(context: moderngl.Context, mesh: HeadMesh) -> FloatArray:
    """Ambient occlusion, key light, head-follow weight and scalp height of each vertex, [n, 4].

    Light is averaged over open and closed lids and two openings of the jaw, as it isn't computed again for each frame.
    """
    morph = Morph(mesh)
    solid = triangles(np.concatenate([mesh.quads[p] for p in (Part.SKIN, Part.EYE)]))
    ambient, key = np.zeros(len(mesh.rest), np.float32), np.zeros(len(mesh.rest), np.float32)
    for units in BAKED_FACES:
        positions = morph.positions(units, (0.0, 0.0))
        light = LightBake(context, positions, solid)
        ambient += light.ambient(morph.normals(positions)) / len(BAKED_FACES)
        key += light.key() / len(BAKED_FACES)
    scalp = scalp_height(mesh.rest)
    ears = np.asarray(Image.open(makehuman.texture_path("ears")).convert("L"))
    place = np.clip(mesh.uvs * ears.shape[0], 0, ears.shape[0] - 1).astype(int)
    scalp[ears[ears.shape[0] - 1 - place[:, 1], place[:, 0]] > 100] = -1.0
    return np.asarray(np.stack([ambient, key, head_follow_weight(mesh.rest), scalp], axis=1), np.float32)
