"""Looks through one database for unclassified columns: names, types, comments and samples.

Called by `cli/classify scan`. It logs in as the target's own role and reads in transactions that
can write nothing, each with a deadline. Rule: what is sampled stays in this process and is only
counted; nothing of it is printed, logged or stored.
"""

# ruff: noqa: S608 - names are quoted by `_identifier`, all else is a constant or a number.

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

from appliance.config.schema import TargetConfig
from appliance.console.catalog_reading import (
    CODES,
    CatalogUnreadable,
    catalog_rows,
    logged_in,
    reason_of,
)
from appliance.dataplane.connections import Login, Upstream, UpstreamRefused
from appliance.dataplane.upstreams import simple_query
from appliance.detect.names import Hint, hints
from appliance.detect.proposals import Evidence, proposed
from appliance.detect.values import VALUE_BYTES_MAX, VALUES_MIN, Finding, detect
from appliance.model.catalog import ColumnKey
from appliance.model.errors import ProtocolViolation
from appliance.policy.globs import dotted
from appliance.policy.snapshot import Snapshot
from appliance.sql.lineage import CatalogLineage
from appliance.sql.reader import build_catalog

OVERTIME_SECONDS = 5.0
"""Past a statement's own timeout, until the connection is taken for dead."""
SAMPLED_COLUMNS_MAX = 200
"""Of one table; the columns after them are judged by name, type and comment."""
PAGES_FACTOR = 10
"""A table of more rows than this many samples is sampled by pages (TABLESAMPLE SYSTEM)."""

_TEXT = frozenset({"text", "varchar", "bpchar", "citext", "name", "_text", "_varchar"})
_WHOLE = frozenset({"json", "jsonb", "xml", "int8", "numeric"})
_IF_NAMED = frozenset({"int4"})

COLUMNS = """SELECT c.oid, a.attnum, n.nspname, c.relname, a.attname, c.relkind,
  greatest(c.reltuples, 0)::pg_catalog.int8, t.typname, coalesce(b.typname, t.typname),
  coalesce(pg_catalog.col_description(c.oid, a.attnum), ''),
  pg_catalog.has_schema_privilege(n.oid, 'USAGE')
    AND pg_catalog.has_column_privilege(c.oid, a.attnum, 'SELECT')
FROM pg_catalog.pg_class c
JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
LEFT JOIN pg_catalog.pg_type b ON b.oid = t.typbasetype
WHERE c.relkind IN ('r', 'p', 'm', 'f') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
  AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY n.nspname, c.relname, a.attnum"""


class Proposed(NamedTuple):
    """One proposal. `column`: database.schema.relation.column as a policy writes it."""

    column: str
    evidence: Evidence


class Scan(NamedTuple):
    """What came of it."""

    role: str
    proposals: tuple[Proposed, ...]
    columns: int
    classified: int
    """Columns left out because policy names them."""
    sampled: int
    unsampled: tuple[str, ...]
    """Tables whose values could not be looked at, each with the reason."""


class _Column(NamedTuple):
    key: ColumnKey
    schema: str
    relation: str
    name: str
    kind: str
    rows: int
    type_name: str
    base_type: str
    comment: str
    readable: bool

    @property
    def hints(self) -> tuple[Hint, ...]:
        domain = () if self.type_name == self.base_type else hints("", self.type_name)
        return (*hints(self.name, self.base_type, self.comment), *domain)

    @property
    def worth_sampling(self) -> bool:
        if self.base_type in _IF_NAMED:
            return self.readable and bool(self.hints)
        return self.readable and self.base_type in _TEXT | _WHOLE


async def scan(
    target: TargetConfig,
    database: str,
    login: Login,
    policy: Snapshot,
    sample: int,
    seconds: int,
) -> Scan:
    """Raises CatalogUnreadable."""
    upstream = await logged_in(target, login, database, "sallyport classify")
    try:
        return await _scan(upstream, target, database, login.user, policy, sample, seconds)
    finally:
        upstream.side.close()


async def _scan(
    upstream: Upstream,
    target: TargetConfig,
    database: str,
    user: str,
    policy: Snapshot,
    sample: int,
    seconds: int,
) -> Scan:
    columns, lineage = await _read_catalog(upstream, target, database)
    known = policy.classified(target.as_target(), lineage.catalog, database, lineage)
    wanted = [c for c in columns if c.key not in known]
    proposals: list[Proposed] = []
    sampled, unsampled = 0, []
    for table in _by_table(wanted):
        found: dict[ColumnKey, tuple[Finding, ...]] = {}
        name = dotted(table[0].schema, table[0].relation)
        if not any(column.readable for column in table):
            unsampled.append(f"{name}: {CODES['42501']}")
        looked_at = [c for c in table if c.worth_sampling][:SAMPLED_COLUMNS_MAX]
        try:
            found = await _sample(upstream, looked_at, sample, seconds)
            sampled += len(looked_at)
        except UpstreamRefused as error:
            unsampled.append(f"{name}: {reason_of(error)}")
            await simple_query(upstream, "ROLLBACK")
        for column in table:
            path = dotted(database, column.schema, column.relation, column.name)
            told = proposed(column.hints, found.get(column.key, ()))
            proposals += [Proposed(path, evidence) for evidence in told]
    return Scan(
        user, tuple(proposals), len(columns), len(columns) - len(wanted), sampled, tuple(unsampled)
    )


async def _read_catalog(
    upstream: Upstream, target: TargetConfig, database: str
) -> tuple[list[_Column], CatalogLineage]:
    rows, found = await catalog_rows(upstream, database, COLUMNS)
    lineage = CatalogLineage(build_catalog(target.name, database, rows))
    return [_column(row) for row in found[""]], lineage


def _column(row: tuple[str | None, ...]) -> _Column:
    oid, attnum, schema, relation, name, kind, rows, type_name, base, comment, readable = (
        value or "" for value in row
    )
    key = (int(oid), int(attnum))
    return _Column(
        key, schema, relation, name, kind, int(rows), type_name, base, comment, readable == "t"
    )


def _by_table(columns: Sequence[_Column]) -> list[list[_Column]]:
    tables: dict[int, list[_Column]] = {}
    for column in columns:
        tables.setdefault(column.key[0], []).append(column)
    return list(tables.values())


async def _sample(
    upstream: Upstream, columns: Sequence[_Column], sample: int, seconds: int
) -> dict[ColumnKey, tuple[Finding, ...]]:
    """Findings by column. Raises UpstreamRefused, leaving a transaction to roll back, and
    CatalogUnreadable when the connection is lost.
    """
    if not columns:
        return {}
    rows: list[tuple[str | None, ...]] = []
    for how in _ways(columns[0], sample):
        rows = await _rows(upstream, columns, how, sample, seconds)
        if len(rows) >= VALUES_MIN:
            break
    found = {}
    for index, column in enumerate(columns):
        values = [cell.encode() for row in rows if (cell := row[index]) is not None]
        found[column.key] = detect(values, [hint.classification for hint in column.hints])
    return found


def _ways(column: _Column, sample: int) -> list[str]:
    """Pages taken at random from a large table; its first rows where those give too few."""
    if column.kind == "f" or column.rows <= sample * PAGES_FACTOR:
        return [""]
    percent = min(100.0, 100.0 * sample * PAGES_FACTOR / column.rows)
    return [f" TABLESAMPLE SYSTEM ({percent:.6f})", ""]


async def _rows(
    upstream: Upstream, columns: Sequence[_Column], how: str, sample: int, seconds: int
) -> list[tuple[str | None, ...]]:
    cut = ", ".join(
        f"pg_catalog.left({_identifier(c.name)}::pg_catalog.text, {VALUE_BYTES_MAX})"
        for c in columns
    )
    table = f"{_identifier(columns[0].schema)}.{_identifier(columns[0].relation)}"
    text = (
        "BEGIN ISOLATION LEVEL READ COMMITTED READ ONLY;"
        f"SET LOCAL statement_timeout = '{seconds}s'; SET LOCAL lock_timeout = '1s';"
        f"SELECT {cut} FROM {table}{how} LIMIT {sample};"
        "ROLLBACK"
    )
    try:
        async with asyncio.timeout(seconds + OVERTIME_SECONDS):
            return await simple_query(upstream, text)
    except (TimeoutError, ProtocolViolation, ConnectionError) as error:
        raise CatalogUnreadable(f"the connection was lost at {table}: {reason_of(error)}") from None


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
