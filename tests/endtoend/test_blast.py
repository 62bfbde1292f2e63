"""`max_rows`: a write that affects one row too many changes nothing and shows nothing, whichever
way it is sent; one within the limit is what a direct connection makes of it, to the byte."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres, installed_program
from tests.endtoend.stage import PASSWORD, ROLE, Estate, Running, listener, wait_for
from tests.wireclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
    Message,
    WireClient,
    bind,
    copy_data,
    describe,
    execute,
    kinds,
    parse,
    query,
    rows,
)

POLICY = """
version: 1
classifications:
  ssn: [vault.public.staff.ssn]
rules:
  - id: work
    effect: allow
    actions: [everything]
  - {id: three, effect: limit, actions: [write], resources: ["vault.public.*"], max_rows: 3}
  - {id: sweeps, effect: limit, actions: [delete], flags: [trivial_where], max_rows: 1}
  - {id: five, effect: limit, actions: [write], max_rows: 5, row_limit: 100}
  - id: mask-ssn
    effect: mask
    principals: {names: [alice]}
    classifications: [ssn]
    mask: {method: keep_last, keep: 2}
"""
SCHEMA = f"""
CREATE TABLE ledger (id int PRIMARY KEY, body text NOT NULL);
CREATE VIEW small AS SELECT * FROM ledger WHERE id <= 10;
CREATE TABLE staff (id int PRIMARY KEY, ssn text);
CREATE TABLE journal (id int, said text);
CREATE TABLE parent (id int PRIMARY KEY, name text);
CREATE TABLE child (id int PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
CREATE TABLE parted (id int, body text) PARTITION BY RANGE (id);
CREATE TABLE parted_low PARTITION OF parted FOR VALUES FROM (0) TO (5);
CREATE TABLE parted_high PARTITION OF parted FOR VALUES FROM (5) TO (100);
CREATE TABLE ruled (id int);
CREATE RULE also AS ON INSERT TO ruled DO ALSO DELETE FROM ledger;
CREATE TABLE late (id int PRIMARY KEY, parent int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF new.body = 'skip' THEN RETURN NULL; END IF;
  RAISE NOTICE 'changing %', new.id;
  INSERT INTO journal VALUES (new.id, new.body);
  RETURN new;
END $$;
CREATE TRIGGER noted BEFORE UPDATE ON ledger FOR EACH ROW EXECUTE FUNCTION note();
CREATE FUNCTION purge() RETURNS int LANGUAGE plpgsql AS $$
BEGIN DELETE FROM ledger; RETURN 1; END $$;
CREATE FUNCTION purge_sql() RETURNS void LANGUAGE sql AS 'DELETE FROM ledger';
GRANT ALL ON ALL TABLES IN SCHEMA public TO {ROLE};
"""
FILL = """
TRUNCATE ledger, staff, journal, parent, child, parted, ruled, late;
INSERT INTO ledger SELECT n, 'secret ' || n FROM generate_series(1, 20) n;
INSERT INTO staff SELECT n, '123-45-' || (6000 + n) FROM generate_series(1, 10) n;
INSERT INTO parent SELECT n, 'p' FROM generate_series(1, 3) n;
INSERT INTO child SELECT n, 1 FROM generate_series(1, 10) n;
INSERT INTO parted SELECT n, 'x' FROM generate_series(1, 8) n;
"""
STATE = (
    "SELECT (SELECT string_agg(l::text, ',' ORDER BY id) FROM ledger l),"
    " (SELECT string_agg(s::text, ',' ORDER BY id) FROM staff s), (SELECT count(*) FROM journal),"
    " (SELECT string_agg(p::text, ',' ORDER BY id) FROM parted p), (SELECT count(*) FROM child),"
    " (SELECT count(*) FROM parent), (SELECT count(*) FROM late)"
)


class Place:
    """A server, what governs it, and an administrator's view past it."""

    def __init__(self, server: EmbeddedPostgres, proxy: Running) -> None:
        self.server, self.proxy = server, proxy
        self.root = psycopg.connect(server.uri(database="vault"), autocommit=True)

    def state(self) -> Any:
        return self.root.execute(STATE).fetchone()

    def uri(self, name: str = "bob") -> str:
        return f"postgresql://{name}:{name}-password@127.0.0.1:{self.proxy.ports['main']}/vault"

    @property
    def direct_uri(self) -> str:
        return f"postgresql://{ROLE}:{PASSWORD}@127.0.0.1:{self.server.port}/vault"


@pytest.fixture(scope="module", params=["vault", "vault_tls"], ids=["18", "machine's"])
def stage(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    authority: Authority,
) -> Iterator[Place]:
    server = request.getfixturevalue(request.param)
    with psycopg.connect(server.uri(database="vault"), autocommit=True) as root:
        root.execute(SCHEMA)
    estate = Estate(tmp_path_factory.mktemp("blast"), server, authority)
    estate.write("policy.yaml", POLICY)
    estate.configuration["listeners"] = [listener("main")]
    with estate.serve() as running:
        made = Place(server, running)
        with made.root:
            yield made


@pytest.fixture
def place(stage: Place) -> Place:
    stage.root.execute(FILL)
    return stage


@pytest.fixture
def bob(place: Place) -> Iterator[WireClient]:
    with WireClient.login(place.uri()) as client:
        yield client


def extended(text: str, limit: int = 0) -> tuple[bytes, ...]:
    return parse("", text), bind(), describe("P"), execute("", limit), SYNC


Send = Callable[[str], Sequence[bytes]]
WAYS: dict[str, Send] = {
    "simple": lambda text: (query(text),),
    "extended": extended,
    "undescribed": lambda text: (parse("", text), bind(), execute(), SYNC),
    "one row wanted": lambda text: extended(text, 1),
    "prepared": lambda text: (
        parse("p", text),
        describe("S", "p"),
        bind("c", "p"),
        execute("c"),
        SYNC,
    ),
}
WAY = pytest.mark.parametrize("way", WAYS)

TOO_MANY = {
    "update": "UPDATE ledger SET body = 'mine' WHERE id <= 4",
    "update, returning": "UPDATE ledger SET body = body || '!' WHERE id <= 4 RETURNING *",
    "all": "UPDATE ledger SET body = 'mine'",
    "delete, returning": "DELETE FROM ledger WHERE id BETWEEN 1 AND 4 RETURNING body",
    "insert, values": "INSERT INTO ledger VALUES (31,'a'), (32,'b'), (33,'c'), (34,'d')"
    " RETURNING body",
    "insert, select": "INSERT INTO ledger SELECT id + 100, body FROM ledger RETURNING body",
    "upsert": "INSERT INTO ledger SELECT id, body FROM ledger WHERE id < 5"
    " ON CONFLICT (id) DO UPDATE SET body = 'again' RETURNING body",
    "merge": "MERGE INTO ledger l USING staff s ON l.id = s.id WHEN MATCHED THEN DELETE",
    "below a view": "UPDATE small SET body = 'mine' RETURNING body",
    "partitions": "UPDATE parted SET id = id + 10 WHERE id < 5 RETURNING body",
    "with a query": "WITH w AS (SELECT id FROM staff LIMIT 4) DELETE FROM ledger USING w"
    " WHERE ledger.id = w.id RETURNING body",
}


def said(answer: Sequence[Message]) -> bytes:
    return b"".join(message.kind.encode() + message.body for message in answer)


def refused(answer: Sequence[Message]) -> Message:
    """The refusal; and no row."""
    (told,) = [message for message in answer if message.kind == "E"]
    assert told.fields["C"] == "54000", told.fields
    assert not {"D", "C", "s"} & set(kinds(answer)), kinds(answer)
    assert b"secret" not in said(answer)
    return told


@WAY
@pytest.mark.parametrize("name", TOO_MANY)
def test_one_row_too_many(place: Place, bob: WireClient, name: str, way: str) -> None:
    before = place.state()
    answer = bob.ask(*WAYS[way](TOO_MANY[name]))
    told = refused(answer)
    assert "policy lets it affect 3 at most: it was rolled back" in told.fields["M"]
    assert told.fields["D"] == "code: limit, rule: three"
    assert answer[-1].kind == "Z" and answer[-1].body == b"I"
    assert place.state() == before
    assert bob.rows("SELECT 1") == [[b"1"]]
    finished = place.proxy.recorded("statement_finished", outcome="rolled_back")
    assert finished["sqlstate"] == "54000" and "rows" not in finished
    assert int(finished["command_tag"].split()[-1]) > 3
    decided = place.proxy.recorded("statement_decided", id=finished["decided"])
    assert decided["decision"]["rows_written_max"] == 3
    assert finished["decided"] in told.fields["H"]


@pytest.mark.parametrize("way", ["simple", "extended", "prepared"])
def test_again_and_again(place: Place, bob: WireClient, way: str) -> None:
    """Nothing learns to let it through."""
    before = place.state()
    for _ in range(6):
        refused(bob.ask(*WAYS[way](TOO_MANY["insert, values"])))
        bob.ask(parse("", "SELECT 1"), b"C" + b"\0\0\0\x07Sp\0", SYNC)
    assert place.state() == before


@pytest.mark.parametrize("way", ["simple", "extended"])
def test_a_limit_on_what_spares_no_row(place: Place, bob: WireClient, way: str) -> None:
    """Whether it does the database is asked first; the limit is that of what it answers."""
    text = "DELETE FROM late WHERE id > 0"
    place.root.execute("INSERT INTO late VALUES (1, 1), (2, 1), (-3, 1)")
    assert bob.ask(*WAYS[way](text))[-2].tag == "DELETE 2"
    place.root.execute("DELETE FROM late; INSERT INTO late VALUES (1, 1), (2, 1)")
    before = place.state()
    told = refused(bob.ask(*WAYS[way](text)))
    assert "policy lets it affect 1 at most" in told.fields["M"]
    assert told.fields["D"] == "code: limit, rule: sweeps"
    assert place.state() == before


@WAY
def test_inside_a_transaction(place: Place, bob: WireClient, way: str) -> None:
    """It has failed, as after any error; a savepoint of the client's takes it back to there."""
    before = place.state()
    bob.ask(query("BEGIN"))
    assert bob.query("DELETE FROM ledger WHERE id = 20")[0].tag == "DELETE 1"
    bob.query("SAVEPOINT s")
    answer = bob.ask(*WAYS[way](TOO_MANY["update, returning"]))
    refused(answer)
    assert answer[-1].body == b"E"
    assert [str(m) for m in bob.query("SELECT 1")] == ["E:25P02", "Z"]
    bob.query("ROLLBACK TO s")
    assert bob.query("DELETE FROM ledger WHERE id = 19")[0].tag == "DELETE 1"
    assert place.state() == before
    assert bob.query("COMMIT")[0].tag == "COMMIT"
    assert place.root.execute("SELECT count(*) FROM ledger").fetchone() == (18,)


def test_a_failed_transaction_does_not_commit(place: Place, bob: WireClient) -> None:
    before = place.state()
    bob.ask(query("BEGIN"))
    bob.query("DELETE FROM ledger WHERE id = 20")
    refused(bob.query(TOO_MANY["all"]))
    assert bob.query("COMMIT")[0].tag == "ROLLBACK"
    assert place.state() == before


def test_in_a_pipeline(place: Place, bob: WireClient) -> None:
    """What stands before it in its implicit transaction is undone, what comes behind skipped."""
    before = place.state()
    one = (parse("", "DELETE FROM ledger WHERE id = 1"), bind(), execute())
    many = (parse("", TOO_MANY["all"]), bind(), execute())
    behind = (parse("", "COMMIT"), bind(), execute())
    answer = bob.ask(*one, *many, *behind, SYNC, *one, SYNC, ready=2)
    assert kinds(answer) == "12C12" + "N" * 19 + "EZ" + "12CZ"
    assert refused(answer[3:-4])
    assert b"secret" not in said(answer)
    after = place.state()
    assert after[0] == before[0].replace('(1,"secret 1"),', "") and after[1:] == before[1:]


WITHIN = {
    "update": "UPDATE ledger SET body = 'mine' WHERE id <= 3",
    "update, returning": "UPDATE ledger SET body = body || '!' WHERE id <= 3 RETURNING *",
    "skipped by a trigger": "UPDATE ledger SET body = CASE WHEN id > 3 THEN 'skip' ELSE 'm' END"
    " RETURNING id",
    "insert": "INSERT INTO ledger SELECT id + 100, body FROM ledger WHERE id < 4 RETURNING *",
    "upsert": "INSERT INTO ledger SELECT id, body FROM ledger WHERE id < 4"
    " ON CONFLICT (id) DO UPDATE SET body = 'again' RETURNING body",
    "nothing": "DELETE FROM ledger WHERE id > 1000 RETURNING id",
    "conflicts": "INSERT INTO ledger SELECT * FROM ledger ON CONFLICT DO NOTHING",
    "merge": "MERGE INTO ledger l USING staff s ON l.id = s.id AND s.id < 4"
    " WHEN MATCHED THEN UPDATE SET body = 'm'",
    "fails": "UPDATE ledger SET id = 1 WHERE id = 2 RETURNING id",
    "fails late": "INSERT INTO late VALUES (1, 77) RETURNING id",
    "does not parse": "UPDATE ledger SEX id = 1",
    "temporary": "CREATE TEMP TABLE own (id int)",
}


@WAY
@pytest.mark.parametrize("name", WITHIN)
def test_within_the_limit_it_is_as_direct(
    place: Place, bob: WireClient, name: str, way: str
) -> None:
    messages = WAYS[way](WITHIN[name])
    with WireClient.login(place.direct_uri) as direct:
        expected = direct.ask(*messages)
        expected_state = place.state()
    place.root.execute(FILL)
    got = bob.ask(*messages)
    if name != "does not parse":  # which is told in our own words
        assert said(got) == said(expected)
    assert kinds(got) == kinds(expected)
    assert place.state() == expected_state


def test_a_portal_in_parts_is_as_direct(place: Place, bob: WireClient) -> None:
    """Drivers ask for rows in parts; a write runs to its end all the same."""
    begin = (query("BEGIN"),)
    text = "DELETE FROM ledger WHERE id <= 3 RETURNING *"
    asked = (parse("", text), bind(), describe("P"), execute("", 2), FLUSH)
    more = (execute("", 1), execute("", 1), execute(), SYNC)
    with WireClient.login(place.direct_uri) as direct:
        direct.ask(*begin)
        expected = direct.ask(*asked, *more)
        direct.query("ROLLBACK")
    bob.ask(*begin)
    got = bob.ask(*asked, *more)
    assert said(got) == said(expected)
    assert [len(rows(got))] == [3]


def test_a_sync_amid_a_portal(place: Place, bob: WireClient) -> None:
    """Outside a transaction the Sync commits and ends the portal."""
    answer = bob.ask(*extended("DELETE FROM ledger WHERE id <= 3 RETURNING id", 1))
    assert kinds(answer) == "12TDsZ" and len(rows(answer)) == 1
    assert place.root.execute("SELECT count(*) FROM ledger").fetchone() == (17,)
    assert [str(m) for m in bob.ask(execute("", 1), SYNC)] == ["E:34000", "Z"]


@pytest.mark.parametrize("by", ["FETCH ALL FROM c", "MOVE ALL FROM c"])
def test_a_portal_run_by_sql(place: Place, bob: WireClient, by: str) -> None:
    """PostgreSQL lets FETCH run a write that was bound by the protocol; nothing would count it."""
    before = place.state()
    write = (query("BEGIN"), parse("", "DELETE FROM ledger RETURNING body"), bind("c"), SYNC)
    with WireClient.login(place.direct_uri) as direct:
        direct.ask(*write, ready=2)
        assert direct.query(by)[-2].tag == f"{by.split()[0]} 20"
        direct.query("ROLLBACK")
    bob.ask(*write, ready=2)
    refused(bob.query(by))
    assert bob.query("COMMIT")[0].tag == "ROLLBACK"
    assert place.state() == before


COPYING = "COPY ledger FROM STDIN"


def copied(client: WireClient, lines: int, simple: bool, end: bytes = COPY_DONE) -> list[Message]:
    data = b"".join(copy_data(b"%d\tcopied\n" % (100 + n)) for n in range(lines))
    if simple:
        client.send(query(COPYING))
    else:
        client.send(parse("", COPYING), bind(), execute(), SYNC)
    begun = client.until("GE")
    return begun + client.ask(data, end, *(() if simple else (SYNC,)))


@pytest.mark.parametrize("simple", [True, False], ids=["simple", "extended"])
def test_copy(place: Place, bob: WireClient, simple: bool) -> None:
    before = place.state()
    answer = copied(bob, 4, simple)
    (told,) = [m for m in answer if m.kind == "E"]
    assert told.fields["C"] == "54000" and "affected 4 rows" in told.fields["M"]
    assert place.state() == before
    with WireClient.login(place.direct_uri) as direct:
        expected = copied(direct, 3, simple)
    place.root.execute(FILL)
    assert said(copied(bob, 3, simple)) == said(expected)
    assert place.root.execute("SELECT count(*) FROM ledger").fetchone() == (23,)


def test_copy_that_fails(place: Place, bob: WireClient) -> None:
    before = place.state()
    bob.send(query(COPYING))
    bob.until("G")
    answer = bob.ask(copy_data(b"no number\tx\n"), copy_data(b"7\tx\n") * 3, COPY_DONE)
    assert [str(m) for m in answer] == ["E:22P02", "Z"]
    bob.send(query(COPYING))
    bob.until("G")
    failed = bob.ask(b"f\0\0\0\x0bno more\0"[:1] + (4 + 8).to_bytes(4, "big") + b"no more\0")
    assert [str(m) for m in failed] == ["E:57014", "Z"]
    assert bob.rows("SELECT 1") == [[b"1"]]
    assert place.state() == before


UNCOUNTED = {
    "several": ("UPDATE ledger SET body = 'x' WHERE id = 1; SELECT 1", "several statements"),
    "with": ("WITH d AS (DELETE FROM ledger RETURNING *) SELECT * FROM d", "SELECT writes"),
    "with twice": (
        "WITH d AS (DELETE FROM ledger) DELETE FROM staff WHERE id = 1",
        "write in WITH",
    ),
    "do": ("DO 'BEGIN DELETE FROM ledger; END'", "do may write"),
    "function": ("SELECT purge()", "function public.purge may write|execute_function may write"),
    "sql function": ("SELECT purge_sql()", "may write"),
    "measured": ("EXPLAIN ANALYZE DELETE FROM ledger", "EXPLAIN ANALYZE writes"),
    "prepared": ("PREPARE p AS DELETE FROM ledger", "prepared statement"),
    "cascade": ("DELETE FROM parent WHERE id = 1", "carry this one on to rows of public.child"),
    "rule": ("INSERT INTO ruled VALUES (1)", "rules of public.ruled may write elsewhere"),
    "truncate": ("TRUNCATE ledger", "TRUNCATE writes"),
}


@pytest.mark.parametrize("name", UNCOUNTED)
def test_what_cannot_be_counted(place: Place, name: str) -> None:
    text, words = UNCOUNTED[name]
    before = place.state()
    with place.proxy.connect("bob", "bob-password") as bob:
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match=words):
            bob.execute(text)  # type: ignore[arg-type]
        assert bob.execute("SELECT 1").fetchone() == (1,)
    assert place.state() == before


@pytest.mark.parametrize("name", ["alice", "bob"])
def test_own_temporary_tables(place: Place, name: str) -> None:
    """They are nobody else's, so no limit holds for them."""
    with place.proxy.connect(name, f"{name}-password") as client:
        client.execute("CREATE TEMP TABLE own (id int)")
        client.execute("INSERT INTO own SELECT generate_series(1, 50)")
        client.execute("DELETE FROM own WHERE id < 10; UPDATE own SET id = id + 1; TRUNCATE own")
        with pytest.raises(psycopg.errors.ProgramLimitExceeded):
            client.execute("WITH d AS (DELETE FROM ledger) INSERT INTO own VALUES (1)")


def test_what_leaves_is_masked(place: Place) -> None:
    """Kept rows are masked when they leave, and cells are counted then."""
    with WireClient.login(place.uri("alice")) as alice:
        answer = alice.query("DELETE FROM staff WHERE id <= 3 RETURNING ssn")
        assert rows(answer) == [[b"*********01"], [b"*********02"], [b"*********03"]]
        finished = place.proxy.recorded("statement_finished", command_tag="DELETE 3", rows=3)
        assert finished["cells_masked"] == 3
        before = place.state()
        answer = alice.query("DELETE FROM staff WHERE id <= 7 RETURNING ssn")
        assert "E" in kinds(answer) and "D" not in kinds(answer)
        assert place.state() == before
        finished = place.proxy.recorded("statement_finished", outcome="rolled_back")
        assert finished.get("cells_masked", 0) == 0


# --- drivers --------------------------------------------------------------------------------------


def test_psycopg(place: Place) -> None:
    before = place.state()
    with place.proxy.connect("bob", "bob-password", autocommit=False) as bob:
        bob.execute("DELETE FROM ledger WHERE id = %s", (20,))
        with pytest.raises(psycopg.errors.ProgramLimitExceeded, match="affected 4 rows"):
            bob.execute("DELETE FROM ledger WHERE id <= %s RETURNING body", (4,))
        bob.rollback()
        assert place.state() == before
        got = bob.execute("DELETE FROM ledger WHERE id <= %s RETURNING id", (3,)).fetchall()
        assert got == [(1,), (2,), (3,)]
        with pytest.raises(psycopg.errors.ProgramLimitExceeded), bob.transaction():
            bob.execute("DELETE FROM ledger")
        assert bob.execute("SELECT count(*) FROM ledger").fetchone() == (17,)
        bob.commit()
    with place.proxy.connect("bob", "bob-password") as bob:
        with bob.cursor() as cursor:
            cursor.executemany(
                "INSERT INTO ledger VALUES (%s, %s)", [(n, "many") for n in range(40, 60)]
            )
            assert cursor.rowcount == 20
        with pytest.raises(psycopg.errors.ProgramLimitExceeded), bob.pipeline():
            bob.execute("DELETE FROM ledger WHERE id = 40")
            bob.execute("DELETE FROM ledger")
        with (
            pytest.raises(psycopg.errors.ProgramLimitExceeded),
            bob.cursor().copy("COPY ledger FROM STDIN") as copy,
        ):
            for n in range(4):
                copy.write_row((200 + n, "copied"))
        with bob.cursor() as cursor:
            with cursor.copy("COPY ledger FROM STDIN (FORMAT csv)") as copy:
                copy.write("200,a\n201,b\n202,c\n")
            assert cursor.rowcount == 3
    assert place.root.execute("SELECT count(*) FROM ledger").fetchone() == (17 + 20 + 3,)


def test_asyncpg(place: Place) -> None:
    async def work() -> None:
        bob: asyncpg.Connection[Any] = await asyncpg.connect(place.uri())
        try:
            before = place.state()
            remove = "DELETE FROM ledger WHERE id <= $1 RETURNING id"
            for ask in (bob.fetch, bob.fetchrow, bob.fetchval):
                with pytest.raises(asyncpg.ProgramLimitExceededError):
                    await ask(remove, 4)
            with pytest.raises(asyncpg.ProgramLimitExceededError):
                await bob.execute("DELETE FROM ledger")
            with pytest.raises(asyncpg.ProgramLimitExceededError):
                await bob.copy_records_to_table("ledger", records=[(n, "x") for n in range(50, 54)])
            with pytest.raises(asyncpg.ProgramLimitExceededError):
                async with bob.transaction():
                    await bob.execute("DELETE FROM ledger WHERE id = 20")
                    await bob.fetch(remove, 4)
            assert place.state() == before
            assert await bob.fetchval("DELETE FROM ledger WHERE id <= 3 RETURNING id") == 1
            assert await bob.fetch(remove, 3) == []
            async with bob.transaction():
                prepared = await bob.prepare("INSERT INTO ledger VALUES ($1, 'x') RETURNING id")
                assert await prepared.fetchval(1) == 1
                cursor = await prepared.cursor(2)
                assert await cursor.fetch(5) == [(2,)]
            copied = await bob.copy_records_to_table("ledger", records=[(60, "x"), (61, "y")])
            assert copied == "COPY 2"
            await bob.executemany(
                "INSERT INTO ledger VALUES ($1, 'm')", [(n,) for n in range(70, 80)]
            )
            assert await bob.fetchval("SELECT count(*) FROM ledger") == 17 + 2 + 2 + 10
        finally:
            await bob.close()

    asyncio.run(work())


def test_psql(place: Place) -> None:
    psql = installed_program("psql")
    assert psql is not None
    before = place.state()
    done = subprocess.run(
        [psql, place.uri() + "?sslmode=disable", "-X"],
        input="DELETE FROM ledger RETURNING body;\n"
        "DELETE FROM staff WHERE id = 1 RETURNING id;\n"
        "\\copy ledger from stdin\n1000\ta\n1001\tb\n\\.\n"
        "\\copy ledger from stdin\n1002\ta\n1003\tb\n1004\tc\n1005\td\n\\.\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert "DELETE 1" in done.stdout and "COPY 2" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert (
        "affected 20 rows, and policy lets it affect 3 at most: it was rolled back" in done.stderr
    )
    assert "affected 4 rows" in done.stderr
    assert place.root.execute("SELECT count(*) FROM ledger").fetchone() == (22,)
    assert place.state() != before


# --- what comes in between ------------------------------------------------------------------------


def test_cancelled_while_it_waits(place: Place) -> None:
    """The write waits for a lock; a cancel gets through, and nothing of it is there."""
    before = place.state()
    place.root.execute("BEGIN")
    place.root.execute("SELECT FROM ledger WHERE id = 2 FOR UPDATE")
    try:
        with (
            WireClient.login(place.uri()) as bob,
            WireClient("127.0.0.1", place.proxy.ports["main"]) as other,
        ):
            bob.send(query("DELETE FROM ledger WHERE id <= 3 RETURNING body"), query("SELECT 1"))
            _await_lock(place)
            other.send(b"\0\0\0\x10\x04\xd2\x16\x2e" + bob.pid.to_bytes(4, "big") + bob.key)
            answer = bob.until("Z", 2)
            assert [str(m) for m in answer] == ["E:57014", "Z", "T", "D", "C", "Z"]
    finally:
        place.root.execute("ROLLBACK")
    assert place.state() == before


def test_a_client_that_goes_while_it_waits(place: Place) -> None:
    """Nobody reads the refusal, and nothing is changed all the same."""
    before = place.state()
    place.root.execute("BEGIN")
    place.root.execute("SELECT FROM ledger WHERE id = 2 FOR UPDATE")
    try:
        bob = WireClient.login(place.uri())
        bob.send(query("DELETE FROM ledger WHERE id <= 4"))
        _await_lock(place)
        bob.close()
    finally:
        place.root.execute("ROLLBACK")
    _await_end(place)
    assert place.state() == before


def test_a_server_that_goes_while_it_waits(place: Place) -> None:
    """Its connection is ended between the write and its commit: what was not committed is gone."""
    before = place.state()
    place.root.execute("BEGIN")
    place.root.execute("SELECT FROM ledger WHERE id = 2 FOR UPDATE")
    try:
        with WireClient.login(place.uri()) as bob:
            bob.send(query("DELETE FROM ledger WHERE id <= 3 RETURNING body"))
            _await_lock(place)
            place.root.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s"
                " AND query LIKE 'DELETE%%'",
                (ROLE,),
            )
            assert "57P01" in str(bob.rest()[0])
    finally:
        place.root.execute("ROLLBACK")
    assert place.state() == before
    finished = place.proxy.recorded("statement_finished", outcome="disconnected")
    assert "rows" not in finished


def test_a_statement_timeout(place: Place, bob: WireClient) -> None:
    before = place.state()
    bob.query("SET statement_timeout = '100ms'")
    place.root.execute("BEGIN")
    place.root.execute("SELECT FROM ledger WHERE id = 2 FOR UPDATE")
    try:
        answer = bob.query("DELETE FROM ledger WHERE id <= 3")
        assert [str(m) for m in answer] == ["E:57014", "Z"]
    finally:
        place.root.execute("ROLLBACK")
    assert place.state() == before


def _await_lock(place: Place) -> None:

    waiting = "SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'DELETE%'"
    with psycopg.connect(place.server.uri(), autocommit=True) as other:
        wait_for(lambda: other.execute(waiting).rowcount, "a lock that is waited for")


def _await_end(place: Place) -> None:

    there = f"SELECT FROM pg_stat_activity WHERE usename = '{ROLE}' AND query LIKE 'DELETE%'"
    wait_for(lambda: not place.root.execute(there).rowcount, "the end of the session")  # type: ignore[arg-type]
