"""How many rows the planner expects a held statement to write or return: what is asked, and what
the answer says.

Used by `parking`, which shows the figure to approvers, and by `questions`, which asks. Rule:
nothing of a statement runs for its estimate, and nothing stays of the question. It is asked in a
read-only transaction, or behind a savepoint, that is rolled back whatever happens; planning
evaluates functions, so only statements that call none but harmless ones are planned.
"""

from collections.abc import Iterator
from typing import Any

import msgspec

from appliance.approval.request import Effect
from appliance.model.facts import Action, Confidence, Facts

EXPLAIN = b"EXPLAIN (FORMAT JSON) "
ANSWER_BYTES_MAX = 256 * 1024
"""Of the plan. What comes beyond it is not kept, and then there is no figure."""
TEXT_BYTES_MAX = 1024 * 1024
"""Of the statement, with the values it is bound to."""

_LIMITS = (b"SET LOCAL statement_timeout = '1s'", b"SET LOCAL lock_timeout = '500ms'")
SAVEPOINT = b'"sallyport: question"'
BEFORE = (b"BEGIN READ ONLY", *_LIMITS)
AFTER = (b"ROLLBACK",)
BEFORE_INSIDE = (b"SAVEPOINT " + SAVEPOINT, b"SET TRANSACTION READ ONLY", *_LIMITS)
"""In the client's own transaction. Rolling back to a savepoint takes back settings, lets go of
locks and mends an error; a savepoint of the client's with this name is hidden by ours, and comes
back."""
AFTER_INSIDE = (
    b"ROLLBACK TO SAVEPOINT " + SAVEPOINT,
    b"RELEASE SAVEPOINT " + SAVEPOINT,
)
ISOLATION = b"SHOW transaction_isolation"
"""Takes no snapshot, as no SHOW does."""

_PLANNED = frozenset(("SelectStmt", "InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"))
_ROWS_ONLY = frozenset(
    (
        Action.SELECT,
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.MERGE,
        Action.SEQUENCE,  # of volatile functions, which planning leaves alone
    )
)


def unasked(facts: Facts) -> str:
    """Why the planner is not asked about a text, for approvers; '' = it is."""
    if len(facts.statements) != 1:
        return "a text of several statements is not estimated"
    statement = facts.statements[0]
    if Action.COPY_FROM in statement.actions:
        return "nobody has seen its rows: they are sent once it is approved"
    if statement.functions or statement.functions_below:
        return "not estimated: planning could run functions that are not known to be harmless"
    if statement.kind not in _PLANNED or not _ROWS_ONLY.issuperset(statement.actions):
        return "the planner is not asked about statements of this kind"
    if statement.confidence is not Confidence.EXACT:
        return "not estimated: not all of this statement is understood"
    return ""


def effect_of(row: bytes, error: dict[str, str] | None) -> Effect:
    """What approvers see of the database's answer, the frame of its DataRow."""
    if error is not None:
        state = error.get("C", "")
        return Effect(note=_FAILED.get(state, f"the database gave no estimate (SQLSTATE {state})"))
    if len(row) > ANSWER_BYTES_MAX:
        return Effect(note="not estimated: the plan is too long")
    rows = rows_expected(row[_BEFORE_CELL:])  # were it no such row, this were no JSON
    if rows is None:
        return Effect(note="not estimated: the database's answer was not understood")
    return Effect(rows_estimated=rows)


_BEFORE_CELL = 1 + 4 + 2 + 4
"""Type and length, the number of columns (one), and the length of the first."""
_FAILED = {
    "57014": "the database gave no estimate in time",
    "55P03": "the database gave no estimate: another session has locked what this touches",
}


class _Node(msgspec.Struct):
    """One of a plan ("EXPLAIN", FORMAT JSON; explain.c, ExplainNode)."""

    kind: str = msgspec.field(name="Node Type")
    rows: float = msgspec.field(name="Plan Rows")
    relationship: str = msgspec.field(name="Parent Relationship", default="")
    plans: list["_Node"] = msgspec.field(name="Plans", default_factory=list)


class _Explained(msgspec.Struct):
    plan: _Node = msgspec.field(name="Plan")


_decoder: msgspec.json.Decoder[list[_Explained]] = msgspec.json.Decoder(list[_Explained])


def rows_expected(answer: bytes) -> int | None:
    """Rows that a plan writes, at any depth; if it writes none, those that it returns. None = it
    does not say."""
    try:
        explained = _decoder.decode(answer)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if len(explained) != 1:
        return None
    top = explained[0].plan
    writing = [node for node in _every(top) if node.kind == "ModifyTable"]
    # What a write passes on is what it RETURNs; what it writes comes from below it.
    fed = [child.rows for node in writing for child in node.plans if child.relationship in _FEEDING]
    if writing and not fed:
        return None
    rows = sum(fed) if writing else top.rows
    return int(rows) if 0 <= rows <= _ROWS_MAX else None


_FEEDING = ("Outer", "Member")
"""One that a ModifyTable reads from; up to PostgreSQL 13 one for each table that it changes."""
_ROWS_MAX = 1e15


def _every(top: _Node) -> Iterator[Any]:
    left = [top]
    while left:
        node = left.pop()
        yield node
        left += node.plans
