"""Facts and decisions become parts of records, names resolved, nothing raw."""

from hashlib import sha256

from appliance.audit.compose import (
    client_part,
    column_name,
    decision_part,
    refusal_part,
    statement_part,
    unread_part,
)
from appliance.audit.record import MaskPart, RefusalPart, RulePart
from appliance.model.catalog import Catalog, Column, Relation
from appliance.model.decision import Decision, Effect, Mask, MaskMethod, Reason
from appliance.model.facts import (
    Action,
    Confidence,
    Facts,
    Flag,
    FunctionUse,
    ParseFailure,
    RelationUse,
    StatementFacts,
)
from appliance.model.principal import Client
from appliance.model.refusal import Refusal, RefusalCode

CUSTOMERS = Relation(7, "shop", "customers", "r", (Column(1, "id", 23), Column(2, "email", 25)))
CATALOG = Catalog("shop", "shop", "c1", 160000, ("shop",), {7: CUSTOMERS}, {}, {})


def test_statement_part() -> None:
    facts = Facts(
        statements=(
            StatementFacts(
                kind="UpdateStmt",
                actions=(Action.UPDATE, Action.SELECT),
                relations=(
                    RelationUse(Action.UPDATE, "shop", "customers", 7),
                    RelationUse(Action.SELECT, "", "nowhere"),
                ),
                functions=(FunctionUse("shop", "f"), FunctionUse("", "g")),
                flags=frozenset({Flag.WRITES, Flag.NO_WHERE}),
                confidence=Confidence.PARTIAL,
            ),
        ),
        fingerprint="fp",
        failure=ParseFailure("syntax", "secret"),
        catalog_version="c1",
        redacted="update customers set email = $_",
    )
    text = b"update customers set email = 'a@b.c'"
    part = statement_part(text, facts)
    assert part.sql == "update customers set email = $_"
    assert part.text_digest == sha256(text).hexdigest()
    assert part.text_bytes == len(text)
    assert part.relations == ("update shop.customers", "select nowhere")
    assert part.functions == ("shop.f", "g")
    assert part.flags == (Flag.NO_WHERE, Flag.WRITES)
    assert (part.confidence, part.failure) == (Confidence.PARTIAL, "syntax")
    assert statement_part(text, facts, "raw").sql == "raw"
    assert unread_part("(too long)", "ab", 9).text_bytes == 9


def test_decision_part_names_columns() -> None:
    decision = Decision(
        effect=Effect.ALLOW,
        reasons=(Reason("r", "allow"), Reason("o", "deny", "no", observed=True)),
        masks={
            (7, 2): Mask(MaskMethod.EMAIL, rule="pii"),
            (9, 1): Mask(MaskMethod.NULL, rule="x"),
        },
        row_limit=10,
        statement_timeout_ms=500,
        rows_written_max=3,
        policy_version="p1",
        would_be=Effect.DENY,
    )
    part = decision_part(decision, CATALOG)
    assert part.rules == (RulePart("r", "allow"), RulePart("o", "deny", "no", True))
    assert part.masks == (
        MaskPart("shop.customers.email", MaskMethod.EMAIL, "pii"),
        MaskPart("9:1", MaskMethod.NULL, "x"),
    )
    assert (part.row_limit, part.timeout_ms, part.would_be) == (10, 500, Effect.DENY)
    assert part.rows_written_max == 3
    assert column_name((7, 99), CATALOG) == "7:99"
    assert column_name((7, 1), None) == "7:1"


def test_refusal_and_client_parts() -> None:
    refusal = Refusal(RefusalCode.DENIED, "no", rule="r", sqlstate="42501")
    assert refusal_part(refusal) == RefusalPart(RefusalCode.DENIED, "r", "42501")
    assert client_part(Client("::1", 5, "l", True, "evil\x1b[m")).application == "evil?[m"
