"""What a statement costs in the session's machine once its verdict is known: no sockets, no server.

    .venv/bin/python -m pytest bench/test_micro_machine.py

One round is what the worker does for one query: client bytes in, upstream bytes in, both records
appended. `governed` owes a mask on the very column it reads, `permissive` nothing.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.audit.record import new_id
from appliance.config.schema import Announce
from appliance.model.catalog import Catalog, Column, Relation
from appliance.model.limits import Limits
from appliance.model.principal import Client, Principal, PrincipalKind, Target
from appliance.policy.compile import compile_documents
from appliance.policy.presets import PERMISSIVE
from appliance.session.announce import Announcement
from appliance.session.cache import Cache
from appliance.session.effects import Turn
from appliance.session.flow import Judge
from appliance.session.machine import SessionMachine
from appliance.session.named import NamedPlans
from appliance.session.postgres import POSTGRES, PostgresReading
from appliance.session.records import Recorder
from appliance.session.results import ResultLocks
from appliance.session.settings import SettingsTracker
from appliance.session.state import SessionState
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer
from appliance.sql.lineage import CatalogLineage
from appliance.wire.postgres import messages as m

GOVERNED = Path(__file__).with_name("governed.yaml").read_bytes()
OID, INT4 = 16_400, 23
TEXT = b"SELECT abalance FROM pgbench_accounts WHERE aid = $1;"
SIMPLE = b"SELECT abalance FROM pgbench_accounts WHERE aid = 4711;"
COLUMNS = ("aid", "bid", "abalance", "filler")

DESCRIPTION = m.frame(
    m.ROW_DESCRIPTION,
    b"\0\1abalance\0" + OID.to_bytes(4) + b"\0\3" + INT4.to_bytes(4) + b"\0\4\xff\xff\xff\xff\0\0",
)
ROW = m.frame(m.DATA_ROW, b"\0\1\0\0\0\x0512345")
COMPLETE = m.frame(m.COMMAND_COMPLETE, b"SELECT 1\0")
READY = m.ready_for_query(ord("I"))
BIND = m.frame(m.BIND, b"\0P0\0\0\0\0\1\0\0\0\x044711\0\1\0\0")
DESCRIBE, EXECUTE = m.describe(m.PORTAL, b""), m.execute(b"")
PREPARED = (BIND + DESCRIBE + EXECUTE + m.SYNC_FRAME, m.frame(m.BIND_COMPLETE, b"") + DESCRIPTION)


class Catalogs:
    """The catalog port, always fresh."""

    failure = ""
    shapes = 0

    def changing_for(self, session: str) -> bool:
        return False

    def reshaped_by_others(self, since: int, session: str) -> bool:
        return False

    def __init__(self) -> None:
        columns = tuple(
            Column(n, name, INT4, type_text="integer") for n, name in enumerate(COLUMNS, 1)
        )
        accounts = Relation(OID, "public", "pgbench_accounts", "r", columns)
        self.lineage = CatalogLineage(
            Catalog(
                target="try",
                database="bench",
                version="1",
                server_version_num=180_000,
                schemas=("public", "pg_catalog"),
                relations={OID: accounts},
                by_name={("public", "pgbench_accounts"): OID},
                functions={},
            )
        )
        self.kept = self.lineage


def machine(policy: bytes) -> SessionMachine:
    principal = Principal("bench", PrincipalKind.HUMAN, ("try",))
    limits = Limits()
    settings = SettingsTracker(
        "bench", {"client_encoding": "UTF8", "standard_conforming_strings": "on"}
    )
    settings.probed(['"$user", public', "none", "bench"], pinned=True)
    judge = Judge(
        compile_documents([("policy", policy)]),
        principal,
        Client("127.0.0.1", 5000, "try", False, "pgbench"),
        Target("try", "postgresql"),
        "bench",
        Catalogs(),
        limits,
        Cache(limits.decision_cache_entries_max),
        POSTGRES,
    )
    state = SessionState(
        judge,
        Recorder("s" * 32, principal, "try", "bench", lambda now: new_id(now, bytes(10))),
        settings,
        Announcement(principal, "s" * 32, Announce.VARIABLE),
        ResultLocks(judge, {}, NamedPlans(), PostgresReading()),
        limits,
    )
    return SessionMachine(state)


def simple(made: SessionMachine, take: Callable[[Turn], None]) -> Callable[[], None]:
    request, reply = m.query(SIMPLE), DESCRIPTION + ROW + COMPLETE + READY

    def once() -> None:
        now = time.time()
        take(made.client_received(memoryview(request), now))
        take(made.upstream_received(memoryview(reply), now))

    return once


AT_SOURCE = b"SELECT abalance + 0 AS abalance FROM pgbench_accounts WHERE aid = 4711;"
COMPUTED = m.frame(
    m.ROW_DESCRIPTION,
    b"\0\1abalance\0" + bytes(6) + INT4.to_bytes(4) + b"\0\4\xff\xff\xff\xff\0\0",
)
MASKED_ROW = m.frame(m.DATA_ROW, b"\0\1\0\0\0\x0512000")


def at_source(made: SessionMachine, take: Callable[[Turn], None]) -> Callable[[], None]:
    """Like `simple`, of a statement that is sent over masked relations; the database computes with
    the mask."""
    request, reply = m.query(AT_SOURCE), COMPUTED + MASKED_ROW + COMPLETE + READY

    def once() -> None:
        now = time.time()
        take(made.client_received(memoryview(request), now))
        take(made.upstream_received(memoryview(reply), now))

    return once


def prepared(made: SessionMachine, take: Callable[[Turn], None]) -> Callable[[], None]:
    made.client_received(m.parse(b"P0", TEXT) + m.SYNC_FRAME, 1.0)
    made.upstream_received(m.frame(m.PARSE_COMPLETE, b"") + READY, 1.0)
    request, reply = PREPARED[0], PREPARED[1] + ROW + COMPLETE + READY

    def once() -> None:
        now = time.time()
        take(made.client_received(memoryview(request), now))
        take(made.upstream_received(memoryview(reply), now))

    return once


WAYS = [("simple", simple), ("prepared", prepared)]
POLICIES = [("permissive", PERMISSIVE), ("governed", GOVERNED)]


@pytest.mark.parametrize(("way", "run"), WAYS, ids=[way for way, _ in WAYS])
@pytest.mark.parametrize(("name", "policy"), POLICIES, ids=[name for name, _ in POLICIES])
@pytest.mark.parametrize("audited", [False, True], ids=["machine", "machine and spool"])
def test_statement(
    benchmark: Any, tmp_path: Path, way: str, run: Any, name: str, policy: bytes, audited: bool
) -> None:
    del way
    spool = Spool(tmp_path / "audit", 0, load_or_create_signer(tmp_path / "keys"))
    made = machine(policy)
    last: list[Turn] = []

    def take(turn: Turn) -> None:
        if audited and turn.records:
            spool.append(turn.records)
        last[:] = [turn]

    once = run(made, take)
    benchmark(once)
    spool.close()
    assert made.idle
    sent = b"".join(last[0].client)
    assert (b"12000" in sent, b"12345" in sent) == ((name == "governed"), (name == "permissive"))


@pytest.mark.parametrize("run", [simple, at_source], ids=["on the wire", "at the source"])
def test_masked_statement(benchmark: Any, run: Any) -> None:
    """A cached rewrite against the wire execution of the same table, in the machine alone."""
    last: list[Turn] = []
    benchmark(run(machine(GOVERNED), lambda turn: last.__setitem__(slice(None), [turn])))
    assert b"12000" in b"".join(last[0].client)
