"""SASLprep (RFC 4013) of passwords, exactly as PostgreSQL does it (src/common/saslprep.c).

Called by `scram`. Rule: what cannot be prepared is used as it is; both sides do the same, so the
proof still works.
"""

import stringprep
import unicodedata
from collections.abc import Callable

PROHIBITED: tuple[Callable[[str], bool], ...] = (
    stringprep.in_table_c12,
    stringprep.in_table_c21_c22,
    stringprep.in_table_c3,
    stringprep.in_table_c4,
    stringprep.in_table_c5,
    stringprep.in_table_c6,
    stringprep.in_table_c7,
    stringprep.in_table_c8,
    stringprep.in_table_c9,
)


def prepared(password: str | bytes) -> bytes:
    """Bytes to derive keys from."""
    raw = password if isinstance(password, bytes) else password.encode("utf-8", "surrogateescape")
    if raw.isascii():
        return raw
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return raw
    mapped = "".join(
        " " if stringprep.in_table_c12(character) else character
        for character in text
        if stringprep.in_table_c12(character) or not stringprep.in_table_b1(character)
    )
    normal = unicodedata.normalize("NFKC", mapped)
    return normal.encode() if acceptable(normal) else raw


def acceptable(text: str) -> bool:
    """RFC 4013 2.3 to 2.5: no prohibited or unassigned character, and the rule for right-to-left
    text.
    """
    if not text or any(stringprep.in_table_a1(c) or any(t(c) for t in PROHIBITED) for c in text):
        return False
    if not any(stringprep.in_table_d1(c) for c in text):
        return True
    return (
        not any(stringprep.in_table_d2(c) for c in text)
        and stringprep.in_table_d1(text[0])
        and stringprep.in_table_d1(text[-1])
    )
