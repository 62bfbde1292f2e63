"""Words of the database that could carry values, and what it announces by itself."""

import pytest

from appliance.config.schema import Announce
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals
from tests.playbook.playbook import answers, gone, says
from tests.playbook.speech import (
    IDLE,
    SYNC,
    complete,
    failure,
    notification,
    parse,
    query,
    remark,
)
from tests.playbook.transcript import Decided, Finished, client, error, notice, upstream
from tests.playbook.world import ANN, DAN, SECRET, Open

TOUCHES = "SELECT email FROM customers"
HARMLESS = "SELECT body FROM notes"
WRITES = "INSERT INTO notes VALUES (1)"


@pytest.mark.parametrize("text", [TOUCHES, WRITES, "COMMIT"])
def test_an_error_of_what_touches_or_writes(play: Open, text: str) -> None:
    """What a trigger or a deferred constraint says is not ours to vouch for."""
    said = failure(
        "P0001", f"about {SECRET}", D=f"Key ({SECRET})", H=SECRET, W=SECRET, q=SECRET, n="unique"
    )
    assert (
        play(ANN)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        >> answers(said, IDLE)
        << error("P0001", "withheld", lacks=[SECRET, "unique"])
        << client(IDLE)
        << Finished("failed", sqlstate="P0001")
    )


def test_a_message_that_never_quotes_data_is_kept(play: Open) -> None:
    said = failure("42P01", 'relation "gone" does not exist', D=SECRET)
    assert (
        play(ANN)
        >> says(query(TOUCHES))
        << Decided()
        << upstream(query(TOUCHES))
        >> answers(said, IDLE)
        << error("42P01", 'relation "gone" does not exist', lacks=[SECRET])
        << client(IDLE)
        << Finished("failed")
    )


def test_notices(play: Open) -> None:
    assert (
        play(ANN)
        >> says(query(TOUCHES))
        << Decided()
        << upstream(query(TOUCHES))
        >> answers(remark(f"found {SECRET}", D=SECRET), complete("SELECT 0"), IDLE)
        << notice("notice withheld", lacks=[SECRET])
        << client(complete("SELECT 0"), IDLE)
        << Finished()
    )


@pytest.mark.parametrize("severity", ["LOG", "DEBUG", "DEBUG1"])
def test_what_the_server_would_log_measures(play: Open, severity: str) -> None:
    """The size of a temporary file that raw values were sorted in, told after the last row."""
    size = remark("temporary file: size 876544", severity)
    for principal, seen in ((ANN, ()), (DAN, (size,))):
        assert (
            play(principal)
            >> says(query(TOUCHES))
            << Decided()
            << upstream(query(TOUCHES))
            >> answers(complete("SELECT 0"), size, IDLE)
            << client(complete("SELECT 0"), *seen, IDLE)
            << Finished()
        )


def test_a_notice_at_sync(play: Open) -> None:
    """A deferred trigger's, at the implicit commit."""
    said = remark(f"found {SECRET}")
    assert (
        play(ANN)
        >> says(SYNC)
        << upstream(SYNC)
        >> answers(said, IDLE)
        << notice("notice withheld", lacks=[SECRET])
        << client(IDLE)
    )
    assert play(DAN) >> says(SYNC) << upstream(SYNC) >> answers(said, IDLE) << client(said, IDLE)


@pytest.mark.parametrize(("principal", "text"), [(ANN, HARMLESS), (DAN, TOUCHES), (DAN, WRITES)])
def test_all_else_is_said_in_the_databases_own_words(
    play: Open, principal: object, text: str
) -> None:
    words = remark("a notice", D="detail") + failure("22012", "division by zero", W="line 1")
    assert (
        play(principal)
        >> says(query(text))
        << Decided()
        << upstream(query(text))
        >> answers(words, IDLE)
        << client(words, IDLE)
        << Finished("failed")
    )


def test_an_error_at_sync(play: Open) -> None:
    """A deferred constraint fails at the implicit commit: it may quote any row."""
    said = failure("23503", "violates foreign key", D=f"Key (email)=({SECRET})")
    assert (
        play(ANN)
        >> says(SYNC)
        << upstream(SYNC)
        >> answers(said, IDLE)
        << error("23503", "violates foreign key", lacks=[SECRET])
        << client(IDLE)
    )
    assert play(DAN) >> says(SYNC) << upstream(SYNC) >> answers(said, IDLE) << client(said, IDLE)


def test_an_error_at_parse(play: Open) -> None:
    """Constant folding runs functions: the message may hold what they computed."""
    said = failure("22P02", f"invalid input: {SECRET}")
    assert (
        play(ANN)
        >> says(parse(TOUCHES), SYNC)
        << Decided("parse")
        << upstream(parse(TOUCHES), SYNC)
        >> answers(said, IDLE)
        << error("22P02", "withheld", lacks=[SECRET])
        << client(IDLE)
    )


def test_last_words(play: Open) -> None:
    """FATAL in the middle of a statement: still no values, and the statement has ended."""
    said = failure("57P01", "terminating connection", "FATAL", D=SECRET)
    assert (
        play(ANN)
        >> says(query(TOUCHES))
        << Decided()
        << upstream(query(TOUCHES))
        >> answers(said)
        << error("57P01", "terminating connection", lacks=[SECRET])
        >> gone()
        << Finished("disconnected", sqlstate="57P01")
    )


def test_last_words_out_of_turn(play: Open) -> None:
    said = failure("57P01", "terminating connection due to administrator command", "FATAL")
    assert play(DAN) >> answers(said) << client(said)


def test_notifications(play: Open) -> None:
    """A payload is what another session chose to say."""
    assert play(DAN) >> answers(notification(SECRET)) << client(notification(SECRET))
    assert play(ANN) >> answers(notification(SECRET)) << client(notification(""))


# --- who it is ------------------------------------------------------------------------------------

TAG = "dan/s1"


def test_the_clients_own_application_name_is_shown_to_it(play: Open) -> None:
    assert (
        play(DAN, announce=Announce.BOTH)
        >> answers(m.parameter_status("application_name", f"{TAG} psql"))
        << client(m.parameter_status("application_name", "psql"))
        >> answers(m.parameter_status("application_name", TAG))
        << client(m.parameter_status("application_name", ""))
        >> answers(m.parameter_status("TimeZone", f"{TAG} UTC"))
        << client(m.parameter_status("TimeZone", f"{TAG} UTC"))
    )


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("SET application_name = 'psql'", f"SET application_name TO E'{TAG} psql'"),
        ("SET LOCAL application_name = 'a''b'", f"SET LOCAL application_name TO E'{TAG} a''b'"),
        (r"SET application_name = 'a\b'", rf"SET application_name TO E'{TAG} a\\b'"),
        ("RESET application_name", f"SET application_name TO E'{TAG}'"),
        ("SET timezone = 'UTC'", "SET timezone = 'UTC'"),
    ],
)
def test_application_name_is_set_with_the_identity_in_front(
    play: Open, text: str, sent: str
) -> None:
    assert (
        play(DAN, announce=Announce.BOTH) >> says(query(text)) << Decided() << upstream(query(sent))
    )
    assert (
        play(DAN, announce=Announce.BOTH)
        >> says(parse(text))
        << Decided("parse")
        << upstream(parse(sent))
    )


@pytest.mark.parametrize(
    "text",
    [
        "SET application_name = 'x'; SELECT 1",
        "SELECT set_config('application_name', 'bob/1', false)",
        "SET sallyport.session = 'x'",
        "RESET sallyport.principal",
        "UPDATE pg_settings SET setting = 'x' WHERE name = 'application_name'",
    ],
)
def test_forged(play: Open, text: str) -> None:
    assert (
        play(DAN, announce=Announce.BOTH)
        >> says(query(text))
        << Decided(refused="forged_identity")
        << upstream(refusals.rejected_query())
    )
