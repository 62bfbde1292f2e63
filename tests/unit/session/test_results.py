"""Rows meet the lock of their own result: kept while nothing changed, and whole where masked."""

import pytest

from appliance.model.errors import Refused
from appliance.wire.postgres import messages as m
from bench.test_micro_machine import (
    COMPLETE,
    DESCRIPTION,
    GOVERNED,
    OID,
    READY,
    ROW,
    SIMPLE,
    TEXT,
    machine,
)

BOUND = m.frame(m.BIND_COMPLETE, b"")
SUSPENDED = m.frame(m.PORTAL_SUSPENDED, b"")
OPEN = m.ready_for_query(ord("T"))
UNMASKED = DESCRIPTION.replace(OID.to_bytes(4) + b"\0\3", OID.to_bytes(4) + b"\0\1")
MASKED = b"\x0512000"


def test_a_resumed_portals_rows_are_masked_wherever_the_chunks_are_cut() -> None:
    session = machine(GOVERNED)
    session.client_received(
        m.parse(b"s", TEXT)
        + m.frame(m.BIND, b"p\0s\0\0\0\0\1\0\0\0\x011\0\0")
        + m.describe(m.PORTAL, b"p")
        + m.execute(b"p", 1)
        + m.SYNC_FRAME,
        1.0,
    )
    first = session.upstream_received(
        m.frame(m.PARSE_COMPLETE, b"") + BOUND + DESCRIPTION + ROW + SUSPENDED + OPEN, 1.0
    )
    assert MASKED in b"".join(first.client)
    session.client_received(m.query(b"SELECT aid FROM pgbench_accounts"), 1.0)
    between = session.upstream_received(UNMASKED + ROW + COMPLETE + OPEN, 1.0)
    assert b"12345" in b"".join(between.client)
    session.client_received(m.execute(b"p", 1) + m.SYNC_FRAME, 1.0)
    half = len(ROW) // 2
    pieces = [ROW[:half], ROW[half:] + COMPLETE + OPEN]
    shown = b"".join(b"".join(session.upstream_received(piece, 1.0).client) for piece in pieces)
    assert MASKED in shown
    assert b"12345" not in shown


def test_the_same_description_has_the_same_lock_until_the_verdict_changes() -> None:
    session = machine(GOVERNED)
    for _ in range(3):
        session.client_received(m.query(SIMPLE), 1.0)
        turn = session.upstream_received(DESCRIPTION + ROW + COMPLETE + READY, 1.0)
        assert MASKED in b"".join(turn.client)
    assert session.totals[2] == 3


def test_another_description_is_held_against_the_plan_again() -> None:
    session = machine(GOVERNED)
    session.client_received(m.query(SIMPLE), 1.0)
    session.upstream_received(DESCRIPTION + ROW + COMPLETE + READY, 1.0)
    elsewhere = DESCRIPTION.replace(OID.to_bytes(4) + b"\0\3", OID.to_bytes(4) + b"\0\4")
    assert elsewhere != DESCRIPTION
    session.client_received(m.query(SIMPLE), 1.0)
    with pytest.raises(Refused):
        session.upstream_received(elsewhere + ROW, 1.0)
