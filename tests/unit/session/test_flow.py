"""From decisions to refusals, and what statements change about their session."""

import msgspec
import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.decision import Decision, Effect, Reason
from appliance.model.facts import Action, Facts, Flag, ParseFailure, StatementFacts
from appliance.model.limits import Limits
from appliance.model.refusal import About, RefusalCode
from appliance.session import changes, flow
from appliance.session.cache import Cache
from appliance.sql.analysis import analyse

SETTINGS = SessionSettings("shop")


def facts_of(text: str) -> Facts:
    return analyse(text.encode(), None, SETTINGS, Limits())


def decision(effect: Effect, *reasons: Reason, row_limit: int | None = None) -> Decision:
    return Decision(effect, reasons, row_limit=row_limit)


SELECT, BROKEN = facts_of("SELECT 1"), facts_of("SELEC 1")
DENY, HOLD = Effect.DENY, Effect.HOLD


def test_allowed() -> None:
    assert flow.refusal_of(SELECT, decision(Effect.ALLOW)) is None


def test_denied_by_a_rule() -> None:
    refusal = flow.refusal_of(SELECT, decision(DENY, Reason("r", "deny", "Not here.")))
    assert refusal is not None
    assert (refusal.code, refusal.rule, refusal.message) == (
        RefusalCode.DENIED,
        "r",
        "Not here.",
    )
    assert refusal.sqlstate == "42501" and "rule r" in refusal.remedy


def test_denied_by_default() -> None:
    refusal = flow.refusal_of(SELECT, decision(DENY))
    assert refusal is not None and refusal.rule == "default-deny" and "select" in refusal.message


def test_denied_for_want_of_a_rule_that_allows_it() -> None:
    facts = facts_of("SELECT 1 FROM hr.staff")
    why = Reason(flow.DEFAULT_RULE, "deny", "no rule allows select on hr.staff")
    refusal = flow.refusal_of(facts, decision(DENY, why))
    assert refusal is not None and refusal.message == why.message and refusal.rule == "default"
    assert "see rule" not in refusal.remedy and "a rule that allows it" in refusal.remedy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1 FROM hr.staff, hr.staff b", "policy does not allow select on hr.staff"),
        (
            "SELECT 1 FROM a.a, b.b, c.c, d.d",
            "policy does not allow select on a.a, b.b, c.c and 1 more",
        ),
        ("SELECT 1 FROM nowhere", "policy does not allow select on nowhere"),
        ("SELECT 1", "policy does not allow select here"),
    ],
)
def test_a_rule_without_a_message_of_its_own(text: str, message: str) -> None:
    refusal = flow.refusal_of(facts_of(text), decision(DENY, Reason("no-hr", "deny")))
    assert refusal is not None and refusal.message == message
    assert "see rule no-hr" in refusal.remedy


@pytest.mark.parametrize(
    "reason", [Reason("seen", "deny", "no", observed=True), Reason("a", "allow", "yes")]
)
def test_rules_that_are_not_the_reason(reason: Reason) -> None:
    refusal = flow.refusal_of(SELECT, decision(DENY, reason, Reason("r", "deny")))
    assert refusal is not None and refusal.rule == "r"


def test_held() -> None:
    held = decision(HOLD, Reason("ask", "hold"))
    assert flow.refusal_of(SELECT, held) is None  # what it would be is judged all the same
    refusal = flow.held_refusal(SELECT, held)
    assert refusal is not None
    assert refusal.code is RefusalCode.HOLD_UNAVAILABLE and refusal.rule == "ask"


def test_what_cannot_be_read_is_said_as_the_database_would() -> None:
    refusal = flow.refusal_of(BROKEN, decision(DENY))
    assert refusal is not None
    assert (refusal.code, refusal.sqlstate) == (RefusalCode.UNPARSABLE, "42601")
    assert refusal.position == 1 and "syntax error" in refusal.message


def test_what_is_of_no_known_form_is_said_as_the_database_would() -> None:
    unread = StatementFacts("Unparsed", (Action.OPAQUE,), unresolved=("SET is not understood",))
    unread = msgspec.structs.replace(unread, unread=True)
    why = Reason(flow.DEFAULT_RULE, "deny", "no rule allows opaque")
    denied = msgspec.structs.replace(decision(DENY, why), about=About.TEXT)
    refusal = flow.refusal_of(Facts((unread,)), denied)
    assert refusal is not None
    assert (refusal.code, refusal.sqlstate) == (RefusalCode.OPAQUE, "42601")
    assert (refusal.rule, "SET is not understood" in refusal.message) == (flow.DEFAULT_RULE, True)
    seen = msgspec.structs.replace(unread, unread=False)  # read, and opaque all the same
    for facts, answer in (
        (Facts((seen,)), denied),
        (Facts((unread,)), msgspec.structs.replace(denied, about=About.RELATION)),
        (
            Facts((unread,)),
            msgspec.structs.replace(denied, reasons=(Reason("no-opaque", "deny", "No."),)),
        ),
    ):
        refusal = flow.refusal_of(facts, answer)
        assert refusal is not None
        assert (refusal.code, refusal.sqlstate) == (RefusalCode.DENIED, "42501")
        assert refusal.about is answer.about


def test_a_rule_speaks_before_the_parser() -> None:
    refusal = flow.refusal_of(BROKEN, decision(DENY, Reason("no-opaque", "deny", "No.")))
    assert refusal is not None and refusal.code is RefusalCode.DENIED


@pytest.mark.parametrize(
    ("code", "expected", "sqlstate"),
    [
        ("too_long", RefusalCode.TOO_LONG, "54000"),
        ("too_deep", RefusalCode.TOO_COMPLEX, "54001"),
        ("too_many_comments", RefusalCode.TOO_COMPLEX, "54001"),
        ("nul_byte", RefusalCode.UNPARSABLE, "22021"),
        ("encoding", RefusalCode.UNPARSABLE, "22021"),
        ("modes", RefusalCode.UNPARSABLE, "0A000"),
        ("timeout", RefusalCode.ANALYSIS_FAILED, "54001"),
        ("busy", RefusalCode.ANALYSIS_FAILED, "53000"),
        ("crashed", RefusalCode.ANALYSIS_FAILED, "54001"),
        ("something new", RefusalCode.UNPARSABLE, "42601"),
    ],
)
def test_failures(code: str, expected: RefusalCode, sqlstate: str) -> None:
    failed = msgspec.structs.replace(BROKEN, failure=ParseFailure(code, "why"))
    refusal = flow.refusal_of(failed, decision(DENY))
    assert refusal is not None
    assert (refusal.code, refusal.sqlstate) == (expected, sqlstate) and refusal.remedy


def test_who_waited_in_vain_is_not_told_to_change_the_statement() -> None:
    failed = msgspec.structs.replace(BROKEN, failure=ParseFailure("busy", "why"))
    refusal = flow.refusal_of(failed, decision(DENY))
    assert refusal is not None
    assert "try again" in refusal.remedy and "simplify" not in refusal.remedy


def test_copy_where_rows_are_limited() -> None:
    copy = facts_of("COPY notes TO STDOUT")
    limited = decision(Effect.ALLOW, Reason("few", "limit"), row_limit=2)
    refusal = flow.unlimitable(copy, limited)
    assert refusal is not None and refusal.rule == "few" and refusal.code is RefusalCode.LIMIT
    assert flow.unlimitable(SELECT, limited) is None
    assert flow.unlimitable(copy, decision(Effect.ALLOW)) is None


PLAIN = ["SELECT 1", "INSERT INTO t VALUES (1)", "DELETE FROM t", "SELECT 1; SELECT 2", ""]
NOT_PLAIN = [
    "SET search_path = a",
    "SELECT set_config('a.b', 'c', false)",
    "BEGIN",
    "CREATE TABLE t (a int)",
    "UPDATE pg_settings SET setting = 'x'",
    "PREPARE p AS SELECT 1",
    "EXECUTE p",
    "SELECT 1; COMMIT",
    "DO 'x'",
    "SELECT unknown_function()",
    "SELEC",
]


@pytest.mark.parametrize("text", PLAIN)
def test_plain(text: str) -> None:
    assert changes.is_plain(facts_of(text))


@pytest.mark.parametrize("text", NOT_PLAIN)
def test_not_plain(text: str) -> None:
    assert not changes.is_plain(facts_of(text))


@pytest.mark.parametrize(
    ("text", "settings", "lexing", "schema"),
    [
        ("SELECT 1", False, False, False),
        ("SET search_path = a", True, False, False),
        ("SET timezone = 'UTC'", True, False, False),
        ("SET standard_conforming_strings = off", True, True, False),
        ("SET NAMES 'latin1'", True, True, False),
        ("SET ROLE a", True, True, False),
        ("RESET ALL", True, True, False),
        ("DISCARD ALL", True, True, False),
        ("SELECT set_config('client_encoding', 'latin1', false)", True, True, False),
        ("SELECT set_config(n, 'x', false) FROM t", True, True, False),
        ("DO 'x'", True, True, True),
        ("CALL p()", True, True, True),
        ("EXECUTE p", True, True, True),
        ("SELECT f_of_somebody()", True, True, True),
        ("CREATE TABLE t (a int)", False, False, True),
        ("DROP VIEW v", False, False, True),
        ("ALTER TABLE t RENAME TO u", False, False, True),
        ("COMMIT", False, False, False),
    ],
)
def test_what_a_statement_may_change(text: str, settings: bool, lexing: bool, schema: bool) -> None:
    facts = facts_of(text)
    assert (changes.unsettles(facts), changes.unsettles_lexing(facts), changes.reshapes(facts)) == (
        settings,
        lexing,
        schema,
    )
    both = facts_of(f"SELECT 1; {text}")
    assert (changes.unsettles(both), changes.unsettles_lexing(both), changes.reshapes(both)) == (
        settings,
        lexing,
        schema,
    )


def test_names_that_a_statement_makes() -> None:
    assert changes.temporary_names(facts_of("CREATE TEMP TABLE a (x int)")) == {"a"}
    assert changes.temporary_names(facts_of("CREATE TABLE a (x int)")) == frozenset()
    assert "a" in changes.shifted_names(facts_of("ALTER TABLE a ADD x int"))
    assert changes.shifted_names(SELECT) == frozenset()


def test_a_text_read_differently_is_opaque() -> None:
    facts = flow.unreadable(b"SELECT '\\'", SETTINGS)
    assert facts.failure is not None and facts.actions == (Action.OPAQUE,)
    assert "SELECT" not in facts.redacted


def test_flags_of_a_verdict() -> None:
    one = StatementFacts("A", (), flags=frozenset({Flag.NO_WHERE}))
    two = StatementFacts("B", (), flags=frozenset({Flag.WRITES}))
    verdict = flow.Verdict(Facts((one, two)), decision(DENY), (), None, False, False, ("", "", ""))
    assert verdict.flags == {Flag.NO_WHERE, Flag.WRITES}


def test_the_cache_is_bounded_and_drops_what_was_used_least() -> None:
    cache = Cache(2)
    cache.put(("a",), 1, None)
    cache.put(("b",), 2, None)
    assert cache.get(("a",)) == 1
    cache.put(("c",), 3, None)
    assert (cache.get(("a",)), cache.get(("b",)), cache.get(("c",))) == (1, None, 3)


def test_failures_are_counted() -> None:
    cache = Cache(2)
    for code in ("syntax", "encoding", "too_long", "timeout", "busy", "crashed"):
        cache.note_failure(msgspec.structs.replace(BROKEN, failure=ParseFailure(code, "")))
    cache.note_failure(SELECT)
    assert (cache.failed_syntax, cache.failed_limit) == (2, 1)
