"""Catalogs that `sallyport policy` reads from files, so that a policy can be tried without a
database.

Two forms: *tables*, short and hand-written (in test files), and a *snapshot*, a whole catalog as
JSON.
"""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from appliance.model.catalog import (
    Catalog,
    Column,
    Function,
    FunctionBody,
    GuardedType,
    Relation,
    UserCast,
)

FIRST_OID = 100_000
TYPES: Mapping[str, int] = {
    "bool": 16, "boolean": 16, "bytea": 17, "bigint": 20, "int8": 20, "bigserial": 20,
    "smallint": 21, "int2": 21, "int": 23, "int4": 23, "integer": 23, "serial": 23, "text": 25,
    "json": 114, "real": 700, "float4": 700, "float8": 701, "double precision": 701, "inet": 869,
    "bpchar": 1042, "char": 1042, "varchar": 1043, "date": 1082, "time": 1083, "timestamp": 1114,
    "timestamptz": 1184, "interval": 1186, "numeric": 1700, "decimal": 1700, "uuid": 2950,
    "jsonb": 3802, "text[]": 1009, "int[]": 1007, "tsvector": 3614, "xml": 142, "money": 790,
}  # fmt: skip
"""Type name -> pg_type.oid (pg_type.dat)."""
_PRINTED: Mapping[str, str] = {
    "bool": "boolean", "int8": "bigint", "bigserial": "bigint", "int2": "smallint",
    "int": "integer", "int4": "integer", "serial": "integer", "float4": "real",
    "float8": "double precision", "char": "character", "varchar": "character varying",
    "time": "time without time zone", "timestamp": "timestamp without time zone",
    "timestamptz": "timestamp with time zone", "decimal": "numeric", "int[]": "integer[]",
}  # fmt: skip
"""Type name -> what format_type() calls it, where that is another name."""
_MODIFIED = frozenset({"char", "varchar", "bpchar", "numeric", "decimal"})
_BPCHAR_HEADER = 4


class TableSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table with more than columns."""

    columns: tuple[str, ...]
    """`name type` each."""
    view: str = ""
    """The query, when it is a view; names in it written with their schema."""
    parent: str = ""
    """schema.table that this is a partition of."""


Tables = dict[str, tuple[str, ...] | TableSpec]


class CatalogFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A whole catalog as JSON: what `Catalog` holds, without the indexes."""

    target: str
    database: str
    version: str
    server_version_num: int
    schemas: tuple[str, ...]
    relations: tuple[Relation, ...]
    functions: tuple[Function, ...] = ()
    operators: tuple[tuple[str, str], ...] = ()
    types: tuple[tuple[str, str, int], ...] = ()
    unlisted_builtins: tuple[str, ...] = ()
    operator_functions: tuple[tuple[str, str, tuple[int, ...]], ...] = ()
    bodies: dict[int, FunctionBody] = {}
    guarded_types: tuple[GuardedType, ...] = ()
    casts: tuple[UserCast, ...] = ()
    type_parts: dict[int, tuple[int, ...]] = {}


def catalog_from_file(path: Path) -> Catalog:
    """Raises OSError, or ValueError with words for a person."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=CatalogFile)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a catalog snapshot: {error}") from None
    functions: dict[tuple[str, str], tuple[Function, ...]] = {}
    for function in found.functions:
        key = (function.schema, function.name)
        functions[key] = (*functions.get(key, ()), function)
    return Catalog(
        target=found.target,
        database=found.database,
        version=found.version,
        server_version_num=found.server_version_num,
        schemas=found.schemas,
        relations={relation.oid: relation for relation in found.relations},
        by_name={(relation.schema, relation.name): relation.oid for relation in found.relations},
        functions=functions,
        operators=frozenset(found.operators),
        types={(schema, name): oid for schema, name, oid in found.types},
        unlisted_builtins=frozenset(found.unlisted_builtins),
        operator_functions={(s, name): oids for s, name, oids in found.operator_functions},
        bodies=found.bodies,
        guarded_types={guarded.oid: guarded for guarded in found.guarded_types},
        casts=found.casts,
        type_parts=found.type_parts,
    )


def catalog_to_json(catalog: Catalog) -> bytes:
    """The snapshot form of a catalog."""
    return msgspec.json.encode(
        CatalogFile(
            target=catalog.target,
            database=catalog.database,
            version=catalog.version,
            server_version_num=catalog.server_version_num,
            schemas=catalog.schemas,
            relations=tuple(catalog.relations.values()),
            functions=tuple(f for overloads in catalog.functions.values() for f in overloads),
            operators=tuple(sorted(catalog.operators)),
            types=tuple((*name, oid) for name, oid in catalog.types.items()),
            unlisted_builtins=tuple(sorted(catalog.unlisted_builtins)),
            operator_functions=tuple((*key, o) for key, o in catalog.operator_functions.items()),
            bodies=dict(catalog.bodies),
            guarded_types=tuple(catalog.guarded_types.values()),
            casts=catalog.casts,
            type_parts=dict(catalog.type_parts),
        )
    )


def catalog_from_tables(target: str, database: str, tables: Tables) -> Catalog:
    """A catalog with just these relations. Raises ValueError with words for a person."""
    oids = {name: FIRST_OID + i for i, name in enumerate(tables)}
    relations = {}
    for name, oid in oids.items():
        spec = tables[name]
        spec = spec if isinstance(spec, TableSpec) else TableSpec(spec)
        relations[oid] = _relation(name, oid, spec, oids)
    return Catalog(
        target=target,
        database=database,
        version="tables",
        server_version_num=160000,
        schemas=tuple(dict.fromkeys(["pg_catalog", *(r.schema for r in relations.values())])),
        relations=relations,
        by_name={(r.schema, r.name): r.oid for r in relations.values()},
        functions={},
    )


def _relation(name: str, oid: int, spec: TableSpec, oids: Mapping[str, int]) -> Relation:
    schema, dot, relation = name.partition(".")
    if not dot:
        raise ValueError(f"table {name!r}: write schema.table")
    if spec.parent and spec.parent not in oids:
        raise ValueError(f"table {name!r}: there is no table {spec.parent!r} to be its parent")
    return Relation(
        oid=oid,
        schema=schema,
        name=relation,
        kind="v" if spec.view else "r",
        columns=tuple(_column(name, i, text) for i, text in enumerate(spec.columns, start=1)),
        parents=(oids[spec.parent],) if spec.parent else (),
        definition=spec.view,
    )


def _column(table: str, attnum: int, text: str) -> Column:
    name, _, written = text.strip().partition(" ")
    kind, _, modifier = (written.strip() or "text").lower().partition("(")
    kind = kind.strip()
    oid = TYPES.get(kind)
    if not name or oid is None:
        known = ", ".join(sorted(TYPES))
        raise ValueError(f"table {table!r}: column {text!r}: the types known here are {known}")
    length = modifier.rstrip(" )").replace(" ", "") or ("1" if kind == "char" else "")
    printed = "character" if kind == "bpchar" and length else _PRINTED.get(kind, kind)
    return Column(
        attnum=attnum,
        name=name,
        type_oid=oid,
        typmod=_BPCHAR_HEADER + int(length) if oid == TYPES["char"] and length.isdigit() else -1,
        type_text=f"{printed}({length})" if length and kind in _MODIFIED else printed,
    )
