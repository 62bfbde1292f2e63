"""One statement's life, for every protocol alike. Read this first.

    received -> facts -> decided -> (held) -> recorded -> forwarded
             -> described -> masked rows -> finished

`Judge` does the first half: text -> facts (cached) -> decision (cached unless a condition looked at
something that changes) -> one mask plan per statement, or a refusal. Everything after that is order
on the wire, which is the machine's: it records before it forwards and binds the plan before the
first row.

Rule: unknown means refuse. A refusal is an answer, not an exception: `Verdict.refusal`.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from appliance.masking.masked_relations import Unmaskable
from appliance.masking.plan import MaskPlan, measures, plan, source_plan
from appliance.model.approval import HoldTerms
from appliance.model.catalog import Catalog, Relation, SessionSettings
from appliance.model.decision import Decision, Effect
from appliance.model.dialect import Dialect
from appliance.model.errors import Refused
from appliance.model.facts import (
    Action,
    Confidence,
    Facts,
    Flag,
    ParseFailure,
    SparingCheck,
    StatementFacts,
)
from appliance.model.form import Form
from appliance.model.limits import INLINE_ANALYSIS_BYTES_MAX, Limits
from appliance.model.principal import Client, Principal, Target
from appliance.model.refusal import About, Refusal, RefusalCode
from appliance.policy.entitlements import Entitlements
from appliance.policy.evaluate import DEFAULT_RULE
from appliance.policy.snapshot import UNCLASSIFIED_RULE, Snapshot
from appliance.session import changes, told
from appliance.session.cache import Cache
from appliance.session.counted import uncounted
from appliance.session.dialect import Forms, SessionLineage, joined
from appliance.sql.footing import Footing


class Granted(msgspec.Struct, frozen=True):
    """An approval whose use for one statement is stored."""

    request: str
    binding: str
    """What it holds for (`approval.binding`)."""
    by: str
    terms: HoldTerms
    """What policy demanded of it."""
    rows_max: int | None = None
    """Rows that the statement may write, by what was approved."""


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
    naming: tuple[tuple[str, ...], str, bool] = ((), "", False)
    """`SessionSettings.naming` when it was made: the server looks the names in a prepared text up
    anew when that changes."""
    rewritten: bytes = b""
    """What is sent in place of the client's text: where masked columns are masked at the source, or
    a setting could change where its strings end (`sql/escapes`); b"" = the client's text."""
    sensitive: frozenset[tuple[int, int]] = frozenset()
    """Columns some mask rule is about, read here raw by right: counted, for "who saw it"."""
    plain: bool = False
    """It changes nothing about the session and names nothing (`is_plain`): no step after the
    decision has to look at its facts.
    """
    code: bool = False
    """It may run code, named in it or beneath it, of which nobody knows what it does to the session
    (`changes.runs_code`)."""
    sweeping: "Verdict | None" = None
    """What it is instead when the database says that the text's writes spare no row
    (`StatementFacts.checks`); None when that makes no difference."""
    temporaries: tuple[Relation, ...] = ()
    """The session's own temporary relations that it was made with."""
    footing: Footing | None = None
    """What has to be as it was, when it is sent, for this verdict to hold; of a principal who owes
    masks."""
    released: "Verdict | None" = None
    """Of a text that policy holds: what it is once it is approved (`parking`). Until then
    `refusal` is set."""
    granted: Granted | None = None
    """The approval under which this was released."""
    pins: frozenset[str] = frozenset()
    """Why it needs a database session that is its client session's alone, where such are shared."""
    memo: list[Any] = msgspec.field(default_factory=list)
    """The audit parts made of this verdict, once."""

    @property
    def checks(self) -> tuple[SparingCheck, ...]:
        """What to ask the database before this may run."""
        return tuple(check for s in self.facts.statements for check in s.checks)

    @property
    def flags(self) -> frozenset[Flag]:
        return frozenset().union(*(s.flags for s in self.facts.statements))


class CatalogPort(Protocol):
    """What the session sees of its database's catalog (`dataplane/catalogs`)."""

    @property
    def lineage(self) -> SessionLineage | None:
        """The current snapshot; None while it must be (re)loaded before anything may rest on it."""

    @property
    def kept(self) -> SessionLineage | None:
        """The last snapshot, current or not."""

    @property
    def shapes(self) -> int:
        """Moves when a schema change begins or ends in any session."""

    def changing_for(self, session: str) -> bool:
        """Whether another session has a schema change under way."""

    def reshaped_by_others(self, since: int, session: str) -> bool:
        """Whether another session moved `shapes` since it was `since`."""

    @property
    def failure(self) -> str:
        """Why the last attempt to load it failed, '' if it did not."""


CACHED_TEXT_BYTES_MAX = INLINE_ANALYSIS_BYTES_MAX


class Judge:
    """Decides for one session: one principal on one database of one target."""

    __slots__ = (
        "_cache", "_entitled", "_epoch", "_forms", "_limits", "_origin", "catalog", "client",
        "database", "dialect", "principal", "shares", "snapshot", "target",
    )  # fmt: skip

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
        dialect: Dialect,
    ) -> None:
        self.dialect = dialect
        self.principal = principal
        self.client = client
        self._origin = (client.address, client.listener, client.tls, client.application)
        self.target = target
        self.database = database
        self.catalog = catalog
        self._limits = limits
        self._cache = cache
        self._entitled: tuple[Snapshot, SessionLineage | None, Entitlements] | None = None
        self._epoch: tuple[Entitlements, SessionSettings, tuple[str, str, str]] | None = None
        self._forms: Forms | None = None
        self.snapshot = snapshot
        self.shares = False
        """Its session shares connections with others: what a text leaves behind has to be known."""

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
        return self.shares or self.entitlements.needs_catalog

    def epoch(self, settings: SessionSettings) -> tuple[str, str, str]:
        entitlements, kept = self.entitlements, self._epoch
        if kept is None or kept[0] is not entitlements or kept[1] is not settings:
            lineage = self.catalog.lineage if self.needs_catalog else None
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
        alike = self.recall_alike(text, settings)
        return None if alike is None else alike[1]

    def recall_alike(self, text: bytes, settings: SessionSettings) -> tuple[bytes, Verdict] | None:
        """The text without its constants, and the verdict on one that differs in those only, at
        which nothing looked."""
        folded = self._fold(text, settings)
        if folded is None:
            return None
        known = self._cache.get(self._alike_key(folded[0], settings))
        if not isinstance(known, Verdict):
            return None
        self._cache.verdicts_alike += 1
        return folded[0], msgspec.structs.replace(known, memo=[])  # (records are of this very text)

    def alike(self, text: bytes, verdict: Verdict, settings: SessionSettings) -> bytes | None:
        """The text without its constants, if this is the verdict on all that differ in them."""
        folded = self._fold(text, settings)
        if folded is None:
            return None
        known = self._cache.get(self._alike_key(folded[0], settings))
        same = isinstance(known, Verdict) and known.facts is verdict.facts
        return folded[0] if same else None

    def _keep_for_alike(self, text: bytes, verdict: Verdict, settings: SessionSettings) -> None:
        if verdict.refusal is not None or verdict.rewritten or verdict.sweeping is not None:
            return
        places = [s.unread_constants for s in verdict.facts.statements]
        if len(places) != 1 or not places[0]:
            return
        folded = self._fold(text, settings)
        if folded is not None and folded[1] == places[0]:
            catalog = self.entitlements.catalog
            self._put(self._alike_key(folded[0], settings), verdict, catalog)

    def _put(self, key: tuple[object, ...], entry: object, catalog: Catalog | None) -> None:
        self._cache.put(key, entry, catalog, self.principal)

    def _fold(self, text: bytes, settings: SessionSettings) -> tuple[bytes, object] | None:
        return self.dialect.fold(text, settings) if len(text) <= CACHED_TEXT_BYTES_MAX else None

    def _alike_key(self, folded: bytes, settings: SessionSettings) -> tuple[object, ...]:
        return "alike", *self._verdict_key(self._key(folded, settings))

    def permits(self, action: Action, now: float) -> Refusal | None:
        """Why this principal may not do what names nothing in particular; None = it may."""
        facts = Facts((StatementFacts("", (action,)),))
        decision = self.snapshot.decide(
            facts,
            self.principal,
            self.client,
            self.target,
            self.database,
            self.entitlements,
            now,
        )
        return refusal_of(facts, decision) or held_refusal(facts, decision)

    def analyse_inline(self, text: bytes, settings: SessionSettings) -> Facts:
        """For short texts: on the event loop."""
        lineage = self.catalog.lineage if self.needs_catalog else None
        facts = self.dialect.analyse(text, lineage, settings, self._limits)
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
        forms: Forms | None = None,
    ) -> Verdict:
        """Facts -> verdict. Cached only if the decision is and the text is short; never facts that
        rest on what the key does not hold (`keep`). `forms`: of a text that was analysed elsewhere.
        """
        self._forms = forms
        decision, verdict = self._decided(text, facts, settings, now)
        if any(s.checks for s in facts.statements):
            if verdict.refusal is None:
                verdict = self._with_sweeping(text, verdict, settings, now)
            elif verdict.released is not None:
                released = self._with_sweeping(text, verdict.released, settings, now)
                # Swept unasked it may be denied, or held for more: then that is the verdict.
                verdict = released if released.refusal else held(released, verdict.refusal)
        if keep and len(text) <= CACHED_TEXT_BYTES_MAX:
            key, catalog = self._key(text, settings), self.entitlements.catalog
            self._put(key, facts, catalog)
            if decision.cacheable:
                self._put(self._verdict_key(key), verdict, catalog)
                self._keep_for_alike(text, verdict, settings)
        return verdict

    def _decided(
        self, text: bytes, facts: Facts, settings: SessionSettings, now: float
    ) -> tuple[Decision, Verdict]:
        entitlements = self.entitlements
        decision = self.snapshot.decide(
            facts, self.principal, self.client, self.target, self.database, entitlements, now
        )
        self._cache.decided += 1
        verdict = self._verdict(text, facts, decision, entitlements, settings)
        refusal = held_refusal(facts, decision) if verdict.refusal is None else None
        return decision, verdict if refusal is None else held(verdict, refusal)

    def _with_sweeping(
        self, text: bytes, verdict: Verdict, settings: SessionSettings, now: float
    ) -> Verdict:
        """Adds what the text is when its writes spare no row. Whoever owes masks on what it reads
        gets that answer unasked: the question would see the raw values."""
        decision, sweeping = self._decided(text, sweeping_facts(verdict.facts), settings, now)
        alike = decision.rows_written_max == verdict.decision.rows_written_max
        if alike and sweeping.released is not None and decision.hold == verdict.decision.hold:
            return verdict  # held for the same, one way or the other
        same = alike and decision.would_be == verdict.decision.would_be
        if sweeping.refusal is None and same:
            return verdict
        owed = verdict.decision.owed
        if any(not s.consumed.isdisjoint(owed) for s in verdict.facts.statements if s.checks):
            return sweeping
        return msgspec.structs.replace(verdict, sweeping=sweeping)

    def _verdict_key(self, key: tuple[object, ...]) -> tuple[object, ...]:
        entitlements = self.entitlements
        origin = self._origin if entitlements.looks_at_client else None
        return (*key, entitlements, origin, self.shares)

    def _key(self, text: bytes, settings: SessionSettings) -> tuple[object, ...]:
        return text, self.target.name, *self.epoch(settings)

    def _verdict(
        self,
        text: bytes,
        facts: Facts,
        decision: Decision,
        entitlements: Entitlements,
        settings: SessionSettings,
    ) -> Verdict:
        plans: tuple[MaskPlan, ...] = ()
        unbound = uncounted(facts, decision)
        refusal = refusal_of(facts, decision) or unlimitable(facts, decision) or unbound
        unread = self.needs_catalog and self.catalog.lineage is None
        blind = refusal is not None and (refusal.rule == DEFAULT_RULE or refusal is unbound)
        if unread and blind:
            refusal = told.catalog_unavailable(self.catalog.failure)  # no name can match a rule now
        if refusal is None and facts.failure is not None and decision.owes_masks:
            refusal = told.unparsable(facts)
        rewritten = b""
        if refusal is None:
            try:
                if decision.owes_masks:
                    self._require_classified(facts, decision, settings)
                plans = self._plans(facts, decision, settings)
                rewritten = self._rewritten(text, facts, plans, decision, settings)
            except Refused as refused:
                plans, refusal = (), refused.refusal
        at_source = bool(rewritten)
        if refusal is None and facts.failure is None:
            settled = self.dialect.settled(rewritten or text)
            rewritten = settled if settled != text else rewritten
        restricted = decision.owes_masks
        pins = self._pins(facts, settings, decision) if refusal is None else frozenset()
        return Verdict(
            facts=facts,
            decision=decision,
            plans=plans,
            refusal=refusal,
            rewritten=rewritten,
            restricted=restricted,
            withhold=restricted and _may_carry_values(facts, decision),
            epoch=self.epoch(settings),
            naming=settings.naming,
            plain=changes.is_plain(facts) and not pins,
            code=changes.runs_code(facts, decision.trust),
            sensitive=frozenset() if restricted else entitlements.sensitive,
            temporaries=settings.temporaries,
            pins=pins,
            footing=self._footing(facts, settings, at_source)
            if restricted and refusal is None
            else None,
        )

    def _pins(self, facts: Facts, settings: SessionSettings, decision: Decision) -> frozenset[str]:
        if not self.shares:
            return frozenset()
        return self.dialect.needs(facts, self._lineage(settings), decision.trust)

    def _lineage(self, settings: SessionSettings) -> SessionLineage | None:
        lineage = self.catalog.lineage if self.needs_catalog else None
        return None if lineage is None else lineage.with_temporaries(settings.temporaries)

    def _footing(self, facts: Facts, settings: SessionSettings, rewritten: bool) -> Footing | None:
        lineage = self._lineage(settings)
        if lineage is None:
            return None
        found: Footing | None = self.dialect.footing(facts, lineage, rewritten)
        return found

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
                raise Refused(told.unclassified(f"{relation.schema}.{relation.name}"))

    def _plans(
        self, facts: Facts, decision: Decision, settings: SessionSettings
    ) -> tuple[MaskPlan, ...]:
        lineage = self._lineage(settings)
        if decision.owes_masks and lineage is None:
            raise Refused(told.catalog_unavailable(self.catalog.failure))
        converted = settings.converted or self.dialect.converts(facts)
        return tuple(
            self._plan(facts, index, decision, lineage, converted)
            for index in range(len(facts.statements))
        )

    def _plan(
        self,
        facts: Facts,
        index: int,
        decision: Decision,
        lineage: SessionLineage | None,
        converted: bool,
    ) -> MaskPlan:
        """On the wire where that is exact, at the source where it is not: also where what is sent
        is `converted`, since that fails on raw cells that the encoding has no letters for.
        """
        try:
            made = plan(facts, index, decision, decision.owed, lineage)
        except Refused as refused:
            if refused.refusal.code not in _MASKABLE_AT_SOURCE or lineage is None:
                raise
            at_source = source_plan(facts, index, decision.owed, lineage)
            if at_source is None:
                raise
            return at_source
        if lineage is None:
            return made
        if (converted and made.masks_any) or measures(made, facts.statements[index], decision.owed):
            return source_plan(facts, index, decision.owed, lineage) or made
        return made

    def _rewritten(
        self,
        text: bytes,
        facts: Facts,
        plans: tuple[MaskPlan, ...],
        decision: Decision,
        settings: SessionSettings,
    ) -> bytes:
        at_source = [plan.at_source for plan in plans]
        lineage = self._lineage(settings)
        if lineage is None or not any(at_source):
            return b""
        if len(text) <= INLINE_ANALYSIS_BYTES_MAX:
            relations = self._cache.masked_relations(self.dialect, lineage, decision.owed)
            made: Sequence[Form] = self.dialect.forms(
                text, at_source, facts, lineage, settings, relations, self._limits
            )
        elif self._forms is not None and self._forms.owed == decision.owed:
            made = self._forms.forms
        else:
            raise Refused(told.unrewritable("the masks that hold for you changed meanwhile"))
        try:
            return joined(text, at_source, facts, made)
        except Unmaskable as error:
            raise Refused(told.unrewritable(str(error))) from None


_MASKABLE_AT_SOURCE = frozenset((RefusalCode.MASKED_COLUMN_USED, RefusalCode.UNMASKABLE))


def sweeping_facts(facts: Facts) -> Facts:
    """The facts of a text whose writes turn out to spare no row."""
    statements = tuple(
        msgspec.structs.replace(s, flags=s.flags | {Flag.TRIVIAL_WHERE}, checks=())
        if s.checks
        else s
        for s in facts.statements
    )
    return msgspec.structs.replace(facts, statements=statements)


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
    """What policy's answer means for the client; None = go on, perhaps held."""
    if decision.effect is not Effect.DENY and (
        decision.effect is Effect.ALLOW or facts.failure is None
    ):
        return None
    if facts.failure is not None and not _denied_by_rule(decision):
        return told.unparsable(facts)
    if decision.about is About.TEXT and not _denied_by_rule(decision):
        unread = [why for s in facts.statements if s.unread for why in s.unresolved]
        if unread:
            return told.unread(unread[0])
    applied = [r for r in decision.reasons if not r.observed and r.effect == decision.effect.value]
    rule = applied[0].rule if applied else ""
    message = applied[0].message if applied else ""
    return Refusal(
        RefusalCode.DENIED,
        message or f"policy does not allow {_doings(facts)}",
        "ask the owners of the policy for a rule that allows it"
        if rule in ("", DEFAULT_RULE)
        else f"see rule {rule}, or ask the owners of the policy",
        rule=rule or "default-deny",
        about=decision.about,
    )


def held(verdict: Verdict, refusal: Refusal) -> Verdict:
    """A verdict that needs an approval: refused, as long as it has none. What was approved once is
    nobody else's, so its released form is no plain statement, which others may repeat unasked."""
    released = msgspec.structs.replace(verdict, plain=False, memo=[])
    return msgspec.structs.replace(
        verdict, refusal=refusal, released=released, sweeping=None, plain=False, memo=[]
    )


def held_refusal(facts: Facts, decision: Decision) -> Refusal | None:
    """What a text is refused with as long as it needs an approval and has none."""
    if decision.effect is not Effect.HOLD:
        return None
    applied = [r for r in decision.reasons if not r.observed and r.effect == Effect.HOLD.value]
    rule = applied[0].rule if applied else ""
    return told.needs_approval(rule, applied[0].message if applied else "", _doings(facts))


def _doings(facts: Facts) -> str:
    """What a text does, and to which relations."""
    what = ", ".join(a.value for a in facts.actions) or "this statement"
    uses = dict.fromkeys(
        f"{use.schema}.{use.name}".removeprefix(".")
        for s in facts.statements
        for use in s.relations
    )
    shown = ", ".join(list(uses)[:_NAMED_MAX]) + f" and {len(uses) - _NAMED_MAX} more" * (
        len(uses) > _NAMED_MAX
    )
    return f"{what} on {shown}" if uses else f"{what} here"


_NAMED_MAX = 3


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


def unreadable(text: bytes, settings: SessionSettings) -> Facts:
    """Facts of a text that our parser would read differently from the server (encoding, string
    syntax).
    """
    reason = (
        "the session's client_encoding or standard_conforming_strings differs from what is analysed"
    )
    return _unread(text, settings, ParseFailure("encoding", reason))


def outdated(text: bytes, settings: SessionSettings) -> Facts:
    """Facts of a text whose analysis was out of date whenever it was done."""
    reason = "the schema changed again and again while this was analysed"
    return _unread(text, settings, ParseFailure("busy", reason))


def _unread(text: bytes, settings: SessionSettings, failure: ParseFailure) -> Facts:
    reason = failure.message
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
        failure=failure,
        settings_digest=settings.digest(),
        redacted="(not readable under the session's settings)",
    )
