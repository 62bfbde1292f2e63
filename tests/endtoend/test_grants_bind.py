"""An approval is for one statement as it was approved: each ingredient that changes makes it
another, over both stores. The approval itself is still there, and is used at the end."""

import json
import os
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.decided import Person, connect, installed, postgres_store
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running, wait_for
from tests.wireclient import WireClient, error, query

POLICY = """
version: 1
rules:
  - {id: work, effect: allow, actions: [everything]}
  - {id: by-ticket, effect: hold, actions: [insert],
     hold: {on_hold: ticket, expires: 5min, usable: 5min}}
  - {id: briefly, effect: hold, actions: [delete],
     hold: {on_hold: ticket, expires: 5min, usable: 1s}}
"""
OTHER = f"bound_{os.urandom(4).hex()}"
"""A role that the appliance's may become, and a database like the first."""
TEXT = "INSERT INTO notes VALUES (%s, 'bound')"
PLAIN = "INSERT INTO notes VALUES (101, 'bound')"


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def service(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    vault: EmbeddedPostgres,
    authority: Authority,
) -> Iterator[Running]:
    with psycopg.connect(vault.uri(), autocommit=True) as root:
        if not root.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (OTHER,)).fetchone():
            root.execute(f"CREATE ROLE {OTHER}")
            root.execute(f"GRANT {OTHER} TO {ROLE}")
            root.execute(f"CREATE DATABASE {OTHER}")
    for name in (DATABASE, OTHER):
        with psycopg.connect(vault.uri(database=name), autocommit=True) as root:
            root.execute("CREATE TABLE IF NOT EXISTS notes (id int PRIMARY KEY, body text)")
            root.execute(f"GRANT ALL ON notes TO {ROLE}, {OTHER}")
            root.execute("CREATE SCHEMA IF NOT EXISTS elsewhere")
            root.execute(f"GRANT USAGE ON SCHEMA elsewhere TO {ROLE}, {OTHER}")
    estate = Estate(tmp_path_factory.mktemp("bind"), vault, authority)
    more = {} if request.param == "sqlite" else postgres_store(estate)
    with installed(estate, POLICY, **more) as running:
        yield running


@pytest.fixture
def direct(vault: EmbeddedPostgres) -> Iterator[Any]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as made:
        made.execute("DELETE FROM notes WHERE id > 100")
        yield made
        made.execute("DELETE FROM notes WHERE id > 100")


def ticket(client: Any, text: str, values: Any = None) -> str:
    """The statement is refused with one -> the request's id."""
    with pytest.raises(psycopg.Error) as caught:
        client.execute(text, values)
    detail = json.loads(str(caught.value.diag.message_detail))
    assert detail["code"] == "hold_ticket", detail
    return str(detail["request"])


def approve(bob: Person, id: str) -> None:
    answer = bob.post(f"/api/v1/requests/{id}/vote", json={"approve": True, "reason": ""})
    assert answer.json()["state"] == "approved", answer.text


def count(direct: Any) -> int:
    return int(direct.execute("SELECT count(*) FROM notes WHERE id > 100").fetchone()[0])


CHANGES: dict[str, dict[str, Any]] = {
    "a literal": {"text": PLAIN.replace("101", "102")},
    "a space": {"text": PLAIN + " "},
    "a comment": {"text": "/* x */ " + PLAIN},
    "search_path": {"before": "SET search_path TO elsewhere, public"},
    "a setting that literals are read by": {"before": "SET datestyle TO german"},
    "a setting that comparisons are made by": {"before": "SET transform_null_equals TO on"},
    "a setting of one's own": {"before": "SET app.tenant TO '2'"},
    "a setting of one's own, by a function": {
        "before": "SELECT set_config('app.tenant', '2', false)"
    },
    "a setting that is computed": {
        "before": "SELECT set_config('app.tenant', max(id)::text, false) FROM notes"
    },
    "settings in one text": {"before": "SET app.tenant TO '2'; SET app.tenant TO '3'"},
    "a setting of a DO block": {
        "before": "DO $$ BEGIN PERFORM set_config('app.tenant', '2', false); END $$"
    },
    "role": {"before": f"SET ROLE {OTHER}"},
    "database": {"dbname": OTHER},
    "principal": {"user": "dave"},
}


@pytest.mark.parametrize("name", CHANGES)
def test_another_statement_is_not_released(service: Running, direct: Any, name: str) -> None:
    change = CHANGES[name]
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        approved = ticket(alice, PLAIN)
        approve(bob, approved)
        user, more = change.get("user", "alice"), {}
        if "dbname" in change:
            more["dbname"] = change["dbname"]
        with connect(service, user, **more) as other:
            if "before" in change:
                other.execute(change["before"])
            assert ticket(other, change.get("text", PLAIN)) != approved
        assert count(direct) == 0
        if name == "role":  # and back in its own
            alice.execute(f"SET ROLE {OTHER}")
            alice.execute("RESET ROLE")
        assert alice.execute(PLAIN).rowcount == 1  # as it was approved
        assert ticket(alice, PLAIN) != approved  # a second use
    assert count(direct) == 1


def test_a_setting_behind_what_fails(service: Running, direct: Any) -> None:
    """Both on their way at once: which of them failed is not mistaken."""
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        approved = ticket(alice, PLAIN)
        approve(bob, approved)
        port = service.ports["main"]
        uri = f"postgresql://alice:alice-password@127.0.0.1:{port}/{DATABASE}"
        with WireClient.login(uri) as other:
            other.ask(query("SELECT 1 / 0"), query("SET app.tenant TO '2'"), ready=2)
            told = error(other.ask(query(PLAIN)))
            assert json.loads(told["D"])["request"] != approved
        assert count(direct) == 0
        assert alice.execute(PLAIN).rowcount == 1


def test_another_parameter_is_not_released(service: Running, direct: Any) -> None:
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        alice.prepare_threshold = 0
        approved = ticket(alice, TEXT, (103,))
        approve(bob, approved)
        assert ticket(alice, TEXT, (104,)) != approved
        assert ticket(alice, TEXT, ("103",)) != approved  # another type
        assert alice.execute(TEXT, (103,)).rowcount == 1
        assert ticket(alice, TEXT, (103,)) != approved
    assert count(direct) == 1


def test_an_hour_later(service: Running, direct: Any) -> None:
    """Of an approval that may be used for a second; the unit tests have a clock that is set."""
    direct.execute("INSERT INTO notes VALUES (105, 'stays')")
    text = "DELETE FROM notes WHERE id = 105"
    with connect(service, "alice") as alice, Person(service, "bob") as bob:
        approved = ticket(alice, text)
        approve(bob, approved)
        wait_for(
            lambda: bob.get(f"/api/v1/requests/{approved}").json()["state"] == "expired",
            "its expiry",
        )
        assert ticket(alice, text) != approved
    assert count(direct) == 1
