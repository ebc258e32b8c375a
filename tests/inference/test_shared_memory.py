"""Regions that Triton refuses to unregister; the real Triton's part is in test_client.py."""

from typing import Any

from tritonclient.utils import InferenceServerException

from inference.shared_memory import RegionPool


class BusyTriton:
    """Registers every region, and refuses to unregister those in use."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.in_use: set[str] = set()

    async def register_system_shared_memory(self, name: str, _key: str, _size: int) -> None:
        self.known.add(name)

    async def unregister_system_shared_memory(self, name: str, **_: Any) -> None:
        if name in self.in_use:
            raise InferenceServerException(f"Cannot unregister shared memory region '{name}', it is currently in use.")
        self.known.discard(name)


async def test_region_still_in_use_is_unregistered_later() -> None:
    triton, now_s = BusyTriton(), [0.0]
    pool = RegionPool(triton, settle_s=10, clock=lambda: now_s[0])
    region = await pool.lend(1)
    assert region is not None
    triton.in_use.add(region.name)
    pool.retire(region)
    now_s[0] = 11
    other = await pool.lend(1)
    assert other is not None
    pool.take_back(other)
    assert triton.known == {region.name, other.name}
    triton.in_use.clear()
    now_s[0] = 22
    assert await pool.lend(1) is other
    assert triton.known == {other.name}
    pool.take_back(other)
    await pool.aclose()
    assert triton.known == set()
