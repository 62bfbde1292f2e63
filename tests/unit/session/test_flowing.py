"""Rows that go on without the machine: only such as it would have passed on itself, with the same
bytes, sums and records; and the machine finds its stream where it would have been.
"""

import pytest

from appliance.audit.record import StatementFinished
from appliance.model.principal import Principal
from appliance.session.machine import SessionMachine
from appliance.wire.postgres import messages as m
from tests.playbook.speech import EMAIL_COLUMN, ID_COLUMN, IDLE, complete, described, query, row
from tests.playbook.world import ANN, DAN, GUS, MASKED, SECRET, Session

READ = "SELECT id, email FROM customers"
SHAPE = described(ID_COLUMN, EMAIL_COLUMN)
ROWS = [row(str(number), SECRET) for number in range(500)]
TAG = complete("SELECT 500")


def under_way(principal: Principal) -> SessionMachine:
    """The first rows of the result have come."""
    machine = Session(principal).machine
    machine.client_received(memoryview(query(READ)), 1.0)
    assert received(machine, SHAPE + b"".join(ROWS[:2])) != b""
    return machine


def received(machine: SessionMachine, chunk: bytes) -> bytes:
    turn = machine.upstream_received(memoryview(chunk), 1.0)
    return b"".join(bytes(piece) for piece in turn.client)


@pytest.mark.parametrize("principal", [ANN, DAN])
def test_what_flows_is_what_the_machine_would_have_said(principal: Principal) -> None:
    rest = b"".join(ROWS[2:])
    stream = rest + TAG + IDLE
    alone, flowing = under_way(principal), under_way(principal)
    flowed, said = 0, [b"", b""]
    for at in range(0, len(stream), 700):
        chunk = stream[at : at + 700]
        said[0] += received(alone, chunk)
        flowing.let_flow()
        done = 0
        if flowing.flow.open:
            given, done = flowing.flow.passed(chunk, 1.0)
            said[1] += given
            flowed += done
        if done < len(chunk):
            said[1] += received(flowing, chunk[done:])
    assert said[0] == said[1]
    assert flowed > len(rest) * 0.8  # a header that is cut is the machine's
    assert (SECRET.encode() in said[1]) == (principal is DAN)
    assert (MASKED.encode() in said[1]) == (principal is ANN)
    assert alone.totals == flowing.totals
    assert alone.totals[0] == 500
    assert alone.idle
    assert flowing.idle


@pytest.mark.parametrize("principal", [ANN, DAN])
def test_the_record_counts_what_flowed(principal: Principal) -> None:
    machine = under_way(principal)
    machine.let_flow()
    _, done = machine.flow.passed(b"".join(ROWS[2:]), 1.0)
    assert done == sum(map(len, ROWS[2:]))
    turn = machine.upstream_received(memoryview(TAG + IDLE), 1.0)
    (record,) = (r for r in turn.records if isinstance(r, StatementFinished))
    assert record.rows == 500
    assert record.cells_masked == (500 if principal is ANN else 0)
    assert record.sensitive_unmasked_cells == (500 if principal is DAN else 0)


def test_whatever_else_is_asked_closes_the_flow() -> None:
    machine = under_way(ANN)
    machine.let_flow()
    assert machine.flow.open
    machine.client_received(memoryview(query("SELECT 1")), 1.0)
    assert not machine.flow.open


def test_before_the_first_row_and_behind_the_last_nothing_flows() -> None:
    machine = Session(ANN).machine
    machine.let_flow()
    assert not machine.flow.open
    machine.client_received(memoryview(query(READ)), 1.0)
    machine.let_flow()
    assert not machine.flow.open
    received(machine, SHAPE)
    machine.let_flow()
    assert not machine.flow.open
    received(machine, ROWS[0] + TAG + IDLE)
    machine.let_flow()
    assert not machine.flow.open


def test_rows_that_are_counted_out_are_the_machines() -> None:
    machine = under_way(GUS)
    machine.let_flow()
    assert not machine.flow.open


def test_rows_behind_which_a_statement_waits_are_the_machines() -> None:
    machine = under_way(ANN)
    machine._state.runs.append((m.QUERY, 0, 1, query("SELECT 1")))
    machine.let_flow()
    assert not machine.flow.open
