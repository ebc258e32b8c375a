"""Mouth shapes that a viewer expects from the phones."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.speech.clip import Phone
from training.speech.visemes import JAW_LIMIT, UNITS, face_curves

NAMES = list(UNITS)
OPENERS = [NAMES.index(name) for name in NAMES if name.startswith(("jawOpen", "mouthLowerDown", "mouthUpperUp"))]


def spoken(names: str, phone_s: float, lead_s: float = 0.3) -> tuple[list[Phone], int]:
    """Phones of equal length between two silences, and the number of frames."""
    phones, at = [Phone("SIL", 0.0, lead_s)], lead_s
    for name in names.split():
        phones.append(Phone(name, at, at + phone_s))
        at += phone_s
    n_frames = int(np.ceil((at + 0.4) * 25))
    return [*phones, Phone("SIL", at, n_frames / 25)], n_frames


def unit(curves: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    return curves[:, NAMES.index(name)]


@pytest.mark.parametrize("phone", ["M", "B", "P"])
@pytest.mark.parametrize("phone_s", [0.03, 0.05, 0.11])
@pytest.mark.parametrize("shift_s", np.arange(0, 0.04, 0.007))
def test_lips_close_in_at_least_one_frame_however_fast_and_wherever_frames_fall(
    phone: str, phone_s: float, shift_s: float
) -> None:
    phones, n_frames = spoken(f"AA {phone} AA", phone_s, lead_s=0.3 + shift_s)
    curves = face_curves(phones, n_frames)
    shut = (curves[:, OPENERS].max(1) < 1e-6) & (unit(curves, "mouthRollUpper") > 0.39)
    middle = round((phones[2].start_s + phones[2].end_s) / 2 * 25 - 0.5)
    assert shut[middle - 1 : middle + 2].any()


def test_lips_part_again_between_two_closures() -> None:
    phones, n_frames = spoken("M AA M", 0.1)
    assert unit(face_curves(phones, n_frames), "jawOpen").max() > 0.15


@pytest.mark.parametrize("phone", ["F", "V"])
def test_lower_lip_meets_the_teeth(phone: str) -> None:
    phones, n_frames = spoken(f"AA {phone} AA", 0.06)
    curves = face_curves(phones, n_frames)
    contact = (unit(curves, "mouthRollLower") > 0.5) & (unit(curves, "mouthLowerDownLeft") < 0.01)
    assert contact.any()
    assert unit(curves, "jawOpen")[contact].max() < 0.08


def test_mouth_rests_in_silence() -> None:
    phones, n_frames = spoken("AA L AO", 0.2)
    curves = face_curves(phones, n_frames)
    assert curves[:4].max() < 1e-6
    assert curves[-4:].max() < 1e-6
    assert face_curves([Phone("SIL", 0, 4)], 100).max() < 1e-6


def test_mouth_shuts_in_a_pause_between_phrases() -> None:
    phones, _ = spoken("AA AA", 0.2)
    start = phones[-1].start_s
    phones = [*phones[:-1], Phone("SIL", start, start + 0.4), Phone("AA", start + 0.4, start + 0.8)]
    phones.append(Phone("SIL", start + 0.8, 2.4))
    jaw = unit(face_curves(phones, 60), "jawOpen")
    assert jaw[round((start + 0.2) * 25)] < 0.01
    assert jaw[round((start + 0.6) * 25)] > 0.2


def test_jaw_stays_where_the_chin_is_in_the_mask() -> None:
    phones, n_frames = spoken("AA AE AA AW AY", 0.4)
    loud = np.random.default_rng(0).normal(0, 0.3, n_frames * 640).astype(np.float32)
    loud[::2] *= 3
    curves = face_curves(phones, n_frames, loud)
    assert 0.3 < unit(curves, "jawOpen").max() <= JAW_LIMIT
    assert curves.min() >= 0 and curves.max() <= 1


def test_vowels_look_different() -> None:
    shapes = {}
    for vowel in ("AA", "IY", "UW"):
        phones, n_frames = spoken(vowel, 0.4)
        shapes[vowel] = face_curves(phones, n_frames)[n_frames // 2 - 2]
    at = NAMES.index
    assert shapes["AA"][at("jawOpen")] > 2 * shapes["IY"][at("jawOpen")]
    assert shapes["IY"][at("mouthStretchLeft")] > 5 * shapes["AA"][at("mouthStretchLeft")]
    assert shapes["UW"][at("mouthPucker")] > 0.6 > shapes["IY"][at("mouthPucker")]


def test_a_consonant_takes_on_the_shape_of_its_vowel() -> None:
    def pucker_on_the_consonant(vowel: str) -> float:
        phones, n_frames = spoken(f"T {vowel}", 0.08)
        return float(unit(face_curves(phones, n_frames), "mouthPucker")[round(0.34 * 25)])

    assert pucker_on_the_consonant("UW") > 0.15 > pucker_on_the_consonant("IY")


def test_no_frame_depends_on_audio_after_its_window() -> None:
    """A phone that begins more than 0.14 s after a frame's start leaves the frame as it is."""
    phones, n_frames = spoken("AH S AH S AH", 0.1)
    other = [*phones[:4], Phone("M", phones[4].start_s, phones[5].end_s), *phones[6:]]
    same = round((phones[4].start_s - 0.14) * 25)
    first, second = face_curves(phones, n_frames), face_curves(other, n_frames)
    assert np.abs(first[:same] - second[:same]).max() < 1e-6
    assert np.abs(first - second).max() > 0.2


def test_soft_speech_opens_less() -> None:
    phones, n_frames = spoken("AA T AA", 0.3)
    sound = np.random.default_rng(0).normal(0, 0.2, n_frames * 640).astype(np.float32)
    sound[round(0.9 * 16000) :] *= 0.1
    jaw = unit(face_curves(phones, n_frames, sound), "jawOpen")
    assert jaw[round(1.05 * 25)] < 0.95 * jaw[round(0.45 * 25)]
