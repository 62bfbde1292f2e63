"""What the client is told, statement by statement: the refusals that are not policy's words.

Used by `flow` and the machine. Rule: each says what was refused and why, what to do next, and
nothing of what the statement held.
"""

from collections.abc import Mapping

from appliance.model.facts import Facts
from appliance.model.refusal import Refusal, RefusalCode
from appliance.policy.snapshot import UNCLASSIFIED_RULE

_FAILURES = {
    "too_long": (RefusalCode.TOO_LONG, "54000", "send it in smaller statements"),
    "too_deep": (RefusalCode.TOO_COMPLEX, "54001", "simplify the statement"),
    "too_many_comments": (RefusalCode.TOO_COMPLEX, "54001", "remove comments"),
    "nul_byte": (RefusalCode.UNPARSABLE, "22021", "remove the NUL byte"),
    "encoding": (RefusalCode.UNPARSABLE, "22021", "send the statement in UTF-8"),
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


def unrewritable(why: str) -> Refusal:
    return Refusal(
        RefusalCode.MASKED_COLUMN_USED,
        f"masked columns are used here in a way that cannot be masked: {why}",
        "select the masked columns by themselves, or leave them out",
        rule="guard.masking",
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


_SAID_AS_IT_IS = frozenset(("42P01", "3F000", "42501", "57014", "55P03", "40P01", "25P02", "57P01"))
"""SQLSTATEs of errors to names in FROM: they quote no data."""
