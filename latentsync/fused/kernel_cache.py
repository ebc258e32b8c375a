"""Compiled kernels as part of an export: a server that finds them is up sooner, and needs no compiler."""

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
def kernels_kept_in(folder: Path) -> Iterator[None]:
    """Inside, what Triton compiles is kept in `folder`, and what lies there is not compiled again.

    What this process has compiled before is not written again.
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
def kernels_taken_from(folder: Path) -> Iterator[None]:
    """Inside, Triton finds what was kept in `folder`, or in the folder that this was before it was moved.

    It works on a copy: its files name their places, and a model repository may be read-only and belong to several.
    """
    with tempfile.TemporaryDirectory(prefix="latentsync-kernels-", ignore_cleanup_errors=True) as temporary:
        copy = Path(temporary)
        for path in folder.glob("*/*"):  # not copytree, which takes along that a folder is read-only
            target = copy / path.relative_to(folder)
            target.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, target)
        for group in copy.glob("*/__grp__*.json"):
            content = json.loads(group.read_text())
            content["child_paths"] = {name: str(group.parent / name) for name in content["child_paths"]}
            group.write_text(json.dumps(content))
        with kernels_kept_in(copy):
            yield
