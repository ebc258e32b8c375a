"""Compiled graphs: the same numbers, from the module's own weights, on the machine that they were compiled for."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from latentsync.engine import Engine, EngineError
from latentsync.graphs import compile_ahead, load_graphs

CPU = torch.device("cpu")
BATCHES = [1, 2]
COMPILED = [Engine.COMPILE, Engine.AOT]


class Net(nn.Module):
    shift: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.norm = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8)
        self.register_buffer("shift", torch.tensor(0.5))
        self.requires_grad_(False)
        self.eval()

    def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.silu(self.norm(self.conv(x))) * times[:, None, None, None] + self.shift


def example(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(batch)
    return torch.randn(batch, 3, 8, 8, generator=generator), torch.full((batch,), 3)


@pytest.fixture(scope="module", params=COMPILED)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Engine, Path]:
    folder = tmp_path_factory.mktemp("graphs") / "net"
    compile_ahead(Net(), request.param, folder, [example(batch) for batch in BATCHES], CPU)
    return request.param, folder


@torch.inference_mode()
def test_compiled_sizes_and_all_others_give_the_same(compiled: tuple[Engine, Path]) -> None:
    engine, folder = compiled
    module = Net()
    run = load_graphs(module, engine, folder, BATCHES, CPU)
    for batch in (*BATCHES, 5):
        torch.testing.assert_close(run(*example(batch)), module(*example(batch)))


@torch.inference_mode()
def test_the_weights_are_the_modules_own(compiled: tuple[Engine, Path]) -> None:
    engine, folder = compiled
    module = Net()
    run = load_graphs(module, engine, folder, BATCHES, CPU)
    before = run(*example(1))
    module.conv.weight.mul_(2)
    after = run(*example(1))
    assert not torch.allclose(before, after)
    torch.testing.assert_close(after, module(*example(1)))


def test_nothing_of_the_weights_is_in_the_compiled_files(tmp_path: Path) -> None:
    class Wide(Net):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 8, 3, padding=1)
            self.table = nn.Parameter(torch.randn(512, 1024), requires_grad=False)

        def forward(self, x: torch.Tensor, times: torch.Tensor) -> torch.Tensor:
            return super().forward(x, times) + self.table.sum()

    compile_ahead(Wide(), Engine.AOT, tmp_path / "net", [example(1)], CPU)
    assert sum(path.stat().st_size for path in (tmp_path / "net").iterdir()) < 512 * 1024 * 4


def test_eager_needs_no_files(tmp_path: Path) -> None:
    module = Net()
    compile_ahead(module, Engine.EAGER, tmp_path / "none", [example(1)], CPU)
    assert load_graphs(module, Engine.EAGER, tmp_path / "none", BATCHES, CPU) is module
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("engine", COMPILED)
def test_missing_graphs_are_named(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(EngineError, match="holds no compiled graphs: export again"):
        load_graphs(Net(), engine, tmp_path, BATCHES, CPU)


def test_a_size_that_was_not_compiled_is_named(compiled: tuple[Engine, Path]) -> None:
    engine, folder = compiled
    if engine is Engine.AOT:
        with pytest.raises(EngineError, match=r"batch-3\.pt2 is missing"):
            load_graphs(Net(), engine, folder, [3], CPU)


@pytest.mark.parametrize(("key", "value"), [("torch_version", "1.0"), ("device", "Another GPU")])
def test_graphs_of_another_machine_are_refused(
    compiled: tuple[Engine, Path], tmp_path: Path, key: str, value: str
) -> None:
    engine, folder = compiled
    carried = shutil.copytree(folder, tmp_path / "net")
    path = carried / "machine.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))
    with pytest.raises(EngineError, match=f"{value}.*run `latentsync-realtime export` on this machine"):
        load_graphs(Net(), engine, carried, BATCHES, CPU)
