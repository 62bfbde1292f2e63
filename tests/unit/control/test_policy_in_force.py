"""Which policy workers go by: the supervisor with fake workers and the real control process.
Changes of files, rollbacks, restarts, kills, workers that refuse; and nobody there to confirm it.
"""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest

from appliance.approval.request import Person
from appliance.control import kept_policy
from appliance.control.desk import Activation
from appliance.control.documents import Validated, read
from appliance.control.kept_policy import KeptPolicy
from appliance.control.policies import PolicyVersions
from appliance.control.policy_duty import PolicyDuty
from appliance.control.store_sqlite import SqliteStore
from appliance.link.approvals import Active
from appliance.link.messages import PolicyDocument
from appliance.link.spawning import module_command, module_environment
from appliance.model.principal import PrincipalKind
from appliance.policy.compile import compile_documents
from tests.desk import desks_of
from tests.unit.control.fake_worker import UNACCEPTABLE
from tests.unit.control.test_supervisor import Service, until

Result = TypeVar("Result")

MORE = """
control: {{listen: "127.0.0.1:0", node: node-1, socket: {folder}/c.sock}}
policy: {{files: [{folder}/p.yaml]}}
"""
RULE = "version: 1\nrules:\n  - {{id: read-{0}, effect: allow, actions: [select]}}\n"
ADMIN = Person("ada", PrincipalKind.HUMAN, roles=frozenset(("admin",)))
SECONDS = 60.0


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for a socket."""
    made = Path(tempfile.mkdtemp(prefix="sp-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Governed(Service):
    """With a policy file and a control process."""

    def __init__(self, folder: Path, workers: int = 2) -> None:
        super().__init__(folder, workers=workers)
        self.write(MORE.format(folder=folder))
        self.say("one")

    def say(self, name: str, more: str = "") -> None:
        """What the policy file holds from now on."""
        (self.folder / "p.yaml").write_text(RULE.format(name) + more)

    def hangup(self) -> str:
        """Reloads; why it was refused, '' = it was not."""
        refused, done = len(self.logged("reload_refused")), len(self.logged("reloaded"))
        os.kill(self.os_process.pid, signal.SIGHUP)
        until(
            lambda: (
                len(self.logged("reloaded")) > done or len(self.logged("reload_refused")) > refused
            ),
            SECONDS,
        )
        found = self.logged("reload_refused")[refused:]
        return str(found[0]["reason"]) if found else ""

    def runs(self, name: str) -> bool:
        """Whether every worker goes by this policy: new connections go round."""
        for _ in range(2 * self.workers):
            try:
                with self.connect() as client:
                    if f"read-{name}," not in client.ask("policy"):
                        return False
            except OSError:
                return False
        return True

    def terminate(self) -> None:
        self.signal(signal.SIGTERM)
        assert self.ended(SECONDS) == 0

    def metric_or_none(self, name: str) -> float | None:
        lines = self.get("/metrics")[1].decode().splitlines()
        return next((float(one.split()[1]) for one in lines if one.startswith(f"{name} ")), None)

    def control(self) -> int:
        """Its process id."""
        started = [one for one in self.logged("worker_started") if one["worker"] == 999]
        return int(str(started[-1]["child"]))

    def ask(self, do: Callable[[PolicyVersions], Awaitable[Result]]) -> Result:
        """Something of a desk of our own on the same store."""

        async def asking() -> Result:
            store = SqliteStore(self.folder / "d" / "control.sqlite")
            async with desks_of(store) as desks:
                return await do(PolicyVersions(desks.changes, "node-1"))

        return asyncio.run(asking())

    def roll_back(self) -> Activation:
        async def back(versions: PolicyVersions) -> Activation:
            found = await versions.in_force()
            assert found is not None
            return await versions.roll_back(ADMIN, "it opens too much", found.id)

        return self.ask(back)

    def active(self) -> str:
        """Name of the active version's rule, '' while there is none."""

        async def look(versions: PolicyVersions) -> str:
            found = await versions.in_force()
            if found is None:
                return ""
            return found.documents[0].text.decode().partition("read-")[2].partition(",")[0]

        return self.ask(look)

    def history(self) -> list[str]:
        async def look(versions: PolicyVersions) -> list[str]:
            made, _ = await versions.history(ADMIN)
            return [one.cause for one in reversed(made)]

        return self.ask(look)


@pytest.fixture
def governed(folder: Path) -> Iterator[Governed]:
    made = Governed(folder)
    with made.start() as started:
        assert isinstance(started, Governed)
        yield started


def test_what_the_files_say_is_stored_active_and_run(governed: Governed) -> None:
    assert governed.runs("one")
    assert (governed.active(), governed.history()) == ("one", ["files"])
    governed.say("two")
    assert governed.hangup() == ""
    assert governed.runs("two")
    assert (governed.active(), governed.history()) == ("two", ["files", "files"])
    assert governed.hangup() == ""  # the same again is nothing new
    assert governed.history() == ["files", "files"]


def test_a_rollback_reaches_workers_and_outlasts_every_restart(governed: Governed) -> None:
    governed.say("two")
    assert governed.hangup() == ""
    governed.roll_back()
    until(lambda: governed.runs("one"), SECONDS)
    with governed.connect() as client:
        client.ask("crash")
    until(lambda: governed.runs("one"), SECONDS)
    os.kill(governed.control(), signal.SIGKILL)
    until(lambda: len(governed.logged("supervisor_linked")) > 1, SECONDS)
    assert governed.hangup() == ""  # a reload for another reason
    assert governed.runs("one")
    governed.terminate()
    governed.log.clear()
    governed.start()
    assert governed.runs("one")
    assert governed.history() == ["files", "files", "rolled_back"]
    governed.say("three")
    assert governed.hangup() == ""
    assert governed.runs("three")


def test_a_version_that_a_worker_refuses_is_taken_back(governed: Governed) -> None:
    governed.say("two", UNACCEPTABLE.decode())
    assert governed.hangup() == "no"
    assert governed.runs("one")
    until(lambda: governed.active() == "one", SECONDS)
    assert governed.history() == ["files", "files", "taken_back"]


def test_a_file_that_does_not_validate_changes_nothing(governed: Governed) -> None:
    (governed.folder / "p.yaml").write_text("version: 1\nrules: [{id: x, effect: perhaps}]")
    assert "perhaps" in governed.hangup()
    (governed.folder / "p.yaml").write_text("")
    assert governed.hangup()
    assert governed.runs("one")
    assert governed.history() == ["files"]


def test_files_changed_while_it_was_down_wait_for_control(governed: Governed) -> None:
    governed.terminate()
    governed.say("two")
    governed.log.clear()
    governed.start()
    assert governed.runs("two")  # ready means: control has said so
    assert governed.history() == ["files", "files"]


def test_without_control_the_last_policy_goes_on_and_no_other_comes(folder: Path) -> None:
    service = Governed(folder)
    with service.start():
        assert service.runs("one")
    service.write(MORE.format(folder=folder).replace("{listen", "{run: separate, listen"))
    service.say("two")
    service.log.clear()
    with service.start():
        assert service.runs("one")
        assert "control process is away" in service.hangup()
        assert service.runs("one")
        service.say("one")
        assert service.hangup() == ""  # for something else than the policy
        assert json.loads(service.get("/readyz")[1])["control"] is False
    assert service.active() == "one"


def test_a_kept_policy_that_was_tampered_with_is_not_run(folder: Path) -> None:
    service = Governed(folder)
    with service.start():
        assert service.runs("one")
    path = folder / "d" / kept_policy.NAME
    kept = msgspec.msgpack.decode(path.read_bytes(), type=KeptPolicy)
    other = (PolicyDocument("p", RULE.format("all").encode()),)
    path.write_bytes(msgspec.msgpack.encode(msgspec.structs.replace(kept, documents=other)))
    service.log.clear()  # a killed process may have left half a line
    service.start(wait=False)
    assert service.ended(SECONDS) == 1
    assert "is not what was written" in str(service.logged("not_started")[0]["reason"])


def test_without_the_section_the_files_are_what_runs(folder: Path) -> None:
    service = Governed(folder)
    with service.start():
        assert service.runs("one")
    service.write(MORE.format(folder=folder).replace("control:", "# "))
    service.say("two")
    service.log.clear()
    with service.start():
        assert service.runs("two")
        assert not (folder / "d" / kept_policy.NAME).exists()
        service.say("three")
        assert service.hangup() == ""
        assert service.runs("three")


def test_a_control_process_of_its_own_is_followed_and_its_figures_are_shown(folder: Path) -> None:
    service = Governed(folder)
    service.write(MORE.format(folder=folder).replace("{listen", "{run: separate, listen"))
    command = module_command("appliance.control.main", "--config", str(service.source))
    with service.start():
        assert service.metric_or_none("sallyport_control_store_reachable") is None
        with subprocess.Popen(
            command, env=module_environment(os.environ), stdout=subprocess.DEVNULL
        ) as control:
            try:
                until(
                    lambda: service.metric_or_none("sallyport_control_store_reachable") == 1,
                    SECONDS,
                )
                assert json.loads(service.get("/readyz")[1])["control"] is True
                until(lambda: service.active() == "one", SECONDS)
                service.say("two")
                assert service.hangup() == ""
                assert service.runs("two")
                service.roll_back()
                until(lambda: service.runs("one"), SECONDS)
            finally:
                control.kill()
        until(lambda: service.metric_or_none("sallyport_control_store_reachable") is None, SECONDS)
        assert service.runs("one")


# By itself.


class Alone:
    """A duty without a link, on a clock."""

    def __init__(self, folder: Path, hours_max: float = 2) -> None:
        (folder / "d").mkdir(exist_ok=True)
        service = Governed(folder)
        self.now = 1_000_000.0
        self.current = self.files = read(service.source, 1)
        self.refusal = ""
        self.duty = PolicyDuty(
            self.files, (folder / "c.sock", "n"), hours_max, lambda: self.current,
            self.spread, lambda: None, lambda: self.now,
        )  # fmt: skip

    async def spread(self, new: Validated) -> str:
        if not self.refusal:
            self.current = new
        return self.refusal

    @property
    def text(self) -> str:
        return self.current.documents.policies[0].text.decode()

    async def hear(self, serial: int, name: str) -> None:
        documents = (PolicyDocument("p", RULE.format(name).encode()),)
        self.duty.link.active = Active(serial, documents)
        await self.look(serial)

    async def look(self, standing: int = 0) -> None:
        self.duty.link.standing = standing
        await self.duty._follow()
        await self.duty._confirm()


async def test_a_policy_nobody_confirms_ends_and_comes_back(folder: Path) -> None:
    alone = Alone(folder)
    await alone.hear(1, "two")
    assert "read-two" in alone.text
    alone.now += 2 * 3_600
    await alone.look()
    assert "read-two" in alone.text
    alone.now += 1
    await alone.look()
    assert "policy-not-confirmed" in alone.text
    assert alone.duty.stale
    alone.now += 1
    await alone.look()  # what was said before does not revive it
    assert "policy-not-confirmed" in alone.text
    again = Alone(folder)  # nor does a restart
    again.now = alone.now
    again.current = again.duty.first()
    assert "policy-not-confirmed" in again.text
    await alone.look(standing=1)
    assert "read-two" in alone.text
    assert not alone.duty.stale


async def test_confirmed_it_lasts(folder: Path) -> None:
    alone = Alone(folder)
    await alone.hear(1, "two")
    for _ in range(100):
        alone.now += 3_600
        await alone.look(standing=1)
    assert "read-two" in alone.text
    again = Alone(folder)
    again.now = alone.now
    assert "read-two" in again.duty.first().documents.policies[0].text.decode()


async def test_for_ever_is_for_ever(folder: Path) -> None:
    alone = Alone(folder, hours_max=0)
    await alone.hear(1, "two")
    alone.now += 10 * 365 * 86_400
    await alone.look()
    assert "read-two" in alone.text


async def test_what_does_not_validate_here_is_not_taken(folder: Path) -> None:
    alone = Alone(folder)
    await alone.hear(1, "two")
    alone.duty.link.active = Active(2, (PolicyDocument("p", b"version: 9"),))
    await alone.look(standing=2)
    assert "read-two" in alone.text
    assert alone.duty.serial == 1
    alone.duty.link.active = Active(3, ())  # nor is nothing
    await alone.look(standing=3)
    assert "read-two" in alone.text


def test_what_refuses_everything_is_a_policy() -> None:
    from appliance.control import policy_duty

    for why in (policy_duty.UNCONFIRMED, policy_duty.UNAGREED):
        [document] = policy_duty._refusing(why)
        snapshot = compile_documents([(document.name, document.text)])
        assert [rule.effect.value for rule in snapshot.rules] == ["deny"]
