"""Facts, decision and refusal -> the parts of a StatementDecided.

Called by the worker once per distinct statement and decision; the parts are immutable and may be
kept as long as those are, which keeps the cost per execution at the record itself.
"""

from hashlib import sha256

import msgspec

from appliance.audit.record import (
    ClientPart,
    DecisionPart,
    MaskPart,
    RefusalPart,
    RulePart,
    StatementPart,
)
from appliance.audit.redact import clean_name, clean_names, clean_text
from appliance.model.catalog import Catalog, ColumnKey
from appliance.model.decision import Decision, Effect
from appliance.model.facts import Facts, RelationUse
from appliance.model.limits import AUDIT_NAMES_MAX
from appliance.model.principal import Client
from appliance.model.refusal import Refusal

UNDECIDED = DecisionPart(effect=Effect.DENY)
"""For what was refused before policy was asked (unparsable, too long, unknown message)."""


def statement_part(
    text: bytes, facts: Facts, shown: str | None = None, sent: bytes = b""
) -> StatementPart:
    """`text`: the client's exact bytes. `shown` replaces the redacted SQL where the configuration
    allows raw text; `sent` is what went to the database where that was not `text`."""
    statements = facts.statements
    return StatementPart(
        sql=clean_text(facts.redacted if shown is None else shown),
        text_digest=sha256(text).hexdigest(),
        text_bytes=len(text),
        sent_digest=sha256(sent).hexdigest() if sent else "",
        fingerprint=facts.fingerprint,
        kinds=clean_names(s.kind for s in statements),
        actions=facts.actions,
        relations=clean_names(_relation(use) for s in statements for use in s.relations),
        functions=clean_names(
            f"{use.schema}.{use.name}" if use.schema else use.name
            for s in statements
            for use in s.functions
        ),
        flags=tuple(sorted({f for s in statements for f in s.flags}, key=lambda f: f.value)),
        confidence=facts.confidence,
        failure="" if facts.failure is None else facts.failure.code,
        catalog_version=facts.catalog_version,
    )


def of_text(part: StatementPart, text: bytes) -> StatementPart:
    """The part of a text that differs from another in constants only, and is sent as it is."""
    return msgspec.structs.replace(part, text_digest=sha256(text).hexdigest(), text_bytes=len(text))


def unread_part(sql: str, digest: str, text_bytes: int) -> StatementPart:
    """For a text that was never gathered or analysed; `sql` says what stands in its place, e.g.
    '(too long)'."""
    return StatementPart(sql=clean_text(sql), text_digest=digest, text_bytes=text_bytes)


def decision_part(decision: Decision, catalog: Catalog | None) -> DecisionPart:
    """`catalog` names the masked columns."""
    masks = sorted(decision.masks.items())[:AUDIT_NAMES_MAX] if decision.masks else ()
    return DecisionPart(
        effect=decision.effect,
        rules=tuple(RulePart(r.rule, r.effect, r.message, r.observed) for r in decision.reasons),
        masks=tuple(
            MaskPart(clean_name(column_name(key, catalog)), mask.method, mask.rule)
            for key, mask in masks
        ),
        row_limit=decision.row_limit,
        timeout_ms=decision.statement_timeout_ms,
        rows_written_max=decision.rows_written_max,
        would_be=decision.would_be,
        policy_version=decision.policy_version,
    )


def refusal_part(refusal: Refusal) -> RefusalPart:
    return RefusalPart(refusal.code, refusal.rule, refusal.sqlstate)


def client_part(client: Client) -> ClientPart:
    return ClientPart(
        client.address, client.port, client.listener, client.tls, clean_name(client.application)
    )


def column_name(key: ColumnKey, catalog: Catalog | None) -> str:
    """schema.relation.column, or oid:attnum where the catalog does not know it."""
    relation = None if catalog is None else catalog.relations.get(key[0])
    if relation is not None:
        for column in relation.columns:
            if column.attnum == key[1]:
                return f"{relation.schema}.{relation.name}.{column.name}"
    return f"{key[0]}:{key[1]}"


def _relation(use: RelationUse) -> str:
    name = f"{use.schema}.{use.name}" if use.schema else use.name
    return f"{use.action.value} {name}"
