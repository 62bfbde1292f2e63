"""A write under a limit on rows, in an exchange session: counted before it lasts."""

import msgspec
import pytest

from appliance.model.catalog import Catalog
from appliance.model.errors import ProtocolViolation
from appliance.sql.mysql.lineage import MyLineage
from tests.playbook.exchange_world import (
    OK,
    Event,
    Seen,
    answers,
    catalog,
    execute,
    played,
    prepare,
    query,
    reply,
    says,
)
from tests.playbook.test_exchange import EXECUTE, SIMPLE, error_of, sent
from tests.playbook.world import FEW_WRITES, NOTES
from tests.unit.wire.mysql.packets_said import column, eof, error, ok, prepared

UPDATE = "UPDATE notes SET body = 'x' WHERE id < 9"
AUTOCOMMIT, IN_TRANSACTION = 2, 1
OPEN = answers(ok(status=AUTOCOMMIT | IN_TRANSACTION))


def few(*events: Event, **surroundings: object) -> list[Seen]:
    return played(*events, policy=FEW_WRITES, **surroundings)


def ran(affected: int) -> Event:
    return answers(ok(affected, AUTOCOMMIT | IN_TRANSACTION))


def test_a_write_within_its_limit_lasts() -> None:
    opened, run, kept, done = few(says(query(UPDATE)), OPEN, ran(2), answers(OK))
    assert opened.upstream == sent(query("START TRANSACTION"))
    assert opened.decided == ((SIMPLE, ""),)
    assert run.upstream == sent(query(UPDATE)) and kept.upstream == sent(
        query("COMMIT AND NO CHAIN NO RELEASE")
    )
    assert opened.client == run.client == kept.client == b""
    assert done.client == reply(ok(2, AUTOCOMMIT))  # no transaction is left open
    assert done.finished == (("completed", 0, 0),)


def test_a_write_beyond_its_limit_never_was() -> None:
    *_, undone, done, after = few(
        says(query(UPDATE)), OPEN, ran(3), answers(OK), says(query("SELECT 1"))
    )
    assert (
        undone.upstream == sent(query("ROLLBACK AND NO CHAIN NO RELEASE")) and undone.client == b""
    )
    assert "affected 3" in error_of(done.client)[2] and error_of(done.client)[0] == 1
    assert done.finished == (("rolled_back", 0, 0),)
    assert after.upstream == sent(query("SELECT 1"))


@pytest.mark.parametrize(("affected", "ending"), [(2, "RELEASE"), (3, "ROLLBACK TO")])
def test_in_a_transaction_of_the_clients(affected: int, ending: str) -> None:
    _, _, opened, _, ended, done = few(
        says(query("BEGIN")),
        OPEN,
        says(query(UPDATE)),
        OPEN,
        ran(affected),
        answers(ok(status=AUTOCOMMIT | IN_TRANSACTION)),
    )
    point = "SAVEPOINT `sallyport: limit`"
    assert opened.upstream == sent(query(point))
    assert ended.upstream == sent(query(f"{ending} {point}"))
    assert (done.client == reply(ok(2, AUTOCOMMIT | IN_TRANSACTION))) is (affected == 2)


def test_without_autocommit_the_transaction_stays_open() -> None:
    _, _, opened, *_ = few(
        says(query("SELECT 1")), answers(ok(status=0)), says(query(UPDATE)), OPEN
    )
    assert opened.upstream.startswith(sent(query("SAVEPOINT `sallyport: limit`")))


def test_a_write_that_fails_leaves_nothing_open() -> None:
    words = error(1205, b"HY000", b"Lock wait timeout")
    *_, undone, done = few(says(query(UPDATE)), OPEN, answers(words), answers(OK))
    assert undone.upstream == sent(query("ROLLBACK AND NO CHAIN NO RELEASE"))
    assert done.client == reply(words) and done.finished == (("failed", 0, 0),)
    *_, done = few(says(query("BEGIN")), OPEN, says(query(UPDATE)), OPEN, answers(words))
    assert done.client == reply(words) and done.upstream == b""


def test_what_cannot_be_opened_does_not_run() -> None:
    words = error(1317, b"70100", b"interrupted")
    _, done = few(says(query(UPDATE)), answers(words))
    assert done.client == reply(words) and done.finished == (("cancelled", 0, 0),)


def test_a_commit_that_fails() -> None:
    words = error(1213, b"40001", b"Deadlock")
    *_, done = few(says(query(UPDATE)), OPEN, ran(2), answers(words))
    assert done.client == reply(words) and done.finished == (("failed", 0, 0),)


def test_what_cannot_be_undone_ends_the_session() -> None:
    with pytest.raises(ProtocolViolation, match="undone"):
        few(says(query(UPDATE)), OPEN, ran(3), answers(error(1317, b"70100")))


def test_what_cannot_be_recorded_does_not_run() -> None:
    asked, told = few(says(query(UPDATE), recorded=False), answers(OK))
    assert asked.upstream == sent(b"\x0e") and "unrecorded" in error_of(told.client)[2]


def test_prepared() -> None:
    *_, asked, run, kept, _ = few(
        says(prepare(UPDATE)),
        answers(prepared(3, 0, 0)),
        says(execute(3)),
        OPEN,
        ran(1),
        answers(OK),
    )
    assert asked.upstream == sent(query("START TRANSACTION"))
    assert asked.decided == ((EXECUTE, ""),)
    assert run.upstream == sent(execute(3)) and kept.upstream == sent(
        query("COMMIT AND NO CHAIN NO RELEASE")
    )


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO notes (id) VALUES (1) RETURNING id",
        "UPDATE notes SET body = 'x'; SELECT 1",
        "TRUNCATE notes",
        "CALL p()",
    ],
)
def test_what_is_not_counted_is_refused(text: str) -> None:
    (told,) = few(says(query(text)))
    assert told.upstream == b"" and told.decided[0][1] != ""


def _world(**change: object) -> MyLineage:
    known: Catalog = catalog()
    relations = dict(known.relations)
    relations[NOTES] = msgspec.structs.replace(relations[NOTES], **change)
    return MyLineage(msgspec.structs.replace(known, relations=relations))


@pytest.mark.parametrize("change", [{"undoable": False}, {"has_triggers": True}])
def test_what_is_not_undone_is_refused(change: dict[str, object]) -> None:
    (told,) = few(says(query(UPDATE)), lineage=_world(**change))
    assert told.upstream == b"" and told.decided == ((SIMPLE, "limit"),)


def test_not_where_tables_are_locked_by_name() -> None:
    *_, told = few(says(query("LOCK TABLES notes WRITE")), answers(OK), says(query(UPDATE)))
    assert told.upstream == b"" and told.decided == ((SIMPLE, "limit"),)


def test_rows_are_never_limited() -> None:
    asked, _ = few(
        says(query("SELECT id FROM notes")),
        answers(b"\x01", column("id", "notes", "public"), eof(), eof()),
    )
    assert asked.upstream == sent(query("SELECT id FROM notes"))
