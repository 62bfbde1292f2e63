"""What a statement rests on is locked and looked at before it is sent, in its own transaction."""

import msgspec
import pytest

from appliance.session.effects import NoteSchemaChange, RefreshCatalog
from appliance.session.own_statements import CHECK_NAME, PROOF_NAME
from appliance.session.questions import LOCK_NAME, array
from appliance.session.resting import Resting
from appliance.session.state import DOUBTS_MAX
from appliance.sql.lineage import CatalogLineage
from appliance.sql.stamps import (
    AS_BEFORE,
    CHECK_QUERY,
    CHECK_TYPES,
    NO_POSITION,
    PROOF_QUERY,
    PROOF_TYPES,
    TEMPORARIES_QUERY,
)
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, happens, says
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    EMAIL_COLUMN,
    FLUSH,
    IDLE,
    PARSED,
    SYNC,
    bind,
    complete,
    described,
    execute,
    failure,
    parse,
    query,
    row,
)
from tests.playbook.transcript import (
    Asks,
    Decided,
    Expectation,
    Finished,
    client,
    refusal,
    upstream,
)
from tests.playbook.world import ANN, CUSTOMERS, DAN, MASKED, SECRET, Open, Session, catalog

READ = "SELECT email FROM customers"
SHAPE = described(EMAIL_COLUMN)
QUERY = refusals.QUERY_NAME
POSITION = "0-1"
SINCE = b"42"
SETTINGS = b'"$user", public\nnone\nshop\non'


def proof(first: bool, newest: str = "1", position: str = NO_POSITION) -> bytes:
    """Between Bind and Execute: whether what was looked at is so still."""
    name = PROOF_NAME
    sent = m.close(m.STATEMENT, name) + m.parse(name, PROOF_QUERY.encode(), PROOF_TYPES)
    expected = f"{newest}+0/{CUSTOMERS}:".encode()
    values = (array(["customers"]), array([str(CUSTOMERS)]), position.encode(), expected)
    bound = m.bind_texts(name, name, (*values, SETTINGS, array(()), b"", SINCE))
    return (sent if first else b"") + bound + m.execute(name) + m.close(m.PORTAL, name)


def held(first: bool = True, newest: str = "1", position: str = NO_POSITION) -> bytes:
    """A Query, in the transaction that holds what it rests on."""
    return (
        m.close(m.STATEMENT, QUERY)
        + m.parse(QUERY, READ.encode())
        + m.bind_unparameterised(QUERY, QUERY)
        + proof(first, newest, position)
        + m.describe(m.PORTAL, QUERY)
        + m.execute(QUERY)
        + m.close(m.PORTAL, QUERY)
    )


def proved(first: bool = True) -> bytes:
    prepared = CLOSED + PARSED if first else b""
    return prepared + BOUND + row("=") + complete("SELECT 1") + CLOSED


def stamped(newest: str = "1") -> CatalogLineage:
    """As read from a server."""
    return CatalogLineage(msgspec.structs.replace(catalog(newest), newest=newest))


def loaded(newest: str) -> Event:
    def act(session: Session, now: float) -> object:
        session.port.take(stamped(newest))
        return session.machine.catalog_ready(now)

    return happens("catalog", act)  # type: ignore[arg-type]


def asked(
    first: bool = True,
    position: str = NO_POSITION,
    last: str = POSITION,
    ended_by: bytes = FLUSH,
    discards: bool = False,
) -> list[Expectation]:
    """`last`: the position that the answer before gave, if there was one. `discards`: plans that
    nothing has looked at."""
    last = NO_POSITION if first else last
    lock = b'SELECT FROM "public"."customers"'
    name = refusals.QUESTION_NAME
    sent = m.close(m.STATEMENT, name) + m.parse(name, b"DISCARD PLANS")
    sent += m.bind_unparameterised(name, name)
    sent += m.execute(name) + m.close(m.PORTAL, name) + m.close(m.STATEMENT, name)
    sent = (sent if discards else b"") + m.parse(LOCK_NAME, lock) + m.close(m.STATEMENT, LOCK_NAME)
    if first:
        sent += m.close(m.STATEMENT, CHECK_NAME)
        sent += m.parse(CHECK_NAME, CHECK_QUERY.encode(), CHECK_TYPES)
    told = (position.encode(), last.encode(), SETTINGS)
    values = (array(["customers"]), array([str(CUSTOMERS)]), *told, array(()))
    sent += m.bind_texts(CHECK_NAME, CHECK_NAME, values) + m.execute(CHECK_NAME)
    return upstream(sent, m.close(m.PORTAL, CHECK_NAME), ended_by)


def told(
    newest: str = "1",
    first: bool = True,
    isolation: str = "read committed",
    position: str = POSITION,
) -> bytes:
    found = f"{isolation}/{int(SINCE)}/{position}/{newest}+0/{CUSTOMERS}:"
    prepared = CLOSED + PARSED if first else b""
    return PARSED + CLOSED + prepared + BOUND + row(found) + complete("SELECT 1") + CLOSED


def again(book: Playbook, newest: str, first: bool = False) -> Playbook:
    """The catalog was read anew; so are the session's own temporary relations, and the check."""
    name = refusals.PROBE_NAME
    sent = m.parse(name, TEMPORARIES_QUERY.encode()) + m.bind_unparameterised(name, name)
    sent += m.execute(name) + m.close(m.PORTAL, name) + m.close(m.STATEMENT, name)
    none = PARSED + BOUND + row("[]") + complete("SELECT 1") + CLOSED + CLOSED
    book = book << Asks(RefreshCatalog) >> loaded(newest) << upstream(sent, SYNC)
    return book >> answers(none, IDLE) << asked(first)


def masked(
    book: Playbook, first: bool = True, newest: str = "1", position: str = NO_POSITION
) -> Playbook:
    done = proved(first) + SHAPE + row(SECRET) + complete("SELECT 1")
    return (
        book
        << Decided()
        << upstream(held(first, newest, position), SYNC)
        >> answers(CLOSED, PARSED, BOUND, done, CLOSED, IDLE)
        << client(SHAPE, row(MASKED), complete("SELECT 1"), IDLE)
        << Finished(cells_masked=1)
    )


def test_a_query_is_sent_when_nothing_changed(play: Open) -> None:
    book = masked(play(ANN, lineage=stamped()) >> says(query(READ)) << asked() >> answers(told()))
    book = book >> says(query(READ)) << asked(False) >> answers(told(first=False))
    assert masked(book, first=False)


def test_nothing_is_read_again_while_the_log_ends_where_it_did(play: Open) -> None:
    book = masked(play(ANN, lineage=stamped()) >> says(query(READ)) << asked() >> answers(told()))
    for position, known in (("0-1q", NO_POSITION), ("0-1", POSITION)):
        answer = told(first=False, position=position)
        book = book >> says(query(READ)) << asked(False) >> answers(answer)
        book = masked(book, first=False, position=known)
    found = f"read committed/{int(SINCE)}/0-1/{AS_BEFORE}"
    short = PARSED + CLOSED + BOUND + row(found) + complete("SELECT 1") + CLOSED
    book = book >> says(query(READ)) << asked(False, POSITION) >> answers(short)
    assert masked(book, first=False, position=POSITION)


def test_it_is_judged_anew_when_something_did(play: Open) -> None:
    """The locks are let go of first: what is read anew may wait for who waits for them."""
    book = (
        play(ANN, lineage=stamped())
        >> says(query(READ))
        << asked()
        >> answers(told("2"))
        << upstream(SYNC)
        >> answers(IDLE)
    )
    assert masked(again(book, "2") >> answers(told("2", False)), newest="2")


def test_it_is_refused_when_that_does_not_end(play: Open) -> None:
    book = play(ANN, lineage=stamped()) >> says(query(READ)) << asked()
    for first in (True, False):
        book = again(book >> answers(told("2", first)) << upstream(SYNC) >> answers(IDLE), "1")
    assert (
        book
        >> answers(told("2", False))
        << upstream(SYNC)
        >> answers(IDLE)
        << Decided(refused="stale")
        << Asks(NoteSchemaChange)
        << upstream(refusals.rejected_query())
        >> answers(failure("42601", "no"), IDLE)
        << refusal("stale")
        << client(IDLE)
    )


DOUBT = happens("doubt", lambda session, _now: session.port.doubt())  # type: ignore[attr-defined]


def doubted(book: Playbook, times: int) -> Playbook:
    """Others change something during each of these checks, which find all as it was."""
    for first in (True, *[False] * (times - 1)):
        book = book >> DOUBT >> answers(told(first=first)) << upstream(SYNC) >> answers(IDLE)
        book = book << Asks(RefreshCatalog) >> loaded("1") << asked(False)
    return book


def test_changes_that_leave_it_as_it_is_do_not_stop_it(play: Open) -> None:
    """A slow database meets many: temporary tables that others make and drop."""
    book = doubted(play(ANN, lineage=stamped()) >> says(query(READ)) << asked(), DOUBTS_MAX - 1)
    assert masked(book >> answers(told(first=False)))


def test_changes_without_end_do(play: Open) -> None:
    book = doubted(play(ANN, lineage=stamped()) >> says(query(READ)) << asked(), DOUBTS_MAX - 1)
    book = book >> DOUBT >> answers(told(first=False)) << upstream(SYNC) >> answers(IDLE)
    book = book << Decided(refused="stale") << Asks(NoteSchemaChange)
    assert book << upstream(refusals.rejected_query())


def test_a_name_that_is_gone(play: Open) -> None:
    """The lock fails: looked up once more."""
    book = (
        play(ANN, lineage=stamped())
        >> says(query(READ))
        << asked()
        >> answers(failure("42P01", "no such relation"))
        << upstream(SYNC)
        >> answers(IDLE)
    )
    assert masked(again(book, "1", True) >> answers(told()))


@pytest.mark.parametrize("text", [f"SELECT 1; {READ}", f"CREATE TEMP TABLE t (a int); {READ}"])
def test_names_are_asked_for_in_front_of_several_statements(play: Open, text: str) -> None:
    """A schema that may not be used stands in search_path and is passed over: the relation that was
    found in it is not meant.
    """
    book = play(ANN, lineage=stamped()) >> says(query(text)) << asked()
    denied = failure("42501", "permission denied for schema public")
    assert book >> answers(denied) << upstream(SYNC) >> answers(IDLE) << Asks(RefreshCatalog)


def test_one_check_for_a_pipeline(play: Open) -> None:
    """And the next one has its own, as has a statement that was prepared before."""
    result = row(SECRET) + complete("SELECT 1")
    book = (
        play(ANN, lineage=stamped())
        >> says(parse(READ, "p"), bind("p"), m.describe(m.PORTAL, b""), execute(), SYNC)
        << asked()
        >> answers(told())
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(READ, "p"), bind("p"), m.describe(m.PORTAL, b""))
        << upstream(proof(True), execute(), SYNC)
        >> answers(PARSED, BOUND, SHAPE, proved(), result, IDLE)
        << client(PARSED, BOUND, SHAPE, row(MASKED), complete("SELECT 1"), IDLE)
        << Finished(cells_masked=1)
    )
    assert (
        book
        >> says(bind("p"), m.describe(m.PORTAL, b""), execute(), SYNC)
        << asked(False)
        >> answers(told(first=False))
        << Decided("execute")
        << upstream(bind("p"), m.describe(m.PORTAL, b""), proof(False), execute(), SYNC)
        >> answers(BOUND, SHAPE, proved(False), result, IDLE)
        << client(BOUND, SHAPE, row(MASKED), complete("SELECT 1"), IDLE)
        << Finished(cells_masked=1)
    )


def test_who_owes_nothing_and_what_rests_on_nothing(play: Open) -> None:
    for principal, text in ((DAN, READ), (ANN, "SELECT 1"), (ANN, "BEGIN")):
        book = play(principal, lineage=stamped()) >> says(query(text)) << Decided()
        assert book << upstream(query(text))


def test_an_error_of_the_query_itself(play: Open) -> None:
    assert (
        play(ANN, lineage=stamped())
        >> says(query(READ))
        << asked()
        >> answers(told())
        << Decided()
        << upstream(held(), SYNC)
        >> answers(CLOSED, failure("42501", "permission denied"), IDLE)
        << client(refusals.withhold_values(failure("42501", "permission denied")[5:], ord("E")))
        << client(IDLE)
        << Finished("failed")
    )


@pytest.mark.parametrize("prepared", [False, True])
def test_what_changed_while_its_names_were_looked_up_is_not_run(
    play: Open, monkeypatch: pytest.MonkeyPatch, prepared: bool
) -> None:
    """The look in front of it found all as it was, the one behind its Bind does not."""
    monkeypatch.setattr(Resting, "adopts", lambda *_: True)
    book = play(ANN, lineage=stamped())
    moved = CLOSED + PARSED + BOUND + failure("42704", f"no {SECRET}")
    if prepared:
        sent = (parse(READ, "p"), bind("p"), m.describe(m.PORTAL, b""), execute(), SYNC)
        book = book >> says(*sent) << asked() >> answers(told())
        book = book << [Decided("parse"), Decided("execute")]
        book = book << upstream(*sent[:3], proof(True), execute(), SYNC)
        book = book >> answers(PARSED, BOUND, SHAPE, moved, IDLE) << client(PARSED, BOUND, SHAPE)
    else:
        book = book >> says(query(READ)) << asked() >> answers(told())
        book = book << Decided() << upstream(held(), SYNC)
        book = book >> answers(CLOSED, PARSED, BOUND, moved, IDLE)
    book = book << refusal("stale") << Asks(NoteSchemaChange) << client(IDLE) << Finished("failed")
    # The server keeps the plan of what is prepared: it could name what was let go of meanwhile.
    book = book >> says(query(READ)) << asked(False, discards=prepared)
    discarded = CLOSED + PARSED + BOUND + complete("DISCARD PLANS") + CLOSED + CLOSED
    book = book >> answers(discarded if prepared else b"", told(first=False)) << Decided()
    book = book << upstream(held(False), SYNC) >> answers(CLOSED, PARSED, BOUND, proved(False))
    book = book >> answers(SHAPE, row(SECRET), complete("SELECT 1"), CLOSED, IDLE)
    book = (
        book << client(SHAPE, row(MASKED), complete("SELECT 1"), IDLE) << Finished(cells_masked=1)
    )
    assert book >> says(query(READ)) << asked(False)


def test_plans_from_before_another_policy_are_made_anew(
    play: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Perhaps nothing was owed then, and nobody looked at them."""

    def again(session: Session, now: float) -> None:
        session.machine.take_policy(session.machine._state.judge.snapshot)

    monkeypatch.setattr(Resting, "adopts", lambda *_: True)
    book = masked(play(ANN, lineage=stamped()) >> says(query(READ)) << asked() >> answers(told()))
    assert book >> happens("policy", again) >> says(query(READ)) << asked(False, discards=True)  # type: ignore[arg-type]


def test_a_cancel_that_hits_the_second_look_is_said(play: Open) -> None:
    cancelled = failure("57014", "canceling statement due to user request")
    book = play(ANN, lineage=stamped()) >> says(query(READ)) << asked() >> answers(told())
    book = book << Decided() << upstream(held(), SYNC)
    book = book >> answers(CLOSED, PARSED, BOUND, CLOSED, PARSED, BOUND, cancelled, IDLE)
    assert book << client(cancelled, IDLE) << Finished("cancelled")


STRING = r"SELECT 'a\b'"


def bare_check(first: bool, ended_by: bytes) -> list[Expectation]:
    """A check of nothing but how the server reads strings."""
    sent = m.close(m.STATEMENT, CHECK_NAME)
    sent += m.parse(CHECK_NAME, CHECK_QUERY.encode(), CHECK_TYPES)
    position = NO_POSITION.encode()
    values = (
        array(()),
        array(()),
        position,
        position,
        SETTINGS,
        array(()),
    )
    sent = (sent if first else b"") + m.bind_texts(CHECK_NAME, CHECK_NAME, values)
    return upstream(sent + m.execute(CHECK_NAME), m.close(m.PORTAL, CHECK_NAME), ended_by)


def test_what_a_backslash_means_is_asked(play: Open) -> None:
    """Nothing is named, and yet a setting decides where the string ends."""
    book = play(ANN, lineage=stamped()) >> says(query(STRING))
    book = book << bare_check(True, FLUSH)
    assert book


def test_without_a_backslash_nothing_is_asked(play: Open) -> None:
    assert (
        play(ANN, lineage=stamped())
        >> says(query("SELECT 'ab'"))
        << Decided()
        << upstream(query("SELECT 'ab'"))
    )
