"""How much of a stream a viewer has seen without a gap."""

from collections.abc import Sequence
from itertools import pairwise


def in_a_row(numbers: Sequence[int]) -> int:
    """The most numbers of pictures that follow one another with none missing between them.

    A viewer that has no core leaves pictures out: a test waits until it has seen enough of them in a row.
    """
    most = row = min(1, len(numbers))
    for one, later in pairwise(numbers):
        row = row + 1 if later == one + 1 else 1
        most = max(most, row)
    return most
