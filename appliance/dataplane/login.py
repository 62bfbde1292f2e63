"""From a fresh connection to a session: who it is, which target, a connection to its database, the
machine.

Called by `listener`, one coroutine per connecting client, under one deadline for all of it. Rule:
every failure gives the client one native error that does not say which part of its proof was wrong,
and leaves one LoginFailed record.
"""

import asyncio
import ssl
from collections.abc import Iterable

import msgspec

from appliance.audit.compose import client_part
from appliance.audit.record import LoginFailed, SessionOpened
from appliance.audit.redact import clean_name
from appliance.config.schema import AdminDatabase, Listener, TargetConfig
from appliance.dataplane.admin import (
    AdminSession,
    Session,
    administers,
    not_for_you,
    parameters,
)
from appliance.dataplane.arriving import Again, Arriving, Asked, Believed, Cancelled, Door
from appliance.dataplane.cancels import Cancels
from appliance.dataplane.catalogs import Catalogs
from appliance.dataplane.conductor import Conductor
from appliance.dataplane.connections import (
    Login,
    Upstream,
    UpstreamRefused,
    UpstreamUnreachable,
)
from appliance.dataplane.lending import Lender
from appliance.dataplane.machines import MachineParts
from appliance.dataplane.pool import Kept
from appliance.dataplane.protocols import spoken_at
from appliance.dataplane.services import Governance, Services
from appliance.dataplane.transport import Side
from appliance.dataplane.whereabouts import where
from appliance.identity.mapping import UpstreamIdentity, upstream_identity
from appliance.model.errors import ProtocolViolation, Refused
from appliance.model.principal import AuthMethod, Client, Principal
from appliance.model.refusal import Refusal, RefusalCode
from appliance.session.announce import APPLICATION_NAME, Announcement
from appliance.session.driven import Machine
from appliance.session.flow import Judge
from appliance.session.records import Recorder
from appliance.telemetry.log import Log

_log = Log("login")
LOCAL_METHODS = (
    AuthMethod.SCRAM_SHA_256,
    AuthMethod.SCRAM_SHA_256_PLUS,
    AuthMethod.CACHING_SHA2,
    AuthMethod.NATIVE_PASSWORD,
)


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
        again: Again | None = None,
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
        self._announced: dict[str, str] = {}
        self._lender: Lender | None = None
        """Where its connection comes and goes."""
        self._protocol = spoken_at(listener, self._governance.configuration)
        door = Door(side, listener, services, cancels, again)
        self._arriving: Arriving = self._protocol.arrive(door)

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
            self._fail("deadline", self._arriving.farewell("57P05", "login took too long"))
        except Refused as refused:
            metrics.logins_failed += 1
            self._fail(refused.refusal.rule, self._arriving.refused(_told(refused)))
        except UpstreamRefused as error:
            metrics.upstream_connects_failed += 1
            self._fail("upstream_refused", self._passed_on(error.fields))
        except UpstreamUnreachable as error:
            metrics.upstream_connects_failed += 1
            if self._target is not None:
                self._services.targets_reached[self._target.name] = False
                self._services.met.pop(self._target.name, None)  # it may come back another
            self._fail("upstream_unreachable", self._arriving.farewell("08001", error.reason))
        except ProtocolViolation as violation:
            metrics.clients_refused_protocol += 1
            self._fail("violation", self._arriving.farewell("08P01", violation.reason))
        except ssl.SSLError as error:
            metrics.clients_refused_tls += 1
            self._fail(tls_reason(error), b"")
        except (ConnectionError, OSError):
            if self._user:
                self._fail("client_lost", b"")
            self._side.abort()
        except Exception as error:  # whatever it is, the client is not left hanging
            metrics.connections_cut_invariant += 1
            _log.error("login cut", listener=self._listener.name, error=where(error))
            self._fail(
                "invariant", self._arriving.farewell("XX000", "the appliance could not log you in")
            )
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
                auth=self._arriving.method,
                target="" if self._target is None else self._target.name,
                database=clean_name(self._database),
            )
        )
        if message:
            self._side.write(message)
        self._side.close()

    def _passed_on(self, fields: dict[str, str]) -> bytes:
        """The database refused our login: its SQLSTATE and message, unless they are about our
        credential.
        """
        if fields.get("C", "").startswith("28"):
            return self._arriving.farewell(
                "28000", "the database refused the role mapped to you", "tell an administrator"
            )
        return self._arriving.passed_on(fields)

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
        asked = await self._arriving.asked()
        self._user, self._database = asked.user, asked.database
        self._application = asked.application
        name = self._listener.target_for(self._database)
        self._target = None if name is None else self._governance.configuration.target(name)
        believed = await self._arriving.believed()
        admin = self._governance.configuration.admin_database
        if admin is not None and admin.name == self._database:
            return self._administer(believed, admin)
        if self._target is None:  # said only now: which databases there are is not for strangers
            raise Refused(_no_target())
        identity = upstream_identity(believed.principal, self._target, self._database)
        return await self._open(asked, believed, identity)

    # --- the session ------------------------------------------------------------------------------

    async def _open(
        self, asked: Asked, believed: Believed, identity: UpstreamIdentity
    ) -> Conductor:
        target = self._target
        assert target is not None
        principal, method = believed.principal, believed.method
        now = self._services.now()
        session = self._services.new_id(now)
        announcement = Announcement(principal, session[-12:], target.announce)
        login = self._upstream_login(identity)
        upstream, kept = await self._connect(target, login, asked.settings, announcement)
        self._services.targets_reached[target.name] = True
        if upstream.met is not None:
            self._services.met[target.name] = upstream.met
        try:
            self._services.spool.append(
                [self._opened(session, principal, method, identity.user, now)]
            )
            machine = self._machine(session, asked, principal, upstream, kept, announcement, login)
        except BaseException as error:
            upstream.side.abort()
            if kept is not None:
                kept.lost()
            if isinstance(error, OSError):
                raise Refused(_audit_refusal()) from None
            raise
        conductor = Conductor(
            machine,
            self._side,
            upstream,
            target,
            self._services,
            self._cancels,
            session,
            self._protocol,
            login,
        )
        conductor.catalog, conductor.kept = self._catalog, kept
        if self._lender is not None:
            conductor.share(self._lender, kept, self._announced)
        conductor.expires = believed.expires
        conductor.principal = principal
        conductor.asked, conductor.database = asked.settings, self._database
        conductor.local = method in LOCAL_METHODS
        conductor.client, conductor.upstream_user = self._client(), login.user
        words, keys = self._arriving.welcome(upstream, announcement, conductor)
        conductor.cancel_keys = keys
        self._side.write(words)
        conductor.start()
        return conductor

    def _administer(self, believed: Believed, admin: AdminDatabase) -> AdminSession:
        """The admin database, which no target has."""
        self._target = None
        principal = believed.principal
        if not administers(principal, admin):
            raise Refused(not_for_you())
        words = self._arriving.administering(
            {**parameters(), "application_name": self._application}
        )
        if words is None:
            raise Refused(_no_target())
        services, now = self._services, self._services.now()
        session = services.new_id(now)
        try:
            services.spool.append([self._opened(session, principal, believed.method, "", now)])
        except OSError:
            raise Refused(_audit_refusal()) from None
        administering = AdminSession(
            self._side, self._client(), principal, services, self._sessions, session, self._database
        )
        administering.local = believed.method in LOCAL_METHODS
        self._side.write(words)
        administering.start(believed.expires)
        return administering

    def _upstream_login(self, identity: UpstreamIdentity) -> Login:
        password = None
        if identity.credential is not None:
            password = self._governance.credentials[identity.credential].reveal()
        certificate = None
        if identity.certificate is not None and identity.key is not None:
            certificate = (str(identity.certificate), str(identity.key))
        return Login(identity.user, password, certificate)

    def _reader(self, login: Login) -> Login:
        """Who reads the catalog that this session is judged by."""
        assert self._target is not None
        reader = self._target.catalog
        if reader is None:
            return login
        if reader.credential is None:
            return Login(reader.user, None, login.certificate)
        return Login(reader.user, self._governance.credentials[reader.credential].reveal())

    async def _connect(
        self,
        target: TargetConfig,
        login: Login,
        settings: dict[str, str],
        announcement: Announcement,
    ) -> tuple[Upstream, Kept | None]:
        """A connection out of its pool, or one of its own."""
        seconds = self._governance.configuration.limits.upstream_connect_ms_max / 1000
        protocol = self._protocol
        said = announcement.startup_settings(self._application)
        announced = self._announced = {APPLICATION_NAME: "", **said}
        pool = None
        if protocol.keeping is not None:
            pool = self._services.pools.pool(
                target, login, self._database, settings, announced, protocol.keeping
            )
        try:
            async with asyncio.timeout(seconds):
                if pool is not None and (expected := pool.expected(announced)) is not None:
                    announcement.pooled(pool.keeping.again(announced), self._application)
                    self._lender = pool.lender
                    return expected, None
                with self._services.pools.waiting():
                    kept = None if pool is None else await pool.obtain(announced)
                if pool is not None and kept is not None:
                    announcement.pooled(pool.keeping.again(announced), self._application)
                    self._lender = pool.lender
                    return kept.upstream, kept
                with self._services.pools.waiting():
                    upstream = await protocol.open_upstream(
                        target, login, self._database, {**settings, **said}
                    )
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
        asked: Asked,
        principal: Principal,
        upstream: Upstream,
        kept: Kept | None,
        announcement: Announcement,
        login: Login,
    ) -> Machine:
        assert self._target is not None
        target = self._target.as_target()
        self._catalog = self._catalogs.of(self._target, self._database, self._reader(login))
        judge = Judge(
            self._governance.snapshot,
            principal,
            self._client(),
            target,
            self._database,
            self._catalog,
            self._governance.configuration.limits,
            self._services.cache,
            self._protocol.dialect,
        )
        return self._protocol.machine(
            MachineParts(
                judge,
                Recorder(session, principal, target.name, self._database, self._services.new_id),
                announcement,
                self._catalog.generation,
                self._catalog.lease,
                self._catalog.hold,
                self._database,
                upstream,
                self._services,
                self._governance,
                kept is not None,
                None if kept is None else kept.backend,
                () if kept is None else kept.told,
                asked.settings,
            )
        )

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


def tls_reason(error: ssl.SSLError) -> str:
    """What TLS did not accept (a client's certificate, for one), in OpenSSL's fixed words."""
    return f"tls:{(error.reason or 'handshake').lower()}"


def _told(refused: Refused) -> Refusal:
    """Which check of a proof failed is for the audit trail only."""
    refusal = refused.refusal
    if refusal.code is RefusalCode.AUTHENTICATION:
        return msgspec.structs.replace(refusal, rule="")
    return refusal


def _no_target() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "this database is not offered here",
        "check the database name",
        rule="no_target",
        sqlstate="3D000",
    )


def _audit_refusal() -> Refusal:
    return Refusal(
        RefusalCode.AUDIT_UNAVAILABLE,
        "the audit trail cannot be written, and no session begins unrecorded",
        "tell the administrators of the appliance",
        rule="audit_unavailable",
        sqlstate="58030",
    )
