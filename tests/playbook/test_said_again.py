"""SHOW WARNINGS and its kin: answered as long as nothing that was masked can be quoted."""

import pytest

from appliance.audit.record import ProtocolKind
from tests.playbook.exchange_world import (
    EMAIL,
    PROBED,
    answers,
    played,
    prepare,
    query,
    says,
)
from tests.playbook.world import ANN, DAN
from tests.unit.wire.mysql.packets_said import column, eof, ok, text_row

SIMPLE = ProtocolKind.SIMPLE
WARNINGS = "SHOW WARNINGS"
BODY = column("body", "notes", "public")
SAID = answers(b"\x01", column("Message"), eof(), text_row("words"), eof())
TOUCHING = (
    says(query("SELECT email FROM customers")),
    answers(b"\x01", EMAIL, eof(), text_row("x"), eof()),
)
WIPING = (
    says(query("SELECT body FROM notes")),
    answers(b"\x01", BODY, eof(), text_row("x"), eof()),
)


def test_in_a_fresh_session_and_behind_what_touches_nothing() -> None:
    *_, asked, told = played(says(query(WARNINGS)), SAID, *WIPING, says(query(WARNINGS)), SAID)[:6]
    assert asked.decided == ((SIMPLE, ""),) and b"words" in told.client


@pytest.mark.parametrize("text", [WARNINGS, "SHOW ERRORS LIMIT 1", "GET DIAGNOSTICS @n = NUMBER"])
def test_behind_what_touches_a_masked_column(text: str) -> None:
    *_, asked = played(*TOUCHING, says(query(text)), principal=ANN)
    assert asked.decided == ((SIMPLE, "denied"),) and not asked.upstream


def test_what_wipes_nothing_leaves_it_suspect() -> None:
    variable = (says(query("SET @x = 1")), answers(ok()))
    *_, asked = played(*TOUCHING, *variable, says(query(WARNINGS)), PROBED, principal=ANN)
    assert asked.decided == ((SIMPLE, "denied"),) and not asked.upstream


def test_what_wipes_it_lets_it_through() -> None:
    *_, asked, told = played(*TOUCHING, *WIPING, says(query(WARNINGS)), SAID, principal=ANN)
    assert asked.upstream and b"words" in told.client


def test_what_is_prepared_may_have_been_read_already() -> None:
    *_, asked = played(
        says(prepare("SELECT email FROM customers")),
        answers(b"\xff\x00\x04#HY000x"),
        says(query(WARNINGS)),
        principal=ANN,
    )
    assert not asked.upstream


def test_not_in_one_text_with_others() -> None:
    (asked,) = played(says(query(f"SELECT email FROM customers; {WARNINGS}")), principal=ANN)
    assert not asked.upstream


def test_who_owes_nothing_is_told() -> None:
    *_, asked, told = played(*TOUCHING, says(query(WARNINGS)), SAID, principal=DAN)
    assert asked.upstream and b"words" in told.client
