"""What a result rests on is looked at before any of it leaves: conversations of exchange sessions
with somebody who owes masks, on a catalog that was read from a server."""

import msgspec

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
from tests.unit.wire.mysql.packets_said import LONG, column, eof, ok, text_row


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
        return session.machine.footing_told(holds, now)

    return happens(act)


def seen(*events: Event, principal=ANN, **more):  # type: ignore[no-untyped-def]
    return played(*events, principal=principal, lineage=READ_FROM_A_SERVER, **more)


def test_rows_wait_until_what_they_rest_on_was_looked_at() -> None:
    _, told, after = seen(says(query(READ)), answers(*ROWS), looked(True))
    assert told.client == b"" and told.requests == ("CheckFooting",)
    assert after.client == reply(*MASKED) and after.finished == (("completed", 2, 1),)


def test_what_comes_meanwhile_waits_as_well() -> None:
    half, rest = ROWS[:5], ROWS[5:]
    _, first, second, after = seen(
        says(query(READ)), answers(*half), answers(*rest, first=6), looked(True)
    )
    assert first.client == second.client == b""
    assert after.client == reply(*MASKED)


def test_who_owes_nothing_waits_for_nothing() -> None:
    _, told = seen(says(query(READ)), answers(*ROWS), principal=DAN)
    assert told.client == reply(*ROWS) and told.requests == ()


def test_what_rests_on_nothing_waits_for_nothing() -> None:
    one = column("id", "", "", LONG)
    rows = (b"\x01", one, eof(), text_row("1"), eof())
    _, told = seen(says(query("SELECT 1 AS id")), answers(*rows))
    assert told.client == reply(*rows) and told.requests == ()


def test_a_query_is_judged_anew_when_it_is_not_as_it_was() -> None:
    _, _, again, told, after = seen(
        says(query(READ)), answers(*ROWS), looked(False), answers(*ROWS), looked(True)
    )
    assert again.client == b"" and again.upstream == reply(query(READ), first=0)
    assert again.finished == (("failed", 0, 0),)
    assert told.client == b"" and after.client == reply(*MASKED)


def test_in_the_end_it_is_refused() -> None:
    steps = [says(query(READ))]
    steps += [answers(*ROWS), looked(False)] * 3
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
    *_, last = seen(says(query(READ)), answers(*ROWS), gone())
    assert last.finished == (("disconnected", 0, 0),) and last.client == b""


def test_several_results_are_looked_at_one_by_one() -> None:
    text = f"{READ}; {READ}"
    more = eof(status=2 | 8)
    first = (b"\x02", ID, EMAIL, eof(), text_row("1", SECRET), more)
    both = (*first, *ROWS)
    _, told, one, two = seen(says(query(text)), answers(*both), looked(True), looked(True))
    assert told.client == b"" and one.requests == ("CheckFooting",)
    masked = (b"\x02", ID, EMAIL_REWORDED, eof(), text_row("1", "****"), more, *MASKED)
    assert one.client + two.client == reply(*masked)
