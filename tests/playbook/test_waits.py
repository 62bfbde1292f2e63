"""What cannot be decided at once waits, and what the client sends behind it keeps its place."""

from typing import Any

import pytest

from appliance.model.catalog import Relation
from appliance.model.errors import ProtocolViolation
from appliance.model.facts import Facts, ParseFailure, StatementFacts
from appliance.model.limits import Limits
from appliance.session.decisions import ANALYSES_MAX
from appliance.session.effects import AnalyseText, RefreshCatalog
from appliance.session.settings import PINNING, PROBE
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, gone, happens, says, whole
from tests.playbook.speech import (
    BOUND,
    CLOSED,
    EMAIL_COLUMN,
    FLUSH,
    IDLE,
    IN_TRANSACTION,
    PARSED,
    SYNC,
    SYNTAX_ERROR,
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
    Cut,
    Decided,
    Expectation,
    Finished,
    client,
    refusal,
    upstream,
)
from tests.playbook.world import ANN, DAN, LINEAGE, MASKED, SECRET, Open, Session, catalog

LONG = "SELECT email FROM customers WHERE id IN (" + ",".join(["1"] * 3_000) + ")"
SHAPE = described(EMAIL_COLUMN)
READ = "SELECT email FROM customers"
EMAILS = SHAPE + row(SECRET) + complete("SELECT 1") + IDLE
MASKED_EMAILS = SHAPE + row(MASKED) + complete("SELECT 1") + IDLE
MORE = CatalogLineage(catalog("2", Relation(16_403, "public", "late", "r", ())))


def analysed(text: str = LONG) -> Event:
    """The analyzer answers."""

    def act(session: Session, now: float) -> Any:
        lineage = session.machine.analysis_lineage
        facts = analyse(text.encode(), lineage, session.settings.current, Limits())
        return session.machine.analysed(facts, now)

    return happens("analysed", act)


def loaded(lineage: CatalogLineage | None = LINEAGE, failed: str = "") -> Event:
    """The catalog was loaded, or could not be."""

    def act(session: Session, now: float) -> Any:
        session.port.failure = failed
        if lineage is not None:
            session.port.take(lineage)
        return session.machine.catalog_ready(now)

    return happens("catalog", act)


def doubted() -> Event:
    """The catalog may be stale."""
    return happens("stale", lambda session, now: session.port.doubt())


def asked(in_pipeline: bool = False) -> list[Expectation]:
    """The probe goes upstream."""
    name = refusals.PROBE_NAME
    sent = b""
    for text in PROBE if in_pipeline else (PINNING.probe,):
        sent += m.parse(name, text) + m.bind_unparameterised(name, name) + m.execute(name)
        sent += m.close(m.PORTAL, name) + m.close(m.STATEMENT, name)
    return upstream(sent, FLUSH if in_pipeline else SYNC)


def told(*values: str) -> bytes:
    """The database's answer to it."""
    shown = row(*(values or ('"$user", public', "none", "shop")))
    return PARSED + BOUND + shown + complete("SELECT 1") + CLOSED + CLOSED + IDLE


def shown(*values: str) -> bytes:
    """Its answers in a pipeline."""
    each = (PARSED + BOUND + row(value) + complete("SHOW") + CLOSED + CLOSED for value in values)
    return b"".join(each)


def test_a_long_text_is_analysed_elsewhere(play: Open) -> None:
    """And what the client sends meanwhile comes after it."""
    assert (
        play(ANN)
        >> says(query(LONG), query("SELECT 1"))
        << Asks(AnalyseText, text=LONG.encode())
        >> says(query("DROP TABLE notes"), SYNC)
        >> analysed()
        << [Decided(), Decided(), Decided(refused="denied")]
        << upstream(query(LONG), query("SELECT 1"), refusals.rejected_query(), SYNC)
        >> answers(EMAILS)
        << client(MASKED_EMAILS)
        << Finished(cells_masked=1)
    )


def test_a_long_text_that_is_refused(play: Open) -> None:
    text = "UPDATE customers SET email = lower(email) /* " + "long " * 1_000 + "*/"
    assert (
        play(ANN)
        >> says(query(text))
        << Asks(AnalyseText)
        >> analysed(text)
        << Decided(refused="masked_column_used")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("masked_column_used")
        << client(IDLE)
    )


@pytest.mark.parametrize("principal", [ANN, DAN], ids=["owes", "owes nothing"])
@pytest.mark.parametrize("code", ["crashed", "timeout", "busy"])
def test_an_analysis_that_failed(play: Open, code: str, principal: Any) -> None:
    lost = StatementFacts("Unparsed", (), outputs_known=False)
    facts = Facts((lost,), failure=ParseFailure(code, "the analysis did not come to an end"))
    assert (
        play(principal)
        >> says(query(LONG))
        << Asks(AnalyseText)
        >> happens("failed", lambda session, now: session.machine.analysed(facts, now))
        << Decided(refused="analysis_failed")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("analysis_failed")
        << client(IDLE)
    )


def test_the_catalog_changed_during_the_analysis(play: Open) -> None:
    """Facts of another catalog are not used: the text is analysed again."""
    assert (
        play(ANN)
        >> says(query(LONG))
        << Asks(AnalyseText)
        >> happens("another", lambda session, now: session.port.take(MORE))
        >> analysed()
        << Asks(AnalyseText)
        >> analysed()
        << Decided()
        << upstream(query(LONG))
        >> gone()
        << Finished("disconnected")
    )


def test_a_text_that_is_never_analysed_in_time_is_refused(play: Open) -> None:
    """Facts of another catalog are not used, however often it changes."""

    def another(number: int) -> Event:
        lineage = CatalogLineage(catalog(str(number)))
        return happens("another", lambda session, now: session.port.take(lineage))

    book = play(ANN) >> says(query(LONG)) << Asks(AnalyseText)
    for number in range(2, 2 + ANALYSES_MAX):
        book = book >> another(number) >> analysed() << Asks(AnalyseText)
    assert (
        book
        >> another(9)
        >> analysed()
        << Decided(refused="analysis_failed")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("analysis_failed")
        << client(IDLE)
    )


def test_the_catalog_is_loaded_first(play: Open) -> None:
    assert (
        play(ANN, lineage=None)
        >> says(query(READ))
        << Asks(RefreshCatalog)
        >> says(query(READ))
        >> loaded()
        << [Decided(), Decided()]
        << upstream(query(READ), query(READ))
        >> answers(EMAILS)
        << client(MASKED_EMAILS)
        << Finished()
    )


def test_the_catalog_cannot_be_loaded(play: Open) -> None:
    assert (
        play(ANN, lineage=None)
        >> says(query(READ))
        << Asks(RefreshCatalog)
        >> loaded(None, "connection refused")
        << Decided(refused="catalog_unavailable")
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("catalog_unavailable")
        << client(IDLE)
    )


def test_a_name_nobody_knows_is_looked_for_once(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query("SELECT 1 FROM late"))
        << Asks(RefreshCatalog)
        >> loaded(MORE)
        << Decided()
        << upstream(query("SELECT 1 FROM late"))
        >> says(query("SELECT 1 FROM never"))
        << Asks(RefreshCatalog)
        >> loaded(MORE)
        << Decided(refused="unresolved")
        << upstream(refusals.rejected_query())
    )


def test_rows_come_while_the_catalog_is_compared(play: Open) -> None:
    """The plan rests on the catalog it was made with."""
    assert (
        play(ANN)
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> doubted()
        >> answers(EMAILS)
        << client(MASKED_EMAILS)
        << Finished(cells_masked=1)
    )


# --- settings -------------------------------------------------------------------------------------


def test_settings_are_asked_for_before_the_first_statement(play: Open) -> None:
    """The client sees nothing of it."""
    assert (
        play(ANN, settled=False)
        >> says(query(READ), query(READ))
        << asked()
        >> answers(told())
        << [Decided(), Decided()]
        << upstream(query(READ), query(READ))
        >> answers(EMAILS)
        << client(MASKED_EMAILS)
        << Finished()
    )


def test_names_mean_what_the_settings_say(play: Open) -> None:
    assert (
        play(ANN, settled=False)
        >> says(query(READ))
        << asked()
        >> answers(told("elsewhere", "none", "shop"))
        << Asks(RefreshCatalog)
        >> loaded()
        << Decided(refused="unresolved")
        << upstream(refusals.rejected_query())
    )


def test_settings_are_asked_for_again_after_a_set(play: Open) -> None:
    change = "SET search_path = public"
    assert (
        play(ANN)
        >> says(query(change))
        << Decided()
        << upstream(query(change))
        >> answers(complete("SET"), IDLE)
        << client(complete("SET"), IDLE)
        << Finished()
        >> says(query(READ))
        << asked()
        >> answers(told("public", "none", "shop"))
        << Decided()
        << upstream(query(READ))
    )


def test_a_statement_waits_for_the_set_before_it(play: Open) -> None:
    change = "SET search_path = public"
    assert (
        play(ANN)
        >> says(query(change), query(READ))
        << Decided()
        << upstream(query(change))
        >> answers(complete("SET"))
        << client(complete("SET"))
        >> answers(IDLE)
        << client(IDLE)
        << Finished()
        << asked()
        >> answers(told("public", "none", "shop"))
        << Decided()
        << upstream(query(READ))
    )


def test_inside_a_pipeline_no_sync_of_ours_ends_the_transaction(play: Open) -> None:
    change = "SET search_path = public"
    assert (
        play(ANN)
        >> says(parse(change), bind(), execute(), parse(READ, "s"), SYNC)
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(change), bind(), m.describe(m.PORTAL, b""), execute(), FLUSH)
        >> answers(PARSED, BOUND, m.frame(m.NO_DATA, b""), complete("SET"))
        << client(PARSED, BOUND, complete("SET"))
        << Finished()
        << asked(in_pipeline=True)
        >> answers(shown("public", "none", "shop"))
        << Decided("parse")
        << upstream(parse(READ, "s"), SYNC)
        >> answers(PARSED, IDLE)
        << client(PARSED, IDLE)
    )


def test_a_cancel_hits_the_question(play: Open) -> None:
    """It is asked again; three times are enough."""
    cancelled = failure("57014", "canceling statement due to user request")
    assert (
        play(ANN, settled=False)
        >> says(query(READ))
        << asked()
        >> answers(PARSED, BOUND, cancelled, IDLE)
        << asked()
        >> answers(told())
        << Decided()
        << upstream(query(READ))
    )
    book: Playbook = play(ANN, settled=False) >> says(query(READ))
    for _ in range(3):
        book = book << asked() >> answers(cancelled, IDLE)
    assert book << Cut(ProtocolViolation, "settings could not be read")


@pytest.mark.parametrize("values", [("public", "none"), ("a", "b", "c", "d")])
def test_answers_that_are_too_few_or_too_many(play: Open, values: tuple[str, ...]) -> None:
    book: Playbook = play(ANN, settled=False) >> says(query(READ))
    for _ in range(3):
        book = book << asked() >> answers(told(*values))
    assert book << Cut(ProtocolViolation, "settings could not be read")


def test_an_answer_to_the_question_that_makes_no_sense(play: Open) -> None:
    answer = told()[:-6] + SYNTAX_ERROR + row("x")
    _cut(play(ANN, settled=False) >> says(query(READ)) << asked() >> answers(answer))


@pytest.mark.parametrize("values", [("public", "none"), ("a", "b", "c", "d")])
def test_answers_in_a_transaction_that_make_no_sense(play: Open, values: tuple[str, ...]) -> None:
    change, begun = "SET search_path = public", complete("BEGIN")
    book = play(ANN) >> says(query("BEGIN")) >> answers(begun, IN_TRANSACTION)
    book = book >> says(query(change)) >> answers(complete("SET"), IN_TRANSACTION)
    _cut(book >> says(query(READ)) >> answers(shown(*values), IN_TRANSACTION))


def _cut(book: Playbook) -> None:
    seen = book.performed(whole)[-1]
    book.asserted = True
    assert any(effect.channel == "cut" for effect in seen)


def test_in_a_failed_transaction_nothing_is_asked(play: Open) -> None:
    """The database answers nothing there; unqualified names are in doubt."""
    begun, failed = complete("BEGIN"), failure("22012", "division by zero")
    change = "SET search_path = public"
    assert (
        play(ANN)
        >> says(query("BEGIN"))
        << Decided()
        << upstream(query("BEGIN"))
        >> answers(begun, IN_TRANSACTION)
        << client(begun, IN_TRANSACTION)
        << Finished()
        >> says(query(change))
        << Decided()
        << upstream(query(change))
        >> answers(failed, m.ready_for_query(ord("E")))
        << client(failed, m.ready_for_query(ord("E")))
        << Finished("failed")
        >> says(query("ROLLBACK"))
        << Decided()
        << upstream(query("ROLLBACK"))
    )


def test_a_peer_goes_while_a_statement_waits(play: Open) -> None:
    """Nothing was decided, so nothing is owed to the trail."""
    assert play(ANN) >> says(query(LONG)) << Asks(AnalyseText) >> gone()


def test_the_encoding_is_not_ours(play: Open) -> None:
    """What the server would read differently is not read at all."""
    assert (
        play(ANN, parameters={"client_encoding": "SJIS"})
        >> says(query("SELECT body FROM notes WHERE body = 'é'"))
        << Decided(refused="unparsable")
        << upstream(refusals.rejected_query())
        >> says(query("SELECT body FROM notes"))
        << Decided()
        << upstream(query("SELECT body FROM notes"))
    )


def test_the_database_cuts_names_elsewhere(play: Open) -> None:
    """In LATIN1 a name of 40 letters é is 40 bytes long; our parser cuts it after 31."""
    inner, outer = "é" * 31, "é" * 40
    assert (
        play(ANN, parameters={"server_encoding": "LATIN1"})
        >> says(query(f'SELECT (SELECT "{outer}".body FROM x "{inner}") FROM notes "{outer}"'))
        << Decided(refused="unparsable")
        << upstream(refusals.rejected_query())
        >> says(query("SELECT 'é' FROM notes"))
        << Decided()
        << upstream(query("SELECT 'é' FROM notes"))
    )


def test_a_change_of_lexing_under_way(play: Open) -> None:
    """A statement behind it waits until the server has said how it reads."""
    change = "SET standard_conforming_strings = off"
    off = m.parameter_status("standard_conforming_strings", "off")
    tricky = r"SELECT 'a\', '; DROP TABLE notes; --'"
    assert (
        play(DAN)
        >> says(query(change), query(tricky))
        << Decided()
        << upstream(query(change))
        >> answers(complete("SET"), off, IDLE)
        << client(complete("SET"), off, IDLE)
        << Finished()
        << asked()
        >> answers(told())
        << Decided(refused="unparsable")
        << upstream(refusals.rejected_query())
    )
