"""`when:` conditions."""

import pytest

from appliance.model.errors import InvariantBroken
from appliance.model.facts import Action, Flag
from appliance.policy.conditions import (
    VARIABLES,
    Condition,
    ConditionError,
    ConditionFailed,
    Subject,
    in_networks,
)
from tests.unit.policy.building import (
    CLIENT,
    COPILOT,
    CUSTOMERS,
    NOON,
    TARGET,
    statement,
    use,
)

SUBJECT = Subject(COPILOT, CLIENT, TARGET, "shop", NOON)
SUBJECT.statement = statement(
    Action.DELETE,
    relations=[use(Action.DELETE, CUSTOMERS)],
    functions=["public.f"],
    flags=[Flag.NO_WHERE, Flag.WRITES],
)


@pytest.mark.parametrize(
    "text",
    [
        "principal.name == 'copilot' && principal.kind == 'agent'",
        "'agents' in principal.groups && principal.on_behalf_of == 'alice'",
        "client.tls && client.application.startsWith('ps') && client.listener == 'main'",
        "client.address.in_networks(['192.168.0.0/16', '10.0.0.0/8'])",
        "!client.address.in_networks(['fd00::/8'])",
        "target.name == 'shop' && target.environment == 'production'",
        "target.labels['tier'] == 'gold' && target.labels.tier == 'gold'",
        "!has(target.labels.owner) && !('owner' in target.labels)",
        "database == 'shop'",
        "now == timestamp('2026-01-07T12:00:00Z') && now.getHours() == 12",
        "time.hour == 12 && time.minute == 0 && time.weekday == 3",
        "statement.kind == 'SelectStmt' && 'delete' in statement.actions",
        "statement.tables == ['public.customers'] && statement.functions == ['public.f']",
        "!statement.has_where && 'no_where' in statement.flags",
        "statement.confidence == 'exact'",
    ],
)
def test_variables_and_functions(text: str) -> None:
    assert Condition(text).holds(SUBJECT) is True
    assert Condition(f"!({text})").holds(SUBJECT) is False


@pytest.mark.parametrize(
    "text",
    [
        "target.labels['owner'] == 'x'",
        "1 / (time.hour - 12) == 1",
        "client.application.in_networks(['10.0.0.0/8'])",
        "client.address.in_networks(['10.0.0.1/8'])",
        "principal.groups[7] == 'x'",
    ],
)
def test_no_answer_is_a_failure(text: str) -> None:
    with pytest.raises(ConditionFailed):
        Condition(text).holds(SUBJECT)


@pytest.mark.parametrize(
    "text",
    [
        "principal.nme == 'x'",
        "principal.name == 1",
        "principal.name",
        "statement.has_where ||",
        "unknown(1)",
        "nothing",
    ],
)
def test_mistakes_are_found_before_anything_runs(text: str) -> None:
    with pytest.raises(ConditionError):
        Condition(text)


def test_what_a_condition_looks_at_is_known() -> None:
    timed = Condition("time.hour < 6 || now.getMinutes() > 3")
    assert timed.uses_time and not timed.uses_statement
    stated = Condition("statement.has_where && principal.name == 'x'")
    assert stated.uses_statement and not stated.uses_time
    # Only the text of a string looks like a variable.
    assert not Condition("principal.name == 'time.hour'").uses_time


def test_ipv4_in_ipv6_is_ipv4() -> None:
    assert in_networks("::ffff:10.0.0.1", ["10.0.0.0/8"])
    assert not in_networks("::1", ["10.0.0.0/8"])


def test_every_variable_is_found_when_it_is_used() -> None:
    for name in VARIABLES:
        assert Condition(f"{name} == {name}").variables == {name}


def test_a_condition_about_a_statement_needs_one() -> None:
    nowhere = Subject(COPILOT, CLIENT, TARGET, "shop", NOON)
    with pytest.raises(InvariantBroken):
        Condition("statement.has_where").holds(nowhere)
    assert Condition("client.tls").holds(nowhere)
