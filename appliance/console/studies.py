"""The policy as people ask about it: its rules, what a statement would come to, who sees what raw.

Used by `api/policy` and the pages. Rule: nothing is run; what is explained is judged by the judge
of sessions (`policy_study`), over the catalog that the database has now.
"""

import asyncio
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import msgspec

from appliance.config.schema import TargetConfig
from appliance.console.catalog_reading import CatalogUnreadable, read_lineage
from appliance.console.policy_study import Question, as_json, study
from appliance.console.standing import Current, Standing
from appliance.control.desk import DeskError, Unavailable, Unknown
from appliance.masking.plan import column_name
from appliance.model.catalog import ColumnKey
from appliance.model.principal import Client, Principal, Target
from appliance.policy.compile import named_classifications
from appliance.policy.document import PolicyDocument, PrincipalSelector, read_document
from appliance.policy.owed import children_of, columns_named
from appliance.policy.snapshot import Snapshot
from appliance.sql.lineage import CatalogLineage
from appliance.telemetry.log import Log

CATALOG_SECONDS = 60.0
"""How old a catalog may be that is explained with."""
CATALOGS_KEPT_MAX = 16
USERS_MAX = 500
"""Of the users file, whose view of each column is worked out."""

log = Log("studies")


class DocumentShown(msgspec.Struct, frozen=True):
    """One policy document."""

    name: str
    """The file's name, without its folder."""
    document: PolicyDocument
    text: str


class PolicyShown(msgspec.Struct, frozen=True):
    version: str
    mode: str
    documents: tuple[DocumentShown, ...]


class MaskShown(msgspec.Struct, frozen=True):
    rule: str
    method: str
    applied: bool
    """False: the rule is only observed."""
    owed_by: PrincipalSelector
    """Whoever matches all of it owes the mask."""
    description: str = ""


class ColumnShown(msgspec.Struct, frozen=True):
    """A column that is classified or masked."""

    column: str
    """schema.relation.column"""
    classifications: tuple[str, ...]
    masks: tuple[MaskShown, ...]
    raw: tuple[str, ...]
    """Local users who see it raw, as far as masks go; policy may refuse them all the same."""


class MaskingMap(msgspec.Struct, frozen=True):
    target: str
    database: str
    policy_version: str
    columns: tuple[ColumnShown, ...]
    users: int
    """Local users looked at for `raw`."""


class Explained(msgspec.Struct, frozen=True):
    """What would become of a statement."""

    principal: Principal
    target: str
    database: str
    study: dict[str, Any]
    """As `sallyport policy explain --output json`."""
    catalog: str
    """'' when names were resolved by the database's catalog, else why they were not."""


class Studies:
    def __init__(self, current: Current, now: Callable[[], float]) -> None:
        self._current = current
        self._now = now
        self._catalogs: dict[tuple[str, str], tuple[float, TargetConfig, CatalogLineage]] = {}
        self._reading = asyncio.Lock()

    def policy(self) -> PolicyShown:
        standing = self._current()
        shown = tuple(
            DocumentShown(PurePath(name).name, read_document(name, text)[0], text.decode())
            for name, text in standing.documents
        )
        if standing.policy is None:
            return PolicyShown("", "enforce", shown)
        return PolicyShown(standing.policy.version, standing.policy.mode.value, shown)

    async def explain(
        self,
        principal: Principal,
        sql: str,
        target: str,
        database: str,
        address: str = "127.0.0.1",
        application: str = "",
    ) -> Explained:
        """Raises Unknown, DeskError."""
        standing = self._current()
        place = self.target(target)
        snapshot = _policy(standing)
        why, lineage = "", None
        try:
            lineage = await self.lineage(place, database)
        except Unavailable as error:
            why = str(error)
        client = Client(address, 0, "console", True, application)
        question = Question(
            sql=sql,
            principal=principal,
            client=client,
            target=place.as_target(),
            database=database,
            now=self._now(),
        )
        catalog = None if lineage is None else lineage.catalog
        found = await asyncio.to_thread(study, snapshot, question, catalog)
        return Explained(principal, target, database, as_json(found), why)

    async def masking(self, target: str, database: str) -> MaskingMap:
        """Raises Unknown, Unavailable, DeskError."""
        standing = self._current()
        place = self.target(target)
        snapshot = _policy(standing)
        lineage = await self.lineage(place, database)
        return await asyncio.to_thread(_mapped, standing, snapshot, place, database, lineage)

    def target(self, name: str) -> TargetConfig:
        """Raises Unknown."""
        place = self._current().configuration.target(name)
        if place is None:
            raise Unknown(f"there is no target {name}")
        return place

    async def lineage(self, target: TargetConfig, database: str) -> CatalogLineage:
        """At most CATALOG_SECONDS old. Raises Unknown, Unavailable."""
        if not target.allows_database(database):
            raise Unknown(f"target {target.name} does not offer the database {database}")
        key = (target.name, database)
        async with self._reading:
            read, place, kept = self._catalogs.get(key, (0.0, target, None))
            if kept is not None and place == target and self._now() - read < CATALOG_SECONDS:
                return kept
            try:
                found = await read_lineage(target, database, _warn)
            except CatalogUnreadable as error:
                raise Unavailable(str(error)) from None
            while len(self._catalogs) >= CATALOGS_KEPT_MAX:
                self._catalogs.pop(next(iter(self._catalogs)))
            self._catalogs[key] = (self._now(), target, found)
            return found


def _policy(standing: Standing) -> Snapshot:
    if standing.policy is None:
        raise DeskError("there is no policy document: everything is denied")
    return standing.policy


def _mapped(
    standing: Standing,
    snapshot: Snapshot,
    place: TargetConfig,
    database: str,
    lineage: CatalogLineage,
) -> MaskingMap:
    catalog, target = lineage.catalog, place.as_target()
    documents = [read_document(name, text)[0] for name, text in standing.documents]
    specs = {spec.id: spec for document in documents for spec in document.rules}
    masks: dict[ColumnKey, list[MaskShown]] = {}
    for rule, keys in snapshot.mask_rules(target, catalog, database, lineage):
        if rule.mask is None:
            continue
        spec = specs[rule.id]
        shown = MaskShown(
            rule.id, rule.mask.method.value, rule.applied, spec.principals, spec.description
        )
        for key in keys:
            masks.setdefault(key, []).append(shown)
    classified = _classified(standing, lineage, database)
    owing = [
        (user.name, _owed(snapshot, user.principal(), target, lineage, database))
        for user in standing.directory.users[:USERS_MAX]
        if not user.disabled
    ]
    columns = [
        ColumnShown(
            column_name(catalog, key),
            tuple(sorted(name for name, keys in classified.items() if key in keys)),
            tuple(masks.get(key, ())),
            tuple(name for name, owed in owing if key not in owed),
        )
        for key in sorted(masks.keys() | frozenset().union(*classified.values()))
    ]
    columns.sort(key=lambda column: column.column)
    return MaskingMap(place.name, database, snapshot.version, tuple(columns), len(owing))


def _classified(
    standing: Standing, lineage: CatalogLineage, database: str
) -> dict[str, frozenset[ColumnKey]]:
    """Classification -> columns that it names here."""
    children = children_of(lineage.catalog)
    return {
        name: columns_named(
            [glob for glob in globs if glob.in_database(database)],
            lineage.catalog,
            children,
            lineage,
        )
        for name, globs in named_classifications(standing.documents).items()
    }


def _owed(
    snapshot: Snapshot,
    principal: Principal,
    target: Target,
    lineage: CatalogLineage,
    database: str,
) -> frozenset[ColumnKey]:
    entitlements = snapshot.entitlements(
        principal, target, lineage.catalog, database, lineage=lineage
    )
    return frozenset(entitlements.owed)


def _warn(text: str) -> None:
    log.warning("credential_readable", reason=text)
