"""What all sessions of a worker share, put together by `worker` and handed down as one value.

Rule: everything here is replaced as a whole on reload (`Governance`) or lives as long as the
worker.
"""

import secrets
import time
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path

import msgspec

from appliance.audit.record import Record, new_id
from appliance.config.credentials import Credentials
from appliance.config.schema import Configuration, Listener
from appliance.config.values import CredentialReference
from appliance.dataplane.alarm import Alarm
from appliance.dataplane.analyzer import Analyzer
from appliance.dataplane.approvals import ApprovalLink
from appliance.dataplane.jwks import KeySource
from appliance.dataplane.lulls import Lulls
from appliance.dataplane.periods import Periods, totals
from appliance.dataplane.pool import Pools
from appliance.dataplane.rounds import Round
from appliance.dataplane.tls import ListenerContexts
from appliance.identity.remembered import Remembered
from appliance.identity.verifiers import Directory, parse_users
from appliance.policy.snapshot import Snapshot
from appliance.session.cache import Cache
from appliance.spool.spool import Spool
from appliance.telemetry.metrics import Metrics
from appliance.wire.conversation import Met

ID_ENTROPY_BYTES = 10
IDS_AT_ONCE = 256
THREAD_BITS = 23
THREADS_MASK = (1 << THREAD_BITS) - 1


class Governance(msgspec.Struct, frozen=True):
    """One validated configuration with everything it refers to, read."""

    configuration: Configuration
    digest: str
    snapshot: Snapshot
    directory: Directory
    credentials: Credentials
    token_keys: Mapping[str, bytes]
    key_sources: Mapping[str, KeySource]
    contexts: Mapping[str, ListenerContexts]

    def context(self, listener: Listener) -> ListenerContexts:
        return self.contexts[listener.name]


def govern(
    configuration: Configuration,
    text: bytes,
    snapshot: Snapshot,
    warn: Callable[[str], None],
    *,
    users: bytes | None = None,
) -> Governance:
    """Reads credentials, certificates, and users unless they are given. Raises ValueError or
    OSError: the old one stays.
    """
    identities = configuration.identities
    directory = Directory()
    if identities.users is not None:
        text_of = Path(identities.users).read_bytes() if users is None else users
        directory = parse_users(text_of.decode(), str(identities.users))
    references = [*_references(configuration), *configuration.token_keys.values()]
    credentials = Credentials(references, warn=warn)
    return Governance(
        configuration=configuration,
        digest=sha256(text).hexdigest(),
        snapshot=snapshot,
        directory=directory,
        credentials=credentials,
        token_keys={
            name: credentials[reference].reveal()
            for name, reference in configuration.token_keys.items()
        },
        key_sources={
            provider.issuer: KeySource(provider, warn=warn) for provider in identities.oidc
        },
        contexts={one.name: ListenerContexts(one.tls) for one in configuration.listeners},
    )


def _references(configuration: Configuration) -> list[CredentialReference]:
    users = [
        user
        for target in configuration.targets
        for user in (*target.roles, target.catalog)
        if user is not None
    ]
    return [user.credential for user in users if user.credential is not None]


def keep_keys(old: Mapping[str, KeySource], new: Mapping[str, KeySource]) -> None:
    """What an issuer's keys were stays in use over a reload that changes nothing about it."""
    for issuer, source in new.items():
        before = old.get(issuer)
        if before is not None and before.provider == source.provider:
            source.keys = before.keys


class Services:
    """Shared by all sessions of one worker."""

    def __init__(
        self,
        governance: Governance,
        spool: Spool,
        analyzers: Mapping[str, Analyzer],
        metrics: Metrics,
        mock_secret: bytes,
        private_key: Callable[[], bytes] = lambda: b"",
    ) -> None:
        self.governance = governance
        self.spool = spool
        self.round = Round(spool)
        self.analyzers = analyzers
        """By protocol."""
        self.metrics = metrics
        self.mock_secret = mock_secret
        """Keys the made-up salts of unknown users; the same in all workers and over restarts."""
        self.private_key = private_key
        """PEM, RSA: what clients of some protocols encrypt a password for, without TLS. The same in
        all workers and over restarts."""
        self.cache = Cache(governance.configuration.limits.decision_cache_entries_max)
        self.alarm = Alarm(
            governance.configuration.limits.samples_per_second,
            metrics,
            snapshot=lambda: self.governance.snapshot,
            now=self.now,
            new_id=self.new_id,
            owe=self.owe,
        )
        self.targets_reached: dict[str, bool] = {}
        self.remembered = Remembered()
        self.met: dict[str, Met] = {}
        """What targets said of themselves, by name."""
        self._threads = 0
        self.lulls = Lulls()
        self.pools = Pools(metrics, self.lulls)
        self.periods = Periods(lambda: totals(metrics, self.pools.waited), time.monotonic())
        self.approvals: ApprovalLink | None = None
        """None: nobody can be asked, what policy holds is refused."""
        self.worker = 0
        """Index of this worker process."""
        self._entropy = b""
        self._entropy_used = 0

    def new_id(self, now: float) -> str:
        used = self._entropy_used
        if used == len(self._entropy):  # fetched for many at once: it is a system call
            self._entropy, used = secrets.token_bytes(IDS_AT_ONCE * ID_ENTROPY_BYTES), 0
        self._entropy_used = end = used + ID_ENTROPY_BYTES
        return new_id(now, self._entropy[used:end])

    def new_thread(self) -> int:
        """A number by which a client may know its session, where the protocol has one: of no other
        session of this appliance for a long time, and of none of a database, which count from 1.
        """
        self._threads = self._threads + 1 & THREADS_MASK
        return 1 << 31 | self.worker << THREAD_BITS | self._threads

    def owe(self, *records: Record) -> None:
        """For what already happened."""
        self.spool.owe(records)

    @staticmethod
    def now() -> float:
        return time.time()
