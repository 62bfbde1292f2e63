"""A database's schema at one moment, keyed by OID and attribute number; built by
`dataplane/catalogs`, read by `sql`, `policy` and `masking`.

A relation, column or function that is not in here is *unknown*, and unknown means refuse for
whoever owes a mask.
"""

from collections.abc import Mapping

import msgspec

ColumnKey = tuple[int, int]
"""(pg_class.oid, pg_attribute.attnum): the only identity of a column that a rename does not change.
"""


class Column(msgspec.Struct, frozen=True):
    attnum: int
    name: str
    type_oid: int
    typmod: int = -1
    generated: str = ""
    """pg_attribute.attgenerated: '' or 's' (stored) or 'v' (virtual)."""
    expression: str = ""
    """Text of the generation expression, '' when not generated."""
    not_null: bool = False
    """pg_attribute.attnotnull."""


class Relation(msgspec.Struct, frozen=True):
    oid: int
    schema: str
    name: str
    kind: str
    """pg_class.relkind: r table, p partitioned table, v view, m materialised view, f foreign table,
    S sequence, c composite type, t toast.
    """
    columns: tuple[Column, ...]
    parents: tuple[int, ...] = ()
    """pg_inherits: parents of a partition or an inheritance child."""
    definition: str = ""
    """pg_get_viewdef() of a view or materialised view, '' otherwise. Names in it are resolved with
    an empty search_path (the loader sets it), so they are qualified.
    """
    persistence: str = "p"
    """pg_class.relpersistence: p permanent, u unlogged, t temporary."""
    has_triggers: bool = False
    has_rules: bool = False
    row_type_oid: int = 0
    """pg_class.reltype."""
    stamp: str = ""
    """`sql/stamps.RELATION` when it was read; '' for what initdb made."""

    def column(self, name: str) -> Column | None:
        for column in self.columns:
            if column.name == name:
                return column
        return None


class Function(msgspec.Struct, frozen=True):
    """A function outside pg_catalog (those are known by `sql/functions`)."""

    oid: int
    schema: str
    name: str
    kind: str
    """pg_proc.prokind: f function, p procedure, a aggregate, w window."""
    language: str
    arguments: str
    """pg_get_function_identity_arguments()."""
    returns_oid: int = 0
    body_digest: str = ""
    """md5(prosrc), as the server computes it."""
    extension: str = ""
    """Name of the extension it belongs to, '' for none."""


class Catalog(msgspec.Struct, frozen=True):
    """One immutable snapshot. `version` changes whenever anything in it does."""

    target: str
    database: str
    version: str
    server_version_num: int
    schemas: tuple[str, ...]
    relations: Mapping[int, Relation]
    """By OID. Includes pg_catalog and information_schema."""
    by_name: Mapping[tuple[str, str], int]
    """(schema, relation name) -> OID."""
    functions: Mapping[tuple[str, str], tuple[Function, ...]]
    """(schema, function name) -> overloads, user schemas only."""
    operators: frozenset[tuple[str, str]] = frozenset()
    """(schema, operator name) outside pg_catalog that belong to no extension known to only compute
    on its arguments.
    """
    extension_operators: frozenset[tuple[str, str]] = frozenset()
    """(schema, operator name) outside pg_catalog of such extensions."""
    types: Mapping[tuple[str, str], int] = {}
    """(schema, type name) -> OID outside pg_catalog and not a relation's row type."""
    user_casts: bool = False
    """Whether a cast exists that calls a function and is neither built in nor of such an extension.
    """
    unknown: frozenset[ColumnKey] = frozenset()
    """Columns that appeared since this database was first seen: whoever made them may have put
    masked values into them (`dataplane/baseline`)."""
    newest: str = ""
    """`sql/stamps.NEWEST` when it was read. '' = this catalog was not read from a server, and there
    is nothing to hold it against."""
    callables: str = ""
    """`sql/stamps.CALLABLES` when it was read."""

    def relation_named(self, schema: str, name: str) -> Relation | None:
        oid = self.by_name.get((schema, name))
        return None if oid is None else self.relations[oid]


class SessionSettings(msgspec.Struct, frozen=True):
    """The part of a session's state that the meaning of a text depends on. `digest` keys caches."""

    database: str
    search_path: tuple[str, ...] = ("$user", "public")
    role: str = ""
    """current_user, which "$user" in search_path stands for."""
    certain: bool = True
    """False while a statement that may change any of these is on its way or could have changed them
    unseen.
    """
    temp_relations: frozenset[str] = frozenset()
    """Names of relations that this session may have made, and whose columns are not known (never
    removed too early)."""
    temporaries: tuple[Relation, ...] = ()
    """The session's own temporary relations, as the server described them; their schema is
    "pg_temp"."""

    sealed: str = ""
    """`digest()`, computed once by whoever keeps this object for many statements."""

    def digest(self) -> str:
        if self.sealed:
            return self.sealed
        return repr(
            (
                self.database,
                self.search_path,
                self.role,
                self.certain,
                sorted(self.temp_relations),
                self.temporaries,
            )
        )
