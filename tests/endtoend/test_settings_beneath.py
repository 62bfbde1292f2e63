"""What runs beneath a text (a trigger, a function behind a view) changes how texts behind it are
read, or the server's configuration does. Settings are asked for behind whatever runs code that
nobody vouches for; the path is the session's own from its first statement on; and strings are sent
so that they end in one place whatever standard_conforming_strings is.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import DATABASE, PASSWORD, ROLE, Estate, Running, furnish
from tests.wireclient import (
    Message,
    WireClient,
    bind,
    close,
    execute,
    message,
    parse,
    query,
    wait_for,
)

RULES = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - {id: no-secrets, effect: deny, actions: [read, write], resources: ["*.hidden.papers"]}
"""
SCHEMA = f"""
CREATE SCHEMA hidden;
CREATE TABLE hidden.papers AS SELECT 'TOP SECRET'::text AS word;
CREATE TABLE public.papers AS SELECT 'of all'::text AS word;
CREATE SCHEMA shown;
CREATE TABLE shown.papers AS SELECT 'harmless'::text AS word;
CREATE TABLE shown.noted (i int);
CREATE FUNCTION shown.moves() RETURNS int LANGUAGE plpgsql
  AS $$ BEGIN PERFORM set_config('search_path', 'hidden', false); RETURN 1; END $$;
CREATE FUNCTION shown.on_insert() RETURNS trigger LANGUAGE plpgsql
  AS $$ BEGIN PERFORM shown.moves(); RETURN NEW; END $$;
CREATE TRIGGER moves BEFORE INSERT ON shown.noted FOR EACH ROW EXECUTE FUNCTION shown.on_insert();
CREATE FUNCTION hidden.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql
  AS $$ BEGIN PERFORM shown.moves(); RETURN true; END $$;
CREATE OPERATOR hidden.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = hidden.same);
SET search_path = hidden;
CREATE VIEW shown.cased AS SELECT CASE word::varchar WHEN 'x'::varchar THEN 1 END AS i
  FROM shown.papers;
RESET search_path;
CREATE VIEW shown.moving AS SELECT shown.moves() AS i;
CREATE TABLE shown.noted_late (i int);
CREATE CONSTRAINT TRIGGER moves AFTER INSERT ON shown.noted_late DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION shown.on_insert();
CREATE FUNCTION shown.planned() RETURNS int IMMUTABLE LANGUAGE plpgsql
  AS $$ BEGIN PERFORM set_config('search_path', 'hidden', false); RETURN 1; END $$;
CREATE VIEW shown.planning AS SELECT shown.planned() AS i FROM generate_series(1, 2);
CREATE TABLE shown.read_otherwise (i int);
CREATE FUNCTION shown.on_string() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('standard_conforming_strings', 'off', false); RETURN NEW; END $$;
CREATE TRIGGER strings BEFORE INSERT ON shown.read_otherwise
  FOR EACH ROW EXECUTE FUNCTION shown.on_string();
CREATE TABLE shown.trash (i int);
GRANT USAGE ON SCHEMA hidden, shown TO {ROLE};
GRANT ALL ON ALL TABLES IN SCHEMA hidden, shown, public TO {ROLE};
ALTER TABLE shown.trash OWNER TO {ROLE};
"""
READ = "SELECT word FROM papers"
BENEATH = (
    "INSERT INTO shown.noted VALUES (1)",
    "SELECT * FROM shown.moving",
    "SELECT * FROM shown.cased",
)

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def older(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """It reports no search_path."""
    with EmbeddedPostgres(server_folder / "e16", 16) as server:
        furnish(server)
        yield server


@pytest.fixture(params=["18", "16"])
def server(vault: EmbeddedPostgres, request: pytest.FixtureRequest) -> EmbeddedPostgres:
    return vault if request.param == "18" else request.getfixturevalue("older")


@pytest.fixture
def proxy(server: EmbeddedPostgres, tmp_path: Path, authority: Authority) -> Iterator[Running]:
    with psycopg.connect(server.uri(database=DATABASE), autocommit=True) as root:
        root.execute(SCHEMA)
        try:
            made = Estate(tmp_path / "estate", server, authority)
            made.write("policy.yaml", RULES)
            with made.serve() as running:
                yield running
        finally:
            root.execute("DROP SCHEMA hidden, shown CASCADE; DROP TABLE public.papers")


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
            if extended:  # nobody knows yet how strings are read
                assert [m.row for m in got if m.kind == "D"] == [wanted]
                assert [m for m in got if m.kind == "E"] == []
            else:
                assert [m.row for m in got if m.kind == "D"] == []
                (error,) = [m.fields["M"] for m in got if m.kind == "E"]
                assert "standard_conforming_strings differs from what is analysed" in error
    with proxy.connect("bob", "bob-password") as connection:
        assert read(connection, "SELECT to_regclass('shown.trash')::text") == "shown.trash"


@pytest.fixture
def raw(proxy: Running) -> Iterator[WireClient]:
    address = f"postgresql://bob:bob-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    with WireClient.login(address) as client:
        client.query(b"SET search_path = shown")
        for _ in range(4):
            assert read_last(client.query(READ.encode())) == [b"harmless"]
        yield client


def read_last(got: list[Message]) -> Any:
    assert [m for m in got if m.kind == "E"] == []
    return [m.row for m in got if m.kind == "D"][-1]


def denied(got: list[Message]) -> bool:
    said = [m.fields["D"] for m in got if m.kind == "E"]
    assert said, got
    return b"TOP SECRET" not in b"".join(m.body for m in got) and "rule: no-secrets" in said[0]


@pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])
@pytest.mark.parametrize("beneath", BENEATH)
def test_in_one_segment(raw: WireClient, beneath: str, extended: bool) -> None:
    assert denied(in_one_segment(raw, beneath.encode(), READ.encode(), extended=extended))
    raw.query(b"SET search_path = shown")
    assert read_last(raw.query(READ.encode())) == [b"harmless"]


def test_statements_that_were_prepared_before(raw: WireClient) -> None:
    raw.ask(parse("read", READ), parse("write", BENEATH[0]), SYNC)
    for _ in range(4):
        assert read_last(raw.ask(bind("", "read"), execute(), SYNC)) == [b"harmless"]
    steps = [bind("", "write"), execute(), bind("", "read"), execute(), SYNC]
    assert denied(raw.ask(*steps))
    raw.query(b"SET search_path = shown")
    raw.ask(bind("", "write"), execute(), SYNC)
    assert denied(raw.ask(bind("", "read"), execute(), SYNC))


def test_a_deferred_trigger(raw: WireClient) -> None:
    """It runs at the end of its transaction, or when constraints are checked at once."""
    late = b"INSERT INTO shown.noted_late VALUES (1)"
    raw.query(b"BEGIN")
    raw.query(late)
    assert read_last(raw.query(READ.encode())) == [b"harmless"]
    assert denied(raw.ask(query(b"COMMIT"), query(READ), ready=2))
    raw.query(b"SET search_path = shown")
    raw.query(b"BEGIN")
    raw.query(late)
    assert denied(raw.ask(query(b"SET CONSTRAINTS ALL IMMEDIATE"), query(READ), ready=2))
    raw.query(b"ROLLBACK")
    assert read_last(raw.query(READ.encode())) == [b"harmless"]
    assert denied(in_one_segment(raw, late, READ.encode(), extended=False))


def test_a_cursor(raw: WireClient) -> None:
    """What it is made of runs when rows are fetched."""
    raw.query(b"BEGIN")
    raw.query(b"DECLARE c CURSOR FOR SELECT * FROM shown.moving")
    assert read_last(raw.query(READ.encode())) == [b"harmless"]
    assert denied(raw.ask(query(b"FETCH 1 FROM c"), query(READ), ready=2))
    raw.query(b"ROLLBACK")
    assert read_last(raw.query(READ.encode())) == [b"harmless"]


@pytest.mark.parametrize("synced", [False, True])
def test_what_runs_when_a_statement_is_planned(raw: WireClient, synced: bool) -> None:
    """A function that is declared IMMUTABLE, at Bind: its statement needs not be executed."""
    plan = parse("plan", "SELECT i FROM shown.planning")
    raw.ask(plan, parse("read", READ), SYNC)
    middle = [SYNC] if synced else []
    for last in ([bind("", "read")], [parse("", READ), bind()]):
        got = raw.ask(bind("p", "plan"), *middle, *last, execute(), SYNC, ready=1 + synced)
        assert denied(got)
        raw.query(b"SET search_path = shown")
        raw.ask(close("S", "plan"), plan, SYNC)  # a plan is made once
    raw.ask(bind("p", "plan"), SYNC)
    assert denied(raw.query(READ.encode()))


@pytest.mark.parametrize("who", ["bob", "alice"])
def test_a_changed_configuration_reaches_no_open_session(
    proxy: Running, server: EmbeddedPostgres, who: str
) -> None:
    address = f"postgresql://{who}:{who}-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    direct = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}"
    root = psycopg.connect(server.uri(database=DATABASE), autocommit=True)
    plain = psycopg.connect(direct, autocommit=True)
    with root, plain, WireClient.login(address) as client:
        (path,) = read_last(client.query(b"SHOW search_path"))
        root.execute("ALTER SYSTEM SET search_path = hidden")
        try:
            root.execute("SELECT pg_reload_conf()")
            wait_for(lambda: read(plain, "SHOW search_path") == "hidden")
            assert read_last(client.query(b"SHOW search_path")) == [path]
            assert read_last(client.query(READ.encode())) == [b"of all"]
            with WireClient.login(address) as later:
                assert read_last(later.query(b"SHOW search_path")) == [b"hidden"]
        finally:
            root.execute("ALTER SYSTEM RESET search_path")
            root.execute("SELECT pg_reload_conf()")
            wait_for(lambda: read(plain, "SHOW search_path") != "hidden")


@pytest.fixture
def one_connection(
    server: EmbeddedPostgres, tmp_path: Path, authority: Authority
) -> Iterator[Running]:
    """Shared by all sessions."""
    with psycopg.connect(server.uri(database=DATABASE), autocommit=True) as root:
        root.execute(SCHEMA)
        try:
            made = Estate(tmp_path / "estate", server, authority)
            made.write("policy.yaml", RULES)
            (target,) = made.configuration["targets"]
            target["pooling"] = {"mode": "transaction", "servers_max": 1, "spare": 0}
            with made.serve() as running:
                yield running
        finally:
            root.execute("ALTER SYSTEM RESET search_path")
            root.execute("SELECT pg_reload_conf()")
            root.execute("DROP SCHEMA hidden, shown CASCADE; DROP TABLE public.papers")


@pytest.mark.parametrize("between", ["nothing", "another", "reset", "alone"])
def test_a_changed_configuration_and_sessions_that_share_connections(
    one_connection: Running, server: EmbeddedPostgres, between: str
) -> None:
    """The path stays as long as the connection does, and is judged by as it is on the next."""
    address = f"postgresql://bob:bob-password@127.0.0.1:{one_connection.ports['main']}/{DATABASE}"
    direct = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}"
    root = psycopg.connect(server.uri(database=DATABASE), autocommit=True)
    plain = psycopg.connect(direct, autocommit=True)
    with root, plain, WireClient.login(address) as client, WireClient.login(address) as other:
        for each in (other, *[client] * 4):
            assert read_last(each.query(READ.encode())) == [b"of all"]
        if between == "another":
            other.query(READ.encode())
        root.execute("ALTER SYSTEM SET search_path = hidden")
        root.execute("SELECT pg_reload_conf()")
        wait_for(lambda: read(plain, "SHOW search_path") == "hidden")
        if between == "reset":
            client.query(b"RESET ALL")
        if between == "alone":
            client.query(b"SET work_mem = '9MB'")
        got = client.query(READ.encode())
        assert read_last(got) == [b"of all"] if between == "nothing" else denied(got)
        again = client.query(READ.encode())
        assert [m.kind for m in again] == [m.kind for m in got]


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
    proxy: Running, server: EmbeddedPostgres, text: str, who: str
) -> None:
    direct = f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{server.port}/{DATABASE}"
    address = f"postgresql://{who}:{who}-password@127.0.0.1:{proxy.ports['main']}/{DATABASE}"
    said = []
    for each in (direct, address):
        with WireClient.login(each) as client:
            for _ in range(3):
                got = client.query(text.encode())
                assert [m.fields["M"] for m in got if m.kind == "E"] == []
                said.append([m.row for m in got if m.kind == "D"])
    assert said == [said[0]] * 6
