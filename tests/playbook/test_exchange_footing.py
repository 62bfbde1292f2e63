"""What a result rests on is looked at before any of it leaves: conversations of exchange sessions
with somebody who owes masks, on a catalog that was read from a server."""

import msgspec
import pytest

from appliance.model.errors import ProtocolViolation
from appliance.model.stands import Stands
from appliance.session.effects import Turn
from appliance.sql.mysql.lineage import MyLineage
from tests.playbook.exchange_world import (
    EMAIL,
    EMAIL_REWORDED,
    ID,
    OK,
    Event,
    Session,
    answers,
    catalog,
    gone,
    happens,
    played,
    query,
    reply,
    says,
)
from tests.playbook.test_exchange import IN_TRANSACTION, MASKED, READ, ROWS, error_of
from tests.playbook.world import ANN, DAN, SECRET
from tests.unit.wire.mysql.packets_said import LONG, column, eof, error, ok, text_row


def _lineage() -> MyLineage:
    made = catalog()
    relations = {
        oid: msgspec.structs.replace(relation, stamp="read")
        for oid, relation in made.relations.items()
    }
    return MyLineage(msgspec.structs.replace(made, relations=relations))


READ_FROM_A_SERVER = _lineage()
WRITE = "INSERT INTO notes SELECT id, name FROM customers"


def looked(holds: bool) -> Event:
    def act(session: Session, now: float) -> Turn:
        return session.machine.footing_told(Stands.AS_JUDGED if holds else Stands.OTHERWISE, now)

    return happens(act)


def seen(*events: Event, principal=ANN, **more):  # type: ignore[no-untyped-def]
    return played(*events, principal=principal, lineage=READ_FROM_A_SERVER, **more)


OPEN, KEEP = query("START TRANSACTION"), query("COMMIT AND NO CHAIN NO RELEASE")
UNDO = query("ROLLBACK AND NO CHAIN NO RELEASE")
AMID = eof(status=2 | IN_TRANSACTION)
FENCED = (b"\x02", ID, EMAIL, AMID, *ROWS[4:-1], AMID)
"""The rows as they come in a transaction of ours."""
OPENED, ENDED = answers(ok(status=2 | IN_TRANSACTION)), answers(OK)


def test_rows_wait_until_what_they_rest_on_was_looked_at() -> None:
    opens, asks, told, after, ended = seen(
        says(query(READ)), OPENED, answers(*FENCED), looked(True), ENDED
    )
    assert opens.upstream == reply(OPEN, first=0) and len(opens.decided) == 1
    assert asks.upstream == reply(query(READ), first=0)
    assert told.client == b"" and told.requests == ("CheckFooting",) and told.upstream == b""
    assert after.upstream == reply(KEEP, first=0) and after.finished == ()
    assert ended.finished == (("completed", 2, 1),)
    assert after.client + ended.client == reply(*MASKED)  # which know of no transaction


def test_what_comes_meanwhile_waits_as_well() -> None:
    half, rest = FENCED[:5], FENCED[5:]
    _, _, first, second, after, ended = seen(
        says(query(READ)), OPENED, answers(*half), answers(*rest, first=6), looked(True), ENDED
    )
    assert first.client == second.client == b""
    assert after.client + ended.client == reply(*MASKED)


def test_a_read_that_fails_undoes_the_transaction_around_it() -> None:
    _, _, failed, ended = seen(says(query(READ)), OPENED, answers(error(1054)), ENDED)
    assert failed.upstream == reply(UNDO, first=0) and failed.client == b""
    assert error_of(ended.client)[1] == 1054 and ended.finished == (("failed", 0, 0),)


def test_a_cancel_that_hits_the_end_of_it() -> None:
    *_, again, ended = seen(
        says(query(READ)), OPENED, answers(*FENCED), looked(True), answers(error(1317)), ENDED
    )
    assert again.upstream == reply(UNDO, first=0)
    assert ended.finished == (("completed", 2, 1),)


def test_one_that_does_not_end_ends_the_session() -> None:
    events = [says(query(READ)), OPENED, answers(*FENCED), looked(True)]
    with pytest.raises(ProtocolViolation, match="does not end"):
        seen(*events, answers(error(1317)), answers(error(1317)))


def test_one_that_does_not_begin_is_the_reply() -> None:
    *_, told = seen(says(query(READ)), answers(error(1317)))
    assert error_of(told.client)[1] == 1317 and told.upstream == b""


def test_who_owes_nothing_waits_for_nothing() -> None:
    _, told = seen(says(query(READ)), answers(*ROWS), principal=DAN)
    assert told.client == reply(*ROWS) and told.requests == ()


def test_what_rests_on_nothing_waits_for_nothing() -> None:
    one = column("id", "", "", LONG)
    rows = (b"\x01", one, eof(), text_row("1"), eof())
    _, told = seen(says(query("SELECT 1 AS id")), answers(*rows))
    assert told.client == reply(*rows) and told.requests == ()


def test_a_query_is_judged_anew_when_it_is_not_as_it_was() -> None:
    once = (OPENED, answers(*FENCED))
    _, _, _, differs, again, _, told, after, ended = seen(
        says(query(READ)), *once, looked(False), ENDED, *once, looked(True), ENDED
    )
    assert differs.client == b"" and differs.upstream == reply(KEEP, first=0)
    assert again.upstream == reply(OPEN, first=0) and again.finished == (("failed", 0, 0),)
    assert told.client == b"" and after.client + ended.client == reply(*MASKED)


def test_in_the_end_it_is_refused() -> None:
    steps = [says(query(READ))]
    steps += [OPENED, answers(*FENCED), looked(False), ENDED] * 4
    last = seen(*steps)[-1]
    assert error_of(last.client)[1] and "schema was changed" in error_of(last.client)[2]
    assert last.upstream == b"" and SECRET.encode() not in last.client


def test_a_transaction_keeps_what_it_has_opened() -> None:
    begun = ok(status=2 | IN_TRANSACTION)
    rows = (b"\x02", ID, EMAIL, eof(), text_row("1", SECRET), eof(status=2 | IN_TRANSACTION))
    masked = (
        b"\x02",
        ID,
        EMAIL_REWORDED,
        eof(),
        text_row("1", "****"),
        eof(status=2 | IN_TRANSACTION),
    )
    told = seen(
        says(query("START TRANSACTION")),
        answers(begun),
        says(query(READ)),
        answers(*rows),
        looked(True),
        says(query(READ)),
        answers(*rows),
        says(query("ROLLBACK TO SAVEPOINT a")),
        answers(begun),
        says(query(READ)),
        answers(*rows),
        looked(True),
    )
    assert told[3].requests == ("CheckFooting",) and told[4].client == reply(*masked)
    assert told[6].requests == () and told[6].client == reply(*masked)
    assert told[10].requests == ("CheckFooting",)


def test_a_write_is_looked_after_before_it_is_sent() -> None:
    asked, sent, told = seen(says(query(WRITE)), looked(True), answers(OK))
    assert asked.upstream == b"" and asked.requests == ("CheckFooting",) and asked.decided == ()
    assert sent.upstream == reply(query(WRITE), first=0) and told.client == reply(OK)


def test_a_write_that_rests_on_what_changed_is_refused() -> None:
    *_, last = seen(says(query(WRITE)), looked(False), looked(False), looked(False))
    assert last.upstream == b"" and "schema was changed" in error_of(last.client)[2]


def test_a_client_that_leaves_meanwhile() -> None:
    *_, last = seen(says(query(READ)), OPENED, answers(*FENCED), gone())
    assert last.finished == (("disconnected", 0, 0),) and last.client == b""


def test_several_results_are_looked_at_one_by_one() -> None:
    text = f"{READ}; {READ}"
    more = eof(status=2 | 8)
    first = (b"\x02", ID, EMAIL, AMID, text_row("1", SECRET), eof(status=2 | 8 | IN_TRANSACTION))
    both = (*first, *FENCED)
    _, _, told, one, ended = seen(says(query(text)), OPENED, answers(*both), looked(True), ENDED)
    assert told.client == b"" and told.requests == ("CheckFooting",)
    assert one.requests == ()  # the transaction keeps it as it was found
    masked = (b"\x02", ID, EMAIL_REWORDED, eof(), text_row("1", "****"), more, *MASKED)
    assert one.client + ended.client == reply(*masked)
