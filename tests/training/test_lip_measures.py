"""Each measure of a talking face, on signals with a known result."""

import numpy as np
import pytest
from numpy.typing import NDArray

from training.lip_measures import (
    Count,
    FrameSteps,
    Scale,
    amplitude_ratio,
    chin_band,
    closures,
    correlation,
    edge_band,
    frame_steps,
    peak_lag,
    psnr,
    seam,
    silence_opening,
    silent_frames,
)
from training.speech.clip import Phone

SIZE = 64


@pytest.fixture
def opening() -> NDArray[np.float64]:
    rng = np.random.default_rng(3)
    return np.abs(np.convolve(rng.normal(size=204), np.ones(5) / 5, "valid"))


@pytest.fixture
def mask() -> NDArray[np.float32]:
    keep = np.ones((SIZE, SIZE), np.float32)
    keep[30:58, 8:56] = 0
    return keep


@pytest.fixture
def faces() -> NDArray[np.uint8]:
    """A smooth picture that drifts slowly."""
    y, x, n = np.mgrid[:SIZE, :SIZE, :48]
    grey = 120 + 40 * np.sin(x / 20 + n / 30) + 20 * np.cos(y / 15)
    return np.repeat(np.moveaxis(grey, 2, 0)[..., None], 3, 3).astype(np.uint8)


def test_correlation_is_one_for_the_same_shape_and_small_for_another(opening: NDArray[np.float64]) -> None:
    assert correlation(2 * opening + 1, opening) == pytest.approx(1)
    assert abs(correlation(np.random.default_rng(0).normal(size=200), opening)) < 0.25
    assert correlation(-opening, opening) == pytest.approx(-1)


def test_a_mouth_that_never_moves_correlates_with_nothing(opening: NDArray[np.float64]) -> None:
    assert correlation(np.full(200, 0.3), opening) == 0


@pytest.mark.parametrize("late", [-3, 0, 2])
def test_lag_is_found_with_its_sign(opening: NDArray[np.float64], late: int) -> None:
    assert peak_lag(np.roll(opening, late), opening) == late


def test_lag_of_a_clip_that_is_too_short_is_refused() -> None:
    with pytest.raises(ValueError, match="20 frames"):
        peak_lag(np.arange(20.0), np.arange(20.0))


def test_amplitude_finds_a_weak_mouth(opening: NDArray[np.float64]) -> None:
    assert amplitude_ratio(0.6 * opening, opening) == pytest.approx(0.6)
    with pytest.raises(ValueError, match="never moves"):
        amplitude_ratio(opening, np.ones(200))


def test_closures_count_only_bilabials_and_only_near_them() -> None:
    phones = [Phone("M", 0.2, 0.28), Phone("AA", 0.28, 0.6), Phone("B", 0.6, 0.68), Phone("K", 0.8, 0.9)]
    made = np.full(30, 0.1)
    made[5:7] = 0.005
    made[20:22] = 0.0  # on the k, which needs no closure
    assert closures(made, phones, Scale(np.zeros(len(made)), 0.1)) == Count(1, 2)


def test_lips_left_half_open_are_not_closed() -> None:
    assert closures(np.full(10, 0.05), [Phone("P", 0.1, 0.2)], Scale(np.zeros(10), 0.1)) == Count(0, 1)


def test_closed_is_what_the_landmarks_report_for_closed_lips_in_that_pose() -> None:
    idle = np.concatenate([np.full(10, 0.01), np.full(10, 0.03)])  # the head turns, and closed lips read more
    truth = idle.copy()
    truth[7] += 0.1
    scale = Scale.of(truth, idle)
    assert scale.widest == pytest.approx(0.1)
    made = idle + 0.005
    assert closures(made, [Phone("P", 0.1, 0.2), Phone("B", 0.5, 0.6)], scale) == Count(2, 2)
    assert closures(made + 0.01, [Phone("P", 0.1, 0.2), Phone("B", 0.5, 0.6)], scale) == Count(0, 2)


def test_silence_starts_after_the_mouth_had_time_to_shut() -> None:
    silent = silent_frames([Phone("SIL", 0, 0.4), Phone("AA", 0.4, 0.8), Phone("SIL", 0.8, 2)], 50)
    assert silent[:6].all() and not silent[6:25].any() and silent[25:].all()


def test_silence_opening_is_a_share_of_the_widest() -> None:
    made = np.array([0.01, 0.01, 0.2, 0.2])
    assert silence_opening(made, np.array([True, True, False, False]), Scale(np.zeros(4), 0.2)) == pytest.approx(0.05)
    assert np.isnan(silence_opening(made, np.zeros(4, bool), Scale(np.zeros(4), 0.2)))


def test_psnr_counts_the_repainted_pixels_alone(faces: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
    worse = faces.copy()
    worse[:, mask > 0.5] = 0
    assert psnr(worse, faces, mask) == float("inf")
    worse[:, mask < 0.5] += 10
    assert psnr(worse, faces, mask) == pytest.approx(20 * np.log10(255 / 10), abs=1e-3)


def test_seam_is_one_without_an_edge_and_grows_with_it(faces: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
    band = edge_band(mask)
    patched = faces.copy()
    patched[:, mask < 0.5] += 12
    assert seam(faces, faces, band) == pytest.approx(1)
    assert seam(patched, faces, band) > 1.5


def test_a_difference_inside_the_mask_is_no_seam(faces: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
    patched = faces.copy()
    patched[:, 38:50, 20:44] += 12
    assert seam(patched, faces, edge_band(mask)) == pytest.approx(1)


def test_chin_band_sees_the_lower_edge_only(faces: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
    patched = faces.copy()
    patched[:, 30:34, 8:56] += 12
    assert seam(patched, faces, edge_band(mask)) > 1.2
    assert seam(patched, faces, chin_band(mask)) == pytest.approx(1)
    patched[:, 54:58, 8:56] += 12
    assert seam(patched, faces, chin_band(mask)) > 1.2


def test_flicker_finds_chunks_that_do_not_join(faces: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
    assert frame_steps(faces, mask).flicker == pytest.approx(1, abs=0.25)
    jumping = faces.copy()
    jumping[16:32] += 6
    assert frame_steps(jumping, mask).flicker > 2
    assert frame_steps(jumping, mask, chunk=12).flicker < 1.3


def test_flicker_needs_a_border(faces: NDArray[np.uint8], mask: NDArray[np.float32]) -> None:
    assert np.isnan(frame_steps(faces[:10], mask).flicker)
    assert (FrameSteps((2.0,), ()) + FrameSteps((), (1.0,))).flicker == pytest.approx(2)
