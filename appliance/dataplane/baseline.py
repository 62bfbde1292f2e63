"""Which columns of a database are known: those of its first catalog, and what can only hold what
was known; and under which names everything was first met. Kept in a file per database under the
data folder, so that a restart forgets nothing.

Used by `catalogs` for every catalog it loads. Rule: what somebody made since may be a copy of raw
values. It is unknown to whoever owes masks until policy names it, or until it is clear that nobody
could put a raw value into it.
"""

import contextlib
import hashlib
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from time import monotonic

import msgspec

from appliance.model.catalog import Catalog, ColumnKey, ColumnName, Relation
from appliance.sql.stamps import FIRST_USER_OID

CLEAN_SECONDS_MAX = 30.0
"""How long it may take to read the catalog after the transaction that made a relation."""
CLEAN_NAMES_MAX = 1_024
GONE_MAX = 4_096
"""Names of relations that appeared later and are gone again."""

_HOLDING = "rpf"
"""pg_class.relkind of what holds rows of its own. What a view shows is told by its definition."""

OTHER_SHARE_MIN = 0.5
"""Under another name, with fewer of its columns as they were, an OID is another relation's: the
database was made anew."""


class Known(msgspec.Struct, array_like=True):
    """A relation as it was first seen."""

    schema: str
    name: str
    columns: dict[int, str]
    """Attribute number -> name, of those that are known."""
    met: dict[int, str] = {}
    """Attribute number -> name, of those that appeared later."""
    parents: list[tuple[str, str]] = []
    """Names under which the tables were first met that it was ever a partition or child of: it has
    rows of theirs."""

    @property
    def names(self) -> dict[int, str]:
        return {**self.columns, **self.met}


_file = msgspec.msgpack.Decoder(dict[int, Known])


class Baseline:
    """One database's; `path` None = it is forgotten when the process ends."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._known: dict[int, Known] | None = None
        self._stat: tuple[int, int] | None = None
        self._clean: dict[tuple[str, str], tuple[str, float]] = {}
        """(schema, name) of relations that sessions which owe masks have just made -> their owner,
        until when that is believed: what they put into them are masks, or values of their own.
        """

    def note_clean(self, names: Collection[tuple[str, str]], owner: str) -> None:
        """`owner`: as whom they were made. What has another one is another relation."""
        until = monotonic() + CLEAN_SECONDS_MAX
        self._clean.update(dict.fromkeys(names, (owner, until)))
        while len(self._clean) > CLEAN_NAMES_MAX:
            del self._clean[next(iter(self._clean))]

    def doubt_clean(self) -> None:
        """What was noted, and not seen yet, may by now be somebody else's of that name."""
        self._clean.clear()

    @property
    def known(self) -> int:
        """How many relations are remembered."""
        return len(self._known or ())

    def moved(self) -> bool:
        """Whether another worker has learnt something since."""
        return self._known is not None and self._stat != self._look()

    def applied(self, catalog: Catalog) -> Catalog:
        """The catalog with what is unknown in it. The first one of a database is known as it is."""
        self._read()
        holding = [r for r in catalog.relations.values() if _holds_rows(r)]
        if self._known is None:
            self._learn(holding)
        elif clean := [r for r in holding if self._is_clean(r)]:
            self._learn(clean)
        self._meet(holding, catalog)
        known = {r.oid: seen for r in holding if (seen := self._seen(r)) is not None}
        unknown = frozenset(
            key for relation in holding for key in _unknown(relation, catalog, known)
        )
        above = {r.oid: self._above(r, catalog) for r in holding if known[r.oid].parents}
        former: dict[ColumnKey, tuple[ColumnName, ...]] = {}
        for r in holding:
            for key, name in _former(r, known[r.oid], above.get(r.oid, ())):
                former[key] = (*former.get(key, ()), name)
        if not unknown and not former:
            return catalog
        remade = self._remade(holding)
        found = repr((sorted(unknown), sorted(former.items()), sorted(remade)))
        version = f"{catalog.version}~{hashlib.sha256(found.encode()).hexdigest()[:16]}"
        return msgspec.structs.replace(
            catalog, unknown=unknown, former=former, remade=remade, version=version
        )

    def _remade(self, relations: Collection[Relation]) -> frozenset[int]:
        """New ones under a name that another was met under, which may be gone."""
        known = self._known or {}
        borne: dict[tuple[str, str], set[int]] = {}
        for oid, seen in known.items():
            borne.setdefault((seen.schema, seen.name), set()).add(oid)
        return frozenset(
            r.oid
            for r in relations
            if not _attnums(known.get(r.oid)) and borne.get((r.schema, r.name), set()) - {r.oid}
        )

    def _seen(self, relation: Relation) -> Known | None:
        """The relation as it was first seen, None for one that is new."""
        seen = (self._known or {}).get(relation.oid)
        if seen is None or (seen.schema, seen.name) == (relation.schema, relation.name):
            return seen
        names = seen.names
        same = sum(names.get(c.attnum) == c.name for c in relation.columns)
        return seen if same >= OTHER_SHARE_MIN * len(names) else None

    def _is_clean(self, relation: Relation) -> bool:
        """Once: whoever makes another of this name is somebody else."""
        if _attnums((self._known or {}).get(relation.oid)):
            return False
        owner, until = self._clean.pop((relation.schema, relation.name), ("", 0.0))
        return until > monotonic() and relation.owner in ("", owner)

    def _learn(self, relations: Collection[Relation]) -> None:
        first = self._known is None
        known = self._known = self._known or {}
        for relation in relations:
            known[relation.oid] = Known(relation.schema, relation.name, _names(relation))
        self._write(first)

    def _above(self, relation: Relation, catalog: Catalog) -> list[tuple[str, str]]:
        """Names under which its parents, and theirs, were first met."""
        found, pending = dict[int, tuple[str, str]](), list(relation.parents)
        while pending:
            parent = catalog.relations.get(pending.pop())
            if parent is not None and parent.oid not in found:
                seen = self._seen(parent) or parent
                found[parent.oid] = (seen.schema, seen.name)
                pending.extend(parent.parents)
        return list(found.values())

    def _meet(self, relations: Collection[Relation], catalog: Catalog) -> None:
        """Remembers names and parents of what appeared since, and of what of that is gone only
        that its name was borne."""
        known = self._known = self._known or {}
        present = {relation.oid for relation in relations}
        gone = [oid for oid, seen in known.items() if not seen.columns and oid not in present]
        last = {(known[oid].schema, known[oid].name): oid for oid in gone}
        for oid in {*gone} - {*list(last.values())[-GONE_MAX:]}:
            del known[oid]
        moved = False
        for relation in relations:
            seen = self._seen(relation) or Known(relation.schema, relation.name, {})
            names = seen.names
            new = {n: name for n, name in _names(relation).items() if n not in names}
            parents = [p for p in self._above(relation, catalog) if p not in seen.parents]
            if new or parents or known.get(relation.oid) is not seen:
                moved = True
                known[relation.oid] = msgspec.structs.replace(
                    seen, met={**seen.met, **new}, parents=[*seen.parents, *parents]
                )
        if moved:
            self._write(False)

    def _write(self, first: bool) -> None:
        known = self._known
        if self._path is None or known is None:
            return
        content = msgspec.msgpack.encode(known)
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = self._path.with_suffix(f".{os.getpid()}")
        written.write_bytes(content)
        if first:  # of several workers the first one's is it
            with contextlib.suppress(FileExistsError):
                os.link(written, self._path)
            written.unlink()
            self._read()
        else:
            written.replace(self._path)
            self._stat = self._look()

    def _look(self) -> tuple[int, int] | None:
        if self._path is None:
            return None
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        return found.st_mtime_ns, found.st_ino

    def _read(self) -> None:
        """Takes what the file has; a broken file knows nothing."""
        stat = self._look()
        if stat is None or stat == self._stat or self._path is None:
            return
        try:
            found = _file.decode(self._path.read_bytes())
        except (OSError, msgspec.DecodeError):
            found = {}
        known = self._known = self._known or {}
        for oid, relation in found.items():
            if not _attnums(known.get(oid)):
                known[oid] = relation
        self._stat = stat


def _holds_rows(relation: Relation) -> bool:
    return relation.oid >= FIRST_USER_OID and relation.kind in _HOLDING


def _unknown(relation: Relation, catalog: Catalog, known: Mapping[int, Known]) -> list[ColumnKey]:
    """Columns neither known themselves nor those of a known parent, whose masks they have."""
    inherited = set[str]()
    pending, seen = list(relation.parents), set[int]()
    while pending:
        parent = catalog.relations.get(pending.pop())
        if parent is None or parent.oid in seen:
            continue
        seen.add(parent.oid)
        pending.extend(parent.parents)
        attnums = _attnums(known.get(parent.oid))
        inherited.update(c.name for c in parent.columns if c.attnum in attnums)
    own = _attnums(known.get(relation.oid))
    return [
        (relation.oid, column.attnum)
        for column in relation.columns
        if column.attnum not in own and column.name not in inherited
    ]


def _names(relation: Relation) -> dict[int, str]:
    return {column.attnum: column.name for column in relation.columns}


def _attnums(seen: Known | None) -> Collection[int]:
    return () if seen is None else seen.columns.keys()


def _former(
    relation: Relation, seen: Known, above: Collection[tuple[str, str]]
) -> Iterator[tuple[ColumnKey, ColumnName]]:
    """The names under which renamed columns were first seen: what classifies them still does. So
    does what classifies the columns of a table that it was a part of, and is no more. `above`:
    those that it is a part of.
    """
    moved = (seen.schema, seen.name) != (relation.schema, relation.name)
    names = seen.names
    for column in relation.columns:
        first = names.get(column.attnum)
        if first is not None and (moved or first != column.name):
            yield (relation.oid, column.attnum), (seen.schema, seen.name, first)
        for schema, name in seen.parents:
            if (schema, name) not in above:
                yield (relation.oid, column.attnum), (schema, name, first or column.name)


def baseline_path(folder: Path, target: str, database: str) -> Path:
    name = hashlib.sha256(f"{target}\0{database}".encode()).hexdigest()[:32]
    return folder / f"{name}.msgpack"
