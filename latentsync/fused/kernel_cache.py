"""Compiled kernels as part of an export: a server that loads them is ready sooner, and needs no compiler."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_VARIABLE = "TRITON_CACHE_DIR"


@contextmanager
def cache_kernels_in(folder: Path) -> Iterator[None]:
    """Triton caches in `folder` what it compiles in this context, and loads from there what it finds.

    What this process has compiled before is not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    before = os.environ.get(_VARIABLE)
    os.environ[_VARIABLE] = str(folder)
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE)
        if before is not None:
            os.environ[_VARIABLE] = before


@contextmanager
def load_kernels_from(folder: Path) -> Iterator[None]:
    """Triton loads the kernels that `cache_kernels_in` left in `folder`, which may have been moved since.

    It works on a copy: the files contain their own paths, and a model repository may be read-only and shared.
    """
    with tempfile.TemporaryDirectory(prefix="latentsync-kernels-", ignore_cleanup_errors=True) as temporary:
        copy = Path(temporary)
        for path in folder.glob("*/*"):  # not copytree, which copies read-only permissions too
            target = copy / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
        for group in copy.glob("*/__grp__*.json"):
            content = json.loads(group.read_text())
            content["child_paths"] = {name: str(group.parent / name) for name in content["child_paths"]}
            group.write_text(json.dumps(content))
        with cache_kernels_in(copy):
            yield
