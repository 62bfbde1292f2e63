"""What the meaning of a text rests on, and what the server must say of it for that to hold.

`session/flow` makes a `Footing` for every text of a principal who owes masks; `session/questions`
asks the server, in the client's own session, and compares. Rule: a text that names no relation and
calls nothing that is not built in rests on nothing, and is not asked about, unless it has a
backslash: what that means is a setting.
"""

from collections.abc import Iterable, Sequence

import msgspec

from appliance.model.catalog import Catalog, Relation
from appliance.model.facts import Action, Facts, StatementFacts
from appliance.sql.functions import PURE_EXTENSIONS
from appliance.sql.lineage import CatalogLineage
from appliance.sql.names import TEMPORARY_SCHEMA, WHOLE_ROW
from appliance.sql.stamps import FIRST_USER_OID, aside_query

_MAKING = frozenset((Action.CREATE, Action.CREATE_TEMPORARY, Action.DROP))
"""Nothing of what such a relation holds is shown, whichever it is."""

_LOCKABLE = "rpvmf"

BACKSLASH = b"\\"

BENEATH_MAX = 100
"""A write that changes more relations than so many beneath the one it names is not held against
them: each costs the server about a tenth of a millisecond."""


class Footing(msgspec.Struct, frozen=True):
    """Equal footings rest on the same state of the same things."""

    names: tuple[str, ...]
    """Relation names, looked for in every schema: what else they could come to mean."""
    direct: tuple[int, ...]
    """Those that are meant now, by the text or by the bodies of functions that it calls."""
    oids: tuple[int, ...]
    """They, what lies below views, and parents."""
    calls: bool
    """Functions that are not built in are called: CHECK_CALLS_QUERY is asked."""
    expected: str
    """The answer but for the isolation level."""
    lock: str
    """A query whose mere parsing takes and keeps the locks that reading these relations takes, so
    that they stay as they are found until the transaction ends; '' when there is nothing to lock.
    """
    called: tuple[str, ...] = ()
    """Functions and operators written without a schema: whatever else comes to be called so could
    be meant instead."""


def footing(facts: Facts, lineage: CatalogLineage, rewritten: bool = False) -> Footing | None:
    """None when the text rests on nothing, or the catalog was not read from a server. What is sent
    `rewritten` may name what lies below views, too.
    """
    catalog = lineage.catalog
    uses = [
        use
        for statement in facts.statements
        for use in statement.relations
        if use.action not in _MAKING
    ]
    direct = {use.oid for use in uses if use.oid >= FIRST_USER_OID}
    read = {key for s in facts.statements for key in s.reads_inside}
    inside = {oid for oid, _ in read}
    named = {oid for oid, attnum in read if attnum == WHOLE_ROW and oid >= FIRST_USER_OID}
    calls = any(_judged_by_body(s, catalog) for s in facts.statements)
    called = frozenset[str]().union(*(s.names_called for s in facts.statements))
    lost = any(not use.oid for use in uses)
    if not catalog.newest or not (direct or calls or called or lost):
        return None
    below = frozenset(inside).union(*map(lineage.rests_on, direct | named))
    beneath = {use.oid for s in facts.statements for use in s.beneath}
    if len(beneath) <= BENEATH_MAX:
        below |= beneath
    names = frozenset(use.name for use in uses)
    spelled = below if rewritten else inside  # in what is sent, or in the bodies of functions
    spelled_out = (catalog.relations.get(oid) for oid in spelled)
    names = names.union(relation.name for relation in spelled_out if relation is not None)
    return _found(lineage, names, frozenset(direct | named), below, calls, called)


def bare(lineage: CatalogLineage) -> Footing:
    """Of a text that rests on nothing but how the server reads it."""
    return _found(lineage, frozenset(), frozenset(), frozenset(), False, frozenset())


def joined(footings: Sequence[Footing], lineage: CatalogLineage) -> Footing:
    """What all of these rest on together, as this catalog has it."""
    if len(footings) == 1:
        return footings[0]
    return _found(
        lineage,
        frozenset(name for each in footings for name in each.names),
        frozenset(oid for each in footings for oid in each.direct),
        frozenset(oid for each in footings for oid in each.oids),
        any(each.calls for each in footings),
        frozenset(name for each in footings for name in each.called),
    )


def still(known: Footing, lineage: CatalogLineage) -> bool:
    """Whether this catalog, too, has all that it rests on as it was."""
    return known == as_found(known, lineage)


def as_found(known: Footing, lineage: CatalogLineage) -> Footing:
    """The same things as this catalog has them. (One without a session's temporary relations has
    them as other sessions see them.)"""
    direct, below = frozenset(known.direct), frozenset(known.oids)
    names, called = frozenset(known.names), frozenset(known.called)
    return _found(lineage, names, direct, below, known.calls, called)


def aside(footing: Footing, pid: int, since: int) -> str:
    """The question for another session whether all of it is so (`stamps.aside_query`)."""
    asked = footing.names, footing.oids, footing.called, footing.calls
    return aside_query(*asked, footing.expected, pid=pid, since=since)


def _found(
    lineage: CatalogLineage,
    names: frozenset[str],
    direct: frozenset[int],
    below: frozenset[int],
    calls: bool,
    called: frozenset[str],
) -> Footing:
    catalog = lineage.catalog
    found = below.union(*(lineage.named(name) for name in names))
    relations = ",".join(
        f"{oid}:{catalog.relations[oid].stamp}"
        for oid in sorted(found)
        if oid >= FIRST_USER_OID and oid in catalog.relations
    )
    return Footing(
        names=tuple(sorted(names)),
        direct=tuple(sorted(direct)),
        oids=tuple(sorted(oid for oid in below if oid >= FIRST_USER_OID)),
        calls=calls,
        expected=f"{_callable(catalog, calls, called)}/{relations}",
        lock=_lock(catalog.relations[oid] for oid in sorted(direct) if oid in catalog.relations),
        called=tuple(sorted(called)),
    )


def stands_alone(statement: StatementFacts, catalog: Catalog) -> bool:
    """Whether it computes with nothing but constants and built-in functions, so that no relation,
    whatever its name comes to mean, is behind what it returns."""
    named = statement.relations or statement.reads_inside or statement.prepared is not None
    return not (named or _judged_by_body(statement, catalog))


def _callable(catalog: Catalog, calls: bool, called: Iterable[str]) -> str:
    """As CHECK_CALLS_QUERY and CHECK_QUERY put it together."""
    known = catalog.callables if calls else catalog.newest
    named = [catalog.named[name] for name in called if name in catalog.named]
    count, made = sum(count for count, _ in named), sum(made for _, made in named)
    return f"{known}+{count}.{made}" if named else f"{known}+0"


def _judged_by_body(statement: StatementFacts, catalog: Catalog) -> bool:
    """Whether it calls a function that was judged by what it does or who vouched for it."""
    return bool(statement.functions or statement.functions_below) or any(
        function.extension not in PURE_EXTENSIONS
        for call in statement.calls
        for function in catalog.functions.get((call.schema, call.name), ())
    )


def _lock(relations: Iterable[Relation]) -> str:
    named = [
        f"{_quoted(relation.schema)}.{_quoted(relation.name)}"
        for relation in relations
        if relation.kind in _LOCKABLE and relation.schema != TEMPORARY_SCHEMA
    ]
    return f"SELECT FROM {', '.join(named)}" if named else ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
