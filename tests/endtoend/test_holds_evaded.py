"""Ways round an approval that were tried: what the database ran is asked of its own log."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from appliance.approval.request import State
from appliance.identity.verifiers import Directory, parse_users, render_users
from appliance.link.approvals import Withdraw
from tests.clusters import Authority, EmbeddedPostgres
from tests.endtoend import stage
from tests.endtoend.held import Held
from tests.endtoend.holds import POLICY, UPDATE, Scene, staged
from tests.endtoend.stage import Estate
from tests.wireclient import SYNC, TERMINATE, bind, error, execute, parse, query


@pytest.fixture(scope="module")
def vault(server_folder: Path) -> Iterator[EmbeddedPostgres]:
    """PostgreSQL 18 that logs every statement it is sent."""
    settings = {"max_connections": "320", "log_statement": "all"}
    with EmbeddedPostgres(server_folder / "evaded", 18, settings=settings) as server:
        stage.furnish(server)
        yield server


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, vault: EmbeddedPostgres, authority: Authority
) -> Iterator[Scene]:
    with staged(Estate(tmp_path_factory.mktemp("holds"), vault, authority)) as made:
        yield made


@pytest.fixture
def scene(service: Scene) -> Scene:
    service.begin()
    return service


@pytest.mark.parametrize("user", ["bob", "alice"])
def test_sql_execute_does_not_run_what_the_protocol_prepared(scene: Scene, user: str) -> None:
    """The Parse passes, since each Bind waits; SQL's EXECUTE shares its names, and has no Bind."""
    with scene.wire(user) as client:
        assert "E" not in "".join(m.kind for m in client.ask(parse("p", UPDATE), SYNC))
        for pieces in (
            (query("EXECUTE p"),),
            (query("EXPLAIN ANALYZE EXECUTE p"),),
            (query("SELECT 1; EXECUTE p"),),
            (query("CREATE TEMP TABLE t AS EXECUTE p"),),
            (parse("", "EXECUTE p"), bind(), execute(), SYNC),
        ):
            assert error(client.ask(*pieces))["C"] == "42501"
    assert scene.control.quiet() and scene.untouched


def test_a_pipeline_is_a_transaction(scene: Scene) -> None:
    """What it ran keeps its locks, whether or not a ReadyForQuery has told so."""
    alter = (parse("", "ALTER TABLE notes ADD x int"), bind(), execute(), SYNC)
    for begin in ("BEGIN", "SELECT count(*) FROM people"):
        with scene.wire() as client:
            got = client.ask(parse("", begin), bind(), execute(), *alter)
            assert "while a transaction is open" in error(got)["M"]
    assert scene.control.quiet() and scene.ran("ADD x") == 0


TWO = ", hold: {approvals: 2}"
SWEEPING = "UPDATE notes SET body = 'changed' WHERE id > (SELECT 0)"
SWEEPS = """
version: 1
rules:
  - {id: work, effect: allow, actions: [read, session, write]}
  - {id: sweeps, effect: hold, actions: [update], flags: [trivial_where], hold: {approvals: 2}}
"""
ALSO = "  - {id: changes, effect: hold, actions: [update]}\n"


def test_what_sweeps_is_judged_by_the_policy_of_then(estate: Callable[[], Estate]) -> None:
    """It is held once the database has said that it spares no row; policy changes meanwhile."""
    with staged(estate()) as scene, scene.connect() as bob:
        scene.govern(SWEEPS)
        held = Held(lambda: bob.execute(SWEEPING).rowcount)
        scene.control.approve(scene.control.hold())
        assert held.done() == 100
        scene.begin()
        held = Held(lambda: bob.execute(SWEEPING))
        ask = scene.control.hold()
        scene.govern(SWEEPS.replace("effect: hold", "effect: deny").replace(TWO, ""))
        scene.control.approve(ask)
        assert "changed while it waited" in str(held.refused())
        assert scene.untouched and scene.ran(SWEEPING) == 0


@pytest.mark.parametrize("prepare", [False, True])
def test_an_approval_of_less_is_none_of_what_sweeps(
    estate: Callable[[], Estate], prepare: bool
) -> None:
    """Two rules: one holds it anyway, the other once it turns out to spare no row."""
    with staged(estate()) as scene, scene.connect() as bob:
        scene.govern(SWEEPS + ALSO)
        held = Held(lambda: bob.execute(SWEEPING, prepare=prepare).rowcount)
        first = scene.control.hold()
        assert [need.rule for need in first.asked.terms.needs] == ["changes"]
        scene.control.approve(first)
        second = scene.control.hold()
        assert {need.rule for need in second.asked.terms.needs} == {"changes", "sweeps"}
        assert held.waits and scene.untouched
        scene.control.approve(second)
        assert held.done() == 100 and scene.ran(SWEEPING) == 1


def test_policy_asks_for_more_meanwhile(scene: Scene) -> None:
    with scene.connect() as bob:
        held = Held(lambda: bob.execute(UPDATE).rowcount)
        ask = scene.control.hold()
        scene.govern(POLICY.replace("eyes.}", "eyes., hold: {approvals: 2}}"))
        scene.control.approve(ask)
        more = scene.control.hold()
        assert [need.approvals for need in more.asked.terms.needs] == [2]
        assert held.waits and scene.untouched
        scene.control.approve(more)
        assert held.done() == 1 and scene.ran() == 1
        scene.govern(POLICY)


@pytest.mark.parametrize("last", [b"", TERMINATE])
def test_who_hangs_up_is_withdrawn_at_once(scene: Scene, last: bytes) -> None:
    """An approval that comes a moment later releases nothing."""
    with scene.wire() as client:
        client.send(query(UPDATE))
        ask = scene.control.hold()
        client.send(last)
    assert scene.control.took(Withdraw, 1.0).reason == "disconnected"
    scene.control.rule(ask, State.APPROVED)
    assert scene.control.quiet() and scene.untouched


def test_settings_that_a_pipeline_changes(scene: Scene) -> None:
    """The server reports them with its next ReadyForQuery only: no approval binds to them before,
    neither one that is asked for nor one that was got."""
    update = (parse("u", "UPDATE notes SET body = now()::text WHERE id = 7"), SYNC)
    change = (parse("", "SET LOCAL TimeZone TO 'Asia/Tokyo'"), bind(), execute())
    with scene.wire() as client:
        client.ask(*update)
        got = client.ask(query("BEGIN"), *change, bind("", "u"), execute(), SYNC, ready=2)
        assert "may have changed them" in error(got)["M"]
        assert scene.control.quiet()
        client.ask(query("ROLLBACK"), query("BEGIN"), ready=2)
        client.send(bind("approved", "u"), SYNC)
        scene.control.approve(scene.control.hold())
        client.until("Z")
        got = client.ask(*change, execute("approved"), SYNC)
        assert "may have changed them" in error(got)["M"]
        client.ask(query("ROLLBACK"))
        client.send(bind("", "u"), execute(), SYNC)
        scene.control.approve(scene.control.hold())
        assert not [m for m in client.until("Z") if m.kind == "E"]
    assert scene.ran("SET body") == 1


@pytest.mark.parametrize(
    "change",
    [
        "SET LOCAL TimeZone TO 'Asia/Tokyo'",
        "SET LOCAL app.tenant TO '2'",
        "SELECT set_config('app.tenant', '2', false)",
    ],
)
def test_settings_that_change_behind_an_approved_bind(scene: Scene, change: str) -> None:
    """An open transaction keeps the portal: what it was approved under has to hold as it runs."""
    text = "UPDATE notes SET body = now()::text || current_setting('app.tenant', true) WHERE id = 7"
    with scene.wire() as client:
        client.ask(parse("u", text), SYNC)
        client.ask(query("BEGIN"))
        client.send(bind("approved", "u"), SYNC)
        scene.control.approve(scene.control.hold())
        client.until("Z")
        client.ask(query(change))
        got = client.ask(execute("approved"), SYNC)
        assert error(got)["C"] == "42501"
        client.ask(query("ROLLBACK"))
    assert scene.ran("SET body = now()") == 0


def test_who_may_no_longer_log_in(scene: Scene) -> None:
    """What waits for them is withdrawn, and so is what they sent behind it."""
    users = scene.running.folder / "users.yaml"
    before = users.read_text()
    with scene.wire() as client:
        client.send(query(UPDATE), query(UPDATE))
        ask = scene.control.hold()
        kept = [user for user in parse_users(before).users if user.name != "bob"]
        users.write_text(render_users(Directory(kept)))
        assert scene.running.reload()
        assert scene.control.took(Withdraw, 5.0).reason == "session_ended"
        scene.control.rule(ask, State.APPROVED)
        errors = [m.fields["C"] for m in client.rest() if m.kind == "E"]
        assert errors[0] == "57P01" and errors[-1] == "28000"
    users.write_text(before)
    assert scene.running.reload()
    assert scene.untouched


LOCKS = """
SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)
WHERE l.relation = 'notes'::regclass AND a.usename <> current_user
"""


def test_no_lock_of_a_check_is_kept_while_it_waits(estate: Callable[[], Estate]) -> None:
    """What somebody who owes masks writes to is locked before the database says that it sweeps;
    while people think about it, anybody may change it, and it is looked at again."""
    alone = "{approvals: 2, in_transaction: refuse}"
    masked = POLICY[POLICY.index("  - {id: hide") :]
    with staged(estate()) as scene, scene.connect("alice") as alice:
        classified = 'version: 1\nclassifications:\n  ssn: ["*.public.people.ssn"]'
        policy = SWEEPS.replace("{approvals: 2}", alone) + masked
        scene.govern(policy.replace("version: 1", classified))
        held = Held(lambda: alice.execute(SWEEPING).rowcount)
        ask = scene.control.hold()
        assert not ask.asked.in_transaction and ask.asked.effect.rows_estimated
        assert scene.direct.execute(LOCKS).fetchone() == (0,)
        scene.direct.execute("ALTER TABLE notes ADD added int")
        assert held.waits and scene.untouched
        scene.control.approve(ask)
        assert held.done() == 100
        assert scene.body() == "changed"
        scene.direct.execute("ALTER TABLE notes DROP added")
        scene.begin()
        held = Held(lambda: alice.execute(SWEEPING))
        scene.control.rule(scene.control.hold(), State.DENIED, "eve", "no")
        assert "denied by eve: no" in str(held.refused())
        assert alice.execute("SELECT 1").fetchone() == (1,)
        assert scene.untouched


@pytest.mark.parametrize("user", ["bob", "alice"])
def test_what_an_execute_turns_out_to_sweep_waits(estate: Callable[[], Estate], user: str) -> None:
    """Its values are known only when it is bound, and what they spare only when it runs."""
    masked = POLICY[POLICY.index("  - {id: hide") :]
    text = "UPDATE notes SET body = %s WHERE id > (SELECT %s::int)"
    with staged(estate()) as scene, scene.connect(user) as client:
        classified = 'version: 1\nclassifications:\n  ssn: ["*.public.people.ssn"]'
        scene.govern((SWEEPS + masked).replace("version: 1", classified))
        client.prepare_threshold = 0
        assert client.execute(text, ("some", 99)).rowcount == 1  # spares rows: nobody is asked
        assert scene.control.quiet()
        held = Held(lambda: client.execute(text, ("changed", 0)).rowcount)
        ask = scene.control.hold()
        assert ask.asked.in_transaction and "trivial_where" in ask.asked.flags
        assert held.waits and scene.body() == "note 7"
        scene.control.approve(ask)
        assert held.done() == 100 and scene.body() == "changed"
        held = Held(lambda: client.execute(text, ("again", 0)).rowcount)  # another value
        other = scene.control.hold()
        assert other.asked.binding != ask.asked.binding
        scene.control.rule(other, State.DENIED, "eve", "no")
        assert "denied by eve: no" in str(held.refused())
        assert scene.body() == "changed"
        assert client.execute("SELECT 1").fetchone() == (1,)
