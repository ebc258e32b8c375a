"""A tensor to which rows are appended while a training reads it."""

from __future__ import annotations

import torch
from torch import Tensor


class Growing:
    """Rows [n, …] with room for more behind them: doubled whenever it is full, so that appending copies little."""

    def __init__(self, rows: Tensor) -> None:
        self._room, self._count = rows, len(rows)

    @property
    def rows(self) -> Tensor:
        """All rows so far, a view."""
        return self._room[: self._count]

    def append(self, more: Tensor) -> None:
        """Append rows of the same shape and type."""
        count = self._count + len(more)
        if count > len(self._room):
            room = torch.empty((2 * count, *self._room.shape[1:]), dtype=self._room.dtype, device=self._room.device)
            room[: self._count] = self.rows
            self._room = room
        self._room[self._count : count] = more
        self._count = count
