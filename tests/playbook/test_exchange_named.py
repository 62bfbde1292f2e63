"""PREPARE from a constant text and EXECUTE, in an exchange session: judged, masked and recorded
each time like the text itself."""

import pytest

from appliance.audit.record import ProtocolKind
from appliance.model.limits import Limits
from appliance.model.principal import Principal
from appliance.policy.compile import compile_documents
from appliance.policy.snapshot import Snapshot
from tests.playbook.exchange_world import (
    EMAIL,
    EMAIL_REWORDED,
    ID,
    OK,
    Event,
    Seen,
    answers,
    execute,
    happens,
    played,
    prepare,
    query,
    reply,
    says,
)
from tests.playbook.test_exchange import PERMISSIVE, error_of, sent
from tests.playbook.world import ANN, DAN, FEW_WRITES, HELD, NAMES_MASKED, NO_NOTES, SECRET
from tests.unit.wire.mysql.packets_said import column, eof, error, prepared, text_row

SIMPLE, PARSE, EXECUTE = ProtocolKind.SIMPLE, ProtocolKind.PARSE, ProtocolKind.EXECUTE
READ = "SELECT id, email FROM customers WHERE id = ?"
SAID, SENT = f"PREPARE P FROM '{READ}'", f"PREPARE `p` FROM '{READ}'"
RUN = says(query("EXECUTE p USING @i"))
ROWS = (b"\x02", ID, EMAIL, eof(), text_row("1", SECRET), eof())
MASKED = (b"\x02", ID, EMAIL_REWORDED, eof(), text_row("1", "****"), eof())
UNKNOWN, STALE = 1243, ((SIMPLE, "stale"),)


MODE = "STRICT_TRANS_TABLES"


def probed(database: str, mode: str) -> Event:
    """The answer to the question for settings."""
    names = (column(name) for name in "abcde")
    row = text_row(database, mode, *["utf8mb4"] * 3)
    return answers(b"\x05", *names, eof(), row, eof())


def prepares(text: str = SAID) -> tuple[Event, Event]:
    return says(query(text)), answers(OK)


def is_unknown(seen: Seen) -> bool:
    return seen.upstream == b"" and error_of(seen.client)[1] == UNKNOWN


def policy(*rules: str) -> Snapshot:
    text = "version: 1\nrules:\n" + "".join(f"  - {{{rule}}}\n" for rule in rules)
    return compile_documents([("policy.yaml", text.encode())])


def test_rows_are_masked_each_time() -> None:
    said, done, run, rows, again, more = played(
        *prepares(), RUN, answers(*ROWS), RUN, answers(*ROWS), principal=ANN
    )
    assert said.upstream == sent(query(SENT)) and said.decided == ((PARSE, ""),)
    assert done.client == reply(OK)
    for asked, answered in ((run, rows), (again, more)):
        assert asked.upstream == sent(query("EXECUTE p USING @i"))
        assert asked.decided == ((SIMPLE, ""),)
        assert answered.client == reply(*MASKED) and answered.finished == (("completed", 1, 1),)


def test_they_pass_to_whoever_owes_nothing() -> None:
    said, _, _, rows = played(*prepares(), RUN, answers(*ROWS))
    assert said.upstream == sent(query(SENT)) and rows.client == reply(*ROWS)


def test_what_is_prepared_is_what_is_masked_at_the_source() -> None:
    text = "PREPARE p FROM 'SELECT upper(email) AS e FROM customers WHERE id <> \\'1\\''"
    said, _, run, rows = played(
        *prepares(text),
        says(query("execute P")),
        answers(b"\x01", column("e"), eof(), text_row("****"), eof()),
        principal=ANN,
    )
    assert b"FROM 'SELECT upper(`email`)" in said.upstream or b"FROM (SELECT" in said.upstream
    assert text.encode() not in said.upstream and b"<> ''1''" in said.upstream
    assert run.decided == ((SIMPLE, ""),) and rows.client.endswith(reply(eof(), first=5))


def test_at_the_source_no_masked_column_may_arrive() -> None:
    *_, told = played(
        *prepares("PREPARE p FROM 'SELECT upper(email) AS e FROM customers'"),
        says(query("EXECUTE p")),
        answers(b"\x01", EMAIL, eof(), text_row(SECRET), eof()),
        principal=ANN,
    )
    assert error_of(told.client)[0] == 1 and told.finished == (("failed", 0, 0),)


def _takes(snapshot: Snapshot) -> Event:
    def act(session, now):  # type: ignore[no-untyped-def]
        session.machine.take_policy(snapshot)
        return session.machine.give_up_waiting("", now)

    return happens(act)


def test_the_policy_of_the_moment_holds() -> None:
    *_, refused = played(
        *prepares("PREPARE p FROM 'SELECT body FROM notes'"),
        _takes(NO_NOTES),
        says(query("EXECUTE p")),
    )
    assert refused.upstream == b"" and refused.decided == ((SIMPLE, "denied"),)


def test_other_masks_are_other_rows() -> None:
    row = (b"\x01", column("name", "customers", "public"), eof(), text_row("Ann"), eof())
    *_, after = played(
        *prepares("PREPARE p FROM 'SELECT name FROM customers WHERE email IS NULL OR 1'"),
        says(query("SELECT 1")),
        answers(b"\x01", column("1"), eof(), text_row("1"), eof()),
        _takes(NAMES_MASKED),
        says(query("EXECUTE p")),
        principal=ANN,
    )
    assert after.upstream == b"" and after.decided == STALE  # its masks are in its text
    *_, masked = played(
        *prepares("PREPARE p FROM 'SELECT name FROM customers'"),
        _takes(NAMES_MASKED),
        says(query("EXECUTE p")),
        answers(*row),
        principal=ANN,
    )
    assert b"Ann" not in masked.client and b"****" in masked.client


@pytest.mark.parametrize("text", ["USE other", "SET sql_mode = 'ANSI_QUOTES'"])
def test_what_was_prepared_under_other_settings_is_prepared_again(text: str) -> None:
    changed = "USE" in text
    told = probed("other" if changed else "public", "ANSI_QUOTES" if not changed else MODE)
    said = "PREPARE p FROM 'SELECT email FROM public.customers'"
    for principal in (ANN, DAN):
        *_, seen = played(
            *prepares(said), says(query(text)), answers(OK), RUN, told, principal=principal
        )
        assert seen.upstream == b"" and seen.decided == STALE


def test_that_is_said_before_anything_about_other_names() -> None:
    *_, refreshed, seen = played(
        *prepares("PREPARE p FROM 'SELECT id FROM notes'"),
        says(query("USE other")),
        answers(OK),
        RUN,
        probed("other", MODE),
        happens(lambda s, now: s.machine.catalog_ready(now)),
        principal=ANN,
    )
    assert refreshed.requests == ("RefreshCatalog",)
    assert seen.upstream == b"" and seen.decided == STALE


def test_settings_are_known_before_it_is_read() -> None:
    asked, said = played(says(query(SAID)), probed("public", MODE), settled=False)
    assert asked.decided == () and said.upstream == sent(query(SENT))
    *_, said = played(
        says(query("SET sql_mode = 'NO_BACKSLASH_ESCAPES'")),
        answers(OK),
        says(query(r"PREPARE p FROM 'SELECT \'a\''")),
        probed("public", "NO_BACKSLASH_ESCAPES"),
    )
    assert said.upstream == b"" and error_of(said.client)[1] == 1064


REPLACING = [
    "DEALLOCATE PREPARE P",
    "DROP PREPARE p",
    "PREPARE p FROM @other",
    "PREPARE q FROM @other",
    "EXECUTE q",
    "EXECUTE IMMEDIATE 'SELECT 1'",
    "CALL anything()",
    "BEGIN NOT ATOMIC SELECT 1; END",
    "SELECT 1; DEALLOCATE PREPARE p",
    "PREPARE p FROM 'SELECT 1'; SELECT 1",
    "SELECT anything()",
    "NOT A STATEMENT",
]


@pytest.mark.parametrize("text", REPLACING)
def test_a_name_is_known_while_nothing_may_have_changed_it(text: str) -> None:
    assert "p" not in _after(text)


def _after(text: str) -> dict[str, object]:
    """The names that a session knows once `text` has been sent."""
    found: dict[str, object] = {}

    def look(session, now):  # type: ignore[no-untyped-def]
        found.clear()
        found.update(session.state.named)
        return session.machine.give_up_waiting("", now)

    played(*prepares(), says(query(text)), answers(OK), happens(look), policy=PERMISSIVE)
    return found


@pytest.mark.parametrize(
    "text",
    [
        "SELECT 1",
        "SET @i = 3",
        "BEGIN",
        "INSERT INTO notes (id) VALUES (1)",
        "DEALLOCATE PREPARE q",
        "PREPARE q FROM 'SELECT 1'",
    ],
)
def test_ordinary_statements_leave_names_alone(text: str) -> None:
    assert "p" in _after(text)


def test_a_reset_lets_go_of_all() -> None:
    as_before = probed("public", MODE)
    *_, refused = played(*prepares(), says(b"\x1f"), answers(OK), RUN, as_before)
    assert is_unknown(refused) and refused.decided == STALE


def test_a_prepare_that_fails_lets_go_of_the_name() -> None:
    *_, failed, refused = played(
        *prepares(),
        says(query("PREPARE p FROM 'SELECT nothing FROM notes'")),
        answers(error(1054)),
        RUN,
    )
    assert failed.client == reply(error(1054)) and is_unknown(refused)
    for text in (
        "PREPARE p FROM 'SELECT body FROM'",
        "PREPARE p FROM 'DROP TABLE notes'",
        "PREPARE p FROM @x",
    ):
        *_, told, refused = played(*prepares(), says(query(text)), RUN)
        assert told.upstream == b"" and told.decided[0][1] and is_unknown(refused)


def test_one_that_could_not_be_recorded_is_not_known() -> None:
    said = says(query(SAID), recorded=False)
    stood_in, told, refused = played(said, answers(OK), RUN)
    assert stood_in.upstream == sent(b"\x0e") and error_of(told.client)[0] == 1
    assert is_unknown(refused)


def test_a_name_that_nobody_prepared() -> None:
    for principal in (ANN, DAN):
        (refused,) = played(RUN, principal=principal)
        assert is_unknown(refused) and refused.decided == STALE


def test_who_may_run_what_nobody_has_seen_runs_any_name() -> None:
    (run,) = played(RUN, policy=PERMISSIVE)
    assert run.upstream == sent(query("EXECUTE p USING @i")) and run.decided == ((SIMPLE, ""),)


def test_the_two_kinds_of_prepared_statements_are_two() -> None:
    *_, refused = played(says(prepare("SELECT id FROM notes")), answers(prepared(3, 0, 0)), RUN)
    assert is_unknown(refused)
    *_, refused = played(*prepares(), says(execute(0)))
    assert is_unknown(refused)


@pytest.mark.parametrize("text", ["PREPARE p FROM 'SELECT 1'", "EXECUTE p", "DROP PREPARE p"])
@pytest.mark.parametrize("principal", [ANN, DAN])
def test_none_of_these_has_a_number(text: str, principal: Principal) -> None:
    """As the server has it, so that drivers send it as a query."""
    (refused,) = played(says(prepare(text)), principal=principal)
    assert refused.upstream == b"" and error_of(refused.client)[1] == 1295
    assert refused.decided == ((SIMPLE, "unknown_message"),)


@pytest.mark.parametrize("text", ["PREPARE p FROM @x", "/* */ EXECUTE p", "EXECUTE p USING 1"])
def test_none_of_these_is_run_by_its_number(text: str) -> None:
    """No server prepares one; were there one that does, it would run past what is known here."""
    *_, refused = played(
        says(prepare(text)), answers(prepared(3, 0, 0)), says(execute(3)), policy=PERMISSIVE
    )
    assert refused.upstream == b"" and refused.decided[0][1] == "denied"


def test_what_waits_for_an_approval_is_not_run_by_a_name() -> None:
    said, run = played(
        says(query("PREPARE p FROM 'DELETE FROM notes WHERE id = ?'")),
        RUN,
        policy=HELD,
        approvals=True,
    )
    assert said.upstream == run.upstream == b"" and said.requests == run.requests == ()
    assert said.decided[0][1] == "hold_unavailable" and is_unknown(run)


def test_what_waits_for_one_by_now_is_not_either() -> None:
    *_, run = played(
        *prepares("PREPARE p FROM 'DELETE FROM notes WHERE id = ?'"), _takes(HELD), RUN
    )
    assert run.upstream == b"" and run.decided == ((SIMPLE, "hold_unavailable"),)


def test_both_verbs_have_to_be_allowed() -> None:
    read = "id: a, effect: allow, actions: [read, set]"
    (refused,) = played(says(query(SAID)), policy=policy(read))
    assert refused.upstream == b"" and refused.decided[0][1] == "denied"
    prepare_only = policy(read, "id: p, effect: allow, actions: [prepare]")
    *_, run = played(*prepares(), RUN, policy=prepare_only)
    assert run.upstream == b"" and run.decided == ((SIMPLE, "denied"),)
    held = policy(
        read,
        "id: p, effect: allow, actions: [prepare]",
        "id: e, effect: hold, actions: [execute]",
    )
    *_, run = played(*prepares(), RUN, policy=held, approvals=True)
    assert run.upstream == b"" and run.decided == ((SIMPLE, "hold_unavailable"),)


def test_a_limit_on_rows_written_counts_no_names() -> None:
    (refused,) = played(
        says(query("PREPARE p FROM 'DELETE FROM notes WHERE id = ?'")), policy=FEW_WRITES
    )
    assert refused.upstream == b"" and refused.decided[0][1] == "limit"


def test_only_so_many() -> None:
    few = Limits(prepared_statements_max=1)
    *_, same, _, other = played(
        *prepares(), *prepares(), says(query("PREPARE q FROM 'SELECT 1'")), limits=few
    )
    assert same.upstream and other.upstream == b"" and error_of(other.client)[1] == 1461
    *_, number = played(*prepares(), says(prepare("SELECT 1")), limits=few)
    assert number.upstream == b"" and error_of(number.client)[1] == 1461
