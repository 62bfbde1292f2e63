"""The rows of `catalog.QUERIES` into a `Catalog`.

MySQL has no OIDs. A relation's is made of its database's and its own name, a column's number of
its name: the same names give the same numbers in every catalog, whatever was added or moved around
them, so that what was learnt of a column (`dataplane/baseline`) is never taken for another's; what
is renamed is new, and unknown to whoever owes masks until policy names it. Two names that come to
one number get the next free one, in the order of names.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from sqlglot import exp

from appliance.model.catalog import Catalog, Column, Comparison, ForeignKey, Function, Relation
from appliance.model.references import MadeOf, with_sources
from appliance.sql.mysql.catalog import ROWS_MAX
from appliance.sql.mysql.names import SYSTEM_SCHEMAS
from appliance.sql.mysql.scope import folded
from appliance.sql.mysql.tree import Unreadable, statement_of

Row = tuple[str | None, ...]
Rows = Mapping[str, list[Row]]
Name = tuple[str, str]

FIRST_USER_OID = 16_384
"""Below: relations of the server's own databases, numbered in the order of their names."""
NUMBERS = 2**31 - 1
MARIADB = "mariadb"
READ = "read"
"""`Relation.stamp` of what a server said, and may be held against it (`footing`)."""

FOREIGN_ENGINES = frozenset(
    {"FEDERATED", "CONNECT", "SPIDER", "MROONGA", "SPHINX", "S3", "OQGRAPH", "CSV"}
)
"""Engines whose rows are files or other servers."""

TRANSACTIONAL_ENGINES = frozenset({"INNODB", "ROCKSDB", "TOKUDB", "NDBCLUSTER"})
"""Engines whose rows a rollback brings back."""

TYPE_CODES: Final[Mapping[str, int]] = {
    "tinyint": 1,
    "smallint": 2,
    "int": 3,
    "float": 4,
    "double": 5,
    "timestamp": 7,
    "bigint": 8,
    "mediumint": 9,
    "date": 10,
    "time": 11,
    "datetime": 12,
    "year": 13,
    "bit": 16,
    "json": 245,
    "decimal": 246,
    "tinyblob": 252,
    "blob": 252,
    "mediumblob": 252,
    "longblob": 252,
    "tinytext": 252,
    "text": 252,
    "mediumtext": 252,
    "longtext": 252,
    "varchar": 253,
    "varbinary": 253,
    "char": 254,
    "binary": 254,
    "enum": 254,
    "set": 254,
    "geometry": 255,
}
"""information_schema's DATA_TYPE -> type in a column definition
(https://dev.mysql.com/doc/dev/mysql-server/latest/field__types_8h.html)."""

_RULES: Final[Mapping[str, str]] = {
    "NO ACTION": "a",
    "RESTRICT": "r",
    "CASCADE": "c",
    "SET NULL": "n",
    "SET DEFAULT": "d",
}


def build_catalog(target: str, database: str, rows: Rows) -> Catalog:
    """A catalog of the rows of QUERIES, by query name. Raises KeyError or ValueError when they are
    not those rows, or more than there may be.
    """
    for name, found in rows.items():
        if len(found) > ROWS_MAX:
            raise ValueError(f"too many {name} for a catalog")
    ((version, folding),) = rows["server"]
    ((epoch,),) = rows["epoch"]
    oids = _oids((_t(schema), _t(name)) for schema, name, *_ in rows["relations"])
    columns, made_of = _columns(rows, oids)
    numbers = _code_numbers(rows)
    triggers = _triggers(rows, numbers)
    relations = _relations(rows, oids, columns, triggers)
    unique, indexes = _indexes(rows, relations, oids)
    return Catalog(
        target=target,
        database=database,
        version=_t(epoch),
        server_version_num=version_number(_t(version)),
        schemas=tuple(_t(schema) for (schema,) in rows["schemas"]),
        relations=relations,
        by_name={(r.schema, r.name): r.oid for r in relations.values()},
        functions=_by_name(
            [*_functions(rows, numbers), *(each for own in triggers.values() for each in own)]
        ),
        newest="",
        foreign_keys=_foreign_keys(rows, relations, oids),
        compared=_compared(rows, relations, oids, unique, made_of),
        made_of=made_of,
        primary_keys={oid: keys for (oid, name), keys in unique.items() if name == "PRIMARY"},
        unique=unique,
        indexes=indexes,
        folds_relations=folding != "0",
    )


def version_number(text: str) -> int:
    """10.11.19-MariaDB -> 101119, 8.0.36 -> 80036; 0 for what is no version. MariaDB's are above
    100000, MySQL's below."""
    if MARIADB in text.lower():
        text = text.removeprefix("5.5.5-")  # put before it for old replicas
    parts = text.partition("-")[0].split(".")
    if len(parts) < 3 or not all(part.isascii() and part.isdigit() for part in parts[:3]):
        return 0
    major, minor, patch = (int(part) for part in parts[:3])
    return major * 10_000 + minor * 100 + patch


def is_mariadb(number: int) -> bool:
    return number >= 100_000


def numbered(names: Iterable[str], first: int = 1) -> dict[str, int]:
    """Names -> numbers from `first` on that depend on the name alone, but where two collide."""
    taken: dict[int, str] = {}
    for name in sorted(names):
        digest = hashlib.sha256(name.encode()).digest()
        number = int.from_bytes(digest[:8], "big") % (NUMBERS - first) + first
        while number in taken:
            number = number + 1 if number < NUMBERS else first
        taken[number] = name
    return {name: number for number, name in taken.items()}


def _t(value: str | None) -> str:
    return value or ""


def _oids(names: Iterable[Name]) -> dict[Name, int]:
    every = sorted(set(names))
    own = [name for name in every if name[0].lower() not in SYSTEM_SCHEMAS]
    system = [name for name in every if name[0].lower() in SYSTEM_SCHEMAS]
    if len(system) >= FIRST_USER_OID // 2:
        raise ValueError("too many relations of the server itself")
    made = numbered(("\0".join(name) for name in own), FIRST_USER_OID)
    return {name: made["\0".join(name)] for name in own} | {
        name: number for number, name in enumerate(system, 1)
    }


def _columns(
    rows: Rows, oids: Mapping[Name, int]
) -> tuple[dict[int, tuple[Column, ...]], dict[int, dict[int, tuple[int, ...]]]]:
    """By OID: columns in their order; of generated ones, what they are computed from."""
    by_relation: dict[int, list[Row]] = {}
    for row in rows["columns"]:
        oid = oids.get((_t(row[0]), _t(row[1])))
        if oid is not None:
            by_relation.setdefault(oid, []).append(row)
    columns: dict[int, tuple[Column, ...]] = {}
    made_of: dict[int, dict[int, tuple[int, ...]]] = {}
    for oid, several in by_relation.items():
        several.sort(key=lambda row: int(_t(row[10])))
        numbers = numbered(_t(row[2]) for row in several)
        columns[oid] = tuple(_column(row, numbers) for row in several)
        made = _made_of(columns[oid])
        if made:
            made_of[oid] = made
    return columns, made_of


def _column(row: Row, numbers: Mapping[str, int]) -> Column:
    name, kind, type_text, nullable, charset, collation, extra, expression = map(_t, row[2:10])
    flags = extra.upper()
    generated = "s" if "STORED" in flags or "PERSISTENT" in flags else "v"
    return Column(
        attnum=numbers[name],
        name=name,
        type_oid=TYPE_CODES.get(kind.lower(), 255),
        generated=generated if "GENERATED" in flags and expression else "",
        expression=expression,
        not_null=nullable == "NO",
        type_text=type_text,
        collation=collation,
        charset=charset,
        invisible="INVISIBLE" in flags,
        defaulted=row[11] == "1",
    )


def _made_of(columns: Sequence[Column]) -> dict[int, tuple[int, ...]]:
    """Generated column -> the columns in its expression, through other generated ones; all of them
    when it can not be read."""
    direct = {
        c.attnum: _named_in(c.expression, columns) - {c.attnum} for c in columns if c.generated
    }
    made: dict[int, tuple[int, ...]] = {}
    for column in direct:
        found, pending = set[int](), [column]
        while pending:
            new = direct.get(pending.pop(), set()) - found
            found |= new
            pending.extend(new)
        made[column] = tuple(sorted(found - {column}))
    return made


def _named_in(expression: str, columns: Sequence[Column]) -> set[int]:
    """Columns of a relation that an expression of it may look at."""
    try:
        tree = statement_of(f"SELECT {expression}")
    except (Unreadable, RecursionError):
        return {column.attnum for column in columns}
    names = {folded(node.name) for node in tree.find_all(exp.Column)}
    return {column.attnum for column in columns if folded(column.name) in names}


def _relations(
    rows: Rows,
    oids: Mapping[Name, int],
    columns: Mapping[int, tuple[Column, ...]],
    triggers: Mapping[Name, list[Function]],
) -> dict[int, Relation]:
    definitions = {(_t(row[0]), _t(row[1])): _t(row[2]) for row in rows["views"]}
    relations: dict[int, Relation] = {}
    for schema, name, kind, engine in rows["relations"]:
        key = (_t(schema), _t(name))
        relations[oids[key]] = Relation(
            oid=oids[key],
            schema=key[0],
            name=key[1],
            kind=_kind(_t(kind), _t(engine)),
            columns=columns.get(oids[key], ()),
            definition=definitions.get(key, ""),
            has_triggers=key in triggers,
            triggers=tuple(trigger.oid for trigger in triggers.get(key, ())),
            undoable=_t(engine).upper() in TRANSACTIONAL_ENGINES,
            stamp="" if oids[key] < FIRST_USER_OID else READ,
        )
    return relations


def _kind(table_type: str, engine: str) -> str:
    """As pg_class.relkind: r table, v view (the server's own included), S sequence, f a table whose
    rows are somewhere else."""
    if "VIEW" in table_type:
        return "v"
    if table_type == "SEQUENCE":
        return "S"
    return "f" if engine.upper() in FOREIGN_ENGINES else "r"


def _code_numbers(rows: Rows) -> dict[str, int]:
    """Routines by schema, name and kind; triggers by "trigger", schema, relation and name."""
    routines = ["\0".join(map(_t, row[:3])) for row in rows["routines"]]
    triggers = ["\0".join(("trigger", *map(_t, row[:3]))) for row in rows["triggers"]]
    return dict(numbered([*routines, *triggers]))


def _functions(rows: Rows, numbers: Mapping[str, int]) -> list[Function]:
    arguments: dict[tuple[str, str, str], list[tuple[int, str]]] = {}
    for schema, name, kind, position, type_text in rows["arguments"]:
        key = (_t(schema), _t(name), _t(kind))
        arguments.setdefault(key, []).append((int(_t(position)), _t(type_text)))
    found = []
    for row in rows["routines"]:
        schema, name, kind, returns, digest = map(_t, row)
        types = sorted(arguments.get((schema, name, kind), ()))
        function = Function(
            oid=numbers["\0".join((schema, name, kind))],
            schema=schema,
            name=name,
            kind="p" if kind == "PROCEDURE" else "f",
            language="sql",
            arguments=", ".join(text for _, text in types),
            digest=hashlib.sha256(f"{digest}\0{returns}\0{types}".encode()).hexdigest(),
        )
        found.append(function)
    return found


TRIGGER = "t"
"""`Function.kind` of what is no function but is called by the server."""


def _triggers(rows: Rows, numbers: Mapping[str, int]) -> dict[Name, list[Function]]:
    """By relation: each trigger as a function that the server calls, its event (insert, update,
    delete) in place of arguments; `crm.kept(update)` is what a policy may trust."""
    found: dict[Name, list[Function]] = {}
    for row in rows["triggers"]:
        schema, table, name, event, *rest = map(_t, row)
        function = Function(
            oid=numbers["\0".join(("trigger", schema, table, name))],
            schema=schema,
            name=name,
            kind=TRIGGER,
            language="sql",
            arguments=event.lower(),
            digest=hashlib.sha256("\0".join((table, event, *rest)).encode()).hexdigest(),
        )
        found.setdefault((schema, table), []).append(function)
    return found


def _by_name(functions: Iterable[Function]) -> dict[Name, tuple[Function, ...]]:
    found: dict[Name, tuple[Function, ...]] = {}
    for function in functions:
        named = (function.schema, function.name.lower())
        found[named] = (*found.get(named, ()), function)
    return found


Unique = dict[tuple[int, str], tuple[int, ...]]
Indexes = dict[int, dict[str, tuple[int, ...]]]


def _indexes(
    rows: Rows, relations: Mapping[int, Relation], oids: Mapping[Name, int]
) -> tuple[Unique, Indexes]:
    """Columns of unique indexes by (OID, name), the primary key's is PRIMARY; of all indexes by OID
    and name. 0 for a part that is an expression."""
    found: dict[tuple[int, str], list[tuple[int, int]]] = {}
    repeating: set[tuple[int, str]] = set()
    for schema, table, index, non_unique, name, position in rows["indexes"]:
        relation = relations.get(oids.get((_t(schema), _t(table)), 0))
        if relation is None:
            continue
        column = relation.column(_t(name))
        key = (relation.oid, _t(index))
        number = 0 if column is None else column.attnum
        found.setdefault(key, []).append((int(_t(position)), number))
        if non_unique != "0":
            repeating.add(key)
    every = {key: tuple(number for _, number in sorted(parts)) for key, parts in found.items()}
    indexes: Indexes = {}
    for (oid, name), columns in every.items():
        indexes.setdefault(oid, {})[name] = columns
    return {key: columns for key, columns in every.items() if key not in repeating}, indexes


def _foreign_keys(
    rows: Rows, relations: Mapping[int, Relation], oids: Mapping[Name, int]
) -> tuple[ForeignKey, ...]:
    parts: dict[tuple[str, str, int], list[tuple[int, int, int, int, str, str]]] = {}
    for row in rows["foreign_keys"]:
        schema, name, table_schema, table, column, *rest = map(_t, row)
        parent_schema, parent_table, parent_column, deleted, updated, position = rest
        child = relations.get(oids.get((table_schema, table), 0))
        parent = relations.get(oids.get((parent_schema, parent_table), 0))
        if child is None or parent is None:
            continue
        one, other = child.column(column), parent.column(parent_column)
        if one is not None and other is not None:
            parts.setdefault((schema, name, child.oid), []).append(
                (int(position), one.attnum, parent.oid, other.attnum, deleted, updated)
            )
    return tuple(_foreign_key(child, sorted(several)) for (_, _, child), several in parts.items())


def _foreign_key(child: int, parts: Sequence[tuple[int, int, int, int, str, str]]) -> ForeignKey:
    return ForeignKey(
        child=child,
        columns=tuple(part[1] for part in parts),
        parent=parts[0][2],
        parent_columns=tuple(part[3] for part in parts),
        on_delete=_RULES.get(parts[0][4], "c"),
        on_update=_RULES.get(parts[0][5], "c"),
    )


def _compared(
    rows: Rows,
    relations: Mapping[int, Relation],
    oids: Mapping[Name, int],
    unique: Mapping[tuple[int, str], tuple[int, ...]],
    made_of: MadeOf,
) -> dict[int, tuple[Comparison, ...]]:
    """What the outcome of a write depends on. Whatever a table is like, the server says how many
    rows a write *changed*, so whether a new value is the old one is told of every column."""
    found: dict[int, list[Comparison]] = {}

    def looked_at(oid: int, columns: Iterable[int]) -> tuple[int, ...]:
        return tuple(sorted(with_sources(made_of, oid, columns)))

    def add(oid: int, made: Comparison) -> None:
        found.setdefault(oid, []).append(made)

    for relation in relations.values():
        if relation.kind != "v" and relation.oid >= FIRST_USER_OID:
            for column in relation.columns:
                changes = looked_at(relation.oid, (column.attnum,))
                add(relation.oid, Comparison(changes=changes))
    for (oid, _), columns in unique.items():
        if 0 in columns:
            every = tuple(column.attnum for column in relations[oid].columns)
            add(oid, Comparison(every, others=every, unique=every))
        else:
            together = looked_at(oid, columns)
            add(oid, Comparison(together if len(together) > 1 else (), unique=together))
    for schema, table, _, clause in rows["checks"]:
        checked = relations.get(oids.get((_t(schema), _t(table)), 0))
        if checked is not None:
            named = _named_in(_t(clause), checked.columns)
            add(checked.oid, Comparison(looked_at(checked.oid, named)))
    return {oid: tuple(dict.fromkeys(several)) for oid, several in found.items()}
