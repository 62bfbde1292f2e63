"""Refusals in PostgreSQL's own words: an ErrorResponse with SQLSTATE, DETAIL and HINT, and the
statements put in place of refused ones.

Called by `session/*`. A refused message is replaced by one of the same type that the server itself
must reject; the server's error is then rewritten. So reply order, transaction abort and
skip-until-Sync stay the server's (DESIGN 2.4).
"""

from appliance.model.refusal import Refusal, RefusalCode
from appliance.wire.postgres import messages

REFUSED_TEXT = b"sallyport refused this statement"
"""Not SQL in any version of PostgreSQL: raw parsing fails on its first word, before transaction
state matters.
"""
RESERVED = b"sallyport: "
"""How names of statements and portals begin that are ours: the session refuses them to clients."""
REFUSED_NAME = RESERVED + b"refused"
"""Never the name of anything."""
PROBE_NAME = RESERVED + b"settings"
QUESTION_NAME = RESERVED + b"question"
QUERY_NAME = RESERVED + b"query"
NAME_BYTES_MAX = 63
"""The server tells names apart by so many bytes (NAMEDATALEN - 1): longer ones could mean another's
statement or portal.
"""

_UNAVAILABLE = (RefusalCode.AUDIT_UNAVAILABLE, RefusalCode.CATALOG_UNAVAILABLE)


def error_response(refusal: Refusal, severity: str = "ERROR") -> bytes:
    """Message: what and why; DETAIL: code and rule, for people and programs; HINT: what to do next,
    and the id to quote. The id is in the HINT so that two refusals for one reason differ nowhere
    else.
    """
    detail = [f"code: {refusal.code.value}"]
    if refusal.rule:
        detail.append(f"rule: {refusal.rule}")
    hint = [refusal.remedy]
    if refusal.reference:
        hint.append(f"(quote {refusal.reference})")
    return messages.error_fields(
        messages.ERROR_RESPONSE,
        {
            "S": severity,
            "V": severity,
            "C": refusal.sqlstate,
            "M": refusal.message,
            "D": refusal.detail or ", ".join(detail),
            "H": " ".join(hint).strip(),
            "P": str(refusal.position) if refusal.position else "",
            "R": "sallyport",
        },
    )


def plain_error(sqlstate: str, message: str) -> bytes:
    """As the server itself would say it."""
    return messages.error_fields(
        messages.ERROR_RESPONSE, {"S": "ERROR", "V": "ERROR", "C": sqlstate, "M": message}
    )


def unacceptable(name: bytes) -> bytes:
    """The error for a name of a statement or portal that may not be used, b"" for all others."""
    if len(name) > NAME_BYTES_MAX:
        return plain_error("42622", f"a name is longer than {NAME_BYTES_MAX} bytes")
    if name.startswith(RESERVED):
        return plain_error("42939", "a reserved name")
    return b""


def fatal(sqlstate: str, message: str, hint: str = "", detail: str = "") -> bytes:
    """The last thing a client reads before its connection ends."""
    return messages.error_fields(
        messages.ERROR_RESPONSE,
        {
            "S": "FATAL",
            "V": "FATAL",
            "C": sqlstate,
            "M": message,
            "D": detail,
            "H": hint,
            "R": "sallyport",
        },
    )


def notice(sqlstate: str, message: str, hint: str = "") -> bytes:
    return messages.error_fields(
        messages.NOTICE_RESPONSE,
        {"S": "NOTICE", "V": "NOTICE", "C": sqlstate, "M": message, "H": hint, "R": "sallyport"},
    )


def timed_out(milliseconds: int) -> bytes:
    """In place of the server's "canceling statement due to user request", when it was policy that
    cancelled.
    """
    return messages.error_fields(
        messages.ERROR_RESPONSE,
        {
            "S": "ERROR",
            "V": "ERROR",
            "C": "57014",
            "M": f"canceling statement: policy gives it {milliseconds} ms here",
            "H": "make the statement cheaper, or ask the owners of the policy for more time",
            "R": "sallyport",
        },
    )


def rejected_query() -> bytes:
    return messages.query(REFUSED_TEXT)


def rejected_parse() -> bytes:
    return messages.parse(REFUSED_NAME, REFUSED_TEXT)


def rejected_bind() -> bytes:
    return messages.bind_unparameterised(REFUSED_NAME, REFUSED_NAME)


def rejected_describe(what: int) -> bytes:
    return messages.describe(what, REFUSED_NAME)


def rejected_execute() -> bytes:
    return messages.execute(REFUSED_NAME)


# --- diagnostics that could carry values ----------------------------------------------------------

_VALUE_FREE = frozenset(
    (
        "23502",
        "23503",
        "23505",
        "23514",
        "23P01",
        "25001",
        "25006",
        "25P01",
        "25P02",
        "25P03",
        "26000",
        "34000",
        "3F000",
        "40001",
        "40P01",
        "42501",
        "42601",
        "42702",
        "42703",
        "42704",
        "42710",
        "42712",
        "42803",
        "42804",
        "42830",
        "42883",
        "42939",
        "42P01",
        "42P02",
        "42P03",
        "42P05",
        "42P06",
        "42P07",
        "42P10",
        "42P18",
        "53100",
        "53200",
        "53300",
        "53400",
        "54001",
        "55000",
        "55006",
        "55P03",
        "57014",
        "57P01",
        "57P02",
        "57P03",
        "58030",
        "0A000",
        "08P01",
    )
)
"""SQLSTATEs whose primary message names objects but never data (PostgreSQL's own messages, error
style guide).
"""

_SAFE_ALWAYS = "SVCPFLR"
_SAFE_FIELDS = _SAFE_ALWAYS + "stdnc"


def is_diagnostic(body: messages.Buffer) -> bool:
    """Whether a notice is a LOG or DEBUG message: sent for client_min_messages, not for what a
    statement asked."""
    fields = messages.parse_error_fields(body)
    return fields.get("V", fields.get("S", "")).startswith(("LOG", "DEBUG"))


def withhold_values(body: messages.Buffer, kind: int) -> bytes:
    """The same error or notice without the fields that could carry data: DETAIL, HINT, CONTEXT,
    internal query; the primary message too unless its SQLSTATE is known to be free of values.
    Rebuilt, never patched. An error with a CONTEXT was raised inside a function or a trigger, which
    may choose SQLSTATE, message and names as it likes.
    """
    fields = messages.parse_error_fields(body)
    sqlstate = fields.get("C", "XX000")
    own_words = "W" not in fields
    safe = _SAFE_FIELDS if own_words else _SAFE_ALWAYS
    kept = {letter: fields[letter] for letter in safe if letter in fields}
    if kind == messages.ERROR_RESPONSE and own_words and sqlstate in _VALUE_FREE:
        kept["M"] = fields.get("M", "")
    elif kind == messages.ERROR_RESPONSE:
        kept["M"] = f"statement failed (SQLSTATE {sqlstate}); its message is withheld"
    else:
        kept["M"] = "notice withheld"
    if not fields.keys() <= {*safe, "M"}:
        kept["D"] = "details that could quote masked values are withheld from you"
    return messages.error_fields(kind, kept)
