"""One statement's life, for every protocol alike. Read this first.

    received -> facts -> decided -> (held) -> recorded -> forwarded
             -> described -> masked rows -> finished

`Judge` does the first half: text -> facts (cached) -> decision (cached unless a condition looked at
something that changes) -> one mask plan per statement, or a refusal. Everything after that is order
on the wire, which is the machine's: it records before it forwards and binds the plan before the
first row.

Rule: unknown means refuse. A refusal is an answer, not an exception: `Verdict.refusal`.
"""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from typing import Any, Protocol

import msgspec

from appliance.masking.plan import MaskPlan, plan
from appliance.model.catalog import Relation, SessionSettings
from appliance.model.decision import Decision, Effect
from appliance.model.errors import Refused
from appliance.model.facts import Action, Confidence, Facts, Flag, ParseFailure, StatementFacts
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX, Limits
from appliance.model.principal import Client, Principal, Target
from appliance.model.refusal import Refusal, RefusalCode
from appliance.policy.entitlements import Entitlements
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.policy.snapshot import UNCLASSIFIED_RULE, Snapshot
from appliance.sql.analysis import analyse
from appliance.sql.footing import Footing, footing
from appliance.sql.lineage import CatalogLineage
from appliance.sql.names import search_path


class Verdict(msgspec.Struct, frozen=True):
    """What becomes of one text for one principal, and everything later steps need of it."""

    facts: Facts
    decision: Decision
    plans: tuple[MaskPlan, ...]
    """One per statement of the text; empty when refused."""
    refusal: Refusal | None
    restricted: bool
    """This principal owes masks here: every result is checked against its plan before its first
    row.
    """
    withhold: bool
    """Errors and notices of this statement could carry masked values: forward them without texts.
    """
    epoch: tuple[str, str, str]
    """(policy version, catalog version, settings digest) it was made under: another epoch means
    judge again.
    """
    sensitive: frozenset[tuple[int, int]] = frozenset()
    """Columns some mask rule is about, read here raw by right: counted, for "who saw it"."""
    plain: bool = False
    """It changes nothing about the session and names nothing (`is_plain`): no step after the
    decision has to look at its facts.
    """
    temporaries: tuple[Relation, ...] = ()
    """The session's own temporary relations that it was made with."""
    footing: Footing | None = None
    """What has to be as it was, when it is sent, for this verdict to hold; of a principal who owes
    masks."""
    memo: list[Any] = msgspec.field(default_factory=list)
    """The audit parts made of this verdict, once."""

    @property
    def flags(self) -> frozenset[Flag]:
        return frozenset().union(*(s.flags for s in self.facts.statements))


class CatalogPort(Protocol):
    """What the session sees of its database's catalog (`dataplane/catalogs`)."""

    @property
    def lineage(self) -> CatalogLineage | None:
        """The current snapshot; None while it must be (re)loaded before anything may rest on it."""

    @property
    def kept(self) -> CatalogLineage | None:
        """The last snapshot, current or not."""

    @property
    def shapes(self) -> int:
        """Moves when a schema change begins or ends in any session."""

    def changing_for(self, session: str) -> bool:
        """Whether another session has a schema change under way."""

    @property
    def failure(self) -> str:
        """Why the last attempt to load it failed, '' if it did not."""


class Cache:
    """Facts and verdicts by exact text and everything they depend on; one per worker, bounded,
    least recently used out.

    Rule (DESIGN invariant 7): keys are exact bytes and versions, never a fingerprint.
    """

    def __init__(self, entries_max: int) -> None:
        self._entries_max = entries_max
        self._entries: OrderedDict[tuple[object, ...], object] = OrderedDict()
        # For the metrics.
        self.verdicts_found = 0
        self.facts_found = 0
        self.decided = 0
        self.analysed_inline = 0
        self.failed_syntax = 0
        self.failed_limit = 0

    def get(self, key: tuple[object, ...]) -> object | None:
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: tuple[object, ...], entry: object) -> None:
        self._entries[key] = entry
        if len(self._entries) > self._entries_max:
            self._entries.popitem(last=False)

    def note_failure(self, facts: Facts) -> None:
        """Counts a text that was analysed in vain."""
        if facts.failure is None or facts.failure.code in _COUNTED_ELSEWHERE:
            return
        if facts.failure.code in ("syntax", "encoding"):
            self.failed_syntax += 1
        else:
            self.failed_limit += 1

    def entitlements(
        self,
        snapshot: Snapshot,
        principal: Principal,
        target: Target,
        lineage: CatalogLineage | None,
        database: str,
    ) -> Entitlements:
        """One object for all sessions that are entitled to the same: it is part of verdicts' keys,
        which hold it, so its identity is never another's.
        """
        version = "" if lineage is None else lineage.catalog.version
        key = ("entitlements", snapshot.version, principal, target, database, version)
        known = self.get(key)
        if isinstance(known, Entitlements):
            return known
        catalog = None if lineage is None else lineage.catalog
        made = snapshot.entitlements(principal, target, catalog, database, lineage=lineage)
        self.put(key, made)
        return made


CACHED_TEXT_BYTES_MAX = INLINE_ANALYSIS_BYTES_MAX


class Judge:
    """Decides for one session: one principal on one database of one target."""

    def __init__(
        self,
        snapshot: Snapshot,
        principal: Principal,
        client: Client,
        target: Target,
        database: str,
        catalog: CatalogPort,
        limits: Limits,
        cache: Cache,
    ) -> None:
        self.principal = principal
        self.client = client
        self._origin = (client.address, client.listener, client.tls, client.application)
        self.target = target
        self.database = database
        self.catalog = catalog
        self._limits = limits
        self._cache = cache
        self._entitled: tuple[Snapshot, CatalogLineage | None, Entitlements] | None = None
        self._epoch: tuple[Entitlements, SessionSettings, tuple[str, str, str]] | None = None
        self.snapshot = snapshot

    @property
    def entitlements(self) -> Entitlements:
        """Of this principal under the current policy and catalog."""
        lineage = self.catalog.lineage
        kept = self._entitled
        if kept is None or kept[0] is not self.snapshot or kept[1] is not lineage:
            made = self._cache.entitlements(
                self.snapshot, self.principal, self.target, lineage, self.database
            )
            kept = self._entitled = (self.snapshot, lineage, made)
        return kept[2]

    @property
    def needs_catalog(self) -> bool:
        return self.entitlements.needs_catalog

    def epoch(self, settings: SessionSettings) -> tuple[str, str, str]:
        entitlements, kept = self.entitlements, self._epoch
        if kept is None or kept[0] is not entitlements or kept[1] is not settings:
            lineage = self.catalog.lineage if entitlements.needs_catalog else None
            version = "" if lineage is None else lineage.catalog.version
            made = (self.snapshot.version, version, settings.digest())
            kept = self._epoch = (entitlements, settings, made)
        return kept[2]

    def recall(self, text: bytes, settings: SessionSettings, now: float) -> Verdict | None:
        """The verdict on a text judged before under the same epoch; None = analyse it."""
        key = self._key(text, settings)
        known = self._cache.get(self._verdict_key(key))
        if isinstance(known, Verdict):
            self._cache.verdicts_found += 1
            return known
        facts = self._cache.get(key)
        if isinstance(facts, Facts):
            self._cache.facts_found += 1
            return self.judge(text, facts, settings, now)
        return None

    def analyse_inline(self, text: bytes, settings: SessionSettings) -> Facts:
        """For short texts: on the event loop."""
        lineage = self.catalog.lineage if self.needs_catalog else None
        facts = analyse(text, lineage, settings, self._limits)
        self._cache.analysed_inline += 1
        self._cache.note_failure(facts)
        return facts

    def judge(
        self,
        text: bytes,
        facts: Facts,
        settings: SessionSettings,
        now: float,
        *,
        keep: bool = True,
    ) -> Verdict:
        """Facts -> verdict. Cached only if the decision is and the text is short; never facts that
        rest on what the key does not hold (`keep`).
        """
        entitlements = self.entitlements
        decision = self.snapshot.decide(
            facts, self.principal, self.client, self.target, self.database, entitlements, now
        )
        self._cache.decided += 1
        verdict = self._verdict(facts, decision, entitlements, settings)
        if keep and len(text) <= CACHED_TEXT_BYTES_MAX:
            key = self._key(text, settings)
            self._cache.put(key, facts)
            if decision.cacheable:
                self._cache.put(self._verdict_key(key), verdict)
        return verdict

    def _verdict_key(self, key: tuple[object, ...]) -> tuple[object, ...]:
        entitlements = self.entitlements
        return (*key, entitlements, self._origin if entitlements.looks_at_client else None)

    def _key(self, text: bytes, settings: SessionSettings) -> tuple[object, ...]:
        return text, self.target.name, *self.epoch(settings)

    def _verdict(
        self,
        facts: Facts,
        decision: Decision,
        entitlements: Entitlements,
        settings: SessionSettings,
    ) -> Verdict:
        plans: tuple[MaskPlan, ...] = ()
        refusal = refusal_of(facts, decision) or unlimitable(facts, decision)
        unread = self.needs_catalog and self.catalog.lineage is None
        if unread and refusal is not None and refusal.rule == DEFAULT_RULE:
            refusal = catalog_unavailable(self.catalog.failure)  # no name can match a rule now
        if refusal is None and facts.failure is not None and decision.owes_masks:
            refusal = unparsable(facts)
        if refusal is None:
            try:
                if decision.owes_masks:
                    self._require_classified(facts, decision, settings)
                plans = self._plans(facts, decision, settings)
            except Refused as refused:
                refusal = refused.refusal
        restricted = decision.owes_masks
        return Verdict(
            facts=facts,
            decision=decision,
            plans=plans,
            refusal=refusal,
            restricted=restricted,
            withhold=restricted and _may_carry_values(facts, decision),
            epoch=self.epoch(settings),
            plain=is_plain(facts),
            sensitive=frozenset() if restricted else entitlements.sensitive,
            temporaries=settings.temporaries,
            footing=self._footing(facts, settings) if restricted and refusal is None else None,
        )

    def _lineage(self, settings: SessionSettings) -> CatalogLineage | None:
        lineage = self.catalog.lineage if self.needs_catalog else None
        return None if lineage is None else lineage.with_temporaries(settings.temporaries)

    def _footing(self, facts: Facts, settings: SessionSettings) -> Footing | None:
        lineage = self._lineage(settings)
        return None if lineage is None else footing(facts, lineage)

    def _require_classified(
        self, facts: Facts, decision: Decision, settings: SessionSettings
    ) -> None:
        """Refuses what rests on a relation all of whose columns appeared since the database was
        first seen. (Of others such columns arrive as NULL.) Raises Refused.
        """
        lineage = self._lineage(settings)
        if lineage is None or not lineage.catalog.unknown:
            return
        oids = {u.oid for s in facts.statements for u in s.relations if u.action in _USING}
        for oid in sorted(oids.union(*map(lineage.rests_on, oids))):
            relation = lineage.catalog.relations.get(oid)
            if (
                relation is not None
                and relation.columns
                and all(
                    (mask := decision.owed.get((oid, column.attnum))) is not None
                    and mask.rule == UNCLASSIFIED_RULE
                    for column in relation.columns
                )
            ):
                raise Refused(unclassified(f"{relation.schema}.{relation.name}"))

    def _plans(
        self, facts: Facts, decision: Decision, settings: SessionSettings
    ) -> tuple[MaskPlan, ...]:
        lineage = self._lineage(settings)
        if decision.owes_masks and lineage is None:
            raise Refused(catalog_unavailable(self.catalog.failure))
        return tuple(
            plan(facts, index, decision, decision.owed, lineage)
            for index in range(len(facts.statements))
        )


_USING = frozenset(
    (
        Action.SELECT,
        Action.INSERT,
        Action.UPDATE,
        Action.DELETE,
        Action.MERGE,
        Action.COPY_TO,
        Action.COPY_FROM,
        Action.EXPLAIN,
        Action.ALTER,
    )
)

_READS_ONLY = frozenset((Action.SELECT, Action.SHOW, Action.SET, Action.EXPLAIN, Action.PREPARE))


def _may_carry_values(facts: Facts, decision: Decision) -> bool:
    """Whether the server's own words about this statement could quote a masked cell: it touches
    one, its meaning is not fully known, or it does more than read (constraints and triggers speak,
    deferred ones at COMMIT).
    """
    return (
        bool(decision.masks)
        or facts.confidence is not Confidence.EXACT
        or not _READS_ONLY.issuperset(facts.actions)
        or any(Flag.WRITES in s.flags for s in facts.statements)
    )


def refusal_of(facts: Facts, decision: Decision) -> Refusal | None:
    """What policy's answer means for the client; None = go on."""
    if decision.effect is Effect.ALLOW:
        return None
    if facts.failure is not None and not _denied_by_rule(decision):
        return unparsable(facts)
    applied = [r for r in decision.reasons if not r.observed and r.effect == decision.effect.value]
    rule = applied[0].rule if applied else ""
    if decision.effect is Effect.HOLD:
        return Refusal(
            RefusalCode.HOLD_UNAVAILABLE,
            f"this statement needs an approval (rule {rule}), and approvals are not configured",
            "ask an administrator to run it, or to configure approvals",
            rule=rule,
        )
    message = applied[0].message if applied else ""
    what = ", ".join(a.value for a in facts.actions) or "this statement"
    return Refusal(
        RefusalCode.DENIED,
        message or f"policy does not allow {what} here",
        "ask the owners of the policy for a rule that allows it"
        if not rule
        else f"see rule {rule}, or ask the owners of the policy",
        rule=rule or "default-deny",
    )


def unlimitable(facts: Facts, decision: Decision) -> Refusal | None:
    """COPY is a stream that cannot be ended early in every format, so a row limit rules it out."""
    if decision.row_limit is None or Action.COPY_TO not in facts.actions:
        return None
    rules = [r.rule for r in decision.reasons if not r.observed and r.effect == "limit"]
    return Refusal(
        RefusalCode.LIMIT,
        f"policy lets you read {decision.row_limit} rows at a time here, and COPY takes all",
        "use SELECT, or ask the owners of the policy",
        rule=rules[0] if rules else "",
    )


def _denied_by_rule(decision: Decision) -> bool:
    return any(
        r.effect == "deny" and not r.observed and r.rule != DEFAULT_RULE for r in decision.reasons
    )


_COUNTED_ELSEWHERE = ("timeout", "busy", "crashed")
"""Failures of the analyzer process, which counts them itself."""

_FAILURES = {
    "too_long": (RefusalCode.TOO_LONG, "54000", "send it in smaller statements"),
    "too_deep": (RefusalCode.TOO_COMPLEX, "54001", "simplify the statement"),
    "too_many_comments": (RefusalCode.TOO_COMPLEX, "54001", "remove comments"),
    "nul_byte": (RefusalCode.UNPARSABLE, "22021", "remove the NUL byte"),
    "encoding": (RefusalCode.UNPARSABLE, "22021", "send the statement in UTF-8"),
    "timeout": (RefusalCode.ANALYSIS_FAILED, "54001", "simplify the statement"),
    "busy": (
        RefusalCode.ANALYSIS_FAILED,
        "53000",
        "the appliance is busy analysing other statements; try again",
    ),
    "crashed": (RefusalCode.ANALYSIS_FAILED, "54001", "simplify the statement"),
}


def unparsable(facts: Facts) -> Refusal:
    """A text nobody can read is refused with the words and the position a server would give."""
    failure = facts.failure
    assert failure is not None
    code, sqlstate, remedy = _FAILURES.get(
        failure.code, (RefusalCode.UNPARSABLE, "42601", "correct the statement")
    )
    return Refusal(
        code,
        failure.message,
        remedy,
        rule="builtin:understood",
        sqlstate=sqlstate,
        position=failure.cursor,
    )


def catalog_unavailable(reason: str) -> Refusal:
    return Refusal(
        RefusalCode.CATALOG_UNAVAILABLE,
        f"the database's catalog could not be read ({reason or 'not loaded'}): nothing can be "
        "masked reliably",
        "try again shortly; if it stays, tell the administrators of the appliance",
        rule="builtin:catalog",
        sqlstate="57P03",
    )


def row_too_long(limit: int) -> Refusal:
    return Refusal(
        RefusalCode.LIMIT,
        f"a row of a masked result is longer than {limit} bytes",
        "select fewer or shorter columns beside the masked ones, or none of the masked ones",
        rule="builtin:masked-row-length",
        sqlstate="54000",
    )


def settings_in_doubt() -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        "what names mean may change in the middle of this text, when its transaction ends",
        "send COMMIT or ROLLBACK as a message of its own",
        rule="builtin:settings-certain",
    )


def reserved_name() -> Refusal:
    return Refusal(
        RefusalCode.DENIED,
        "this name is reserved for the appliance",
        "choose another name",
        rule="builtin:reserved-name",
        sqlstate="42939",
    )


def too_long(length: int, limit: int) -> Refusal:
    return Refusal(
        RefusalCode.TOO_LONG,
        f"the statement has {length} bytes, and at most {limit} are analysed",
        "send it in smaller statements, use parameters or COPY for bulk values",
        rule="builtin:statement-length",
        sqlstate="54000",
    )


_UNSETTLING = frozenset(
    (
        Action.SET,
        Action.SET_ROLE,
        Action.DISCARD,
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE_FUNCTION,
        Action.EXECUTE,
        Action.OPAQUE,
        Action.ALTER_SYSTEM,
        Action.ROLE,
    )
)


def unsettles(facts: Facts) -> bool:
    """Whether it may change a setting that the meaning of names depends on."""
    return any(
        Flag.CHANGES_SETTINGS in s.flags or not _UNSETTLING.isdisjoint(s.actions)
        for s in facts.statements
    )


_LEXING = frozenset(
    (
        "standard_conforming_strings",
        "client_encoding",
        "names",
        "backslash_quote",
        "role",
        "session_authorization",
        "all",
        "",
    )
)
"""Settings that change how texts are read, or may bring others along ('' = any)."""


def unsettles_lexing(facts: Facts) -> bool:
    """Whether it may change how the server reads the texts that come after it."""
    for statement in facts.statements:
        if any(name in _LEXING for name, _ in statement.settings):
            return True
        named = bool(statement.settings) and set(statement.actions) <= _SETTING_ONLY
        if not named and (
            Flag.CHANGES_SETTINGS in statement.flags
            or not _UNSETTLING.isdisjoint(statement.actions)
        ):
            return True
    return False


_SETTING_ONLY = frozenset((Action.SET, Action.SELECT, Action.SHOW))

_RESHAPING = frozenset(
    (
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE_FUNCTION,
        Action.OPAQUE,
        Action.EXECUTE,
    )
)


def reshapes(facts: Facts) -> bool:
    """Whether it may change the schema."""
    return any(
        Flag.CHANGES_SCHEMA in s.flags or not _RESHAPING.isdisjoint(s.actions)
        for s in facts.statements
    )


_TEMPORARY_ONLY = frozenset((Action.CREATE_TEMPORARY, Action.SELECT))


def changes_schema(facts: Facts) -> bool:
    """Whether it surely changes what names mean to others (temporary relations do not)."""
    return any(
        Flag.CHANGES_SCHEMA in s.flags and not _TEMPORARY_ONLY.issuperset(s.actions)
        for s in facts.statements
    )


def unclassified(name: str) -> Refusal:
    return Refusal(
        RefusalCode.UNRESOLVED,
        f"{name} was made after this database was first seen, and nobody has said what is in it",
        "ask the owners of the policy to classify it, or to list it under known_relations",
        rule=UNCLASSIFIED_RULE,
    )


def schema_changing() -> Refusal:
    return Refusal(
        RefusalCode.CATALOG_UNAVAILABLE,
        "another session is changing the schema, so nothing can be masked reliably right now",
        "try again when its transaction has ended",
        rule="builtin:catalog",
        sqlstate="57P03",
    )


def schema_changed() -> Refusal:
    return Refusal(
        RefusalCode.STALE,
        "the schema changed while this statement ran, so its result cannot be masked reliably",
        "connect again and send the statement again",
        rule="builtin:catalog",
        sqlstate="57P03",
    )


def catalog_moved(error: Mapping[str, str]) -> Refusal:
    """What a text rests on was not found as it was judged. `error`: the server's, to the names in
    it or to a wait for their locks, had it one.
    """
    sqlstate = error.get("C", "")
    if sqlstate in _SAID_AS_IT_IS:
        return Refusal(
            RefusalCode.STALE,
            error.get("M", "the relations of this statement could not be looked at"),
            "send the statement again",
            rule="builtin:catalog",
            sqlstate=sqlstate,
        )
    return Refusal(
        RefusalCode.STALE,
        "the schema changed since this statement was analysed, or in this very transaction",
        "send the statement again; if it stays, end the transaction first",
        rule="builtin:catalog",
        sqlstate="40001",
    )


_SAID_AS_IT_IS = frozenset(("42P01", "3F000", "42501", "57014", "55P03", "40P01", "25P02", "57P01"))
"""SQLSTATEs of errors to names in FROM: they quote no data."""

_HOLDING = frozenset(
    (
        "SelectStmt",
        "InsertStmt",
        "UpdateStmt",
        "DeleteStmt",
        "MergeStmt",
        "CopyStmt",
        "ExplainStmt",
        "DeclareCursorStmt",
        "PrepareStmt",
        "ExecuteStmt",
        "CreateTableAsStmt",
        "ViewStmt",
        "TransactionStmt",
        "VariableSetStmt",
        "VariableShowStmt",
    )
)


def holds(facts: Facts) -> bool:
    """Whether what it rests on is locked first, in the transaction that it will run in. Maintenance
    and DDL (VACUUM, CREATE INDEX CONCURRENTLY) may need one of their own, and COPY FROM STDIN would
    swallow the Sync that ends it; they show no rows.
    """
    return Action.COPY_FROM not in facts.actions and all(
        statement.kind in _HOLDING for statement in facts.statements
    )


def names_relations(facts: Facts) -> bool:
    return any(statement.relations for statement in facts.statements)


def goes_on_after_end(facts: Facts) -> bool:
    """Whether relations are named after the end of a transaction in the same text."""
    ended = False
    for statement in facts.statements:
        if ended and (statement.relations or statement.functions or statement.prepared):
            return True
        ended |= statement.ends_transaction
    return False


_SHIFTING_TEMPORARIES = frozenset(
    (
        Action.CREATE_TEMPORARY,
        Action.CREATE,
        Action.ALTER,
        Action.DROP,
        Action.DISCARD,
        Action.TWO_PHASE,
        Action.DO,
        Action.CALL,
        Action.DYNAMIC_SQL,
        Action.EXECUTE_FUNCTION,
        Action.EXECUTE,
        Action.OPAQUE,
    )
)


def shifts_temporaries(facts: Facts) -> bool:
    """Whether it may make, change or drop temporary relations of its session."""
    return not _SHIFTING_TEMPORARIES.isdisjoint(facts.actions)


_PLAIN = frozenset((Action.SELECT, Action.INSERT, Action.DELETE))


def is_plain(facts: Facts) -> bool:
    """Whether it only reads or changes rows: no setting, schema, transaction or name is touched.

    UPDATE is not among the actions: one of pg_settings is a SET.
    """
    return (
        facts.failure is None
        and all(
            _PLAIN.issuperset(s.actions) and s.prepared is None and not s.settings
            for s in facts.statements
        )
        and not (unsettles(facts) or unsettles_lexing(facts) or reshapes(facts))
    )


def temporary_names(facts: Facts) -> frozenset[str]:
    """Temporary relations it creates."""
    return frozenset(
        use.name
        for statement in facts.statements
        for use in statement.relations
        if use.action is Action.CREATE_TEMPORARY
    )


def made_relations(
    facts: Facts, settings: SessionSettings, schemas: Collection[str]
) -> frozenset[tuple[str, str]]:
    """(schema, name) of the lasting relations it makes. `schemas`: those that exist."""
    path = (schema for schema in search_path(settings) if schema in schemas)
    first = next((schema for schema in path if schema != "pg_catalog"), "")
    return frozenset(
        (use.schema or first, use.name)
        for statement in facts.statements
        for use in statement.relations
        if use.action is Action.CREATE and (use.schema or (first and settings.certain))
    )


_SHIFTING = frozenset((Action.CREATE, Action.ALTER, Action.DROP))


def shifted_names(facts: Facts) -> frozenset[str]:
    """Relations it makes, alters or drops."""
    return frozenset(
        use.name
        for statement in facts.statements
        for use in statement.relations
        if use.action in _SHIFTING
    )


def unreadable(text: bytes, settings: SessionSettings) -> Facts:
    """Facts of a text that our parser would read differently from the server (encoding, string
    syntax).
    """
    reason = (
        "the session's client_encoding or standard_conforming_strings differs from what is analysed"
    )
    statement = StatementFacts(
        kind="Unparsed",
        actions=(Action.OPAQUE,),
        outputs_known=False,
        unresolved=(reason,),
        confidence=Confidence.OPAQUE,
        span=(0, len(text)),
    )
    return Facts(
        statements=(statement,),
        failure=ParseFailure("encoding", reason),
        settings_digest=settings.digest(),
        redacted="(not readable under the session's settings)",
    )
