"""What to ask a PostgreSQL server (13 to 18) for its catalog, and how to make a `Catalog` of it.

`dataplane/catalogs` runs QUERIES in order on one connection by the simple protocol and hands the
rows, as text, to `build_catalog`; it polls EPOCH_QUERY to learn that they must be run again. Any
role may run them.
Rule: everything is schema-qualified, and `prepare` empties the search_path, because
pg_get_viewdef() prints names as short as the search_path allows.
"""

# ruff: noqa: S608 - every part of these texts is a constant of this module.

from collections.abc import Mapping, Sequence

import msgspec

from appliance.model.catalog import Catalog, Column, Function, Relation
from appliance.sql.functions import PURE_EXTENSIONS, harmless
from appliance.sql.names import TEMPORARY_SCHEMA
from appliance.sql.stamps import CALLABLES, FIRST_USER_OID, NEWEST, RELATION

Row = tuple[str | None, ...]
Rows = Mapping[str, Sequence[Row]]

_KINDS = "('r', 'p', 'v', 'm', 'f', 'S', 'c')"
_OURS = (
    f"c.relkind IN {_KINDS} AND c.relpersistence <> 't'"
    " AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'"
)
_CLASSES = "pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"

_KEPT = f"""kept AS MATERIALIZED (
  SELECT oid, relname, relnamespace, relkind, relpersistence, relhasrules, relhastriggers, reltype,
    relrowsecurity, reloptions
  FROM pg_catalog.pg_class
  WHERE oid >= {FIRST_USER_OID} AND relkind IN {_KINDS} AND relpersistence <> 't')"""


def _stamp(relation: str, where: str = "true") -> str:
    """A row's xmin changes with every update; the count and sum show deletions."""
    return (
        "(SELECT pg_catalog.concat_ws('.', pg_catalog.count(*), pg_catalog.max(x.xmin::text::int8),"
        f" pg_catalog.sum(x.xmin::text::int8)) FROM pg_catalog.{relation} x WHERE {where})"
    )


_IN_KEPT = "IN (SELECT oid FROM kept)"

EPOCH_QUERY = f"""WITH {_KEPT}
SELECT pg_catalog.md5(pg_catalog.concat_ws('/',
  (SELECT pg_catalog.concat_ws('.', pg_catalog.count(*),
     pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws('.', oid, relname,
       relnamespace, relkind, relpersistence, relhasrules, relhastriggers, reltype, relrowsecurity,
       reloptions), 0)))
   FROM kept),
  {_stamp("pg_attribute", f"x.attnum > 0 AND x.attrelid {_IN_KEPT}")},
  {_stamp("pg_attrdef", f"x.adrelid {_IN_KEPT}")},
  {_stamp("pg_inherits", f"x.inhrelid {_IN_KEPT}")},
  {_stamp("pg_rewrite", f"x.ev_class {_IN_KEPT}")},
  {_stamp("pg_policy", f"x.polrelid {_IN_KEPT}")},
  {_stamp("pg_proc", f"x.oid >= {FIRST_USER_OID}")},
  {_stamp("pg_operator", f"x.oid >= {FIRST_USER_OID}")},
  {_stamp("pg_cast", f"x.oid >= {FIRST_USER_OID}")},
  {_stamp("pg_type", f"x.oid >= {FIRST_USER_OID} AND x.typrelid = 0 AND x.typelem = 0")},
  {_stamp("pg_extension")},
  (SELECT pg_catalog.concat_ws('.', pg_catalog.count(*),
     pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws('.', oid, nspname), 0)))
   FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'),
  pg_catalog.current_setting('server_version_num')))"""
"""One row, one text: changes with any DDL that changes what a name means. Temporary relations and
what only moves storage (TRUNCATE, VACUUM FULL, REFRESH) do not change it."""

_EXTENSION = """(SELECT e.extname FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = '{catalog}'::pg_catalog.regclass AND d.objid = {oid}
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
      AND d.deptype = 'e' LIMIT 1)"""


def _extension(catalog: str, oid: str) -> str:
    return _EXTENSION.format(catalog=f"pg_catalog.{catalog}", oid=oid)


# pg_get_functiondef() shows everything but the owner, whose rights SECURITY DEFINER lends. It has
# no text for an aggregate: that is what its parts are. Bytes of the database's own encoding: no
# conversion can fail.
_DEFINED = """CASE WHEN p.prokind <> 'a' THEN pg_catalog.pg_get_functiondef(p.oid)
    ELSE (SELECT pg_catalog.concat_ws(E'\\n', g.aggkind, g.aggnumdirectargs, g.aggtranstype,
        g.aggmtranstype, g.aggsortop, g.aggfinalextra, g.aggfinalmodify, g.agginitval,
        g.aggminitval,
        (SELECT pg_catalog.string_agg(pg_catalog.pg_get_functiondef(part.oid), E'\\n'
           ORDER BY part.number)
         FROM pg_catalog.unnest(ARRAY[g.aggtransfn, g.aggfinalfn, g.aggcombinefn, g.aggserialfn,
           g.aggdeserialfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn]::pg_catalog.oid[])
           WITH ORDINALITY AS part (oid, number) WHERE part.oid <> 0))
      FROM pg_catalog.pg_aggregate g WHERE g.aggfnoid = p.oid) END"""
_DIGEST = f"""pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(pg_catalog.concat(
    pg_catalog.pg_get_userbyid(p.proowner), E'\\n', {_DEFINED}),
    pg_catalog.getdatabaseencoding())), 'hex')"""

QUERIES: Mapping[str, str] = {
    "begin": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    "prepare": "SET LOCAL search_path = ''",
    "epoch": EPOCH_QUERY,
    "stamps": f"SELECT {NEWEST}, {CALLABLES}",
    "server": "SELECT pg_catalog.current_setting('server_version_num')",
    "schemas": "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'",
    "relations": f"""SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,
  c.relhastriggers, c.relhasrules, c.reltype, c.relrowsecurity,
  EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions)
    WHERE option_name = 'security_barrier' AND option_value::bool),
  CASE WHEN c.oid >= {FIRST_USER_OID} THEN {RELATION} END
FROM {_CLASSES} WHERE {_OURS}""",
    "columns": f"""WITH RECURSIVE based AS (
  SELECT oid, typbasetype AS base, typtypmod AS modifier FROM pg_catalog.pg_type
  WHERE typtype = 'd'
  UNION ALL
  SELECT b.oid, t.typbasetype, t.typtypmod FROM based b
  JOIN pg_catalog.pg_type t ON t.oid = b.base AND t.typtype = 'd')
SELECT a.attrelid, a.attnum, a.attname, a.atttypid, a.atttypmod, a.attgenerated,
  a.attnotnull,
  COALESCE((SELECT pg_catalog.format_type(b.base, b.modifier) FROM based b
    JOIN pg_catalog.pg_type t ON t.oid = b.base WHERE b.oid = a.atttypid AND t.typtype <> 'd'),
    pg_catalog.format_type(a.atttypid, a.atttypmod)),
  (SELECT pg_catalog.concat(pg_catalog.quote_ident(k.nspname), '.',
      pg_catalog.quote_ident(l.collname))
    FROM pg_catalog.pg_collation l JOIN pg_catalog.pg_namespace k ON k.oid = l.collnamespace
    WHERE l.oid = a.attcollation AND l.oid <> 100)
FROM {_CLASSES} JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE {_OURS} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum""",
    "generated": """SELECT d.adrelid, d.adnum, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attrdef d
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE a.attgenerated <> ''""",
    "views": f"""SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid) FROM {_CLASSES}
WHERE {_OURS} AND c.relkind IN ('v', 'm')
  AND n.nspname NOT IN ('pg_catalog', 'information_schema')""",
    "policies": """SELECT polrelid, pg_catalog.pg_get_expr(polqual, polrelid)
FROM pg_catalog.pg_policy WHERE polqual IS NOT NULL""",
    "inherits": """SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relkind IN ('r', 'p', 'f')
ORDER BY inhrelid, inhseqno""",
    "functions": f"""SELECT p.oid, n.nspname, p.proname, p.prokind, l.lanname,
  pg_catalog.oidvectortypes(p.proargtypes), p.prorettype, {_DIGEST},
  {_extension("pg_proc", "p.oid")},
  CASE WHEN p.proargmodes IS NOT NULL THEN pg_catalog.json_build_array(
    pg_catalog.to_json(p.proargmodes), pg_catalog.to_json(p.proargnames)) END
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema')""",
    "builtins": """SELECT DISTINCT proname FROM pg_catalog.pg_proc
WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace""",
    "operators": f"""SELECT n.nspname, o.oprname, {_extension("pg_operator", "o.oid")}
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
WHERE n.nspname <> 'pg_catalog'""",
    "types": """SELECT n.nspname, t.typname, t.oid FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typrelid = 0 AND t.typelem = 0 AND n.nspname <> 'pg_catalog'""",
    "casts": f"""SELECT DISTINCT {_extension("pg_cast", "c.oid")} FROM pg_catalog.pg_cast c
WHERE c.castmethod = 'f' AND c.oid >= {FIRST_USER_OID}""",
    "end": "COMMIT",
}
"""Name -> text, in the order they are run. `begin`, `prepare` and `end` give no rows; a failure in
between leaves a transaction to roll back. The snapshot is one: `epoch` is what EPOCH_QUERY gave
when the rest was read."""


def build_catalog(target: str, database: str, rows: Mapping[str, list[Row]]) -> Catalog:
    """A catalog of the rows of QUERIES, by query name.

    Raises KeyError or ValueError when they are not those rows.
    """
    columns = _columns(rows)
    definitions = {_number(oid): text or "" for oid, text in rows["views"]}
    parents: dict[int, list[int]] = {}
    for child, parent in rows["inherits"]:
        parents.setdefault(_number(child), []).append(_number(parent))
    policies: dict[int, list[str]] = {}
    for secured, expression in rows["policies"]:
        policies.setdefault(_number(secured), []).append(expression or "")
    relations: dict[int, Relation] = {}
    for row in rows["relations"]:
        oid_text, schema, name, kind, persistence, triggers, rules, row_type = row[:8]
        secured, barrier, stamp = row[8:]
        oid = _number(oid_text)
        relations[oid] = Relation(
            oid=oid,
            schema=schema or "",
            name=name or "",
            kind=kind or "",
            columns=tuple(columns.get(oid, ())),
            parents=tuple(parents.get(oid, ())),
            definition=definitions.get(oid, ""),
            persistence=persistence or "",
            has_triggers=triggers == "t",
            has_rules=rules == "t",
            row_type_oid=_number(row_type),
            row_security=tuple(policies.get(oid, ())) if secured == "t" else (),
            secured=secured == "t",
            barrier=barrier == "t",
            stamp=stamp or "",
        )
    pure, impure = _operators(rows)
    ((newest, callables),) = rows["stamps"]
    return Catalog(
        target=target,
        database=database,
        version=_only(rows, "epoch"),
        server_version_num=_number(_only(rows, "server")),
        schemas=tuple(schema or "" for (schema,) in rows["schemas"]),
        relations=relations,
        by_name={(r.schema, r.name): r.oid for r in relations.values()},
        functions=_functions(rows),
        operators=impure,
        extension_operators=pure,
        unlisted_builtins=frozenset(
            name for (name,) in rows["builtins"] if name and not harmless(name)
        ),
        types={(schema or "", name or ""): _number(oid) for schema, name, oid in rows["types"]},
        user_casts=any(extension not in PURE_EXTENSIONS for (extension,) in rows["casts"]),
        newest=newest or "",
        callables=callables or "",
    )


def own_relations(answer: str) -> tuple[Relation, ...]:
    """The relations of the JSON text that `stamps.TEMPORARIES_QUERY` gives."""
    return tuple(
        Relation(
            oid=oid,
            schema=TEMPORARY_SCHEMA,
            name=name,
            kind=kind,
            columns=tuple(
                Column(attnum, column, type_oid, typmod, generated, "", not_null)
                for attnum, column, type_oid, typmod, generated, not_null in columns or ()
            ),
            persistence="t",
            row_type_oid=row_type,
            stamp=stamp,
            reads=tuple(sorted({*(reads or ())})),
            runs=tuple(sorted({*(runs or ()), *(operators or ())})),
        )
        for oid, name, kind, row_type, stamp, columns, reads, runs, operators in (
            msgspec.json.decode(answer)
        )
    )


def _columns(rows: Rows) -> dict[int, list[Column]]:
    expressions = {
        (_number(oid), _number(attnum)): text or "" for oid, attnum, text in rows["generated"]
    }
    columns: dict[int, list[Column]] = {}
    for row in rows["columns"]:
        oid_text, attnum_text, name, type_oid, typmod, generated, not_null, type_text, collation = (
            row
        )
        oid, attnum = _number(oid_text), _number(attnum_text)
        columns.setdefault(oid, []).append(
            Column(
                attnum,
                name or "",
                _number(type_oid),
                _number(typmod),
                generated or "",
                expressions.get((oid, attnum), "") if generated else "",
                not_null == "t",
                type_text or "",
                collation or "",
            )
        )
    return columns


def _functions(rows: Rows) -> dict[tuple[str, str], tuple[Function, ...]]:
    found: dict[tuple[str, str], list[Function]] = {}
    for (
        oid, schema, name, kind, language, arguments, returns, digest, extension, declared
    ) in rows["functions"]:  # fmt: skip
        key = (schema or "", name or "")
        found.setdefault(key, []).append(
            Function(
                _number(oid),
                *key,
                kind or "",
                language or "",
                arguments or "",
                _number(returns),
                digest or "",
                extension or "",
                _columns_given(declared),
            )
        )
    return {key: tuple(functions) for key, functions in found.items()}


def _columns_given(declared: str | None) -> tuple[str, ...]:
    """[modes, names] of all arguments, as JSON -> names of those that come out."""
    if declared is None:
        return ()
    modes, names = msgspec.json.decode(declared, type=tuple[list[str], list[str] | None])
    return tuple(
        name
        for mode, name in zip(modes, names or [""] * len(modes), strict=True)
        if mode in ("o", "b", "t")
    )


def _operators(rows: Rows) -> tuple[frozenset[tuple[str, str]], frozenset[tuple[str, str]]]:
    """(of extensions that only compute, all others); a name that is both counts as the latter."""
    pure: set[tuple[str, str]] = set()
    impure: set[tuple[str, str]] = set()
    for schema, name, extension in rows["operators"]:
        (pure if extension in PURE_EXTENSIONS else impure).add((schema or "", name or ""))
    return frozenset(pure - impure), frozenset(impure)


def _only(rows: Rows, query: str) -> str:
    ((value,),) = rows[query]
    return value or ""


def _number(text: str | None) -> int:
    return int(text or 0)
