"""A text that crashes, hangs or exhausts the analyzer process costs that text only."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
import uvloop

from appliance.dataplane.analyzer import (
    CATALOGS_KEPT_MAX,
    LONG_TEXT_BYTES_MIN,
    OWNER_WAITING_MAX,
    WAITING_MAX,
    Analysis,
    Analyzer,
)
from appliance.model.catalog import Catalog, Column, Function, Relation, SessionSettings
from appliance.model.facts import Action, Confidence, Facts
from appliance.model.limits import Limits
from appliance.telemetry.metrics import Metrics

SETTINGS = SessionSettings(database="shop", temp_relations=frozenset({"t"}))
HERE = Path(__file__).parent


def redact(text: bytes) -> bytes:
    return b"redacted:" + text[:4]


class Lineage:
    def __init__(self, version: str) -> None:
        relation = Relation(
            oid=16384, schema="public", name="t", kind="r", columns=(Column(1, "a", 23),)
        )
        function = Function(1, "public", "f", "f", "sql", "integer")
        self.catalog = Catalog(
            target="shop",
            database="shop",
            version=version,
            server_version_num=160000,
            schemas=("public",),
            relations={16384: relation},
            by_name={("public", "t"): 16384},
            functions={("public", "f"): (function,)},
            types={("public", "mood"): 99},
        )


@pytest.fixture(autouse=True)
def entries_importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(HERE))


@pytest.fixture
async def analyzer() -> AsyncIterator[Analyzer]:
    made = analyzer_of(milliseconds=2_000)
    await made.start()
    yield made
    await made.stop()


def analyzer_of(
    milliseconds: int = 2_000, memory_bytes_max: int = 1 << 31, metrics: Metrics | None = None
) -> Analyzer:
    """Who asks while a child starts waits for four times `milliseconds` and is told `busy` then:
    long enough by default for a Python to start on a loaded machine.
    """
    return Analyzer(
        Limits(analysis_ms_max=milliseconds),
        metrics or Metrics(),
        Analysis("analyzer_entries:DIALECT", "analyzer_entries:Lineage", redact),
        memory_bytes_max=memory_bytes_max,
    )


def assert_refusable(facts: Facts, code: str) -> None:
    assert facts.failure is not None
    assert facts.failure.code == code
    (statement,) = facts.statements
    assert statement.kind == "Unparsed"
    assert statement.actions == (Action.OPAQUE,)
    assert statement.confidence is Confidence.OPAQUE
    assert facts.redacted.startswith("redacted:")
    assert facts.settings_digest == SETTINGS.digest()


async def test_facts_come_back(analyzer: Analyzer) -> None:
    facts = await analyzer.analyse(b"echo hi", None, SETTINGS)
    assert facts.fingerprint == "hi"
    assert facts.settings_digest == SETTINGS.digest()
    assert facts.failure is None


async def test_a_crash_costs_that_statement_only(analyzer: Analyzer) -> None:
    first = asyncio.create_task(analyzer.analyse(b"echo 1", None, SETTINGS))
    crash = asyncio.create_task(analyzer.analyse(b"segfault", Lineage("v1"), SETTINGS))
    after = [
        asyncio.create_task(analyzer.analyse(f"echo {n}".encode(), None, SETTINGS))
        for n in range(10)
    ]
    assert (await first).fingerprint == "1"
    assert_refusable(await crash, "crashed")
    assert [f.fingerprint for f in await asyncio.gather(*after)] == [str(n) for n in range(10)]


async def test_a_hang_hits_the_deadline_and_stalls_nobody_for_longer() -> None:
    analyzer = analyzer_of()
    await analyzer.start()
    try:
        begun = time.monotonic()
        hang = asyncio.create_task(analyzer.analyse(b"hang", None, SETTINGS))
        after = asyncio.create_task(analyzer.analyse(b"echo x", None, SETTINGS))
        assert_refusable(await hang, "timeout")
        assert 1.9 < time.monotonic() - begun < 2.9
        assert (await after).fingerprint == "x"
    finally:
        await analyzer.stop()


async def test_the_event_loop_runs_on_while_the_child_is_busy(analyzer: Analyzer) -> None:
    busy = asyncio.create_task(analyzer.analyse(b"sleep 0.5", None, SETTINGS))
    await asyncio.sleep(0)
    longest, last = 0.0, time.monotonic()
    while not busy.done():
        await asyncio.sleep(0.005)
        longest, last = max(longest, time.monotonic() - last), time.monotonic()
    assert longest < 0.2


async def test_fifty_at_once_are_all_answered(analyzer: Analyzer) -> None:
    texts = [f"echo {n} {'x' * 30_000}" for n in range(50)]
    found = await asyncio.gather(
        *(analyzer.analyse(text.encode(), Lineage("v1"), SETTINGS) for text in texts)
    )
    assert [f"echo {f.fingerprint}" for f in found] == texts


async def test_too_much_memory_and_exceptions_are_failures(analyzer: Analyzer) -> None:
    assert_refusable(await analyzer.analyse(b"exhaust", None, SETTINGS), "crashed")
    raised = await analyzer.analyse(b"raise", None, SETTINGS)
    assert_refusable(raised, "crashed")
    assert "secret" not in repr(raised)
    assert (await analyzer.analyse(b"echo on", None, SETTINGS)).fingerprint == "on"


async def test_the_queue_is_bounded(analyzer: Analyzer) -> None:
    tasks = [
        asyncio.create_task(analyzer.analyse(b"sleep 0.01", None, SETTINGS, f"p{n % 8}"))
        for n in range(WAITING_MAX + 20)
    ]
    results = await asyncio.gather(*tasks)
    assert sum(f.failure is not None for f in results) in range(19, 21)
    assert_refusable(next(f for f in results if f.failure), "busy")


async def test_one_owner_fills_its_share_only(analyzer: Analyzer) -> None:
    greedy = [
        asyncio.create_task(analyzer.analyse(b"sleep 0.01", None, SETTINGS, "greedy"))
        for _ in range(WAITING_MAX)
    ]
    other = asyncio.create_task(analyzer.analyse(b"echo x", None, SETTINGS, "other"))
    assert (await other).fingerprint == "x"
    results = await asyncio.gather(*greedy)
    assert sum(f.failure is None for f in results) in range(
        OWNER_WAITING_MAX, OWNER_WAITING_MAX + 2
    )


async def test_owners_take_turns(analyzer: Analyzer) -> None:
    """Who comes while an owner's long text runs waits for that one only, whenever it comes."""
    order: list[str] = []

    async def ask(text: str, owner: str) -> None:
        assert (await analyzer.analyse(text.encode(), None, SETTINGS, owner)).failure is None
        order.append(owner)

    slow = [asyncio.create_task(ask("sleep 0.2", "a")) for _ in range(4)]
    await asyncio.sleep(0.05)
    small = [asyncio.create_task(ask("echo x", owner)) for owner in ("b", "b", "c")]
    await asyncio.gather(*slow, *small)
    assert order == ["a", "b", "c", "a", "b", "a", "a"]


async def test_a_very_long_text_holds_up_none_that_is_shorter() -> None:
    """Nor does what became of it: it has a child of its own, which starts with the first one."""
    metrics, others = Metrics(), {*psutil.Process().children()}
    analyzer = analyzer_of(metrics=metrics)
    await analyzer.start()
    try:
        long = "sleep 1" + " " * LONG_TEXT_BYTES_MIN
        (child,) = {*psutil.Process().children()} - others
        slow = [
            asyncio.create_task(analyzer.analyse(long.encode(), None, SETTINGS, owner))
            for owner in ("a", "a", "b", "c")
        ]
        await asyncio.sleep(0)
        assert metrics.analyzer_queue == 4
        for _ in range(5):
            begun = time.monotonic()
            found = await analyzer.analyse(b"pid", None, SETTINGS, "b")
            assert int(found.fingerprint) == child.pid
            assert time.monotonic() - begun < 0.5
            await asyncio.sleep(0.2)
        assert not any(task.done() for task in slow[1:])
        assert [facts.failure for facts in await asyncio.gather(*slow)] == [None] * 4
        assert metrics.analyzer_queue == 0
        assert len({*psutil.Process().children()} - others) == 2
    finally:
        await analyzer.stop()
    assert {*psutil.Process().children()} <= others


async def test_a_very_long_text_starts_nothing_once_all_is_stopped() -> None:
    others = {*psutil.Process().children()}
    analyzer = analyzer_of(milliseconds=50)
    await analyzer.start()
    await analyzer.stop()
    text = b"echo" + b" " * LONG_TEXT_BYTES_MIN
    assert_refusable(await analyzer.analyse(text, None, SETTINGS), "busy")
    assert {*psutil.Process().children()} <= others


async def test_who_gave_up_takes_no_place(analyzer: Analyzer) -> None:
    busy = asyncio.create_task(analyzer.analyse(b"sleep 0.3", None, SETTINGS, "b"))
    await asyncio.sleep(0.05)
    gone = [
        asyncio.create_task(analyzer.analyse(b"echo y", None, SETTINGS, "a"))
        for _ in range(OWNER_WAITING_MAX)
    ]
    await asyncio.sleep(0.05)
    for task in gone:
        task.cancel()
    await asyncio.wait(gone)
    assert (await analyzer.analyse(b"echo x", None, SETTINGS, "a")).fingerprint == "x"
    assert (await busy).failure is None


async def test_catalogs_are_sent_once_and_few_are_kept(analyzer: Analyzer) -> None:
    for _ in range(3):
        assert (await analyzer.analyse(b"echo", Lineage("v0"), SETTINGS)).catalog_version == "v0"
    versions = [f"v{n}" for n in range(CATALOGS_KEPT_MAX + 1)]
    for version in versions:
        facts = await analyzer.analyse(b"echo", Lineage(version), SETTINGS)
        assert facts.catalog_version == version
    assert (await analyzer.analyse(b"made", None, SETTINGS)).fingerprint.split(",") == versions
    await analyzer.analyse(b"echo", Lineage("v0"), SETTINGS)  # was the one dropped
    assert (await analyzer.analyse(b"made", None, SETTINGS)).fingerprint.endswith("v0")


async def test_catalogs_are_sent_again_after_a_crash(analyzer: Analyzer) -> None:
    await analyzer.analyse(b"segfault", Lineage("v1"), SETTINGS)
    facts = await analyzer.analyse(b"echo", Lineage("v1"), SETTINGS)
    assert facts.catalog_version == "v1"


async def test_a_child_killed_while_idle_is_replaced(analyzer: Analyzer) -> None:
    pid = int((await analyzer.analyse(b"pid", None, SETTINGS)).fingerprint)
    psutil.Process(pid).kill()
    await asyncio.sleep(0.2)
    facts = await analyzer.analyse(b"pid", None, SETTINGS)
    assert facts.failure is None
    assert int(facts.fingerprint) != pid


async def test_a_child_that_cannot_start_refuses_and_recovers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ANALYZER_ENTRY_BROKEN", "1")
    analyzer = analyzer_of(milliseconds=300)
    await analyzer.start()
    try:
        assert_refusable(await analyzer.analyse(b"echo x", None, SETTINGS), "busy")
        monkeypatch.setenv("ANALYZER_ENTRY_BROKEN", "0")
        for _ in range(20):
            facts = await analyzer.analyse(b"echo x", None, SETTINGS)
            if facts.failure is None:
                break
        assert facts.fingerprint == "x"
    finally:
        await analyzer.stop()


async def test_stop_answers_those_who_wait_and_leaves_no_child(analyzer: Analyzer) -> None:
    pid = int((await analyzer.analyse(b"pid", None, SETTINGS)).fingerprint)
    waiting = [asyncio.create_task(analyzer.analyse(b"sleep 5", None, SETTINGS)) for _ in range(3)]
    await asyncio.sleep(0.05)
    await analyzer.stop()
    for task in waiting:
        assert_refusable(await task, "crashed")
    assert not psutil.pid_exists(pid)


async def test_a_caller_that_goes_away_is_skipped(analyzer: Analyzer) -> None:
    busy = asyncio.create_task(analyzer.analyse(b"sleep 0.2", None, SETTINGS))
    gone = asyncio.create_task(analyzer.analyse(b"segfault", None, SETTINGS))
    await asyncio.sleep(0.05)
    gone.cancel()
    assert (await busy).failure is None
    assert (await analyzer.analyse(b"echo x", None, SETTINGS)).fingerprint == "x"


def test_on_the_event_loop_of_a_worker() -> None:
    """Crash, hang and recovery once more on uvloop, whose subprocess code is its own."""

    async def scenario() -> tuple[Facts, Facts, Facts]:
        analyzer = analyzer_of()
        await analyzer.start()
        try:
            crashed = await analyzer.analyse(b"segfault", Lineage("v1"), SETTINGS)
            hung = await analyzer.analyse(b"hang", Lineage("v1"), SETTINGS)
            return crashed, hung, await analyzer.analyse(b"echo x", Lineage("v1"), SETTINGS)
        finally:
            await analyzer.stop()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        crashed, hung, fine = runner.run(scenario())
    assert_refusable(crashed, "crashed")
    assert_refusable(hung, "timeout")
    assert fine.fingerprint == "x"


def test_the_child_holds_little() -> None:
    """Its link and the standard streams, no descriptor of the worker's; no core file; on uvloop,
    which closes nothing by itself.
    """

    async def scenario() -> None:
        analyzer = analyzer_of()
        decoy, other = os.pipe()
        os.set_inheritable(decoy, True)
        await analyzer.start()
        try:
            pid = int((await analyzer.analyse(b"pid", None, SETTINGS)).fingerprint)
            child = psutil.Process(pid)
            assert child.num_fds() == 4
            assert child.rlimit(psutil.RLIMIT_CORE) == (0, 0)
            assert child.rlimit(psutil.RLIMIT_AS)[0] == 1 << 31
        finally:
            await analyzer.stop()
            os.close(decoy)
            os.close(other)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scenario())


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ("select " + ", ".join(f"{n} as c{n}" for n in range(2_000)), "SelectStmt", ""),
        ("select 1 " + "union all select 1 " * 20_000, "Unparsed", "too_deep"),
        ("select 1" + "+1" * 24_000, "Unparsed", "too_deep"),
        ("select 'x", "Unparsed", "syntax"),
    ],
    ids=["wide", "union", "plus", "syntax"],
)
async def test_the_real_analysis(text: str, kind: str, code: str) -> None:
    """What is in the product, including the two texts that crash a parser asked naively."""
    analyzer = Analyzer(Limits(), Metrics())
    await analyzer.start()
    try:
        facts = await analyzer.analyse(text.encode(), None, SETTINGS)
    finally:
        await analyzer.stop()
    assert facts.statements[0].kind == kind
    assert (facts.failure.code if facts.failure else "") == code
