from typing import Any

from _speedups.hitcycle import Count, Hit, HitLedger, Pace
from _speedups.hitpath import AnyHitPath
from _speedups.leases import Lease

class HitPath(AnyHitPath):
    def __init__(
        self,
        ledger: HitLedger,
        generation: Count,
        sequence: Count,
        pace: Pace,
        confirmed: dict[bytes, Any],
        session: str,
        held: tuple[bytes, bytes, bytes, bytes],
        text_bytes_max: int,
    ) -> None: ...
    @property
    def lease(self) -> Lease | None: ...
    @lease.setter
    def lease(self, value: Lease | None) -> None: ...
    @property
    def under(self) -> int: ...
    @property
    def lost(self) -> bool: ...
    @property
    def bound(self) -> Hit | None: ...
    @bound.setter
    def bound(self, value: Hit | None) -> None: ...
    @property
    def opened(self) -> int: ...
    def arm(
        self,
        epoch: tuple[str, str, str],
        position: str | None,
        proviso: bytes | None,
        pinned: bool,
        direct: bool = False,
        opened: int | None = None,
        turns: bool = False,
    ) -> None: ...
