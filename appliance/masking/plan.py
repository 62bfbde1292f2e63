"""Before the first row: what of one statement's result is masked, or why the statement can not go.

`session` calls `plan` once per statement, after the decision and before anything is forwarded; the
plan stays with that statement (prepared statement, cursor) and `attribution.bind` holds it against
what the server describes. This is the wire execution of masking: a masked column may be returned
as it is and used in no other way, so that the result is what a masked database would give.

Its rule: for a principal who owes a mask, unknown means refuse. Policy can not switch this off.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import msgspec

from appliance.masking.oracles import told_by
from appliance.masking.ordering import told_by_order
from appliance.model.catalog import TELLING_ELSEWHERE, Catalog, ColumnKey, Relation
from appliance.model.decision import Decision, Mask, MaskMethod, Trust
from appliance.model.errors import Refused
from appliance.model.facts import (
    Action,
    Confidence,
    Facts,
    Flag,
    FunctionUse,
    OutputColumn,
    ParseFailure,
    PreparedUse,
    RelationUse,
    StatementFacts,
)
from appliance.model.refusal import Refusal, RefusalCode

GUARD_UNKNOWN = "guard.unknown"
GUARD_FUNCTION = "guard.unknown-function"
GUARD_ACTION = "guard.beyond-masking"
GUARD_SECRETS = "guard.system-secrets"
GUARD_CATALOG = "guard.catalog"

BEYOND_MASKING = frozenset(
    {
        Action.CREATE_FUNCTION,
        Action.DO,
        Action.DYNAMIC_SQL,
        Action.COPY_FILE,
        Action.COPY_PROGRAM,
        Action.SERVER_FILE,
        Action.LARGE_OBJECT,
        Action.FOREIGN_SERVER,
        Action.REPLICATION,
        Action.ALTER_SYSTEM,
        Action.SET_ROLE,
        Action.LOAD,
        Action.CREATE_EXTENSION,
    }
)
"""Actions through which values leave by ways that no mask plan sees."""

_CALLING = frozenset({Action.CALL, Action.EXECUTE_FUNCTION})

_FLOATS = frozenset({"real", "double precision"})

_COPYING = frozenset({Action.CREATE, Action.CREATE_TEMPORARY, Action.COPY_TO})
"""Actions that carry what a query gives to where this plan does not reach."""

_WITHOUT_ROWS = "CreateLikeStmt"
"""A table of the form of another one, whose rows are not copied."""

_READING = frozenset({Action.SELECT, Action.EXPLAIN, Action.COPY_TO})
_DEFINING_KINDS = frozenset({"ViewStmt", "RuleStmt"})
"""Statements whose query the server keeps and may expand again under other names."""

_FAILURE_CODES: Mapping[str, RefusalCode] = {
    "syntax": RefusalCode.UNPARSABLE,
    "nul_byte": RefusalCode.UNPARSABLE,
    "encoding": RefusalCode.UNPARSABLE,
    "too_long": RefusalCode.TOO_LONG,
    "too_deep": RefusalCode.TOO_COMPLEX,
    "too_many_comments": RefusalCode.TOO_COMPLEX,
    "timeout": RefusalCode.ANALYSIS_FAILED,
    "crashed": RefusalCode.ANALYSIS_FAILED,
}

ALONE = (
    "Select the column by itself: it arrives masked. Leave it out of conditions, joins, sorting, "
    "DISTINCT, expressions, set operations and writes."
)
_REASONS_SHOWN_MAX = 3


class ColumnOrigins(Protocol):
    """Base columns that a column's value comes from; `sql.lineage.ColumnLineage`."""

    @property
    def sources(self) -> frozenset[ColumnKey]: ...
    @property
    def plain(self) -> bool: ...
    @property
    def known(self) -> bool: ...


class Lineage(Protocol):
    """What masking needs of `sql.lineage.CatalogLineage`."""

    @property
    def catalog(self) -> Catalog: ...
    def of(self, key: ColumnKey, /) -> ColumnOrigins: ...


class PlannedColumn(msgspec.Struct, frozen=True):
    """One column of the result. `origin` is what the server must report; None = computed (0, 0)."""

    name: str
    origin: ColumnKey | None
    mask: Mask | None
    loose: tuple[ColumnKey, ...] = ()
    """What it may report as well, when there is no mask."""


class MaskPlan(msgspec.Struct, frozen=True):
    """What `attribution.bind` holds a result against."""

    unrestricted: bool
    """The principal owes no mask: nothing is masked and nothing is checked."""
    kind: str = ""
    """The statement's kind, e.g. SelectStmt."""
    columns: tuple[PlannedColumn, ...] = ()
    columns_known: bool = True
    """False for EXPLAIN, SHOW, EXECUTE, FETCH: the facts do not tell the columns."""
    touches: tuple[ColumnKey, ...] = ()
    """Masked columns that the statement touches in any way: its errors and notices are redacted."""
    shows: frozenset[int] = frozenset()
    """OIDs of the relations that a SHOW is about; empty when it names none."""
    spared: frozenset[ColumnKey] = frozenset()
    """Columns of which the result shows nothing that has to be masked."""
    prepared: PreparedUse | None = None
    """For SQL-level EXECUTE and FETCH: the name whose own plan describes the result."""
    at_source: bool = False
    """The statement is sent rewritten: what it computes with are masks, and no masked column may
    arrive under its own origin."""

    @property
    def masks_any(self) -> bool:
        return any(column.mask is not None for column in self.columns)


UNRESTRICTED = MaskPlan(unrestricted=True)


def plan(
    facts: Facts,
    index: int,
    decision: Decision,
    owed: Mapping[ColumnKey, Mask],
    lineage: Lineage | None,
) -> MaskPlan:
    """The plan of statement `index` of a text. Raises Refused.

    `owed`: every mask owed on the database now (`decision.owed`), touched or not.
    """
    if not decision.owes_masks and not owed:
        return UNRESTRICTED
    statement = facts.statements[index]
    if lineage is None or (facts.catalog_version and _stale(facts, lineage)):
        raise _refused(
            RefusalCode.CATALOG_UNAVAILABLE if lineage is None else RefusalCode.STALE,
            "what is masked here is not known at the moment, because the catalog is being read",
            "Try again in a moment.",
            GUARD_CATALOG,
        )
    _require_understood(facts, statement)
    _require_trusted(statement, decision.trust, lineage.catalog)
    _require_exact(statement)
    _require_silent(statement, owed, lineage.catalog)
    work = _Work(statement, owed, lineage)
    work.require_unread_inside()
    work.require_within_reach()
    work.require_unused()
    work.require_unsorted()
    return MaskPlan(
        unrestricted=False,
        kind=statement.kind,
        columns=tuple(work.column(output) for output in statement.outputs),
        columns_known=statement.outputs_known,
        touches=work.touches(),
        shows=frozenset(u.oid for u in statement.relations if u.action is Action.SHOW and u.oid),
        spared=statement.spared,
        prepared=statement.prepared,
    )


AT_SOURCE_KINDS = frozenset(
    {
        "SelectStmt",
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "ExplainStmt",
        "PrepareStmt",
        "DeclareCursorStmt",
        "CopyStmt",
        "CreateTableAsStmt",
    }
)
"""Statements that can be said over masked relations."""


def measures(plan: MaskPlan, statement: StatementFacts, owed: Mapping[ColumnKey, Mask]) -> bool:
    """Whether an EXPLAIN would show sizes of masked cells that it does not name: of a prepared
    statement, or of rows that it writes."""
    if plan.unrestricted or plan.kind != "ExplainStmt":
        return False
    masked = {oid for oid, _ in owed}
    writes = Flag.WRITES in statement.flags and any(
        use.oid in masked for use in (*statement.relations, *statement.beneath)
    )
    return plan.prepared is not None or writes


def source_plan(
    facts: Facts, index: int, owed: Mapping[ColumnKey, Mask], lineage: Lineage
) -> MaskPlan | None:
    """The plan of a statement that will be rewritten; None for a kind that cannot be.

    Asked when `plan` has refused it for the way it uses masked columns, so after everything else
    it refuses for. Raises Refused.
    """
    statement = facts.statements[index]
    if statement.kind not in AT_SOURCE_KINDS or Action.ALTER in statement.actions:
        return None
    work = _Work(statement, owed, lineage)
    work.require_unread_inside()  # bodies of functions are never rewritten
    return MaskPlan(
        unrestricted=False,
        kind=statement.kind,
        columns=tuple(PlannedColumn(o.name, None, None) for o in statement.outputs),
        columns_known=statement.outputs_known,
        touches=work.touches(),
        prepared=statement.prepared,
        at_source=True,
    )


def _named(relation: Relation) -> tuple[str, str]:
    return relation.schema, relation.name


def _stale(facts: Facts, lineage: Lineage) -> bool:
    return facts.catalog_version != lineage.catalog.version


def _refused(
    code: RefusalCode, message: str, remedy: str, rule: str, sqlstate: str = "42501"
) -> Refused:
    return Refused(Refusal(code=code, message=message, remedy=remedy, rule=rule, sqlstate=sqlstate))


_UNREAD = ("this kind of statement is not understood", "the statement could not be parsed")


def _unknown_state(unresolved: Sequence[str]) -> str:
    """The SQLSTATE a database has for a name it does not know: programs look at it."""
    for why in unresolved:
        if why in _UNREAD:
            return "42601"
        if why.endswith(" is not known"):
            if why.startswith("relation "):
                return "42P01"
            if why.startswith("column "):
                return "42703"
    return "42501"


def _require_understood(facts: Facts, statement: StatementFacts) -> None:
    """Refuse what was not understood to the last name, or reaches past masking."""
    if facts.failure is not None:
        raise _failed(facts.failure)
    for action in statement.actions:
        if action in BEYOND_MASKING:
            raise _refused(
                RefusalCode.OPAQUE,
                f"{action.value} can show masked values in ways that masking does not see",
                "Say it as plain SQL, or ask somebody who may see the columns unmasked.",
                GUARD_ACTION,
            )
    if Flag.READS_SYSTEM_SECRETS in statement.flags and not statement.single_columns:
        raise _refused(
            RefusalCode.DENIED,
            "this reads system views that hold secrets, samples of columns or others' statements",
            "Leave these views or columns out.",
            GUARD_SECRETS,
        )


def _require_trusted(statement: StatementFacts, trust: Trust, catalog: Catalog) -> None:
    """Refuse functions that nobody vouched for, or that changed since.

    Before confidence: an unknown function is also a reason for PARTIAL, and the better explanation
    is the function's name.
    """
    calls = (*statement.functions, *statement.functions_below)
    if not calls and not _CALLING.isdisjoint(statement.actions):
        raise _unknown_function(["a function here"])
    unknown: dict[FunctionUse, None] = {}
    for call in calls:
        left = set(call.candidates) - trust.functions
        if call.candidates and not left:
            continue
        changed = sorted(left & trust.changed)
        if changed and left <= trust.changed:
            raise _changed_function(call, changed, catalog)
        unknown[call] = None
    if unknown:
        raise _untrusted(list(unknown), catalog)


def _untrusted(calls: Sequence[FunctionUse], catalog: Catalog) -> Refused:
    """Why none of these may be called: absent, built in, or nobody vouched for it."""
    absent = [call for call in calls if _is_absent(call, catalog)]
    if absent:
        return _refused(
            RefusalCode.UNRESOLVED,
            f"function {_list(_dotted(c.schema, c.name) for c in absent)} does not exist",
            "Check how it is written, and its schema.",
            GUARD_FUNCTION,
            "42883",
        )
    others = [call for call in calls if not _is_built_in(call, catalog)]
    if others:
        return _unknown_function(dict.fromkeys(_dotted(c.schema, c.name) for c in others))
    return _refused(
        RefusalCode.UNKNOWN_FUNCTION,
        f"{_list(dict.fromkeys(c.name for c in calls))}: a built-in function that is not available "
        "to who owes masks",
        "Leave it out, or ask somebody who may see the columns unmasked.",
        GUARD_FUNCTION,
    )


def _is_built_in(call: FunctionUse, catalog: Catalog) -> bool:
    if call.schema not in ("", "pg_catalog", "information_schema"):
        return False
    return call.name in catalog.unlisted_builtins or call.name in catalog.interpreted


def _is_absent(call: FunctionUse, catalog: Catalog) -> bool:
    """Whether a catalog that was read from a server has no function of this name."""
    if not catalog.newest or call.candidates or " " in call.name:
        return False  # ("operator +", "type x")
    if call.schema == "information_schema" or _is_built_in(call, catalog):
        return False
    if call.schema:
        return (call.schema, call.name) not in catalog.functions
    return all(name != call.name for _, name in catalog.functions)


def _unknown_function(names: Iterable[str]) -> Refused:
    return _refused(
        RefusalCode.UNKNOWN_FUNCTION,
        f"what {_list(names)} does with masked columns is not known",
        "Use built-in functions, or ask the owners of the policy to read it and, if it shows "
        "nothing, to list it (and every overload of its name) under trusted_functions: "
        "`sallyport policy trust` prints what to write.",
        GUARD_FUNCTION,
    )


def _changed_function(call: FunctionUse, oids: Sequence[int], catalog: Catalog) -> Refused:
    overloads = catalog.functions.get((call.schema, call.name), ())
    names = [f"{f.schema}.{f.name}({f.arguments})" for f in overloads if f.oid in oids]
    return _refused(
        RefusalCode.UNKNOWN_FUNCTION,
        f"{_list(names) or _dotted(call.schema, call.name)} is not what it was when it was "
        "declared trusted",
        "Ask the owners of the policy to read it again and to renew its digest under "
        "trusted_functions: `sallyport policy trust` prints it.",
        GUARD_FUNCTION,
    )


def _require_silent(
    statement: StatementFacts, owed: Mapping[ColumnKey, Mask], catalog: Catalog
) -> None:
    """Refuse writes whose outcome would tell a masked value."""
    key = told_by(statement, owed, catalog)
    if key is not None:
        raise _refused(
            RefusalCode.DENIED,
            f"whether this write succeeds would tell of {column_name(catalog, key)}, which is "
            "masked for you",
            "Ask somebody who may see the column, or write rows that no constraint compares with "
            "it.",
            owed[key].rule,
        )


def _require_exact(statement: StatementFacts) -> None:
    opaque = statement.confidence is Confidence.OPAQUE or Action.OPAQUE in statement.actions
    if opaque or statement.confidence is not Confidence.EXACT or statement.unresolved:
        raise _refused(
            RefusalCode.OPAQUE if opaque else RefusalCode.UNRESOLVED,
            "not everything in this statement could be understood"
            + (f": {_list(statement.unresolved)}" if statement.unresolved else ""),
            "Name tables with their schema and columns that exist; use plain SQL.",
            GUARD_UNKNOWN,
            _unknown_state(statement.unresolved),
        )


def _failed(failure: ParseFailure) -> Refused:
    code = _FAILURE_CODES.get(failure.code, RefusalCode.ANALYSIS_FAILED)
    syntax = code is RefusalCode.UNPARSABLE
    return Refused(
        Refusal(
            code=code,
            message=f"this text could not be analysed ({failure.code.replace('_', ' ')})",
            remedy="Correct the statement." if syntax else "Make it shorter or simpler.",
            rule=GUARD_UNKNOWN,
            sqlstate="42601" if failure.code == "syntax" else "42501",
            position=failure.cursor,
        )
    )


def _touches(use: RelationUse, column: str) -> bool:
    """Whether a use of a relation concerns a column. What is written can fail, and then the error
    shows the row: all columns. COPY without a column list copies all."""
    if use.action not in _READING or "*" in use.columns:
        return True
    return column in use.columns or (use.action is Action.COPY_TO and not use.columns)


def _list(words: Iterable[str]) -> str:
    shown = list(words)
    more = len(shown) - _REASONS_SHOWN_MAX
    return ", ".join(shown[:_REASONS_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")


def _dotted(schema: str, name: str) -> str:
    return f"{schema}.{name}" if schema else name


def column_name(catalog: Catalog, key: ColumnKey) -> str:
    """`schema.relation.column` for a person, or a neutral word when it is not in the catalog."""
    relation = catalog.relations.get(key[0])
    if relation is None:
        return "a masked column"
    name = next((column.name for column in relation.columns if column.attnum == key[1]), "?")
    return f"{relation.schema}.{relation.name}.{name}"


class _Work:
    """One statement against the masks owed."""

    def __init__(
        self, statement: StatementFacts, owed: Mapping[ColumnKey, Mask], lineage: Lineage
    ) -> None:
        self.statement = statement
        self.lineage = lineage
        self.catalog = lineage.catalog
        self.direct = owed
        self.owed: Mapping[ColumnKey, Mask] = self._with_view_columns(owed)

    def _with_view_columns(self, owed: Mapping[ColumnKey, Mask]) -> Mapping[ColumnKey, Mask]:
        """`owed`, and what lies below masks that are named on columns of a view.

        Facts speak of base columns. So in a statement that touches such a view, the base columns of
        the masked view column count as masked; elsewhere they do not.
        """
        extra: dict[ColumnKey, Mask] = {}
        for use in self.statement.relations:
            relation = self.catalog.relations.get(use.oid)
            if relation is None or relation.kind not in "vm":
                continue
            for column in relation.columns:
                mask = owed.get((use.oid, column.attnum))
                if mask is None or (column.name not in use.columns and "*" not in use.columns):
                    continue
                origins = self.lineage.of((use.oid, column.attnum))
                if relation.schema == "pg_catalog" or _named(relation) in TELLING_ELSEWHERE:
                    continue  # a view of the system is taken as a table
                below = origins.sources - {(use.oid, column.attnum)}
                if not origins.known or not below:
                    raise self._used((use.oid, column.attnum), mask, "comes from an unknown place")
                for source in below:
                    extra.setdefault(source, mask)
        return {**extra, **owed} if extra else owed

    def require_within_reach(self) -> None:
        """Refuse statements that carry masked columns, or the naming of them, elsewhere."""
        actions = set(self.statement.actions)
        altering = [use for use in self.statement.relations if use.action is Action.ALTER]
        if Action.ALTER in actions:
            # A rename or a new schema can take a column away from the globs that classify it.
            for key in self._masked_in(altering):
                raise self._used(key, self.owed[key], "is in a relation that is altered")
            if not altering or any(use.oid not in self.catalog.relations for use in altering):
                raise _refused(
                    RefusalCode.UNRESOLVED,
                    "what this ALTER changes is not known, and it may concern masked columns",
                    "Ask somebody who may see the columns unmasked.",
                    GUARD_ACTION,
                )
        if actions & _COPYING and self.statement.kind != _WITHOUT_ROWS:
            whole = self.statement.kind in _DEFINING_KINDS
            touched = self._masked_in(self.statement.relations) if whole else set(self.touches())
            for key in sorted(touched | self._read()):
                raise self._unmaskable(key)

    def _masked_in(self, uses: Iterable[RelationUse]) -> set[ColumnKey]:
        """Owed columns of relations; for a view, what its columns come from."""
        found: set[ColumnKey] = set()
        for use in uses:
            relation = self.catalog.relations.get(use.oid)
            for column in () if relation is None else relation.columns:
                key = (use.oid, column.attnum)
                found |= ({key} | self.lineage.of(key).sources) & self.owed.keys()
        return found

    def _read(self) -> set[ColumnKey]:
        """Owed columns whose value the statement shows or depends on."""
        keys = set(self.statement.consumed)
        for output in self.statement.outputs:
            keys.update(output.sources)
            if output.origin is not None:
                keys.add(output.origin)
        return keys & self.owed.keys()

    def require_unread_inside(self) -> None:
        """Refuse when a function's body reads a masked column: there it is not masked."""
        for key in sorted(self.statement.reads_inside & self.owed.keys()):
            name = column_name(self.catalog, key)
            raise _refused(
                RefusalCode.MASKED_COLUMN_USED,
                f"{name} is masked for you, and a function that is called here reads it",
                "Write what the function does as part of the statement, or ask the owners of the "
                "policy to declare it trusted, if it shows nothing of the column.",
                self.owed[key].rule,
            )

    def require_unused(self) -> None:
        """Refuse when a masked column is used in any way but as a plain output column."""
        for key in sorted(self.statement.consumed):
            mask = self.owed.get(key)
            if mask is not None:
                raise self._used(key, mask, "is used in a condition, an expression or a write")

    def require_unsorted(self) -> None:
        """Refuse when the order of the rows may be that of a masked column."""
        key = told_by_order(self.statement, self.owed, self.lineage)
        if key is not None:
            raise self._used(key, self.owed[key], "may decide in which order rows come")

    def column(self, output: OutputColumn) -> PlannedColumn:
        """Plan of one result column. Raises Refused when it is computed from a masked one."""
        mask = None if output.origin is None else self.direct.get(output.origin)
        if mask is None:
            mask = self._inherited(output)
        if mask is not None and mask.method is MaskMethod.TRUNCATE_NUMBER:
            self._require_exact_text(output, mask)
        return PlannedColumn(output.name, output.origin, mask, output.loose)

    def _require_exact_text(self, output: OutputColumn, mask: Mask) -> None:
        """extra_float_digits, which no server reports, can round a float's text over the step that
        it would be cut to: it is cut where it still is a number."""
        keys = output.sources if output.origin is None else (output.origin, *output.sources)
        for oid, attnum in keys:
            relation = self.catalog.relations.get(oid)
            for column in () if relation is None else relation.columns:
                if column.attnum == attnum and column.type_text in _FLOATS:
                    raise self._used((oid, attnum), mask, "may be rounded before it is cut")

    def _inherited(self, output: OutputColumn) -> Mask | None:
        owed = [key for key in output.sources if key in self.owed]
        if not owed:
            return None
        mask = self.owed[owed[0]]
        if not output.plain or len(output.sources) != 1:
            raise self._used(owed[0], mask, "is part of a computed result column")
        if output.origin is None:
            raise self._used(owed[0], mask, "arrives in a column without an origin")
        return mask

    def touches(self) -> tuple[ColumnKey, ...]:
        found = self._read()
        for use in self.statement.relations:
            relation = self.catalog.relations.get(use.oid)
            for column in () if relation is None else relation.columns:
                key = (use.oid, column.attnum)
                if key in self.owed and _touches(use, column.name):
                    found.add(key)
        return tuple(sorted(found))

    def _used(self, key: ColumnKey, mask: Mask, how: str) -> Refused:
        name = column_name(self.catalog, key)
        message = f"{name} is masked for you, and here it {how}"
        return _refused(RefusalCode.MASKED_COLUMN_USED, message, ALONE, mask.rule)

    def _unmaskable(self, key: ColumnKey) -> Refused:
        name = column_name(self.catalog, key)
        copying = Action.COPY_TO in self.statement.actions
        message = f"{name} is masked for you, and what this statement copies can not be masked"
        remedy = (
            "COPY only columns that are not masked, or use SELECT: the column arrives masked."
            if copying
            else "Leave relations with masked columns out of what is created."
        )
        return _refused(RefusalCode.UNMASKABLE, message, remedy, self.owed[key].rule)
