"""The identity that is announced to the database cannot be changed by its bearer."""

import pytest

from appliance.config.schema import Announce
from appliance.model.catalog import SessionSettings
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.model.principal import Principal
from appliance.model.refusal import RefusalCode
from appliance.session.announce import Announcement
from appliance.sql.analysis import analyse

TAG = "ann/s1"


def facts_of(text: str) -> Facts:
    return analyse(text.encode(), None, SessionSettings("shop"), Limits())


def announcement(announce: Announce = Announce.BOTH) -> Announcement:
    return Announcement(Principal("ann"), "s1", announce)


FORGERIES = [
    "SET sallyport.principal = 'bob'",
    "SET LOCAL sallyport.session = 'x'",
    "RESET sallyport.principal",
    "SELECT set_config('sallyport.principal', 'bob', false)",
    "SELECT set_config('SALLYPORT.principal', 'bob', true)",
    "SELECT set_config(name, 'bob', false) FROM t",
    "UPDATE pg_settings SET setting = 'x' WHERE name = 'work_mem'",
    "SELECT 1; SET sallyport.principal = 'bob'",
]


@pytest.mark.parametrize("announce", [Announce.BOTH, Announce.VARIABLE])
@pytest.mark.parametrize("text", FORGERIES)
def test_forgeries(announce: Announce, text: str) -> None:
    refusal = announcement(announce).refusal_for(facts_of(text))
    assert refusal is not None and refusal.code is RefusalCode.FORGED_IDENTITY


@pytest.mark.parametrize(
    "text",
    [
        "SET application_name = 'x'; SELECT 1",
        "SELECT set_config('application_name', 'x', false)",
        "WITH s AS (SELECT set_config('application_name', 'x', false)) SELECT * FROM s",
    ],
)
def test_application_name_only_as_a_statement_of_its_own(text: str) -> None:
    assert announcement().refusal_for(facts_of(text)) is not None
    assert announcement(Announce.VARIABLE).refusal_for(facts_of(text)) is None


@pytest.mark.parametrize("text", ["SET timezone = 'UTC'", "SET application_name = 'x'", "SELECT 1"])
def test_everything_else(text: str) -> None:
    assert announcement().refusal_for(facts_of(text)) is None


@pytest.mark.parametrize(
    ("text", "sent"),
    [
        ("SET application_name = 'psql'", f"SET application_name TO E'{TAG} psql'"),
        ("set local application_name = 'x'", f"SET LOCAL application_name TO E'{TAG} x'"),
        ("SET application_name TO DEFAULT", f"SET application_name TO E'{TAG}'"),
        (r"SET application_name = '\'", rf"SET application_name TO E'{TAG} \\'"),
        ("SET application_name = ''''", f"SET application_name TO E'{TAG} '''"),
    ],
)
def test_rewritten(text: str, sent: str) -> None:
    made = announcement().rewritten(facts_of(text))
    assert made == sent.encode()
    again = facts_of(sent)
    assert again.failure is None and again.statements[0].setting is not None
    assert again.statements[0].setting[1].startswith(TAG)


def test_not_rewritten() -> None:
    assert announcement().rewritten(facts_of("SET timezone = 'UTC'")) is None
    assert announcement().rewritten(facts_of("SELECT 1")) is None
    assert announcement(Announce.VARIABLE).rewritten(facts_of("SET application_name = 'x'")) is None


@pytest.mark.parametrize(
    ("value", "shown"),
    [(f"{TAG} psql", "psql"), (TAG, ""), (f"{TAG}  two", "two"), ("else", "else")],
)
def test_what_the_client_is_shown(value: str, shown: str) -> None:
    assert announcement().shown(b"application_name", value.encode()) == shown
    assert announcement().shown(b"TimeZone", value.encode()) is None
    assert announcement(Announce.VARIABLE).shown(b"application_name", value.encode()) is None


def test_startup() -> None:
    said = announcement().startup_settings("psql")
    assert said["sallyport.principal"] == "ann" and said["application_name"] == f"{TAG} psql"


@pytest.mark.parametrize(
    ("announce", "name", "refused"),
    [
        (Announce.BOTH, b"work_mem", False),
        (Announce.BOTH, b"application_name", True),
        (Announce.BOTH, b" Application_Name ", True),
        (Announce.VARIABLE, b"application_name", False),
        (Announce.VARIABLE, b"sallyport.principal", True),
        (Announce.VARIABLE, b"SALLYPORT.x", True),
        (Announce.VARIABLE, b"\xff", True),
        (Announce.VARIABLE, None, False),
    ],
)
def test_names_that_come_as_parameters(
    announce: Announce, name: bytes | None, refused: bool
) -> None:
    found = announcement(announce).refusal_of_names([b"jit", name])
    assert (found is not None) == refused


@pytest.mark.parametrize(
    ("text", "numbers", "refused"),
    [
        ("SELECT set_config($1, $2, false)", (1,), False),
        ("SELECT set_config('jit', $1, false), set_config($2, 'x', true)", (2,), False),
        ("SELECT set_config($1 || '', $2, false)", (), True),
        ("PREPARE p AS SELECT set_config($1, $2, false)", (1,), True),
        ("INSERT INTO t SELECT set_config($1, $2, false)", (1,), True),
    ],
)
def test_parameters_that_name_settings(text: str, numbers: tuple[int, ...], refused: bool) -> None:
    facts = facts_of(text)
    announced = announcement(Announce.VARIABLE)
    assert announced.naming_parameters(facts) == numbers
    assert (announced.refusal_for(facts) is not None) == refused


def test_show_answers_in_the_clients_words() -> None:
    """As a client without an appliance in between would read it."""
    own = announcement()

    def row(value: bytes) -> bytes:
        body = b"\0\1" + len(value).to_bytes(4, "big") + value
        return b"D" + (len(body) + 4).to_bytes(4, "big") + body

    assert own.shows(facts_of("SHOW application_name"))
    assert not own.shows(facts_of("SHOW search_path"))
    assert not own.shows(facts_of("SELECT current_setting('application_name')"))
    assert not announcement(Announce.VARIABLE).shows(facts_of("SHOW application_name"))
    assert own.answer(row(b"ann/s1 bench")) == row(b"bench")
    assert own.answer(row(b"ann/s1")) == row(b"")
    assert own.answer(row(b"another")) == row(b"another")


# On a pooled connection.

RESETS = ["RESET ALL", "DISCARD ALL", "reset all; deallocate all", "CLOSE ALL; RESET ALL"]


def pooled(announce: Announce = Announce.BOTH) -> Announcement:
    announced = announcement(announce)
    announced.pooled((b"SET sallyport.principal TO E'ann'",), "psql")
    return announced


@pytest.mark.parametrize("text", RESETS)
def test_resets(text: str) -> None:
    assert pooled().resets(facts_of(text)) and pooled().refusal_for(facts_of(text)) is None
    assert not announcement().resets(facts_of(text))


@pytest.mark.parametrize("text", ["RESET work_mem", "SET application_name = 'x'", "SELECT 1"])
def test_what_resets_nothing(text: str) -> None:
    assert not pooled().resets(facts_of(text))


@pytest.mark.parametrize(
    "text",
    [
        "RESET ALL; SELECT f()",
        "RESET ALL; INSERT INTO t VALUES (1)",
        "INSERT INTO t VALUES (1); RESET ALL",
        "SELECT f(); RESET ALL",
        "RESET ALL; COMMIT",
        "RESET ALL; SET application_name = 'x'",
        "DISCARD ALL; CALL p()",
    ],
)
def test_a_reset_beside_what_could_ask(text: str) -> None:
    for announce in Announce:
        refusal = pooled(announce).refusal_for(facts_of(text))
        assert refusal is not None and refusal.code is RefusalCode.FORGED_IDENTITY
    assert announcement(Announce.VARIABLE).refusal_for(facts_of(text)) is None


def test_nobodys_name_is_shown_as_the_clients_own() -> None:
    assert pooled().lost(b"application_name", b"sallyport (unused)")
    assert pooled().shown(b"application_name", b"sallyport (unused)") == "psql"
    assert pooled().shown(b"application_name", b"ann/s1 psql") == "psql"
    assert not announcement().lost(b"application_name", b"sallyport (unused)")
    assert not pooled().lost(b"application_name", b"ann/s1 psql")
