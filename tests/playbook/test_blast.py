"""Writes that may affect two rows: nothing that could commit goes up before the tag is in, and what
is too much is undone and unseen."""

import pytest

from appliance.model.errors import ProtocolViolation
from appliance.model.limits import Limits
from appliance.policy.snapshot import Snapshot
from appliance.session.effects import Turn
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, gone, happens, says
from tests.playbook.speech import (
    BODY_COLUMN,
    BOUND,
    CLOSED,
    COPY_DONE,
    COPY_IN,
    EMPTY,
    FAILED,
    FLUSH,
    IDLE,
    IN_TRANSACTION,
    NO_DATA,
    NO_SUCH_PORTAL,
    PARSED,
    SUSPENDED,
    SYNC,
    TERMINATE,
    bind,
    complete,
    copy_data,
    describe_portal,
    described,
    execute,
    failure,
    parse,
    query,
    remark,
    rows,
)
from tests.playbook.transcript import Cut, Decided, Expectation, Finished, client, error, upstream
from tests.playbook.world import ANN, DAN, FEW_WRITES, POLICY, Open, Session

ENDED = m.close(m.PORTAL, refusals.QUERY_NAME) + SYNC
OURS = refusals.QUERY_NAME.decode()
WRITE = "UPDATE notes SET body = 'x' WHERE id < 3"
GIVING = f"{WRITE} RETURNING body"
SHAPE = described(BODY_COLUMN)
TWO, THREE = rows(["one"], ["two"]), rows(["one"], ["two"], ["three"])
REJECTED = refusals.rejected_execute()


def counted(text: str) -> list[Expectation]:
    """What goes up for a Query: no Sync."""
    name = OURS.encode()
    return upstream(
        m.close(m.STATEMENT, name),
        m.parse(name, text.encode()),
        m.bind_unparameterised(name, name),
        m.describe(m.PORTAL, name),
        m.execute(name),
        FLUSH,
    )


def too_many(rows_affected: int) -> Expectation:
    return error(
        "54000",
        M=f"this write affected {rows_affected} rows, and policy lets it affect 2 at most:"
        " it was rolled back",
        D="code: limit, rule: few-writes",
        H="narrow",
    )


UNDONE = Finished("rolled_back", rows=0, sqlstate="54000")


def opened(play: Open, principal: object = DAN, **more: object) -> Playbook:
    book: Playbook = play(principal, policy=FEW_WRITES, **more)
    return book


def test_a_query_within_its_limit(play: Open) -> None:
    """The Sync that commits goes up when the tag is in."""
    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA)
        >> says(query("SELECT 1"))
        >> answers(complete("UPDATE 2"))
        << upstream(ENDED, query("SELECT 1"))
        << Finished(command_tag="UPDATE 2")
        << Decided()
        >> answers(CLOSED, IDLE)
        << client(complete("UPDATE 2"), IDLE)
    )


def test_a_query_of_one_row_too_many(play: Open) -> None:
    assert (
        opened(play)
        >> says(query(WRITE), query("SELECT 1"))
        << Decided()
        << counted(WRITE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, complete("UPDATE 3"))
        << upstream(REJECTED, FLUSH)
        << Finished("rolled_back", rows=0, sqlstate="54000", command_tag="UPDATE 3")
        >> answers(NO_SUCH_PORTAL)
        << client()
        << too_many(3)
        << upstream(SYNC, query("SELECT 1"))
        << Decided()
        >> answers(IDLE)
        << client(IDLE)
    )


def test_inside_a_transaction_of_the_clients(play: Open) -> None:
    """It has failed then, as after any error; the client's savepoints are its own."""
    assert (
        opened(play)
        >> says(query("BEGIN"))
        << Decided()
        << upstream(query("BEGIN"))
        >> answers(complete("BEGIN"), IN_TRANSACTION)
        << client(complete("BEGIN"), IN_TRANSACTION)
        << Finished()
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, complete("UPDATE 3"))
        << upstream(REJECTED, FLUSH)
        << UNDONE
        >> answers(NO_SUCH_PORTAL)
        << too_many(3)
        << upstream(SYNC)
        >> answers(FAILED)
        << client(FAILED)
        >> says(query("COMMIT"))
        << Decided()
        << upstream(query("COMMIT"))
    )


def test_rows_wait_for_the_tag(play: Open) -> None:
    assert (
        opened(play)
        >> says(query(GIVING))
        << Decided()
        << counted(GIVING)
        >> answers(CLOSED, PARSED, BOUND, SHAPE, remark("a trigger speaks"), TWO)
        << client(remark("a trigger speaks"))
        >> answers(complete("UPDATE 2"))
        << client(SHAPE, TWO)
        << upstream(ENDED)
        << Finished(rows=2, bytes_out=len(TWO))
        >> answers(CLOSED, remark("a deferred one, too"), IDLE)
        << client(remark("a deferred one, too"), complete("UPDATE 2"), IDLE)
    )


def test_a_commit_that_fails(play: Open) -> None:
    """A Query's tag is the answer to its commit, too."""
    failed = failure("23503", "violates foreign key constraint")
    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, complete("UPDATE 2"))
        << upstream(ENDED)
        << Finished()
        >> answers(CLOSED, failed, IDLE)
        << client(failed, IDLE)
    )


def test_no_row_of_too_many_leaves(play: Open) -> None:
    assert (
        opened(play)
        >> says(query(GIVING))
        << Decided()
        << counted(GIVING)
        >> answers(CLOSED, PARSED, BOUND, SHAPE, THREE, complete("UPDATE 3"))
        << upstream(REJECTED, FLUSH)
        << Finished("rolled_back", rows=0, bytes_out=0)
        >> answers(NO_SUCH_PORTAL)
        << too_many(3)
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_rows_that_are_not_kept(play: Open) -> None:
    """They are bounded in bytes, too."""
    assert (
        opened(play, limits=Limits(withheld_rows_bytes_max=len(TWO) - 1))
        >> says(query(GIVING))
        << Decided()
        << counted(GIVING)
        >> answers(CLOSED, PARSED, BOUND, SHAPE, TWO, complete("UPDATE 2"))
        << upstream(REJECTED, FLUSH)
        << UNDONE
        >> answers(NO_SUCH_PORTAL)
        << error("54000", M="returns is more than is kept", H="return less")
        << upstream(SYNC)
    )


def test_masked_cells_are_counted_when_they_leave(play: Open) -> None:
    text = "DELETE FROM customers WHERE id = 1 RETURNING id"
    shape = described(("id", (16_401, 1), 23))
    session = opened(play, ANN)
    assert (
        session
        >> says(parse(text), bind(), describe_portal(), execute(), SYNC)
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(text), bind(), describe_portal(), execute(), FLUSH)
        >> answers(PARSED, BOUND, shape, rows(["1"], ["2"], ["3"]), complete("DELETE 3"))
        << client(PARSED, BOUND, shape)
        << upstream(REJECTED, FLUSH)
        << Finished("rolled_back", rows=0, cells_masked=0)
        >> answers(NO_SUCH_PORTAL)
        << too_many(3)
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def extended(play: Open, text: str = WRITE) -> Playbook:
    """A pipeline of two statements, the second of which has to wait."""
    return (
        opened(play)
        >> says(
            parse(text),
            bind(),
            describe_portal(),
            execute(),
            parse("SELECT 1"),
            bind(),
            describe_portal(),
            execute(),
            SYNC,
        )
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(text), bind(), describe_portal(), execute(), FLUSH)
    )


def test_a_pipeline_goes_on(play: Open) -> None:
    assert (
        extended(play)
        >> answers(PARSED, BOUND, NO_DATA, complete("UPDATE 2"))
        << client(PARSED, BOUND, NO_DATA, complete("UPDATE 2"))
        << Finished()
        << [Decided("parse"), Decided("execute")]
        << upstream(parse("SELECT 1"), bind(), describe_portal(), execute(), SYNC)
    )


def test_a_pipeline_ends(play: Open) -> None:
    """What stands behind it is skipped, as the server would."""
    assert (
        extended(play)
        >> answers(PARSED, BOUND, NO_DATA, complete("UPDATE 3"))
        << client(PARSED, BOUND, NO_DATA)
        << UNDONE
        << upstream(REJECTED, FLUSH)
        >> answers(NO_SUCH_PORTAL)
        << too_many(3)
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_an_error_ahead_of_it(play: Open) -> None:
    """A limited write that never ran is waited for no longer."""
    failed = failure("22012", "division by zero")
    assert (
        opened(play)
        >> says(
            parse("SELECT 1/0"),
            bind(),
            describe_portal(),
            execute(),
            parse(WRITE),
            bind(),
            describe_portal(),
            execute(),
            SYNC,
        )
        << [Decided("parse"), Decided("execute"), Decided("parse"), Decided("execute")]
        << upstream(
            parse("SELECT 1/0"),
            bind(),
            describe_portal(),
            execute(),
            parse(WRITE),
            bind(),
            describe_portal(),
            execute(),
            FLUSH,
        )
        >> answers(PARSED, BOUND, NO_DATA, failed)
        << client(PARSED, BOUND, NO_DATA, failed)
        << [Finished("failed"), Finished("failed")]
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_a_query_that_fails(play: Open) -> None:
    failed = failure("57014", "canceling statement due to user request")
    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, failed)
        << client(failed)
        << Finished("cancelled")
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_a_portal_read_in_parts(play: Open) -> None:
    """The server ran it to its end; the client gets as many rows as it asks for, and the ends of
    parts that the server would have given."""
    assert (
        opened(play)
        >> says(parse(GIVING), bind(), describe_portal(), execute("", 1), FLUSH)
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(GIVING), bind(), describe_portal(), execute(), FLUSH)
        >> answers(PARSED, BOUND, SHAPE, TWO, complete("UPDATE 2"))
        << client(PARSED, BOUND, SHAPE, rows(["one"]), SUSPENDED)
        << Finished(rows=1, command_tag="UPDATE 2")
        << upstream(FLUSH)
        >> says(execute("", 1), execute("", 1), SYNC)
        << Decided("execute")
        << upstream(execute(), FLUSH)
        >> answers(complete("UPDATE 2"))
        << client(rows(["two"]), SUSPENDED)
        << Finished(rows=1)
        << Decided("execute")
        << upstream(execute(), FLUSH)
        >> answers(complete("UPDATE 2"))
        << client(complete("UPDATE 2"))
        << Finished(rows=0)
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


COPYING = "COPY notes FROM STDIN"
LINES = copy_data(b"1\tone\n") + copy_data(b"2\ttwo\n")


def copying(play: Open) -> Playbook:
    return (
        opened(play)
        >> says(query(COPYING))
        << Decided()
        << counted(COPYING)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, COPY_IN)
        << client(COPY_IN)
        >> says(LINES)
        << upstream(LINES)
    )


def test_copying_in(play: Open) -> None:
    assert (
        copying(play)
        >> says(COPY_DONE, query("SELECT 1"))
        << upstream(COPY_DONE, FLUSH)
        >> answers(complete("COPY 2"))
        << Finished(command_tag="COPY 2")
        << Decided()
        << upstream(ENDED, query("SELECT 1"))
        >> answers(CLOSED, IDLE)
        << client(complete("COPY 2"), IDLE)
    )


def test_copying_in_too_much(play: Open) -> None:
    assert (
        copying(play)
        >> says(LINES, COPY_DONE)
        << upstream(LINES, COPY_DONE, FLUSH)
        >> answers(complete("COPY 4"))
        << UNDONE
        << upstream(REJECTED, FLUSH)
        >> answers(NO_SUCH_PORTAL)
        << too_many(4)
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_copying_in_that_fails_on_the_way(play: Open) -> None:
    """A frame that was begun goes up whole before our Sync."""
    failed = failure("22P02", "invalid input syntax for type integer")
    assert (
        copying(play)
        >> says(LINES[:9])
        << upstream(LINES[:9])
        >> answers(failed)
        << client(failed)
        << Finished("failed")
        >> says(LINES[9:11])
        << upstream(LINES[9:11], SYNC)
        >> says(LINES, COPY_DONE)
        << upstream(LINES, COPY_DONE)
        >> answers(IDLE)
        << client(IDLE)
        >> says(query("SELECT 1"))
        << Decided()
        << upstream(query("SELECT 1"))
    )


def test_copying_in_by_the_extended_protocol(play: Open) -> None:
    """The Sync that libpq sends with the Execute is ignored while copying, here as there."""
    assert (
        opened(play)
        >> says(parse(COPYING), bind(), describe_portal(), execute(), SYNC)
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(COPYING), bind(), describe_portal(), execute(), FLUSH)
        >> answers(PARSED, BOUND, NO_DATA, COPY_IN)
        << client(PARSED, BOUND, NO_DATA, COPY_IN)
        >> says(LINES, copy_data(b"3\tthree\n"), COPY_DONE, SYNC)
        << upstream(LINES, copy_data(b"3\tthree\n"), COPY_DONE, FLUSH)
        >> answers(complete("COPY 3"))
        << UNDONE
        << upstream(REJECTED, FLUSH)
        >> answers(NO_SUCH_PORTAL)
        << too_many(3)
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_nobody_commits_what_a_lost_client_wrote(play: Open) -> None:
    assert (
        opened(play)
        >> says(query(WRITE), TERMINATE)
        << Decided()
        << counted(WRITE)
        >> gone()
        << Finished("disconnected")
    )


def test_a_client_is_lost_while_it_is_undone(play: Open) -> None:
    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> answers(CLOSED, PARSED, BOUND, NO_DATA, complete("UPDATE 3"))
        << UNDONE
        << upstream(REJECTED, FLUSH)
        >> gone()
    )


def test_what_is_not_recorded_does_not_run(play: Open) -> None:
    rejected = refusals.rejected_parse()
    name = OURS.encode()
    assert (
        opened(play)
        >> says(query(WRITE), recorded=False)
        << upstream(
            m.close(m.STATEMENT, name),
            rejected,
            m.bind_unparameterised(name, name),
            m.describe(m.PORTAL, name),
            m.execute(name),
            FLUSH,
        )
        >> answers(CLOSED, failure("42601", "syntax error"))
        << error("58030")
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
    )


def untold(tag: bytes) -> Event:
    return answers(CLOSED, PARSED, BOUND, NO_DATA, tag)


@pytest.mark.parametrize("tag", ["UPDATE", "SELECT 1", "UPDATE x", "UPDATE -1"])
def test_a_tag_that_tells_nothing(play: Open, tag: str) -> None:
    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> untold(complete(tag))
        << UNDONE
        << upstream(REJECTED, FLUSH)
        >> answers(NO_SUCH_PORTAL)
        << error("54000", M="is not known")
        << upstream(SYNC)
    )


@pytest.mark.parametrize("end", [EMPTY, SUSPENDED], ids=["empty", "suspended"])
def test_an_end_that_tells_nothing(play: Open, end: bytes) -> None:
    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> untold(end)
        << Cut(ProtocolViolation)
    )


def test_a_stand_in_that_is_accepted(play: Open) -> None:
    """Then the server is not what it says it is."""
    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> untold(complete("UPDATE 3"))
        << UNDONE
        << upstream(REJECTED, FLUSH)
        >> answers(complete("UPDATE 3"))
        << Cut(ProtocolViolation)
    )


def test_it_waits_while_it_is_counted(play: Open) -> None:
    """A drain must not take it for idle, nor the pool for reusable."""

    def look(session: Session, now: float) -> Turn | None:
        machine = session.machine
        assert machine.waiting and machine.busy and not machine.idle and not machine.reusable
        return None

    assert (
        opened(play)
        >> says(query(WRITE))
        << Decided()
        << counted(WRITE)
        >> happens("look", look)
        >> untold(complete("UPDATE 3"))
        << UNDONE
        << upstream(REJECTED, FLUSH)
        >> happens("look", look)
    )


UNCOUNTED = {
    "several statements": f"BEGIN; {WRITE}",
    "a write in WITH": "WITH x AS (DELETE FROM notes RETURNING id) SELECT * FROM x",
    "a second write": "WITH x AS (DELETE FROM notes RETURNING id) DELETE FROM customers",
    "one nobody reads": "WITH x AS (DELETE FROM notes) DELETE FROM customers WHERE id = 1",
    "measured": f"EXPLAIN ANALYZE {WRITE}",
    "prepared": f"PREPARE p AS {WRITE}",
    "unknown name": "EXECUTE p",
    "measured name": "EXPLAIN ANALYZE EXECUTE p",
    "do": "DO 'BEGIN END'",
    "call": "CALL proceed()",
    "function": "SELECT proceed()",
    "function in a write": "INSERT INTO notes VALUES (proceed())",
    "text in a function": "SELECT query_to_xml('DELETE FROM notes', true, true, '')",
    "truncate": "TRUNCATE notes",
    "file": "COPY notes FROM '/tmp/notes'",
    "into a table that is made": "CREATE TABLE x AS WITH d AS (DELETE FROM notes) SELECT 1",
}


@pytest.mark.parametrize("name", UNCOUNTED)
def test_what_no_tag_counts(play: Open, name: str) -> None:
    assert (
        opened(play)
        >> says(query(UNCOUNTED[name]))
        << Decided(refused="limit")
        << upstream(refusals.rejected_query())
        >> answers(failure("42601", "syntax error"), IDLE)
        << error("54000", M="policy lets a write affect 2 rows at most here, and", D="few-writes")
        << client(IDLE)
    )


@pytest.mark.parametrize(
    "text",
    [
        "SELECT * FROM notes",
        "BEGIN; SELECT 1",
        f"EXPLAIN {WRITE}",
        "PREPARE p AS SELECT 1",
        "LOCK notes",
        "NOTIFY hey",
    ],
)
def test_what_writes_no_rows(play: Open, text: str) -> None:
    """It goes as ever."""
    assert opened(play) >> says(query(text)) << Decided() << upstream(query(text))


def test_a_statement_prepared_by_the_protocol(play: Open) -> None:
    """SQL's EXECUTE finds it, too."""
    assert (
        opened(play)
        >> says(parse(WRITE, "p"), parse("SELECT 1", "q"), SYNC)
        << [Decided("parse"), Decided("parse")]
        << upstream(parse(WRITE, "p"), parse("SELECT 1", "q"), SYNC)
        >> answers(PARSED, PARSED, IDLE)
        << client(PARSED, PARSED, IDLE)
        >> says(query("EXECUTE p"))
        << Decided(refused="limit")
        << upstream(refusals.rejected_query())
        >> answers(failure("42601", "syntax error"), IDLE)
        << error("54000", M="what EXECUTE runs is not counted")
        << client(IDLE)
        >> says(query("EXECUTE q"))
        << Decided()
        << upstream(query("EXECUTE q"))
    )


@pytest.mark.parametrize("by", ["FETCH ALL FROM c", "MOVE ALL IN c", "FETCH c"])
@pytest.mark.parametrize("policy", [FEW_WRITES, POLICY], ids=["limited", "not limited"])
def test_a_portal_run_by_sql(play: Open, by: str, policy: Snapshot) -> None:
    """FETCH would run the write, whatever it was to be asked and counted for."""
    book: Playbook = play(DAN, policy=policy)
    assert (
        book
        >> says(parse(GIVING), bind("", "c"), FLUSH)
        << Decided("parse")
        << upstream(parse(GIVING), bind("", "c"), FLUSH)
        >> answers(PARSED, BOUND)
        << client(PARSED, BOUND)
        >> says(query(by))
        << Decided(refused="limit")
        << upstream(refusals.rejected_query())
        >> answers(failure("42601", "syntax error"), IDLE)
        << error("54000", M="is run by an Execute, not by SQL", H="send Execute")
        << client(IDLE)
    )


def test_a_portal_that_reads_is_run_by_sql(play: Open) -> None:
    assert (
        opened(play)
        >> says(parse("SELECT 1"), bind("", "c"), FLUSH)
        << Decided("parse")
        << upstream(parse("SELECT 1"), bind("", "c"), FLUSH)
        >> answers(PARSED, BOUND)
        << client(PARSED, BOUND)
        >> says(query("FETCH c"))
        << Decided()
        << upstream(query("FETCH c"))
    )
