"""What to ask a PostgreSQL server (13 to 18) for its catalog, and how to make a `Catalog` of it.

`dataplane/catalogs` runs QUERIES in order on one connection by the simple protocol and hands the
rows, as text, to `build_catalog`; it polls EPOCH_QUERY to learn that they must be run again. Any
role may run them.
Rule: everything is schema-qualified, and `prepare` empties the search_path, because
pg_get_viewdef() prints names as short as the search_path allows.
"""

# ruff: noqa: S608 - every part of these texts is a constant of this module.

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import msgspec

from appliance.model.catalog import (
    Catalog,
    Column,
    ForeignKey,
    Function,
    FunctionBody,
    GuardedType,
    Relation,
    UserCast,
)
from appliance.sql.comparisons import (
    COMPARING,
    COMPARISONS,
    KNOWN_TRIGGERS,
    attribute_numbers,
    calls_builtin,
    comparisons_of,
)
from appliance.sql.functions import PURE_EXTENSIONS, harmless
from appliance.sql.names import TEMPORARY_SCHEMA
from appliance.sql.stamps import (
    CALLABLES,
    CHANGED_VIEWS,
    FIRST_USER_OID,
    INTERPRETED,
    NAMED,
    NEWEST,
    OWN_CLASSES,
    RELATION,
)

Row = tuple[str | None, ...]
Rows = Mapping[str, Sequence[Row]]

BODY_BYTES_MAX = 16 * 1024
"""Longer bodies of functions, and longer expressions, are not looked into."""

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


_COMPUTED_INDEX = f"(x.indexprs IS NOT NULL OR x.indpred IS NOT NULL OR {OWN_CLASSES})"
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
  {_stamp("pg_proc", f"x.oid >= {FIRST_USER_OID} OR {INTERPRETED}")},
  {_stamp("pg_amproc", f"x.oid >= {FIRST_USER_OID}")},
  {CHANGED_VIEWS},
  {_stamp("pg_operator", f"x.oid >= {FIRST_USER_OID}")},
  {_stamp("pg_cast", f"x.oid >= {FIRST_USER_OID}")},
  {_stamp("pg_type", f"x.oid >= {FIRST_USER_OID} AND x.typrelid = 0 AND x.typelem = 0")},
  {_stamp("pg_extension")},
  {_stamp("pg_trigger", f"NOT x.tgisinternal AND x.tgrelid {_IN_KEPT}")},
  {_stamp("pg_policy", f"x.polrelid {_IN_KEPT}")},
  {_stamp("pg_constraint", f"x.contypid <> 0 OR x.conrelid {_IN_KEPT}")},
  {_stamp("pg_statistic_ext", f"x.stxrelid {_IN_KEPT}")},
  {_stamp("pg_index", f"x.indrelid {_IN_KEPT} AND (x.indisunique OR {_COMPUTED_INDEX})")},
  (SELECT pg_catalog.concat_ws('.', pg_catalog.count(*),
     pg_catalog.sum(pg_catalog.hashtextextended(pg_catalog.concat_ws('.', oid, nspname), 0)))
   FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'),
  pg_catalog.current_setting('server_version_num')))"""
"""One row, one text: changes with any DDL that changes what a name means. Temporary relations and
what only moves storage (TRUNCATE, VACUUM FULL, REFRESH) do not change it."""

_CHANGED_DOMAIN = f"""t.typtype = 'd' AND t.oid < {FIRST_USER_OID} AND EXISTS
    (SELECT FROM pg_catalog.pg_constraint k
     WHERE k.contypid = t.oid AND k.oid >= {FIRST_USER_OID})"""
"""A type of the server's (information_schema has some) that somebody gave another condition."""

_EXTENSION = """(SELECT e.extname FROM pg_catalog.pg_depend d
    JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid
    WHERE d.classid = '{catalog}'::pg_catalog.regclass AND d.objid = {oid}
      AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
      AND d.deptype = 'e' LIMIT 1)"""


def _extension(catalog: str, oid: str) -> str:
    return _EXTENSION.format(catalog=f"pg_catalog.{catalog}", oid=oid)


def _compiled_in(catalog: str, oid: str, function: str) -> str:
    """The extension of which a function, or the one behind it, is compiled code. Code in another
    language is judged by itself: who owns both can add to an extension what he likes."""
    compiled = f"""(SELECT l.lanname FROM pg_catalog.pg_proc f
    JOIN pg_catalog.pg_language l ON l.oid = f.prolang WHERE f.oid = {function})"""
    return f"CASE WHEN {compiled} IN ('c', 'internal') THEN {_extension(catalog, oid)} END"


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
    "named": f"SELECT n.name, count(*), sum(n.made) FROM ({NAMED}) n GROUP BY n.name",
    "server": "SELECT pg_catalog.current_setting('server_version_num')",
    "schemas": "SELECT nspname FROM pg_catalog.pg_namespace WHERE nspname !~ '^pg_(toast_)?temp_'",
    "relations": f"""SELECT c.oid, n.nspname, c.relname, c.relkind, c.relpersistence,
  c.relhastriggers,
  c.relhasrules AND EXISTS (SELECT FROM pg_catalog.pg_rewrite r
    WHERE r.ev_class = c.oid AND r.ev_type <> '1'),
  c.reltype, c.relrowsecurity,
  EXISTS (SELECT FROM pg_catalog.pg_options_to_table(c.reloptions)
    WHERE option_name = 'security_barrier' AND option_value::bool),
  CASE WHEN c.oid >= {FIRST_USER_OID} THEN {RELATION} END,
  pg_catalog.pg_get_userbyid(c.relowner)
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
    WHERE l.oid = a.attcollation AND l.oid <> 100),
  a.attgenerated = '' AND (a.atthasdef OR a.attidentity <> ''
    OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE t.oid = a.atttypid
      AND t.typdefault IS NOT NULL))
FROM {_CLASSES} JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid
WHERE {_OURS} AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attrelid, a.attnum""",
    "generated": """SELECT d.adrelid, d.adnum, pg_catalog.pg_get_expr(d.adbin, d.adrelid)
FROM pg_catalog.pg_attrdef d
JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
WHERE a.attgenerated <> ''""",
    "views": f"""SELECT c.oid, pg_catalog.pg_get_viewdef(c.oid) FROM {_CLASSES}
WHERE {_OURS} AND c.relkind IN ('v', 'm') AND (c.oid >= {FIRST_USER_OID}
  OR {CHANGED_VIEWS} <> '0'
  OR EXISTS (SELECT FROM pg_catalog.pg_type t WHERE {_CHANGED_DOMAIN}))""",
    "comparing": COMPARING,
    "constraints": f"""SELECT k.contype, k.conrelid, k.conkey::text, k.confrelid, k.confkey::text,
  k.confdeltype, k.confupdtype,
  CASE WHEN k.contype = 'f' THEN (SELECT pg_catalog.array_agg(a.attnum)
    FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid = a.atttypid
    WHERE a.attrelid = k.conrelid AND a.attnum = ANY (k.conkey)
      AND (a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL))::text END,
  k.conname
FROM pg_catalog.pg_constraint k
WHERE k.contype IN ('f', 'p', 'u') AND k.conrelid >= {FIRST_USER_OID}""",
    "compared": COMPARISONS,
    "inherits": """SELECT inhrelid, inhparent FROM pg_catalog.pg_inherits i
JOIN pg_catalog.pg_class c ON c.oid = i.inhrelid AND c.relkind IN ('r', 'p', 'f')
ORDER BY inhrelid, inhseqno""",
    "functions": f"""SELECT p.oid, n.nspname, p.proname, p.prokind, l.lanname,
  pg_catalog.oidvectortypes(p.proargtypes), p.prorettype, {_DIGEST},
  {_compiled_in("pg_proc", "p.oid", "p.oid")},
  CASE WHEN p.proargmodes IS NOT NULL THEN pg_catalog.json_build_array(
    pg_catalog.to_json(p.proargmodes), pg_catalog.to_json(p.proargnames)) END,
  l.lanname = 'internal' AND p.prosrc ~ '^(multi)?range_constructor[0-9]$'
FROM pg_catalog.pg_proc p
JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace
JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE n.nspname NOT IN ('pg_catalog', 'information_schema') OR p.oid >= {FIRST_USER_OID}""",
    "interpreted": f"""SELECT x.proname, x.oid FROM pg_catalog.pg_proc x
WHERE x.oid < {FIRST_USER_OID} AND {INTERPRETED}""",
    "interpreted_within": f"""SELECT o.oprname, x.oid
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_proc x ON x.oid = o.oprcode
WHERE x.oid < {FIRST_USER_OID} AND {INTERPRETED}
UNION ALL SELECT '', x.oid FROM pg_catalog.pg_cast c JOIN pg_catalog.pg_proc x ON x.oid = c.castfunc
WHERE x.oid < {FIRST_USER_OID} AND {INTERPRETED}""",
    "builtins": """SELECT DISTINCT proname FROM pg_catalog.pg_proc
WHERE pronamespace = 'pg_catalog'::pg_catalog.regnamespace""",
    "bodies": f"""SELECT p.oid,
  CASE WHEN p.prosrc = '' THEN pg_catalog.pg_get_functiondef(p.oid) ELSE p.prosrc END,
  p.prosrc = '', pg_catalog.to_json(p.proconfig), pg_catalog.to_json(p.proargnames),
  pg_catalog.pg_get_expr(p.proargdefaults, 0), p.proargtypes, l.lanname
FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
WHERE p.prokind = 'f' AND (l.lanname = 'sql' OR l.lanname = 'plpgsql'
    AND l.oid < {FIRST_USER_OID} AND p.prorettype = 'pg_catalog.trigger'::pg_catalog.regtype)
  AND pg_catalog.octet_length(p.prosrc) <= {BODY_BYTES_MAX}""",
    "operators": f"""SELECT n.nspname, o.oprname,
  {_compiled_in("pg_operator", "o.oid", "o.oprcode")},
  p.proname, o.oprcode::pg_catalog.oid, o.oprrest::pg_catalog.oid, o.oprjoin::pg_catalog.oid
FROM pg_catalog.pg_operator o JOIN pg_catalog.pg_namespace n ON n.oid = o.oprnamespace
LEFT JOIN pg_catalog.pg_proc p ON p.oid = o.oprcode
WHERE n.nspname <> 'pg_catalog' OR o.oid >= {FIRST_USER_OID}""",
    "types": f"""SELECT n.nspname, t.typname, t.oid FROM pg_catalog.pg_type t
JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE t.typrelid = 0 AND t.typelem = 0
  AND (n.nspname <> 'pg_catalog' OR t.oid >= {FIRST_USER_OID})""",
    "casts": f"""SELECT c.castsource, c.casttarget, c.castfunc,
  {_compiled_in("pg_cast", "c.oid", "c.castfunc")},
  (SELECT p.proname FROM pg_catalog.pg_proc p WHERE p.oid = c.castfunc)
FROM pg_catalog.pg_cast c WHERE c.castmethod = 'f' AND c.oid >= {FIRST_USER_OID}""",
    "guarded": f"""SELECT t.oid, n.nspname, t.typname, {_extension("pg_type", "t.oid")},
  CASE
    WHEN t.typtype = 'd' THEN pg_catalog.json_build_array(t.typbasetype::pg_catalog.int8)
    WHEN t.typtype = 'c' THEN (SELECT pg_catalog.json_agg(DISTINCT a.atttypid::pg_catalog.int8)
      FROM pg_catalog.pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0
        AND NOT a.attisdropped AND a.atttypid >= {FIRST_USER_OID})
    WHEN t.typtype = 'r' THEN (SELECT pg_catalog.json_build_array(r.rngsubtype::pg_catalog.int8)
      FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid)
    WHEN t.typtype = 'm' THEN (SELECT pg_catalog.json_agg(r.rngtypid::pg_catalog.int8)
      FROM pg_catalog.pg_range r
      WHERE (pg_catalog.to_jsonb(r) ->> 'rngmultitypid')::pg_catalog.oid = t.oid)
    WHEN t.typelem <> 0 AND t.typinput = 'pg_catalog.array_in'::pg_catalog.regproc
      THEN pg_catalog.json_build_array(t.typelem::pg_catalog.int8)
  END,
  (SELECT pg_catalog.json_agg(f.f) FROM (
    SELECT pg_catalog.unnest(ARRAY[t.typinput, t.typoutput, t.typreceive, t.typsend, t.typmodin,
      t.typmodout]::pg_catalog.oid[])::pg_catalog.int8
    UNION SELECT pg_catalog.unnest(ARRAY[r.rngcanonical, r.rngsubdiff]::pg_catalog.oid[]
      )::pg_catalog.int8 FROM pg_catalog.pg_range r WHERE r.rngtypid = t.oid) f (f)
   WHERE f.f >= {FIRST_USER_OID}),
  CASE WHEN t.typtype = 'd' THEN (SELECT pg_catalog.json_agg(pg_catalog.pg_get_expr(e.e, 0)) FROM (
      SELECT t.typdefaultbin WHERE t.typdefaultbin IS NOT NULL
      UNION ALL SELECT k.conbin FROM pg_catalog.pg_constraint k
      WHERE k.contypid = t.oid AND k.contype = 'c') e (e)) END
FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace
WHERE (t.oid >= {FIRST_USER_OID} OR {_CHANGED_DOMAIN}) AND t.typtype <> 'e'
  AND n.nspname !~ '^pg_(toast|temp_|toast_temp_)'""",
    "written": f"""SELECT e.relation, CASE WHEN pg_catalog.octet_length(e.text) <= {BODY_BYTES_MAX}
  THEN e.text ELSE '' END, pg_catalog.bool_and(e.defaults)
FROM (
  SELECT d.adrelid, pg_catalog.pg_get_expr(d.adbin, d.adrelid), a.attgenerated = ''
    FROM pg_catalog.pg_attrdef d
    JOIN pg_catalog.pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
  UNION ALL SELECT attrelid, 'nextval()', true FROM pg_catalog.pg_attribute
    WHERE attidentity <> ''
  UNION ALL SELECT conrelid, pg_catalog.pg_get_expr(conbin, conrelid), false
    FROM pg_catalog.pg_constraint WHERE contype = 'c' AND conrelid <> 0
  UNION ALL SELECT indrelid, pg_catalog.pg_get_expr(indexprs, indrelid), false
    FROM pg_catalog.pg_index WHERE indexprs IS NOT NULL
  UNION ALL SELECT indrelid, pg_catalog.pg_get_expr(indpred, indrelid), false
    FROM pg_catalog.pg_index WHERE indpred IS NOT NULL
  UNION ALL SELECT partrelid, pg_catalog.pg_get_expr(partexprs, partrelid), false
    FROM pg_catalog.pg_partitioned_table WHERE partexprs IS NOT NULL
  UNION ALL SELECT tgrelid, pg_catalog.pg_get_triggerdef(oid), false FROM pg_catalog.pg_trigger
    WHERE NOT tgisinternal AND tgqual IS NOT NULL
) e (relation, text, defaults)
WHERE e.relation >= {FIRST_USER_OID} AND e.text ~ '[(.]|CASE' GROUP BY 1, 2""",
    "triggers": f"""SELECT g.tgrelid,
  CASE WHEN g.tgfoid >= {FIRST_USER_OID} THEN g.tgfoid ELSE 0 END
FROM pg_catalog.pg_trigger g
WHERE NOT g.tgisinternal AND g.tgenabled <> 'D'
  AND ({calls_builtin(KNOWN_TRIGGERS)}) IS NOT TRUE""",
    "policies": """SELECT p.polrelid, pg_catalog.pg_get_expr(e.e, p.polrelid)
FROM pg_catalog.pg_policy p
JOIN pg_catalog.pg_class c ON c.oid = p.polrelid AND c.relrowsecurity,
LATERAL (SELECT p.polqual UNION ALL SELECT p.polwithcheck) e (e) WHERE e.e IS NOT NULL""",
    "cascades": """SELECT DISTINCT confrelid, conrelid FROM pg_catalog.pg_constraint
WHERE contype = 'f' AND (confdeltype IN ('c', 'n', 'd') OR confupdtype IN ('c', 'n', 'd'))""",
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
    relations = _relations(rows, columns)
    pure, impure, called = _operators(rows)
    by_relation, by_type = _comparing(rows)
    guarded, parts = _guarded_types(rows, by_type)
    casts = _casts(rows)
    ((newest, callables),) = rows["stamps"]
    foreign_keys, primary_keys, unique = _constraints(rows)
    compared, made_of = comparisons_of(rows["compared"], _numbered(columns))
    return Catalog(
        foreign_keys=foreign_keys,
        primary_keys=primary_keys,
        unique=unique,
        compared=compared,
        made_of=_of_parents(made_of, relations),
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
        operator_functions=called,
        bodies=_bodies(rows),
        guarded_types=guarded,
        casts=casts,
        type_parts=parts if casts else {},
        compared_by=by_relation,
        compares=by_type,
        interpreted=_oids_by_name(rows["interpreted"]),
        interpreted_within=_oids_by_name(rows["interpreted_within"]),
        newest=newest or "",
        callables=callables or "",
        named={name or "": (_number(n), _number(made)) for name, n, made in rows["named"]},
    )


def _relations(
    rows: Mapping[str, list[Row]], columns: Mapping[int, Sequence[Column]]
) -> dict[int, Relation]:
    definitions = {_number(oid): text or "" for oid, text in rows["views"]}
    parents: dict[int, list[int]] = {}
    for child, parent in rows["inherits"]:
        parents.setdefault(_number(child), []).append(_number(parent))
    written, policies = _by_oid(r[:2] for r in rows["written"]), _by_oid(rows["policies"])
    defaults = _by_oid(r[:2] for r in rows["written"] if r[2] == "t")
    triggered, cascades = _by_oid(rows["triggers"]), _by_oid(rows["cascades"])
    relations: dict[int, Relation] = {}
    for row in rows["relations"]:
        oid_text, schema, name, kind, persistence, triggers, rules, row_type = row[:8]
        secured, barrier, stamp, owner = row[8:]
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
            secured=secured == "t",
            barrier=barrier == "t",
            stamp=stamp or "",
            owner=owner or "",
            written=_texts(written.get(oid, ())),
            defaults=frozenset(defaults.get(oid, ())),
            triggers=_numbers(triggered.get(oid, ())),
            policies=_texts(policies.get(oid, ())),
            cascades=_numbers(cascades.get(oid, ())),
        )
    return relations


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


Unique = dict[tuple[int, str], tuple[int, ...]]


def _constraints(
    rows: Rows,
) -> tuple[tuple[ForeignKey, ...], dict[int, tuple[int, ...]], Unique]:
    """(foreign keys, primary keys by OID, unique constraints by OID and name)."""
    references: list[ForeignKey] = []
    primary: dict[int, tuple[int, ...]] = {}
    unique: Unique = {}
    for kind, oid, own, other, others, on_delete, on_update, defaulted, name in rows["constraints"]:
        columns = attribute_numbers(own)
        if kind != "f":
            unique[_number(oid), name or ""] = columns
            if kind == "p":
                primary[_number(oid)] = columns
            continue
        references.append(
            ForeignKey(
                _number(oid),
                columns,
                _number(other),
                attribute_numbers(others),
                on_delete or "",
                on_update or "",
                attribute_numbers(defaulted),
            )
        )
    return tuple(references), primary, unique


def _numbered(columns: Mapping[int, Sequence[Column]]) -> dict[int, list[int]]:
    return {oid: [column.attnum for column in several] for oid, several in columns.items()}


def _of_parents(
    made_of: dict[int, dict[int, tuple[int, ...]]], relations: Mapping[int, Relation]
) -> dict[int, dict[int, tuple[int, ...]]]:
    """A parent shows its children's rows: what is made there is made here. By columns' names."""
    pending = list(made_of)
    while pending:
        child = relations[pending.pop()]
        names = {column.attnum: column.name for column in child.columns}
        for parent in filter(None, map(relations.get, child.parents)):
            own = {column.name: column.attnum for column in parent.columns}
            for target, sources in made_of[child.oid].items():
                column = own.get(names.get(target, ""))
                found = {own[name] for name in map(names.get, sources) if name in own}
                known = made_of.setdefault(parent.oid, {})
                if column is not None and not found <= {*known.get(column, ())}:
                    known[column] = tuple(sorted(found.union(known.get(column, ()))))
                    pending.append(parent.oid)
    return made_of


def _columns(rows: Rows) -> dict[int, list[Column]]:
    expressions = {
        (_number(oid), _number(attnum)): text or "" for oid, attnum, text in rows["generated"]
    }
    columns: dict[int, list[Column]] = {}
    for row in rows["columns"]:
        oid_text, attnum_text, name, type_oid, typmod, generated = row[:6]
        not_null, type_text, collation, defaulted = row[6:]
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
                defaulted=defaulted == "t",
            )
        )
    return columns


def _functions(rows: Rows) -> dict[tuple[str, str], tuple[Function, ...]]:
    found: dict[tuple[str, str], list[Function]] = {}
    for (
        oid, schema, name, kind, language, arguments, returns, digest, extension, declared, made
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
                made == "t",
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


Names = frozenset[tuple[str, str]]


def _operators(rows: Rows) -> tuple[Names, Names, dict[tuple[str, str], tuple[int, ...]]]:
    """(of extensions that only compute; all others; what these call). A name that is both counts as
    the latter."""
    pure: set[tuple[str, str]] = set()
    called: dict[tuple[str, str], set[int]] = {}
    for schema, name, extension, code, function, *estimators in rows["operators"]:
        key = (schema or "", name or "")
        if extension in PURE_EXTENSIONS:
            pure.add(key)
        else:
            oids = called.setdefault(key, set())
            oids.add(_outside(function, code))
            oids.update(oid for oid in map(_number, estimators) if oid >= FIRST_USER_OID)
    sorted_oids = {key: tuple(sorted(oids)) for key, oids in called.items()}
    return frozenset(pure - called.keys()), frozenset(called), sorted_oids


def _outside(oid: str | None, name: str | None) -> int:
    """A function's OID; that of one of pg_catalog only if it is on the allow-list, else 0."""
    number = _number(oid)
    return number if number >= FIRST_USER_OID or harmless(name or "") else 0


def _by_oid(rows: Iterable[Row]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for oid, value in rows:
        found.setdefault(_number(oid), []).append(value or "")
    return found


def _texts(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))


def _numbers(values: Sequence[str]) -> tuple[int, ...]:
    return tuple(sorted({int(value) for value in values}))


def _bodies(rows: Rows) -> dict[int, FunctionBody]:
    return {
        _number(oid): FunctionBody(
            text or "",
            bound == "t",
            _listed(settings, str),
            _listed(names, str),
            defaults or "",
            tuple(map(int, (types or "").split())),
            language or "",
        )
        for oid, text, bound, settings, names, defaults, types, language in rows["bodies"]
    }


T = TypeVar("T")


def _listed(json: str | None, kind: type[T]) -> tuple[T, ...]:
    """A JSON array, or NULL."""
    return () if json is None else tuple(msgspec.json.decode(json, type=list[kind]))  # type: ignore[valid-type]


def _casts(rows: Rows) -> tuple[UserCast, ...]:
    return tuple(
        UserCast(_number(source), _number(target), _outside(function, name))
        for source, target, function, extension, name in rows["casts"]
        if extension not in PURE_EXTENSIONS
    )


def _oids_by_name(rows: Sequence[Row]) -> dict[str, tuple[int, ...]]:
    found: dict[str, list[int]] = {}
    for name, oid in rows:
        found.setdefault(name or "", []).append(_number(oid))
    return {name: tuple(oids) for name, oids in found.items()}


OidsByOid = dict[int, tuple[int, ...]]


def _comparing(rows: Rows) -> tuple[OidsByOid, OidsByOid]:
    """Functions that compare: of a relation's rows, by its indexes and partition key; of a type's
    values."""
    found: tuple[dict[int, list[int]], dict[int, list[int]]] = ({}, {})
    for kind, oid, function in rows["comparing"]:
        found[kind == "t"].setdefault(_number(oid), []).append(_number(function))
    by_relation, by_type = (
        {oid: tuple(sorted(functions)) for oid, functions in each.items()} for each in found
    )
    return by_relation, by_type


def _guarded_types(
    rows: Rows, compared: Mapping[int, tuple[int, ...]]
) -> tuple[dict[int, GuardedType], dict[int, tuple[int, ...]]]:
    """Of all types those that are guarded themselves or made of one that is; parts of all."""
    every: dict[int, GuardedType] = {}
    guarded: set[int] = set()
    for oid_text, schema, name, extension, made_of, functions, checks in rows["guarded"]:
        oid = _number(oid_text)
        pure = extension in PURE_EXTENSIONS
        found = GuardedType(
            oid,
            schema or "",
            name or "",
            _listed(made_of, int),
            (() if pure else _listed(functions, int)) + compared.get(oid, ()),
            _listed(checks, str),
        )
        every[oid] = found
        if found.functions or found.checks:
            guarded.add(oid)
    growing = True
    while growing:
        more = {
            oid
            for oid, found in every.items()
            if oid not in guarded and not guarded.isdisjoint(found.parts)
        }
        guarded |= more
        growing = bool(more)
    parts = {oid: found.parts for oid, found in every.items() if found.parts}
    return {oid: every[oid] for oid in sorted(guarded)}, parts


def _only(rows: Rows, query: str) -> str:
    ((value,),) = rows[query]
    return value or ""


def _number(text: str | None) -> int:
    return int(text or 0)
