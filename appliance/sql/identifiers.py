"""Lists of names that the server keeps as text, such as search_path, read as it reads them.

Asked by `session` for the session's path and by `unseen` for a function's own. The source is
SplitIdentifierString (utils/adt/varlena.c). Its rule: a name that a server of some version or
encoding would read in another way is not read at all.
"""

from functools import lru_cache

from appliance.model.limits import IDENTIFIER_BYTES_MAX
from appliance.sql.encodings import SHORT_BYTES_MAX

_BLANK = " \t\n\r\f"
"""scanner_isspace(); since PostgreSQL 17 \\v as well. No other blank ends a name."""
_DISPUTED = "\v"
SHORT_MAX = 256
"""Longer lists are read anew each time."""


def split_names(value: str, utf8: bool = False) -> tuple[str, ...] | None:
    """The names of a list with commas; None when that is not sure. `utf8`: the database's encoding
    is UTF-8."""
    return _split_short(value, utf8) if len(value) <= SHORT_MAX else _split(value, utf8)


def _split(value: str, utf8: bool) -> tuple[str, ...] | None:
    names: list[str] = []
    position = _past_blanks(value, 0)
    if position == len(value):
        return ()
    while True:
        read = _quoted if value[position : position + 1] == '"' else _plain
        name, position = read(value, position)
        if name is None or not _is_whole(name, utf8):
            return None
        names.append(name)
        position = _past_blanks(value, position)
        if position == len(value):
            return tuple(names)
        if value[position] != ",":
            return None
        position = _past_blanks(value, position + 1)


_split_short = lru_cache(maxsize=256)(_split)


def _past_blanks(value: str, position: int) -> int:
    while position < len(value) and value[position] in _BLANK:
        position += 1
    return position


def _plain(value: str, start: int) -> tuple[str | None, int]:
    """Folds ASCII only, as a database in UTF-8 does; None where one of another encoding might fold
    more or another version end the name, and for no name at all."""
    end = start
    while end < len(value) and value[end] != "," and value[end] not in _BLANK:
        end += 1
    name = value[start:end]
    foldable = any(c == _DISPUTED or (not c.isascii() and c != c.lower()) for c in name)
    folded = "".join(c.lower() if c.isascii() else c for c in name)
    return (None if foldable or not name else folded), end


def _quoted(value: str, start: int) -> tuple[str | None, int]:
    characters: list[str] = []
    position = start + 1
    while position < len(value):
        character = value[position]
        if character == '"':
            if value[position + 1 : position + 2] != '"':
                return "".join(characters), position + 1
            position += 1
        characters.append(character)
        position += 1
    return None, position


def _is_whole(name: str, utf8: bool) -> bool:
    """Whether the server cuts nothing off."""
    longest = IDENTIFIER_BYTES_MAX if utf8 or name.isascii() else SHORT_BYTES_MAX
    return len(name.encode(errors="replace")) <= longest
