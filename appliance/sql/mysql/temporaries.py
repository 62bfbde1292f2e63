"""The temporary tables of a MySQL session, as the server says they are.

Kept by `session_settings`. A statement only says which tables may have come, changed or gone: what
there is now the server is asked, in that session, before the next text that names one is judged
(SHOW CREATE TABLE tells a temporary table from a lasting one, errors and renames included). Rule: a
name that may be a temporary table, and of which it is not known what it is, is not resolved.

Tables that were made while their maker owed other masks, or none, may hold what is masked now: they
stay unknown.
"""

import hashlib
from collections.abc import Iterator, Sequence

from appliance.model.catalog import Column, Relation
from appliance.sql.mysql.scope import folded
from appliance.sql.mysql.words import NAME, QUOTED_NAME, Word, words_of

Name = tuple[str, str]
"""(database, name)."""

TEMPORARIES_MAX = 100
"""Of one session; of more, none is known."""
FIRST_OID = 2**31
_NUMBERS = 2**30
_ABSENT = frozenset((1049, 1100, 1142, 1143, 1146))
"""Errors of SHOW CREATE TABLE that no temporary table has: no such database, not among those
locked, no privilege, no such table."""
_PREFIX = "CREATE TEMPORARY TABLE "


class Temporaries:
    """Of one session. Names of unknown tables are in `unknown`, "database.name" each."""

    def __init__(self) -> None:
        self._known: dict[Name, Relation] = {}
        self._doubtful: dict[Name, None] = {}
        self._foreign: frozenset[str] = frozenset()
        self._policy = ""

    @property
    def known(self) -> tuple[Relation, ...]:
        return tuple(self._known.values())

    @property
    def unknown(self) -> frozenset[str]:
        return self._foreign | {".".join(name) for name in self._doubtful}

    @property
    def any(self) -> bool:
        return bool(self._known or self._doubtful)

    def shift(self, made: frozenset[Name], policy: str) -> None:
        """A statement is on its way that may make `made`, and change or drop any. `policy`: the
        version of the policy whose masks its maker owes; '' when it owes none."""
        if made and not policy:
            self._foreign |= {".".join(name) for name in made}
        else:
            self._doubtful |= dict.fromkeys(made)
        self._doubtful |= dict.fromkeys(self._known)
        self._known = {}
        if len(self._doubtful) > TEMPORARIES_MAX:
            self._forget()
        self._policy = self._policy or policy

    def under(self, policy: str) -> bool:
        """Whether tables became unknown, because what is done from now on owes other masks than
        what was done to them. `policy` as in `shift`."""
        if policy == self._policy or not self.any:
            self._policy = policy
            return False
        self._forget()
        self._policy = policy
        return True

    def _forget(self) -> None:
        self._foreign = self.unknown | {".".join(name) for name in self._known}
        self._known, self._doubtful = {}, {}

    def doubted_in(self, text: bytes) -> Name | None:
        """A table that the text may name and of which it is not known what it is."""
        if not self._doubtful:
            return None
        read = folded(text.decode(errors="replace"))
        return next((name for name in self._doubtful if folded(name[1]) in read), None)

    def told(self, name: Name, rows: Sequence[Sequence[str | None]], error: int | None) -> None:
        """The answer to `question`. Anything but what is understood leaves it as it was."""
        if error is not None:
            if error in _ABSENT:
                self._doubtful.pop(name, None)
            return
        text = rows[0][1] if len(rows) == 1 and len(rows[0]) > 1 else None
        if text is None:
            return
        self._doubtful.pop(name, None)
        if not text.startswith(_PREFIX):
            return
        columns = columns_of(text)
        if columns:
            self._known[name] = Relation(_oid(name, text), *name, "r", columns, persistence="t")
        else:
            self._foreign |= {".".join(name)}


def question(name: Name) -> bytes:
    quoted = ".".join("`" + part.replace("`", "``") + "`" for part in name)
    return f"SHOW CREATE TABLE {quoted}".encode()


def _oid(name: Name, text: str) -> int:
    """Another one for each table that there ever was, but by chance."""
    digest = hashlib.sha256("\0".join((*name, text)).encode()).digest()
    return FIRST_OID + int.from_bytes(digest[:8], "big") % _NUMBERS


def columns_of(text: str) -> tuple[Column, ...]:
    """The columns in what SHOW CREATE TABLE prints; () when it is not understood. No mask is ever
    on one of them, so of their types nothing has to be known."""
    try:
        words = words_of(text.encode(), 0)
    except ValueError:
        return ()
    columns: list[Column] = []
    for element in _elements(words):
        if element[0].kind != QUOTED_NAME:
            continue  # an index or a constraint
        invisible = any(word.upper == "INVISIBLE" and word.kind == NAME for word in element)
        columns.append(Column(len(columns) + 1, element[0].text, 0, invisible=invisible))
    return tuple(columns)


def _elements(words: Sequence[Word]) -> Iterator[list[Word]]:
    """What stands between commas in the first parentheses."""
    element: list[Word] = []
    depth = 0
    for word in words:
        depth -= word.upper == ")"
        if depth == 0 and word.upper == ")":
            break
        if depth == 1 and word.upper == ",":
            yield element
            element = []
        elif depth >= 1:
            element.append(word)
        depth += word.upper == "("
    if element:
        yield element
