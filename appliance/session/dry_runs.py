"""A held write that is run once and rolled back, so that approvers see how many rows it affects.

Used by `parking`, which decides whether, and by `questions`, which sends. Rules: recorded before
anything of it is sent; only what `sql/rehearsal` finds to leave nothing behind; in the client's own
session, behind our BEGIN or savepoint and in front of our rollback, all in one batch, so that
whatever fails, the server undoes it; bounded in time, in locks waited for, and in rows as far as
the planner can tell. What it gives back goes nowhere but into a count, and not even that where
masked columns are touched and masks owed: whether it fails would tell of raw values.
"""

from typing import NamedTuple

import msgspec

from appliance.approval.request import Effect
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX
from appliance.session.estimates import SAVEPOINT
from appliance.session.flow import Verdict
from appliance.sql import rehearsal
from appliance.sql.lineage import CatalogLineage

ROWS_MAX = 100_000
"""The planner's guess above which nothing is run."""
PAUSE_SECONDS = 5.0
"""Between two of one session: each writes, and locks rows for a moment, though nothing stays."""

_LIMITS = (b"SET LOCAL statement_timeout = '1s'", b"SET LOCAL lock_timeout = '500ms'")
BEFORE = (b"BEGIN ISOLATION LEVEL READ COMMITTED", *_LIMITS)
BEFORE_INSIDE = (b"SAVEPOINT " + SAVEPOINT, *_LIMITS)


class Counted(NamedTuple):
    """What came of one."""

    ran: bool
    """False: it was never sent, since it could not be recorded."""
    rows: int | None
    sqlstate: str
    """'' = it went well."""


def objection(
    verdict: Verdict, text: bytes, effect: Effect, lineage: CatalogLineage | None, since: float
) -> str:
    """Why the text of a released verdict is not run, for approvers; '' = it is. `since`: seconds
    since the last one of its session."""
    if effect.rows_estimated is None:
        return "nobody can say how much it would do"
    if effect.rows_estimated > ROWS_MAX:
        return "it would touch too many rows"
    if verdict.restricted and (verdict.decision.masks or verdict.rewritten):
        return "it touches masked columns, and masks are owed"
    if len(text) > INLINE_ANALYSIS_BYTES_MAX:
        return "the statement is too long"
    if why := rehearsal.objection(text, verdict.facts, lineage):
        return why
    return "" if since >= PAUSE_SECONDS else "another statement of its session was counted just now"


def uncounted(effect: Effect, why: str) -> Effect:
    """An effect that nobody has counted, with the reason."""
    note = "; ".join(part for part in (effect.note, f"not counted: {why}") if part)
    return msgspec.structs.replace(effect, note=note)


def counted(effect: Effect, rows: int | None, sqlstate: str) -> Effect:
    """An effect with what a dry run came to; `sqlstate` '' = it went well."""
    if sqlstate:
        why = _FAILED.get(sqlstate, f"it failed with SQLSTATE {sqlstate}, and would now")
        return uncounted(effect, why)
    if rows is None:
        return uncounted(effect, "the database's answer was not understood")
    return msgspec.structs.replace(effect, rows_counted=rows)


_FAILED = {
    "57014": "it was not done in time",
    "55P03": "another session has locked what it touches",
}
