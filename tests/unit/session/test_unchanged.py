"""Positions of the log at which nothing had changed: what makes one good, and a real server's."""

from collections.abc import Iterator

import psycopg
import pytest

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.session.unchanged import Answer, Unchanged, read_answer
from appliance.sql.footing import Footing
from appliance.sql.stamps import AS_BEFORE, CHECK_CALLS_QUERY, CHECK_QUERY, NO_POSITION

FOUND, OTHER = "1/10:a", "2/10:b"
ONE = Footing(("t",), (10,), (10,), False, FOUND, "")
TWO = Footing(("u",), (11,), (11,), False, FOUND, "")


def said(position: str = "0-1", found: str = FOUND, quiet: bool = True) -> Answer:
    return Answer("read committed", "", True, False, found, position, quiet, 42)


def test_reads_what_the_server_says() -> None:
    assert read_answer("read committed/42/0-16B3q/1/10:a") == said("0-16B3")
    assert read_answer("read committed/42/0-1/=") == said(found=AS_BEFORE, quiet=False)
    assert read_answer("read committed!+/42/0-1/1/10:a") == said(quiet=False)._replace(
        settled=False, writes=True
    )
    assert read_answer("serializable~10,-!/7//1/10:a") == Answer(
        "serializable", "10,-", False, False, FOUND, "", False, 7
    )


def learnt(*answers: Answer) -> str:
    """What a check is asked with after these."""
    kept = Unchanged()
    for answer in answers:
        kept.holds(ONE, answer)
    return kept.position(ONE)


FIRST, QUIET, LAST = said(quiet=False), said(), said(quiet=False)


def test_three_readings_that_are_the_same_make_a_position_good() -> None:
    kept = Unchanged()
    assert kept.last == NO_POSITION
    for answer in (FIRST, QUIET):
        assert kept.holds(ONE, answer)
        assert kept.position(ONE) == NO_POSITION
    assert kept.last == "0-1"
    assert kept.holds(ONE, LAST)
    assert kept.position(ONE) == "0-1"
    assert kept.holds(ONE, said(found=AS_BEFORE))
    assert kept.position(TWO) == NO_POSITION
    assert kept.holds(TWO, LAST)  # the first two readings were for all
    assert kept.position(TWO) == "0-1"


@pytest.mark.parametrize(
    "answers",
    [
        (FIRST, LAST, LAST, LAST),
        (QUIET, LAST)[:1],
        (FIRST, QUIET, said("0-2", quiet=False)),
        (FIRST, QUIET, said("0-2", quiet=False), said("0-2", quiet=False)),
        (said("", quiet=False), said("", quiet=False), said("", quiet=False)),
        (FIRST, QUIET, said(found=OTHER)),
    ],
    ids=["somebody may be writing", "once", "it moved", "and stayed", "a standby", "changed"],
)
def test_what_makes_none(answers: tuple[Answer, ...]) -> None:
    assert learnt(*answers) == NO_POSITION


def test_a_change_takes_it_back() -> None:
    kept = Unchanged()
    for answer in (FIRST, QUIET, LAST):
        kept.holds(ONE, answer)
    assert not kept.holds(ONE, said("0-9", OTHER))
    assert kept.position(ONE) == NO_POSITION
    assert not kept.holds(ONE, said("0-9", AS_BEFORE))
    assert not kept.holds(TWO, said("0-1", AS_BEFORE))


@pytest.fixture
def server(postgres: EmbeddedPostgres) -> Iterator[psycopg.Connection]:
    with psycopg.connect(postgres.uri(), autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS moved")
        connection.execute("CREATE TABLE moved (a int, b int)")
        yield connection
        connection.execute("DROP TABLE moved")


@pytest.mark.parametrize("query", [CHECK_QUERY, CHECK_CALLS_QUERY], ids=["check", "calls"])
def test_a_real_server(postgres: EmbeddedPostgres, server: psycopg.Connection, query: str) -> None:
    text = query.replace("%", "%%")
    casts = ("name[]", "oid[]", "text", "text", "text", "name[]")
    for number, cast in enumerate(casts, 1):
        text = text.replace(f"${number}", f"%({'abcdef'[number - 1]})s::{cast}")
    believed = '"$user", public\nnone\npostgres\non'

    def ask(position: str = NO_POSITION, last: str = NO_POSITION) -> Answer:
        values = {"a": ["moved"], "b": [], "c": position, "d": last, "e": believed, "f": []}
        row = server.execute(text.encode(), values).fetchone()
        assert row is not None
        return read_answer(row[0])

    before = ask()
    assert before.found not in ("", AS_BEFORE)
    assert before.settled
    assert not before.quiet
    for _ in range(20):  # whoever else works on this server
        now = ask(before.position, before.position)
        if now.found == AS_BEFORE and now.quiet:
            break
        before = ask()
    assert now == before._replace(found=AS_BEFORE, quiet=True)
    with psycopg.connect(postgres.uri()) as other:
        other.execute("CREATE TEMP TABLE unseen (a int)")
        assert not ask(last=ask().position).quiet
        other.rollback()
    with server.transaction():
        assert not ask().writes
        server.execute("CREATE TEMP TABLE mine () ON COMMIT DROP")
        assert ask().writes
    server.execute("SET search_path = elsewhere, public")
    assert not ask().settled
    server.execute("RESET search_path")
    server.execute("ALTER TABLE moved RENAME b TO c")
    after = ask(before.position, before.position)
    assert after.found not in (AS_BEFORE, before.found)
    assert after.position != before.position
    assert not after.quiet
