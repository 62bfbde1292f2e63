"""The extended protocol: prepared statements, portals, pipelines, and errors in the middle."""

import pytest

from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.limits import Limits
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import Event, Playbook, answers, happens, says
from tests.playbook.speech import (
    BODY_COLUMN,
    BOUND,
    CLOSED,
    EMAIL_COLUMN,
    FAILED,
    FLUSH,
    ID_COLUMN,
    IDLE,
    IN_TRANSACTION,
    NAME_COLUMN,
    NO_DATA,
    NO_SUCH_PORTAL,
    NO_SUCH_STATEMENT,
    PARSED,
    SUSPENDED,
    SYNC,
    SYNTAX_ERROR,
    bind,
    close_portal,
    close_statement,
    complete,
    computed,
    describe_portal,
    describe_statement,
    described,
    execute,
    failure,
    parameters,
    parse,
    query,
    row,
    rows,
)
from tests.playbook.transcript import (
    Cut,
    Decided,
    Finished,
    client,
    error,
    refusal,
    upstream,
)
from tests.playbook.world import (
    ANN,
    DAN,
    MASKED,
    NAMES_MASKED,
    NO_NOTES,
    SECRET,
    Open,
)

READ = "SELECT id, email FROM customers"
NOTES = "SELECT body FROM notes"
SHAPE = described(ID_COLUMN, EMAIL_COLUMN)


def takes(policy: object) -> Event:
    """Another policy comes into force."""
    return happens("policy", lambda session, now: session.machine.take_policy(policy))  # type: ignore[arg-type]


def prepared(book: Playbook, text: str, name: str = "s") -> Playbook:
    return (
        book
        >> says(parse(text, name), SYNC)
        << Decided("parse")
        << upstream(parse(text, name), SYNC)
        >> answers(PARSED, IDLE)
        << client(PARSED, IDLE)
    )


def test_whole(play: Open) -> None:
    messages = parse(READ) + bind() + describe_portal() + execute() + SYNC
    assert (
        play(ANN)
        >> says(messages)
        << Decided("parse")
        << Decided("execute")
        << upstream(messages)
        >> answers(PARSED, BOUND, SHAPE, row("1", SECRET), complete("SELECT 1"), IDLE)
        << client(PARSED, BOUND, SHAPE, row("1", MASKED), complete("SELECT 1"), IDLE)
        << Finished(rows=1, cells_masked=1)
    )


def test_step_by_step(play: Open) -> None:
    assert (
        play(ANN)
        >> says(parse(READ, "s"), describe_statement("s"), FLUSH)
        << Decided("parse")
        << upstream(parse(READ, "s"), describe_statement("s"), FLUSH)
        >> answers(PARSED, parameters(), SHAPE)
        << client(PARSED, parameters(), SHAPE)
        >> says(bind("s", "p"), FLUSH)
        << upstream(bind("s", "p"), FLUSH)
        >> answers(BOUND)
        << client(BOUND)
        >> says(describe_portal("p"), execute("p"), SYNC)
        << Decided("execute")
        << upstream(describe_portal("p"), execute("p"), SYNC)
        >> answers(SHAPE, row("1", SECRET), complete("SELECT 1"), IDLE)
        << client(SHAPE, row("1", MASKED), complete("SELECT 1"), IDLE)
        << Finished()
    )


def test_pipelined_statements_keep_their_own_plans(play: Open) -> None:
    """Results of two portals, masked and not, in one pipeline."""
    messages = (parse(NOTES, "n") + bind("n", "pn") + parse(READ, "c") + bind("c", "pc")) + (
        describe_portal("pc") + describe_portal("pn") + execute("pn") + execute("pc") + SYNC
    )
    assert (
        play(ANN)
        >> says(messages)
        << [Decided("parse"), Decided("parse"), Decided("execute"), Decided("execute")]
        << upstream(messages)
        >> answers(PARSED, BOUND, PARSED, BOUND, SHAPE, described(BODY_COLUMN))
        << client(PARSED, BOUND, PARSED, BOUND, SHAPE, described(BODY_COLUMN))
        >> answers(
            row("a note"), complete("SELECT 1"), row("1", SECRET), complete("SELECT 1"), IDLE
        )
        << client(row("a note"), complete("SELECT 1"), row("1", MASKED), complete("SELECT 1"), IDLE)
        << Finished(cells_masked=0)
        << Finished(cells_masked=1)
    )


def test_executed_again_without_describe(play: Open) -> None:
    """Drivers that know the statement do not ask: we do, and the client never sees the answer."""
    again = bind("s") + execute() + SYNC
    assert (
        prepared(play(ANN), READ)
        >> says(again)
        << Decided("execute")
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(BOUND, SHAPE, row("1", SECRET), complete("SELECT 1"), IDLE)
        << client(BOUND, row("1", MASKED), complete("SELECT 1"), IDLE)
        << Finished(cells_masked=1)
        >> says(again)
        << Decided("execute")
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(BOUND, SHAPE, row("2", SECRET), complete("SELECT 1"), IDLE)
        << client(BOUND, row("2", MASKED), complete("SELECT 1"), IDLE)
        << Finished(cells_masked=1)
    )


def test_who_may_see_it_raw_is_described_to_as_well(play: Open) -> None:
    messages = bind("s") + execute() + SYNC
    assert (
        prepared(play(DAN), "INSERT INTO notes VALUES (1)")
        >> says(messages)
        << Decided("execute")
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(BOUND, NO_DATA, complete("INSERT 0 1"), IDLE)
        << client(BOUND, complete("INSERT 0 1"), IDLE)
        << Finished(command_tag="INSERT 0 1")
    )


def test_an_injected_describe_that_answers_no_data(play: Open) -> None:
    assert (
        prepared(play(ANN), "INSERT INTO notes VALUES (1)")
        >> says(bind("s"), execute(), SYNC)
        << Decided("execute")
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(BOUND, NO_DATA)
        << client(BOUND)
        >> answers(row("a row all the same"))
        << Cut(InvariantBroken, "before its plan")
    )


def test_a_describe_of_the_statement_is_not_one_of_the_portal(play: Open) -> None:
    """Only the portal's tells the formats; the plan is bound to the portal."""
    assert (
        play(ANN)
        >> says(parse(READ), describe_statement(), bind(), execute(), SYNC)
        << [Decided("parse"), Decided("execute")]
        << upstream(parse(READ), describe_statement(), bind(), describe_portal(), execute(), SYNC)
        >> answers(PARSED, parameters(), SHAPE, BOUND, SHAPE, row("1", SECRET))
        << client(PARSED, parameters(), SHAPE, BOUND, row("1", MASKED))
        >> answers(complete("SELECT 1"), IDLE)
        << client(complete("SELECT 1"), IDLE)
        << Finished()
    )


@pytest.mark.parametrize("shape", [described(ID_COLUMN, NAME_COLUMN), described(EMAIL_COLUMN)])
def test_a_portals_description_that_is_not_the_plan(play: Open, shape: bytes) -> None:
    assert (
        prepared(play(ANN), READ)
        >> says(bind("s"), execute(), SYNC)
        << Decided("execute")
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(BOUND, shape, row("1", SECRET))
        << Cut(Refused, "not the one that was checked")
    )


def test_a_portal_read_in_parts(play: Open) -> None:
    assert (
        prepared(play(ANN), READ)
        >> says(bind("s", "p"), describe_portal("p"), execute("p", 1), FLUSH)
        << Decided("execute")
        << upstream(bind("s", "p"), describe_portal("p"), execute("p", 1), FLUSH)
        >> answers(BOUND, SHAPE, row("1", SECRET), SUSPENDED)
        << client(BOUND, SHAPE, row("1", MASKED), SUSPENDED)
        << Finished(rows=1)
        >> says(execute("p", 1), execute("p"), SYNC)
        << [Decided("execute"), Decided("execute")]
        << upstream(execute("p", 1), execute("p"), SYNC)
        >> answers(row("2", SECRET), SUSPENDED, row("3", SECRET), complete("SELECT 1"), IDLE)
        << client(row("2", MASKED), SUSPENDED, row("3", MASKED), complete("SELECT 1"), IDLE)
        << [Finished(rows=1, cells_masked=1), Finished(rows=1, cells_masked=1)]
    )


# --- refusals -------------------------------------------------------------------------------------


def test_refused_at_parse(play: Open) -> None:
    """All up to Sync is skipped by the database itself; the name is not known afterwards."""
    assert (
        play(ANN)
        >> says(parse("DROP TABLE notes", "s"), bind("s"), execute(), SYNC)
        << Decided("parse", refused="denied")
        << upstream(refusals.rejected_parse(), refusals.rejected_bind())
        << upstream(refusals.rejected_execute(), SYNC)
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("denied")
        << client(IDLE)
        >> says(bind("s"), SYNC)
        << upstream(refusals.rejected_bind(), SYNC)
        >> answers(NO_SUCH_STATEMENT, IDLE)
        << error("26000", 'prepared statement "s" does not exist', lacks=["sallyport"])
        << client(IDLE)
    )


def test_unknown_statements_and_portals(play: Open) -> None:
    assert (
        play(DAN)
        >> says(bind("nobody"), SYNC, execute("none"), SYNC)
        << upstream(refusals.rejected_bind(), SYNC, refusals.rejected_execute(), SYNC)
        >> answers(NO_SUCH_STATEMENT, IDLE, NO_SUCH_PORTAL, IDLE)
        << error("26000", 'prepared statement "nobody" does not exist', lacks=["sallyport"])
        << client(IDLE)
        << error("34000", 'portal "none" does not exist', lacks=["sallyport"])
        << client(IDLE)
    )


@pytest.mark.parametrize("name", ["sallyport: settings", "sallyport: refused", "n" * 64])
def test_names_that_are_not_the_clients_to_use(play: Open, name: str) -> None:
    state = "42622" if name.startswith("n") else "42939"
    statement, portal = m.STATEMENT, m.PORTAL
    refused = (
        (parse("SELECT 1", name), refusals.rejected_parse()),
        (describe_statement(name), refusals.rejected_describe(statement)),
        (describe_portal(name), refusals.rejected_describe(portal)),
        (close_statement(name), refusals.rejected_describe(statement)),
        (close_portal(name), refusals.rejected_describe(portal)),
    )
    for said, sent in refused:
        assert (
            play(DAN)
            >> says(said, SYNC)
            << upstream(sent, SYNC)
            >> answers(NO_SUCH_STATEMENT, IDLE)
            << error(state)
            << client(IDLE)
        )


def test_the_policy_changed_since(play: Open) -> None:
    """Prepared when it was allowed, executed when it is not."""
    assert (
        prepared(play(DAN), NOTES)
        >> takes(NO_NOTES)
        >> says(bind("s"), execute(), SYNC)
        << Decided("execute", refused="denied")
        << upstream(bind("s"), refusals.rejected_execute(), SYNC)
        >> answers(BOUND, NO_SUCH_PORTAL, IDLE)
        << client(BOUND)
        << refusal("denied")
        << client(IDLE)
    )


def test_the_policy_changed_for_who_owes_masks(play: Open) -> None:
    """Judged again at Bind, as the database reads the text again there."""
    assert (
        prepared(play(ANN), NOTES)
        >> takes(NO_NOTES)
        >> says(bind("s"), execute(), SYNC)
        << Decided("execute", refused="denied")
        << upstream(refusals.rejected_bind(), refusals.rejected_execute(), SYNC)
        >> answers(NO_SUCH_STATEMENT, IDLE)
        << refusal("denied")
        << client(IDLE)
    )


def test_more_is_masked_by_now(play: Open) -> None:
    """Before Bind: the new masks hold."""
    shape = described(NAME_COLUMN)
    assert (
        prepared(play(ANN), "SELECT name FROM customers")
        >> takes(NAMES_MASKED)
        >> says(bind("s"), execute(), SYNC)
        << Decided("execute")
        << upstream(bind("s"), describe_portal(), execute(), SYNC)
        >> answers(BOUND, shape, row("Ada"), complete("SELECT 1"), IDLE)
        << client(BOUND, row(MASKED), complete("SELECT 1"), IDLE)
        << Finished(cells_masked=1)
    )


def open_portal(book: Playbook) -> Playbook:
    """Portal `old`, described, and in a transaction, so that it lives on."""
    shape = described(NAME_COLUMN)
    return (
        prepared(book, "SELECT name FROM customers")
        >> says(query("BEGIN"))
        << Decided()
        << upstream(query("BEGIN"))
        >> answers(complete("BEGIN"), IN_TRANSACTION)
        << client(complete("BEGIN"), IN_TRANSACTION)
        << Finished()
        >> says(bind("s", "old"), describe_portal("old"), SYNC)
        << upstream(bind("s", "old"), describe_portal("old"), SYNC)
        >> answers(BOUND, shape, IN_TRANSACTION)
        << client(BOUND, shape, IN_TRANSACTION)
    )


def test_more_is_masked_than_when_the_portal_was_described(play: Open) -> None:
    assert (
        open_portal(play(ANN))
        >> takes(NAMES_MASKED)
        >> says(execute("old"), SYNC)
        << Decided("execute", refused="stale")
        << upstream(refusals.rejected_execute(), SYNC)
        >> answers(NO_SUCH_PORTAL, FAILED)
        << refusal("stale")
        << client(FAILED)
    )


def test_a_new_portal_does_not_renew_an_old_one(play: Open) -> None:
    """Binding the same statement again, under the new policy, is nothing to the old portal."""
    assert (
        open_portal(play(ANN))
        >> takes(NAMES_MASKED)
        >> says(bind("s", "new"), SYNC)
        << upstream(bind("s", "new"), SYNC)
        >> answers(BOUND, IN_TRANSACTION)
        << client(BOUND, IN_TRANSACTION)
        >> says(execute("old"), SYNC)
        << Decided("execute", refused="stale")
        << upstream(refusals.rejected_execute(), SYNC)
        >> answers(NO_SUCH_PORTAL, FAILED)
        << refusal("stale")
        << client(FAILED)
    )


def test_a_portal_ends_with_its_transaction(play: Open) -> None:
    assert (
        prepared(play(ANN), NOTES)
        >> says(bind("s", "p"), SYNC)
        << upstream(bind("s", "p"), SYNC)
        >> answers(BOUND, IDLE)
        << client(BOUND, IDLE)
        >> says(execute("p"), SYNC)
        << upstream(refusals.rejected_execute(), SYNC)
        >> answers(NO_SUCH_PORTAL, IDLE)
        << error("34000", 'portal "p" does not exist')
        << client(IDLE)
    )


# --- errors in the middle -------------------------------------------------------------------------


def test_an_error_in_the_middle_of_a_pipeline(play: Open) -> None:
    """What the database skipped never was: names are as before, executions have failed."""
    failed = failure("22012", "division by zero")
    messages = (
        parse("SELECT 1/0", "s") + bind("s", "p") + execute("p"),
        parse(NOTES, "n") + bind("n", "pn") + execute("pn") + close_statement("s") + SYNC,
    )
    assert (
        play(DAN)
        >> says(*messages)
        << [Decided("parse"), Decided("execute"), Decided("parse"), Decided("execute")]
        << upstream(parse("SELECT 1/0", "s"), bind("s", "p"), describe_portal("p"), execute("p"))
        << upstream(parse(NOTES, "n"), bind("n", "pn"), describe_portal("pn"), execute("pn"))
        << upstream(close_statement("s"), SYNC)
        >> answers(PARSED, BOUND, described(computed("?column?")), failed)
        << client(PARSED, BOUND, failed)
        << Finished("failed", sqlstate="22012")
        << Finished("failed", sqlstate="")
        >> answers(IDLE)
        << client(IDLE)
        >> says(bind("s"), SYNC)
        << upstream(bind("s"), SYNC)
        >> answers(BOUND, IDLE)
        << client(BOUND, IDLE)
        >> says(bind("n"), SYNC)
        << upstream(refusals.rejected_bind(), SYNC)
        >> answers(NO_SUCH_STATEMENT, IDLE)
        << error("26000", '"n" does not exist')
        << client(IDLE)
        >> says(execute("pn"), SYNC)
        << upstream(refusals.rejected_execute(), SYNC)
        >> answers(NO_SUCH_PORTAL, IDLE)
        << error("34000", '"pn" does not exist')
        << client(IDLE)
    )


def test_messages_after_the_error_are_not_looked_at(play: Open) -> None:
    failed = failure("42P01", 'relation "gone" does not exist')
    assert (
        play(DAN)
        >> says(parse(NOTES, "s"), FLUSH)
        << Decided("parse")
        << upstream(parse(NOTES, "s"), FLUSH)
        >> answers(failed)
        << client(failed)
        >> says(bind("s"), execute(), query("DROP TABLE notes"), FLUSH)
        >> says(SYNC)
        << upstream(SYNC)
        >> answers(IDLE)
        << client(IDLE)
        >> says(query("SELECT 1"))
        << Decided()
        << upstream(query("SELECT 1"))
    )


def test_the_next_pipeline_is_not_skipped(play: Open) -> None:
    failed = failure("42P01", 'relation "gone" does not exist')
    assert (
        play(DAN)
        >> says(parse("SELECT 1", "a"), SYNC, parse(NOTES, "b"), SYNC)
        << [Decided("parse"), Decided("parse")]
        << upstream(parse("SELECT 1", "a"), SYNC, parse(NOTES, "b"), SYNC)
        >> answers(failed, IDLE, PARSED, IDLE)
        << client(failed, IDLE, PARSED, IDLE)
        >> says(bind("b"), SYNC)
        << upstream(bind("b"), SYNC)
    )


def test_a_describe_that_was_skipped_is_asked_for_again(play: Open) -> None:
    """The portal has no lock from a Describe that never ran."""
    failed = failure("34000", 'portal "x" does not exist')
    book = (
        prepared(play(ANN), READ)
        >> says(query("BEGIN"))
        << Decided()
        << upstream(query("BEGIN"))
        >> answers(complete("BEGIN"), IN_TRANSACTION)
        << client(complete("BEGIN"), IN_TRANSACTION)
        << Finished()
        >> says(bind("s", "p"), SYNC)
        << upstream(bind("s", "p"), SYNC)
        >> answers(BOUND, IN_TRANSACTION)
        << client(BOUND, IN_TRANSACTION)
        >> says(describe_portal("x"), describe_portal("p"), SYNC)
        << upstream(describe_portal("x"), describe_portal("p"), SYNC)
        >> answers(failed, IN_TRANSACTION)
        << client(failed, IN_TRANSACTION)
    )
    assert (
        book
        >> says(execute("p"), SYNC)
        << Decided("execute")
        << upstream(describe_portal("p"), execute("p"), SYNC)
        >> answers(SHAPE, row("1", SECRET), complete("SELECT 1"), IN_TRANSACTION)
        << client(row("1", MASKED), complete("SELECT 1"), IN_TRANSACTION)
        << Finished(cells_masked=1)
    )


def test_closing(play: Open) -> None:
    assert (
        prepared(play(ANN), NOTES)
        >> says(close_statement("s"), bind("s"), SYNC)
        << upstream(close_statement("s"), refusals.rejected_bind(), SYNC)
        >> answers(CLOSED, NO_SUCH_STATEMENT, IDLE)
        << client(CLOSED)
        << error("26000", '"s" does not exist')
        << client(IDLE)
    )


def test_a_name_given_again_in_one_pipeline(play: Open) -> None:
    """The second meaning is what later messages use, before the first is confirmed."""
    assert (
        play(ANN)
        >> says(parse(NOTES), bind("", "a"), parse(READ), bind("", "b"), execute("b"), SYNC)
        << [Decided("parse"), Decided("parse"), Decided("execute")]
        << upstream(parse(NOTES), bind("", "a"), parse(READ), bind("", "b"))
        << upstream(describe_portal("b"), execute("b"), SYNC)
        >> answers(PARSED, BOUND, PARSED, BOUND, SHAPE, row("1", SECRET), complete("SELECT 1"))
        << client(PARSED, BOUND, PARSED, BOUND, row("1", MASKED), complete("SELECT 1"))
        << Finished(cells_masked=1)
        >> answers(IDLE)
        << client(IDLE)
    )


def test_discard_all_forgets_the_statements(play: Open) -> None:
    assert (
        prepared(play(DAN), NOTES)
        >> says(query("DEALLOCATE ALL"))
        << Decided()
        << upstream(query("DEALLOCATE ALL"))
        >> answers(complete("DEALLOCATE ALL"), IDLE)
        << client(complete("DEALLOCATE ALL"), IDLE)
        << Finished()
    )


def test_the_bound_on_names(play: Open) -> None:
    few = Limits(prepared_statements_max=1)
    assert (
        prepared(play(DAN, limits=few), NOTES)
        >> says(parse(NOTES, "t"), SYNC)
        << upstream(refusals.rejected_parse(), SYNC)
        >> answers(SYNTAX_ERROR, IDLE)
        << error("53400", "too many prepared statements")
        << client(IDLE)
    )


def test_a_bind_too_long_to_gather(play: Open) -> None:
    """Its names are read, the rest flows; one that is refused is dropped to its end."""
    value = b"x" * 5_000
    body = b"\0\0\0\1" + len(value).to_bytes(4, "big") + value + b"\0\0"
    good = m.frame(m.BIND, b"\0s\0" + body)
    bad = m.frame(m.BIND, b"\0unknown\0" + body)
    assert (
        prepared(play(DAN, limits=Limits(bind_bytes_max=1_000)), "SELECT $1::text")
        >> says(good, SYNC, bad, SYNC)
        << upstream(good, SYNC, refusals.rejected_bind(), SYNC)
        >> answers(BOUND, IDLE, NO_SUCH_STATEMENT, IDLE)
        << client(BOUND, IDLE)
        << error("26000", '"unknown" does not exist')
        << client(IDLE)
    )


@pytest.mark.parametrize("answer", [PARSED, BOUND, rows(("1",))])
def test_refused_and_yet_accepted(play: Open, answer: bytes) -> None:
    refused = {PARSED: parse("DROP TABLE notes"), BOUND: bind("x"), rows(("1",)): execute("x")}
    sent = {
        PARSED: refusals.rejected_parse(),
        BOUND: refusals.rejected_bind(),
        rows(("1",)): refusals.rejected_execute(),
    }
    book = play(DAN) >> says(refused[answer], SYNC)
    if answer == PARSED:
        book = book << Decided("parse", refused="denied")
    assert book << upstream(sent[answer], SYNC) >> answers(answer) << Cut(ProtocolViolation)


@pytest.mark.parametrize(
    "broken",
    [
        m.frame(m.PARSE, b"s\0SELECT 1\0\0"),
        m.frame(m.PARSE, b"s\0SELECT 1\0\0\0more"),
        m.frame(m.BIND, b"\0\0\0\0"),
        m.frame(m.EXECUTE, b"p\0\0"),
        m.frame(m.DESCRIBE, b"Xp\0"),
        m.frame(m.CLOSE, b""),
        m.frame(m.SYNC, b"x"),
        m.frame(m.QUERY, b"no end"),
        m.frame(m.QUERY, b"SELECT 1\0DROP TABLE notes\0"),
    ],
)
def test_malformed_messages_of_the_client(play: Open, broken: bytes) -> None:
    assert play(DAN) >> says(broken) << Cut(ProtocolViolation, "client")
