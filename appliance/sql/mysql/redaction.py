"""Texts without their constants: for records, and for the keys under which verdicts are kept.

The dialect of a MySQL target names `fold`; `redact_blind` is for whoever has a text and does not
know how its session reads it. Imports no parser. Rule: where it is not certain what of a text is a
literal, nothing of it is shown.
"""

from _speedups import mylex
from appliance.model.catalog import SessionSettings
from appliance.sql.mysql.words import is_mariadb, modes_of, readable

UNREADABLE = "(not shown: the text is not read as the server would read it)"


def fold(text: bytes, settings: SessionSettings) -> tuple[bytes, tuple[int, ...]] | None:
    """(key, offsets) of a text's short integers and plain strings (`_speedups.mylex.fold`); None
    when it has none or is not read by the rules known here."""
    if not text.isascii() or readable(text, settings) is not None:
        return None
    return mylex.fold(text, modes_of(settings))


def redact(text: bytes, settings: SessionSettings, server: int = 0) -> str:
    """The text without its literals; a fixed phrase when they cannot be told. `server`: its version
    (`words`), 0 = not known."""
    if readable(text, settings) is not None:
        return UNREADABLE
    modes = modes_of(settings)
    bare = mylex.unwrap(text, modes, server, is_mariadb(server))
    if isinstance(bare, int):
        return UNREADABLE
    return mylex.redact(bare, modes).decode(errors="replace")


def redact_blind(text: bytes) -> bytes:
    """The same under any modes, for any server."""
    if mylex.unwrap(text, 0, 0, False) is not text or b"\\" in text or not text.isascii():
        return UNREADABLE.encode()
    plain, ansi = mylex.redact(text, 0), mylex.redact(text, mylex.ANSI_QUOTES)
    return plain if plain == ansi or b'"' not in text else UNREADABLE.encode()
