"""A desk to test against: approvals over a store of their own, a clock that is set, made-up
requests and people. Used by tests of the control process and of all that is built on it.
"""

import contextlib
import itertools
import secrets
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import msgspec

from appliance.approval.request import Asked, Person
from appliance.approval.standing import Scope
from appliance.audit.encode import encode_body
from appliance.audit.record import Record
from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.control.approvals import Approvals, LiveSessions, Nobody
from appliance.control.changes import Changes
from appliance.control.expiry import Expiry
from appliance.control.grants import Grants
from appliance.control.held import Held
from appliance.control.neighbours import Neighbours
from appliance.control.store import Store
from appliance.control.store_postgres import PostgresStore, Server
from appliance.control.store_sqlite import MEMORY, SqliteStore
from appliance.control.trail import Minting, TrailUnavailable
from appliance.model.approval import HoldTerms, Need
from appliance.model.principal import PrincipalKind

START = 1_790_000_000.0
NODE = "node-1"
_numbers = itertools.count(1)


class Clock:
    """Unix seconds, as set."""

    def __init__(self, now: float = START) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Trail:
    """Keeps records instead of writing them; `broken` refuses them."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.broken = False

    async def write(self, records: Sequence[Record]) -> None:
        if self.broken:
            raise TrailUnavailable("the disk is full")
        self.owe(records)

    def owe(self, records: Sequence[Record]) -> None:
        for record in records:
            encode_body(record)
        self.records += records

    def events(self) -> list[str]:
        return [str(type(record).__struct_config__.tag) for record in self.records]


class Desks(msgspec.Struct):
    """Everything of one control process but its sockets."""

    approvals: Approvals
    held: Held
    expiry: Expiry
    changes: Changes
    store: Store
    trail: Trail
    clock: Clock


def desks_over(
    store: Store,
    clock: Clock | None = None,
    *,
    node: str = NODE,
    break_glass: Iterable[str] = ("oncall",),
    sessions: LiveSessions | None = None,
    shared: bool = False,
) -> Desks:
    """On an open store."""
    clock = clock or Clock()
    trail = Trail()
    changes = Changes(store, trail, Minting(now=clock))
    held = Held(changes, node)
    neighbours = Neighbours(changes, sessions or Nobody(), node) if shared else None
    approvals = Approvals(changes, break_glass, sessions, neighbours)
    return Desks(
        approvals, held, Expiry(changes, held, Grants(changes), clock), changes, store, trail, clock
    )


@contextlib.asynccontextmanager
async def desks_of(store: Store, **terms: Any) -> AsyncIterator[Desks]:
    """Opens and closes it. `terms` as for `desks_over`."""
    await store.open()
    try:
        yield desks_over(store, **terms)
    finally:
        await store.close()


def new_schema(server: EmbeddedPostgres) -> Callable[[], PostgresStore]:
    """Makes stores that all lie in one new schema of a running server, in the database
    `postgres`."""
    uri = urlsplit(server.uri())
    url = f"postgresql://{uri.username}@{uri.hostname}:{uri.port}{uri.path}"
    schema = f"test_{secrets.token_hex(6)}"
    return lambda: PostgresStore(Server(url, unquote(uri.password or "")), schema)


@contextlib.asynccontextmanager
async def sqlite_desks(path: Path | str = MEMORY, **terms: Any) -> AsyncIterator[Desks]:
    """`terms` as for `desks_over`."""
    async with desks_of(SqliteStore(path), **terms) as made:
        yield made


def asked(**different: Any) -> Asked:
    """`copilot`, for alice, wants to run one UPDATE; each has an id and a binding of its own."""
    number = next(_numbers)
    usual: dict[str, Any] = {
        "id": f"{int(START * 1000):012x}{number:020x}",
        "binding": f"{number:064x}",
        "time": START,
        "node": NODE,
        "session": f"session-{number}",
        "principal": "copilot",
        "kind": PrincipalKind.AGENT,
        "groups": ("agents",),
        "on_behalf_of": "alice",
        "address": "127.0.0.1",
        "application": "psql",
        "target": "shop",
        "environment": "staging",
        "database": "shop",
        "sql": "UPDATE shop.orders SET status = 'sent' WHERE id = 7",
        "redacted": "UPDATE shop.orders SET status = ? WHERE id = ?",
        "terms": terms(),
        "reasons": ("writes by agents need somebody's consent",),
        "policy_version": "v1",
    }
    return Asked(**{**usual, **different})


def terms(**different: Any) -> HoldTerms:
    usual: dict[str, Any] = {"needs": (Need(rule="agents-ask"),)}
    return HoldTerms(**{**usual, **different})


def person(name: str, *roles: str, **different: Any) -> Person:
    return Person(name=name, roles=frozenset(roles), **different)


def scope(**different: Any) -> Scope:
    """What `copilot` may do to orders' status."""
    usual: dict[str, Any] = {
        "principals": ("copilot",),
        "targets": ("shop",),
        "actions": ("update", "select"),
        "resources": ("shop.orders.status", "shop.orders.id"),
    }
    return Scope(**{**usual, **different})


ALICE = person("alice", via="console")
BOB = person("bob", "viewer", "approver", groups=("approvers", "dba"), via="console")
CAROL = person("carol", "viewer", "approver", groups=("approvers", "security"), via="cli")
DAN = person("dan", "viewer", "admin", via="console")
EVE = person("eve", "viewer", via="console")
COPILOT = person("copilot", kind=PrincipalKind.AGENT, on_behalf_of="alice", via="api")
