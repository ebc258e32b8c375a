"""What the command line may ask of `bench gpu`."""

import pytest

from bench.gpu.plan import STAGE_LIMITS_S, GpuPlan, Stage, counts, picture_size, stages
from orchestrator.settings import SettingsError


def test_loading_is_always_measured_and_stages_keep_their_order() -> None:
    assert stages(None) == tuple(Stage)
    assert stages("live, ensemble") == (Stage.LOAD, Stage.ENSEMBLE, Stage.LIVE)


def test_sizes_have_names_or_numbers() -> None:
    assert picture_size(None) is None
    assert picture_size("480p") == (854, 480)
    assert picture_size("832x1248") == (832, 1248)


@pytest.mark.parametrize(
    "wrong", [lambda: stages("lipsync"), lambda: counts("1,two", "clients"), lambda: picture_size("831x2"),
              lambda: GpuPlan(clients=(2, 1)), lambda: GpuPlan(channels=(0, 1)), lambda: GpuPlan(channels=())]
)  # fmt: skip
def test_what_cannot_be_is_refused_with_the_option_that_it_came_from(wrong: object) -> None:
    with pytest.raises(SettingsError, match=r"--(only|clients|channels|size) is "):
        wrong()  # type: ignore[operator]


def test_patience_stretches_every_limit() -> None:
    assert {stage: GpuPlan(limits=2).limit_s(stage) / 2 for stage in Stage} == STAGE_LIMITS_S
