"""Which columns a principal owes a mask on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.decision import Effect, Mask, MaskMethod
from appliance.model.facts import Action, StatementFacts
from appliance.policy.owed import strictness
from appliance.policy.snapshot import Snapshot
from tests.unit.policy.building import (
    ALICE,
    BOB,
    CATALOG,
    CONTACTS,
    CUSTOMERS,
    EMAIL,
    EMPLOYEES,
    MAIL,
    NOON,
    ORDERS,
    ORDERS_2024,
    PHONE,
    SALARY,
    SETTINGS,
    TARGET,
    FakeLineage,
    decide,
    plain,
    policy,
    statement,
    use,
)


def masking(*globs: str, more: str = "", rules: str = "") -> Snapshot:
    named = ", ".join(f"'{glob}'" for glob in globs)
    allow = "  - {id: a, effect: allow, actions: [any]}\n"
    mask = f"  - {{id: m, effect: mask, resources: [{named}], mask: {{method: redact}}{more}}}\n"
    return policy(allow + mask + rules)


def owed(*globs: str) -> set[tuple[int, int]]:
    return set(masking(*globs).entitlements(ALICE, TARGET, CATALOG, "shop").owed)


def test_what_one_mask_refuses_the_strictest_refuses_too() -> None:
    rules = """
  - {id: n, effect: mask, resources: ["shop.public.customers.email"],
     mask: {method: email, unique_writes: refuse}}
"""
    made = masking("shop.public.customers.*", rules=rules).entitlements(
        ALICE, TARGET, CATALOG, "shop"
    )
    assert made.owed[EMAIL].method is MaskMethod.REDACT and not made.owed[EMAIL].unique_writes
    assert made.owed[PHONE].unique_writes


@pytest.mark.parametrize(
    ("glob", "keys"),
    [
        ("shop.public.customers.email", {EMAIL}),
        ("*.public.customers.*", {(CUSTOMERS, n) for n in (1, 2, 3, 4)}),
        ("other.public.customers.email", set()),
        ("shop.public.customers.nothing", set()),
        ("shop.public.nothing.email", set()),
        ("shop.*.*.*mail", {EMAIL, MAIL}),
        ("shop.pg_catalog.*.email", {(SETTINGS, 2)}),
        ('shop."public".customers."email"', {EMAIL}),
    ],
)
def test_globs_name_columns(glob: str, keys: set[tuple[int, int]]) -> None:
    assert owed(glob) == keys


def test_partitions_share_masks_with_their_parents_by_name() -> None:
    both = {(ORDERS, 3), (ORDERS_2024, 1)}
    assert owed("shop.public.orders.card") == both
    assert owed("shop.public.orders_2024.card") == both


def test_a_mask_on_a_view_reaches_what_is_below() -> None:
    snapshot = masking("shop.public.contacts.mail")
    direct = snapshot.entitlements(ALICE, TARGET, CATALOG, "shop")
    through = snapshot.entitlements(ALICE, TARGET, CATALOG, "shop", lineage=FakeLineage())
    assert set(direct.owed) == {MAIL}
    assert set(through.owed) == {MAIL, EMAIL}


def test_nobody_owes_what_no_rule_asks() -> None:
    snapshot = masking("*.*.*.email", more=", principals: {not_groups: [privacy]}")
    assert snapshot.entitlements(ALICE, TARGET, CATALOG, "shop").owes
    assert not snapshot.entitlements(BOB, TARGET, CATALOG, "shop").owes
    assert not snapshot.entitlements(ALICE, TARGET, CATALOG, "elsewhere").owed.keys() - {EMAIL}


def test_without_a_catalog_masks_may_be_owed() -> None:
    snapshot = masking("*.*.*.email")
    entitlements = snapshot.entitlements(ALICE, TARGET, None, "shop")
    assert entitlements.owes and not entitlements.owed
    assert decide(snapshot, statement(Action.SELECT), catalog=None).owes_masks


def test_touched_columns_are_told() -> None:
    snapshot = masking("shop.public.customers.email", "shop.public.customers.phone")

    def touched(subject: StatementFacts) -> set[tuple[int, int]]:
        return set(decide(snapshot, subject).masks)

    assert touched(statement(relations=[use(Action.SELECT, CUSTOMERS, "id")])) == set()
    assert touched(statement(relations=[use(Action.SELECT, CUSTOMERS, "email")])) == {EMAIL}
    assert touched(statement(relations=[use(Action.SELECT, CUSTOMERS, "*")])) == {EMAIL, PHONE}
    # An error of a write shows the whole row.
    assert touched(statement(relations=[use(Action.UPDATE, CUSTOMERS, "name")])) == {EMAIL, PHONE}
    view = use(Action.SELECT, CONTACTS, "mail")
    assert touched(statement(relations=[view], outputs=[plain(MAIL, source=EMAIL)])) == {EMAIL}
    assert touched(statement(relations=[view], consumed=[PHONE])) == {PHONE}


def test_decision_of_a_text_with_masks() -> None:
    snapshot = masking("shop.public.customers.email", "shop.hr.*.salary")
    decision = decide(snapshot, statement(relations=[use(Action.SELECT, CUSTOMERS, "email")]))
    assert decision.effect is Effect.ALLOW and decision.owes_masks
    assert set(decision.owed) == {EMAIL, SALARY}
    assert decision.masks == {EMAIL: Mask(MaskMethod.REDACT, rule="m")}
    assert [reason.rule for reason in decision.reasons] == ["a", "m"]
    other = decide(snapshot, statement(relations=[use(Action.SELECT, CUSTOMERS, "id")]))
    assert other.owes_masks and not other.masks
    assert [reason.rule for reason in other.reasons] == ["a"]


def test_the_strictest_mask_wins_whatever_the_order() -> None:
    weak = "  - {id: w, effect: mask, resources: ['*.*.*.email'], mask: {method: keep_last}}\n"
    strict = "  - {id: s, effect: mask, resources: ['*.*.*.email'], mask: {method: null}}\n"
    for rules in (weak + strict, strict + weak):
        entitlements = policy(rules).entitlements(ALICE, TARGET, CATALOG, "shop")
        assert entitlements.owed[EMAIL].rule == "s"


@given(
    st.lists(
        st.builds(
            Mask,
            st.sampled_from(list(MaskMethod)),
            keep=st.integers(0, 9),
            unit=st.sampled_from(["year", "month", "day"]),
            step=st.integers(1, 10),
        ),
        min_size=1,
    )
)
def test_strictness_orders_every_mask(masks: list[Mask]) -> None:
    ordered = sorted(masks, key=strictness)
    if any(mask.method is MaskMethod.NULL for mask in masks):
        assert ordered[0].method is MaskMethod.NULL
    kept = [mask.keep for mask in ordered if mask.method is MaskMethod.KEEP_LAST]
    assert kept == sorted(kept)


class TestConditional:
    SNAPSHOT = masking("*.*.customers.email", more=", when: time.hour >= 6")
    SUBJECT = statement(relations=[use(Action.SELECT, CUSTOMERS, "email")])

    def test_it_is_owed_when_its_condition_holds(self) -> None:
        by_day = decide(self.SNAPSHOT, self.SUBJECT)
        assert set(by_day.owed) == set(by_day.masks) == {EMAIL} and by_day.owes_masks
        assert not by_day.cacheable
        by_night = decide(self.SNAPSHOT, self.SUBJECT, now=NOON - 12 * 3600)
        assert not by_night.owed and not by_night.masks and not by_night.owes_masks

    def test_entitlements_count_it(self) -> None:
        entitlements = self.SNAPSHOT.entitlements(ALICE, TARGET, CATALOG, "shop")
        assert entitlements.owes and set(entitlements.owed) == {EMAIL}

    def test_another_mask_takes_over(self) -> None:
        weak = (
            "  - {id: w, effect: mask, resources: ['*.*.customers.email'], mask: {method: email}}\n"
        )
        snapshot = masking("*.*.customers.email", more=", when: time.hour >= 6", rules=weak)
        assert decide(snapshot, self.SUBJECT).owed[EMAIL].rule == "m"
        assert decide(snapshot, self.SUBJECT, now=NOON - 12 * 3600).owed[EMAIL].rule == "w"

    def test_without_an_answer_it_is_owed_and_what_touches_it_is_denied(self) -> None:
        snapshot = masking("*.*.customers.email", more=", when: target.labels.x == database")
        decision = decide(snapshot, self.SUBJECT)
        assert decision.effect is Effect.DENY and set(decision.owed) == {EMAIL}
        elsewhere = decide(snapshot, statement(relations=[use(Action.SELECT, EMPLOYEES, "id")]))
        assert elsewhere.effect is Effect.ALLOW and elsewhere.owes_masks

    def test_source_networks_count_as_a_condition(self) -> None:
        snapshot = masking("*.*.customers.email", more=", source: [192.168.0.0/16]")
        assert not decide(snapshot, self.SUBJECT).owes_masks
