"""From a fresh connection to a session: TLS, startup packet, proof of identity, upstream, first
ReadyForQuery.

Called by `listener`, one coroutine per connecting client, under one deadline for all of it. Rule:
every failure gives the client one native error that does not say which part of its proof was wrong,
and leaves one LoginFailed record.
"""

import asyncio
import secrets
import ssl
from collections.abc import Iterable
from functools import lru_cache

import msgspec

from _speedups.pghits import HitPath
from appliance.audit.compose import client_part
from appliance.audit.record import LoginFailed, SessionOpened
from appliance.audit.redact import clean_name
from appliance.config.schema import AdminDatabase, Durability, Listener, TargetConfig
from appliance.dataplane.admin import (
    AdminSession,
    Session,
    administers,
    not_for_you,
    parameters,
)
from appliance.dataplane.cancels import Cancels
from appliance.dataplane.catalogs import Catalogs
from appliance.dataplane.cleaning import set_texts
from appliance.dataplane.conductor import Conductor, where
from appliance.dataplane.pool import Kept
from appliance.dataplane.services import Governance, Services
from appliance.dataplane.transport import Side, upgrade
from appliance.dataplane.upstreams import (
    Login,
    Upstream,
    UpstreamRefused,
    UpstreamUnreachable,
    open_upstream,
)
from appliance.identity.certificates import certificate_principal
from appliance.identity.claims import peek, provider_of, verify
from appliance.identity.failures import login_refused
from appliance.identity.mapping import RESERVED_PREFIX, UpstreamIdentity, upstream_identity
from appliance.identity.proof import Challenge, challenge_for, proved
from appliance.identity.scram import SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramServer
from appliance.model.errors import ProtocolViolation, Refused
from appliance.model.limits import AUTH_MESSAGE_BYTES_MAX
from appliance.model.principal import AuthMethod, Client, Principal
from appliance.model.refusal import Refusal, RefusalCode
from appliance.session.announce import APPLICATION_NAME, Announcement
from appliance.session.flow import CACHED_TEXT_BYTES_MAX, Judge
from appliance.session.hits import HELD
from appliance.session.machine import SessionMachine
from appliance.session.named import NamedPlans
from appliance.session.postgres import POSTGRES
from appliance.session.records import Recorder
from appliance.session.results import ResultLocks
from appliance.session.settings import SettingsTracker
from appliance.session.state import SessionState
from appliance.telemetry.log import Log
from appliance.wire.postgres import messages as m
from appliance.wire.postgres import refusals, startup

_log = Log("login")
LOCAL_METHODS = (AuthMethod.SCRAM_SHA_256, AuthMethod.SCRAM_SHA_256_PLUS)
REFUSED_SETTINGS_RULE = "builtin:startup-settings"


class Cancelled(Exception):
    """The connection was a CancelRequest; it has been passed on."""


class Attempt:
    """One client on its way in. What is known of it so far is what a LoginFailed record can say."""

    def __init__(
        self,
        side: Side,
        listener: Listener,
        address: tuple[str, int],
        services: Services,
        cancels: Cancels,
        catalogs: Catalogs,
        sessions: Iterable[Session],
    ) -> None:
        self._sessions = sessions
        self._side = side
        self._listener = listener
        self._address = address
        self._services = services
        self._governance: Governance = services.governance
        self._cancels = cancels
        self._catalogs = catalogs
        self._user = ""
        self._database = ""
        self._application = ""
        self._target: TargetConfig | None = None
        self._method: AuthMethod | None = None
        self._expires: float | None = None
        self._proof = b""
        """Our own last word of SCRAM, sent with what follows."""

    async def run(self) -> Conductor | AdminSession | None:
        """The running session; None when there is none (cancel request, or a failure the client has
        been told).
        """
        seconds = self._governance.configuration.limits.login_ms_max / 1000
        metrics = self._services.metrics
        begun = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(seconds):
                conductor = await self._log_in()
        except Cancelled:
            self._side.close()
        except TimeoutError:
            metrics.logins_timeout += 1
            self._fail("deadline", refusals.fatal("57P05", "login took too long"))
        except Refused as refused:
            metrics.logins_failed += 1
            self._fail(refused.refusal.rule, refusals.error_response(_told(refused), "FATAL"))
        except UpstreamRefused as error:
            metrics.upstream_connects_failed += 1
            self._fail("upstream_refused", _passed_on(error.fields))
        except UpstreamUnreachable as error:
            metrics.upstream_connects_failed += 1
            if self._target is not None:
                self._services.targets_reached[self._target.name] = False
            self._fail("upstream_unreachable", refusals.fatal("08001", error.reason))
        except ProtocolViolation as violation:
            metrics.clients_refused_protocol += 1
            self._fail("violation", refusals.fatal("08P01", violation.reason))
        except ssl.SSLError as error:
            metrics.clients_refused_tls += 1
            self._fail(tls_reason(error), b"")
            self._side.abort()
        except (ConnectionError, OSError):
            if self._user:
                self._fail("client_lost", b"")
            self._side.abort()
        except Exception as error:  # whatever it is, the client is not left hanging
            metrics.connections_cut_invariant += 1
            _log.error("login cut", listener=self._listener.name, error=where(error))
            self._fail("invariant", refusals.fatal("XX000", "the appliance could not log you in"))
        else:
            metrics.logins_ok += 1
            metrics.login_seconds.observe(asyncio.get_running_loop().time() - begun)
            return conductor
        return None

    def _fail(self, reason: str, message: bytes) -> None:
        now = self._services.now()
        self._services.owe(
            LoginFailed(
                id=self._services.new_id(now),
                time=now,
                claimed=clean_name(self._user),
                reason=reason,
                client=client_part(self._client()),
                auth=self._method,
                target="" if self._target is None else self._target.name,
                database=clean_name(self._database),
            )
        )
        if message:
            self._side.write(message)
        self._side.close()

    def _client(self) -> Client:
        return Client(
            address=self._address[0],
            port=self._address[1],
            listener=self._listener.name,
            tls=self._side.ssl is not None,
            application=self._application,
        )

    # --- steps ------------------------------------------------------------------------------------

    async def _log_in(self) -> Conductor | AdminSession:
        message = await self._startup()
        self._user = message.parameters["user"]
        self._database = message.parameters.get("database") or self._user
        self._application = message.settings.get("application_name", "")
        self._check(message)
        self._negotiate(message)
        self._target = self._route()
        principal, method = await self._authenticate()
        admin = self._governance.configuration.admin_database
        if admin is not None and admin.name == self._database:
            return self._administer(message, principal, method, admin)
        if self._target is None:  # said only now: which databases there are is not for strangers
            raise Refused(_no_target())
        identity = upstream_identity(principal, self._target, self._database)
        return await self._open(message, principal, method, identity)

    async def _startup(self) -> startup.StartupMessage:
        """Packets up to the StartupMessage. SSLRequest and GSSENCRequest are answered once each."""
        contexts = self._governance.context(self._listener)
        asked: set[type] = set()
        while True:
            packet = await self._packet()
            if type(packet) in asked:
                raise ProtocolViolation("client", "the same request twice")
            asked.add(type(packet))
            if isinstance(packet, startup.StartupMessage):
                if contexts.required and self._side.ssl is None:
                    raise Refused(_tls_required())
                return packet
            if isinstance(packet, startup.CancelRequest):
                await self._cancels.request(packet.pid, packet.secret)
                raise Cancelled
            if isinstance(packet, startup.SslRequest) and self._side.ssl is None:
                if contexts.context is not None:
                    if self._side.pending:
                        raise ProtocolViolation("client", "plaintext bytes behind SSLRequest")
                    self._side.write(b"S")
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

    def _check(self, message: startup.StartupMessage) -> None:
        if "replication" in message.parameters and message.parameters["replication"] not in (
            "false",
            "off",
            "no",
            "0",
        ):
            raise Refused(_startup_refused("replication connections are not let through"))
        for name in message.settings:
            if name not in startup.SETTINGS_ALLOWED or name.startswith(RESERVED_PREFIX):
                raise Refused(
                    _startup_refused(f'setting "{name[:63]}" is not accepted at connection start')
                )

    def _negotiate(self, message: startup.StartupMessage) -> None:
        if message.minor > startup.PROTOCOL_MINOR_NEWEST or message.extensions:
            minor = min(message.minor, startup.PROTOCOL_MINOR_NEWEST)
            self._side.write(m.negotiate_protocol_version(minor, message.extensions))

    def _route(self) -> TargetConfig | None:
        name = self._listener.target_for(self._database)
        return None if name is None else self._governance.configuration.target(name)

    # --- identity ---------------------------------------------------------------------------------

    async def _authenticate(self) -> tuple[Principal, AuthMethod]:
        certificate = self._side.certificate()
        providers = self._governance.configuration.identities.oidc
        challenge = challenge_for(
            self._user,
            self._listener,
            providers,
            tls=self._side.ssl is not None,
            certificate=certificate is not None,
        )
        if challenge is Challenge.CERTIFICATE:
            self._method = AuthMethod.CERTIFICATE
            assert certificate is not None
            rules = self._governance.configuration.identities.certificates
            found = certificate_principal(certificate, rules)
            return proved(self._user, found, self._governance.directory), self._method
        if challenge is Challenge.TOKEN:
            self._method = AuthMethod.OIDC
            found = await self._token()
            return proved(self._user, found, self._governance.directory), self._method
        return await self._scram()

    async def _token(self) -> Principal:
        self._side.write(m.authentication(m.AUTH_CLEARTEXT))
        body = await self._password()
        reader = m.Reader(body, "client")
        token = reader.cstring().decode("ascii", "replace")
        reader.end()
        peeked = peek(token)
        provider = provider_of(peeked, self._governance.configuration.identities.oidc)
        source = self._governance.key_sources[provider.issuer]
        keys = await source.find(peeked.kid, peeked.algorithm)
        verified = verify(token, provider, keys, self._services.now())
        self._expires = verified.expires + provider.leeway_s
        return verified.principal

    async def _scram(self) -> tuple[Principal, AuthMethod]:
        contexts = self._governance.context(self._listener)
        binding = contexts.binding if self._side.ssl is not None else None
        offered = [SCRAM_SHA_256_PLUS, SCRAM_SHA_256] if binding is not None else [SCRAM_SHA_256]
        self._method = AuthMethod.SCRAM_SHA_256
        self._side.write(m.authentication_sasl(offered))
        reader = m.Reader(await self._password(), "client")
        mechanism = reader.cstring().decode("ascii", "replace")
        first = reader.take(max(reader.i32(), 0))
        reader.end()
        directory = self._governance.directory
        verifier, doomed = directory.verifier_for(self._user, self._services.mock_secret)
        scram = ScramServer(
            verifier,
            secrets.token_bytes(18),
            mechanism=mechanism,
            binding=binding,
            doomed=doomed,
        )
        if mechanism == SCRAM_SHA_256_PLUS:
            self._method = AuthMethod.SCRAM_SHA_256_PLUS
        self._side.write(m.authentication(m.AUTH_SASL_CONTINUE, scram.first(first)))
        final = scram.final(await self._password())
        principal = directory.principal(self._user)
        if principal is None:
            raise login_refused("identity.proof.unknown")
        self._proof = m.authentication(m.AUTH_SASL_FINAL, final)
        return principal, self._method

    async def _password(self) -> bytes:
        """Body of the client's answer to an authentication request."""
        kind, frame = await self._side.message()
        if kind != m.PASSWORD or len(frame) > AUTH_MESSAGE_BYTES_MAX:
            raise ProtocolViolation("client", "expected an answer to the authentication request")
        return frame[5:]

    # --- the session ------------------------------------------------------------------------------

    async def _open(
        self,
        message: startup.StartupMessage,
        principal: Principal,
        method: AuthMethod,
        identity: UpstreamIdentity,
    ) -> Conductor:
        target = self._target
        assert target is not None
        now = self._services.now()
        session = self._services.new_id(now)
        announcement = Announcement(principal, session[-12:], target.announce)
        login = self._upstream_login(identity)
        upstream, kept = await self._connect(target, login, message.settings, announcement)
        self._services.targets_reached[target.name] = True
        try:
            self._services.spool.append(
                [self._opened(session, principal, method, identity.user, now)]
            )
            machine = self._machine(session, principal, upstream, announcement, login)
        except BaseException as error:
            upstream.side.abort()
            if kept is not None:
                kept.lost()
            if isinstance(error, OSError):
                raise Refused(_audit_refusal()) from None
            raise
        conductor = Conductor(
            machine, self._side, upstream, target, self._services, self._cancels, session
        )
        conductor.catalog, conductor.kept = self._catalog, kept
        conductor.expires = self._expires
        conductor.principal = principal
        conductor.local = method in LOCAL_METHODS
        conductor.client, conductor.upstream_user = self._client(), login.user
        self._greet(message, upstream, announcement, conductor)
        conductor.start()
        return conductor

    def _administer(
        self,
        message: startup.StartupMessage,
        principal: Principal,
        method: AuthMethod,
        admin: AdminDatabase,
    ) -> AdminSession:
        """The admin database, which no target has."""
        self._target = None
        if not administers(principal, admin):
            raise Refused(not_for_you())
        services, now = self._services, self._services.now()
        session = services.new_id(now)
        try:
            services.spool.append([self._opened(session, principal, method, "", now)])
        except OSError:
            raise Refused(_audit_refusal()) from None
        administering = AdminSession(
            self._side, self._client(), principal, services, self._sessions, session, self._database
        )
        administering.local = method in LOCAL_METHODS
        pieces = [self._proof, m.authentication(m.AUTH_OK)]
        shown = {**parameters(), "application_name": self._application}
        pieces += [m.parameter_status(name, value) for name, value in shown.items()]
        pieces.append(m.backend_key_data(0, secrets.token_bytes(4)))  # nothing to cancel
        pieces.append(m.ready_for_query(ord("I")))
        self._side.write(b"".join(pieces))
        administering.start(self._expires)
        return administering

    def _upstream_login(self, identity: UpstreamIdentity) -> Login:
        password = None
        if identity.credential is not None:
            password = self._governance.credentials[identity.credential].reveal()
        certificate = None
        if identity.certificate is not None and identity.key is not None:
            certificate = (str(identity.certificate), str(identity.key))
        return Login(identity.user, password, certificate)

    async def _connect(
        self,
        target: TargetConfig,
        login: Login,
        settings: dict[str, str],
        announcement: Announcement,
    ) -> tuple[Upstream, Kept | None]:
        """A connection out of its pool, or one of its own."""
        seconds = self._governance.configuration.limits.upstream_connect_ms_max / 1000
        said = announcement.startup_settings(self._application)
        announced = {APPLICATION_NAME: "", **said}
        pool = self._services.pools.pool(target, login, self._database, settings, announced)
        try:
            async with asyncio.timeout(seconds):
                kept = None if pool is None else await pool.obtain(announced)
                if kept is not None:
                    announcement.pooled(set_texts(announced), self._application)
                    return kept.upstream, kept
                upstream = await open_upstream(target, login, self._database, {**settings, **said})
        except TimeoutError:
            raise UpstreamUnreachable("the database did not answer in time") from None
        except ProtocolViolation as violation:
            raise UpstreamUnreachable(
                f"the database broke its protocol: {violation.reason}"
            ) from None
        self._services.metrics.upstream_connects_ok += 1
        return upstream, None

    def _machine(
        self,
        session: str,
        principal: Principal,
        upstream: Upstream,
        announcement: Announcement,
        login: Login,
    ) -> SessionMachine:
        assert self._target is not None
        limits = self._governance.configuration.limits
        target = self._target.as_target()
        self._catalog = self._catalogs.of(self._target, self._database, login)
        judge = Judge(
            self._governance.snapshot,
            principal,
            self._client(),
            target,
            self._database,
            self._catalog,
            limits,
            self._services.cache,
            POSTGRES,
        )
        state = SessionState(
            judge,
            Recorder(session, principal, target.name, self._database, self._services.new_id),
            SettingsTracker(self._database, upstream.parameters),  # nobody else's from here on
            announcement,
            ResultLocks(judge, self._governance.token_keys, NamedPlans()),
            limits,
            self._services.alarm.pace,
        )
        state.approvals = self._services.approvals is not None
        if self._governance.configuration.durability is not Durability.DISK:
            state.hits.path = self._hit_path(state)
        return SessionMachine(state)

    def _hit_path(self, state: SessionState) -> HitPath:
        limits = self._governance.configuration.limits
        return HitPath(
            self._services.round.ledger,
            self._catalog.generation,
            state.recorder.sequence,
            state.pace,
            state.statements.settled,
            state.recorder.session,
            HELD,
            min(limits.statement_bytes_max, CACHED_TEXT_BYTES_MAX),
        )

    def _greet(
        self,
        message: startup.StartupMessage,
        upstream: Upstream,
        announcement: Announcement,
        conductor: Conductor,
    ) -> None:
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
        secret = self._cancels.mint(upstream.pid, message.minor, conductor.cancel)
        conductor.cancel_key = (upstream.pid, secret)
        pieces.append(m.backend_key_data(upstream.pid, secret))
        pieces.extend(upstream.notices)
        pieces.append(m.ready_for_query(ord("I")))
        self._side.write(b"".join(pieces))

    def _opened(
        self,
        session: str,
        principal: Principal,
        method: AuthMethod,
        upstream_user: str,
        now: float,
    ) -> SessionOpened:
        return SessionOpened(
            id=self._services.new_id(now),
            time=now,
            session=session,
            principal=principal.name,
            kind=principal.kind,
            auth=method,
            client=client_part(self._client()),
            target="" if self._target is None else self._target.name,
            database=clean_name(self._database),
            upstream_user=upstream_user,
            groups=principal.groups,
            on_behalf_of=principal.on_behalf_of,
        )


@lru_cache(maxsize=1024)
def _statuses(reported: tuple[tuple[str, str], ...]) -> bytes:
    """ParameterStatus messages; the same for most sessions."""
    return b"".join(m.parameter_status(name, value) for name, value in reported)


def tls_reason(error: ssl.SSLError) -> str:
    """What TLS did not accept (a client's certificate, for one), in OpenSSL's fixed words."""
    return f"tls:{(error.reason or 'handshake').lower()}"


def _told(refused: Refused) -> Refusal:
    """Which check of a proof failed is for the audit trail only."""
    refusal = refused.refusal
    if refusal.code is RefusalCode.AUTHENTICATION:
        return msgspec.structs.replace(refusal, rule="")
    return refusal


def _tls_required() -> Refusal:
    return Refusal(
        RefusalCode.AUTHENTICATION,
        "this listener takes encrypted connections only",
        "connect with sslmode=require or stronger",
        rule="tls_required",
        sqlstate="28000",
    )


def _no_target() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "this database is not offered here",
        "check the database name",
        rule="no_target",
        sqlstate="3D000",
    )


def _startup_refused(message: str) -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        message,
        "leave it out of the connection string",
        rule=REFUSED_SETTINGS_RULE,
        sqlstate="42501",
    )


def _audit_refusal() -> Refusal:
    return Refusal(
        RefusalCode.AUDIT_UNAVAILABLE,
        "the audit trail cannot be written, and no session begins unrecorded",
        "tell the administrators of the appliance",
        rule="audit_unavailable",
        sqlstate="58030",
    )


def _passed_on(fields: dict[str, str]) -> bytes:
    """The database refused our login: its SQLSTATE and message, unless they are about our
    credential.
    """
    sqlstate = fields.get("C", "08004")
    if sqlstate.startswith("28"):
        return refusals.fatal(
            "28000", "the database refused the role mapped to you", "tell an administrator"
        )
    return refusals.fatal(sqlstate, fields.get("M", "the database refused the connection"))
