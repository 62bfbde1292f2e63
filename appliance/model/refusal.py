"""Why something was refused, in one shape for every protocol; `wire/*/refusals` turns it into
native errors.

Texts are written for the person or agent that reads them and never carry literals or values.
"""

import enum

import msgspec


class RefusalCode(enum.Enum):
    """Stable codes a program can branch on (they are part of the product's interface)."""

    DENIED = "denied"  # a policy rule, or no rule allowed it
    HOLD_UNAVAILABLE = "hold_unavailable"  # needs an approval, which is not to be had here or now
    HOLD_TICKET = "hold_ticket"  # asked for: send the statement again once it is approved
    HOLD_DENIED = "hold_denied"  # somebody said no
    HOLD_EXPIRED = "hold_expired"  # nobody said anything in time
    HOLD_WITHDRAWN = "hold_withdrawn"  # the client, or the appliance, gave up waiting
    HOLD_MISMATCH = "hold_mismatch"  # what was approved is not what would run
    UNPARSABLE = "unparsable"
    TOO_LONG = "too_long"
    TOO_COMPLEX = "too_complex"
    OPAQUE = "opaque"  # meaning cannot be seen
    UNRESOLVED = "unresolved"  # a name the catalog does not know, for somebody who owes a mask
    UNKNOWN_FUNCTION = "unknown_function"
    MASKED_COLUMN_USED = "masked_column_used"  # used in a way that the wire cannot mask
    UNMASKABLE = "unmaskable"  # COPY, or a type no mask exists for
    FORGED_IDENTITY = "forged_identity"  # setting what carries the principal's name
    FUNCTION_CALL_PROTOCOL = "function_call_protocol"
    UNKNOWN_MESSAGE = "unknown_message"
    AUDIT_UNAVAILABLE = "audit_unavailable"
    CATALOG_UNAVAILABLE = "catalog_unavailable"
    ANALYSIS_FAILED = "analysis_failed"
    STALE = "stale"  # what a prepared statement rests on changed
    AUTHENTICATION = "authentication"  # a login that failed; never says which part
    LIMIT = "limit"  # a bound of the appliance


class About(enum.Enum):
    """What a right is missing for: databases have errors of their own for each."""

    SESSION = "session"  # the server, its settings and files, other sessions, code
    SCHEMA = "schema"
    RELATION = "relation"
    COLUMN = "column"
    FUNCTION = "function"
    TEXT = "text"  # nothing but what was not understood


class Refusal(msgspec.Struct, frozen=True):
    code: RefusalCode
    message: str
    """What was refused and why, one sentence."""
    remedy: str = ""
    """What to do next."""
    rule: str = ""
    """Policy rule or built-in guard."""
    reference: str = ""
    """Id to quote; the audit record's."""
    sqlstate: str = "42501"
    about: About = About.SESSION
    """Of one for a missing right (42501). It follows from the text and from policy, never from
    whether something is there: nobody learns that of what they may not see."""
    position: int = 0
    """1-based character position in the text, 0 = none."""
    detail: str = ""
    """Machine-readable (JSON), where a program is to go on from it."""
