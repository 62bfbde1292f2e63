"""A console with rich content for tests of pages: the real app over a desk in memory.

`Stage` serves it on loopback in a thread of its own; `run` carries something out on its loop.
`python -m tests.browser.stage` serves it until interrupted, to look at it.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

import uvicorn

from appliance.audit.query import Criteria, Story
from appliance.audit.verify import ChainReport, Report
from appliance.config.load import parse
from appliance.console.app import make_app, services_of
from appliance.console.metering import Metrics
from appliance.console.policy_catalog import catalog_from_tables
from appliance.console.shelf import Item
from appliance.console.standing import Standing
from appliance.console.studies import Studies
from appliance.console.trails import Proof, Summary, Sums
from appliance.identity.scram import make_verifier
from appliance.identity.verifiers import Directory, User
from appliance.model.principal import PrincipalKind
from appliance.policy.compile import compile_documents
from appliance.sql.lineage import CatalogLineage
from tests.browser import content
from tests.browser.desk import MemoryDesk
from tests.browser.policies import ToldPolicies, nothing_seen

PASSWORD = "correct horse"
T = TypeVar("T")

CONFIGURATION = """
version: 1
data: {data}
listeners:
  - name: main
    address: 127.0.0.1:6432
    protocol: postgresql
    target: shop
    tls: {{mode: disable}}
    authentication: [scram]
targets:
  - name: shop
    host: 127.0.0.1
    port: 5432
    environment: production
    databases: [shop]
    tls: {{mode: disable}}
    roles: [{{principals: ["*"], user: app}}]
identities: {{users: users.yaml}}
control:
  roles:
    viewer: [staff]
    approver: [dba, privacy]
    admin: [dba]
    auditor: [audit]
    break_glass: [oncall]
"""


class MemoryShelf:
    def __init__(self) -> None:
        self.items: dict[tuple[str, str], Item] = {}

    async def put(self, item: Item) -> None:
        self.items[item.kind, item.key] = item

    async def get(self, kind: str, key: str) -> Item | None:
        return self.items.get((kind, key))

    async def take(self, kind: str, key: str) -> Item | None:
        return self.items.pop((kind, key), None)

    async def replace(self, item: Item, before: str) -> bool:
        kept = self.items.get((item.kind, item.key))
        if kept is None or kept.body != before:
            return False
        self.items[item.kind, item.key] = item
        return True

    async def of(self, kind: str, owner: str | None = None, limit: int = 1000) -> list[Item]:
        found = (i for i in self.items.values() if i.kind == kind and owner in {None, i.owner})
        return list(found)[:limit]


class QuietRecorder:
    async def signed_in(self, *_: object) -> None: ...
    async def sign_in_failed(self, *_: object) -> None: ...
    async def signed_out(self, *_: object) -> None: ...
    async def administered(self, *_: object) -> None: ...


class ListedTrails:
    """Stories from a list."""

    known: Proof | None = None

    def __init__(self, stories: list[Story], now: Callable[[], float]) -> None:
        self.stories = stories
        self.now = now

    async def search(self, criteria: Criteria, limit: int) -> list[Story]:
        return [story for story in self.stories if criteria.matches(story)][-limit:]

    async def find(self, reference: str) -> list[Story]:
        return [
            s for s in self.stories if reference in {s.reference, s.record.id, s.record.session}
        ]

    async def proof(self) -> Proof:
        chains = [
            ChainReport(1, 3, 2, 128_400, 128_400, 128_384),
            ChainReport(2, 2, 1, 98_120, 98_120, 98_112),
        ]
        self.known = Proof(self.now(), True, Report(chains=chains))
        return self.known

    async def summary(self, since: float) -> Summary:
        people = {
            name: Sums(statements, denied, held, rows, rows * 2, raw)
            for name, statements, denied, held, rows, raw in content.BUSY
        }
        return Summary(since, {"allow": 1, "deny": 1}, people, False)


class FixedMetering:
    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now

    def metrics(self) -> Metrics:
        history = content.history(self.now())
        return Metrics(True, "", history[-1].values, history)


class ReadStudies(Studies):
    """Over tables that are written here, without a database."""

    async def lineage(self, target: Any, database: str) -> CatalogLineage:
        return CatalogLineage(catalog_from_tables(target.name, database, content.TABLES))


class Stage:
    """`desk`: another one than that in memory, for pages over it."""

    def __init__(self, folder: Path, desk: Any = None) -> None:
        self.now = time.time
        self.cookies: dict[str, list] = {}
        self.desk = MemoryDesk(self.now)
        self.shelf = MemoryShelf()
        self.trails = ListedTrails(content.stories(self.now()), self.now)
        configuration = parse(CONFIGURATION.format(data=folder), folder)
        documents = (("policy.yaml", content.POLICY.encode()),)
        directory = Directory(
            [
                User(name=name, groups=groups, kind=PrincipalKind.HUMAN, verifier=_verifier())
                for name, groups in content.PEOPLE.items()
            ]
        )
        assert configuration.control is not None
        standing = Standing(
            configuration,
            configuration.control,
            directory,
            compile_documents(list(documents)),
            documents,
        )
        services = services_of(
            lambda: standing,
            desk or self.desk,
            ToldPolicies(self.now()),
            nothing_seen,
            self.shelf,
            QuietRecorder(),
            self.now,
        )
        self.services = services._replace(
            trails=self.trails,
            studies=ReadStudies(lambda: standing, self.now),
            metering=FixedMetering(self.now),
        )
        self.app = make_app(self.services)
        self._loop = asyncio.new_event_loop()
        self._server = uvicorn.Server(
            uvicorn.Config(
                *(self.app, "127.0.0.1", 0),
                log_level="error",
                lifespan="off",
                timeout_graceful_shutdown=1,
            )
        )
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def fill(self) -> None:
        """The content anew."""
        self.desk.held.clear()
        self.desk.standing.clear()
        self.desk.live.clear()
        content.fill(self.desk, self.now())

    def start(self) -> str:
        """The URL."""
        self._thread.start()
        deadline = time.monotonic() + 10
        while not self._server.started:
            assert time.monotonic() < deadline and self._thread.is_alive()
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        return f"http://127.0.0.1:{port}"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def call(self, work: Callable[[], T]) -> T:
        """On the loop, so that nothing else happens meanwhile."""

        async def carried_out() -> T:
            return work()

        return self.run(carried_out())

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(10)

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._server.serve())
        self._loop.close()


_made: list[str] = []


def _verifier() -> str:
    if not _made:
        _made.append(make_verifier(PASSWORD, bytes(16), 4096).render())
    return _made[0]


if __name__ == "__main__":
    import tempfile

    stage = Stage(Path(tempfile.mkdtemp()))
    stage.fill()
    print(stage.start(), "bob", PASSWORD, flush=True)
    threading.Event().wait()
