"""Statements of our own that stay prepared on a connection to PostgreSQL: names, texts, parameters.

Prepared and run by `questions` and `hits`; `dataplane/cleaning` has the server say whether they are
what it holds. Rule: each text means the same under all settings (every name in it, operators too,
is qualified; no constant is read by a setting), so that one session may run what another prepared.
"""

from collections.abc import Mapping
from typing import NamedTuple

from appliance.sql.stamps import (
    CHECK_CALLS_QUERY,
    CHECK_QUERY,
    CHECK_TYPES,
    PROOF_CALLS_QUERY,
    PROOF_QUERY,
    PROOF_TYPES,
    STILL_QUERY,
    STILL_TYPES,
)
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals

CHECK_NAME = refusals.RESERVED + b"check"
CHECK_CALLS_NAME = refusals.RESERVED + b"check calls"
PROOF_NAME = refusals.RESERVED + b"proof"
PROOF_CALLS_NAME = refusals.RESERVED + b"proof calls"
STILL_NAME = refusals.RESERVED + b"still"
"""Fails unless the server's log ends where it is asked about."""


class Own(NamedTuple):
    """A text, and the types of its parameters (OIDs)."""

    text: str
    types: tuple[int, ...]


OWN: Mapping[bytes, Own] = {
    CHECK_NAME: Own(CHECK_QUERY, CHECK_TYPES),
    CHECK_CALLS_NAME: Own(CHECK_CALLS_QUERY, CHECK_TYPES),
    PROOF_NAME: Own(PROOF_QUERY, PROOF_TYPES),
    PROOF_CALLS_NAME: Own(PROOF_CALLS_QUERY, PROOF_TYPES),
    STILL_NAME: Own(STILL_QUERY, STILL_TYPES),
}

PASSING_NAMES = (refusals.QUERY_NAME, refusals.QUESTION_NAME, refusals.PROBE_NAME)
"""Of statements of ours that may be left behind, and are prepared anew each time."""


def parse_of(name: bytes) -> bytes:
    """The message that prepares one of OWN."""
    own = OWN[name]
    return m.parse(name, own.text.encode(), own.types)
