"""Text to facts. `session` and the analyzer process call `analyse` for every text a client sends.

Reads top to bottom: measure and parse, one `Analyst` per statement, its ledger into
`StatementFacts`. Never raises: whatever cannot be understood comes out as a failure or as low
confidence, and means refuse for whoever owes a mask.
"""

import msgspec

from _speedups import sqllex
from appliance.model.catalog import SessionSettings
from appliance.model.facts import (
    Action,
    Confidence,
    Facts,
    Flag,
    ParseFailure,
    StatementFacts,
)
from appliance.model.limits import Limits
from appliance.sql.constants import unread_constants
from appliance.sql.functions import ADVISORY, SETTINGS, UNLOCKING
from appliance.sql.lineage import CatalogLineage
from appliance.sql.names import TEMPORARY_SCHEMA, words
from appliance.sql.older_words import NEWEST
from appliance.sql.parse import Body, RawStatement, group, parse
from appliance.sql.plain_settings import sets_plainly
from appliance.sql.spared import checks_of
from appliance.sql.statements import Analyst

UNPARSED = "Unparsed"


def analyse(
    text: bytes, lineage: CatalogLineage | None, settings: SessionSettings, limits: Limits
) -> Facts:
    """What a client's text would do.

    `lineage` None = the catalog is not there: names stay unresolved, guards work. Never raises for
    any bytes.
    """
    if lineage is not None:
        lineage = lineage.with_temporaries(settings.temporaries)
    try:
        server = NEWEST if lineage is None else lineage.catalog.server_version_num
        parsed = parse(text, limits, server)
        if isinstance(parsed, ParseFailure):
            return _failed(text, parsed, lineage, settings)
        statements = _statements(text.decode(), parsed, lineage, settings)
    except RecursionError:
        failure = ParseFailure("too_deep", "the statement is nested too deeply")
        return _failed(text, failure, lineage, settings)
    except (LookupError, TypeError, ValueError, AttributeError):
        # A tree of a shape we do not know (a newer libpg_query): not understood, so refused.
        failure = ParseFailure("crashed", "the statement's parse tree was not understood")
        return _failed(text, failure, lineage, settings)
    return Facts(
        statements=statements,
        fingerprint=group(text.decode()),
        settings_digest=settings.digest(),
        catalog_version="" if lineage is None else lineage.catalog.version,
        redacted=_redacted(text),
    )


def _statements(
    text: str, parsed: list[RawStatement], lineage: CatalogLineage | None, settings: SessionSettings
) -> tuple[StatementFacts, ...]:
    """The statements of one text, each under what the ones before it may have changed."""
    found = []
    savepoints: list[str] = []
    for raw in parsed:
        statement = _facts(text, raw, lineage, settings)
        if raw.kind == "TransactionStmt" and _unlocks(raw.body, savepoints):
            statement = msgspec.structs.replace(statement, unlocks=True)
        found.append(statement)
        if len(parsed) > 1:
            settings = after(raw, statement, settings)
    return tuple(found)


def after(
    raw: RawStatement, statement: StatementFacts, settings: SessionSettings
) -> SessionSettings:
    """What names mean after `SET search_path = ...; ` or DDL in the same text is not certain, nor
    whether a temporary relation is still there after `ROLLBACK TO ...`."""
    undoes = statement.ends_transaction or "ROLLBACK" in raw.body.get("kind", "")
    if raw.kind == "TransactionStmt" and undoes:
        names = settings.temp_relations.union(own.name for own in settings.temporaries)
        settings = msgspec.structs.replace(
            settings, temp_kinds=frozenset(), temp_relations=names, sealed=""
        )
    if not statement.flags & {Flag.CHANGES_SETTINGS, Flag.CHANGES_SCHEMA} or _indexes_own(
        statement
    ):
        return settings
    made = {use.name for use in statement.relations if use.action is Action.CREATE_TEMPORARY}
    uncertain = settings.certain and not (made and Flag.CHANGES_SETTINGS not in statement.flags)
    return SessionSettings(
        database=settings.database,
        search_path=settings.search_path,
        role=settings.role,
        certain=settings.certain and not uncertain,
        temp_relations=settings.temp_relations | made,
        temporaries=settings.temporaries,
        temp_kinds=settings.temp_kinds.union((name, "r") for name in made if _makes_table(raw)),
        converted=settings.converted,
    )


def _indexes_own(statement: StatementFacts) -> bool:
    """CREATE INDEX on a temporary relation of the session: no name of a table means another."""
    return statement.kind == "IndexStmt" and all(
        use.schema == TEMPORARY_SCHEMA for use in statement.relations
    )


def _makes_table(raw: RawStatement) -> bool:
    """Whether, unless it fails, there is a table of that name behind it: with IF NOT EXISTS a view
    may be there already."""
    tables = ("CreateStmt", "CreateTableAsStmt", "SelectStmt")
    return raw.kind in tables and not raw.body.get("if_not_exists")


def _facts(
    text: str, raw: RawStatement, lineage: CatalogLineage | None, settings: SessionSettings
) -> StatementFacts:
    analyst = Analyst(lineage, settings)
    result = analyst.statement(raw.kind, raw.body)
    analyst.note_secret_columns()
    analyst.note_hidden()
    relations = analyst.relation_uses()
    server = NEWEST if lineage is None else lineage.catalog.server_version_num
    checks = checks_of(text, analyst.open_writes, server)
    if checks is None:
        analyst.flags.add(Flag.TRIVIAL_WHERE)
    outputs = analyst.outputs(result)
    for output in outputs:
        if not output.plain:
            analyst.consumed.update(output.sources)
    return StatementFacts(
        kind=raw.kind,
        actions=tuple(analyst.actions),
        relations=relations,
        beneath=analyst.uses_beneath(),
        writes=analyst.writes,
        carried=tuple(analyst.carried),
        functions=tuple(analyst.functions),
        functions_below=tuple(analyst.functions_below),
        reads_inside=frozenset(analyst.reads_inside),
        decides=frozenset(analyst.decides),
        calls=tuple(analyst.calls),
        names_called=frozenset(analyst.names_called),
        outputs=outputs,
        outputs_known=result.known,
        consumed=frozenset(analyst.consumed),
        flags=frozenset(analyst.flags),
        unresolved=tuple(analyst.unresolved),
        prepared=analyst.prepared,
        confidence=_confidence(analyst, lineage),
        span=(raw.offset, raw.length),
        setting=next(iter(analyst.settings_changed), None),
        settings=tuple(analyst.settings_changed),
        settings_plain=bool(analyst.settings_changed) and sets_plainly(raw.kind, raw.body),
        settings_local=bool(analyst.settings_changed) and not analyst.settings_last,
        checks=checks or (),
        ends_transaction=raw.body.get("kind") in _ENDS if raw.kind == "TransactionStmt" else False,
        isolates=_isolates(raw, analyst),
        if_not_exists=bool(raw.body.get("if_not_exists")),
        unread_constants=_unread(raw, analyst),
        keeps=frozenset(analyst.keeps),
        lets_go=_lets_go(raw),
        single_columns=analyst.secret_columns,
    )


def _lets_go(raw: RawStatement) -> frozenset[str]:
    """What the session surely has no more once it has run (`StatementFacts.lets_go`)."""
    body = raw.body
    match raw.kind:
        case "DiscardStmt" if body["target"] == "DISCARD_ALL":
            return _EVERYTHING
        case "VariableSetStmt" if body["kind"] == "VAR_RESET_ALL":
            return _SETTINGS
        case "UnlistenStmt" if not body.get("conditionname"):
            return _LISTEN
        case "ClosePortalStmt" if not body.get("portalname"):
            return _CURSOR
        case "DeallocateStmt" if not body.get("name"):
            return _PREPARED
        case "SelectStmt" if _lets_go_of_advisory(body):
            return _ADVISORY
        case _:
            return _NOTHING


def _lets_go_of_advisory(body: Body) -> bool:
    """`SELECT pg_advisory_unlock_all()` and nothing else."""
    targets = body.get("targetList", ())
    if len(targets) != 1 or not body.keys() <= {"targetList", "limitOption", "op"}:
        return False
    call = targets[0]["ResTarget"].get("val", {}).get("FuncCall")
    return call is not None and words(call["funcname"]) in _UNLOCKING


_UNLOCKING = ([UNLOCKING], ["pg_catalog", UNLOCKING])
_NOTHING: frozenset[str] = frozenset()
_EVERYTHING = frozenset(("everything",))
_SETTINGS, _ADVISORY = frozenset((SETTINGS,)), frozenset((ADVISORY,))
_LISTEN, _CURSOR = frozenset(("listen",)), frozenset(("cursor",))
_PREPARED = frozenset(("prepared",))


def _unread(raw: RawStatement, analyst: Analyst) -> tuple[int, ...]:
    """Whether a write spares any row is told from its predicate, constants included."""
    if analyst.settings_changed or Flag.WRITES in analyst.flags:
        return ()
    return unread_constants(raw.kind, raw.body)


def _isolates(raw: RawStatement, analyst: Analyst) -> bool:
    """BEGIN with options, SET TRANSACTION, or a setting that is one of a transaction."""
    if raw.kind == "TransactionStmt":
        return bool(raw.body.get("options"))
    if raw.kind == "VariableSetStmt" and raw.body["kind"] == "VAR_SET_MULTI":
        return True
    return any(name.startswith("transaction_") for name, _ in analyst.settings_changed)


_ENDS = frozenset(
    f"TRANS_STMT_{verb}"
    for verb in ("COMMIT", "ROLLBACK", "PREPARE", "COMMIT_PREPARED", "ROLLBACK_PREPARED")
)


def _unlocks(body: Body, savepoints: list[str]) -> bool:
    """See `StatementFacts.unlocks`. `savepoints`: those that the text has made up to here, which
    this changes. The last of a name hides the others, as in the server."""
    verb: str = body["kind"].removeprefix("TRANS_STMT_")
    name = body.get("savepoint_name", "")
    if verb == "SAVEPOINT":
        savepoints.append(name)
    elif verb in ("RELEASE", "ROLLBACK_TO"):
        if name not in savepoints:
            savepoints.clear()
            return verb == "ROLLBACK_TO"
        while savepoints.pop() != name:
            pass
        if verb == "ROLLBACK_TO":  # it is there still
            savepoints.append(name)
    elif body["kind"] in _ENDS:
        savepoints.clear()
        return True
    return False


def _confidence(analyst: Analyst, lineage: CatalogLineage | None) -> Confidence:
    if analyst.opaque:
        return Confidence.OPAQUE
    if analyst.unresolved or (lineage is None and analyst.uses):
        return Confidence.PARTIAL
    return Confidence.EXACT


def _failed(
    text: bytes, failure: ParseFailure, lineage: CatalogLineage | None, settings: SessionSettings
) -> Facts:
    unparsed = StatementFacts(
        kind=UNPARSED,
        actions=(Action.OPAQUE,),
        outputs_known=False,
        unresolved=("the text could not be parsed",),
        confidence=Confidence.OPAQUE,
        span=(0, len(text)),
    )
    return Facts(
        statements=(unparsed,),
        failure=failure,
        settings_digest=settings.digest(),
        catalog_version="" if lineage is None else lineage.catalog.version,
        redacted="" if failure.code == "too_long" else _redacted(text),
    )


def _redacted(text: bytes) -> str:
    return sqllex.redact(text).decode(errors="replace")
