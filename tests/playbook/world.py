"""The little world of the conversations: two tables, a policy, who works under it.

Everything is real (analysis, policy, plans, masks) but the database: the test speaks its part.
"""

import itertools
from collections.abc import Callable
from typing import Any

from appliance.config.schema import Announce
from appliance.model.catalog import Catalog, Column, Relation
from appliance.model.limits import Limits
from appliance.model.principal import Client, Principal, Target
from appliance.policy.compile import compile_documents
from appliance.policy.snapshot import Snapshot
from appliance.session.announce import Announcement
from appliance.session.cache import Cache
from appliance.session.flow import Judge
from appliance.session.machine import SessionMachine
from appliance.session.named import NamedPlans
from appliance.session.postgres import POSTGRES, PostgresReading
from appliance.session.records import Recorder
from appliance.session.results import ResultLocks
from appliance.session.settings import SettingsTracker
from appliance.session.state import SessionState
from appliance.sql.lineage import CatalogLineage

INT4, TEXT = 23, 25
CUSTOMERS, NOTES = 16_401, 16_402
ID, NAME, EMAIL = (CUSTOMERS, 1), (CUSTOMERS, 2), (CUSTOMERS, 3)
NOTE_ID, BODY = (NOTES, 1), (NOTES, 2)
SECRET = "ada.byron@example.org"
"""What stands in `customers.email`: whoever owes masks never reads it."""
MASKED = "****"

ANN = Principal("ann", groups=("analysts",))
"""Owes the mask."""
DAN = Principal("dan", groups=("dba",))
"""Owes nothing; what he reads raw is counted."""
GUS = Principal("gus", groups=("guests",))
"""Gets two rows and half a second."""
LEA = Principal("lea", groups=("analysts", "guests"))
"""Both."""

_RULES = """
version: 1
mode: enforce
classifications:
  email: ["*.public.customers.email"]
rules:
  - {id: work, effect: allow, actions: [read, session, write, ddl]}
  - {id: no-drop, effect: deny, actions: [drop], message: Tables are not dropped here.}
"""
_MASK = (
    "  - {id: mask-email, effect: mask, principals: {groups: [analysts]},"
    " classifications: [email], mask: {method: redact}}\n"
)
_LIMIT = (
    "  - {id: guests-are-bounded, effect: limit, principals: {groups: [guests]},"
    " row_limit: 2, statement_timeout: 500ms}\n"
)
_NO_NOTES = (
    "  - {id: no-notes, effect: deny, actions: [read, write], resources: ['*.public.notes'],"
    " message: Not now.}\n"
)
_MASK_NAME = (
    "  - {id: mask-name, effect: mask, principals: {groups: [analysts]},"
    " resources: ['*.public.customers.name'], mask: {method: redact}}\n"
)


_FEW_WRITES = (
    "  - {id: anything, effect: allow, actions: [everything]}\n"
    "  - {id: few-writes, effect: limit, actions: [write], max_rows: 2}\n"
)
_HELD = (
    "  - {id: calls, effect: allow, actions: [calls]}\n"
    "  - {id: ask-first, effect: hold, actions: [update, delete], message: Ask.}\n"
)
_BOUNDED = (
    "  - {id: calls, effect: allow, actions: [calls]}\n"
    "  - {id: ask-first, effect: hold, actions: [write, select], resources: ['*.public.notes'],"
    " hold: {max_rows: approved + 10%}}\n"
)
_REHEARSED = (
    "  - {id: calls, effect: allow, actions: [calls]}\n"
    "  - {id: ask-first, effect: hold, actions: [write], hold: {dry_run: true}}\n"
)


def _policy(*rules: str) -> Snapshot:
    return compile_documents([("policy.yaml", (_RULES + "".join(rules)).encode())])


POLICY = _policy(_MASK, _LIMIT)
UNMASKED = _policy(_LIMIT)
"""Nobody owes a mask."""
FEW_WRITES = _policy(_MASK, _FEW_WRITES)
"""A write may affect two rows."""
HELD = _policy(_MASK, _HELD)
"""An UPDATE or DELETE waits for an approval."""
BOUNDED = _policy(_MASK, _BOUNDED)
"""Whatever uses `notes` waits for an approval, which is for as many rows as approvers saw + 10%."""
REHEARSED = _policy(_MASK, _REHEARSED)
"""A write waits for an approval, and is run and rolled back before."""
NO_NOTES = _policy(_MASK, _LIMIT, _NO_NOTES)
"""`notes` is closed to everybody."""
NAMES_MASKED = _policy(_MASK, _LIMIT, _MASK_NAME)
"""Names are masked as well."""


def catalog(version: str = "1", *more: Relation) -> Catalog:
    """The two tables, and perhaps others."""
    relations = (
        Relation(
            CUSTOMERS,
            "public",
            "customers",
            "r",
            (
                Column(1, "id", INT4, type_text="integer"),
                Column(2, "name", TEXT, type_text="text"),
                Column(3, "email", TEXT, type_text="text"),
            ),
        ),
        Relation(NOTES, "public", "notes", "r", (Column(1, "id", INT4), Column(2, "body", TEXT))),
        *more,
    )
    return Catalog(
        target="try",
        database="shop",
        version=version,
        server_version_num=180_000,
        schemas=("public", "pg_catalog"),
        relations={relation.oid: relation for relation in relations},
        by_name={(relation.schema, relation.name): relation.oid for relation in relations},
        functions={},
    )


LINEAGE = CatalogLineage(catalog())


class Port:
    """The catalog port; a conversation says when what was loaded."""

    def __init__(self, lineage: CatalogLineage | None) -> None:
        self.lineage = lineage
        self.kept = lineage
        self.failure = ""
        self.shapes = 0
        self.changing = False

    def changing_for(self, session: str) -> bool:
        """Whether another session has a schema change under way."""
        return self.changing

    def reshaped_by_others(self, since: int, session: str) -> bool:
        """Whether another session moved `shapes` since."""
        return self.shapes != since

    def take(self, lineage: CatalogLineage) -> None:
        """It was read, or compared and found to be as before."""
        self.lineage = self.kept = lineage

    def doubt(self) -> None:
        """It may be stale: it is being compared."""
        self.lineage = None


NO_KEYS: dict[str, bytes] = {}
"""Of token masks: the same object for all sessions, as a worker has them."""


class Session:
    """One session before its first message, and what a conversation turns of its surroundings."""

    def __init__(
        self,
        principal: Principal = DAN,
        *,
        policy: Snapshot = POLICY,
        lineage: CatalogLineage | None = LINEAGE,
        settled: bool = True,
        announce: Announce = Announce.VARIABLE,
        limits: Limits | None = None,
        parameters: dict[str, str] | None = None,
        approvals: bool = False,
        cache: Cache | None = None,
    ) -> None:
        """`cache`: that of other sessions of the worker, if not its own."""
        limits = limits or Limits()
        numbers = itertools.count(1)
        self.port = Port(lineage)
        self.settings = SettingsTracker(
            "shop",
            {"client_encoding": "UTF8", "standard_conforming_strings": "on", **(parameters or {})},
        )
        if settled:
            self.settings.probed(['"$user", public', "none", "shop"], pinned=True)
        target = Target("try", "postgresql")
        self.judge = Judge(
            policy,
            principal,
            Client("192.0.2.7", 5000, "try", True, "play"),
            target,
            "shop",
            self.port,
            limits,
            cache or Cache(limits.decision_cache_entries_max),
            POSTGRES,
        )
        self.state = SessionState(
            self.judge,
            Recorder("s1", principal, "try", "shop", lambda now: f"r{next(numbers)}"),
            self.settings,
            Announcement(principal, "s1", announce),
            ResultLocks(self.judge, NO_KEYS, NamedPlans(), PostgresReading()),
            limits,
        )
        self.state.approvals = approvals
        self.machine = SessionMachine(self.state)


Open = Callable[..., Any]
"""The fixture `play`: opens a `playbook.Playbook`."""
