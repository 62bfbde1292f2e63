"""A client's login that is written as a conversation (`wire/conversation`): carries out its steps,
and answers those that are about identity.

Named in `protocols`; knows no protocol. Rule: as in `arriving`.
"""

import asyncio
import secrets
from collections.abc import Callable, Generator, Sequence
from functools import reduce
from operator import and_
from typing import Any, NamedTuple, Protocol

from appliance.config.schema import Authentication, TargetConfig
from appliance.dataplane.arriving import Asked, Believed, Door, tls_required
from appliance.dataplane.cancels import Endable, own_key
from appliance.dataplane.connections import Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.conversing import carried_out
from appliance.dataplane.proving import Proving
from appliance.dataplane.services import Services
from appliance.dataplane.transport import upgrade
from appliance.dataplane.upstream_steps import conversed, opened
from appliance.identity.failures import login_refused
from appliance.identity.proof import Challenge
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.principal import AuthMethod
from appliance.model.refusal import Refusal
from appliance.session.announce import Announcement
from appliance.wire.conversation import (
    Asks,
    BegunAgain,
    Certificate,
    Disproved,
    Identify,
    Meet,
    Met,
    Password,
    Proved,
    Recall,
    Receive,
    Remember,
    Stored,
    Token,
)

ENTROPY_BYTES = 64
MEET_SECONDS_MAX = 5.0

_ASKS = {
    Challenge.CERTIFICATE: Asks.CERTIFICATE,
    Challenge.SCRAM: Asks.PASSWORD,
    Challenge.TOKEN: Asks.TOKEN,
}


class Terms(NamedTuple):
    """What a login conversation is begun with."""

    thread: int
    entropy: bytes
    """Random."""
    tls: bool
    """Whether the client may have it."""
    native: bool
    """Whether old clients are given a way (`Authentication.NATIVE`)."""
    private_key: Callable[[], bytes]
    """PEM, RSA: for passwords of clients without TLS."""
    again: BegunAgain | None
    """The client had a session before, and this is how it asked for another."""
    secure: bool
    """There is TLS already."""


class Conversation(Protocol):
    """What `wire/*/client_login` makes."""

    def steps(self) -> Generator[Any, Any, None]: ...
    def welcome(self, reported: dict[str, str]) -> bytes: ...
    def farewell(self, sqlstate: str, message: str, hint: str = "") -> bytes: ...
    def refused(self, refusal: Refusal) -> bytes: ...
    def passed_on(self, fields: dict[str, str]) -> bytes: ...


class SteppedArrival:
    """See `arriving.Arriving`."""

    def __init__(
        self,
        door: Door,
        converse: Callable[[Terms], Conversation],
        meet: Callable[[], Generator[Any, Any, Met]],
    ) -> None:
        """`meet`: the conversation by which a database is asked what it is, without a login."""
        services, listener = door.services, door.listener
        self._door = door
        self._meet = meet
        self.thread = services.new_thread()
        """By which the client knows its session."""
        self._conversation = converse(
            Terms(
                thread=self.thread,
                entropy=secrets.token_bytes(ENTROPY_BYTES),
                tls=services.governance.context(listener).context is not None,
                native=Authentication.NATIVE in listener.authentication,
                private_key=services.private_key,
                again=None if door.again is None else BegunAgain(*door.again),
                secure=door.side.ssl is not None,
            )
        )
        self._steps = self._conversation.steps()
        self._proving = Proving(door.side, door.listener, door.services)
        self._believed: Believed | None = None

    @property
    def method(self) -> AuthMethod | None:
        return self._proving.method

    async def asked(self) -> Asked:
        step = await self._until_identity(None)
        if not isinstance(step, Identify):
            raise InvariantBroken("a login without a name")
        context = self._door.services.governance.context(self._door.listener)
        if context.required and self._door.side.ssl is None:
            raise Refused(tls_required())
        self._proving.user = step.user
        return Asked(step.user, step.database, step.application, step.settings)

    async def believed(self) -> Believed:
        answer: Any = _ASKS[self._proving.identify(self._proving.user)]
        while True:
            step = await self._until_identity(answer)
            if step is None:
                break
            answer = await self._answered(step)
        if self._believed is None:
            raise InvariantBroken("a login that proved nothing")
        return self._believed

    async def _until_identity(self, answer: Any) -> Any:
        """Carries out steps up to the next that is about identity. -> that, None at the end."""
        side = self._door.side
        while True:
            try:
                step = self._steps.send(answer)
            except StopIteration:
                return None
            if isinstance(step, _ABOUT_IDENTITY):
                return step
            if isinstance(step, Meet):
                answer = await self._met()
            elif isinstance(step, Receive):  # behind it there may be the beginning of TLS
                answer = await side.exactly(step.count)
            else:
                answer = await carried_out(side, step, self._secured)

    async def _met(self) -> Met | None:
        """What all targets of the listener are, so that what a client is offered is to be had
        wherever it goes; the first one's version, unless configuration says another."""
        services, listener = self._door.services, self._door.listener
        found = [
            await met(services, target, self._meet)
            for target in services.governance.configuration.targets_of(listener)
        ]
        known = [each for each in found if each is not None]
        if not known:
            return None
        capabilities = reduce(and_, (each.capabilities for each in known))
        return Met(listener.server_version or known[0].version, capabilities)

    async def _secured(self) -> None:
        side = self._door.side
        context = self._door.services.governance.context(self._door.listener).context
        if context is None or side.ssl is not None:
            raise ProtocolViolation("client", "TLS is not to be had")
        await upgrade(side, context)

    async def _answered(self, step: Any) -> Any:
        proving = self._proving
        match step:
            case Certificate():
                self._believed = proving.certificate()
            case Token(text=text):
                self._believed = await proving.token(text.decode("ascii", "replace"))
            case Password(text=text, method=method):
                self._believed = await proving.password(text, method)
            case Proved(method=method):
                self._believed = proving.local(method)
            case Disproved(rule=rule):
                raise login_refused(rule)
            case Recall():
                return proving.recall()
            case Remember(digest=digest):
                proving.remember(digest)
            case Stored():
                return proving.stored()
            case _:
                raise InvariantBroken("a name that was said twice")
        return None

    def welcome(
        self, upstream: Upstream, announcement: Announcement, session: Endable
    ) -> tuple[bytes, Sequence[tuple[int, bytes]]]:
        """The client cancels over another session of its own: see `cancels.own_key`."""
        self._door.side.read(True)
        self._door.side.pauses = 0  # those were not the peers' doing
        keys = []
        if self._believed is not None:
            principal, cancels = self._believed.principal, self._door.cancels
            for wish, statement_only in ((session.cancel, True), (session.ended_by_own, False)):
                keys.append((self.thread, own_key(principal, statement_only)))
                cancels.register(*keys[-1], wish)
        return self._conversation.welcome(upstream.parameters), keys

    def administering(self, shown: dict[str, str]) -> bytes | None:
        return None

    def farewell(self, sqlstate: str, message: str, hint: str = "") -> bytes:
        return self._conversation.farewell(sqlstate, message, hint)

    def refused(self, refusal: Refusal) -> bytes:
        return self._conversation.refused(refusal)

    def passed_on(self, fields: dict[str, str]) -> bytes:
        return self._conversation.passed_on(fields)


async def met(
    services: Services, target: TargetConfig, meet: Callable[[], Generator[Any, Any, Met]]
) -> Met | None:
    """What the target said of itself the last time; it is asked if it never was."""
    known = services.met.get(target.name)
    if known is not None:
        return known
    try:
        async with asyncio.timeout(MEET_SECONDS_MAX):
            side = await opened(target)
            found: Met = await conversed(side, meet(), target, None)
            side.abort()
    except (UpstreamRefused, UpstreamUnreachable, ProtocolViolation, TimeoutError):
        return None
    services.met[target.name] = found
    return found


_ABOUT_IDENTITY = (
    Identify,
    Certificate,
    Token,
    Password,
    Recall,
    Remember,
    Stored,
    Proved,
    Disproved,
)
