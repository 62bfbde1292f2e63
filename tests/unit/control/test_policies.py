"""The policy's versions over both stores: what is taken, what is active, who may say so, and that a
refused one, a restart and another appliance's files change nothing."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from appliance.approval.request import Person
from appliance.audit.record import Record
from appliance.control import policies as module
from appliance.control.desk import Conflict, NotAllowed, Tested, Unavailable, Unknown
from appliance.control.policies import Brought, PolicyVersions
from appliance.control.store import Store
from appliance.control.store_postgres import PostgresStore
from appliance.link.messages import PolicyDocument
from appliance.model.principal import PrincipalKind
from appliance.policy.compile import compile_documents, digest_of
from tests.desk import Desks, desks_of

RULE = "version: 1\nrules:\n  - {{id: read-{0}, effect: allow, actions: [select]}}\n"
ADMIN = Person("ada", PrincipalKind.HUMAN, roles=frozenset(("admin",)), via="cli")
VIEWER = Person("vic", PrincipalKind.HUMAN, roles=frozenset(("viewer",)))


def policy(name: str) -> tuple[PolicyDocument, ...]:
    return (PolicyDocument("/etc/p.yaml", RULE.format(name).encode()),)


def id_of(documents: tuple[PolicyDocument, ...]) -> str:
    return digest_of([(one.name, one.text) for one in documents])


ONE, TWO, THREE = policy("one"), policy("two"), policy("three")


def over(desks: Desks, node: str = "node-1", **given: object) -> PolicyVersions:
    return PolicyVersions(desks.changes, node, **given)  # type: ignore[arg-type]


def told(desks: Desks, event: str) -> list[Record]:
    return [r for r in desks.trail.records if r.__struct_config__.tag == event]


def announced(desks: Desks) -> asyncio.Event:
    """Set when the next activation was committed."""
    event = asyncio.Event()
    desks.changes.listen(lambda change: event.set() if change.kind == module.KIND else None)
    return event


async def active(versions: PolicyVersions) -> str:
    found = await versions.in_force()
    return "" if found is None else found.id


async def test_the_first_files_are_active_and_recorded(desks: Desks) -> None:
    versions = over(desks)
    assert await versions.in_force() is None
    assert await versions.propose(ONE) == Brought(serial=1)
    found = await versions.in_force()
    assert found is not None
    assert (found.serial, found.id, found.documents) == (1, id_of(ONE), ONE)
    [stored] = told(desks, "policy_version_stored")
    [made] = told(desks, "policy_version_activated")
    assert stored.by == made.by == "files of node-1"  # type: ignore[attr-defined]
    assert (made.cause, made.previous, made.serial) == ("files", "", 1)  # type: ignore[attr-defined]


async def test_its_id_begins_with_what_statements_records_say(desks: Desks) -> None:
    version = compile_documents([(one.name, one.text) for one in ONE]).version
    assert id_of(ONE).startswith(version)


async def test_the_same_files_again_are_nothing_new(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    assert await versions.propose(ONE) == Brought()
    assert len(told(desks, "policy_version_activated")) == 1


async def test_files_that_do_not_validate_are_refused_and_said(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    bad = (PolicyDocument("p", b"version: 1\nrules: [{id: x, effect: perhaps}]"),)
    brought = await versions.propose(bad)
    assert brought.refused
    assert "perhaps" in brought.error
    assert await active(versions) == id_of(ONE)
    [refused] = told(desks, "policy_version_refused")
    assert refused.version == id_of(bad)  # type: ignore[attr-defined]
    assert [v.id for v in await versions.versions(VIEWER)] == [id_of(ONE)]


async def test_a_token_key_that_is_not_there_is_refused(desks: Desks) -> None:
    text = b"""
version: 1
classifications: {pii: [shop.public.c.e]}
rules: [{id: m, effect: mask, classifications: [pii], mask: {method: token, key: k}}]
"""
    versions = over(desks)
    documents = (PolicyDocument("p", text),)
    assert "key 'k'" in (await versions.propose(documents)).error
    assert (await versions.propose(documents, (), ("k",))).serial == 1


async def test_no_files_do_not_take_the_policy_away(desks: Desks) -> None:
    versions = over(desks)
    assert await versions.propose(()) == Brought()
    await versions.propose(ONE)
    assert "is active" in (await versions.propose(())).error
    assert await active(versions) == id_of(ONE)


async def test_failing_tests_keep_a_version_out(desks: Desks) -> None:
    seen: list[tuple[object, object]] = []
    results = [Tested(3, 1, ("case 2: expected deny",)), Tested(3)]

    def examine(documents: object, tests: object) -> Tested:
        seen.append((documents, tests))
        return results[len(seen) - 1]

    versions = over(desks, examine=examine)
    cases = (PolicyDocument("cases", b"x"),)
    brought = await versions.propose(ONE, cases)
    assert brought.refused
    assert brought.error == "1 of its 3 test cases fail: case 2: expected deny"
    assert await versions.in_force() is None
    assert (await versions.propose(ONE, cases)).serial == 1  # the cases were mended
    assert seen == [(ONE, cases)] * 2
    [version] = await versions.versions(VIEWER)
    assert version.tested == Tested(3)


async def test_tests_that_nobody_can_run_keep_it_out(desks: Desks) -> None:
    brought = await over(desks).propose(ONE, (PolicyDocument("cases", b"x"),))
    assert brought.refused
    assert "cannot be run" in brought.error


async def test_rolling_back_walks_back_and_is_recorded(desks: Desks) -> None:
    versions = over(desks)
    for documents in (ONE, TWO, THREE):
        await versions.propose(documents)
    made = await versions.roll_back(ADMIN, "three opens too much", id_of(THREE))
    assert (made.version, made.previous, made.cause) == (id_of(TWO), id_of(THREE), "rolled_back")
    made = await versions.roll_back(ADMIN, "two as well", id_of(TWO))
    assert made.version == id_of(ONE)
    with pytest.raises(Conflict, match="no version before"):
        await versions.roll_back(ADMIN, "and one", id_of(ONE))
    record = told(desks, "policy_version_activated")[-1]
    assert (record.by, record.reason, record.via) == ("ada", "two as well", "cli")  # type: ignore[attr-defined]
    history, _ = await versions.history(VIEWER)
    assert [one.serial for one in history] == [5, 4, 3, 2, 1]


async def test_two_who_roll_back_at_once_do_it_once(desks: Desks) -> None:
    versions = over(desks)
    for documents in (ONE, TWO, THREE):
        await versions.propose(documents)
    both = [versions.roll_back(ADMIN, "bad", id_of(THREE)) for _ in range(2)]
    done = await asyncio.gather(*both, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done) == ["Activation", "Conflict"]
    assert await active(versions) == id_of(TWO)


async def test_a_restart_does_not_undo_a_rollback(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    await versions.propose(TWO)
    await versions.roll_back(ADMIN, "bad", id_of(TWO))
    assert await over(desks).propose(TWO) == Brought()
    assert await active(versions) == id_of(ONE)
    assert (await versions.propose(THREE)).serial == 4  # but a change of the files counts


async def test_any_version_can_be_activated_by_a_part_of_its_id(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    await versions.propose(TWO)
    made = await versions.activate(ADMIN, id_of(ONE)[:12], "as before")
    assert (made.version, made.cause) == (id_of(ONE), "activated")
    with pytest.raises(Conflict, match="is active"):
        await versions.activate(ADMIN, id_of(ONE), "again")
    for wrong in ("", "%", id_of(ONE)[:7], "f" * 64, id_of(ONE) + "0"):
        with pytest.raises(Unknown):
            await versions.activate(ADMIN, wrong, "?")


@pytest.mark.parametrize(
    ("person", "reason", "error"),
    [
        (VIEWER, "r", NotAllowed),
        (msgspec.structs.replace(ADMIN, roles=frozenset(("approver", "auditor"))), "r", NotAllowed),
        (msgspec.structs.replace(ADMIN, kind=PrincipalKind.AGENT), "r", NotAllowed),
        (msgspec.structs.replace(ADMIN, kind=PrincipalKind.SERVICE), "r", NotAllowed),
        (msgspec.structs.replace(ADMIN, on_behalf_of="eve"), "r", NotAllowed),
        (ADMIN, " \n ", Conflict),
    ],
)
async def test_who_may_not_and_without_a_reason(
    desks: Desks, person: Person, reason: str, error: type[Exception]
) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    await versions.propose(TWO)
    with pytest.raises(error):
        await versions.activate(person, id_of(ONE), reason)
    with pytest.raises(error):
        await versions.roll_back(person, reason, id_of(TWO))
    assert await active(versions) == id_of(TWO)


async def test_who_has_no_role_reads_nothing(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    nobody = Person("nob", PrincipalKind.HUMAN)
    for ask in (versions.versions(nobody), versions.version(nobody, "x"), versions.history(nobody)):
        with pytest.raises(NotAllowed):
            await ask


async def test_versions_show_their_text_and_which_is_active(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    desks.clock.advance(1)
    await versions.propose(TWO)
    newest, first = await versions.versions(VIEWER)
    assert (newest.id, newest.active, first.active) == (id_of(TWO), True, False)
    assert first.activated is not None
    assert first.activated.serial == 1
    shown = await versions.version(VIEWER, first.id)
    assert shown.documents == (("/etc/p.yaml", ONE[0].text.decode()),)


async def test_what_cannot_be_recorded_is_not_activated(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    desks.trail.broken = True
    with pytest.raises(Unavailable):
        await versions.propose(TWO)
    desks.trail.broken = False
    assert await active(versions) == id_of(ONE)
    assert (await versions.propose(TWO)).serial == 2


async def test_a_version_that_was_altered_in_the_store_is_not_given_out(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    async with desks.changes.work() as work:
        await work.tx.rows(
            "UPDATE policy_versions SET documents = $1", '[["/etc/p.yaml","version: 1"]]'
        )
    with pytest.raises(Unavailable):
        await versions.in_force()


async def test_what_the_workers_refuse_is_taken_back_loudly(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    await versions.applied(1, "")
    await versions.propose(TWO)
    versions.overseen(True)
    committed = announced(desks)
    activating = asyncio.create_task(versions.activate(ADMIN, id_of(ONE), "back"))
    await committed.wait()
    assert not activating.done()  # the workers have not said anything yet
    await versions.applied(3, "no key file")
    with pytest.raises(Conflict, match="no key file"):
        await activating
    assert await active(versions) == id_of(TWO)
    record = told(desks, "policy_version_activated")[-1]
    assert (record.cause, record.reason) == ("taken_back", "no key file")  # type: ignore[attr-defined]
    _, applied = await versions.history(VIEWER)
    assert [(one.node, one.serial, one.error) for one in applied] == [("node-1", 3, "no key file")]


async def test_activating_returns_when_the_workers_have_it(desks: Desks) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    await versions.propose(TWO)
    versions.overseen(True)
    committed = announced(desks)
    activating = asyncio.create_task(versions.activate(ADMIN, id_of(ONE), "back"))
    await committed.wait()
    await versions.applied(3, "")
    assert (await activating).serial == 3


async def test_a_supervisor_that_leaves_is_not_waited_for(
    desks: Desks, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = over(desks)
    await versions.propose(ONE)
    await versions.propose(TWO)
    versions.overseen(True)
    committed = announced(desks)
    activating = asyncio.create_task(versions.activate(ADMIN, id_of(ONE), "back"))
    await committed.wait()
    versions.overseen(False)
    assert (await activating).serial == 3
    monkeypatch.setattr(module, "APPLY_SECONDS_MAX", 0.05)
    versions.overseen(True)
    with pytest.raises(Exception, match="have not taken it yet"):
        await versions.activate(ADMIN, id_of(TWO), "forth")
    assert await active(versions) == id_of(TWO)


async def test_an_appliance_that_joins_does_not_overrule_the_others(
    new_store: Callable[[], Store],
) -> None:
    async with desks_of(new_store()) as desks:
        first, second = over(desks, "a", source="a"), over(desks, "b", source="b")
        await first.propose(ONE)
        brought = await second.propose(TWO)
        assert not brought.refused
        assert "other appliances" in brought.error
        assert await active(second) == id_of(ONE)
        assert await second.propose(TWO) == Brought()
        assert (await second.propose(THREE)).serial == 2  # from now on its changes count
        assert await first.propose(ONE) == Brought()  # what it said before
        await second.applied(2, "nothing goes")
        assert await active(first) == id_of(ONE)


async def test_another_appliances_refusal_takes_nothing_back(desks: Desks) -> None:
    first, second = over(desks, "a", source="a"), over(desks, "b", source="b")
    await first.propose(ONE)
    await first.propose(TWO)
    await second.applied(2, "not here")
    assert await active(first) == id_of(TWO)


@pytest.mark.parametrize("new_store", ["postgresql"], indirect=True)
async def test_other_appliances_hear_of_it_at_once(new_store: Callable[[], Store]) -> None:
    async with desks_of(new_store()) as here, desks_of(new_store()) as there:
        assert isinstance(there.store, PostgresStore)
        await there.store.hearing.wait()
        heard = announced(there)
        await over(here, "a", source="a").propose(ONE)
        async with asyncio.timeout(10):
            await heard.wait()
        assert await active(over(there, "b", source="b")) == id_of(ONE)
