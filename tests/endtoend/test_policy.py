"""What policy decides, over the wire: conditions, observation, limits, holds, masks; in the simple
and the extended protocol."""

from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend.stage import Estate, Running, listener, one
from tests.wireclient import SYNC, WireClient, bind, execute, kinds, parse, rows

POLICY = """
version: 1
classifications:
  ssn: [vault.public.people.ssn]
rules:
  - {id: work, effect: allow, actions: [read, session, write, create_temporary, calls, set_role]}

  - {id: watch-updates, effect: deny, mode: observe, actions: [update], message: Not so fast.}
  - {id: no-drop, effect: deny, actions: [drop, truncate], message: Nothing is dropped here.}
  - {id: ask-first, effect: hold, actions: [create], message: Ask first.}

  - id: only-reports
    effect: deny
    actions: [insert]
    when: client.application == "report"
    message: Reports do not insert.
  - id: not-in-the-seventies
    effect: deny
    actions: [copy_from]
    when: now >= timestamp("1980-01-01T00:00:00Z") && time.hour >= 0 && time.weekday >= 0
    message: Too late.
  - id: from-elsewhere
    effect: deny
    actions: [notify]
    when: '!client.address.in_networks(["10.0.0.0/8"])'
    message: Only from inside.
  - {id: lan, effect: deny, actions: [listen], source: [127.0.0.0/8], message: Not from here.}

  - {id: few, effect: limit, principals: {names: [bob]}, row_limit: 7}
  - {id: quick, effect: limit, principals: {names: [bob]}, statement_timeout: 400ms}
  - id: mask-ssn
    effect: mask
    principals: {names: [alice]}
    classifications: [ssn]
    mask: {method: keep_last, keep: 4}
"""

Session = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Running]:
    estate = Estate(tmp_path_factory.mktemp("policy"), vault, authority)
    estate.write("policy.yaml", POLICY)
    estate.configuration["listeners"] = [listener("main")]
    with estate.serve() as running:
        yield running


@pytest.fixture
def alice(proxy: Running) -> Iterator[Session]:
    """Owes a mask."""
    with proxy.connect("alice", "alice-password") as connection:
        yield connection


@pytest.fixture
def bob(proxy: Running) -> Iterator[Session]:
    """Has limits."""
    with proxy.connect("bob", "bob-password") as connection:
        yield connection


def run(connection: Session, text: str, *, extended: bool, binary: bool = False) -> list[Any]:
    if extended:
        cursor = connection.execute(text, (), prepare=True, binary=binary)  # type: ignore[call-overload]
    else:
        cursor = connection.execute(text)  # type: ignore[call-overload]
    return cursor.fetchall() if cursor.description else []


EXTENDED = pytest.mark.parametrize("extended", [False, True], ids=["simple", "extended"])


# --- observation --------------------------------------------------------------------------------


@EXTENDED
def test_what_is_only_watched(proxy: Running, bob: Session, extended: bool) -> None:
    run(bob, "UPDATE notes SET body = body WHERE id = 1", extended=extended)
    record = [
        r
        for r in proxy.records("statement_decided", principal="bob")
        if "UPDATE" in r["statement"]["sql"]
    ][-1]
    assert record["decision"]["effect"] == "allow"
    assert record["decision"]["would_be"] == "deny"
    watched = [r for r in record["decision"]["rules"] if r.get("observed")]
    assert [r["rule"] for r in watched] == ["watch-updates"]
    assert "refusal" not in record
    assert proxy.metric_reaches(1, "statements_observed_total")


def test_a_policy_that_is_only_watched(estate: Callable[[], Estate]) -> None:
    """`policy.mode: observe`: nothing is refused or masked, and all of it is on record."""
    made = estate()
    made.write("policy.yaml", POLICY)
    made.configuration["policy"]["mode"] = "observe"
    with made.serve() as proxy, proxy.connect("alice", "alice-password") as alice:
        assert one(alice, "SELECT ssn FROM people WHERE id = 1") == "123-45-6001"
        alice.execute("CREATE TEMP TABLE gone (id int)")
        alice.execute("DROP TABLE gone")
        finished = proxy.recorded("statement_finished", command_tag="SELECT 1")
        assert finished["sensitive_unmasked_cells"] == 1
        dropped = proxy.records("statement_decided")[-1]["decision"]
        assert (dropped["effect"], dropped["would_be"]) == ("allow", "deny")
        proxy.metric_reaches(1, "cells_sensitive_unmasked_total")


# --- hold, when -----------------------------------------------------------------------------------


@EXTENDED
def test_hold_is_answered(proxy: Running, bob: Session, extended: bool) -> None:
    with pytest.raises(psycopg.Error) as told:
        run(bob, "CREATE TABLE held (id int)", extended=extended)
    words = told.value.diag
    assert "needs an approval: Ask first." in (words.message_primary or "")
    assert "approvals are not configured here" in (words.message_hint or "")
    assert "code: hold_unavailable, rule: ask-first" in (words.message_detail or "")
    assert one(bob, "SELECT 1") == 1
    record = [r for r in proxy.records("statement_decided", principal="bob") if "refusal" in r][-1]
    assert record["decision"]["effect"] == "hold"
    assert record["refusal"]["code"] == "hold_unavailable"
    assert record["id"] in (words.message_hint or "")
    assert proxy.metric_reaches(1, "statements_total", effect="hold")


CONDITIONS = {
    "when by time": ("COPY notes FROM STDIN", "Too late."),
    "when by network": ("NOTIFY hey", "Only from inside."),
    "source": ("LISTEN hey", "Not from here."),
}


@pytest.mark.parametrize("name", CONDITIONS)
def test_conditions(bob: Session, name: str) -> None:
    text, message = CONDITIONS[name]
    with pytest.raises(psycopg.Error, match=message):
        bob.execute(text)  # type: ignore[arg-type]
    assert one(bob, "SELECT 1") == 1


def test_when_by_application(proxy: Running) -> None:
    text = "INSERT INTO notes VALUES (%s, 'x') ON CONFLICT DO NOTHING"
    with (
        proxy.connect("bob", "bob-password", application_name="report") as report,
        pytest.raises(psycopg.Error, match="Reports do not insert"),
    ):
        report.execute(text, (1,))
    with proxy.connect("bob", "bob-password", application_name="editor") as editor:
        editor.execute(text, (1,))


# --- limits ---------------------------------------------------------------------------------------


@EXTENDED
def test_row_limit(proxy: Running, bob: Session, extended: bool) -> None:
    notices: list[str] = []
    bob.add_notice_handler(lambda notice: notices.append(notice.message_primary or ""))
    assert len(run(bob, "SELECT * FROM notes", extended=extended)) == 7
    assert "the result ends after 7 rows: policy limits rows here" in notices
    assert len(run(bob, "SELECT * FROM notes LIMIT 3", extended=extended)) == 3
    assert one(bob, "SELECT count(*) FROM notes") == 100
    finished = proxy.records("statement_finished")
    assert 7 in [r.get("rows") for r in finished]


def test_row_limit_of_each_statement_in_a_text(bob: Session) -> None:
    cursor = bob.execute("SELECT 1 FROM notes; SELECT 2 FROM notes")
    assert len(cursor.fetchall()) == 7
    assert cursor.nextset()
    assert len(cursor.fetchall()) == 7


def test_row_limit_of_a_portal_read_in_parts(proxy: Running) -> None:
    """Execute with a row count, again and again: the limit is the result's, not the part's."""
    uri = f"postgresql://bob:bob-password@127.0.0.1:{proxy.ports['main']}/vault"
    with WireClient.login(uri) as bob:
        bob.query("BEGIN")
        begun = bob.ask(parse("", "SELECT * FROM notes"), bind(), execute("", 3), SYNC)
        parts = [begun] + [bob.ask(execute("", 3), SYNC) for _ in range(34)]
    assert [len(rows(part)) for part in parts[:5]] == [3, 3, 1, 0, 0]
    assert sum(len(rows(part)) for part in parts) == 7
    assert "C" in kinds(parts[33])


def test_row_limit_of_a_cursor(bob: Session) -> None:
    """DECLARE and FETCH: also then no more than the limit in all."""
    with bob.transaction(), bob.cursor("c") as cursor:
        cursor.execute("SELECT * FROM notes")
        got: list[Any] = []
        while part := cursor.fetchmany(3):
            got += part
        assert bob.execute("FETCH BACKWARD 5 FROM c").fetchall() == []
        bob.execute("FETCH 3 FROM c; FETCH 4 FROM c")
    assert len(got) == 7
    with bob.transaction(), bob.cursor("c") as again:
        assert len(again.execute("SELECT * FROM notes").fetchall()) == 7


@pytest.mark.parametrize("text", ["COPY notes TO STDOUT", "COPY (SELECT 1) TO STDOUT (FORMAT csv)"])
def test_row_limit_rules_copy_out(bob: Session, text: str) -> None:
    words = "policy lets you read 7 rows at a time"
    with (
        pytest.raises(psycopg.Error, match=words) as told,
        bob.cursor().copy(text) as copy,  # type: ignore[arg-type]
    ):
        copy.read()
    assert told.value.sqlstate == "42501"
    assert "rule: few" in (told.value.diag.message_detail or "")
    assert one(bob, "SELECT 1") == 1


@EXTENDED
def test_statement_timeout(proxy: Running, bob: Session, extended: bool) -> None:
    with pytest.raises(psycopg.errors.QueryCanceled) as told:
        run(bob, "SELECT pg_sleep(10)", extended=extended)
    assert "policy gives it 400 ms here" in str(told.value)
    assert one(bob, "SELECT 1") == 1
    finished = [r for r in proxy.records("statement_finished") if r["outcome"] == "cancelled"]
    assert finished[-1]["sqlstate"] == "57014"
    assert 350 < finished[-1]["duration_ms"] < 5_000
    run(bob, "SELECT pg_sleep(0.05)", extended=extended)


def test_statement_timeout_hits_only_its_statement(bob: Session) -> None:
    """One that was done in time is not followed by its cancel."""
    for _ in range(12):
        assert one(bob, "SELECT 1 FROM pg_sleep(0.1)") == 1


def test_a_client_cannot_lift_the_timeout(bob: Session) -> None:
    bob.execute("SET statement_timeout = 0")
    with pytest.raises(psycopg.errors.QueryCanceled):
        bob.execute("SELECT pg_sleep(10)")


# --- masks and the role ---------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["SET ROLE pg_monitor", "SET SESSION AUTHORIZATION app"])
def test_masks_stay_whatever_the_role(alice: Session, text: str) -> None:
    masked = run(alice, "SELECT ssn FROM people WHERE id = 1", extended=False)
    assert masked == [("*******6001",)]
    try:
        alice.execute(text)  # type: ignore[arg-type]
    except psycopg.Error:
        alice.rollback()
    try:
        assert run(alice, "SELECT ssn FROM people WHERE id = 1", extended=True) == masked
    except psycopg.Error as error:
        assert "123-45" not in str(error)


def test_counts(proxy: Running, alice: Session) -> None:
    before = {name: proxy.metric(name) for name in ("rows_total", "cells_masked_total")}
    refused = proxy.metric("statements_total", effect="refuse")
    denied = proxy.metric("statements_total", effect="deny")
    assert len(run(alice, "SELECT ssn FROM people", extended=True)) == 10
    with pytest.raises(psycopg.Error):
        alice.execute("UPDATE people SET name = ssn")
    with pytest.raises(psycopg.Error, match="Nothing is dropped here"):
        alice.execute("DROP TABLE notes")
    proxy.metric_reaches(before["rows_total"] + 10, "rows_total")
    proxy.metric_reaches(before["cells_masked_total"] + 10, "cells_masked_total")
    proxy.metric_reaches(refused + 1, "statements_total", effect="refuse")
    proxy.metric_reaches(denied + 1, "statements_total", effect="deny")
    assert proxy.metric("statements_running") == 0
