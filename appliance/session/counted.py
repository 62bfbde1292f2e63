"""Whether the database's answer will tell how many rows a text affects, which a limit on rows
written rests on.

Asked by `flow` for every text that such a limit holds for, and by `decisions` for what SQL EXECUTE
names. Rule: a count that the command tag does not tell is not known, and unknown means refuse.
"""

from collections.abc import Callable

from appliance.model.decision import Decision
from appliance.model.facts import Action, Confidence, Facts, Flag, StatementFacts
from appliance.model.refusal import Refusal, RefusalCode
from appliance.policy.vocabulary import WRITES_ROWS
from appliance.sql.names import TEMPORARY_SCHEMA

_UNSEEN = frozenset(
    (
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE_FUNCTION,
        Action.COPY_FILE,
        Action.COPY_PROGRAM,
        Action.OPAQUE,
    )
)
"""What may write rows that the text does not show."""

_ROWS = WRITES_ROWS | {Action.TRUNCATE}

_TAGGED = frozenset(("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"))
"""Statements whose tag says how many rows they affected ("Message Formats", CommandComplete)."""

_ALONE = "send the write as a statement of its own"
_OWNERS = "ask the owners of the policy for a limit that leaves it out"


def may_write(statement: StatementFacts) -> bool:
    """Whether it may change rows that others see: by what its text says, or unseen."""
    if statement.functions or statement.confidence is Confidence.OPAQUE:
        return True
    if not _UNSEEN.isdisjoint(statement.actions):
        return True
    says = bool(statement.writes) or not _ROWS.isdisjoint(statement.actions)
    return says and not _stays_own(statement)


def _stays_own(statement: StatementFacts) -> bool:
    """Whether it writes to nothing but temporary tables of its session's own."""
    written = [use for use in statement.relations if use.action in _ROWS]
    return bool(written) and all(use.schema == TEMPORARY_SCHEMA for use in written)


def limit_of(facts: Facts, decision: Decision) -> int | None:
    """Rows that a text which was let through may affect; None = as many as it likes."""
    if decision.rows_written_max is None or not any(map(may_write, facts.statements)):
        return None
    return decision.rows_written_max


def uncounted(facts: Facts, decision: Decision) -> Refusal | None:
    """Why a text may not run under its limit on rows written; None = it may."""
    if decision.rows_written_max is None and not _as_approved(decision):
        return None
    writing = [statement for statement in facts.statements if may_write(statement)]
    if not writing:
        return None
    if len(facts.statements) > 1:
        why, remedy = "a text of several statements is not told apart", _ALONE
    else:
        found = _uncounted(writing[0])
        if found is None:
            return None
        why, remedy = found
    known = writing[0].confidence is not Confidence.PARTIAL
    return refusal(
        f"policy lets a write affect {_so_many(decision)} at most here, and {why}",
        remedy,
        _rule(decision),
        RefusalCode.LIMIT if known else RefusalCode.UNRESOLVED,
    )


def executes_uncounted(
    facts: Facts, decision: Decision, named: Callable[[str], StatementFacts | None]
) -> Refusal | None:
    """Why SQL EXECUTE may not run what it names under a limit on rows written. `named`: what we
    know of that."""
    if decision.rows_written_max is None and not _as_approved(decision):
        return None
    for statement in facts.statements:
        use = statement.prepared
        if use is None or use.verb != "execute":
            continue
        found = named(use.name)
        if found is None or may_write(found):
            return refusal(
                f"policy lets a write affect {_so_many(decision)} at most here, and"
                " what EXECUTE runs is not counted",
                "send the statement itself, or execute it by the extended protocol",
                _rule(decision),
            )
    return None


def fetches_write(
    facts: Facts, portal: Callable[[str], tuple[Facts, Decision] | None]
) -> Refusal | None:
    """Why SQL's FETCH and MOVE may not run a portal that a Bind made: PostgreSQL lets them run one
    of a write that returns rows (pquery.c, PortalRunFetch), unasked, uncounted and by another name.
    `portal`: what the statement of such a portal was judged to be."""
    for statement in facts.statements:
        use = statement.prepared
        if use is None or use.verb != "fetch" or (bound := portal(use.name)) is None:
            continue
        bounded = bound[1].rows_written_max is not None
        if any(each.writes or (bounded and may_write(each)) for each in bound[0].statements):
            return refusal(
                "a write that was bound by the extended protocol is run by an Execute, not by SQL",
                "send Execute for this portal",
                bound[1].rows_written_rule or "builtin:portal-of-a-write",
            )
    return None


def _as_approved(decision: Decision) -> bool:
    return decision.hold is not None and decision.hold.rows_margin is not None


def _rule(decision: Decision) -> str:
    """Id of the one that limits."""
    if decision.rows_written_max is not None or decision.hold is None:
        return decision.rows_written_rule
    return next((need.rule for need in decision.hold.needs), "")


def _so_many(decision: Decision) -> str:
    if decision.rows_written_max is None:
        return "what was approved"
    return f"{decision.rows_written_max} rows"


def refusal(message: str, remedy: str, rule: str, code: RefusalCode = RefusalCode.LIMIT) -> Refusal:
    """With SQLSTATE 54000, program_limit_exceeded, where it is the limit that speaks."""
    return Refusal(code, message, remedy, rule=rule, sqlstate="54000")


def _uncounted(statement: StatementFacts) -> tuple[str, str] | None:
    """(why, what to do) when the tag of a statement that may write does not tell its rows."""
    actions = statement.actions
    if statement.confidence is Confidence.OPAQUE or not _UNSEEN.isdisjoint(actions):
        shown = ", ".join(a.value for a in actions if a in _UNSEEN) or "what is not understood"
        return f"{shown} may write rows that are not counted", _ALONE
    if statement.functions:
        call = statement.functions[0]
        name = f"{call.schema}.{call.name}".removeprefix(".")
        return f"the function {name} may write rows that are not counted", _ALONE
    copies = statement.kind == "CopyStmt" and Action.COPY_FROM in actions
    if not copies and statement.kind not in _TAGGED:
        return f"what {_words(statement)} writes is not counted", _ALONE
    if statement.writes > 1:
        return "a write in WITH is not counted", "send each write as a statement of its own"
    if statement.confidence is not Confidence.EXACT:
        reason = next(iter(statement.unresolved), "not all of this one is understood")
        return f"its rows cannot be counted: {reason}", _OWNERS
    if statement.carried:
        return (
            f"foreign keys carry this one on to rows of {statement.carried[0]}, which are not"
            " counted"
        ), _OWNERS
    return None


def _words(statement: StatementFacts) -> str:
    if Flag.EXPLAIN_ANALYZE in statement.flags:
        return "EXPLAIN ANALYZE"
    named = {
        "TruncateStmt": "TRUNCATE",
        "PrepareStmt": "a prepared statement",
        "SelectStmt": "a SELECT",
    }
    return named.get(statement.kind, "this statement")
