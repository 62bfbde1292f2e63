"""The policy read-only-masked: temporary tables of one's own are filled, changed and dropped, and
nothing else is; whoever owes masks, and whoever does not.

Rule of these tests: whatever is tried, what lasts stays as it is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, ROLE, Estate, Running, listener

POLICY = Path(__file__).parents[2] / "config" / "policies" / "read-only-masked.yaml"
SCHEMA = f"""
DROP TABLE IF EXISTS public.customers, public.plain;
CREATE TABLE public.plain (id int);
INSERT INTO public.plain VALUES (1);
ALTER TABLE public.plain OWNER TO {ROLE};
CREATE TABLE public.customers (id int, email text);
INSERT INTO public.customers VALUES (1, 'ada@example.com');
ALTER TABLE public.customers OWNER TO {ROLE};
GRANT ALL ON SCHEMA public TO {ROLE};
"""
OWN = [
    "CREATE TEMP TABLE {t} (id int, v text)",
    "INSERT INTO {t} VALUES (1, 'a'), (2, 'b')",
    "INSERT INTO {t} SELECT id, 'from' FROM public.customers",
    "UPDATE {t} SET v = 'x' WHERE id = 1",
    "DELETE FROM {t} WHERE id = 2",
    "CREATE INDEX ON {t} (id)",
    "ALTER TABLE {t} ADD COLUMN more int",
    "COMMENT ON TABLE {t} IS 'mine'",
    "ANALYZE {t}",
    "TRUNCATE {t}",
    "DELETE FROM pg_temp.{t}",
    "DROP TABLE {t}",
]
Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("temporary"), vault, authority)
    text = POLICY.read_text().replace("[privacy]", "[dba]")
    estate.write("policy.yaml", text + 'known_relations: ["*.public.*"]\n')
    estate.configuration["listeners"] = [listener("main")]
    with estate.serve() as running:
        yield running


@pytest.fixture
def customers(vault: EmbeddedPostgres) -> Iterator[None]:
    with psycopg.connect(vault.uri(database=DATABASE), autocommit=True) as direct:
        direct.execute(SCHEMA.encode())
        yield
        found = direct.execute("SELECT * FROM public.customers").fetchall()
        assert found == [(1, "ada@example.com")]
        assert direct.execute("SELECT * FROM public.plain").fetchall() == [(1,)]


@pytest.fixture(params=["alice", "bob"])
def session(request: pytest.FixtureRequest, proxy: Running, customers: None) -> Iterator[Session]:
    with proxy.connect(request.param, f"{request.param}-password") as connection:
        shown = connection.execute("SELECT email FROM public.customers").fetchall()
        assert (shown == [("****",)]) is (request.param == "alice"), shown
        yield connection


def run(session: Session, text: str, *, extended: bool) -> None:
    if extended:
        session.execute(text.encode(), binary=True)
    else:
        psycopg.ClientCursor(session).execute(text.encode())


def refused(session: Session, *texts: str, extended: bool = True) -> None:
    for text in texts:
        with pytest.raises(psycopg.Error) as caught:
            run(session, text, extended=extended)
        assert caught.value.sqlstate in ("42501", "26000", "40001"), (text, caught.value)


@pytest.mark.parametrize("extended", [False, True])
def test_a_table_of_ones_own(session: Session, extended: bool) -> None:
    for _ in range(2):
        for text in OWN:
            run(session, text.format(t="mine"), extended=extended)


@pytest.mark.parametrize("extended", [False, True])
def test_made_of_what_was_prepared(session: Session, extended: bool) -> None:
    """Of what is masked on its way here only, the raw value would be stored."""
    masked = session.execute("SELECT email FROM public.customers").fetchone() == ("****",)
    run(session, "PREPARE plain AS SELECT id FROM public.plain", extended=extended)
    run(session, "PREPARE shown AS SELECT id, email FROM public.customers", extended=extended)
    run(session, "PREPARE used AS SELECT email || '!' AS v FROM customers", extended=extended)
    run(session, "CREATE TEMP TABLE mine AS EXECUTE plain", extended=extended)
    assert session.execute("SELECT * FROM mine").fetchall() == [(1,)]
    run(session, "CREATE TEMP TABLE more AS EXECUTE used", extended=extended)
    kept = session.execute("SELECT v FROM more").fetchall()
    assert kept == [("****!" if masked else "ada@example.com!",)]
    if masked:
        refused(session, "CREATE TEMP TABLE raw AS EXECUTE shown", extended=extended)
        refused(
            session, "EXPLAIN ANALYZE CREATE TEMP TABLE raw AS EXECUTE shown", extended=extended
        )
        refused(session, "CREATE TEMP TABLE raw AS EXECUTE nothing", extended=extended)


def test_copy_into_it(session: Session) -> None:
    session.execute("CREATE TEMP TABLE mine (id int, v text)")
    with session.cursor().copy("COPY mine FROM STDIN") as copy:
        copy.write_row((1, "a"))
    assert session.execute("SELECT * FROM mine").fetchall() == [(1, "a")]


def test_a_script_in_one_text(proxy: Running, customers: None) -> None:
    with proxy.connect("bob", "bob-password") as session:
        run(
            session,
            "CREATE TEMP TABLE mine (id int); INSERT INTO mine VALUES (1);"
            "CREATE INDEX ON mine (id); ANALYZE mine; DROP TABLE mine",
            extended=False,
        )


@pytest.mark.parametrize("extended", [False, True])
def test_nothing_else(session: Session, extended: bool) -> None:
    lasting = [
        "INSERT INTO customers VALUES (2)",
        "UPDATE customers SET id = 1 WHERE id = 2",
        "DELETE FROM customers",
        "TRUNCATE customers",
        "ALTER TABLE customers ADD more int",
        "CREATE INDEX ON customers (id)",
        "ANALYZE customers",
        "COMMENT ON TABLE customers IS ''",
        "DROP TABLE customers",
        "DROP TABLE IF EXISTS nothing, customers",
        "DELETE FROM pg_temp_99.customers",
        "DROP TABLE pg_temp_99.mine",
        "CREATE TABLE lasting (id int)",
        "CREATE TABLE lasting AS SELECT 1",
    ]
    refused(session, *lasting, extended=extended)
    session.execute("CREATE TEMP TABLE mine (id int)")
    refused(session, *lasting, "DROP TABLE mine, customers", extended=extended)


def test_a_name_that_comes_to_mean_another(session: Session) -> None:
    """What was a table of its own is dropped, and its name is a lasting one's again."""
    session.execute("CREATE TEMP TABLE customers (id int)")
    session.execute("DROP TABLE IF EXISTS pg_temp.customers")
    refused(session, "DELETE FROM customers WHERE id > 0", "DROP TABLE customers")
    session.execute("BEGIN")
    session.execute("CREATE TEMP TABLE customers (id int)")
    session.execute("ROLLBACK")
    refused(session, "DELETE FROM customers WHERE id > 0", "DROP TABLE customers")


def test_prepared_for_a_table_that_is_gone(session: Session) -> None:
    with pytest.raises(psycopg.Error):
        session.execute("CREATE TEMP TABLE mine (id int)")
        session.execute("PREPARE sweep AS DELETE FROM mine WHERE id > 0")
        session.execute("DROP TABLE mine")
        session.execute("CREATE TEMP VIEW mine AS SELECT id FROM public.plain")
        session.execute("EXECUTE sweep")
    session.execute("DISCARD ALL")
    session.prepare_threshold = 0
    session.execute("CREATE TEMP TABLE mine (id int)")
    session.execute("DELETE FROM mine WHERE id > 0", prepare=True)
    session.execute("DROP TABLE mine")
    session.execute("CREATE TEMP VIEW mine AS SELECT id FROM public.plain")
    with pytest.raises(psycopg.Error):
        session.execute("DELETE FROM mine WHERE id > 0", prepare=True)


def test_not_through_a_view_of_ones_own(session: Session) -> None:
    session.execute("CREATE TEMP VIEW window_on AS SELECT id FROM public.plain")
    through = [
        "DELETE FROM window_on WHERE id > 0",
        "DELETE FROM pg_temp.window_on",
        "UPDATE window_on SET id = 7 WHERE id > 0",
        "INSERT INTO window_on (id) VALUES (2)",
        "LOCK TABLE window_on",
    ]
    refused(session, *through)
    session.execute("CREATE TEMP TABLE mine (id int)")
    session.execute("DROP TABLE mine")
    session.execute("ALTER VIEW window_on RENAME TO mine")
    refused(session, *(text.replace("window_on", "mine") for text in through))
    refused(
        session,
        "CREATE TEMP TABLE IF NOT EXISTS mine (id int); DELETE FROM mine WHERE id > 0",
        extended=False,
    )
    session.execute("DROP VIEW mine")


def test_the_search_path_does_not_help(session: Session) -> None:
    session.execute("CREATE TEMP TABLE mine (id int)")
    session.execute("CREATE TEMP TABLE customers (id int)")
    session.execute("SET search_path = public, pg_temp")
    refused(session, "DELETE FROM customers WHERE id > 0", "TRUNCATE customers")
    text = "SET search_path = public, pg_temp; DELETE FROM customers WHERE id > 0"
    refused(session, text, extended=False)
    session.execute("SET search_path = pg_catalog")
    text = "SET search_path = public, pg_temp; DELETE FROM customers WHERE id > 0"
    refused(session, text, extended=False)
