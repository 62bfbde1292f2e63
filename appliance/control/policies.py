"""The policy's versions: every one that was ever brought is kept, one is active, and control says
which.

Made by `main`; asked by the console through `desk.Policies` and by `policy_telling` for the
supervisor. Rules: nothing that does not validate, or whose tests fail, is ever active; a change is
one transaction, recorded before it commits, so a kill leaves the version before or the version
after; what the files say counts when it changes, so that a restart does not undo a rollback; only
people with the role admin change what is active, always with a reason.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from appliance.approval.request import Person
from appliance.audit.record import (
    PolicyVersionActivated,
    PolicyVersionRefused,
    PolicyVersionStored,
)
from appliance.audit.redact import clean_name, clean_names
from appliance.control import policy_store
from appliance.control.changes import Changes, Work
from appliance.control.desk import (
    Activation,
    Applied,
    Conflict,
    DeskError,
    NotAllowed,
    PolicyText,
    PolicyVersion,
    Tested,
)
from appliance.control.policy_store import Documents
from appliance.control.rights import ADMIN, said, sees_everything
from appliance.link.approvals import POLICY_BYTES_MAX
from appliance.link.messages import PolicyDocument
from appliance.model.principal import PrincipalKind
from appliance.policy.compile import compile_documents, digest_of
from appliance.telemetry.log import Log

LISTED_MAX = 500
TEST_SECONDS_MAX = 60.0
APPLY_SECONDS_MAX = 30.0
"""For this appliance's workers to take a version; longer than they may take for a reload."""
FILES, ACTIVATED, ROLLED_BACK, TAKEN_BACK = "files", "activated", "rolled_back", "taken_back"
ERROR_CHARS_MAX = 500
KIND = "policy_activated"
_LOCK = "policy"
Examine = Callable[[Documents, Documents], Tested]
"""(policy, test cases) -> what came of them."""

log = Log("control")


class InForce(NamedTuple):
    """What everybody is to go by."""

    serial: int
    id: str
    documents: tuple[PolicyDocument, ...]


class Brought(NamedTuple):
    """What came of a proposal."""

    serial: int = 0
    """Of its activation; 0 = it changed nothing."""
    error: str = ""
    refused: bool = False
    """It does not validate, or its tests fail."""


class PolicyVersions:
    """See the module's docstring, and `desk.Policies`."""

    def __init__(
        self,
        changes: Changes,
        node: str,
        *,
        source: str = "",
        token_keys: Sequence[str] = (),
        examine: Examine | None = None,
    ) -> None:
        """`source`: whose files are compared with what they said before: '' where one appliance has
        the store for itself. `examine` None: test cases cannot be run, so whatever has some is
        refused."""
        self._changes = changes
        self._node = node
        self._source = source
        self._token_keys = tuple(token_keys)
        self._examine = examine
        self._overseen = False
        self._outcomes: dict[int, asyncio.Future[str]] = {}

    def overseen(self, there: bool) -> None:
        """Whether the supervisor of this appliance is linked: then activating waits for it."""
        self._overseen = there
        if not there:
            for waiting in self._outcomes.values():
                if not waiting.done():
                    waiting.set_result("")  # it is told when it is back

    # What the supervisor brings and is told.

    async def in_force(self) -> InForce | None:
        """None before anything was ever activated. Raises Unavailable."""
        async with self._changes.reading() as tx:
            active = await policy_store.newest(tx)
            if active is None:
                return None
            return InForce(
                active.serial, active.version, await policy_store.documents_of(tx, active.version)
            )

    async def serial(self) -> int:
        """Of what is in force, 0 for nothing. Raises Unavailable."""
        async with self._changes.reading() as tx:
            active = await policy_store.newest(tx)
        return 0 if active is None else active.serial

    async def propose(
        self, documents: Documents, tests: Documents = (), token_keys: Sequence[str] = ()
    ) -> Brought:
        """What this appliance's files say. Raises Unavailable."""
        if not documents:
            return await self._nothing_brought()
        id = digest_of(policy_store.pairs(documents))
        async with self._changes.reading() as tx:
            if await policy_store.proposed(tx, self._source) == id:
                return Brought()
        by = f"files of {self._node}"
        error = await asyncio.to_thread(_objection, documents, token_keys)
        tested = Tested() if error else await self._tested(documents, tests)
        error = error or _failures(tested)
        async with self._changes.work() as work:
            await work.tx.serialise(_LOCK)
            if error:
                reason = clean_name(error, ERROR_CHARS_MAX)
                work.record(
                    PolicyVersionRefused(
                        id=work.id(), time=work.now, version=id, by=by, node=self._node,
                        reason=reason,
                    )
                )  # fmt: skip
                return Brought(error=error, refused=True)
            return await self._taken(work, id, documents, tested, by)

    async def _nothing_brought(self) -> Brought:
        async with self._changes.reading() as tx:
            active = await policy_store.newest(tx)
        if active is None:
            return Brought()
        return Brought(error=f"no policy file is named, but policy {active.version[:16]} is active")

    async def _taken(
        self, work: Work, id: str, documents: Documents, tested: Tested, by: str
    ) -> Brought:
        active, before = (
            await policy_store.newest(work.tx),
            await policy_store.proposed(work.tx, self._source),
        )
        await self._store(work, id, documents, tested, by)
        if active is not None and active.version == id:
            return Brought()
        if active is not None and not before:
            # An appliance that joins others does not overrule them by being there.
            return Brought(
                error=f"policy {active.version[:16]} of the other appliances is active; "
                f"`sallyport policy activate {id[:16]}` if this one is to be"
            )
        reason = ", ".join(document.name for document in documents)
        made = await self._activate(work, id, active, by, FILES, clean_name(reason, 200), "files")
        return Brought(made.serial)

    async def _store(
        self, work: Work, id: str, documents: Documents, tested: Tested, by: str
    ) -> None:
        new = await policy_store.add(work.tx, id, documents, tested, by, work.now)
        await policy_store.put_proposed(work.tx, self._source, id, work.now)
        if new:
            work.record(
                PolicyVersionStored(
                    id=work.id(),
                    time=work.now,
                    version=id,
                    by=by,
                    node=self._node,
                    documents=clean_names(one.name for one in documents),
                    cases=tested.cases,
                    cases_failed=tested.failed,
                )
            )

    async def _tested(self, documents: Documents, tests: Documents) -> Tested:
        if not tests:
            return Tested()
        if self._examine is None:
            return Tested(error="test cases cannot be run here")
        try:
            async with asyncio.timeout(TEST_SECONDS_MAX):
                return await asyncio.to_thread(self._examine, documents, tests)
        except TimeoutError:
            return Tested(error=f"its tests took longer than {TEST_SECONDS_MAX:.0f} seconds")

    async def applied(self, serial: int, error: str) -> None:
        """This appliance's workers have taken what is in force, or say why not; then the version
        before is taken up again, if it came through this appliance. Raises Unavailable."""
        async with self._changes.work() as work:
            await work.tx.serialise(_LOCK)
            state = Applied(self._node, serial, clean_name(error, ERROR_CHARS_MAX), work.now)
            await policy_store.put_applied(work.tx, state)
            active = await policy_store.newest(work.tx)
            if error and active is not None and active.serial == serial:
                log.error("policy_not_applied", version=active.version[:16], reason=error)
                if active.previous and active.node == self._node and active.cause != TAKEN_BACK:
                    await self._activate(
                        work, active.previous, active, "sallyport", TAKEN_BACK, state.error
                    )
        waiting = self._outcomes.get(serial)
        if waiting is not None and not waiting.done():
            waiting.set_result(error)

    # What people do.

    async def versions(self, person: Person, limit: int = 100) -> list[PolicyVersion]:
        _check_reader(person)
        async with self._changes.reading() as tx:
            return await policy_store.versions(tx, max(1, min(limit, LISTED_MAX)))

    async def version(self, person: Person, id: str) -> PolicyText:
        _check_reader(person)
        async with self._changes.reading() as tx:
            full = await policy_store.named(tx, id)
            version = await policy_store.version(tx, full)
            documents = await policy_store.documents_of(tx, full)
        texts = tuple((one.name, one.text.decode()) for one in documents)
        return PolicyText(version=version, documents=texts)

    async def history(
        self, person: Person, limit: int = 100
    ) -> tuple[list[Activation], list[Applied]]:
        _check_reader(person)
        async with self._changes.reading() as tx:
            made = await policy_store.activations(tx, max(1, min(limit, LISTED_MAX)))
            return made, await policy_store.applied(tx)

    async def activate(self, person: Person, id: str, reason: str) -> Activation:
        reason = _checked(person, reason)
        async with self._changes.reading() as tx:
            full = await policy_store.named(tx, id)
            documents = await policy_store.documents_of(tx, full)
        if error := await asyncio.to_thread(_objection, documents, self._token_keys):
            raise Conflict(f"this version is no policy for this program: {error}")
        async with self._changes.work() as work:
            await work.tx.serialise(_LOCK)
            active = await policy_store.newest(work.tx)
            if active is not None and active.version == full:
                raise Conflict("this version is active")
            made = await self._activate(
                work, full, active, person.name, ACTIVATED, reason, person.via
            )
        return await self._settled(made)

    async def roll_back(self, person: Person, reason: str, active: str) -> Activation:
        reason = _checked(person, reason)
        async with self._changes.reading() as tx:
            found = await policy_store.newest(tx)
            before = "" if found is None else await policy_store.before(tx, found)
            documents = await policy_store.documents_of(tx, before) if before else ()
        if found is None or not before:
            raise Conflict("there is no version before this one")
        if found.version != active:
            raise Conflict(f"another version is active by now: {found.version[:16]}")
        if error := await asyncio.to_thread(_objection, documents, self._token_keys):
            raise Conflict(f"the version before is no policy for this program: {error}")
        async with self._changes.work() as work:
            await work.tx.serialise(_LOCK)
            now = await policy_store.newest(work.tx)
            if now is None or now.serial != found.serial:
                raise Conflict("another version is active by now")
            made = await self._activate(
                work, before, now, person.name, ROLLED_BACK, reason, person.via
            )
        return await self._settled(made)

    async def _activate(
        self,
        work: Work,
        version: str,
        active: Activation | None,
        by: str,
        cause: str,
        reason: str,
        via: str = "",
    ) -> Activation:
        """The caller holds the lock."""
        made = Activation(
            serial=1 if active is None else active.serial + 1,
            version=version,
            previous="" if active is None else active.version,
            time=work.now,
            by=by,
            cause=cause,
            reason=reason,
            via=via,
            node=self._node,
        )
        await policy_store.add_activation(work.tx, made)
        work.record(
            PolicyVersionActivated(
                id=work.id(),
                time=work.now,
                version=made.version,
                previous=made.previous,
                serial=made.serial,
                by=clean_name(by),
                cause=cause,
                reason=reason,
                via=via,
                node=self._node,
            )
        )
        work.tell(KIND, version, cause)
        # A rollback may open what was closed: it is to be seen by whoever looks at the log, too.
        say = log.info if cause == FILES else log.warning
        say(f"policy_{cause}", version=version[:16], previous=made.previous[:16], by=by)
        return made

    async def _settled(self, made: Activation) -> Activation:
        """Once this appliance's workers go by it. Raises Conflict. To be called at once after the
        commit: the supervisor's answer finds whoever waits for it."""
        if not self._overseen:
            return made
        waiting = asyncio.get_running_loop().create_future()
        self._outcomes[made.serial] = waiting
        try:
            async with asyncio.timeout(APPLY_SECONDS_MAX):
                error = await waiting
        except TimeoutError:
            text = "it is active, but this appliance's workers have not taken it yet"
            raise DeskError(text) from None
        finally:
            self._outcomes.pop(made.serial, None)
        if error:
            raise Conflict(f"the workers refuse it, so it was taken back: {error}")
        return made


def _check_reader(person: Person) -> None:
    """Raises NotAllowed."""
    if not sees_everything(person):
        raise NotAllowed("your account has no role")


def _checked(person: Person, reason: str) -> str:
    """The reason. Raises NotAllowed, Conflict."""
    if person.kind is not PrincipalKind.HUMAN or person.on_behalf_of:
        raise NotAllowed("only people can change which policy is active")
    if ADMIN not in person.roles:
        raise NotAllowed("your account does not have the role admin")
    if not (given := said(reason)):
        raise Conflict("this needs a reason")
    return given


def _objection(documents: Documents, token_keys: Sequence[str]) -> str:
    """Why this is no policy, '' if it is one."""
    if sum(len(one.text) for one in documents) > POLICY_BYTES_MAX:
        return f"its documents are longer than {POLICY_BYTES_MAX // (1024 * 1024)} MiB together"
    try:
        snapshot = compile_documents(policy_store.pairs(documents))
    except ValueError as error:
        return str(error)
    if missing := snapshot.token_keys - set(token_keys):
        return f"its token masks need the key {sorted(missing)[0]!r}"
    return ""


def _failures(tested: Tested) -> str:
    if tested.error:
        return f"its tests cannot be run: {tested.error}"
    if tested.failed:
        first = f": {tested.failures[0]}" if tested.failures else ""
        return f"{tested.failed} of its {tested.cases} test cases fail{first}"
    return ""
