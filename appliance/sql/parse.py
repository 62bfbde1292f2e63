"""One client text into raw parse trees, or the reason why not. Called by `analysis` and, for view
definitions, `lineage`.

The only module that imports pglast. Its rule: libpg_query's tree never becomes C or Python node
objects (building those crashes the process on long chains); it comes as JSON, whose depth orjson
bounds.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from pglast.parser import ParseError, fingerprint, parse_sql_json, scan

from _speedups import sqllex, sqltokens
from appliance.model.facts import ParseFailure
from appliance.model.limits import COMMENT_COUNT_MAX, NESTING_MAX, Limits
from appliance.sql.older_words import NEWEST, concerns, readings

Body = Mapping[str, Any]
"""The fields of one parse-tree node. A field that may hold any node wraps it: {"ColumnRef":
{...}}; a field of one struct type holds its body bare; false, 0, NULL and '' are left out
(libpg_query's JSON form)."""


class RawStatement(NamedTuple):
    kind: str
    body: Body
    offset: int
    """Byte offset in the text, UTF-8."""
    length: int


def parse(text: bytes, limits: Limits, server: int = NEWEST) -> list[RawStatement] | ParseFailure:
    """The statements of `text` in order; [] for an empty text. `server`: server_version_num of the
    one that will read it."""
    refusal = _measure(text, limits)
    if refusal is not None:
        return refusal
    try:
        decoded = text.decode()
    except UnicodeDecodeError:
        return ParseFailure("encoding", "the text is not valid UTF-8")
    return parse_decoded(decoded, len(text), server)


def parse_decoded(text: str, size: int, server: int = NEWEST) -> list[RawStatement] | ParseFailure:
    """`text` has no NUL byte (pglast would cut it there) and is `size` bytes long in UTF-8."""
    found = _older(text, server) if concerns(text, server) else None
    if isinstance(found, ParseFailure):
        return found
    try:
        tree = orjson.loads(parse_sql_json(text) if found is None else found)
    except ParseError as error:
        return _failure(error)
    except orjson.JSONDecodeError:
        # Deeper than orjson's 1024 levels; libpg_query itself always prints valid JSON.
        return ParseFailure("too_deep", "the statement is nested too deeply")
    return [_statement(raw, size) for raw in tree.get("stmts", ()) if raw.get("stmt")]


def _older(text: str, server: int) -> str | ParseFailure | None:
    """The tree, in JSON, of a text with words that are plain names to an older server; None when it
    has none."""
    try:
        both = readings(text, tokens(text), server)
    except ParseError:
        return None  # as it will be said of the text itself
    except ValueError as error:
        return ParseFailure("crashed", str(error))
    trees = []
    for reading in both:
        try:
            trees.append(reading.restored(parse_sql_json(reading.text)))
        except ParseError as error:
            failure = _failure(error)
            return ParseFailure(failure.code, reading.restored(failure.message), failure.cursor)
    if trees and trees[0] != trees[1]:
        return ParseFailure("crashed", "the text can be read in two ways")
    return trees[0] if trees else None


class Token(NamedTuple):
    """One word of a text; `end` is its last character's position."""

    start: int
    end: int
    name: str
    """libpg_query's name of the token: IDENT, SELECT, DELETE_P, ASCII_40 for `(`..."""


def tokens(text: str) -> list[Token]:
    """The words of a text that parses. Positions count characters."""
    return [Token(token.start, token.end, token.name) for token in scan(text)]


def scanned(text: str) -> list[Token] | None:
    """The words of any text; None where they cannot be told (a quote that is not closed)."""
    try:
        return tokens(text)
    except ParseError:
        return None


def with_escapes(text: str) -> str:
    """What a server reads in a text while standard_conforming_strings is off, said so that it is
    read like that whatever the setting is: plain strings become E'...'."""
    encoded = text.encode()
    parts: list[bytes] = []
    for kind, start, end in sqltokens.tokens(encoded, standard_strings=False):
        part = encoded[start:end]
        escapes = kind == "string" and part[:1] in _PLAIN_STRINGS
        parts.append(b" E" + part[part.index(b"'") :] if escapes else part)
    return b"".join(parts).decode()


_PLAIN_STRINGS = (b"'", b"N", b"n")


def same(first: Any, second: Any) -> bool:
    """Whether two trees are equal but for where they stand in the text."""
    return bool(without_places(first) == without_places(second))


def without_places(value: Any) -> Any:
    """A tree without what says where it stands in its text."""
    if isinstance(value, dict):
        return {
            key: without_places(inner)
            for key, inner in value.items()
            if key != "location" and not key.endswith(("_start", "_end"))
        }
    if isinstance(value, list):
        return [without_places(inner) for inner in value]
    return value


def group(text: str) -> str:
    """libpg_query's fingerprint: groups lines for people, keys nothing. '' when it cannot be
    had."""
    try:
        return str(fingerprint(text))
    except ParseError:
        return ""


def _measure(text: bytes, limits: Limits) -> ParseFailure | None:
    if len(text) > limits.statement_bytes_max:
        return ParseFailure("too_long", f"longer than {limits.statement_bytes_max} bytes")
    nesting, comments, has_nul, _ = sqllex.measure(text)
    if has_nul:
        return ParseFailure("nul_byte", "the text contains a NUL byte")
    if nesting > NESTING_MAX:
        return ParseFailure("too_deep", f"nested more than {NESTING_MAX} deep")
    if comments > COMMENT_COUNT_MAX:
        return ParseFailure("too_many_comments", f"more than {COMMENT_COUNT_MAX} comments")
    return None


def _statement(raw: Body, size: int) -> RawStatement:
    ((kind, body),) = raw["stmt"].items()
    offset = raw.get("stmt_location", 0)
    return RawStatement(kind, body, offset, raw.get("stmt_len", 0) or size - offset)


def _failure(error: ParseError) -> ParseFailure:
    message = str(error.args[0])
    if "stack depth limit" in message:
        return ParseFailure("too_deep", "the statement is nested too deeply")
    position = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], int) else -1
    return ParseFailure("syntax", _without_literal(message), position + 1)


def _without_literal(message: str) -> str:
    """libpg_query quotes the token it stumbled on; a literal is not repeated."""
    words, near, token = message.partition(' at or near "')
    if not near:
        return message[:200]
    token = token.rstrip('"')
    if token.replace("_", "a").isalnum() and not token[:1].isdigit() and len(token) <= 63:
        return message
    if len(token) <= 2 and not any(c.isalnum() or c in "'\"$" for c in token):
        return message
    return f"{words} at or near a literal"
