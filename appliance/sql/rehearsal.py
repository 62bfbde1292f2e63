"""Whether a write may be run to see how many rows it affects, and be rolled back: whether that
leaves nothing behind.

Asked by `session/parking` for a held statement whose policy wants its rows counted. Rule: what a
rollback does not take back (sequences, session locks, the seed of random numbers, code that nobody
knows, other servers) must be ruled out by the statement's facts and the catalog; what cannot be
told is a reason against it.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from appliance.model.catalog import Relation
from appliance.model.facts import Action, Confidence, Facts, Flag, ParseFailure, StatementFacts
from appliance.sql.functions import EFFECTS
from appliance.sql.lineage import CatalogLineage
from appliance.sql.names import words
from appliance.sql.parse import parse_decoded

VOLATILE = frozenset(
    [
        "array_sample",
        "array_shuffle",
        "clock_timestamp",
        "gen_random_uuid",
        "pg_blocking_pids",
        "pg_collation_actual_version",
        "pg_database_collation_actual_version",
        "pg_database_size",
        "pg_get_sequence_data",
        "pg_get_wait_events",
        "pg_indexes_size",
        "pg_is_in_recovery",
        "pg_is_wal_replay_paused",
        "pg_jit_available",
        "pg_last_xact_replay_timestamp",
        "pg_lock_status",
        "pg_notification_queue_usage",
        "pg_partition_ancestors",
        "pg_partition_tree",
        "pg_prepared_xact",
        "pg_relation_size",
        "pg_safe_snapshot_blocking_pids",
        "pg_sequence_last_value",
        "pg_table_size",
        "pg_tablespace_size",
        "pg_total_relation_size",
        "pg_xact_commit_timestamp",
        "pg_xact_status",
        "random",
        "random_normal",
        "setseed",
        "timeofday",
        "txid_status",
        "uuidv4",
        "uuidv7",
    ]
)
"""Functions of pg_catalog that are harmless and volatile (pg_proc.provolatile)."""
VOLATILE_PREFIX = "pg_stat_get_xact_"
LEAVING = frozenset({"setseed", *EFFECTS})
"""What is left of these when they are rolled back, or may be."""

_WRITES = frozenset(("InsertStmt", "UpdateStmt", "DeleteStmt", "MergeStmt"))
_ACTIONS = frozenset((Action.SELECT, Action.INSERT, Action.UPDATE, Action.DELETE, Action.MERGE))
_WRITING = _ACTIONS - {Action.SELECT}


def objection(text: bytes, facts: Facts, lineage: CatalogLineage | None) -> str:
    """Why this text is not run for its count, for approvers; '' = it may be. `facts` are its
    own."""
    if lineage is None:
        return "the schema is not known"
    if len(facts.statements) != 1:
        return "it is several statements"
    statement = facts.statements[0]
    if why := _of_facts(statement):
        return why
    nodes = _parsed(text.decode("utf-8", "replace"), lineage)
    if nodes is None:
        return "not all of it is understood"
    inserts = not {Action.INSERT, Action.MERGE}.isdisjoint(statement.actions)
    defaults = inserts or any(kind == "SetToDefault" for kind, _ in _every(nodes))
    return _of_nodes(nodes) or _of_relations(statement, lineage, defaults)


def _of_facts(statement: StatementFacts) -> str:
    if statement.kind not in _WRITES or not _ACTIONS.issuperset(statement.actions):
        return "it does more than write rows"
    if statement.confidence is not Confidence.EXACT or Flag.DYNAMIC in statement.flags:
        return "not all of it is understood"
    if statement.functions or statement.functions_below or statement.calls:
        return "it calls functions that are not the database's own"
    if statement.carried:
        return f"foreign keys carry it on to {statement.carried[0]}"
    return ""


def _of_nodes(nodes: Any) -> str:
    for name in _called(nodes):
        if name in VOLATILE or name in LEAVING or name.startswith(VOLATILE_PREFIX):
            return f"it calls {name}(), which is not the same each time"
    for kind, _ in _every(nodes):
        if kind == "RangeTableSample":
            return "it samples a table, which is not the same each time"
    return ""


def _of_relations(statement: StatementFacts, lineage: CatalogLineage, defaults: bool) -> str:
    """`defaults`: it may give columns their default values."""
    relations = lineage.catalog.relations
    written = {
        use.oid for use in (*statement.relations, *statement.beneath) if use.action in _WRITING
    }
    met = {use.oid for use in (*statement.relations, *statement.beneath)}
    for oid in sorted(met):
        relation = relations.get(oid)
        if relation is None:
            return "not all of what it touches is known"
        for each in sorted({oid, *lineage.written_with(oid)}):
            if why := _of_any(relations[each]):
                return why
    for oid in sorted(written):
        for each in sorted({oid, *lineage.written_with(oid)}):
            if why := _of_written(relations[each], lineage, defaults):
                return why
    return ""


def _of_any(relation: Relation) -> str:
    """Of one that is read or written."""
    name = f"{relation.schema}.{relation.name}"
    if relation.kind == "f":
        return f"{name} is on another server"
    if relation.kind not in ("r", "p"):
        return f"{name} is not a table"
    if relation.persistence == "t":
        return f"{name} is a temporary table, of which not all is known"
    if relation.policies or relation.secured:
        return f"row security of {name} decides what it sees"
    return ""


def _of_written(relation: Relation, lineage: CatalogLineage, defaults: bool) -> str:
    name = f"{relation.schema}.{relation.name}"
    if relation.has_rules or relation.triggers:
        return f"{name} has triggers or rules"
    if any(column.type_oid in lineage.catalog.guarded_types for column in relation.columns):
        return f"types of {name} run code"
    for expression in relation.written:
        if expression in relation.defaults and not defaults:
            continue
        nodes = _parsed(f"SELECT {expression}", lineage) if expression else None  # '' = too long
        if nodes is None:
            return f"what {name} computes is not understood"
        for called in _called(nodes):
            if called in LEAVING:
                return f"{name} calls {called}(), which is not taken back"
    return ""


def _parsed(text: str, lineage: CatalogLineage) -> Any | None:
    """Its tree; None when it cannot be read. (A CREATE TRIGGER among what a table computes: such a
    table has triggers.)"""
    if "\0" in text:
        return None
    found = parse_decoded(text, len(text.encode()), lineage.catalog.server_version_num)
    if isinstance(found, ParseFailure) or len(found) != 1:
        return None
    return {found[0].kind: found[0].body}


def _called(nodes: Any) -> Iterator[str]:
    """Names of functions, without their schemas."""
    for kind, body in _every(nodes):
        if kind == "FuncCall":
            yield words(body["funcname"])[-1]


def _every(nodes: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every named node of a tree with its fields."""
    left: list[Any] = [nodes]
    while left:
        node = left.pop()
        if isinstance(node, dict):
            yield from ((k, v) for k, v in node.items() if isinstance(v, dict))
            left += _below(node.values())
        elif isinstance(node, list):
            left += _below(node)


def _below(values: Iterable[Any]) -> Iterator[Any]:
    return (value for value in values if isinstance(value, dict | list))
