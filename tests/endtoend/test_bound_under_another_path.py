"""The server looks the names of a prepared text up anew at Bind when search_path has changed, and
runs at Execute what they meant then. So what a portal was bound to is what is judged.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from appliance.model.limits import Limits
from tests.clusters import EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Running
from tests.wireclient import Message, WireClient, bind, execute, message, parse

SYNC = message("S")
RULES = """
version: 1
classifications:
  secret: ["*.hidden.papers.word"]
rules:
  - {id: work, effect: allow, actions: [read, session, write, ddl]}
  - {id: no-secrets, effect: deny, principals: {groups: [dba]}, actions: [read, write],
     resources: ["*.hidden.papers"]}
  - {id: hide, effect: mask, principals: {groups: [analysts]}, classifications: [secret],
     mask: {method: redact}}
"""
SCHEMA = f"""
CREATE SCHEMA hidden;
CREATE TABLE hidden.papers AS SELECT 'TOP SECRET'::text AS word;
CREATE SCHEMA shown;
CREATE TABLE shown.papers AS SELECT 'harmless'::text AS word;
CREATE SCHEMA other;
CREATE TABLE other.papers AS SELECT 'of the other'::text AS word;
GRANT USAGE ON SCHEMA hidden, shown, other TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA hidden, shown, other TO {ROLE};
"""
SHORT = (b"x",)
LONG = (b"x" * (Limits().bind_bytes_max + 100_000),)
READ = "SELECT word || '' FROM papers WHERE $1::text <> ''"


@pytest.fixture
def proxy(vault: EmbeddedPostgres, estate: Any) -> Iterator[Running]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as root:
        root.execute(SCHEMA)
        try:
            made = estate()
            made.write("policy.yaml", RULES)
            with made.serve() as running:
                yield running
        finally:
            root.execute("DROP SCHEMA hidden, shown, other CASCADE")


@pytest.fixture(params=["bob", "alice"])
def client(proxy: Running, request: pytest.FixtureRequest) -> Iterator[WireClient]:
    """May not read one of the two; owes a mask on it."""
    who = request.param
    address = f"postgresql://{who}:{who}-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    with WireClient.login(address) as client:
        client.query(b"SET search_path = shown")
        yield client


def rows(got: list[Message]) -> list[Any]:
    return [m.row for m in got if m.kind == "D"]


def failed(got: list[Message]) -> bool:
    return any(m.kind == "E" for m in got)


def set_path(path: str) -> bytes:
    return parse("", f"SET search_path = {path}") + bind() + execute()


@pytest.mark.parametrize("values", [SHORT, LONG], ids=["short", "long"])
@pytest.mark.parametrize("known", [0, 4])
def test_a_portal_is_judged_by_the_path_it_was_bound_under(
    client: WireClient, values: tuple[bytes], known: int
) -> None:
    client.ask(parse("read", READ), SYNC)
    for _ in range(known):
        assert rows(client.ask(bind("", "read", values), execute(), SYNC)) == [[b"harmless"]]
    steps = [bind("late", "read", values), set_path("shown"), execute("late"), SYNC]
    got = client.ask(set_path("hidden"), *steps)
    assert rows(got) == [] and failed(got)
    assert rows(client.ask(bind("", "read", values), execute(), SYNC)) == [[b"harmless"]]

    client.query(b"BEGIN")
    client.query(b"SET LOCAL search_path = hidden")
    assert failed(client.ask(bind("late", "read", values), SYNC))
    client.query(b"ROLLBACK")
    assert rows(client.ask(bind("", "read", values), execute(), SYNC)) == [[b"harmless"]]


@pytest.mark.parametrize("values", [SHORT, LONG], ids=["short", "long"])
def test_a_portal_goes_on_under_another_path_where_its_names_mean_the_same(
    client: WireClient, values: tuple[bytes]
) -> None:
    client.ask(parse("read", READ), SYNC)
    steps = [bind("late", "read", values), set_path("shown, public"), execute("late"), SYNC]
    got = client.ask(*steps)
    assert rows(got) == [[b"harmless"]] and not failed(got)
    got = client.ask(set_path("public, shown"), bind("", "read", values), execute(), SYNC)
    assert rows(got) == [[b"harmless"]] and not failed(got)


def test_a_portal_that_means_another_table_now_is_to_be_bound_again(client: WireClient) -> None:
    client.ask(parse("read", READ), SYNC)
    got = client.ask(bind("late", "read", SHORT), set_path("other"), execute("late"), SYNC)
    assert rows(got) == []
    assert [m.fields["C"] for m in got if m.kind == "E"] == ["26000"]
    client.query(b"SET search_path = other")
    client.ask(parse("again", READ), SYNC)
    assert rows(client.ask(bind("", "again", SHORT), execute(), SYNC)) == [[b"of the other"]]


def test_nothing_of_a_long_bind_is_forwarded_that_was_refused(client: WireClient) -> None:
    """What is kept back while settings are asked for, too."""
    client.ask(parse("read", READ), SYNC)
    for _ in range(3):
        got = client.ask(set_path("hidden"), bind("", "read", LONG), execute(), SYNC)
        assert rows(got) == [] and failed(got)
        client.query(b"SET search_path = shown")
        got = client.ask(bind("", "read", LONG), execute(), SYNC)
        assert rows(got) == [[b"harmless"]] and not failed(got)
