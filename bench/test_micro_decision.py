"""What it takes to know what becomes of a statement: one that was decided before (the hit path, up
to its record), and one that nobody has seen (facts, decision, plan).

    .venv/bin/python -m pytest bench/test_micro_decision.py

`hit_us` and `miss_us` of `bench.figures` are these two.
"""

import secrets
import time
from typing import Any

from _speedups.hitcycle import Count, HitLedger
from _speedups.pghits import HitPath
from appliance.model.refusal import Refusal
from appliance.session.hits import HELD
from appliance.session.machine import SessionMachine
from appliance.telemetry.metrics import SECONDS_BOUNDS
from appliance.wire.postgres import messages as m
from bench.micro import AT_ONCE
from bench.test_micro_machine import COMPLETE, GOVERNED, OID, READY, machine

TEXT = (
    "SELECT a.aid, a.abalance{}, b.bid FROM pgbench_accounts a JOIN pgbench_accounts b"
    " ON a.bid = b.bid WHERE a.aid = {} AND b.aid = {} ORDER BY a.aid, b.bid"
)
HIT_US_MAX, MISS_US_MAX = 30.0, 6_000.0
"""Ten times what is wanted: these find a blunder, on whatever machine."""


def described() -> bytes:
    columns = ((b"aid", 1), (b"abalance", 3), (b"bid", 2))
    fields = b"".join(
        name + b"\0" + OID.to_bytes(4) + number.to_bytes(2) + (23).to_bytes(4) + b"\0\4"
        b"\xff\xff\xff\xff\0\0"
        for name, number in columns
    )
    return m.frame(m.ROW_DESCRIPTION, len(columns).to_bytes(2) + fields)


def with_path(made: SessionMachine) -> HitPath:
    ledger = HitLedger(lambda: None, lambda: None, secrets.token_bytes, SECONDS_BOUNDS)
    state = made._state
    path = HitPath(
        ledger,
        Count(),
        state.recorder.sequence,
        state.pace,
        state.statements.settled,
        "s" * 32,
        HELD,
        4096,
    )
    state.hits.path = path
    return path


def test_hit(benchmark: Any) -> None:
    made = machine(GOVERNED)
    path = with_path(made)
    row = m.frame(m.DATA_ROW, b"\0\3" + 3 * b"\0\0\0\x0512345")
    reply = described() + row + COMPLETE + READY
    for number in range(4):
        made.client_received(memoryview(m.query(TEXT.format("", number, 17).encode())), 1.0)
        turn = made.upstream_received(memoryview(reply), 1.0)
        assert b"12000" in b"".join(turn.client)
    texts = [
        m.query(TEXT.format("", number, 17).encode()) for number in range(1000, 1000 + AT_ONCE)
    ]
    now = time.time()
    assert path.client(texts[0], now)
    path.drop()

    def hit() -> None:
        for text in texts:
            path.client(text, now)
            path.drop()

    benchmark(hit)
    assert benchmark.stats.stats.median * 1e6 / AT_ONCE < HIT_US_MAX


def test_miss(benchmark: Any) -> None:
    judge = machine(GOVERNED)._state.judge
    settings = machine(GOVERNED)._state.settings.current
    numbers = iter(range(10**9))
    refused: list[Refusal | None] = []

    def miss() -> None:
        text = TEXT.format(f" AS c{next(numbers)}", 4711, 17).encode()
        assert judge.recall(text, settings, 1.0) is None
        facts = judge.analyse_inline(text, settings)
        refused.append(judge.judge(text, facts, settings, 1.0).refusal)

    benchmark(miss)
    assert set(refused) == {None}
    assert benchmark.stats.stats.median * 1e6 < MISS_US_MAX
