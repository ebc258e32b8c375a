"""Kernels that an export kept, found again elsewhere; compiled for a GPU, which compiling does not need."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from latentsync.fused.kernel_cache import load_kernels_from
from tests.support.checkout import ROOT

# A process of its own each time, as a server is: Triton remembers in memory what it has compiled.
PROGRAM = """
import sys
from pathlib import Path
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from latentsync.fused import kernel_cache
from latentsync.fused.kernels.norms import layer_norm

within, folder = getattr(kernel_cache, sys.argv[1]), Path(sys.argv[2])
types = dict.fromkeys(("x", "out"), "*fp16") | dict.fromkeys(("shift", "weight", "bias"), "*fp32")
types |= dict.fromkeys(("rows", "channels", "stride", "frame_rows", "frames"), "i32")
types |= dict.fromkeys(("HAS_PLACES", "BLOCK_R", "BLOCK_C"), "constexpr")
types["epsilon"] = "fp32"
signature = {name: types[name] for name in layer_norm.arg_names}
chosen = {"HAS_PLACES": False, "BLOCK_R": 4, "BLOCK_C": 64}
sizes = {(layer_norm.arg_names.index(name),): value for name, value in chosen.items()}
made = []
triton.knobs.compilation.listener = lambda *, cache_hit, **rest: made.append(not cache_hit)
with within(folder):
    triton.compile(ASTSource(layer_norm, signature, sizes), target=GPUTarget("cuda", 90, 32))
print("compiled" if made == [True] else "found")
"""
# Triton warns where a later one would compile the same kernel to slower code.
WITHOUT_WARNINGS = ("-W", "error::UserWarning")


def compile_within(context: str, folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TRITON_")}
    environment["PYTHONPATH"] = str(ROOT)
    program = [sys.executable, *WITHOUT_WARNINGS, "-c", PROGRAM, context, str(folder)]
    done = subprocess.run(program, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def test_kernels_are_found_in_a_folder_that_was_moved_and_is_left_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="torch for this platform brings no Triton compiler")
    kept, moved = tmp_path / "new" / "kernels", tmp_path / "repository"
    assert compile_within("cache_kernels_in", kept) == "compiled"
    kept.parent.rename(moved)
    for path in moved.rglob("*"):
        path.chmod(0o555 if path.is_dir() else 0o444)
    before = files(moved)
    assert compile_within("load_kernels_from", moved / "kernels") == "found"
    assert files(moved) == before


def test_the_copy_does_not_take_over_that_its_model_is_read_only(tmp_path: Path) -> None:
    group = tmp_path / "kept" / "key" / "__grp__kernel.json"
    group.parent.mkdir(parents=True)
    group.write_text('{"child_paths": {"kernel.cubin": "/before/key/kernel.cubin"}}')
    group.chmod(0o444)
    group.parent.chmod(0o555)
    with load_kernels_from(tmp_path / "kept"):
        copy = Path(os.environ["TRITON_CACHE_DIR"]) / "key" / group.name
        assert copy.stat().st_mode & stat.S_IWUSR and copy.parent.stat().st_mode & stat.S_IWUSR
        assert json.loads(copy.read_text()) == {"child_paths": {"kernel.cubin": str(copy.parent / "kernel.cubin")}}
    assert not copy.exists()


def test_without_exported_kernels_they_are_compiled(tmp_path: Path) -> None:
    pytest.importorskip("triton", reason="torch for this platform brings no Triton compiler")
    assert compile_within("load_kernels_from", tmp_path / "none") == "compiled"
    assert not (tmp_path / "none").exists()
