"""What one principal sees of one step, and what a step demands that they see.

`steps` is written in these words, `tour` checks and prints them. A check gets what was seen and
what the database itself answers (`stored`), and returns a complaint, '' when all is as it must be.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

Cell = str | None
ROWS_MAX = 1_000
OURS = ("42501", "1227 42000")
"""What our refusals come as: insufficient_privilege, ER_SPECIFIC_ACCESS_DENIED_ERROR."""
REFUSED = "REFUSED"
"""What a transcript says of a statement that Sallyport refused."""


@dataclass(frozen=True)
class Seen:
    """A result or a refusal, in the client's own words."""

    columns: tuple[str, ...] = ()
    rows: tuple[tuple[Cell, ...], ...] = ()
    tag: str = ""
    sqlstate: str = ""
    """Of an error, as its client has it, behind its number where it has one ("1227 42000")."""
    message: str = ""
    detail: str = ""
    hint: str = ""

    @property
    def refused(self) -> bool:
        return bool(self.sqlstate)

    def column(self, name: str) -> list[Cell]:
        place = self.columns.index(name)
        return [row[place] for row in self.rows]


@dataclass(frozen=True)
class Told:
    """Something that is neither: a notice, or what somebody else did about it."""

    label: str
    """NOTICE, APPROVES, DENIES, ..."""
    text: str
    detail: str = ""
    hint: str = ""


@dataclass(frozen=True)
class Moment:
    """One turn of a step in which several people take part."""

    who: str
    what: Seen | Told


class Session(Protocol):
    """One connection with an ordinary driver; what it answers in the words of this module. Errors
    of the database are `Seen`, never raised."""

    TELLS_WHILE_WAITING: bool
    """Whether the protocol has a word for a client whose statement waits."""

    def query(self, text: str) -> Seen:
        """Sent as the database's own command line sends it."""

    def prepared(self, text: str, runs: Sequence[int]) -> Seen:
        """A statement with one parameter, prepared once and executed for each of `runs`, results in
        binary; their rows, one result after the other."""

    def complaint(self) -> str:
        """'' while it is open and outside a transaction."""

    def hearing(self, tell: Callable[[Told], None]) -> AbstractContextManager[None]:
        """Meanwhile notices go to `tell`, from whichever thread reads them."""

    def cancel(self) -> None:
        """What it runs just now; from another thread. May do nothing."""


Act = Callable[[Session], Seen]
Check = Callable[[Seen, Seen | None], str]


def shown(value: object) -> Cell:
    """A driver's value as text."""
    return None if value is None else str(value)


# --- demands -----------------------------------------------------------------------------------


def as_stored(seen: Seen, stored: Seen | None) -> str:
    """Exactly what the database answers."""
    if stored is None:
        raise ValueError("this step has no stored answer to compare with")
    if seen.refused:
        return f"refused: {seen.message}"
    if (seen.columns, seen.rows) != (stored.columns, stored.rows):
        return "rows differ from what is stored"
    return "" if seen.rows else "no rows"


def masked(**patterns: str) -> Check:
    """The named columns all fit their pattern and differ from what is stored; the others are as
    stored."""

    def check(seen: Seen, stored: Seen | None) -> str:
        if stored is None:
            raise ValueError("this step has no stored answer to compare with")
        if seen.refused:
            return f"refused: {seen.message}"
        if seen.columns != stored.columns or len(seen.rows) != len(stored.rows) or not seen.rows:
            return f"{len(seen.rows)} rows of {seen.columns}, expected {len(stored.rows)}"
        for name in seen.columns:
            complaint = _column_complaint(name, seen, stored, patterns.get(name))
            if complaint:
                return complaint
        return ""

    return check


def _column_complaint(name: str, seen: Seen, stored: Seen, pattern: str | None) -> str:
    for shown, kept in zip(seen.column(name), stored.column(name), strict=True):
        if pattern is None:
            if shown != kept:
                return f"{name} is not as stored, and no mask is owed"
        elif kept is None:
            if shown is not None:
                return f"{name}: a NULL did not stay one"
        elif shown == kept:
            return f"{name} is NOT MASKED"
        elif shown is None or not re.fullmatch(pattern, shown):
            return f"{name} does not look like its mask ({pattern})"
    return ""


def refused(*words: str, rule: str = "") -> Check:
    """Refused with Sallyport's own error, these words in it, and this rule."""

    def check(seen: Seen, _stored: Seen | None) -> str:
        if not seen.refused:
            return "NOT REFUSED"
        everything = " ".join((seen.message, seen.detail, seen.hint))
        if seen.sqlstate not in OURS:
            return f"SQLSTATE {seen.sqlstate} ({seen.message}), expected one of {', '.join(OURS)}"
        if not seen.message or not seen.detail:
            return "an error without message or rule"
        missing = [word for word in (*words, rule) if word.lower() not in everything.lower()]
        return f"does not mention {missing}: {everything}" if missing else ""

    return check


def rows(expected: Sequence[tuple[Cell, ...]]) -> Check:
    """Exactly these rows."""

    def check(seen: Seen, _stored: Seen | None) -> str:
        if seen.refused:
            return f"refused: {seen.message}"
        return "" if list(seen.rows) == list(expected) else f"rows {seen.rows}"

    return check
