"""Facts of a text that nobody has read: one opaque statement, which only a rule that names the
opaque can allow.

Rule: nothing is guessed.
"""

from typing import Any

from _speedups import mylex
from appliance.model.catalog import SessionSettings
from appliance.model.facts import Action, Confidence, Facts, ParseFailure, StatementFacts
from appliance.model.limits import Limits


def unread(text: bytes, lineage: Any, settings: SessionSettings, limits: Limits) -> Facts:
    """`Dialect.analyse` of a text as a whole."""
    failure = ParseFailure("syntax", "the statement's meaning cannot be seen")
    if len(text) > limits.statement_bytes_max:
        failure = ParseFailure("too_long", "the statement is longer than is analysed")
    statement = StatementFacts(
        kind="Unparsed",
        actions=(Action.OPAQUE,),
        outputs_known=False,
        unresolved=(failure.message,),
        confidence=Confidence.OPAQUE,
        span=(0, len(text)),
    )
    return Facts(
        statements=(statement,),
        failure=failure,
        settings_digest=settings.digest(),
        catalog_version="" if lineage is None else lineage.catalog.version,
        redacted=mylex.redact(text).decode("utf-8", "replace"),
    )
