"""Behind which statements what a look has locked may be locked no more."""

import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.session.changes import goes_on_unlocked, names_behind_work, unlocks
from appliance.sql.analysis import analyse

READ = "SELECT a FROM t"


def facts(text: str) -> Facts:
    return analyse(text.encode(), None, SessionSettings("d"), Limits())


@pytest.mark.parametrize(
    "text",
    [
        f"COMMIT; {READ}",
        f"COMMIT AND CHAIN; {READ}",
        f"ROLLBACK; {READ}",
        f"PREPARE TRANSACTION 'x'; {READ}",
        f"ROLLBACK TO a; {READ}",
        f"ROLLBACK TO a; SAVEPOINT b; SELECT 1; {READ}",
        f"SAVEPOINT b; ROLLBACK TO a; {READ}",
        f"SAVEPOINT a; RELEASE a; ROLLBACK TO a; {READ}",
        f"SAVEPOINT a; SAVEPOINT b; ROLLBACK TO a; ROLLBACK TO b; {READ}",
        f"SAVEPOINT a; RELEASE b; ROLLBACK TO a; {READ}",
        "ROLLBACK TO a; FETCH c",
        "ROLLBACK TO a; EXECUTE s",
    ],
)
def test_names_behind_what_lets_go_of_locks(text: str) -> None:
    assert goes_on_unlocked(facts(text))


@pytest.mark.parametrize(
    "text",
    [
        f"BEGIN; {READ}; COMMIT",
        f"SAVEPOINT a; {READ}; ROLLBACK TO a; {READ}; RELEASE a; {READ}",
        f"SAVEPOINT a; SAVEPOINT a; ROLLBACK TO a; ROLLBACK TO a; RELEASE a; ROLLBACK TO a; {READ}",
        f"RELEASE a; {READ}",
        f"{READ}; ROLLBACK TO a",
        "ROLLBACK TO a; RELEASE a",
    ],
)
def test_names_whose_locks_are_there_still(text: str) -> None:
    assert not goes_on_unlocked(facts(text))


@pytest.mark.parametrize(
    "text", ["COMMIT", "ROLLBACK", "ROLLBACK TO a", "VACUUM t", "REINDEX TABLE CONCURRENTLY t"]
)
def test_a_text_that_unlocks(text: str) -> None:
    assert unlocks(facts(text))


@pytest.mark.parametrize(
    "text", ["BEGIN", "SAVEPOINT a", "RELEASE a", READ, "SET a.b = 'c'", "FETCH c", "LOCK TABLE t"]
)
def test_a_text_that_keeps_locks(text: str) -> None:
    assert not unlocks(facts(text))


@pytest.mark.parametrize("text", [f"SELECT 1; {READ}", f"{READ}; {READ}", "SELECT 1; EXECUTE s"])
def test_names_behind_what_may_take_any_time(text: str) -> None:
    assert names_behind_work(facts(text))


@pytest.mark.parametrize(
    "text",
    [READ, f"BEGIN; SET a.b = 'c'; {READ}", f"SET a.b = 'c'; {READ}; COMMIT", "SELECT 1; SELECT 2"],
)
def test_nothing_named_behind_work(text: str) -> None:
    assert not names_behind_work(facts(text))
