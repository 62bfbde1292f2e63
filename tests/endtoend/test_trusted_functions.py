"""Functions an administrator vouches for, over the wire: answered as long as they are what they
were, refused with the reason and the remedy once they, or their name's meaning, changed.

Changes go past Sallyport here: they are noticed by polling.
"""

import os
import subprocess
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.clusters import SALLYPORT, Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, PASSWORD, ROLE, Estate, Running, one, wait_for

RULES = """
version: 1
rules:
  - {id: all, effect: allow, actions: [everything]}
  - id: no-ssn
    effect: mask
    principals: {names: [alice]}
    resources: ["*.*.people.ssn"]
    mask: {method: redact}
"""
SCHEMA = f"""
CREATE SCHEMA till;
CREATE TABLE till.orders (id int, total numeric);
INSERT INTO till.orders VALUES (1, 10), (1, 5), (2, 7);
CREATE TABLE till.seen (word text);
CREATE FUNCTION till.total(int) RETURNS numeric LANGUAGE plpgsql STABLE
  AS $$ BEGIN RETURN (SELECT sum(total) FROM till.orders WHERE id = $1); END $$;
CREATE FUNCTION till.secret(int) RETURNS text LANGUAGE plpgsql STABLE
  AS $$ BEGIN RETURN (SELECT ssn FROM public.people WHERE id = $1); END $$;
CREATE FUNCTION till.pair(OUT a int, OUT b text) LANGUAGE plpgsql
  AS $$ BEGIN a := 1; b := 'x'; END $$;
CREATE PROCEDURE till.note(word text, INOUT n int) LANGUAGE plpgsql
  AS $$ BEGIN INSERT INTO till.seen VALUES (word); n := n + 1; END $$;
CREATE AGGREGATE till.sum_of (numeric) (SFUNC = numeric_add, STYPE = numeric, INITCOND = '0');
CREATE FUNCTION till.rounded(numeric) RETURNS numeric LANGUAGE sql AS 'SELECT round($1)';
CREATE FUNCTION till.of_person(int) RETURNS text LANGUAGE sql SECURITY DEFINER
  AS 'SELECT ssn FROM public.people WHERE id = $1';
CREATE TABLE till.fired (id int, word text);
CREATE FUNCTION till.fill() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
  AS $$ BEGIN NEW.word := (SELECT ssn FROM public.people WHERE id = NEW.id); RETURN NEW; END $$;
CREATE TRIGGER fill BEFORE INSERT ON till.fired FOR EACH ROW EXECUTE FUNCTION till.fill();
CREATE DOMAIN till.checked AS int CHECK (till.secret(VALUE) <> 'x');
CREATE VIEW till.totals AS SELECT id, till.total(id) AS total FROM till.orders;
CREATE VIEW till.secrets AS SELECT id, till.secret(id) AS word FROM till.orders;
GRANT USAGE ON SCHEMA till TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA till TO {ROLE};
"""
TRUSTED = ("till.total(int)", "till.pair()", "till.note(text, integer)", "till.sum_of")

Session = psycopg.Connection[tuple[Any, ...]]


def trusted_entries(server: EmbeddedPostgres, *functions: str) -> str:
    """What `sallyport policy trust` prints."""
    uri = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}?sslmode=disable"
    return subprocess.run(
        [SALLYPORT, "policy", "trust", uri, *functions],
        env={name: value for name, value in os.environ.items() if name != "PGPASSWORD"},
        capture_output=True,
        check=True,
        text=True,
        timeout=60,
    ).stdout


@pytest.fixture
def root(vault: EmbeddedPostgres) -> Iterator[Session]:
    """Goes past Sallyport."""
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as connection:
        connection.execute("DROP SCHEMA IF EXISTS till CASCADE")
        connection.execute(SCHEMA)
        yield connection
        connection.execute("DROP SCHEMA till CASCADE")


@pytest.fixture
def proxy(
    root: Session, vault: EmbeddedPostgres, estate: Any, authority: Authority
) -> Iterator[Running]:
    made: Estate = estate()
    made.write("policy.yaml", RULES + trusted_entries(vault, *TRUSTED))
    with made.serve() as running:
        yield running


@pytest.fixture
def alice(proxy: Running) -> Iterator[Session]:
    """Owes a mask."""
    with proxy.connect("alice", "alice-password") as connection:
        yield connection


def refusal(connection: Session, text: str) -> str:
    """Message, detail and hint of a refusal; '' when it is answered."""
    try:
        connection.execute(text)  # type: ignore[call-overload]
    except psycopg.Error as error:
        words = error.diag
        return " ".join(
            filter(None, (words.message_primary, words.message_detail, words.message_hint))
        )
    return ""


ANSWERED = {
    "select till.total(1)": 15,
    "select * from till.total(1)": 15,
    "select total from till.totals where id = 2": 7,
    "select b from till.pair()": "x",
    "select till.sum_of(total) from till.orders": 22,
    "call till.note('a', 1)": 2,
    "select till.rounded(1.4)": 1,  # nobody vouched for it: its body is as harmless as a view
}


def test_trusted_functions_are_answered(alice: Session) -> None:
    for text, value in ANSWERED.items():
        assert one(alice, text) == value, text
    assert one(alice, "select word from till.seen") == "a"


@pytest.mark.parametrize(
    "text",
    [
        "select till.secret(1)",
        "select word from till.secrets",
        "explain analyze select till.secret(1)",
        "select till.of_person(1)",
        "insert into till.fired (id) values (1) returning word",
        "select 1::till.checked",
        "do $$ begin perform till.total(1); end $$",
    ],
)
def test_others_are_not(alice: Session, text: str) -> None:
    told = refusal(alice, text)
    assert told
    assert "123-45" not in told
    assert one(alice, "select till.total(1)") == 15


def test_the_remedy_is_named(alice: Session) -> None:
    told = refusal(alice, "select till.secret(1)")
    assert "till.secret" in told and "sallyport policy trust" in told


CHANGES = {
    "another body": (
        "CREATE OR REPLACE FUNCTION till.total(int) RETURNS numeric LANGUAGE plpgsql STABLE AS"
        " $$ BEGIN RETURN (SELECT right(ssn, 4)::numeric FROM public.people WHERE id = $1); END $$",
        "is not what it was",
    ),
    "its owner's rights": (
        "ALTER FUNCTION till.total(int) SECURITY DEFINER",
        "is not what it was",
    ),
    "its settings": (
        "ALTER FUNCTION till.total(int) SET search_path = 'till'",
        "is not what it was",
    ),
    "its owner": (f"ALTER FUNCTION till.total(int) OWNER TO {ROLE}", "is not what it was"),
    "an overload": (
        "CREATE FUNCTION till.total(smallint) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN (SELECT ssn FROM public.people WHERE id = $1); END $$",
        "is not known",
    ),
    "another of its name": (
        "DROP FUNCTION till.total(int) CASCADE;"
        "CREATE FUNCTION till.total(int) RETURNS text LANGUAGE plpgsql AS"
        " $$ BEGIN RETURN (SELECT ssn FROM public.people WHERE id = $1); END $$",
        "is not what it was",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changed_is_not_trusted_any_more(alice: Session, root: Session, change: str) -> None:
    text, reason = CHANGES[change]
    assert one(alice, "select till.total(1)") == 15
    root.execute(text.encode())
    told = wait_for(lambda: refusal(alice, "select till.total(1)"), "the change to be noticed")
    assert reason in told and "sallyport policy trust" in told


def test_changed_back_it_is_trusted_again(alice: Session, root: Session) -> None:
    root.execute("ALTER FUNCTION till.total(int) VOLATILE")
    wait_for(lambda: refusal(alice, "select till.total(1)"), "the change to be noticed")
    root.execute("ALTER FUNCTION till.total(int) STABLE")
    wait_for(lambda: not refusal(alice, "select till.total(1)"), "the change back to be noticed")
