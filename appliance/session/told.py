"""What the client is told, statement by statement: the refusals that are not policy's words.

Used by `flow` and the machine. Rule: each says what was refused and why, what to do next, and
nothing of what the statement held.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from appliance.approval.request import State
from appliance.model.facts import Facts
from appliance.model.refusal import About, Refusal, RefusalCode
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.policy.snapshot import UNCLASSIFIED_RULE

_FAILURES = {
    "too_long": (RefusalCode.TOO_LONG, "54000", "send it in smaller statements"),
    "too_deep": (RefusalCode.TOO_COMPLEX, "54001", "simplify the statement"),
    "too_many_comments": (RefusalCode.TOO_COMPLEX, "54001", "remove comments"),
    "nul_byte": (RefusalCode.UNPARSABLE, "22021", "remove the NUL byte"),
    "encoding": (RefusalCode.UNPARSABLE, "22021", "send the statement in UTF-8"),
    "modes": (
        RefusalCode.UNPARSABLE,
        "0A000",
        "set the session's modes back, in a statement of its own that gives one constant",
    ),
    "timeout": (RefusalCode.ANALYSIS_FAILED, "54001", "simplify the statement"),
    "busy": (
        RefusalCode.ANALYSIS_FAILED,
        "53000",
        "the appliance is busy analysing other statements; try again",
    ),
    "crashed": (RefusalCode.ANALYSIS_FAILED, "54001", "simplify the statement"),
}


def unparsable(facts: Facts) -> Refusal:
    """A text nobody can read is refused with the words and the position a server would give."""
    failure = facts.failure
    assert failure is not None
    code, sqlstate, remedy = _FAILURES.get(
        failure.code, (RefusalCode.UNPARSABLE, "42601", "correct the statement")
    )
    return Refusal(
        code,
        failure.message,
        remedy,
        rule="builtin:understood",
        sqlstate=sqlstate,
        position=failure.cursor,
    )


def unread(why: str) -> Refusal:
    """Of a text that is of no form that is known here: a server says the same of what it cannot
    read, and it most often is a slip. The rule is the one that would have had to allow it."""
    return Refusal(
        RefusalCode.OPAQUE,
        f"this statement could not be read, and no rule allows what is not understood ({why})",
        "correct the statement; if it is right, ask the owners of the policy for a rule that"
        " allows opaque",
        rule=DEFAULT_RULE,
        sqlstate="42601",
    )


def unrewritable(why: str) -> Refusal:
    return Refusal(
        RefusalCode.MASKED_COLUMN_USED,
        f"masked columns are used here in a way that cannot be masked: {why}",
        "select the masked columns by themselves, or leave them out",
        rule="guard.masking",
        about=About.COLUMN,
    )


def catalog_unavailable(reason: str) -> Refusal:
    return Refusal(
        RefusalCode.CATALOG_UNAVAILABLE,
        f"the database's catalog could not be read ({reason or 'not loaded'}): nothing can be "
        "masked reliably",
        "try again shortly; if it stays, tell the administrators of the appliance",
        rule="builtin:catalog",
        sqlstate="57P03",
    )


def row_too_long(limit: int) -> Refusal:
    return Refusal(
        RefusalCode.LIMIT,
        f"a row of a masked result is longer than {limit} bytes",
        "select fewer or shorter columns beside the masked ones, or none of the masked ones",
        rule="builtin:masked-row-length",
        sqlstate="54000",
    )


def settings_in_doubt() -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        "what names mean may change in the middle of this text, when its transaction ends",
        "send COMMIT or ROLLBACK as a message of its own",
        rule="builtin:settings-certain",
    )


def reshaped_amid() -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        "this text changes the schema, and reads or writes relations after that",
        "send what comes after the change as a message of its own",
        rule="builtin:settings-certain",
    )


def stored_amid() -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        "a statement of this text stores what it reads from elsewhere, and the text ends its"
        " transaction before it can be looked at what its names meant",
        "send that statement as a message of its own, or the text inside a transaction",
        rule="builtin:settings-certain",
    )


def adopted_amid() -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        "a relation with masked columns could become a part of one that is read here while what"
        " stands before it in this text runs",
        "send what comes behind the first statement as a message of its own",
        rule="builtin:held-relations",
    )


def isolated_amid() -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        "this text says how its transaction is isolated, and goes on: what it reads cannot be held"
        " as it was judged",
        "send BEGIN or SET TRANSACTION as a message of its own",
        rule="builtin:held-relations",
    )


def not_asked() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "whether this statement spares any row could not be found out",
        "add a WHERE that names the rows",
        rule="builtin:spared-rows",
    )


def prepared_otherwise() -> Refusal:
    return Refusal(
        RefusalCode.STALE,
        "what this prepared statement rests on changed since it was prepared",
        "prepare it again",
        rule="builtin:prepared-meaning",
        sqlstate="26000",
    )


def reserved_name() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "this name is reserved for the appliance",
        "choose another name",
        rule="builtin:reserved-name",
        sqlstate="42939",
    )


def too_long(length: int, limit: int) -> Refusal:
    return Refusal(
        RefusalCode.TOO_LONG,
        f"the statement has {length} bytes, and at most {limit} are analysed",
        "send it in smaller statements, use parameters or COPY for bulk values",
        rule="builtin:statement-length",
        sqlstate="54000",
    )


def unclassified(name: str) -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        f"{name} was made after this database was first seen, and nobody has said what is in it",
        "ask the owners of the policy to classify it, or to list it under known_relations",
        rule=UNCLASSIFIED_RULE,
        about=About.RELATION,
    )


def schema_changing() -> Refusal:
    return Refusal(
        RefusalCode.CATALOG_UNAVAILABLE,
        "another session is changing the schema, so nothing can be masked reliably right now",
        "try again when its transaction has ended",
        rule="builtin:catalog",
        sqlstate="57P03",
    )


def schema_changed() -> Refusal:
    return Refusal(
        RefusalCode.STALE,
        "the schema changed while this statement ran, so its result cannot be masked reliably",
        "connect again and send the statement again",
        rule="builtin:catalog",
        sqlstate="57P03",
    )


def reshaped_past() -> Refusal:
    return Refusal(
        RefusalCode.STALE,
        "the schema was changed past the appliance while this statement ran, or what it rests on"
        " could not be looked at: nothing of it was shown",
        "send the statement again; if it stays, tell the administrators of the appliance",
        rule="builtin:catalog",
        sqlstate="57P03",
    )


def reshaped_under(several: bool) -> Refusal:
    """The same of one whose transaction is still open, or of a text of `several` statements that
    may have ended it."""
    remedy = "if it stays, tell the administrators of the appliance"
    again = "send the statement again"
    if several:
        again = "see whether what it writes is there, and send it again if not"
    return msgspec.structs.replace(reshaped_past(), remedy=f"{again}; {remedy}")


def catalog_moved(error: Mapping[str, str]) -> Refusal:
    """What a text rests on was not found as it was judged. `error`: the server's, to the names in
    it or to a wait for their locks, had it one.
    """
    sqlstate = error.get("C", "")
    if sqlstate in _SAID_AS_IT_IS:
        return Refusal(
            RefusalCode.STALE,
            error.get("M", "the relations of this statement could not be looked at"),
            "send the statement again",
            rule="builtin:catalog",
            sqlstate=sqlstate,
        )
    return Refusal(
        RefusalCode.STALE,
        "the schema changed since this statement was analysed, or in this very transaction",
        "send the statement again; if it stays, end the transaction first",
        rule="builtin:catalog",
        sqlstate="40001",
    )


def schema_let_go() -> Refusal:
    """A statement failed, and its transaction with it, when the lease that it ran under was gone:
    what the server said of it may be of another schema than was judged."""
    return Refusal(
        RefusalCode.STALE,
        "this statement failed just as the schema was no longer held as it was judged, and its own"
        " error is withheld",
        "roll back, and run the transaction again",
        rule="builtin:catalog",
        sqlstate="40001",
    )


_SAID_AS_IT_IS = frozenset(("42P01", "3F000", "42501", "57014", "55P03", "40P01", "25P02", "57P01"))
"""SQLSTATEs of errors to names in FROM: they quote no data."""


# --- held -----------------------------------------------------------------------------------------

HELD_SQLSTATE = "42501"


def needs_approval(rule: str, message: str, doings: str) -> Refusal:
    """What holds a text, said to whoever cannot wait for an approval here."""
    return Refusal(
        RefusalCode.HOLD_UNAVAILABLE,
        f"this statement needs an approval: {message or doings}",
        "approvals are not configured here, or not to be had for this kind of statement: ask an"
        " administrator to run it",
        rule=rule,
        sqlstate=HELD_SQLSTATE,
    )


def _of(held: Refusal | None, code: RefusalCode, message: str, remedy: str) -> Refusal:
    rule = "" if held is None else held.rule
    return Refusal(code, message, remedy, rule=rule, sqlstate=HELD_SQLSTATE)


def _held_because(held: Refusal | None) -> str:
    """Without a full stop: more follows."""
    return (held.message if held is not None else "this statement needs an approval").rstrip(".")


def held_in_transaction(held: Refusal | None) -> Refusal:
    return _of(
        held,
        RefusalCode.HOLD_UNAVAILABLE,
        "this statement needs an approval, and policy does not let it wait while a transaction is"
        " open",
        "end the transaction, and send the statement by itself",
    )


def held_prepare(held: Refusal | None) -> Refusal:
    return _of(
        held,
        RefusalCode.HOLD_UNAVAILABLE,
        "this statement needs an approval each time it runs, which PREPARE would spare it",
        "send the statement itself, or prepare it by the protocol (as drivers do)",
    )


def held_unreported(held: Refusal | None) -> Refusal:
    return _of(
        held,
        RefusalCode.HOLD_UNAVAILABLE,
        "this statement needs an approval, which is for the session's settings, and its pipeline"
        " may have changed them",
        "send a Sync between what changes settings and this statement",
    )


def executes_unasked() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "what this EXECUTE runs is decided each time it runs, which SQL's EXECUTE would spare it",
        "send the statement itself, or execute it by the protocol (as drivers do)",
        rule="builtin:named-statement",
        sqlstate=HELD_SQLSTATE,
    )


def held_unseen(held: Refusal | None) -> Refusal:
    return _of(
        held,
        RefusalCode.HOLD_UNAVAILABLE,
        "this statement needs an approval, and its parameters are too long to be bound to one",
        "send shorter parameters",
    )


def held_uncounted(held: Refusal | None, note: str) -> Refusal:
    why = note.removeprefix("not estimated: ")
    return _of(
        held,
        RefusalCode.HOLD_UNAVAILABLE,
        "this statement needs an approval for a number of rows, and how many it would affect is not"
        f" known ({why})",
        "send one statement by itself, in autocommit or READ COMMITTED; if it stays, ask the owners"
        " of the policy",
    )


def granted_unbounded(request: str) -> Refusal:
    return Refusal(
        RefusalCode.HOLD_MISMATCH,
        f"the approval (request {request}) is for no number of rows, which policy asks for",
        "send the statement again, for a new approval",
        rule="builtin:approval",
        sqlstate=HELD_SQLSTATE,
    )


def held_anew() -> Refusal:
    return Refusal(
        RefusalCode.HOLD_MISMATCH,
        "policy, or what this statement rests on, changed while it waited for an approval",
        "send the statement again, for a new approval",
        rule="builtin:approval",
        sqlstate=HELD_SQLSTATE,
    )


def control_away(held: Refusal | None, reason: str) -> Refusal:
    refusal = _of(
        held,
        RefusalCode.HOLD_UNAVAILABLE,
        f"this statement needs an approval, and none can be asked for right now ({reason})",
        "try again shortly; if it stays, tell the administrators of the appliance",
    )
    return msgspec.structs.replace(refusal, sqlstate="57P03")


def ticket(held: Refusal | None, request: str, url: str, poll: str, expires: float) -> Refusal:
    """For a client that does not wait: DETAIL is JSON."""
    until = datetime.fromtimestamp(expires, UTC).isoformat(timespec="seconds")
    detail = {
        "code": RefusalCode.HOLD_TICKET.value,
        "rule": "" if held is None else held.rule,
        "request": request,
        "state": State.PENDING.value,
        "url": url,
        "poll": poll,
        "expires": until,
    }
    refusal = _of(
        held,
        RefusalCode.HOLD_TICKET,
        f"{_held_because(held)}; it was asked for (request {request})",
        f"once it is approved ({url or 'approvers were told'}), send the very same statement again",
    )
    return msgspec.structs.replace(refusal, detail=json.dumps(detail))


def not_approved(request: str, state: State, by: str, reason: str) -> Refusal:
    """A request that ended without an approval."""
    words = f": {reason}" if reason else ""
    match state:
        case State.DENIED:
            code, said = RefusalCode.HOLD_DENIED, f"denied by {by or 'an approver'}{words}"
            remedy = "talk to whoever denied it"
        case State.EXPIRED:
            code, said = RefusalCode.HOLD_EXPIRED, "nobody approved it in time"
            remedy = "send it again when an approver is there"
        case _:
            code, said = RefusalCode.HOLD_WITHDRAWN, f"the request was {state.value}{words}"
            remedy = "send the statement again"
    return Refusal(
        code,
        f"this statement was not approved (request {request}): {said}",
        remedy,
        rule="builtin:approval",
        sqlstate=HELD_SQLSTATE,
    )


def not_usable(request: str, reason: str) -> Refusal:
    return Refusal(
        RefusalCode.HOLD_MISMATCH,
        f"the approval (request {request}) cannot be used: {reason}",
        "send the statement again, for a new approval",
        rule="builtin:approval",
        sqlstate=HELD_SQLSTATE,
    )


def granted_otherwise(request: str) -> Refusal:
    return Refusal(
        RefusalCode.HOLD_MISMATCH,
        f"what was approved (request {request}) is not what would run now: the session changed",
        "send the statement again, for a new approval",
        rule="builtin:approval",
        sqlstate=HELD_SQLSTATE,
    )


def hold_given_up(why: str, request: str) -> Refusal:
    """`why`: cancelled, drained or session_ended."""
    cancelled = why == "cancelled"
    ending = "the appliance is being stopped" if why == "drained" else "this login ends"
    return Refusal(
        RefusalCode.HOLD_WITHDRAWN,
        "canceling statement due to user request, while it waited for an approval"
        if cancelled
        else f"{ending}, and this statement waited for an approval",
        f"request {request} was withdrawn" if request else "the request was withdrawn",
        rule="builtin:approval",
        sqlstate="57014" if cancelled else "57P01",
    )


def holding_words(held: Refusal | None, request: str) -> str:
    return f"{_held_because(held)}; waiting for it (request {request})"


def still_holding_words(request: str, seconds_left: int) -> str:
    return f"still waiting for an approval (request {request}, {seconds_left} s left)"


def uncountable() -> Refusal:
    """A limit on rows written, where a write cannot be counted before it lasts."""
    return Refusal(
        RefusalCode.LIMIT,
        "policy limits how many rows a write may affect here, which cannot be told in time",
        "ask the owners of the policy for a rule without that limit",
        rule="builtin:rows-written",
    )


def unrecorded() -> Refusal:
    return Refusal(
        RefusalCode.AUDIT_UNAVAILABLE,
        "the audit trail cannot be written, and nothing runs unrecorded",
        "tell the administrators of the appliance; statements pass again once it can be",
        rule="builtin:record-before-forward",
        sqlstate="58030",
    )


def unknown_statement() -> Refusal:
    return Refusal(
        RefusalCode.STALE,
        "there is no such prepared statement in this session",
        "prepare it again",
        rule="builtin:prepared-statements",
        sqlstate="26000",
    )


def unknown_named() -> Refusal:
    return Refusal(
        RefusalCode.STALE,
        "what this EXECUTE runs was not prepared from a constant text in this session, or not since"
        " something may have changed what it names",
        "PREPARE it from a constant text, in a statement of its own",
        rule="builtin:named-statement",
        sqlstate="26000",
    )


def not_preparable() -> Refusal:
    return Refusal(
        RefusalCode.UNKNOWN_MESSAGE,
        "PREPARE, EXECUTE and DEALLOCATE are not themselves prepared by the protocol",
        "send it as a query",
        rule="builtin:named-statement",
        sqlstate="07000",
    )


OWN_SESSIONS = "builtin:own-sessions"


def signals_others() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "sessions are ended by their number, one at a time, and only your own",
        "use KILL and the number that your client was given when it connected",
        rule=OWN_SESSIONS,
    )


def no_such_session() -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        "you have no session of this number",
        "use the number that your client was given when it connected",
        rule=OWN_SESSIONS,
        sqlstate="42704",
    )


def may_quote() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "what the database said of an earlier statement may quote values that are masked for you",
        "ask right behind the statement that you mean, when that touches no masked column",
        rule="guard.diagnostics",
    )


def too_many_statements() -> Refusal:
    return Refusal(
        RefusalCode.LIMIT,
        "too many prepared statements in this session",
        "close those that are not needed",
        rule="builtin:prepared-statements",
        sqlstate="53400",
    )


def not_here(what: str) -> Refusal:
    """A message of the protocol that is understood and not let through."""
    return Refusal(
        RefusalCode.UNKNOWN_MESSAGE,
        f"{what} is not let through",
        "connect again instead",
        rule="builtin:unknown-message",
        sqlstate="0A000",
    )


def timed_out(milliseconds: int) -> Refusal:
    """In place of the server's own words, when it was policy that cancelled."""
    return Refusal(
        RefusalCode.LIMIT,
        f"cancelled: policy gives this statement {milliseconds} ms here",
        "make the statement cheaper, or ask the owners of the policy for more time",
        rule="builtin:statement-timeout",
        sqlstate="57014",
    )
