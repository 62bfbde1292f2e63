"""Text to facts, for MySQL and MariaDB. The dialect of such a target names `analyse`; `session` and
the analyzer process call it for every text a client sends.

Reads top to bottom: measure, unwrap and split; one ledger per statement; ledgers into
`StatementFacts`. Never raises: whatever cannot be understood comes out as a failure or as low
confidence, and means refuse for whoever owes a mask.
"""

from hashlib import blake2b

import msgspec

from _speedups import mylex
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
from appliance.sql.mysql.assignments import DATABASE, sets_variables
from appliance.sql.mysql.constants import unread_constants
from appliance.sql.mysql.functions import SPACED
from appliance.sql.mysql.ledger import Ledger
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.redaction import UNREADABLE
from appliance.sql.mysql.statements import read_statement
from appliance.sql.mysql.words import (
    NAME,
    NUMBER,
    STRING,
    Segment,
    Word,
    modes_of,
    segments,
    unwrapped,
    words_of,
)

UNPARSED = "Unparsed"


def analyse(
    text: bytes, lineage: MyLineage | None, settings: SessionSettings, limits: Limits
) -> Facts:
    """What a client's text would do.

    `lineage` None = the catalog is not there: names stay unresolved, guards work. Never raises for
    any bytes.
    """
    if lineage is not None:
        lineage = lineage.with_temporaries(settings.temporaries)
    server = 0 if lineage is None else lineage.catalog.server_version_num
    modes = modes_of(settings)
    bare = unwrapped(text, settings, limits, server)
    if isinstance(bare, ParseFailure):
        return _failed(text, bare, lineage, settings, UNREADABLE)
    redacted = mylex.redact(bare, modes).decode(errors="replace")
    try:
        words = words_of(bare, modes, short=True)
        found = segments(words, len(bare))
        failure = _misread(words, settings) or _resettled(found)
        if failure is None:
            statements, failure = _statements(found, lineage, settings, server)
            return Facts(
                statements=statements,
                fingerprint=_group(words),
                failure=failure,
                settings_digest=settings.digest(),
                catalog_version="" if lineage is None else lineage.catalog.version,
                redacted=redacted,
            )
    except RecursionError:
        failure = ParseFailure("too_deep", "the statement is nested too deeply")
    except UnicodeError:
        failure = ParseFailure("encoding", "a name is not valid UTF-8")
    except ValueError as error:
        failure = ParseFailure("syntax", str(error))
    except (LookupError, TypeError, AttributeError, AssertionError):
        # A tree of a shape we do not know (a newer sqlglot): not understood, so refused.
        failure = ParseFailure("crashed", "the statement's parse tree was not understood")
    return _failed(text, failure, lineage, settings, redacted)


# What the server would read differently.


def _misread(words: list[Word], settings: SessionSettings) -> ParseFailure | None:
    """Words that mean something else under the session's modes."""
    piped = "PIPES_AS_CONCAT" in settings.modes
    spaced = "IGNORE_SPACE" not in settings.modes
    for index, word in enumerate(words):
        if piped and word.upper == "||":
            return ParseFailure("syntax", "|| under PIPES_AS_CONCAT is not understood")
        if (
            spaced
            and word.kind == NAME
            and index + 1 < len(words)
            and words[index + 1].upper == "("
            and words[index + 1].start > word.end
            and word.text.lower() in SPACED
        ):
            return ParseFailure("syntax", f"a blank between {word.upper} and its parenthesis")
    return None


_LEXING = frozenset(
    ("sql_mode", "names", "character_set", "character_set_client", "old_mode", "@@sql_mode")
)


def _resettled(found: list[Segment]) -> ParseFailure | None:
    """A text of several statements of which one may change how the next ones are read."""
    for segment in found[:-1]:
        first = segment.words[0].upper
        words = {word.text.lower() for word in segment.words}
        if (first == "SET" and not words.isdisjoint(_LEXING | {"charset", "character"})) or (
            first in ("CALL", "EXECUTE")
        ):
            why = "what comes before a statement may change how it is read"
            return ParseFailure("syntax", why)
    return None


# Statements.


def _statements(
    found: list[Segment], lineage: MyLineage | None, settings: SessionSettings, server: int
) -> tuple[tuple[StatementFacts, ...], ParseFailure | None]:
    """The statements of one text, each under what the ones before it may have changed."""
    made = []
    failure: ParseFailure | None = None
    for segment in found:
        ledger = Ledger(lineage, settings, server)
        read_statement(ledger, segment.words)
        ledger.note_secrets()
        statement = _facts(ledger, segment)
        made.append(statement)
        if ledger.failure and failure is None:
            failure = ParseFailure("syntax", ledger.failure)
        if len(found) > 1:
            settings = after(statement, settings)
    return tuple(made), failure


_SHIFTING = frozenset(
    (
        Action.CREATE_TEMPORARY,
        Action.CREATE,
        Action.ALTER,
        Action.DROP,
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE,
        Action.OPAQUE,
    )
)
"""What may make, change or drop temporary tables."""


def after(statement: StatementFacts, settings: SessionSettings) -> SessionSettings:
    """What names mean behind a statement in the same text."""
    made = {use.name for use in statement.relations if use.action is Action.CREATE_TEMPORARY}
    if not _SHIFTING.isdisjoint(statement.actions) or statement.functions:
        had = {f"{own.schema}.{own.name}" for own in settings.temporaries}
        names = settings.temp_relations | made | had | set(map(".".join, statement.temporaries))
        settings = msgspec.structs.replace(
            settings, temp_relations=names, temporaries=(), sealed=""
        )
    if Flag.CHANGES_SETTINGS in statement.flags:
        chosen = dict(statement.settings)
        if set(chosen) == {DATABASE}:
            return msgspec.structs.replace(settings, database=chosen[DATABASE], sealed="")
        if not chosen or "" in chosen or "role" in chosen:
            return msgspec.structs.replace(settings, certain=False, sealed="")
    schema = Flag.CHANGES_SCHEMA in statement.flags or Action.OPAQUE in statement.actions
    if schema and not made:
        return msgspec.structs.replace(settings, certain=False, sealed="")
    return settings


def _facts(ledger: Ledger, segment: Segment) -> StatementFacts:
    reader = ledger.reader
    outputs = ledger.outputs()
    consumed = set(reader.consumed)
    for output in outputs:
        if not output.plain:
            consumed.update(output.sources)
    return StatementFacts(
        kind=ledger.kind or UNPARSED,
        actions=tuple(ledger.actions),
        relations=ledger.relation_uses(),
        beneath=ledger.uses_beneath(),
        writes=ledger.writes,
        functions=tuple(ledger.functions),
        functions_below=tuple(ledger.functions_below),
        calls=tuple(ledger.calls),
        names_called=frozenset(ledger.names_called),
        outputs=outputs,
        outputs_known=ledger.result.known,
        consumed=frozenset(consumed),
        decides=frozenset(ledger.decides),
        spared=frozenset(ledger.spared),
        flags=frozenset(ledger.flags),
        unresolved=tuple(reader.unresolved),
        prepared=ledger.prepared,
        confidence=_confidence(ledger),
        span=(segment.start, segment.end - segment.start),
        setting=next(iter(ledger.settings_changed), None),
        settings=tuple(ledger.settings_changed),
        sets_variables=sets_variables(segment.words),
        settings_plain=bool(ledger.settings_changed) and ledger.settings_plain,
        ends_transaction=ledger.ends_transaction,
        isolates=ledger.isolates,
        if_not_exists=ledger.if_not_exists,
        temporaries=tuple(ledger.temporaries),
        unread_constants=_unread(ledger),
    )


def _unread(ledger: Ledger) -> tuple[int, ...]:
    if ledger.kind != "SelectStmt" or ledger.tree is None or ledger.failure:
        return ()
    return unread_constants(ledger.tree)


def _confidence(ledger: Ledger) -> Confidence:
    if ledger.opaque:
        return Confidence.OPAQUE
    if ledger.reader.unresolved or (ledger.lineage is None and ledger.uses):
        return Confidence.PARTIAL
    return Confidence.EXACT


def _failed(
    text: bytes,
    failure: ParseFailure,
    lineage: MyLineage | None,
    settings: SessionSettings,
    redacted: str,
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
        redacted="" if failure.code == "too_long" else redacted,
    )


def _group(words: list[Word]) -> str:
    """Groups lines for people: the words without constants, lists of these taken as one."""
    parts: list[str] = []
    for word in words:
        part = "?" if word.kind in (STRING, NUMBER) else word.upper or word.text
        if part == "?" and parts[-2:] == ["?", ","]:
            parts.pop()
            continue
        parts.append(part)
    text = "\n".join(parts).encode(errors="surrogateescape")
    return blake2b(text, digest_size=8).hexdigest()
