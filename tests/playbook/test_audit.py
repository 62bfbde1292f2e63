"""The trail cannot be written: nothing is forwarded, each statement is refused in its place."""

from appliance.wire.postgres import refusals
from tests.playbook.playbook import answers, says
from tests.playbook.speech import (
    BODY_COLUMN,
    BOUND,
    IDLE,
    NO_SUCH_PORTAL,
    NO_SUCH_STATEMENT,
    PARSED,
    SYNC,
    SYNTAX_ERROR,
    bind,
    complete,
    describe_portal,
    described,
    execute,
    parse,
    query,
    row,
)
from tests.playbook.transcript import Decided, Finished, client, error, refusal, upstream
from tests.playbook.world import ANN, DAN, Open

READ = "SELECT body FROM notes"
RESULT = described(BODY_COLUMN) + row("x") + complete("SELECT 1") + IDLE


def test_queries(play: Open) -> None:
    assert (
        play(DAN)
        >> says(query(READ), query("SELECT 1"), query("DROP TABLE notes"), recorded=False)
        << Decided(refused="denied")
        << upstream(refusals.rejected_query() * 3)
        >> answers(SYNTAX_ERROR, IDLE, SYNTAX_ERROR, IDLE, SYNTAX_ERROR, IDLE)
        << [refusal("audit_unavailable"), *client(IDLE)]
        << [refusal("audit_unavailable"), *client(IDLE)]
        << [refusal("denied"), *client(IDLE)]
        >> says(query(READ))
        << Decided()
        << upstream(query(READ))
        >> answers(RESULT)
        << client(RESULT)
        << Finished()
    )


def test_parse(play: Open) -> None:
    """The name means nothing afterwards."""
    assert (
        play(ANN)
        >> says(parse(READ, "s"), SYNC, recorded=False)
        << upstream(refusals.rejected_parse(), SYNC)
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("audit_unavailable")
        << client(IDLE)
        >> says(bind("s"), SYNC)
        << upstream(refusals.rejected_bind(), SYNC)
        >> answers(NO_SUCH_STATEMENT, IDLE)
        << error("26000")
        << client(IDLE)
    )


def test_execute(play: Open) -> None:
    assert (
        play(ANN)
        >> says(parse(READ, "s"), SYNC)
        << Decided("parse")
        << upstream(parse(READ, "s"), SYNC)
        >> answers(PARSED, IDLE)
        << client(PARSED, IDLE)
        >> says(bind("s"), execute(), SYNC, recorded=False)
        << upstream(bind("s"), describe_portal(), refusals.rejected_execute(), SYNC)
        >> answers(BOUND, described(BODY_COLUMN), NO_SUCH_PORTAL, IDLE)
        << client(BOUND)
        << refusal("audit_unavailable")
        << client(IDLE)
    )


def test_what_a_refused_statement_would_have_let_go_of_is_still_there(play: Open) -> None:
    assert (
        play(ANN)
        >> says(parse(READ, "s"), SYNC)
        << Decided("parse")
        << upstream(parse(READ, "s"), SYNC)
        >> answers(PARSED, IDLE)
        << client(PARSED, IDLE)
        >> says(query("DEALLOCATE s"), recorded=False)
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("audit_unavailable")
        << client(IDLE)
        >> says(bind("s"), SYNC)
        << upstream(bind("s"), SYNC)
    )


def test_a_name_is_not_given_when_prepare_could_not_be_recorded(play: Open) -> None:
    text = f"PREPARE p AS {READ}"
    assert (
        play(ANN)
        >> says(query(text), recorded=False)
        << upstream(refusals.rejected_query())
        >> answers(SYNTAX_ERROR, IDLE)
        << refusal("audit_unavailable")
        << client(IDLE)
        >> says(query("EXECUTE p"))
        << Decided(refused="stale")
        << upstream(refusals.rejected_query())
    )
