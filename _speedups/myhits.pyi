from typing import Any

from _speedups.hitcycle import Count, Hit, HitLedger
from _speedups.hitpath import AnyHitPath

class MyHitPath(AnyHitPath):
    @property
    def words_suspect(self) -> bool: ...
    @words_suspect.setter
    def words_suspect(self, value: bool) -> None: ...
    @property
    def sequence_due(self) -> int: ...
    @property
    def statement(self) -> int: ...
    def __init__(
        self,
        ledger: HitLedger,
        generation: Count,
        sequence: Count,
        session: str,
        text_bytes_max: int,
        attributes: bool,
        deprecated: bool,
        tracked: bool,
    ) -> None: ...
    def arm(self, epoch: tuple[str, str, str], lexing: int, standing: int) -> None: ...
    def knows(self, statement: int, hit: Hit, bound: bytes, parameters: int) -> None: ...
    def forgets(self, statement: int) -> None: ...
    def forgets_all(self) -> None: ...
    def asking(self, text: bytes) -> bytes: ...
    def described(
        self,
        hit: Hit,
        description: bytes,
        masker: Any,
        columns: int,
        lock: Any,
        shown: bytes | None,
    ) -> None: ...
