"""Held statements on a MariaDB: they wait for an approval with the server's own estimate, run when
they get it, and leave nothing behind when they do not."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mysql.connector
import pymysql
import pytest

from appliance.approval.request import Effect, State
from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.link.approvals import Use, Used
from tests import mariadb as servers
from tests.clusters import Authority
from tests.endtoend.control_double import ControlDouble
from tests.endtoend.governed_mariadb import governed
from tests.endtoend.stage import Running

DATABASE = "held"
SCHEMA = (
    f"CREATE OR REPLACE DATABASE {DATABASE}",
    f"CREATE TABLE {DATABASE}.notes (id INT PRIMARY KEY, body VARCHAR(40), kind INT, KEY (kind))",
    f"INSERT INTO {DATABASE}.notes SELECT seq, 'old', seq % 10 FROM {DATABASE}.seq_1_to_200",
    f"CREATE TABLE {DATABASE}.more (id INT PRIMARY KEY, note INT, body VARCHAR(40))",
    f"INSERT INTO {DATABASE}.more SELECT seq, seq, 'more' FROM {DATABASE}.seq_1_to_50",
    f"CREATE TABLE {DATABASE}.few (id INT PRIMARY KEY, body VARCHAR(40))",
    f"INSERT INTO {DATABASE}.few SELECT seq, 'old' FROM {DATABASE}.seq_1_to_50",
    f"CREATE TABLE {DATABASE}.secrets (id INT PRIMARY KEY, body VARCHAR(40))",
    f"CREATE TABLE {DATABASE}.closed LIKE {DATABASE}.secrets",
    f"INSERT INTO {DATABASE}.secrets VALUES (1, 'not for everybody')",
    f"CREATE SEQUENCE {DATABASE}.numbers",
    f"ANALYZE TABLE {DATABASE}.notes, {DATABASE}.more",
)
POLICY = """
version: 1
rules:
  - {id: everything, effect: allow, actions: [everything]}
  - {id: closed, effect: deny, actions: [select], resources: ["*.*.closed"]}
  - {id: ask-to-read, effect: hold, actions: [select], resources: ["*.*.secrets"]}
  - id: ask-first
    effect: hold
    actions: [update, delete, insert]
    resources: ["*.*.notes", "*.*.more"]
  - id: so-many
    effect: hold
    actions: [update, delete]
    resources: ["*.*.few"]
    hold: {max_rows: approved}
  - {id: by-ticket, effect: hold, actions: [truncate], hold: {on_hold: ticket}}
"""


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlDouble]:
    double = ControlDouble(Path(tmp_path_factory.mktemp("c")) / "c.sock")
    yield double
    double.kill()


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory,
    mariadb: EmbeddedMariaDB,
    authority: Authority,
    control: ControlDouble,
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("held")
    separate = {"run": "separate", "socket": str(control.path)}
    with governed(
        folder, mariadb, authority, DATABASE, SCHEMA, POLICY, control=separate
    ) as running:
        assert control.greeted.wait(20)
        yield running


def connect(proxy: Running, **more: Any) -> "pymysql.connections.Connection[Any]":
    return pymysql.connect(
        host="127.0.0.1",
        port=proxy.ports["main"],
        user="alice",
        password="alice-password",
        database=DATABASE,
        **{"autocommit": True, **more},
    )


class Asking(threading.Thread):
    """A statement that waits in a thread of its own."""

    def __init__(self, execute: Any, *arguments: Any) -> None:
        super().__init__(daemon=True)
        self._execute = lambda: execute(*arguments)
        self.came: Any = None
        self.start()

    def run(self) -> None:
        try:
            self.came = self._execute()
        except (pymysql.err.MySQLError, mysql.connector.Error) as error:
            self.came = error

    def result(self) -> Any:
        self.join(20)
        assert not self.is_alive()
        return self.came


def bodies(mariadb: EmbeddedMariaDB, condition: str) -> set[str]:
    text = f"SELECT DISTINCT body FROM {DATABASE}.notes WHERE {condition}"
    return {row[0] for row in servers.run(mariadb, text)[0]}


ESTIMATED = [
    ("UPDATE notes SET body = 'new' WHERE kind = 3", 20),
    ("UPDATE notes SET body = 'new' WHERE id = 5", 1),
    ("UPDATE notes SET body = 'new' WHERE id = 5 AND id = 6", 0),
    ("UPDATE notes SET body = 'new' ORDER BY id LIMIT 3", 3),
    ("UPDATE notes SET body = 'new' /* all; of; them */ ; -- really", 200),
    ("DELETE FROM notes", 200),
    ("INSERT INTO more VALUES (100, 1, 'a (b'), (101, 2, 'c'), (102, 3, NULL)", 3),
    ("INSERT INTO more SET id = 100", 1),
    ("REPLACE INTO more VALUES (1, 1, 'a'), (2, 2, 'b')", 4),
    ("INSERT INTO more VALUES (1, 1, '') ON DUPLICATE KEY UPDATE body = VALUES(body)", 2),
]


@pytest.mark.parametrize(("text", "rows"), ESTIMATED)
def test_approvers_see_what_the_server_expects(
    proxy: Running, control: ControlDouble, mariadb: EmbeddedMariaDB, text: str, rows: int
) -> None:
    with contextlib.closing(connect(proxy)) as connection, connection.cursor() as cursor:
        asking = Asking(cursor.execute, text)
        ask = control.hold()
        assert ask.asked.effect == Effect(rows_estimated=rows)
        control.rule(ask, State.DENIED)
        refused = asking.result()
        assert "denied" in str(refused) and ask.asked.id in str(refused)
    assert bodies(mariadb, "true") == {"old"}


def test_an_approved_one_runs_once(
    proxy: Running, control: ControlDouble, mariadb: EmbeddedMariaDB
) -> None:
    text = "UPDATE notes SET body = 'old' WHERE kind = 4"
    with contextlib.closing(connect(proxy)) as connection, connection.cursor() as cursor:
        servers.run(mariadb, f"UPDATE {DATABASE}.notes SET body = 'before' WHERE kind = 4")
        asking = Asking(cursor.execute, text)
        control.approve(control.hold())
        assert asking.result() == 20
    assert bodies(mariadb, "kind = 4") == {"old"}


def test_an_execution_is_estimated_with_its_values(
    proxy: Running, control: ControlDouble, mariadb: EmbeddedMariaDB
) -> None:
    """mysql-connector prepares and executes by the protocol."""
    connection = mysql.connector.connect(
        host="127.0.0.1",
        port=proxy.ports["main"],
        user="alice",
        password="alice-password",
        database=DATABASE,
        autocommit=True,
        use_pure=True,
    )
    with contextlib.closing(connection), connection.cursor(prepared=True) as cursor:
        text = "UPDATE notes SET body = %s WHERE kind = %s AND body <> %s"
        asking = Asking(cursor.execute, text, ("it's", 5, None))
        ask = control.hold()
        assert ask.asked.effect == Effect(rows_estimated=20)  # (though nothing differs from NULL)
        control.rule(ask, State.DENIED)
        assert "denied" in str(asking.result())
        asking = Asking(cursor.execute, text, ("old", 5, "x' OR 1=1 -- "))
        ask = control.hold()
        assert ask.asked.effect == Effect(rows_estimated=20)
        control.approve(ask)
        assert asking.result() is None
    assert bodies(mariadb, "true") == {"old"}


@pytest.mark.parametrize("verdict", [State.DENIED, State.APPROVED])
def test_without_autocommit_the_question_leaves_no_transaction(
    proxy: Running, control: ControlDouble, mariadb: EmbeddedMariaDB, verdict: State
) -> None:
    connection = connect(proxy, autocommit=False)
    with contextlib.closing(connection), connection.cursor() as cursor:
        asking = Asking(cursor.execute, "UPDATE notes SET body = 'old' WHERE kind = 6")
        ask = control.hold()
        assert ask.asked.effect == Effect(rows_estimated=20)
        # Nothing is locked while it waits: neither rows nor the table itself.
        servers.run(
            mariadb,
            "SET lock_wait_timeout = 2, innodb_lock_wait_timeout = 2",
            f"ALTER TABLE {DATABASE}.notes COMMENT = 'altered while it waits'",
        )
        if verdict is State.DENIED:
            control.rule(ask, verdict)
            assert "denied" in str(asking.result())
            cursor.execute("SELECT @@in_transaction")
            assert cursor.fetchone() == (0,)
        else:
            control.approve(ask)
            assert asking.result() == 0  # changed none
            connection.rollback()


def test_inside_a_transaction_it_is_held_without_a_figure(
    proxy: Running, control: ControlDouble
) -> None:
    with contextlib.closing(connect(proxy)) as connection, connection.cursor() as cursor:
        connection.begin()
        cursor.execute("SELECT 1 FROM notes")
        asking = Asking(cursor.execute, "DELETE FROM notes WHERE id = 1")
        ask = control.hold()
        assert ask.asked.in_transaction and ask.asked.effect.rows_estimated is None
        control.rule(ask, State.DENIED)
        assert "denied" in str(asking.result())
        connection.rollback()


UNASKED = [
    "DELETE FROM notes WHERE id = 5 AND (SELECT body FROM secrets WHERE id = 1) = 'x'",
    "DELETE FROM notes WHERE id = 5 AND (SELECT body + 0 FROM secrets WHERE id = 1)",
    "DELETE notes FROM notes WHERE id = 5 AND body + 0",
    "DELETE FROM notes WHERE id = BENCHMARK(5000000000, MD5('a'))",
    "DELETE FROM notes WHERE id = SETVAL(numbers, 5000)",
    "DELETE FROM notes WHERE id = LAST_INSERT_ID(77)",
    "DELETE FROM notes WHERE id = (@x := 5)",
    "SELECT * FROM secrets WHERE id = 1",
    "SELECT * FROM secrets WHERE id = 1 AND (@x := body) IS NOT NULL",
]


@pytest.mark.parametrize("text", UNASKED)
def test_nothing_is_read_or_run_before_somebody_agrees(
    proxy: Running, control: ControlDouble, text: str
) -> None:
    """This server reads rows by constant keys as it plans, and calls functions of constants."""
    with contextlib.closing(connect(proxy)) as connection, connection.cursor() as cursor:
        began = time.monotonic()
        asking = Asking(cursor.execute, text)
        ask = control.hold()
        assert "not estimated" in ask.asked.effect.note and time.monotonic() - began < 1
        control.rule(ask, State.DENIED)
        assert "denied" in str(asking.result())
        for look in ("SHOW WARNINGS", "SELECT LAST_INSERT_ID(), @x, LASTVAL(numbers)"):
            cursor.execute(look)
            assert cursor.fetchall() in ((), ((0, None, None),))


@pytest.mark.parametrize("text", ["SELECT * FROM closed WHERE id = 1", "DELETE FROM closed"])
def test_to_have_it_explained_is_to_read(proxy: Running, text: str) -> None:
    with (
        contextlib.closing(connect(proxy)) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.err.OperationalError, match="select on"),
    ):
        cursor.execute(f"EXPLAIN EXTENDED {text}")


def test_who_could_not_be_kept_to_it_is_not_asked(proxy: Running, control: ControlDouble) -> None:
    with (
        contextlib.closing(connect(proxy)) as connection,
        connection.cursor() as cursor,
        pytest.raises(pymysql.err.MySQLError, match="cannot be told"),
    ):
        cursor.execute("DELETE FROM few WHERE id = 1 RETURNING id")
    assert control.quiet()


def test_a_ticket(proxy: Running, control: ControlDouble) -> None:
    with contextlib.closing(connect(proxy)) as connection, connection.cursor() as cursor:
        asking = Asking(cursor.execute, "TRUNCATE TABLE more")
        ask = control.hold()
        told = asking.result()
        assert ask.asked.id in str(told) and "not asked about" in ask.asked.effect.note
        cursor.execute("SELECT COUNT(*) FROM more")
        assert cursor.fetchone() == (50,)


@pytest.mark.parametrize("meanwhile", [0, 2])
def test_it_may_change_as_many_rows_as_approvers_were_shown(
    proxy: Running, control: ControlDouble, mariadb: EmbeddedMariaDB, meanwhile: int
) -> None:
    text = "UPDATE few SET body = CONCAT(body, '!') WHERE id < 4"
    servers.run(mariadb, f"DELETE FROM {DATABASE}.few WHERE id < 1")
    with contextlib.closing(connect(proxy)) as connection, connection.cursor() as cursor:
        asking = Asking(cursor.execute, text)
        ask = control.hold()
        assert ask.asked.effect == Effect(rows_estimated=3, rows_allowed=3)
        for number in range(meanwhile):
            servers.run(mariadb, f"INSERT INTO {DATABASE}.few VALUES ({-number}, 'new')")
        control.rule(ask, State.APPROVED)
        use = control.took(Use)
        control.say(Used(use.id, True, use.session, "bob", "", 3))
        told = asking.result()
        assert "rolled back" in str(told) if meanwhile else told == 3
        cursor.execute("SELECT COUNT(*) FROM few WHERE body LIKE '%!!'")
        assert cursor.fetchone() == (0,)
