"""Whether a busy machine explains what a stream has lost."""

from processes.starvation import starved_s
from tests.support.processes import descendants


class Starved:
    """How long a process, or one below it, had no core since this was made.

    Where it had none for half a second, a channel stands still and its encoder falls behind, as they are to.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._before = self._waited()

    @property
    def seconds(self) -> float:
        """The one that waited longest."""
        return max(waited - self._before.get(pid, 0.0) for pid, waited in self._waited().items())

    def _waited(self) -> dict[int, float]:
        return {pid: starved_s(pid) for pid in (self._pid, *descendants(self._pid))}
