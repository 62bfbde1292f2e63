"""Held statements with the real control process, over both stores: what runs, what does not, what a
kill changes. People vote through a desk of the test's own on the same store."""

import asyncio
import os
import signal
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import psycopg
import pytest

from appliance.approval.request import Request, State
from appliance.approval.standing import Scope
from appliance.control.desk import Activation
from appliance.control.policies import PolicyVersions
from appliance.control.store import Store
from appliance.control.store_postgres import PostgresStore, Server
from appliance.control.store_sqlite import SqliteStore
from appliance.session.estimates import EXPLAIN
from tests.clusters import Authority, EmbeddedPostgres
from tests.desk import BOB, CAROL, EVE, Clock, Desks, desks_of, person
from tests.endtoend.held import Held
from tests.endtoend.holds import POLICY, UPDATE
from tests.endtoend.stage import DATABASE, Estate, Running, wait_for

Result = TypeVar("Result")


class Real:
    """A service with its control process, and a desk beside it."""

    def __init__(
        self,
        running: Running,
        new_store: Callable[[], Store],
        direct: psycopg.Connection,
        log: Path,
    ) -> None:
        self.running = running
        self.direct = direct
        self._new_store = new_store
        self._log = log
        self._begins = 0

    def begin(self) -> None:
        self.direct.execute("UPDATE notes SET body = 'note ' || id WHERE body <> 'note ' || id")
        self._begins = self._log.stat().st_size

    def connect(self) -> psycopg.Connection:
        return self.running.connect("bob", "bob-password")

    def ask(self, do: Callable[[Desks], Awaitable[Result]]) -> Result:
        """Something of the desk."""

        async def asking() -> Result:
            clock = Clock(time.time())
            async with desks_of(self._new_store(), clock=clock) as desks:
                return await do(desks)

        return asyncio.run(asking())

    def requests(self, state: State) -> list[Request]:
        return self.ask(lambda desks: desks.approvals.requests(BOB, state=state))

    def held(self) -> Request:
        """The one that waits."""
        found: list[Request] = wait_for(lambda: self.requests(State.PENDING), "a request", 30)
        [request] = found
        return request

    def vote(self, request: Request, approve: bool, reason: str = "") -> None:
        self.ask(lambda d: d.approvals.vote(CAROL, request.asked.id, approve, reason))

    def ran(self) -> int:
        """How often the server was sent the statement, says its log."""
        with self._log.open("rb") as log:
            log.seek(self._begins)
            lines = log.read().decode(errors="replace").splitlines()
        return sum(
            UPDATE in line
            and EXPLAIN.decode() not in line  # which runs nothing
            and (" statement: " in line or " execute " in line)
            for line in lines
        )

    def body(self) -> str:
        row = self.direct.execute("SELECT body FROM notes WHERE id = 7").fetchone()
        assert row is not None
        return str(row[0])

    @property
    def linked(self) -> bool:
        """Whether control is up, and the worker has found it."""
        log = self.running.child.text()
        started = log.count('"control_ready"')
        return started > 0 and log.count('"worker_linked"') == started

    def control_pid(self) -> int:
        [found] = [
            pid
            for pid in self.running.worker_pids()
            if b"dataplane" not in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]
        return found


@pytest.fixture(scope="module")
def vault(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 that logs every statement it is sent; the store of some lies in it, too."""
    from tests.endtoend import stage

    settings = {"max_connections": "200", "log_statement": "all"}
    with EmbeddedPostgres(server_folder / "econtrol", 18, settings=settings) as server:
        stage.furnish(server)
        yield server


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
) -> Iterator[Real]:
    estate = Estate(tmp_path_factory.mktemp("control"), vault, authority)
    estate.write("policy.yaml", POLICY)
    section: dict[str, Any] = {"listen": "127.0.0.1:0", "node": "node-1"}
    if request.param == "postgresql":
        uri = urlsplit(vault.uri())
        url = f"postgresql://{uri.username}@{uri.hostname}:{uri.port}/postgres"
        section |= {"store": url, "store_password": estate.secret("store", vault.password)}
        server = Server(url, vault.password)
    estate.configuration["control"] = section

    def new_store() -> Store:
        if request.param == "postgresql":
            return PostgresStore(server)
        return SqliteStore(Path(estate.configuration["data"]) / "control.sqlite")

    with (
        tempfile.TemporaryDirectory(prefix="sp-") as folder,
        psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as direct,
    ):
        section["socket"] = f"{folder}/c.sock"
        with estate.serve() as running:
            yield Real(running, new_store, direct, vault.log)


@pytest.fixture
def real(service: Real) -> Real:
    wait_for(lambda: service.linked, "control and its worker", 60)
    service.begin()
    return service


def test_approved_it_runs_once(real: Real) -> None:
    with real.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).statusmessage)
        request = real.held()
        assert (request.asked.sql, request.asked.node) == (UPDATE, "node-1")
        assert real.ran() == 0
        real.vote(request, True)
        assert held.done() == "UPDATE 1"
        assert (real.body(), real.ran()) == ("changed", 1)
    used = real.running.recorded("request_used", request=request.asked.id)
    assert used["by"] == "carol"
    made = real.running.recorded("request_made", request=request.asked.id)
    assert made["sql"].startswith("UPDATE notes SET body = ") and "changed" not in made["sql"]


def test_denied_it_does_not(real: Real) -> None:
    with real.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE))
        real.vote(real.held(), False, "not now")
        said = str(held.refused())
        assert "carol" in said and "not now" in said
        assert bob.execute("SELECT 1").fetchone() == (1,)
    assert (real.body(), real.ran()) == ("note 7", 0)


def test_whoever_goes_away_has_withdrawn(real: Real) -> None:
    bob = real.connect()
    held = Held(lambda: bob.execute(UPDATE))
    request = real.held()
    bob.cancel_safe()
    held.refused()
    wait_for(lambda: not real.requests(State.PENDING), "withdrawal")
    state = real.ask(lambda d: d.approvals.request(EVE, request.asked.id)).state
    assert state is State.WITHDRAWN
    bob.close()
    assert real.ran() == 0


def test_control_is_killed_while_a_statement_waits(real: Real) -> None:
    with real.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).statusmessage)
        request = real.held()
        before = real.control_pid()
        os.kill(before, signal.SIGKILL)
        real.vote(request, True)  # while it is away
        assert held.done() == "UPDATE 1"
        assert (real.body(), real.ran()) == ("changed", 1)
    assert real.control_pid() != before


def test_a_standing_grant_passes_and_stops_when_revoked(real: Real) -> None:
    scope = Scope(
        principals=("bob",),
        targets=("vault",),
        actions=("update", "select"),
        resources=("public.notes",),
    )

    async def granted(desks: Desks) -> str:
        made = await desks.approvals.propose_grant(EVE, scope, time.time() + 600, "release")
        await desks.approvals.rule_grant(CAROL, made.id, True)
        return made.id

    grant = real.ask(granted)
    with real.connect() as bob:
        assert bob.execute(UPDATE).statusmessage == "UPDATE 1"
        real.ask(lambda d: d.approvals.revoke_grant(CAROL, grant, "over"))
        held = Held(lambda: bob.execute(UPDATE))
        request = real.held()
        assert real.ran() == 1
        real.vote(request, False, "over")
        held.refused()


def test_a_policy_that_is_rolled_back_holds_on_live_sessions(real: Real) -> None:
    """Forbidden by the files, allowed again by an administrator; control is killed meanwhile."""
    forbidding = POLICY.replace("effect: allow, actions: [read,", "effect: allow, actions: [")
    admin = person("dan", "admin")

    async def back(desks: Desks) -> Activation:
        versions = PolicyVersions(desks.changes, "node-1")
        history, _ = await versions.history(admin)
        return await versions.roll_back(admin, "nobody can work", history[0].version)

    with real.connect() as bob:
        assert bob.execute("SELECT count(*) FROM notes").fetchone()
        (real.running.folder / "policy.yaml").write_text(forbidding)
        assert real.running.reload()
        with pytest.raises(psycopg.Error):
            bob.execute("SELECT count(*) FROM notes")
        before = real.control_pid()
        os.kill(before, signal.SIGKILL)
        made = real.ask(back)
        wait_for(lambda: _reads(bob), "the policy before", 60)
        assert real.running.reload()  # the files have not changed: it stays
        assert _reads(bob)
    wait_for(lambda: real.linked, "control and its worker", 60)
    changed = real.running.records("policy_changed")[-1]
    assert changed["version"] == made.version[:16]
    (real.running.folder / "policy.yaml").write_text(POLICY)
    assert real.running.reload()


def _reads(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT count(*) FROM notes")
    except psycopg.Error:
        return False
    return True
