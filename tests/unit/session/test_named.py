"""Plans of what SQL names."""

import msgspec
import pytest

from appliance.masking.plan import UNRESTRICTED, MaskPlan
from appliance.model.approval import HoldTerms
from appliance.model.decision import Decision, Effect, Mask, MaskMethod
from appliance.model.errors import Refused
from appliance.model.facts import Facts, PreparedUse, StatementFacts
from appliance.session import named
from appliance.session.flow import Granted, Verdict
from appliance.session.named import NamedPlans

NOW = ("policy 1", "catalog 1", "settings 1")


def verdict(
    verb: str, name: str, epoch: tuple[str, str, str] = NOW, *, restricted: bool = True
) -> Verdict:
    use = PreparedUse(verb, name)
    plan = MaskPlan(unrestricted=not restricted, kind=f"{verb} {name}", prepared=use)
    facts = Facts((StatementFacts("X", (), prepared=use),))
    decision = Decision(Effect.ALLOW, (), owes_masks=restricted)
    return Verdict(facts, decision, (plan,), None, restricted, False, epoch)


def asks(verb: str, name: str) -> MaskPlan:
    return verdict(verb, name).plans[0]


def at(epoch: tuple[str, str, str] = NOW) -> Verdict:
    """A verdict made now, whose plan is resolved."""
    return verdict("execute", "p", epoch)


def made(*uses: tuple[str, str], epoch: tuple[str, str, str] = NOW) -> NamedPlans:
    plans = NamedPlans()
    for verb, name in uses:
        plans.completed(verdict(verb, name, epoch), 0)
    return plans


@pytest.mark.parametrize(
    ("giving", "using", "letting_go"),
    [("prepare", "execute", "deallocate"), ("declare", "fetch", "close")],
)
def test_a_name_stands_for_what_it_was_given_to(giving: str, using: str, letting_go: str) -> None:
    assert made((giving, "p")).resolve(asks(using, "p"), at()).kind == f"{giving} p"
    for gone in ((letting_go, "p"), (letting_go, "")):
        with pytest.raises(Refused):
            made((giving, "p"), gone).resolve(asks(using, "p"), at())
    with pytest.raises(Refused):
        made((giving, "q")).resolve(asks(using, "p"), at())


def test_statements_and_cursors_are_named_apart() -> None:
    with pytest.raises(Refused):
        made(("prepare", "p")).resolve(asks("fetch", "p"), at())
    assert made(("prepare", "p"), ("close", "")).resolve(asks("execute", "p"), at())


@pytest.mark.parametrize(("using", "sqlstate"), [("execute", "26000"), ("fetch", "34000")])
def test_drivers_are_told_which_kind_of_name_is_unknown(using: str, sqlstate: str) -> None:
    with pytest.raises(Refused) as caught:
        NamedPlans().resolve(asks(using, "p"), at())
    assert caught.value.refusal.sqlstate == sqlstate


def test_what_names_nothing_is_its_own_plan() -> None:
    plan = MaskPlan(unrestricted=False)
    assert NamedPlans().resolve(plan, at()) is plan
    assert NamedPlans().resolve(asks("prepare", "p"), at()).kind == "prepare p"


@pytest.mark.parametrize("epoch", [("policy 2", "catalog 1", "settings 1"), (NOW[0], "2", NOW[2])])
def test_made_under_another_policy_or_catalog(epoch: tuple[str, str, str]) -> None:
    with pytest.raises(Refused):
        made(("prepare", "p")).resolve(asks("execute", "p"), at(epoch))


def test_other_settings_do_not_matter() -> None:
    """What was prepared was resolved then."""
    assert made(("prepare", "p")).resolve(asks("execute", "p"), at((NOW[0], NOW[1], "settings 2")))


def test_who_owed_nothing_then_and_does_now() -> None:
    plans = NamedPlans()
    plans.completed(verdict("prepare", "p", restricted=False), 0)
    with pytest.raises(Refused):
        plans.resolve(asks("execute", "p"), at())


def test_other_masks_than_hold_now() -> None:
    """A conditional mask that did not hold when it was prepared: its columns went in raw."""
    owed = {(16_400, 3): Mask(MaskMethod.NULL)}
    now = msgspec.structs.replace(
        at(), decision=Decision(Effect.ALLOW, (), owes_masks=True, owed=owed)
    )
    with pytest.raises(Refused):
        made(("prepare", "p")).resolve(asks("execute", "p"), now)


def test_before_anything_is_forwarded() -> None:
    assert made(("prepare", "p")).require(verdict("execute", "p")) is None
    assert made().require(verdict("execute", "p")) is not None


def test_for_who_owes_nothing() -> None:
    """Names we never saw pass; those of another policy do not."""
    free = verdict("execute", "p", restricted=False)
    assert made().outdated(free) is None
    assert made(("prepare", "p")).outdated(free) is None
    later = msgspec.structs.replace(free, epoch=("policy 2", *NOW[1:]))
    assert made(("prepare", "p")).outdated(later) is not None


def test_the_protocols_names_go_first() -> None:
    plans = made(("prepare", "p"))
    protocol = verdict("x", "of the protocol")
    asked = []

    def names(space: str, name: str, now: bool) -> Verdict | None:
        asked.append((space, name, now))
        return protocol

    plans.protocol = names
    assert plans.resolve(asks("execute", "p"), at()).kind == "x of the protocol"
    assert plans.resolve(asks("fetch", "c"), at(), now=False).kind == "x of the protocol"
    assert asked == [("statement", "p", True), ("cursor", "c", False)]


def test_names_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound a name is not remembered, and what is not remembered is refused."""
    monkeypatch.setattr(named, "NAMED_MAX", 2)
    plans = made(("prepare", "a"), ("prepare", "b"), ("prepare", "c"))
    assert plans.resolve(asks("execute", "b"), at())
    with pytest.raises(Refused):
        plans.resolve(asks("execute", "c"), at())
    assert plans.outdated(verdict("execute", "c", restricted=False)) is not None


def test_a_name_given_again_at_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The old plan may not stand for the new statement."""
    monkeypatch.setattr(named, "NAMED_MAX", 1)
    plans = made(("prepare", "a"))
    other = verdict("prepare", "a")
    newer = msgspec.structs.replace(
        other, plans=(msgspec.structs.replace(other.plans[0], kind="newer"),)
    )
    plans.completed(newer, 0)
    assert plans.resolve(asks("execute", "a"), at()).kind == "newer"


def test_nothing_named() -> None:
    plans = NamedPlans()
    plain = Verdict(
        Facts((StatementFacts("S", ()),)),
        Decision(Effect.ALLOW, ()),
        (UNRESTRICTED,),
        None,
        False,
        False,
        NOW,
    )
    plans.completed(plain, 0)
    plans.completed(plain, 5)
    assert plans.require(plain) is None and plans.outdated(plain) is None


@pytest.mark.parametrize("by", ["hour", "sweeping", "held", "approved"])
def test_what_is_decided_each_time_is_not_executed_by_sql(by: str) -> None:
    plain = verdict("prepare", "p")
    terms = HoldTerms()
    once = {
        "hour": {"decision": msgspec.structs.replace(plain.decision, cacheable=False)},
        "sweeping": {"sweeping": plain},
        "held": {"released": plain},
        "approved": {"granted": Granted("r", "b", "eve", terms)},
    }[by]
    anew = msgspec.structs.replace(plain, **once)
    executes = verdict("execute", "p").facts
    plans = made(("prepare", "p"))
    assert plans.unasked(executes) is None
    plans.completed(anew, 0)
    assert plans.unasked(executes) is not None
    assert plans.unasked(verdict("execute", "q").facts) is None
    plans.completed(plain, 0)
    assert plans.unasked(executes) is None
    plans.protocol = lambda space, name, now: anew if name == "p" else None
    assert plans.unasked(executes) is not None
    assert plans.unasked(verdict("deallocate", "p").facts) is None
