"""PREPARE, EXECUTE and DEALLOCATE PREPARE: which statement a text names, and what it prepares.

Called through the dialect for texts that may be one of these, and by `analysis`. Rule: only forms
that are read alike by everybody are told; what is prepared is told from a plain literal, under the
session's modes. Everything else is SQL from a string that nobody has seen, as its facts say.
https://dev.mysql.com/doc/refman/8.0/en/prepare.html, https://mariadb.com/kb/en/prepare-statement/.
"""

import re

from _speedups import mylex
from appliance.model.catalog import SessionSettings
from appliance.model.facts import Action, Facts, PreparedUse, StatementFacts
from appliance.model.naming import NamedText
from appliance.sql.mysql.words import STRING, modes_of, words_alike

_NAME = rb"(?:`([A-Z_][A-Z0-9_]{0,63})`|([A-Z_][A-Z0-9_]{0,63}))"
_VARIABLE = rb"@[A-Z_][A-Z0-9_]*+"
_PREPARE = re.compile(rb"\s*+PREPARE\s++" + _NAME + rb"\s++FROM\s*+['\"]", re.IGNORECASE)
_EXECUTE = re.compile(
    rb"\s*+EXECUTE\s++" + _NAME + rb"(?:\s++USING\s++" + _VARIABLE
    + rb"(?:\s*+,\s*+" + _VARIABLE + rb")*+)?\s*+;?\s*+",
    re.IGNORECASE,
)  # fmt: skip
_DEALLOCATE = re.compile(
    rb"\s*+(?:DEALLOCATE|DROP)\s++PREPARE\s++" + _NAME + rb"\s*+;?\s*+", re.IGNORECASE
)
_IMMEDIATE = "immediate"
PREPARED_BYTES_MAX = 64 * 1024
"""Of a PREPARE whose text is told: it is lexed on the event loop, a few times."""
_WORDS = 4
"""PREPARE name FROM 'text'"""


def named(text: bytes, settings: SessionSettings) -> NamedText | None:
    """What a text that is one of these names; None for all others. Names of ASCII only, in small
    letters: the server compares them without regard to case."""
    for verb, pattern in (("execute", _EXECUTE), ("deallocate", _DEALLOCATE)):
        found = pattern.fullmatch(text)
        if found is not None:
            name = _name(found)
            return None if name == _IMMEDIATE else NamedText(verb, name)
    found = _PREPARE.match(text)
    if found is None:
        return None
    return NamedText("prepare", _name(found), _prepared(text, settings))


def _name(found: re.Match[bytes]) -> str:
    return (found[1] or found[2]).decode("ascii").lower()


def _prepared(text: bytes, settings: SessionSettings) -> bytes | None:
    """The value of the one literal behind FROM."""
    words = words_alike(text, settings, PREPARED_BYTES_MAX)
    if words is None:
        return None
    while words and words[-1].upper == ";":
        words.pop()
    if len(words) != _WORDS or words[-1].kind != STRING:
        return None
    literal = words[-1]
    if text[literal.start : literal.start + 1] not in (b"'", b'"'):
        return None  # x'...', N'...': of another kind
    return literal.text.encode(errors="surrogateescape")


def preparing(name: str, text: bytes, settings: SessionSettings) -> bytes | None:
    """The PREPARE that has the server prepare `text`; None where it would not be read as that."""
    quoted = text.replace(b"'", b"''")
    if not modes_of(settings) & mylex.NO_BACKSLASH_ESCAPES:
        quoted = quoted.replace(b"\\", b"\\\\")
    said = b"PREPARE `%s` FROM '%s'" % (name.encode("ascii"), quoted)
    return said if named(said, settings) == NamedText("prepare", name, text) else None


def facts_of(text: bytes, found: NamedText, inner: Facts) -> Facts | None:
    """Facts of a PREPARE, from those of what it prepares: nothing of it runs yet, and all that it
    would do has to be allowed. None where it is no single statement that can be prepared."""
    if len(inner.statements) != 1 or inner.statements[0].prepared is not None:
        return None
    statement = inner.statements[0]
    made = StatementFacts(
        kind="PrepareStmt",
        actions=tuple(dict.fromkeys((Action.PREPARE, *statement.actions))),
        relations=statement.relations,
        beneath=statement.beneath,
        writes=statement.writes,
        functions=statement.functions,
        functions_below=statement.functions_below,
        calls=statement.calls,
        names_called=statement.names_called,
        flags=statement.flags,
        unresolved=statement.unresolved,
        unread=statement.unread,
        prepared=PreparedUse("prepare", found.name),
        confidence=statement.confidence,
        span=(0, len(text)),
    )
    return Facts(
        statements=(made,),
        fingerprint=inner.fingerprint,
        failure=inner.failure,
        settings_digest=inner.settings_digest,
        catalog_version=inner.catalog_version,
        redacted=f"PREPARE `{found.name}` FROM '{inner.redacted}'",
    )
