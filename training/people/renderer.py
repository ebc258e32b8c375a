"""Renders a person in a take without a display: whole frames, and the aligned face."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import moderngl
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.spatial import cKDTree

from training.avatar import makehuman, projection, shaders
from training.avatar.backdrop import Backdrop
from training.avatar.clothes import Clothes
from training.avatar.gpu_head import GpuHead, Morph, triangles
from training.avatar.hair import Hair
from training.avatar.head_mesh import HeadBuilder, HeadMesh, Part
from training.avatar.light_bake import LightBake
from training.avatar.motion import Pose
from training.avatar.renderer import MASKS, Drawable, opening, shrunk
from training.avatar.scalp import head_follow_weight, scalp_height
from training.avatar.skin_paint import EXTENT, ORIGIN
from training.people.glasses import Glasses
from training.people.identity import Identity
from training.people.setting import Take, paint_background
from training.people.skin import paint

FloatArray = NDArray[np.float32]
Picture = NDArray[np.uint8]

LIGHT = (
    """
uniform vec3 KEY, FILL, RIM_R, RIM_L, KEY_COLOUR, FILL_COLOUR, RIM_COLOUR, RIM_COOL, SKY, GROUND;
"""
    + shaders.LIGHTING
)
SUPERSAMPLING = 3
_SKY_DIRECTIONS, _LAMP_POINTS = 40, 12
_NEIGHBOURS = 8
# Albedo times light of the presenter, who is well exposed.
_WELL_LIT = 0.75


class Studio:
    """What all people share: the OpenGL context, the subdivided base mesh, and the presenter's shape."""

    def __init__(self) -> None:
        self.context = moderngl.create_standalone_context(backend="egl")
        self.context.gc_mode = "auto"  # a person's buffers go with the person
        self.context.enable(moderngl.DEPTH_TEST)
        self.builder = HeadBuilder()
        self.canonical = self.builder.build()
        self.masks = np.stack(
            [np.asarray(Image.open(makehuman.texture_path(mask)).convert("L")) for mask in MASKS], axis=-1
        )
        self.backdrop = Backdrop(self.context)
        self.framebuffers: dict[tuple[int, int], moderngl.Framebuffer] = {}

    def framebuffer(self, size: tuple[int, int]) -> moderngl.Framebuffer:
        """A framebuffer of that width and height, kept for the next time."""
        if size not in self.framebuffers:
            self.framebuffers[size] = self.context.simple_framebuffer(size, components=3)
        return self.framebuffers[size]


class PersonRenderer:
    """Renders one person in one take; the same person and take give the same pictures on the same OpenGL."""

    def __init__(
        self,
        studio: Studio,
        person: Identity,
        take: Take,
        background: Picture | None = None,
        exposure: float | None = None,
    ) -> None:
        """Without a background, uint8 [640, 640, 3], and an exposure both are those of the take."""
        self._studio, self._take = studio, take
        context, canonical = studio.context, studio.canonical
        shaped = studio.builder.build(person.shape)
        local = canonical.rest.copy()
        eyes = np.concatenate(shaped.eyes)
        local[eyes] = shaped.local[eyes]
        # Paint, hairline, lips and teeth are looked up where the presenter has them, so they follow every shape.
        self._mesh = dataclasses.replace(shaped, local=local)
        self.morph = Morph(self._mesh)
        onto = _displacement(canonical, shaped)
        bake = self._bake()
        self._head = GpuHead(context, self._mesh, bake, light=LIGHT)
        self._drawn: list[Drawable] = [
            self._head,
            Clothes(context, canonical, bake, onto, person.shells, LIGHT),
        ]
        if not person.bald:
            self._drawn.append(Hair(context, canonical, person.seed, onto, person.long_hair, LIGHT, person.cheek_hair))
        if person.glasses is not None:
            self._drawn.append(Glasses(context, person.glasses, shaped.eye_centres, LIGHT))
        self._textures = [self._texture(paint(person.skin, person.seed)), self._texture(studio.masks)]
        self._background = paint_background(take.background_seed) if background is None else background
        self._set_materials(person, _exposure(person, take) if exposure is None else exposure)

    def _bake(self) -> FloatArray:
        """Ambient occlusion, key light, head-follow weight and scalp height of each vertex, [n, 4]."""
        context, rest = self._studio.context, self._studio.canonical.rest
        solid = triangles(np.concatenate([self._mesh.quads[part] for part in (Part.SKIN, Part.EYE)]))
        positions = self.morph.positions({"jawOpen": 0.12}, (0.0, 0.0))
        light = LightBake(context, positions, solid)
        ambient = light.ambient(self.morph.normals(positions), _SKY_DIRECTIONS)
        key = light.key(_LAMP_POINTS, self._take.light.softness, np.array(self._take.light.key))
        scalp = scalp_height(rest)
        ears = np.asarray(Image.open(makehuman.texture_path("ears")).convert("L"))
        place = np.clip(self._mesh.uvs * ears.shape[0], 0, ears.shape[0] - 1).astype(int)
        scalp[ears[ears.shape[0] - 1 - place[:, 1], place[:, 0]] > 100] = -1.0
        return np.asarray(np.stack([ambient, key, head_follow_weight(rest), scalp], axis=1), np.float32)

    def pose(self, time_s: float) -> Pose:
        """Where the head is at a time of the take: it drifts slowly around the take's pose."""
        take, base = self._take, self._take.pose
        turn = [np.sin(2 * np.pi * rate * time_s + take.phase * k) for k, rate in ((1, 0.11), (2, 0.17), (3, 0.07))]
        drift = take.drift
        return dataclasses.replace(
            base,
            yaw=base.yaw + 0.035 * drift * turn[0],
            pitch=base.pitch + 0.020 * drift * turn[1],
            roll=base.roll + 0.012 * drift * turn[2],
            gaze_yaw=-0.8 * base.yaw - 0.03 * drift * turn[0],
            gaze_pitch=float(np.clip(-0.5 * base.pitch, -0.05, 0.05)),
            breath=float(0.5 + 0.5 * turn[1]),
        )

    def face_units(self, mouth: dict[str, float]) -> dict[str, float]:
        """The take's expression with the mouth of speech: the more it speaks, the less of the mouth's rest is left."""
        activity = min(1.0, max(mouth.values(), default=0.0) / 0.25)
        units = {
            name: strength * (1 - 0.6 * activity if name.startswith(("mouth", "jaw")) else 1.0)
            for name, strength in self._take.expression.items()
        }
        for name, strength in mouth.items():
            # A wide jaw would push the chin out of the mask.
            scale = min(self._take.openness, 1.1) if name == "jawOpen" else self._take.openness
            units[name] = units.get(name, 0.0) + strength * scale
        return units

    def place(self, pose: Pose, vertices: NDArray[np.int64]) -> NDArray[np.float64]:
        """Where vertices of the face at rest are in the whole frame [n, 2], in OpenCV's pixels."""
        at = np.column_stack([self._mesh.rest[vertices], np.ones(len(vertices))])
        clip = at @ (projection.camera_clip() @ projection.head_transform(pose)).T
        shown = clip[:, :2] / clip[:, 3:]
        half = projection.FRAME_SIZE / 2
        return np.asarray(np.stack([shown[:, 0] * half, -shown[:, 1] * half], axis=1) + half - 0.5)

    def render(
        self, units: dict[str, float], pose: Pose, view: NDArray[np.float64] | None = None, size: int | None = None
    ) -> Picture:
        """One picture, RGB uint8 [size, size, 3], of what `view` [2, 3] maps from the whole frame (None: all of it)."""
        side = size or projection.FRAME_SIZE
        self._head.morph(units, pose)
        cut = projection.view_clip(view, (side, side))
        clip = (cut @ projection.camera_clip()).T.astype("f4").tobytes()
        turn = projection.head_transform(pose).T.astype("f4").tobytes()
        for program in self._programs():
            _write(program, "clip", clip)
            _write(program, "head", turn)
            _set(program, "breath", (0.028 * pose.breath, 0.030 * pose.breath, 0.0))
            _set(program, "opening", opening(units))
        for unit, texture in enumerate(self._textures):
            texture.use(unit)
        self._studio.backdrop.show(self._background)
        pixels = side * SUPERSAMPLING
        target = self._studio.framebuffer((pixels, pixels))
        target.use()
        target.clear(depth=1.0)
        self._studio.backdrop.draw(cut)
        for each in self._drawn:
            each.draw()
        data = np.frombuffer(target.read(components=3, alignment=1), np.uint8).reshape(pixels, pixels, 3)[::-1]
        return shrunk(data, (SUPERSAMPLING, SUPERSAMPLING))

    def _programs(self) -> list[moderngl.Program]:
        return [program for each in self._drawn for program in each.programs]

    def _texture(self, picture: Picture) -> moderngl.Texture:
        flipped = np.ascontiguousarray(picture[::-1])
        texture = self._studio.context.texture(
            (picture.shape[1], picture.shape[0]), picture.shape[2], flipped.tobytes(), alignment=1
        )
        texture.repeat_x = texture.repeat_y = False
        texture.build_mipmaps()
        texture.filter = (moderngl.LINEAR_MIPMAP_LINEAR, moderngl.LINEAR)
        return texture

    def _set_materials(self, person: Identity, exposure: float) -> None:
        light = self._take.light

        def lit(colour: tuple[float, float, float]) -> tuple[float, float, float]:
            return colour[0] * exposure, colour[1] * exposure, colour[2] * exposure

        values: dict[str, Any] = {
            "paint": 0,
            "masks": 1,
            "paint_origin": ORIGIN,
            "paint_scale": (1 / EXTENT[0], 1 / EXTENT[1]),
            "eye_point": tuple(projection.CAMERA),
            "iris_colour": person.iris,
            "hair_colour": person.hair,
            "lip_colour": person.skin.lips,
            "teeth_colour": person.teeth,
            "hair_cover": 0.0 if person.bald else 1.0,
            "top_colour": person.top,
            "blazer_colour": person.blazer,
            "KEY": light.key,
            "FILL": light.fill,
            "RIM_R": light.rims[0],
            "RIM_L": light.rims[1],
            "KEY_COLOUR": lit(light.key_colour),
            "FILL_COLOUR": lit(light.fill_colour),
            "RIM_COLOUR": lit(light.rim_colours[0]),
            "RIM_COOL": lit(light.rim_colours[1]),
            "SKY": lit(light.sky),
            "GROUND": lit(light.ground),
        }
        for program in self._programs():
            for name, value in values.items():
                _set(program, name, value)


def _displacement(canonical: HeadMesh, shaped: HeadMesh) -> Callable[[FloatArray], FloatArray]:
    """Moves points near the presenter's skin to where they are near another head's."""
    skin = canonical.vertices_of(Part.SKIN)
    tree, moved = cKDTree(canonical.rest[skin]), (shaped.rest - canonical.rest)[skin]

    def onto(points: FloatArray) -> FloatArray:
        distance, index = tree.query(points, k=_NEIGHBOURS)
        weight = 1 / (distance + 0.02)
        weight /= weight.sum(axis=1, keepdims=True)
        return np.asarray(points + np.einsum("nk,nkc->nc", weight, moved[index]), np.float32)

    return onto


def _exposure(person: Identity, take: Take) -> float:
    """What a camera's exposure does, a part of the way: a pale face isn't burnt out, a dark one stays darker."""
    luma = np.array([0.21, 0.72, 0.07])
    light = sum(float(luma @ np.array(colour)) for colour in (take.light.key_colour, take.light.fill_colour))
    light += 0.7 * float(luma @ np.array(take.light.sky)) + 0.3 * float(luma @ np.array(take.light.ground))
    return float(np.clip((_WELL_LIT / (light * float(luma @ np.array(person.skin.tone)))) ** 0.6, 0.4, 1.8))


def _set(program: moderngl.Program, name: str, value: object) -> None:
    if name in program:
        program[name].value = value


def _write(program: moderngl.Program, name: str, data: bytes) -> None:
    if name in program:
        program[name].write(data)
