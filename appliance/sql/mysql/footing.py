"""What a text rests on, and how the server tells whether it is still as it was judged.

`session/flow` makes a `MyFooting` for every text of a principal who owes masks, `dataplane/
vouching` holds it against the server. MySQL has neither row versions of its catalog nor locks that
a session could take without a transaction. But a statement opens all that it names before it
describes its result, and nothing of that changes until its transaction ends: what is found
unchanged *after* its result was described, and before that, was so when it was opened. So reads
stand in a transaction (`session/exchange_fence`) and are looked after before their first row
leaves, and all else is looked after before it is sent as well (`first`).

Rule: what is compared is the server's own printing of a thing (SHOW CREATE), which holds all that
the catalog knows of it and more; the catalog's epoch decides what a difference means.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from appliance.model.catalog import Catalog, Relation
from appliance.model.facts import Action, Facts, Flag, FunctionUse, StatementFacts
from appliance.sql.mysql.catalog import RELATION_OF, ROUTINES_OF, TRIGGERS_OF
from appliance.sql.mysql.lineage import MyLineage

_USING = frozenset(
    (
        Action.SELECT,
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.COPY_FROM,
        Action.COPY_FILE,
        Action.EXPLAIN,
        Action.LOCK,  # from then on nobody else can change it, or look at it, perhaps
    )
)
_WRITING = frozenset(
    (Action.INSERT, Action.UPDATE, Action.DELETE, Action.COPY_FROM, Action.COPY_FILE)
)
_READING = frozenset((Action.SELECT, Action.EXPLAIN))
_READING_KINDS = frozenset(("SelectStmt", "ExplainStmt"))

RELATION, TRIGGERS, ROUTINE = "relation", "triggers", "routine"

Key = tuple[str, str, str]
"""What it is, its database and its name."""

_COUNTED = re.compile(r"^(\) ENGINE=\w+) AUTO_INCREMENT=\d+", re.MULTILINE)
"""Moves with every row."""


class Part(msgspec.Struct, frozen=True):
    """One thing that a text rests on."""

    kind: str
    schema: str
    name: str
    known: Any
    """All that the catalog says of it."""

    @property
    def key(self) -> Key:
        return self.kind, self.schema, self.name

    @property
    def questions(self) -> tuple[tuple[str, ...], ...]:
        """What to ask the server, under an empty sql_mode: each of these in turn, until all texts
        of one are answered. Whoever may see some columns only is not shown how a table is made.
        """
        if self.kind == RELATION:
            shown = f"SHOW CREATE TABLE {_quoted(self.schema)}.{_quoted(self.name)}"
            return (shown,), tuple(map(self._filled, RELATION_OF))
        return ((self._filled(TRIGGERS_OF if self.kind == TRIGGERS else ROUTINES_OF),),)

    def _filled(self, template: str) -> str:
        return template.format(schema=_text(self.schema), name=_text(self.name))

    @property
    def use(self) -> str:
        """Uses a relation, and returns nothing."""
        return " ".join(
            ("SELECT 1 FROM", f"{_quoted(self.schema)}.{_quoted(self.name)}", "LIMIT 0")
        )

    def now(self, catalog: Catalog) -> Any:
        """The same as `known`, of another catalog; None when there is nothing of that name."""
        if self.kind == ROUTINE:
            return routines(catalog, self.schema, self.name)
        relation = catalog.relation_named(self.schema, self.name)
        if relation is None:
            return None
        return of_relation(relation, catalog, self.kind)


class MyFooting(msgspec.Struct, frozen=True):
    """`first`: it does something before its result could be looked at."""

    parts: tuple[Part, ...]
    first: bool

    @property
    def steady(self) -> frozenset[Key] | None:
        """What stays as it is in a transaction that has touched it once; None when there is more
        to it."""
        if any(part.kind != RELATION for part in self.parts):
            return None
        return frozenset(part.key for part in self.parts)


def stamp(rows: Sequence[Sequence[str | None]]) -> str:
    """The answer to a part's question, without what moves by itself."""
    digest = hashlib.sha256()
    for row in rows:
        for value in row:
            shown = "" if value is None else _COUNTED.sub(r"\1", value)
            digest.update(f"{len(shown)}:{shown}".encode())
    return digest.hexdigest()


def footing(facts: Facts, lineage: MyLineage, rewritten: bool = False) -> MyFooting | None:
    """None when a text rests on nothing, or on a catalog that was not read from a server."""
    catalog = lineage.catalog
    parts: dict[Key, Part] = {}
    for statement in facts.statements:
        for part in _parts(statement, lineage, catalog):
            parts[part.key] = part
    if not parts:
        return None
    first = any(part.kind != RELATION for part in parts.values()) or not all(
        map(_only_reads, facts.statements)
    )
    return MyFooting(tuple(parts.values()), first)


def _only_reads(statement: StatementFacts) -> bool:
    return (
        statement.kind in _READING_KINDS
        and _READING.issuperset(statement.actions)
        and Flag.WRITES not in statement.flags
    )


def _parts(statement: StatementFacts, lineage: MyLineage, catalog: Catalog) -> Iterator[Part]:
    for use in (*statement.relations, *statement.beneath):
        if use.action not in _USING or not use.oid:
            continue
        for oid in sorted(lineage.rests_on(use.oid)):
            relation = catalog.relations[oid]
            if relation.stamp:
                yield _part(RELATION, relation, catalog)
        written = catalog.relations.get(use.oid)
        if use.action in _WRITING and written is not None and written.stamp:
            yield _part(TRIGGERS, written, catalog)
    for schema, name in _called((*statement.functions, *statement.functions_below)):
        known = routines(catalog, schema, name)
        if known:
            yield Part(ROUTINE, schema, name, known)


def _called(calls: Iterable[FunctionUse]) -> dict[tuple[str, str], None]:
    return {(call.schema, call.name): None for call in calls if call.schema}


def _part(kind: str, relation: Relation, catalog: Catalog) -> Part:
    return Part(kind, relation.schema, relation.name, of_relation(relation, catalog, kind))


def of_relation(relation: Relation, catalog: Catalog, kind: str) -> Any:
    """What the catalog says of a relation, or of its triggers."""
    if kind == RELATION:
        oid = relation.oid
        return relation, catalog.indexes.get(oid), catalog.compared.get(oid)
    digests = {
        function.oid: function.digest
        for functions in catalog.functions.values()
        for function in functions
        if function.oid in relation.triggers
    }
    return tuple(sorted(digests.items()))


def routines(catalog: Catalog, schema: str, name: str) -> Any:
    """What the catalog says of a function or a procedure; None when there is none."""
    found = catalog.functions.get((schema, name.lower()), ())
    return tuple((each.oid, each.digest) for each in found) or None


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _text(name: str) -> str:
    return "'" + name.replace("\\", "\\\\").replace("'", "''") + "'"
