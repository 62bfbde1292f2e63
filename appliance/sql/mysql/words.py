"""A text into words, one list per statement, as the server's own lexer would read it.

Called by `parse` and, for view definitions, by the catalog's lineage. Rule: what the server may
read in another way than this module is not read at all.

Comments that servers run (`/*! ... */`) are unwrapped for the server's version before anything else
(https://dev.mysql.com/doc/refman/8.0/en/comments.html, https://mariadb.com/kb/en/comment-syntax/).
"""

import re
from typing import NamedTuple

from _speedups import mylex
from appliance.model.catalog import SessionSettings
from appliance.model.facts import ParseFailure
from appliance.model.limits import COMMENT_COUNT_MAX, Limits

DEPTH_MAX = 48
"""Parentheses and CASEs in each other: what sqlglot's parser takes within Python's own limit."""

(
    SPACE, COMMENT, STRING, NUMBER, PARAMETER, NAME, QUOTED_NAME, VARIABLE, OPERATOR, OTHER,
    EXECUTABLE, EXECUTABLE_END, HINT,
) = range(len(mylex.KIND_NAMES))  # fmt: skip

MARIADB_FIRST = 100_000
"""Versions are one number: 50744 and 80036 are MySQL's, 101106 (10.11.6) and above MariaDB's."""

UNREAD_MODES = frozenset({"ORACLE", "HIGH_NOT_PRECEDENCE", "MSSQL", "DB2", "MAXDB"})
"""Modes in which the grammar is another one."""

_SETTING_BACK = re.compile(
    rb"\s*+SET\s++(?:(?:SESSION|LOCAL)\s++|@@(?:(?:SESSION|LOCAL)\.)?)?"
    rb"sql_mode\s*+:?=\s*+(?:DEFAULT|'[A-Z_,]*+'|[0-9]{1,20})\s*+;?\s*+",
    re.IGNORECASE,
)
"""One assignment of a constant, to nothing but the session's modes: read alike in every mode, so
that a session gets out of one that is not read here."""

_UTF8 = frozenset({"", "utf8", "utf8mb3", "utf8mb4"})
_ASCII_SAFE = _UTF8 | {"ascii", "latin1", "binary", "latin2", "cp1250", "cp1251", "koi8r"}
"""Encodings in which a byte below 128 is always that letter."""

_ESCAPES = {
    "0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_",
}  # fmt: skip


class Word(NamedTuple):
    """One token that is no space and no comment."""

    kind: int
    text: str
    """As written; of a quoted name its name, of a string its value, of `@name` the name."""
    start: int
    end: int
    upper: str = ""
    """Of a plain name in upper case, of an operator or a sign itself; '' otherwise."""


def is_mariadb(version: int) -> bool:
    return version >= MARIADB_FIRST


def modes_of(settings: SessionSettings) -> int:
    """How a session's text is to be lexed (`_speedups.mylex`)."""
    found = 0
    if "ANSI_QUOTES" in settings.modes:
        found |= mylex.ANSI_QUOTES
    if "NO_BACKSLASH_ESCAPES" in settings.modes:
        found |= mylex.NO_BACKSLASH_ESCAPES
    return found


def readable(text: bytes, settings: SessionSettings) -> ParseFailure | None:
    """Whether the server reads this text by the rules that are known here; else why not."""
    if not settings.certain:
        return ParseFailure("encoding", "the session's modes are not known at the moment")
    unread = sorted(UNREAD_MODES.intersection(settings.modes))
    if unread and _SETTING_BACK.fullmatch(text) is None:
        return ParseFailure("modes", f"sql_mode {unread[0]} is not supported")
    if settings.encoding in _UTF8 or (settings.encoding in _ASCII_SAFE and text.isascii()):
        return None
    return ParseFailure("encoding", "character_set_client is not one that is analysed here")


def unwrapped(
    text: bytes, settings: SessionSettings, limits: Limits, server: int
) -> bytes | ParseFailure:
    """The text, measured, as long as it was, with what `server` (0 = not known) runs of its
    comments laid bare."""
    if len(text) > limits.statement_bytes_max:
        return ParseFailure("too_long", f"longer than {limits.statement_bytes_max} bytes")
    failure = readable(text, settings)
    if failure is not None:
        return failure
    modes = modes_of(settings)
    bare = mylex.unwrap(text, modes, server, is_mariadb(server))
    if isinstance(bare, int):
        return ParseFailure("syntax", "a comment here is read differently from server to server")
    depth, comments, has_nul, lexes = mylex.measure(bare, modes)
    if has_nul:
        return ParseFailure("nul_byte", "the text contains a NUL byte")
    if not lexes:
        return ParseFailure("syntax", "a literal, name or comment does not end, or a sign is none")
    if depth > DEPTH_MAX:
        return ParseFailure("too_deep", f"nested more than {DEPTH_MAX} deep")
    if comments > COMMENT_COUNT_MAX:
        return ParseFailure("too_many_comments", f"more than {COMMENT_COUNT_MAX} comments")
    return bare


_ROW_NAMES = frozenset({b"NULL", b"TRUE", b"FALSE", b"DEFAULT", b"_BINARY", b"_UTF8MB4", b"_UTF8"})
_ROW_SIGNS = frozenset({b",", b"-", b"+", b"\\N", b"?"})
_ROW_KINDS = frozenset({SPACE, COMMENT, STRING, NUMBER})
Tokens = list[tuple[int, int, int]]


def _without_rows(tokens: Tokens, bare: bytes) -> Tokens:
    """Without the rows of constants that follow such a row in VALUES: a dump's INSERT is a megabyte
    of them, and nothing in facts depends on what they are."""
    kept: Tokens = []
    index, size = 0, len(tokens)
    while index < size:
        kind, start, end = tokens[index]
        kept.append(tokens[index])
        index += 1
        if kind != NAME or bare[start:end].upper() not in (b"VALUES", b"VALUE"):
            continue
        behind = _row_end(tokens, bare, index)
        if behind == index:
            continue
        kept += tokens[index:behind]
        index = behind
        while (behind := _row_end(tokens, bare, index, b",")) != index:
            index = behind
    return kept


def _row_end(tokens: Tokens, bare: bytes, index: int, before: bytes = b"") -> int:
    """Behind a row of constants, with the comma `before` it; `index` itself when none comes."""
    at, due = index, [b"(", before] if before else [b"("]
    while at < len(tokens):
        kind, start, end = tokens[at]
        at += 1
        if kind in _ROW_KINDS:
            if due and kind in (STRING, NUMBER):
                return index
            continue
        word = bare[start:end]
        if due:
            if word != due.pop():
                return index
        elif word == b")":
            return at
        elif word not in _ROW_SIGNS and (kind != NAME or word.upper() not in _ROW_NAMES):
            return index
    return index


def words_of(bare: bytes, modes: int, short: bool = False) -> list[Word]:
    """The words of an unwrapped text that lexes. Raises UnicodeError for a name that is not
    UTF-8, ValueError for a hint that does more than plan. `short`: without all but the first of
    many rows of constants (what is made of the words can then not be put together again)."""
    backslashes = not modes & mylex.NO_BACKSLASH_ESCAPES
    # Of ASCII the places in the text are those in its bytes: decoding once is three times faster.
    whole = bare.decode() if bare.isascii() else None
    found = []
    tokens = mylex.tokens(bare, modes)
    for kind, start, end in _without_rows(tokens, bare) if short else tokens:
        if kind in (SPACE, COMMENT):
            continue
        if whole is not None:
            text = whole[start:end]
        else:
            errors = "surrogateescape" if kind in (STRING, VARIABLE, HINT) else "strict"
            text = bare[start:end].decode(errors=errors)
        if kind == NUMBER:
            found.append(Word(kind, text, start, end))
        elif kind == NAME:
            found.append(Word(kind, text, start, end, text.upper()))
        elif kind in (OPERATOR, OTHER, PARAMETER):
            found.append(Word(kind, text, start, end, text))
        elif kind == STRING:
            found.append(Word(kind, _value(text, backslashes), start, end))
        elif kind == QUOTED_NAME:
            found.append(Word(kind, _unquoted(text), start, end))
        elif kind == VARIABLE:
            found.append(Word(kind, _variable(text, modes), start, end))
        elif kind == HINT:
            _require_harmless(text)
    return found


def words_alike(text: bytes, settings: SessionSettings, bytes_max: int) -> list[Word] | None:
    """The words of a short text that every server reads alike; None for all others."""
    if len(text) > bytes_max or readable(text, settings) is not None:
        return None
    modes = modes_of(settings)
    if mylex.unwrap(text, modes, 0, False) is not text or not mylex.measure(text, modes)[3]:
        return None
    try:
        return words_of(text, modes)
    except ValueError:
        return None


def _unquoted(written: str) -> str:
    name = written[1:-1].replace(written[0] * 2, written[0])
    if not name:
        raise ValueError("a name is empty")
    return name


def _require_harmless(hint: str) -> None:
    if "SET_VAR" in hint.upper():
        raise ValueError("a hint changes a setting")
    if "INDEX" in hint.upper():
        raise ValueError("a hint names an index, whose order may show")


def _value(written: str, backslashes: bool) -> str:
    """A string's value; bytes that are not UTF-8 (of a binary string) stay as they are."""
    quote = written[-1]
    inner = written[written.index(quote) + 1 : -1]
    if quote * 2 not in inner and ("\\" not in inner or not backslashes):
        return inner
    parts, at = [], 0
    while at < len(inner):
        letter = inner[at]
        if letter == "\\" and backslashes:
            escaped = inner[at + 1]
            parts.append(_ESCAPES.get(escaped, escaped))
            at += 2
            continue
        parts.append(letter)
        at += 2 if letter == quote else 1
    return "".join(parts)


def _variable(written: str, modes: int) -> str:
    if written == "@@":
        return "@@"
    quote = written[1:2]
    if quote == "`" or (quote == '"' and modes & mylex.ANSI_QUOTES):
        return _name(_unquoted(written[1:]))
    if quote in ("'", '"'):
        return _name(_value(written[1:], not modes & mylex.NO_BACKSLASH_ESCAPES))
    return _name(written[1:])


def _name(text: str) -> str:
    text.encode()  # raises UnicodeError for bytes that are not UTF-8
    return text


class Segment(NamedTuple):
    """One statement of a text."""

    words: list[Word]
    start: int
    """Byte offset: behind the semicolon before it."""
    end: int
    """Where its semicolon or the end of the text is."""


def segments(words: list[Word], size: int) -> list[Segment]:
    """The statements of a text of `size` bytes. What defines a routine takes the rest of the text
    with it, since its body has semicolons of its own."""
    found: list[Segment] = []
    current: list[Word] = []
    start = 0
    for index, word in enumerate(words):
        if word.upper != ";" or word.kind != OTHER:
            current.append(word)
            continue
        if current and defines_code(current):
            current += words[index:]
            break
        if current:
            found.append(Segment(current, start, word.start))
        current, start = [], word.end
    while current and current[-1].upper == ";":
        current.pop()
    if current:
        found.append(Segment(current, start, size))
    return found


def split(words: list[Word]) -> list[list[Word]]:
    """One list per statement, without the semicolons between them."""
    return [segment.words for segment in segments(words, 0)]


_CODE = frozenset({"PROCEDURE", "FUNCTION", "TRIGGER", "EVENT", "PACKAGE"})
_COMPOUND = frozenset({"IF", "CASE", "LOOP", "WHILE", "REPEAT", "FOR", "DECLARE"})
_BETWEEN_WORDS = """OR REPLACE AGGREGATE TEMPORARY UNIQUE FULLTEXT SPATIAL VECTOR ONLINE OFFLINE
    IGNORE ALGORITHM UNDEFINED MERGE TEMPTABLE SQL SECURITY INVOKER UNDO ="""
_BETWEEN = frozenset(_BETWEEN_WORDS.split())
"""Words between CREATE, ALTER or DROP and the kind of thing."""


def object_of(words: list[Word]) -> tuple[str, int]:
    """The kind of thing that a CREATE, ALTER or DROP is about (TABLE, VIEW, ...), and the index of
    the word behind it; '' when there is none."""
    index = 1
    while index < len(words):
        word = words[index]
        if word.upper == "DEFINER":
            index = _after_user(words, index + 1)
        elif word.upper in _BETWEEN:
            index += 1
        else:
            return word.upper, index + 1
    return "", index


def _after_user(words: list[Word], index: int) -> int:
    """Past `= name@host`, `= CURRENT_USER()` or the DEFINER of SQL SECURITY DEFINER."""
    if index >= len(words) or words[index].upper != "=":
        return index
    index += 2
    while index < len(words) and (
        words[index].kind == VARIABLE or words[index].upper in ("(", ")")
    ):
        index += 1
    return index


def defines_code(words: list[Word]) -> bool:
    """Whether a statement that begins so may hold statements: CREATE or ALTER of a routine, a
    trigger or an event, and MariaDB's compound statements outside routines."""
    first = words[0].upper
    if first in ("CREATE", "ALTER"):
        return object_of(words)[0] in _CODE
    if first == "BEGIN":
        return len(words) > 1 and words[1].upper != "WORK"
    if first in _COMPOUND:
        return True
    return len(words) > 1 and words[1].upper == ":"  # a label
