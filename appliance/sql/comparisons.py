"""What the server works out of a row when it is written, and what the outcome says: the query for
it, and what its rows come to.

`reader` puts COMPARISONS among its queries and calls `comparisons_of`; `masking/oracles` judges.
Rule: what an expression looks at is read off its stored tree (nodes/outfuncs.c: VAR, FUNCEXPR...),
in which nothing is hidden behind a name; an expression tells nothing only if all of it is QUIET.
"""

# ruff: noqa: S608 - every part of these texts is a constant of this module.

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from appliance.model.catalog import Comparison
from appliance.sql.stamps import FIRST_USER_OID, INTERPRETED

QUIET_NODES = frozenset(
    {"VAR", "CONST", "RELABELTYPE", "COERCEVIAIO", "OPEXPR", "FUNCEXPR", "COALESCEEXPR"}
)
TEXTS = frozenset({"25", "1043"})
"""OIDs of text and varchar: nothing fails to become one of them (varchar(n) is a function)."""
QUIET = frozenset(
    {
        "textcat(text,text)",
        "lower(text)",
        "upper(text)",
        "initcap(text)",
        "btrim(text)",
        "btrim(text,text)",
        "ltrim(text)",
        "ltrim(text,text)",
        "rtrim(text)",
        "rtrim(text,text)",
        "md5(text)",
        "text(character)",
        "text(boolean)",
    }
)
"""Functions of pg_catalog that give a value for every argument and never an error (but for what
does not fit into memory), and NULL for NULL. Not among them: casts from text, arithmetic,
to_tsvector(), which takes no more than a megabyte of words."""

_MAYBE_NULL = frozenset({"COALESCEEXPR"})
"""Nodes of a quiet expression that make a NULL come or go."""

_UPDATE, _DELETE = 16, 8
"""pg_trigger.tgtype (catalog/pg_trigger.h)."""
_OLD = 1
"""PRS2_OLD_VARNO (nodes/primnodes.h): OLD in a trigger's condition."""

TSVECTOR_TRIGGERS = ("tsvector_update_trigger", "tsvector_update_trigger_column")
SUPPRESSING = "suppress_redundant_updates_trigger"
KNOWN_TRIGGERS = (*TSVECTOR_TRIGGERS, SUPPRESSING)
"""Built-in trigger functions of which it is known what they tell."""


def listed(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def calls_builtin(names: Iterable[str]) -> str:
    """That the trigger `g` calls one of these functions of pg_catalog."""
    return f"""(SELECT p.proname FROM pg_catalog.pg_proc p
    WHERE p.oid = g.tgfoid AND p.oid < {FIRST_USER_OID}) IN ({listed(names)})"""


_ENABLED = "NOT g.tgisinternal AND g.tgenabled <> 'D'"

# The same column before and after, in whatever order: what is left are the columns whose values
# decide. A varchar column is wrapped to be compared as text.
_COLUMN = (
    r"(?:\{{RELABELTYPE :arg )?\{{VAR :varno [12] :varattno {0} [^{{}}]*\}}"
    r"(?: :resulttype[^{{}}]*\}})?"
)
_CHANGED = (
    r"\{DISTINCTEXPR [^{}]*\("
    + _COLUMN.format("([0-9]+)")
    + " "
    + _COLUMN.format(r"\1")
    + r"\)[^{}]*\}"
)

_EARLIER = r"^\(\w+ <=? (CURRENT_DATE|CURRENT_TIMESTAMP|now\(\))\)$"
"""A condition on the time that stays true once it was."""

_NAME = "pg_catalog.convert_to(a.attname, pg_catalog.getdatabaseencoding())"
_ENDED = "'\\x00'::pg_catalog.bytea"
_SOURCES = f"""(SELECT pg_catalog.array_agg(a.attnum) FROM pg_catalog.pg_attribute a
    WHERE a.attrelid = g.tgrelid AND a.attnum > 0 AND NOT a.attisdropped
      AND pg_catalog.position(g.tgargs, {_ENDED} || {_NAME} || {_ENDED}) > 0)::text"""
"""The columns named in the arguments of the trigger `g`, which end in a zero byte each, but for the
first."""

_PARTS = f"""
  SELECT 'c', k.conrelid, NULL, k.convalidated, 0, k.conbin::text, NULL,
    pg_catalog.pg_get_expr(k.conbin, k.conrelid) ~ '{_EARLIER}'
  FROM pg_catalog.pg_constraint k WHERE k.contype = 'c' AND k.conrelid <> 0 AND (k.convalidated
    OR COALESCE((pg_catalog.to_jsonb(k) ->> 'conenforced')::bool, true))
  UNION ALL
  SELECT 'n', k.conrelid, k.conkey::text, false, 0, NULL, NULL, NULL
  FROM pg_catalog.pg_constraint k
  WHERE k.contype = 'n' AND k.conrelid <> 0 AND NOT k.convalidated
  UNION ALL
  SELECT CASE WHEN i.indisexclusion THEN 'x' WHEN i.indisunique THEN 'u' ELSE 'i' END, i.indrelid,
    ((i.indkey::int2[])[0:i.indnkeyatts - 1])::text, true, 0, i.indexprs::text, i.indpred::text,
    (pg_catalog.to_jsonb(i) ->> 'indnullsnotdistinct')::bool
  FROM pg_catalog.pg_index i WHERE i.indisexclusion OR i.indexprs IS NOT NULL
    OR i.indpred IS NOT NULL OR i.indisunique
  UNION ALL
  SELECT 'm', i.indrelid, ((i.indkey::int2[])[0:i.indnkeyatts - 1])::text, true, 0,
    i.indexprs::text, NULL, NULL
  FROM pg_catalog.pg_index i JOIN pg_catalog.pg_class c ON c.oid = i.indrelid
  WHERE i.indisunique AND c.relkind = 'm'
  UNION ALL
  SELECT 'a', s.stxrelid, NULL, true, 0, pg_catalog.to_jsonb(s) ->> 'stxexprs', NULL, NULL
  FROM pg_catalog.pg_statistic_ext s WHERE pg_catalog.to_jsonb(s) ->> 'stxexprs' IS NOT NULL
  UNION ALL
  SELECT 'p', t.partrelid, t.partattrs::int2[]::text, true, 0, t.partexprs::text, NULL, NULL
  FROM pg_catalog.pg_partitioned_table t
  UNION ALL
  SELECT 'g', d.adrelid, NULL, a.attgenerated = 's', d.adnum, d.adbin::text, NULL, a.attnotnull
  FROM pg_catalog.pg_attrdef d
  JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  WHERE a.attgenerated <> ''
  UNION ALL
  SELECT 't', g.tgrelid, NULL, true, g.tgtype, g.tgqual::text, NULL, NULL
  FROM pg_catalog.pg_trigger g
  WHERE g.tgqual IS NOT NULL AND g.tgtype & {_UPDATE | _DELETE} <> 0 AND {_ENABLED}
  UNION ALL
  SELECT 's', g.tgrelid, NULL, true, 0, NULL, NULL, NULL
  FROM pg_catalog.pg_trigger g
  WHERE g.tgtype & {_UPDATE} <> 0 AND {_ENABLED} AND {calls_builtin([SUPPRESSING])}
  UNION ALL
  SELECT 'w', g.tgrelid, {_SOURCES}, g.tgenabled <> 'D', a.attnum, NULL, NULL, NULL
  FROM pg_catalog.pg_trigger g JOIN pg_catalog.pg_attribute a ON a.attrelid = g.tgrelid
    AND a.attnum > 0 AND NOT a.attisdropped
    AND pg_catalog.position(g.tgargs, {_NAME} || {_ENDED}) = 1
  WHERE {calls_builtin(TSVECTOR_TRIGGERS)}"""


def _looks_at(text: str) -> str:
    """`varno.attnum` of every column in a tree, separated by blanks."""
    return f"""(SELECT pg_catalog.string_agg(DISTINCT pg_catalog.concat(m.m[1], '.', m.m[2]), ' ')
    FROM pg_catalog.regexp_matches({text}, ':varno ([0-9]+) :varattno (-?[0-9]+)', 'g') m (m))"""


_CALLED = """pg_catalog.regexp_matches(pg_catalog.concat(e.tree, e.predicate),
      ':(?:op)?funcid ([1-9][0-9]*)', 'g') m (m)
    JOIN pg_catalog.pg_proc p ON p.oid = m.m[1]::pg_catalog.oid"""
_TYPES_MET = "pg_catalog.regexp_matches(e.tree, ':[a-z]*type ([1-9][0-9]*)', 'g') m (m)"

# Whether the same row may give another answer at another time, or under other settings.
_UNSTABLE = f"""e.kind = 'c' AND NOT e.extra AND (e.tree ~ '[{{]SQLVALUEFUNCTION'
    OR EXISTS (SELECT FROM {_CALLED} WHERE p.provolatile <> 'i')
    OR e.tree ~ '[{{]COERCEVIAIO' AND EXISTS (SELECT FROM {_TYPES_MET}
      JOIN pg_catalog.pg_type t ON t.oid = m.m[1]::pg_catalog.oid
      JOIN pg_catalog.pg_proc p ON p.oid IN (t.typinput, t.typoutput)
      WHERE p.provolatile <> 'i'))"""

COMPARISONS = f"""SELECT e.kind, e.relation, e.keys, e.settled AND NOT COALESCE({_UNSTABLE}, false),
  e.number, COALESCE(e.extra, false), {_looks_at("e.tree")}, {_looks_at("e.predicate")},
  CASE e.kind WHEN 't' THEN
    {_looks_at(f"pg_catalog.regexp_replace(e.tree, '{_CHANGED}', '', 'g')")} END,
  CASE WHEN e.kind IN ('a', 'g', 'i', 'u') THEN
    (SELECT pg_catalog.json_agg(DISTINCT m.m[1])
     FROM pg_catalog.regexp_matches(e.tree, '(?:[{{]|:resulttype )([A-Z0-9]+)', 'g') m (m)) END,
  CASE WHEN e.kind IN ('a', 'g', 'i', 'u') THEN
    (SELECT pg_catalog.json_agg(DISTINCT p.oid::pg_catalog.regprocedure::text) FROM {_CALLED}) END
FROM ({_PARTS}) e (kind, relation, keys, settled, number, tree, predicate, extra)
WHERE e.relation >= {FIRST_USER_OID}"""
"""One row for each. kind: c check, n NOT NULL that was not validated, u unique index, x exclusion,
i other index with expressions, m unique index of a materialised view, a statistics of expressions,
p partition key, g generated column, t trigger with a condition, s
one that suppresses updates, w one that fills a tsvector; relation; attribute numbers as an array;
whether every row there is passes (of g: whether it is stored; of w: whether it is enabled); the
trigger's events, or the column that is made; of g whether it is NOT NULL, of u whether NULLs are
alike; columns in the expression
and in the predicate; of t those whose values decide, not only whether they change; the nodes of
the expression and the types it converts to; its functions."""

COMPARING = f"""WITH own (family, function) AS (
  SELECT f.family, f.function FROM (
    SELECT a.amprocfamily, a.amproc::pg_catalog.oid FROM pg_catalog.pg_amproc a
    UNION SELECT o.amopfamily, r.oprcode::pg_catalog.oid FROM pg_catalog.pg_amop o
    JOIN pg_catalog.pg_operator r ON r.oid = o.amopopr) f (family, function)
  JOIN pg_catalog.pg_proc x ON x.oid = f.function
  WHERE x.oid >= {FIRST_USER_OID} AND {INTERPRETED})
SELECT DISTINCT u.kind, u.oid, own.function FROM (
    SELECT 'r', i.indrelid, c.c FROM pg_catalog.pg_index i,
      pg_catalog.unnest(i.indclass::pg_catalog.oid[]) c (c)
    UNION SELECT 'r', t.partrelid, c.c FROM pg_catalog.pg_partitioned_table t,
      pg_catalog.unnest(t.partclass::pg_catalog.oid[]) c (c)
    UNION SELECT 't', o.opcintype, o.oid FROM pg_catalog.pg_opclass o WHERE o.opcdefault
  ) u (kind, oid, class)
JOIN pg_catalog.pg_opclass o ON o.oid = u.class JOIN own ON own.family = o.opcfamily"""
"""Functions, other than compiled ones, that compare or hash values for an index or a partition key
(r, OID of the relation), or whenever values of a type are sorted, grouped or held against each
other (t, OID of the type)."""

Row = tuple[str | None, ...]
Made = dict[int, tuple[int, ...]]
"""Column -> columns of the same relation that it is computed from."""


class _Found(msgspec.Struct, frozen=True):
    """A row of COMPARISONS. Columns as (varno, attnum); attnum 0 is the whole row."""

    kind: str
    oid: int
    keys: tuple[int, ...]
    settled: bool
    number: int
    extra: bool
    expression: tuple[tuple[int, int], ...]
    predicate: tuple[tuple[int, int], ...]
    deciding: tuple[tuple[int, int], ...]
    nodes: frozenset[str]
    functions: frozenset[str]

    @property
    def quiet(self) -> bool:
        nodes = self.nodes - TEXTS
        return nodes <= QUIET_NODES and self.functions <= QUIET and not self.predicate


def comparisons_of(
    rows: Sequence[Row], columns: Mapping[int, Sequence[int]]
) -> tuple[dict[int, tuple[Comparison, ...]], dict[int, Made]]:
    """(comparisons, what columns are made of), by OID, of the rows of COMPARISONS. `columns`:
    attribute numbers by OID."""
    found: dict[int, list[_Found]] = {}
    for row in rows:
        each = _found(row)
        found.setdefault(each.oid, []).append(each)
    compared: dict[int, tuple[Comparison, ...]] = {}
    made: dict[int, Made] = {}
    for oid in found.keys() & columns.keys():
        several = found[oid]
        relation = _Relation(columns[oid], several)
        every = (comparison for each in several for comparison in relation.comparisons(each))
        if telling := tuple(dict.fromkeys(filter(_tells, every))):
            compared[oid] = telling
        if relation.made:
            made[oid] = relation.made
    return compared, made


class _Relation:
    """Turns the rows about one relation into comparisons."""

    def __init__(self, columns: Sequence[int], found: Iterable[_Found]) -> None:
        self.columns = columns
        making = [each for each in found if each.kind in ("g", "w")]
        generated = {each.number for each in making if each.kind == "g"}
        self.stored = tuple(column for column in columns if column not in generated)
        direct: dict[int, set[int]] = {}
        for each in making:
            sources = {*each.keys, *_attnums(each.expression, self.stored)}
            direct.setdefault(each.number, set()).update(sources - {each.number})
        self.made: Made = {column: _traced(column, direct) for column in direct}

    def comparisons(self, found: _Found) -> Iterable[Comparison]:
        if found.kind == "t":
            return self._condition(found)
        if found.kind == "s":
            return [Comparison(changes=self._with_sources([c])) for c in self.stored]
        looked_at = (*found.expression, *found.predicate)
        columns = self._with_sources((*found.keys, *_attnums(looked_at, self.columns)))
        if found.kind in ("g", "w"):
            return self._making(found, columns)
        if found.kind in ("a", "m"):
            quiet = found.kind == "a" and found.quiet
            return [] if quiet else [Comparison(gathered=columns)]
        if found.kind in ("c", "n"):
            return [Comparison(columns, always=not found.settled)]
        return self._index(found, columns)

    def _index(self, found: _Found, columns: tuple[int, ...]) -> Iterable[Comparison]:
        if found.kind == "i" and found.quiet:
            return []
        if found.kind == "p":
            return [Comparison(columns if len(columns) > 1 else (), moves=columns)]
        if found.kind != "u":
            return [Comparison(columns, others=columns if found.kind == "x" else ())]
        looked_at = (*(() if found.quiet else found.expression), *found.predicate)
        others = self._with_sources(_attnums(looked_at, self.columns))
        beside = columns if len(columns) > 1 or others else ()
        return [Comparison(beside, others=others, unique=columns, nulls_alike=found.extra)]

    def _making(self, found: _Found, columns: tuple[int, ...]) -> Iterable[Comparison]:
        columns = self._with_sources([found.number, *columns])
        if found.kind == "g" and found.quiet:
            nullable = not found.nodes.isdisjoint(_MAYBE_NULL)
            return [Comparison(columns)] if found.extra and nullable else []
        return [Comparison(columns)] if found.settled or found.extra else []

    def _condition(self, found: _Found) -> Iterable[Comparison]:
        deciding = set(found.deciding)
        updating, deleting = bool(found.number & _UPDATE), bool(found.number & _DELETE)
        columns = self._with_sources(_attnums(deciding, self.columns))
        old = _attnums((each for each in deciding if each[0] == _OLD), self.columns)
        if updating and deciding:
            yield Comparison(columns, always=True, before=self._with_sources(old))
        if deleting and deciding:
            yield Comparison(deleted=columns)
        if updating:
            for column in _attnums(set(found.expression) - deciding, self.stored):
                yield Comparison(changes=self._with_sources([column]))

    def _with_sources(self, columns: Iterable[int]) -> tuple[int, ...]:
        found = {column for column in columns if column > 0}
        return tuple(sorted(found.union(*(self.made.get(column, ()) for column in found))))


def _tells(comparison: Comparison) -> bool:
    """Whether it looks at more than one column that is written."""
    return len(comparison.columns) > 1 or comparison != Comparison(comparison.columns)


def _traced(column: int, direct: Mapping[int, set[int]]) -> tuple[int, ...]:
    """With what the columns that a column is made of are made of themselves."""
    found, pending = set[int](), [column]
    while pending:
        new = direct.get(pending.pop(), set()) - found
        found |= new
        pending.extend(new)
    return tuple(sorted(found - {column}))


def _attnums(looked_at: Iterable[tuple[int, int]], whole: Sequence[int]) -> tuple[int, ...]:
    found: set[int] = set()
    for _, attnum in looked_at:
        found |= set(whole) if attnum == 0 else {attnum}
    return tuple(sorted(c for c in found if c > 0))  # below 0: the system's own


def _found(row: Row) -> _Found:
    kind, oid, keys, settled, number, extra, expression, predicate, deciding, nodes, functions = row
    return _Found(
        kind or "",
        int(oid or 0),
        attribute_numbers(keys),
        settled == "t",
        int(number or 0),
        extra == "t",
        _variables(expression),
        _variables(predicate),
        _variables(deciding),
        _names(nodes),
        _names(functions),
    )


def attribute_numbers(array: str | None) -> tuple[int, ...]:
    """Of an int2[] or int4[] as text: {1,2} or, with bounds, [0:1]={1,2}."""
    inside = (array or "").rpartition("=")[2].strip("{}")
    return tuple(int(number) for number in inside.split(",")) if inside else ()


def _variables(text: str | None) -> tuple[tuple[int, int], ...]:
    pairs = (part.split(".") for part in (text or "").split())
    return tuple((int(varno), int(attnum)) for varno, attnum in pairs)


def _names(json: str | None) -> frozenset[str]:
    return frozenset() if json is None else frozenset(msgspec.json.decode(json, type=list[str]))
