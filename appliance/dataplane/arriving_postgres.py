"""A PostgreSQL client's login: TLS, startup packet, proof of identity, and what it is told up to
its first ReadyForQuery.

Named in `protocols`. Rule: as in `arriving`.
"""

import secrets
from collections.abc import Sequence
from functools import lru_cache

from appliance.dataplane.arriving import (
    Asked,
    Believed,
    Cancelled,
    Door,
    reserved,
    startup_refused,
    tls_required,
)
from appliance.dataplane.cancels import Endable
from appliance.dataplane.connections import Upstream
from appliance.dataplane.proving import Proving
from appliance.dataplane.transport import upgrade
from appliance.identity.proof import Challenge
from appliance.identity.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramServer
from appliance.model.errors import InvariantBroken, ProtocolViolation, Refused
from appliance.model.limits import AUTH_MESSAGE_BYTES_MAX
from appliance.model.principal import AuthMethod
from appliance.model.refusal import Refusal
from appliance.session.announce import APPLICATION_NAME, Announcement
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals, startup


class PostgresArrival:
    """See `arriving.Arriving`."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._side = door.side
        self._proving = Proving(door.side, door.listener, door.services)
        self._message: startup.StartupMessage | None = None
        self._proof = b""
        """Our own last word of SCRAM, sent with what follows."""

    async def asked(self) -> Asked:
        message = self._message = await self._startup()
        user = message.parameters["user"]
        return Asked(
            user,
            message.parameters.get("database") or user,
            message.settings.get("application_name", ""),
            message.settings,
        )

    async def _startup(self) -> startup.StartupMessage:
        """Packets up to the StartupMessage. SSLRequest and GSSENCRequest are answered once each (an
        SSLRequest that came first, whole and alone, was answered by `listener`)."""
        contexts = self._door.services.governance.context(self._door.listener)
        asked: set[type] = set()
        while True:
            packet = await self._packet()
            if type(packet) in asked:
                raise ProtocolViolation("client", "the same request twice")
            asked.add(type(packet))
            if isinstance(packet, startup.StartupMessage):
                if contexts.required and self._side.ssl is None:
                    raise Refused(tls_required())
                return packet
            if isinstance(packet, startup.CancelRequest):
                await self._door.cancels.request(packet.pid, packet.secret)
                raise Cancelled
            if isinstance(packet, startup.SslRequest):
                if self._side.ssl is not None:
                    raise ProtocolViolation("client", "TLS was asked for within TLS")
                if contexts.context is not None:
                    if self._side.pending:
                        raise ProtocolViolation("client", "plaintext bytes behind SSLRequest")
                    self._side.write(startup.SSL_GRANTED)
                    await upgrade(self._side, contexts.context)
                    continue
            elif self._side.pending:
                raise ProtocolViolation("client", "bytes behind an encryption request")
            self._side.write(b"N")

    async def _packet(self) -> startup.Packet:
        await self._side.at_least(4)
        length = startup.packet_length(bytes((await self._side.at_least(4))[:4]))
        assert length is not None
        await self._side.at_least(length)
        return startup.parse_packet(self._side.take(length))

    def _negotiate(self, message: startup.StartupMessage) -> None:
        if message.minor > startup.PROTOCOL_MINOR_NEWEST or message.extensions:
            minor = min(message.minor, startup.PROTOCOL_MINOR_NEWEST)
            self._side.write(m.negotiate_protocol_version(minor, message.extensions))

    # --- identity ---------------------------------------------------------------------------------

    @property
    def method(self) -> AuthMethod | None:
        return self._proving.method

    async def believed(self) -> Believed:
        message = self._startup_message
        _check(message)
        self._negotiate(message)
        challenge = self._proving.identify(message.parameters["user"])
        if challenge is Challenge.CERTIFICATE:
            return self._proving.certificate()
        if challenge is Challenge.TOKEN:
            self._proving.method = AuthMethod.OIDC
            self._side.write(m.authentication(m.AUTH_CLEARTEXT))
            reader = m.Reader(await self._password(), "client")
            token = reader.cstring().decode("ascii", "replace")
            reader.end()
            return await self._proving.token(token)
        return await self._scram()

    async def _scram(self) -> Believed:
        contexts = self._door.services.governance.context(self._door.listener)
        binding = contexts.binding if self._side.ssl is not None else None
        offered = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256] if binding is not None else [SCRAM_SHA_256]
        method = self._proving.method = AuthMethod.SCRAM_SHA_256
        self._side.write(m.authentication_sasl(offered))
        reader = m.Reader(await self._password(), "client")
        mechanism = reader.cstring().decode("ascii", "replace")
        first = reader.take(max(reader.i32(), 0))
        reader.end()
        verifier, doomed = self._proving.verifier()
        scram = ScramServer(
            verifier,
            secrets.token_bytes(18),
            mechanism=mechanism,
            binding=binding,
            doomed=doomed,
        )
        if mechanism == SCRAM_SHA_256_PLUS:
            method = self._proving.method = AuthMethod.SCRAM_SHA_256_PLUS
        self._side.write(m.authentication(m.AUTH_SASL_CONTINUE, scram.first(first)))
        self._door.services.lulls.begin()  # the client iterates a hash some thousand times
        final = scram.final(await self._password())
        believed = self._proving.local(method)
        self._proof = m.authentication(m.AUTH_SASL_FINAL, final)
        return believed

    async def _password(self) -> bytes:
        """Body of the client's answer to an authentication request."""
        kind, frame = await self._side.message()
        if kind != m.PASSWORD or len(frame) > AUTH_MESSAGE_BYTES_MAX:
            raise ProtocolViolation("client", "expected an answer to the authentication request")
        return frame[5:]

    @property
    def _startup_message(self) -> startup.StartupMessage:
        if self._message is None:
            raise InvariantBroken("a proof before a name")
        return self._message

    # --- words ------------------------------------------------------------------------------------

    def welcome(
        self, upstream: Upstream, announcement: Announcement, session: Endable
    ) -> tuple[bytes, Sequence[tuple[int, bytes]]]:
        """AuthenticationOk up to ReadyForQuery, as the upstream said it, but with a cancel key of
        ours.
        """
        pieces = [self._proof, m.authentication(m.AUTH_OK)]
        reported = dict(upstream.parameters)
        name = reported.get(APPLICATION_NAME)
        if name is not None:
            shown = announcement.shown(APPLICATION_NAME.encode(), name.encode())
            reported[APPLICATION_NAME] = name if shown is None else shown
        pieces.append(_statuses(tuple(reported.items())))
        secret = self._door.cancels.mint(upstream.pid, self._startup_message.minor, session.cancel)
        pieces.append(m.backend_key_data(upstream.pid, secret))
        pieces.extend(upstream.notices)
        pieces.append(m.ready_for_query(ord("I")))
        return b"".join(pieces), [(upstream.pid, secret)]

    def administering(self, shown: dict[str, str]) -> bytes | None:
        pieces = [self._proof, m.authentication(m.AUTH_OK)]
        pieces += [m.parameter_status(name, value) for name, value in shown.items()]
        pieces.append(m.backend_key_data(0, secrets.token_bytes(4)))  # nothing to cancel
        pieces.append(m.ready_for_query(ord("I")))
        return b"".join(pieces)

    def farewell(self, sqlstate: str, message: str, hint: str = "") -> bytes:
        return refusals.fatal(sqlstate, message, hint)

    def refused(self, refusal: Refusal) -> bytes:
        return refusals.error_response(refusal, "FATAL")

    def passed_on(self, fields: dict[str, str]) -> bytes:
        sqlstate = fields.get("C", "08004")
        return refusals.fatal(sqlstate, fields.get("M", "the database refused the connection"))


def _check(message: startup.StartupMessage) -> None:
    if message.parameters.get("replication", "off") not in ("false", "off", "no", "0"):
        raise Refused(startup_refused("replication connections are not let through"))
    for name in message.settings:
        if name not in startup.SETTINGS_ALLOWED or reserved(name):
            raise Refused(
                startup_refused(f'setting "{name[:63]}" is not accepted at connection start')
            )


@lru_cache(maxsize=1024)
def _statuses(reported: tuple[tuple[str, str], ...]) -> bytes:
    """ParameterStatus messages; the same for most sessions."""
    return b"".join(m.parameter_status(name, value) for name, value in reported)
