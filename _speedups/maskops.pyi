from typing import Any, Final

STEP_MAX: Final[int]

class MaskOp:
    def __init__(self, op: tuple[Any, ...]) -> None: ...
    def apply(self, value: bytes | None) -> bytes | None: ...
