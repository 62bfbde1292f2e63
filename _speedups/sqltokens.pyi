from typing import Final

KIND_NAMES: Final[tuple[str, ...]]

def tokens(text: bytes, standard_strings: bool = True) -> list[tuple[str, int, int]]: ...
