"""What is read off a plan, and which texts are planned."""

import json
from typing import Any

import pytest

from appliance.approval.request import Effect
from appliance.model.limits import Limits
from appliance.session.estimates import ANSWER_BYTES_MAX, effect_of, rows_expected, unasked
from appliance.sql.analysis import analyse
from tests.playbook.world import LINEAGE, Session


def node(kind: str, rows: object, *below: Any, relation: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"Node Type": kind, "Plan Rows": rows, "Alias": "t"}
    if relation:
        made["Parent Relationship"] = relation
    if below:
        made["Plans"] = list(below)
    return made


SCAN = node("Seq Scan", 42, relation="Outer")
UPDATE = node("ModifyTable", 0, SCAN)


@pytest.mark.parametrize(
    ("plan", "rows"),
    [
        (node("Seq Scan", 42), 42),
        (node("Aggregate", 1, SCAN), 1),
        (UPDATE, 42),
        (node("ModifyTable", 42, node("CTE Scan", 9, relation="InitPlan"), SCAN), 42),
        (node("CTE Scan", 5, node("ModifyTable", 7, SCAN, relation="InitPlan")), 42),
        (node("ModifyTable", 0, {**UPDATE, "Parent Relationship": "InitPlan"}, SCAN), 84),
        (
            node("ModifyTable", 3, *(node("Seq Scan", n, relation="Member") for n in (1, 2))),
            3,
        ),  # PostgreSQL 13 and before, partitions
        (node("ModifyTable", 0), None),
        (node("Seq Scan", -1), None),
        (node("Seq Scan", 10**30), None),
        (node("Seq Scan", "42"), None),
        ({"Node Type": "Seq Scan"}, None),
    ],
)
def test_rows_of_a_plan(plan: Any, rows: int | None) -> None:
    assert rows_expected(json.dumps([{"Plan": plan, "Settings": {}}]).encode()) == rows


@pytest.mark.parametrize(
    "answer", [b"", b"[]", b"{}", b"[{}]", b"\xff", b"null", b'[{"Plan":' * 50_000]
)
def test_what_is_no_plan(answer: bytes) -> None:
    assert rows_expected(answer) is None


def test_rows_that_are_sent_later() -> None:
    facts = analyse(b"COPY notes FROM STDIN", LINEAGE, Session().settings.current, Limits())
    assert "nobody has seen its rows" in unasked(facts)


def test_an_answer() -> None:
    content = json.dumps([{"Plan": UPDATE}]).encode()
    head = b"D\0\0\0\0\0\x01" + len(content).to_bytes(4, "big")
    assert effect_of(head + content, None) == Effect(rows_estimated=42)
    assert effect_of(head + content, {"C": "42501", "M": "secret"}).rows_estimated is None
    assert "secret" not in effect_of(b"", {"C": "42501", "M": "secret"}).note
    assert "too long" in effect_of(head + content.ljust(ANSWER_BYTES_MAX), None).note
    assert "not understood" in effect_of(b"", None).note


@pytest.mark.parametrize(
    ("text", "planned"),
    [
        ("SELECT id FROM notes WHERE id = 1", True),
        ("INSERT INTO notes VALUES (1, 'x') RETURNING id", True),
        ("WITH gone AS (DELETE FROM notes RETURNING id) SELECT count(*) FROM gone", True),
        ("MERGE INTO notes USING customers c ON c.id = notes.id WHEN MATCHED THEN DELETE", True),
        ("SELECT mine()", False),
        ("UPDATE notes SET body = mine(1)", False),
        ("SELECT id INTO other FROM notes", False),
        ("EXPLAIN SELECT 1", False),
        ("EXPLAIN ANALYZE DELETE FROM notes", False),
        ("DELETE FROM notes; SELECT 1", False),
        ("TRUNCATE notes", False),
        ("DO $$ BEGIN END $$", False),
        ("SELECT set_config('a.b', 'x', false)", False),
        ("", False),
    ],
)
def test_which_texts_are_planned(text: str, planned: bool) -> None:
    settings = Session().settings.current
    facts = analyse(text.encode(), LINEAGE, settings, Limits())
    assert (unasked(facts) == "") is planned
