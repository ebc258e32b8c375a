"""What the benches print for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from bench.stream.criteria import Criterion


def print_criteria(criteria: Iterable[Criterion]) -> None:
    """A line for each promise."""
    for criterion in criteria:
        mark = "kept  " if criterion.kept else "BROKEN"
        typer.echo(f"{mark} {criterion.name}: {criterion.measured} (allowed: {criterion.allowed})")
