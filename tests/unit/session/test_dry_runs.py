"""What is not run to be rolled back, whatever its facts say, and what approvers read of it."""

import msgspec
import pytest

from appliance.approval.request import Effect
from appliance.model.limits import Limits
from appliance.session import dry_runs
from appliance.session.flow import Verdict
from appliance.sql.analysis import analyse
from tests.playbook.world import ANN, DAN, LINEAGE, REHEARSED, Session

UPDATE = b"UPDATE notes SET body = 'x' WHERE id = 1"
FEW = Effect(rows_estimated=5)


def released(text: bytes, principal: object = DAN) -> Verdict:
    session = Session(principal, policy=REHEARSED)  # type: ignore[arg-type]
    settings = session.settings.current
    facts = analyse(text, LINEAGE, settings, Limits())
    verdict = session.judge.judge(text, facts, settings, 1000.0)
    assert verdict.released is not None
    return verdict.released


def said(text: bytes, effect: Effect = FEW, since: float = 10.0, principal: object = DAN) -> str:
    return dry_runs.objection(released(text, principal), text, effect, LINEAGE, since)


def test_it_is_run() -> None:
    assert said(UPDATE) == said(UPDATE, principal=ANN) == ""
    assert said(UPDATE, Effect(rows_estimated=dry_runs.ROWS_MAX)) == ""


@pytest.mark.parametrize(
    ("why", "text", "effect", "since"),
    [
        ("nobody can say", UPDATE, Effect(), 10.0),
        ("too many rows", UPDATE, Effect(rows_estimated=dry_runs.ROWS_MAX + 1), 10.0),
        ("too long", UPDATE + b" /* " + b"long " * 1_000 + b"*/", FEW, 10.0),
        ("just now", UPDATE, FEW, 0.99),
        ("random()", UPDATE + b" AND random() < 1", FEW, 10.0),
    ],
)
def test_it_is_not_run(why: str, text: bytes, effect: Effect, since: float) -> None:
    assert why in said(text, effect, since)


@pytest.mark.parametrize(
    "text",
    [
        b"UPDATE customers SET email = 'x'",
        b"UPDATE customers SET name = 'x' WHERE email = 'ada@example.org'",
        b"UPDATE notes SET body = 'x' WHERE EXISTS (SELECT FROM customers WHERE email < 'b')",
        b"INSERT INTO customers (id, email) VALUES (1, 'ada@example.org')",
        b"INSERT INTO customers VALUES (1)",
        b"DELETE FROM customers USING notes WHERE name = body RETURNING email",
    ],
)
def test_masked_columns_are_not_asked_about(text: bytes) -> None:
    """By nobody who owes masks on them."""
    verdict = msgspec.structs.replace(released(text), restricted=False)
    assert dry_runs.objection(verdict, text, FEW, LINEAGE, 10.0) == ""
    assert "masked columns" in said(text, principal=ANN)


def test_without_a_schema() -> None:
    assert dry_runs.objection(released(UPDATE), UPDATE, FEW, None, 10.0)


def test_what_approvers_read() -> None:
    guess = Effect(rows_estimated=5, note="a guess")
    assert dry_runs.counted(guess, 3, "") == Effect(
        rows_estimated=5, rows_counted=3, note="a guess"
    )
    assert dry_runs.counted(guess, None, "").note.endswith("was not understood")
    assert dry_runs.counted(guess, None, "23505").note == (
        "a guess; not counted: it failed with SQLSTATE 23505, and would now"
    )
