"""Decisions: default deny, precedence, coverage of every action and resource, observe mode."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.decision import Decision, Effect
from appliance.model.facts import (
    Action,
    Confidence,
    Facts,
    Flag,
    RelationUse,
    StatementFacts,
)
from appliance.model.principal import Client, Principal, PrincipalKind
from appliance.model.refusal import About
from tests.unit.policy.building import (
    ALICE,
    BOB,
    CLIENT,
    CONTACTS,
    COPILOT,
    CUSTOMERS,
    EMAIL,
    EMPLOYEES,
    NOON,
    SALARY,
    TARGET,
    decide,
    facts,
    plain,
    policy,
    statement,
    use,
)

READ = "  - {id: read, effect: allow, actions: [read, session], resources: [shop.public.*]}\n"
SELECT = statement(relations=[use(Action.SELECT, CUSTOMERS, "id")])
SELECT_HR = statement(relations=[use(Action.SELECT, EMPLOYEES, "id")])
DELETE = statement(
    relations=[use(Action.DELETE, CUSTOMERS), use(Action.SELECT, CUSTOMERS, "id")],
    flags=[Flag.WRITES],
)
DELETE_ALL = statement(
    relations=[use(Action.DELETE, CUSTOMERS)], flags=[Flag.NO_WHERE, Flag.WRITES]
)


def deciding(decision: Decision) -> list[tuple[str, str]]:
    """(rule, message) of the reasons that made the decision what it is."""
    return [
        (reason.rule, reason.message)
        for reason in decision.reasons
        if reason.effect == decision.effect.value and not reason.observed
    ]


def test_nothing_is_allowed_by_no_rule() -> None:
    decision = decide(policy("  []\n"), SELECT)
    assert decision.effect is Effect.DENY
    assert decision.reasons[0].rule == "default"
    assert decision.reasons[0].message == "no rule allows select on public.customers"


def test_an_empty_text_does_nothing() -> None:
    assert decide(policy("  []\n")).effect is Effect.ALLOW


NOWHERE = RelationUse(Action.SELECT, "hr", "nowhere")
OPAQUE = statement(Action.OPAQUE, confidence=Confidence.OPAQUE, kind="Unparsed")


@pytest.mark.parametrize(
    ("denied", "about"),
    [
        (SELECT_HR, About.RELATION),
        (statement(relations=[NOWHERE]), About.RELATION),  # told no more than of one that is there
        (statement(Action.SET), About.SESSION),
        (statement(Action.CREATE, relations=[RelationUse(Action.CREATE, "x", "*")]), About.SCHEMA),
        (statement(Action.SELECT, functions=["x.f"]), About.FUNCTION),
        (OPAQUE, About.TEXT),
        (statement(Action.CALL, Action.OPAQUE, confidence=Confidence.OPAQUE), About.SESSION),
    ],
)
def test_what_a_denial_is_about(denied: StatementFacts, about: About) -> None:
    for rules in ("  []\n", "  - {id: n, effect: deny, actions: [everything]}\n"):
        assert decide(policy(rules), denied).about is about


@pytest.mark.parametrize(
    ("resource", "about"),
    [("shop.hr.employees.salary", About.COLUMN), ("shop.hr.employees", About.RELATION)],
)
def test_a_denial_of_a_column_is_about_the_column(resource: str, about: About) -> None:
    rules = (
        "  - {id: all, effect: allow, actions: [any]}\n"
        f"  - {{id: n, effect: deny, actions: [select], resources: [{resource}]}}\n"
    )
    read = statement(relations=[use(Action.SELECT, EMPLOYEES, "id", "salary")])
    decision = decide(policy(rules), SELECT, read)
    assert (decision.effect, decision.about) == (Effect.DENY, about)
    assert decide(policy(rules), SELECT).about is About.SESSION  # nothing is denied


def test_every_relation_must_be_covered() -> None:
    both = statement(relations=[*SELECT.relations, *SELECT_HR.relations])
    assert decide(policy(READ), SELECT).effect is Effect.ALLOW
    decision = decide(policy(READ), both)
    assert decision.effect is Effect.DENY
    assert "hr.employees" in decision.reasons[-1].message


def test_every_action_must_be_covered() -> None:
    decision = decide(policy(READ), DELETE)
    assert decision.effect is Effect.DENY
    assert decision.reasons[-1].message == "no rule allows delete on public.customers"
    two = READ + "  - {id: del, effect: allow, actions: [delete]}\n"
    assert decide(policy(two), DELETE).effect is Effect.ALLOW


def test_every_statement_must_be_allowed() -> None:
    assert decide(policy(READ), SELECT, DELETE).effect is Effect.DENY
    assert decide(policy(READ), DELETE, SELECT).effect is Effect.DENY


def test_deny_beats_hold_beats_allow() -> None:
    allow = "  - {id: a, effect: allow, actions: [any]}\n"
    hold = "  - {id: h, effect: hold, actions: [delete], message: ask first}\n"
    deny = "  - {id: d, effect: deny, actions: [delete], message: never}\n"
    assert decide(policy(allow), DELETE).effect is Effect.ALLOW
    held = decide(policy(hold + allow), DELETE)
    assert held.effect is Effect.HOLD
    denied = decide(policy(allow + hold + deny), DELETE)
    assert denied.effect is Effect.DENY
    assert deciding(held) == [("h", "ask first")]
    assert deciding(denied) == [("d", "never")]


def test_a_held_action_does_not_carry_the_others() -> None:
    hold = "  - {id: h, effect: hold, actions: [delete]}\n"
    assert decide(policy(hold), DELETE).effect is Effect.DENY
    assert decide(policy(hold + READ), DELETE).effect is Effect.HOLD


def test_opaque_is_allowed_only_by_name() -> None:
    opaque = statement(
        Action.DO, Action.OPAQUE, confidence=Confidence.OPAQUE, flags=[Flag.DYNAMIC], kind="DoStmt"
    )
    unparsed = statement(Action.OPAQUE, confidence=Confidence.OPAQUE, kind="Unparsed")
    for words, effect in (("any", Effect.DENY), ("everything", Effect.ALLOW)):
        snapshot = policy(f"  - {{id: a, effect: allow, actions: [{words}]}}\n")
        assert decide(snapshot, opaque).effect is effect
        assert decide(snapshot, unparsed).effect is effect


def test_what_is_opaque_counts_as_opaque_even_when_facts_do_not_say_the_action() -> None:
    odd = statement(Action.SELECT, confidence=Confidence.OPAQUE)
    nothing = msgspec.structs.replace(statement(Action.SELECT), actions=())
    snapshot = policy("  - {id: a, effect: allow, actions: [any]}\n")
    assert decide(snapshot, odd).effect is Effect.DENY
    assert decide(snapshot, nothing).effect is Effect.DENY


@pytest.mark.parametrize(
    ("selector", "who", "matches"),
    [
        ("names: [alice]", ALICE, True),
        ("names: ['al*', bob]", ALICE, True),
        ("names: ['*e']", BOB, False),
        ("groups: [dba, analysts]", ALICE, True),
        ("groups: [nobody]", ALICE, False),
        ("not_groups: [privacy]", ALICE, True),
        ("not_groups: ['priv*']", BOB, False),
        ("groups: [dba], not_groups: [privacy]", BOB, False),
        ("kinds: [agent]", COPILOT, True),
        ("kinds: [agent, service]", ALICE, False),
        ("on_behalf_of: ['*']", COPILOT, True),
        ("on_behalf_of: ['*']", ALICE, False),
        ("on_behalf_of: [bob]", COPILOT, False),
        ("names: [copilot], kinds: [human]", COPILOT, False),
    ],
)
def test_principal_selectors(selector: str, who: Principal, matches: bool) -> None:
    snapshot = policy(f"  - {{id: a, effect: allow, actions: [any], principals: {{{selector}}}}}\n")
    assert (decide(snapshot, SELECT, principal=who).effect is Effect.ALLOW) is matches


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("names: [shop]", True),
        ("names: [other]", False),
        ("environments: ['prod*']", True),
        ("environments: [test]", False),
        ("labels: {tier: gold}", True),
        ("labels: {tier: '*'}", True),
        ("labels: {owner: '*'}", False),
        ("databases: [shop]", True),
        ("databases: [post*]", False),
    ],
)
def test_target_selectors(selector: str, matches: bool) -> None:
    snapshot = policy(f"  - {{id: a, effect: allow, actions: [any], targets: {{{selector}}}}}\n")
    assert (decide(snapshot, SELECT).effect is Effect.ALLOW) is matches


def test_source_networks() -> None:
    inside = policy("  - {id: a, effect: allow, actions: [any], source: [10.0.0.0/8]}\n")
    assert decide(inside, SELECT).effect is Effect.ALLOW
    outside = Client("192.168.1.1", 1, "main", True)
    assert decide(inside, SELECT, client=outside).effect is Effect.DENY
    unknown = decide(inside, SELECT, client=Client("", 1, "main", True))
    assert unknown.effect is Effect.DENY
    assert unknown.reasons[0].message == "condition failed"


def test_flags() -> None:
    rules = (
        "  - {id: a, effect: allow, actions: [any]}\n"
        "  - {id: w, effect: deny, actions: [update, delete], flags: [no_where, trivial_where]}\n"
    )
    assert decide(policy(rules), DELETE).effect is Effect.ALLOW
    assert decide(policy(rules), DELETE_ALL).effect is Effect.DENY


def test_conditions() -> None:
    rules = (
        "  - {id: a, effect: allow, actions: [any]}\n"
        "  - {id: n, effect: deny, actions: [delete], when: 'time.hour < 6'}\n"
    )
    noon = decide(policy(rules), DELETE)
    assert noon.effect is Effect.ALLOW and not noon.cacheable
    assert decide(policy(rules), DELETE, now=NOON - 12 * 3600).effect is Effect.DENY
    assert decide(policy(rules), SELECT).cacheable


def test_a_condition_sees_each_statement() -> None:
    rules = "  - {id: a, effect: allow, actions: [any], when: statement.has_where}\n"
    assert decide(policy(rules), DELETE).effect is Effect.ALLOW
    assert decide(policy(rules), DELETE, DELETE_ALL).effect is Effect.DENY


@pytest.mark.parametrize("effect", ["allow", "deny", "hold", "limit"])
def test_a_condition_without_an_answer_denies(effect: str) -> None:
    extra = ", row_limit: 5" if effect == "limit" else ""
    rules = (
        "  - {id: a, effect: allow, actions: [any]}\n"
        f"  - {{id: x, effect: {effect}, actions: [select],"
        f" when: target.labels.owner == database{extra}}}\n"
    )
    decision = decide(policy(rules), SELECT)
    assert decision.effect is Effect.DENY
    assert deciding(decision) == [("x", "condition failed")]
    assert decide(policy(rules), DELETE_ALL).effect is Effect.ALLOW


def test_limits_the_smallest_wins() -> None:
    rules = (
        "  - {id: a, effect: allow, actions: [any]}\n"
        "  - {id: l1, effect: limit, row_limit: 100, statement_timeout: 5s}\n"
        "  - {id: l2, effect: limit, row_limit: 50, actions: [select]}\n"
        "  - {id: l3, effect: limit, row_limit: 1, actions: [select], resources: [shop.hr.*]}\n"
    )
    decision = decide(policy(rules), SELECT)
    assert (decision.row_limit, decision.statement_timeout_ms) == (50, 5000)
    assert decide(policy(rules), DELETE_ALL).row_limit == 100
    assert decide(policy(rules), SELECT, SELECT_HR).row_limit == 1


WRITTEN = (
    "  - {id: a, effect: allow, actions: [everything]}\n"
    "  - {id: w1, effect: limit, max_rows: 50, row_limit: 100}\n"
    "  - {id: w2, effect: limit, max_rows: 5, actions: [delete], resources: [shop.public.*]}\n"
    "  - {id: w3, effect: limit, max_rows: 1, actions: [write], resources: [shop.hr.*]}\n"
)


def written(*statements: StatementFacts, mode: str = "enforce") -> tuple[int | None, str]:
    decision = decide(policy(WRITTEN, mode=mode), *statements)
    return decision.rows_written_max, decision.rows_written_rule


def test_rows_written_the_smallest_wins() -> None:
    update = statement(relations=[use(Action.UPDATE, CUSTOMERS, "name")])
    assert written(update) == (50, "w1")
    assert written(DELETE) == (5, "w2")
    assert written(statement(relations=[use(Action.INSERT, EMPLOYEES, "id")])) == (1, "w3")
    assert written(DELETE, mode="observe") == (None, "")


def test_rows_written_are_no_matter_of_what_reads() -> None:
    """Its rule's other limits hold for that as ever."""
    assert written(SELECT) == (None, "")
    assert written(statement(Action.SHOW), statement(Action.TRANSACTION)) == (None, "")
    assert decide(policy(WRITTEN), SELECT).row_limit == 100


@pytest.mark.parametrize(
    "action", [Action.DO, Action.CALL, Action.DYNAMIC_SQL, Action.EXECUTE, Action.OPAQUE]
)
def test_rows_written_unseen_may_be_anywhere(action: Action) -> None:
    assert written(statement(action)) == (1, "w3")
    assert written(statement(Action.SELECT, functions=["elsewhere.f"])) == (1, "w3")
    truncate = statement(relations=[use(Action.TRUNCATE, EMPLOYEES)])
    assert written(truncate) == (1, "w3")


def test_rows_written_need_the_catalog() -> None:
    """What a write carries along is not known without it."""
    rules = "  - {id: a, effect: allow, actions: [any]}\n"
    bound = "  - {id: w, effect: limit, max_rows: 5}\n"
    for text, needed in ((rules, False), (rules + bound, True)):
        entitled = policy(text).entitlements(ALICE, TARGET, None, "shop")
        assert entitled.needs_catalog is needed


def test_what_touches_no_resource_needs_only_its_action() -> None:
    assert decide(policy(READ), statement(Action.SELECT)).effect is Effect.ALLOW
    assert decide(policy(READ), statement(Action.TRANSACTION)).effect is Effect.ALLOW
    guarded = READ + "  - {id: d, effect: deny, actions: [any], resources: [shop.hr.*]}\n"
    assert decide(policy(guarded), statement(Action.SELECT)).effect is Effect.ALLOW


def test_what_does_not_say_its_resource_may_touch_any() -> None:
    block = statement(Action.DO, kind="DoStmt")
    narrow = "  - {id: a, effect: allow, actions: [any], resources: [shop.public.*]}\n"
    wide = "  - {id: a, effect: allow, actions: [any], resources: ['shop.*']}\n"
    assert decide(policy(narrow), block).effect is Effect.DENY
    assert decide(policy(wide), block).effect is Effect.ALLOW
    guarded = wide + "  - {id: d, effect: deny, actions: [any], resources: [shop.hr.*]}\n"
    assert decide(policy(guarded), block).effect is Effect.DENY
    elsewhere = wide + "  - {id: d, effect: deny, actions: [any], resources: ['other.*']}\n"
    assert decide(policy(elsewhere), block).effect is Effect.ALLOW


def test_copy_and_explain_of_a_query_touch_what_it_reads() -> None:
    copied = statement(Action.COPY_TO, Action.SELECT, relations=SELECT_HR.relations)
    explained = statement(Action.EXPLAIN, Action.SELECT, relations=SELECT_HR.relations)
    rules = READ.replace("public", "*")
    assert decide(policy(rules), copied).effect is Effect.ALLOW
    for word, denied in (("copy_to", copied), ("explain", explained)):
        guard = f"  - {{id: d, effect: deny, actions: [{word}], resources: [shop.hr.*]}}\n"
        assert decide(policy(rules + guard), denied).effect is Effect.DENY
        assert decide(policy(rules + guard), SELECT_HR).effect is Effect.ALLOW
    narrow = READ.replace("read, session", "select") + (
        "  - {id: c, effect: allow, actions: [select], resources: [shop.hr.*]}\n"
    )
    assert decide(policy(narrow), copied).effect is Effect.DENY


def test_unknown_functions_are_resources() -> None:
    call = statement(Action.SELECT, Action.EXECUTE_FUNCTION, functions=["public.f"])
    other = statement(Action.SELECT, Action.EXECUTE_FUNCTION, functions=["public.f", "hr.g"])
    rules = READ + (
        "  - {id: f, effect: allow, actions: [execute_function], resources: [shop.public.f]}\n"
    )
    assert decide(policy(READ), call).effect is Effect.DENY
    assert decide(policy(rules), call).effect is Effect.ALLOW
    assert decide(policy(rules), other).effect is Effect.DENY


def test_an_unresolved_relation_is_doubted_both_ways() -> None:
    unknown = statement(relations=[RelationUse(Action.SELECT, "", "employees")])
    assert decide(policy(READ), unknown).effect is Effect.DENY
    rules = "  - {id: a, effect: allow, actions: [any]}\n"
    assert decide(policy(rules), unknown).effect is Effect.ALLOW
    guarded = rules + "  - {id: d, effect: deny, actions: [any], resources: [shop.hr.employees]}\n"
    assert decide(policy(guarded), unknown).effect is Effect.DENY


COLUMNS = "  - {id: c, effect: allow, actions: [any], resources: [shop.public.customers.id, \
shop.public.customers.name]}\n"


@pytest.mark.parametrize(
    ("touch", "allowed"),
    [
        (use(Action.SELECT, CUSTOMERS, "id"), True),
        (use(Action.SELECT, CUSTOMERS, "id", "name"), True),
        (use(Action.SELECT, CUSTOMERS, "id", "email"), False),
        (use(Action.SELECT, CUSTOMERS, "*"), False),
        (use(Action.SELECT, CUSTOMERS), True),
        (use(Action.DELETE, CUSTOMERS), False),
        (use(Action.UPDATE, CUSTOMERS, "name"), True),
        (use(Action.UPDATE, CUSTOMERS, "email"), False),
    ],
)
def test_an_allowed_column_allows_no_other(touch: RelationUse, allowed: bool) -> None:
    decision = decide(policy(COLUMNS), statement(relations=[touch]))
    assert (decision.effect is Effect.ALLOW) is allowed


@pytest.mark.parametrize(
    ("touch", "denied"),
    [
        (use(Action.SELECT, CUSTOMERS, "id"), False),
        (use(Action.SELECT, CUSTOMERS, "id", "email"), True),
        (use(Action.SELECT, CUSTOMERS, "*"), True),
        (use(Action.SELECT, CUSTOMERS), False),
        (use(Action.DELETE, CUSTOMERS), True),
        (use(Action.TRUNCATE, CUSTOMERS), True),
        (use(Action.UPDATE, CUSTOMERS, "name"), False),
    ],
)
@pytest.mark.parametrize("by", ["resources: [shop.public.customers.email]", "classifications: [p]"])
def test_a_denied_column_is_denied_wherever_it_is(
    touch: RelationUse, denied: bool, by: str
) -> None:
    rules = "  - {id: a, effect: allow, actions: [any]}\n"
    rules += f"  - {{id: d, effect: deny, actions: [any], {by}}}\n"
    snapshot = policy(rules, head="classifications: {p: ['*.public.customers.e*']}")
    assert (decide(snapshot, statement(relations=[touch])).effect is Effect.DENY) is denied


def test_a_denied_column_is_followed_through_views() -> None:
    """The view is named in the statement, the table is not."""
    rules = "  - {id: a, effect: allow, actions: [any]}\n"
    column = rules + (
        "  - {id: d, effect: deny, actions: [read], resources: [shop.public.customers.email]}\n"
    )
    relation = rules + (
        "  - {id: d, effect: deny, actions: [read], resources: [shop.public.customers]}\n"
    )
    view = use(Action.SELECT, CONTACTS, "mail")
    shown = statement(relations=[view], outputs=[plain((CONTACTS, 2), source=EMAIL)])
    used = statement(relations=[view], consumed=[EMAIL])
    assert decide(policy(column), shown).effect is Effect.DENY
    assert decide(policy(column), used).effect is Effect.DENY
    assert decide(policy(relation), shown).effect is Effect.ALLOW


class TestObserve:
    RULES = (
        "  - {id: a, effect: allow, actions: [read]}\n"
        "  - {id: d, effect: deny, actions: [select], resources: [shop.hr.*]}\n"
    )

    def test_a_policy_that_observes_refuses_nothing(self) -> None:
        snapshot = policy(self.RULES, mode="observe")
        decision = decide(snapshot, SELECT_HR)
        assert (decision.effect, decision.would_be) == (Effect.ALLOW, Effect.DENY)
        assert all(reason.observed for reason in decision.reasons)
        assert [reason.rule for reason in decision.reasons] == ["a", "d"]
        default = decide(snapshot, DELETE_ALL)
        assert (default.effect, default.would_be) == (Effect.ALLOW, Effect.DENY)
        assert default.reasons[0].rule == "default" and default.reasons[0].observed
        assert decide(snapshot, SELECT).would_be is None
        assert deciding(default) == []

    def test_a_rule_that_observes_is_recorded_and_not_applied(self) -> None:
        rules = self.RULES.replace("effect: deny", "mode: observe, effect: deny")
        decision = decide(policy(rules), SELECT_HR)
        assert (decision.effect, decision.would_be) == (Effect.ALLOW, Effect.DENY)
        assert [r.observed for r in decision.reasons] == [False, True]

    def test_an_allow_rule_that_observes_allows_nothing(self) -> None:
        rules = self.RULES.replace("effect: allow", "mode: observe, effect: allow")
        decision = decide(policy(rules), SELECT)
        assert (decision.effect, decision.would_be) == (Effect.DENY, Effect.ALLOW)

    def test_a_failing_condition_is_only_observed(self) -> None:
        rules = self.RULES + (
            "  - {id: x, mode: observe, effect: deny, actions: [select],"
            " when: target.labels.owner == database}\n"
        )
        decision = decide(policy(rules), SELECT)
        assert (decision.effect, decision.would_be) == (Effect.ALLOW, Effect.DENY)

    def test_limits_are_not_applied(self) -> None:
        rules = self.RULES + "  - {id: l, effect: limit, row_limit: 5}\n"
        assert decide(policy(rules, mode="observe"), SELECT).row_limit is None
        assert decide(policy(rules), SELECT).row_limit == 5

    def test_masks_are_not_applied(self) -> None:
        mask = "  - {id: m, effect: mask, resources: ['*.hr.*.salary'], mask: {method: redact}}\n"
        touching = statement(relations=[use(Action.SELECT, EMPLOYEES, "salary")])
        decision = decide(policy(self.RULES + mask, mode="observe"), touching)
        assert not decision.owes_masks and not decision.masks and not decision.owed
        assert set(decision.masks_observed) == {SALARY}
        assert [r.rule for r in decision.reasons if r.effect == "mask"] == ["m"]


def test_an_unparsable_text_is_opaque() -> None:
    text = Facts(statements=(statement(Action.OPAQUE, confidence=Confidence.OPAQUE),))
    snapshot = policy("  - {id: a, effect: allow, actions: [any]}\n")
    entitlements = snapshot.entitlements(ALICE, TARGET, None, "shop")
    decision = snapshot.decide(text, ALICE, CLIENT, TARGET, "shop", entitlements, NOON)
    assert decision.effect is Effect.DENY


ACTIONS = st.sampled_from([Action.SELECT, Action.DELETE, Action.DROP, Action.DO])
RULES = st.lists(
    st.tuples(
        st.sampled_from(["allow", "deny", "hold"]),
        ACTIONS,
        st.sampled_from(["", "shop.public.*", "shop.hr.*"]),
    ),
    max_size=5,
)
USES = st.lists(st.tuples(ACTIONS, st.sampled_from([CUSTOMERS, EMPLOYEES])), max_size=3)


@given(RULES, USES, st.lists(ACTIONS, min_size=1, max_size=2))
def test_decisions_are_what_the_rules_say(
    rules: list[tuple[str, Action, str]],
    uses: list[tuple[Action, int]],
    bare: list[Action],
) -> None:
    """Against the definition, written the slow way."""
    text = ""
    for i, (effect, action, glob) in enumerate(rules):
        resources = f", resources: ['{glob}']" if glob else ""
        text += f"  - {{id: r{i}, effect: {effect}, actions: [{action.value}]{resources}}}\n"
    subject = statement(*bare, relations=[use(action, oid) for action, oid in uses])
    named = {action for action, _ in uses}
    touches = [(action, "public" if oid == CUSTOMERS else "hr") for action, oid in uses]
    touches += [(action, "") for action in bare if action not in named]

    def matches(rule: tuple[str, Action, str], touch: tuple[Action, str]) -> bool:
        effect, action, glob = rule
        if touch[0] is not action:
            return False
        if not glob:
            return True
        if not touch[1]:
            harmless = action is Action.SELECT
            return harmless if effect == "allow" else not harmless
        return glob == f"shop.{touch[1]}.*"

    def hit(effect: str, touch: tuple[Action, str]) -> bool:
        return any(rule[0] == effect and matches(rule, touch) for rule in rules)

    if any(hit("deny", touch) for touch in touches) or not all(
        hit("allow", touch) or hit("hold", touch) for touch in touches
    ):
        expected = Effect.DENY
    elif any(hit("hold", touch) for touch in touches):
        expected = Effect.HOLD
    else:
        expected = Effect.ALLOW
    assert decide(policy(text or "  []\n"), subject).effect is expected


def test_entitlements_hold_only_rules_that_can_concern_the_principal() -> None:
    rules = (
        "  - {id: a, effect: allow, actions: [any], principals: {groups: [analysts]}}\n"
        "  - {id: b, effect: allow, actions: [any], principals: {groups: [dba]}}\n"
        "  - {id: c, effect: deny, actions: [any], resources: ['other.*']}\n"
        "  - {id: d, effect: deny, actions: [any], targets: {environments: [test]}}\n"
    )
    entitlements = policy(rules).entitlements(ALICE, TARGET, None, "shop")
    assert [rule.id for rule in entitlements.rules] == ["a"]
    assert not entitlements.owes


def test_kept_matches_do_not_change_an_answer() -> None:
    snapshot = policy(READ)
    entitlements = snapshot.entitlements(ALICE, TARGET, None, "shop")
    for _ in range(2):
        for subject, effect in ((SELECT, Effect.ALLOW), (DELETE, Effect.DENY)):
            decision = snapshot.decide(
                facts(subject), ALICE, CLIENT, TARGET, "shop", entitlements, NOON
            )
            assert decision.effect is effect


def test_kinds_are_those_of_the_model() -> None:
    for kind in PrincipalKind:
        policy(
            f"  - {{id: a, effect: allow, actions: [any], principals: {{kinds: [{kind.value}]}}}}\n"
        )


def test_what_is_written_beneath_is_denied_but_need_not_be_allowed() -> None:
    through_view = msgspec.structs.replace(
        statement(relations=[use(Action.DELETE, CONTACTS)]),
        beneath=(use(Action.DELETE, CUSTOMERS),),
    )
    allow = "  - {id: a, effect: allow, actions: [delete], resources: [shop.public.contacts]}\n"
    deny = "  - {id: d, effect: deny, actions: [delete], resources: [shop.public.customers]}\n"
    assert decide(policy(allow), through_view).effect is Effect.ALLOW
    assert deciding(decide(policy(allow + deny), through_view)) == [("d", "")]
    table = "  - {id: a, effect: allow, actions: [delete], resources: [shop.public.customers]}\n"
    assert decide(policy(table), through_view).effect is Effect.DENY
