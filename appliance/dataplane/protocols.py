"""The one table of protocols: what each has for every place where the appliance must know which one
is spoken.

Read by `login`, `listener`, `catalogs`, `cancelling`, `conductor`; configuration names a protocol
by its key. Rule: nothing else outside a protocol's own packages asks which protocol it is; who
needs to know something of it gets a field here.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from _speedups.hitcycle import Count, HitLedger
from _speedups.myhits import MyHitPath
from appliance.config.schema import Configuration, Listener, TargetConfig
from appliance.dataplane import analyzer, machines, upstreams
from appliance.dataplane.analyzer import Analysis
from appliance.dataplane.arriving import Arriving, Door
from appliance.dataplane.arriving_postgres import PostgresArrival
from appliance.dataplane.arriving_steps import SteppedArrival
from appliance.dataplane.catalog_source import CatalogSource
from appliance.dataplane.connections import Login, Row, Upstream
from appliance.dataplane.keeping import Keeping, PostgresKeeping
from appliance.dataplane.keeping_steps import SteppedKeeping
from appliance.dataplane.machines import MachineParts
from appliance.dataplane.schema_lease import SchemaHold
from appliance.dataplane.upstream_steps import SteppedUpstreams
from appliance.model.dialect import Dialect
from appliance.session.driven import Machine
from appliance.session.postgres import POSTGRES
from appliance.sql import footing, reader, still
from appliance.sql.lineage import CatalogLineage
from appliance.sql.mysql import catalog as mysql_catalog
from appliance.sql.mysql import dialect as mysql_sql
from appliance.sql.mysql.redaction import redact_blind
from appliance.sql.mysql.session_settings import MySettings
from appliance.wire.mysql import simple, upstream_login, words
from appliance.wire.mysql.client_login import ClientLogin
from appliance.wire.mysql.codec import MyCodec, hit_terms
from appliance.wire.mysql.fields import packet
from appliance.wire.postgres import messages, refusals, startup

OpenUpstream = Callable[[TargetConfig, Login, str, dict[str, str]], Awaitable[Upstream]]


class TlsRequest(NamedTuple):
    """All that a client says first if it wants TLS, and the word behind which TLS begins."""

    words: bytes
    granted: bytes


class SpokenProtocol(msgspec.Struct, frozen=True):
    """One protocol."""

    name: str
    """As in configuration (`targets[].dialect`, `listeners[].protocol`) and policy."""
    dialect: Dialect
    analysis: Analysis
    """The same for the analyzer process, which imports it by name."""
    alpn: str | None
    """Of direct TLS; None: its clients never begin with TLS."""
    tls_request: TlsRequest | None
    """None: TLS is asked for amid the login only."""
    speaks_first: bool
    """Whether the client waits to be greeted."""
    arrive: Callable[[Door], Arriving]
    open_upstream: OpenUpstream
    """(target, login, database, settings). Raises UpstreamRefused, UpstreamUnreachable,
    ProtocolViolation."""
    query: Callable[[Upstream, str], Awaitable[list[Row]]]
    """One statement of our own, values as text. Raises UpstreamRefused, ProtocolViolation."""
    cancel: Callable[[TargetConfig, Login, Upstream], Awaitable[bool]]
    """Has the database cancel what that connection runs. -> whether it has surely dealt with it."""
    machine: Callable[[MachineParts], Machine]
    catalog: CatalogSource
    encrypts_passwords: bool
    """Whether a client without TLS sends its password under the appliance's key."""
    turned_away: bytes
    """In place of any greeting: too many connections."""
    terminate: bytes
    """The last thing a database is told."""
    keeping: Keeping | None
    """How its connections serve one session after another; None: they cannot."""
    ready: Callable[[], None] = lambda: None
    """Called before the first client may come: loads what it would wait for."""


POSTGRESQL = SpokenProtocol(
    name="postgresql",
    dialect=POSTGRES,
    analysis=analyzer.POSTGRES,
    alpn="postgresql",
    tls_request=TlsRequest(startup.SSL_REQUEST, startup.SSL_GRANTED),
    speaks_first=False,
    arrive=PostgresArrival,
    open_upstream=upstreams.open_upstream,
    query=upstreams.simple_query,
    cancel=upstreams.cancel,
    machine=machines.postgres_machine,
    catalog=CatalogSource(
        settings={"application_name": "sallyport catalog"},
        prepare=("SET statement_timeout = '25s'", "SET lock_timeout = '3s'"),
        epoch=reader.EPOCH_QUERY,
        queries=reader.QUERIES,
        build=reader.build_catalog,
        lineage=CatalogLineage,
        aside=footing.aside,
        hold=SchemaHold(
            prepare=still.PREPARE,
            own_number=still.OWN_NUMBER,
            server=still.SERVER,
            begin=still.BEGIN,
            take=still.LOCKS,
            parts=len(still.CATALOGS),
            end=still.END,
            watch=still.WATCH,
            writers=still.WRITERS,
            still_writing=still.STILL_WRITING,
            neglected=still.NEGLECTED,
            repeated=upstreams.repeated,
            remedy=still.REMEDY,
        ),
    ),
    encrypts_passwords=False,
    turned_away=refusals.fatal("53300", "too many connections", "try again shortly"),
    terminate=messages.TERMINATE_FRAME,
    keeping=PostgresKeeping(),
)

_UPSTREAMS = SteppedUpstreams(upstream_login.log_in, simple.rows_of, simple.cancel, simple.QUIT)


def _arrive(door: Door) -> Arriving:
    return SteppedArrival(door, lambda terms: ClientLogin(**terms._asdict()), upstream_login.meet)


def _hit_path(
    found: Any, ledger: HitLedger, generation: Count, sequence: Count, session: str, size: int
) -> MyHitPath:
    return MyHitPath(ledger, generation, sequence, session, size, *hit_terms(found.capabilities))


def _machine(parts: MachineParts) -> Machine:
    return machines.exchange_machine(
        parts,
        lambda found, limits: MyCodec(found.capabilities, limits),
        MySettings,
        _hit_path,
    )


MYSQL = SpokenProtocol(
    name="mysql",
    dialect=mysql_sql.MYSQL,
    analysis=Analysis(
        "appliance.sql.mysql.dialect:MYSQL", "appliance.sql.mysql.lineage:MyLineage", redact_blind
    ),
    alpn=None,
    tls_request=None,
    speaks_first=True,
    arrive=_arrive,
    open_upstream=_UPSTREAMS.open_upstream,
    query=_UPSTREAMS.query,
    cancel=_UPSTREAMS.cancel,
    machine=_machine,
    catalog=CatalogSource(
        settings={"application_name": "sallyport catalog"},
        prepare=mysql_catalog.PREPARE,
        epoch=mysql_catalog.EPOCH_QUERY,
        queries=mysql_catalog.QUERIES,
        build=mysql_sql.catalog_of,
        lineage=mysql_sql.lineage_of,
        stamp=mysql_sql.stamp_of,
        hasty=mysql_catalog.HASTY,
        busy=mysql_catalog.LOCK_WAIT_TIMEOUT,
        at_once=False,
        whole_server=True,
    ),
    encrypts_passwords=True,
    turned_away=packet(0, words.error_payload(1040, "", "Too many connections")),
    terminate=simple.QUIT,
    keeping=SteppedKeeping(_UPSTREAMS, upstream_login.next_session, simple.forget, simple.QUIT),
    ready=mysql_sql.ready,
)

PROTOCOLS: Mapping[str, SpokenProtocol] = {one.name: one for one in (POSTGRESQL, MYSQL)}


def protocol_of(target: TargetConfig) -> SpokenProtocol:
    return PROTOCOLS[target.dialect]


def spoken_at(listener: Listener, configuration: Configuration) -> SpokenProtocol:
    """The protocol of all its targets (`config/check` has seen to that)."""
    return PROTOCOLS[configuration.protocol_of(listener)]
