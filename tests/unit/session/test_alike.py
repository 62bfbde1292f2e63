"""Texts that differ in constants which nothing looks at share a verdict, and nothing else."""

import pytest

from appliance.session.effects import Turn
from appliance.session.machine import SessionMachine
from appliance.wire.postgres import messages as m
from bench.test_micro_machine import COMPLETE, DESCRIPTION, GOVERNED, READY, ROW, machine

READ = "SELECT abalance FROM pgbench_accounts WHERE aid = {};"


@pytest.fixture
def made() -> SessionMachine:
    return machine(GOVERNED)


def ask(made: SessionMachine, text: str) -> tuple[Turn, bytes]:
    turn = made.client_received(m.query(text.encode()), 1.0)
    answer = made.upstream_received(DESCRIPTION + ROW + COMPLETE + READY, 1.0)
    return turn, b"".join(answer.client)


def analysed(made: SessionMachine) -> int:
    return made._state.judge._cache.analysed_inline


def test_the_second_is_not_analysed(made: SessionMachine) -> None:
    first, shown = ask(made, READ.format(4711))
    second, again = ask(made, READ.format(4712))
    assert analysed(made) == 1
    assert b"12000" in shown
    assert shown == again
    assert second.upstream == [m.query(READ.format(4712).encode())]
    one, other = (turn.records[-1].statement for turn in (first, second))
    assert one.text_digest != other.text_digest
    assert one.sql == other.sql


@pytest.mark.parametrize(
    "other",
    [
        "SELECT abalance FROM pgbench_accounts WHERE aid = 5000000000;",
        "SELECT abalance FROM pgbench_accounts WHERE aid = '4711';",
        "SELECT abalance FROM pgbench_accounts WHERE aid =  4711;",
        "SELECT abalance FROM pgbench_accounts WHERE bid = 4711;",
    ],
)
def test_others_are(made: SessionMachine, other: str) -> None:
    ask(made, READ.format(4711))
    ask(made, other)
    assert analysed(made) == 2


@pytest.mark.parametrize(
    "text",
    [
        "SELECT pg_ls_waldir() FROM pgbench_accounts WHERE aid = {}",
        "SELECT abalance + 1 FROM pgbench_accounts WHERE aid = {}",
        "SELECT abalance FROM pgbench_accounts WHERE abalance = {}",
    ],
    ids=["refused", "computed", "rewritten"],
)
def test_what_is_refused_or_rewritten_is_nobody_elses(made: SessionMachine, text: str) -> None:
    made.client_received(m.query(text.format(1).encode()), 1.0)
    made.client_received(m.query(text.format(2).encode()), 1.0)
    assert analysed(made) == 2
