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


class _Entry(NamedTuple):
    """`share`: whose it is; `among`: all of that, least recently used first."""

    kept: object
    version: _Version | None
    share: object
    among: OrderedDict[tuple[object, ...], None]


class Cache:
    """Facts and verdicts by exact text and everything they depend on; one per worker, bounded,
    least recently used out: entries, and the versions of each database's catalog that they keep.

    Where there are too many entries, the owner of most (the principal whose statements put them
    there) loses one: whoever sends ever new texts drives out its own.

    Rule (DESIGN invariant 7): keys are bytes and versions, never a fingerprint. A key without the
    values of constants (`_speedups.sqllex.fold`) finds only what looked at none of them.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: dict[tuple[object, ...], _Entry] = {}
        self._owned: dict[object, OrderedDict[tuple[object, ...], None]] = {}
        """Keys by share; never an empty one."""
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
        known.among.move_to_end(key)
        version = known.version
        if version is not None:
            version.others.move_to_end(version.name)
        return known.kept

    def put(
        self,
        key: tuple[object, ...],
        entry: object,
        catalog: Catalog | None,
        owner: Principal | None = None,
    ) -> None:
        """`catalog`: under which it was judged, or by which it is held. What is there already stays
        its owner's."""
        share: object = None if owner is None else (owner.source, owner.name)
        known = self._entries.get(key)
        if known is not None:
            share = known.share
            self._drop(key)
        version = None if catalog is None else self._version(catalog)
        among = self._owned.setdefault(share, OrderedDict())
        among[key] = None
        self._entries[key] = _Entry(entry, version, share, among)
        if version is not None:
            version.keys.add(key)
        if len(self._entries) > self._entries_max:
            most = max(self._owned.values(), key=len)
            self._drop(next(iter(most if len(most) > len(among) else among)))

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
        _, version, share, among = self._entries.pop(key)
        self._relations.pop(key, None)
        del among[key]
        if not among:
            del self._owned[share]
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
        self.put(key, made, catalog, principal)
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
