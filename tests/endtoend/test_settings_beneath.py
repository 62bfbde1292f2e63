"""What runs beneath a text (a trigger, a function behind a view) changes how texts behind it are
read. PostgreSQL 18 reports search_path, and names are judged by what they mean then; strings are
sent so that they end in one place whatever standard_conforming_strings is.
"""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from tests.clusters import EmbeddedPostgres
from tests.endtoend.stage import DATABASE, PASSWORD, ROLE, Running
from tests.wireclient import Message, WireClient, bind, execute, message, parse, query

RULES = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - {id: no-secrets, effect: deny, actions: [read, write], resources: ["*.hidden.papers"]}
"""
SCHEMA = f"""
CREATE SCHEMA hidden;
CREATE TABLE hidden.papers AS SELECT 'TOP SECRET'::text AS word;
CREATE SCHEMA shown;
CREATE TABLE shown.papers AS SELECT 'harmless'::text AS word;
CREATE TABLE shown.noted (i int);
CREATE FUNCTION shown.moves() RETURNS int LANGUAGE plpgsql
  AS $$ BEGIN PERFORM set_config('search_path', 'hidden', false); RETURN 1; END $$;
CREATE FUNCTION shown.on_insert() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN PERFORM shown.moves(); RETURN NEW; END $$;
CREATE TRIGGER moves BEFORE INSERT ON shown.noted FOR EACH ROW EXECUTE FUNCTION shown.on_insert();
CREATE VIEW shown.moving AS SELECT shown.moves() AS i;
CREATE TABLE shown.read_otherwise (i int);
CREATE FUNCTION shown.on_string() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('standard_conforming_strings', 'off', false); RETURN NEW; END $$;
CREATE TRIGGER strings BEFORE INSERT ON shown.read_otherwise
  FOR EACH ROW EXECUTE FUNCTION shown.on_string();
CREATE TABLE shown.trash (i int);
GRANT USAGE ON SCHEMA hidden, shown TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA hidden, shown TO {ROLE};
ALTER TABLE shown.trash OWNER TO {ROLE};
"""
READ = "SELECT word FROM papers"
BENEATH = ("INSERT INTO shown.noted VALUES (1)", "SELECT * FROM shown.moving")

Session = psycopg.Connection[tuple[Any, ...]]


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
            root.execute("DROP SCHEMA hidden, shown CASCADE")


@pytest.fixture(params=["simple", "extended"])
def bob(proxy: Running, request: pytest.FixtureRequest) -> Iterator[Session]:
    """Owes no mask, and may not read one of the two."""
    with proxy.connect("bob", "bob-password") as connection:
        if request.param == "simple":
            connection.cursor_factory = psycopg.ClientCursor
        connection.execute("SET search_path = shown")
        yield connection


def read(connection: Session, text: Any = READ) -> Any:
    return connection.execute(text).fetchall()[0][0]


@pytest.mark.parametrize("beneath", BENEATH)
def test_names_are_judged_by_the_path_that_was_set_beneath(bob: Session, beneath: Any) -> None:
    for _ in range(6):  # known by heart, as what changes the path is
        assert read(bob) == "harmless"
    for again in range(4):
        bob.execute(beneath)
        for text in (READ, f"SELECT word, {again} FROM papers", READ):
            with pytest.raises(psycopg.errors.InsufficientPrivilege, match="no-secrets"):
                read(bob, text)
        bob.execute("SET search_path = shown")
        assert read(bob) == "harmless"


SYNC = message("S")
UNION = b"SELECT '\\', ' UNION ALL SELECT word, word FROM hidden.papers --'"
DROP = b"SELECT '\\', '; DROP TABLE shown.trash; --'"
CARRIER = b"INSERT INTO shown.read_otherwise VALUES (1)"


def in_one_segment(client: WireClient, *texts: bytes, extended: bool) -> list[Message]:
    if not extended:
        return client.ask(*map(query, texts), ready=len(texts))
    frames = [frame for text in texts for frame in (parse("", text), bind(), execute())]
    return client.ask(*frames, SYNC, ready=1)


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("text", [UNION, DROP])
def test_a_string_ends_where_it_was_judged_to_end(
    proxy: Running, text: bytes, extended: bool
) -> None:
    address = f"postgresql://bob:bob-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    wanted = [b"\\", text.split(b"'")[3]]
    for known in (0, 5):
        with WireClient.login(address) as client:
            for _ in range(known):
                got = in_one_segment(client, text, extended=extended)
                assert [m.row for m in got if m.kind == "D"] == [wanted]
            got = in_one_segment(client, CARRIER, text, extended=extended)
            assert [m.row for m in got if m.kind == "D"] == [wanted]
            assert [m for m in got if m.kind == "E"] == []
    with proxy.connect("bob", "bob-password") as connection:
        assert read(connection, "SELECT to_regclass('shown.trash')::text") == "shown.trash"


BACKSLASHES = (
    r"SELECT word FROM shown.papers WHERE word NOT LIKE '%\%' ESCAPE '\' AND '\' = chr(92)",
    r"SELECT n'\' || 'a\''b' || e'c\'d' || 'C:\new' || $$\'$$",
    "SELECT 'a'\n  'b\\'",
    r"SELECT '\'; SELECT 'two\'",
    r"PREPARE p AS SELECT '\' || $1::text; EXECUTE p ('x\'); DEALLOCATE p",
    r"VALUES ('\'), ('a\''b'), (nchar '\')",
    r"BEGIN; DECLARE c CURSOR FOR SELECT 'a\' UNION ALL SELECT '\b'; FETCH ALL FROM c; COMMIT",
    r"WITH w AS (SELECT U&'d\0061t\+000061' AS a, '\' AS b) SELECT a || b FROM w WHERE b = '\'",
    r"""SELECT 'x' ~ '\w' AS "\'", 1 /* '\' */ -- '\'""",
)


@pytest.mark.parametrize("text", BACKSLASHES)
@pytest.mark.parametrize("who", ["bob", "alice"])
def test_texts_with_backslashes_mean_what_they_mean_to_the_database(
    proxy: Running, vault: EmbeddedPostgres, text: str, who: str
) -> None:
    direct = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{vault.port}/{DATABASE}"
    address = f"postgresql://{who}:{who}-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    said = []
    for each in (direct, address):
        with WireClient.login(each) as client:
            for _ in range(3):
                got = client.query(text.encode())
                assert [m.fields["M"] for m in got if m.kind == "E"] == []
                said.append([m.row for m in got if m.kind == "D"])
    assert said == [said[0]] * 6
