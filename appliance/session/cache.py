"""What a worker remembers of texts it has judged.

One per worker, given to every `flow.Judge`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, NamedTuple

from appliance.model.catalog import Catalog, ColumnKey
from appliance.model.decision import Mask
from appliance.model.dialect import Dialect
from appliance.model.facts import Facts
from appliance.model.principal import Principal, Target
from appliance.policy.entitlements import Entitlements
from appliance.policy.snapshot import Snapshot
from appliance.session.dialect import SessionLineage

VERSIONS_MAX = 8
"""Versions of one database's catalog of which anything is kept: what is judged under one keeps all
of it."""
RELATIONS_MAX = 32
"""Catalogs for which masked relations are kept; each session with temporary relations has one of
its own, of the same version."""

_COUNTED_ELSEWHERE = ("timeout", "busy", "crashed")
"""Failures of the analyzer process, which counts them itself."""


class _Version:
    """Of a catalog: what is kept that was judged under it."""

    __slots__ = ("keys", "name", "others")

    def __init__(self, name: str, others: "OrderedDict[str, _Version]") -> None:
        self.name = name
        self.others = others
        """All of the same database, itself included, least recently used first."""
        self.keys: set[tuple[object, ...]] = set()


class Cache:
    """Facts and verdicts by exact text and everything they depend on; one per worker, bounded,
    least recently used out: entries, and the versions of each database's catalog that they keep.

    Rule (DESIGN invariant 7): keys are bytes and versions, never a fingerprint. A key without the
    values of constants (`_speedups.sqllex.fold`) finds only what looked at none of them.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[tuple[object, ...], tuple[object, _Version | None]]
        self._entries = OrderedDict()
        self._relations: OrderedDict[tuple[object, ...], None] = OrderedDict()
        """Keys of masked relations."""
        self._versions: dict[tuple[str, str], OrderedDict[str, _Version]] = {}
        # For the metrics.
        self.verdicts_found = 0
        self.verdicts_alike = 0
        self.facts_found = 0
        self.decided = 0
        self.analysed_inline = 0
        self.failed_syntax = 0
        self.failed_limit = 0

    def get(self, key: tuple[object, ...]) -> object | None:
        known = self._entries.get(key)
        if known is None:
            return None
        self._entries.move_to_end(key)
        entry, version = known
        if version is not None:
            version.others.move_to_end(version.name)
        return entry

    def put(self, key: tuple[object, ...], entry: object, catalog: Catalog | None) -> None:
        """`catalog`: under which it was judged, or by which it is held."""
        if key in self._entries:
            self._drop(key)
        version = None if catalog is None else self._version(catalog)
        self._entries[key] = entry, version
        if version is not None:
            version.keys.add(key)
        if len(self._entries) > self._entries_max:
            self._drop(next(iter(self._entries)))

    def _version(self, catalog: Catalog) -> _Version:
        """The one in use now; the one that was used least recently goes."""
        place = catalog.target, catalog.database
        versions = self._versions.setdefault(place, OrderedDict())
        version = versions.get(catalog.version)
        if version is None:
            version = versions[catalog.version] = _Version(catalog.version, versions)
        versions.move_to_end(catalog.version)
        if len(versions) > VERSIONS_MAX:
            for key in [*versions[next(iter(versions))].keys]:
                self._drop(key)
        return version

    def _drop(self, key: tuple[object, ...]) -> None:
        version = self._entries.pop(key)[1]
        self._relations.pop(key, None)
        if version is None:
            return
        version.keys.remove(key)
        if not version.keys:
            del version.others[version.name]

    def note_failure(self, facts: Facts) -> None:
        """Counts a text that was analysed in vain."""
        if facts.failure is None or facts.failure.code in _COUNTED_ELSEWHERE:
            return
        if facts.failure.code in ("syntax", "encoding"):
            self.failed_syntax += 1
        else:
            self.failed_limit += 1

    def entitlements(
        self,
        snapshot: Snapshot,
        principal: Principal,
        target: Target,
        lineage: SessionLineage | None,
        database: str,
    ) -> Entitlements:
        """One object for all sessions that are entitled to the same: it is part of verdicts' keys,
        which hold it, so its identity is never another's.
        """
        version = "" if lineage is None else lineage.catalog.version
        key = ("entitlements", snapshot.version, principal, target, database, version)
        known = self.get(key)
        if isinstance(known, Entitlements):
            return known
        catalog = None if lineage is None else lineage.catalog
        made = snapshot.entitlements(principal, target, catalog, database, lineage=lineage)
        self.put(key, made, catalog)
        return made

    def masked_relations(
        self, dialect: Dialect, lineage: SessionLineage, owed: Mapping[ColumnKey, Mask]
    ) -> Any:
        """One object for all who owe the same masks on the same catalog. The key is two
        identities; the entry holds both objects, so neither is another's while it is kept."""
        key = ("masked relations", id(lineage), id(owed))
        known = self.get(key)
        if isinstance(known, _Relations) and known.lineage is lineage and known.owed is owed:
            self._relations.move_to_end(key)
            return known.made
        entry = _Relations(lineage, owed, dialect.masked_relations(lineage, owed))
        self.put(key, entry, lineage.catalog)
        self._relations[key] = None
        if len(self._relations) > RELATIONS_MAX:
            self._drop(next(iter(self._relations)))
        return entry.made


class _Relations(NamedTuple):
    """What a dialect made of a catalog and the masks owed on it."""

    lineage: SessionLineage
    owed: Mapping[ColumnKey, Mask]
    made: Any
