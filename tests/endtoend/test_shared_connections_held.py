"""Statements that wait for people, in sessions that share one connection: others work meanwhile,
and what was approved runs as it was asked.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.held import Held
from tests.endtoend.holds import POLICY, UPDATE, Scene, staged
from tests.endtoend.stage import DATABASE, ROLE, Estate, wait_for

DRY = POLICY.replace(
    "effect: hold, actions: [update],", "effect: hold, actions: [update], hold: {dry_run: true},"
)
ALTER = "ALTER TABLE notes ADD COLUMN IF NOT EXISTS more text"


@pytest.fixture(scope="module")
def vault(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 that logs every statement it is sent."""
    settings = {"log_statement": "all"}
    with EmbeddedPostgres(server_folder / "eshared", 18, settings=settings) as server:
        stage.furnish(server)
        with psycopg.connect(server.uri(database=DATABASE), autocommit=True) as root:
            root.execute(f"ALTER TABLE notes OWNER TO {ROLE}")
        yield server


@pytest.fixture(scope="module")
def estate(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Callable[[], Estate]:
    def make() -> Estate:
        made = Estate(tmp_path_factory.mktemp("held"), vault, authority)
        pooling = {"mode": "transaction", "servers_max": 1, "wait_s_max": 20}
        made.configuration["targets"][0]["pooling"] = pooling
        return made

    return make


@pytest.fixture(scope="module")
def service(estate: Callable[[], Estate]) -> Iterator[Scene]:
    with staged(estate()) as scene:
        yield scene


@pytest.fixture
def scene(service: Scene) -> Scene:
    service.begin()
    return service


@pytest.mark.parametrize("prepare", [None, 0])
def test_others_work_while_a_statement_waits(scene: Scene, prepare: int | None) -> None:
    with scene.connect(prepare_threshold=prepare) as bob, scene.connect("alice") as alice:
        assert alice.execute("SELECT 1").fetchone() == (1,)
        held = Held(lambda: bob.execute(UPDATE).statusmessage)
        ask = scene.control.hold()
        for _ in range(3):
            assert alice.execute("SELECT body FROM notes WHERE id = 7").fetchone() == ("note 7",)
        with alice.transaction():
            alice.execute("SELECT 1")
            scene.control.approve(ask)
            assert held.done() == "UPDATE 1"
        assert scene.body() == "changed" and scene.ran() == 1
        for one in (bob, alice):
            who = one.execute("SELECT current_setting('sallyport.principal')").fetchone()
            assert who == ("bob" if one is bob else "alice",)


def test_denied_and_cancelled(scene: Scene) -> None:
    with scene.connect() as bob, scene.connect("alice") as alice:
        held = Held(lambda: bob.execute(UPDATE))
        ask = scene.control.hold()
        assert alice.execute("SELECT 1").fetchone() == (1,)
        bob.cancel()
        assert held.refused().sqlstate in ("57014", "42501")
        assert ask.asked.principal == "bob"
        assert alice.execute("SELECT 1").fetchone() == (1,)
        assert bob.execute("SELECT 1").fetchone() == (1,)
    assert scene.untouched


def test_who_is_gone_leaves_the_connection(scene: Scene) -> None:
    with scene.connect("alice") as alice:
        bob = scene.connect()
        bob.pgconn.send_query(UPDATE.encode())
        scene.control.hold()
        bob.pgconn.finish()
        assert alice.execute("SELECT 1").fetchone() == (1,)
        with scene.connect() as again:
            assert again.execute("SELECT 1").fetchone() == (1,)
    assert scene.untouched


def test_what_needs_a_connection_of_its_own_gets_it_when_it_is_approved(scene: Scene) -> None:
    with scene.connect(prepare_threshold=0) as bob, scene.connect("alice") as alice:
        assert bob.execute("SELECT 'prepared before'").fetchone() == ("prepared before",)
        assert alice.execute("SELECT 1").fetchone() == (1,)
        held = Held(lambda: bob.execute(ALTER).statusmessage)
        ask = scene.control.hold()
        assert alice.execute("SELECT 1").fetchone() == (1,)
        scene.control.approve(ask)
        assert held.done() == "ALTER TABLE"
        assert scene.ran("ADD COLUMN IF NOT EXISTS more") == 1
        assert bob.execute("DISCARD ALL").statusmessage == "DISCARD ALL"
        assert alice.execute("SELECT count(*) FROM notes WHERE more IS NULL").fetchone() == (100,)


def test_a_dry_run_leaves_nothing(estate: Callable[[], Estate]) -> None:
    with staged(estate()) as scene:
        scene.govern(DRY)
        with scene.connect() as bob, scene.connect("alice") as alice:
            assert alice.execute("SELECT 1").fetchone() == (1,)
            held = Held(lambda: bob.execute(UPDATE).statusmessage)
            ask = scene.control.hold()
            assert scene.running.recorded("dry_run_ended")["rows"] == 1
            assert scene.body() == "note 7"
            assert alice.execute("SELECT 1").fetchone() == (1,)
            scene.control.approve(ask)
            assert held.done() == "UPDATE 1"
            wait_for(lambda: scene.body() == "changed", "the change")
