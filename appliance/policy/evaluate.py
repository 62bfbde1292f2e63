"""One decision: facts + principal + context -> allow, hold or deny, with obligations and reasons.

Called by `Snapshot.decide` only. Its rule: nothing is allowed but by a rule that covers it; deny
beats hold beats allow; a condition without an answer is a denial.

Two outcomes are computed side by side: the *applied* one from the rules that are enforced, and the
*watched* one from all rules, which is what the policy would answer if nothing were in observe mode.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from appliance.model.approval import HoldTerms, joined
from appliance.model.catalog import ColumnKey
from appliance.model.decision import Decision, Effect, Mask, Reason
from appliance.model.facts import Action, Facts, Flag, StatementFacts
from appliance.model.refusal import About
from appliance.policy.conditions import ConditionFailed, Subject, address_of
from appliance.policy.document import RuleEffect
from appliance.policy.entitlements import Entitlements
from appliance.policy.rules import Rule, Touch, reaches_columns, touches_of

DEFAULT_RULE = "default"
CONDITION_FAILED = "condition failed"
_SEVERITY = {Effect.ALLOW: 0, Effect.HOLD: 1, Effect.DENY: 2}
_NAMED_TOUCHES_MAX = 3
_ALLOW, _DENY, _HOLD = RuleEffect.ALLOW, RuleEffect.DENY, RuleEffect.HOLD


class Context:
    """What conditions look at, and whether one has looked at the time."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.looked_at_time = False

    def admits(self, rule: Rule) -> bool:
        """Whether a rule's `source:` and `when:` hold. Raises ConditionFailed."""
        if rule.source:
            try:
                address = address_of(self.subject.client.address)
            except ValueError:
                raise ConditionFailed(rule.id) from None
            if not any(address in network for network in rule.source):
                return False
        condition = rule.condition
        if condition is None:
            return True
        self.looked_at_time = self.looked_at_time or condition.uses_time
        return condition.holds(self.subject)


Bound = tuple[int, str]
"""(rows that a write may affect, id of the rule that says so)."""


class Tally:
    """Outcome of the rules for one statement; bits of the integers are its touches."""

    __slots__ = (
        "allowed",
        "denied",
        "denying",
        "failed",
        "held",
        "row_limit",
        "terms",
        "timeout_ms",
        "written",
    )

    def __init__(self) -> None:
        self.allowed = 0
        self.held = 0
        self.denied = False
        self.denying: list[tuple[Rule, int]] = []
        self.row_limit: int | None = None
        self.timeout_ms: int | None = None
        self.terms: HoldTerms | None = None
        self.written: Bound | None = None

    def add(self, rule: Rule, bits: int) -> None:
        effect = rule.effect
        if effect is _ALLOW:
            self.allowed |= bits
        elif effect is _DENY:
            self.denied = True
            self.denying.append((rule, bits))
        elif effect is _HOLD:
            self.held |= bits
            self.terms = joined(self.terms, rule.terms)
        else:
            self.row_limit = smaller(self.row_limit, rule.row_limit)
            self.timeout_ms = smaller(self.timeout_ms, rule.statement_timeout_ms)
            if rule.rows_written_max is not None:
                self.written = tighter(self.written, (rule.rows_written_max, rule.id))

    def missing(self, everything: int) -> int:
        """Bits of the touches that no rule allows; none when denied anyway."""
        return 0 if self.denied else everything & ~(self.allowed | self.held)

    def effect(self, everything: int) -> Effect:
        if self.denied or self.missing(everything):
            return Effect.DENY
        return Effect.HOLD if self.held else Effect.ALLOW


def smaller(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def tighter(one: Bound | None, other: Bound | None) -> Bound | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


class Deliberation:
    """Everything gathered over the statements of one text."""

    def __init__(self, entitlements: Entitlements, context: Context, observing: bool) -> None:
        self.entitlements = entitlements
        self.context = context
        self.observing = observing
        self.reasons: dict[Reason, None] = {}
        self.applied = Effect.ALLOW
        self.watched = Effect.ALLOW
        self.row_limit: int | None = None
        self.timeout_ms: int | None = None
        self.terms: HoldTerms | None = None
        self.written: Bound | None = None
        self.about: About | None = None

    def raise_to(self, applied: Effect, watched: Effect) -> None:
        if _SEVERITY[applied] > _SEVERITY[self.applied]:
            self.applied = applied
        if _SEVERITY[watched] > _SEVERITY[self.watched]:
            self.watched = watched

    def statement(self, statement: StatementFacts) -> None:
        """Match every rule against one statement."""
        self.context.subject.statement = statement
        touches = touches_of(statement, self.entitlements.catalog)
        applied = Tally()
        watched = Tally() if self.entitlements.watches else applied
        for rule, bits in self._candidates(statement, touches):
            if not self._admitted(rule, statement):
                continue
            if rule.applied:
                applied.add(rule, bits)
            if watched is not applied:
                watched.add(rule, bits)
            self.reasons[rule.reason] = None
        self._close(touches, applied, watched)

    def _candidates(
        self, statement: StatementFacts, touches: Sequence[Touch]
    ) -> Iterator[tuple[Rule, int]]:
        """Rules that name an action and resource of the statement, with the bits of these touches.

        A bit past the last touch stands for a column that is reached through views."""
        entitlements = self.entitlements
        per_touch = [entitlements.matching(touch) for touch in touches]
        through = 0
        for i in entitlements.followers:
            rule = entitlements.rules[i]
            if reaches_columns(rule.resources or (), statement, entitlements.catalog):
                through |= 1 << i
        left = through
        for matching in per_touch:
            left |= matching
        while left:
            lowest = left & -left
            left ^= lowest
            bits = (1 << len(touches)) if through & lowest else 0
            for i, matching in enumerate(per_touch):
                if matching & lowest:
                    bits |= 1 << i
            yield entitlements.rules[lowest.bit_length() - 1], bits

    def _admitted(self, rule: Rule, statement: StatementFacts) -> bool:
        if rule.flags and rule.flags.isdisjoint(self._flags(statement)):
            return False
        if not rule.source and rule.condition is None:
            return True
        try:
            return self.context.admits(rule)
        except ConditionFailed:
            self.fail(rule)
            return False

    def _flags(self, statement: StatementFacts) -> frozenset[Flag]:
        """A secret column that is masked for this principal is none."""
        if statement.single_columns and self.entitlements.hides_secret_columns:
            return statement.flags - {Flag.READS_SYSTEM_SECRETS}
        return statement.flags

    def fail(self, rule: Rule) -> None:
        """A rule whose condition has no answer denies, whatever its effect."""
        self.raise_to(Effect.DENY if rule.applied else Effect.ALLOW, Effect.DENY)
        reason = Reason(rule.id, Effect.DENY.value, CONDITION_FAILED, observed=not rule.applied)
        self.reasons[reason] = None

    def _close(self, touches: Sequence[Touch], applied: Tally, watched: Tally) -> None:
        everything = sum(1 << i for i, touch in enumerate(touches) if not touch.beneath)
        now = Effect.ALLOW if self.observing else applied.effect(everything)
        self.raise_to(now, watched.effect(everything))
        tally = watched if self.observing else applied
        missing = tally.missing(everything)
        if missing:
            named = [str(t) for i, t in enumerate(touches) if missing >> i & 1]
            reason = Reason(DEFAULT_RULE, Effect.DENY.value, _nothing_allows(named), self.observing)
            self.reasons[reason] = None
        if not self.observing:
            self._note_about(touches, applied, missing)
            self.row_limit = smaller(self.row_limit, applied.row_limit)
            self.timeout_ms = smaller(self.timeout_ms, applied.timeout_ms)
            self.terms = joined(self.terms, applied.terms)
            self.written = tighter(self.written, applied.written)

    def _note_about(self, touches: Sequence[Touch], applied: Tally, missing: int) -> None:
        """What the first denial is about."""
        if self.about is not None:
            return
        if applied.denying:
            self.about = _denied(touches, *applied.denying[0])
        elif missing:
            self.about = about_of([t for i, t in enumerate(touches) if missing >> i & 1])


def _denied(touches: Sequence[Touch], rule: Rule, bits: int) -> About:
    """What a rule that denies is about."""
    found = about_of([touch for i, touch in enumerate(touches) if bits >> i & 1])
    through = bits >> len(touches) & 1
    narrowed = rule.resources and all(glob.column is not None for glob in rule.resources)
    return About.COLUMN if through or (narrowed and found is About.RELATION) else found


def about_of(touches: Sequence[Touch]) -> About:
    """What the first of these is about, by its name alone."""
    if not touches or all(touch.action is Action.OPAQUE for touch in touches):
        return About.TEXT if touches else About.SESSION
    first = touches[0]
    if not first.named:
        return About.SESSION
    if first.action is Action.EXECUTE_FUNCTION:
        return About.FUNCTION
    return About.SCHEMA if first.name == "*" else About.RELATION


def _nothing_allows(named: Sequence[str]) -> str:
    shown = ", ".join(dict.fromkeys(named[:_NAMED_TOUCHES_MAX]))
    more = len(named) - _NAMED_TOUCHES_MAX
    return f"no rule allows {shown}" + (f" and {more} more" if more > 0 else "")


def decide(facts: Facts, entitlements: Entitlements, context: Context, observing: bool) -> Decision:
    """The decision for a whole text: the most severe of its statements'."""
    work = Deliberation(entitlements, context, observing)
    for statement in facts.statements:
        work.statement(statement)
    masks: dict[ColumnKey, Mask] = {}
    observed: dict[ColumnKey, Mask] = {}
    owed: Mapping[ColumnKey, Mask] = {}
    if entitlements.masks:
        owed, masks, observed = _masks(facts.statements, work)
    limits = (None, None) if observing else (work.row_limit, work.timeout_ms)
    written = None if observing else work.written
    owes = bool(owed) or (entitlements.owes and entitlements.catalog is None)
    return Decision(
        effect=work.applied,
        reasons=tuple(work.reasons),
        masks=masks,
        owes_masks=owes,
        row_limit=limits[0],
        statement_timeout_ms=limits[1],
        rows_written_max=None if written is None else written[0],
        rows_written_rule="" if written is None else written[1],
        policy_version=entitlements.policy_version,
        cacheable=not context.looked_at_time,
        would_be=work.watched if work.watched is not work.applied else None,
        owed=owed,
        masks_observed=observed,
        hold=work.terms if work.applied is Effect.HOLD else None,
        trust=entitlements.trust,
        about=work.about or About.SESSION,
    )


def _masks(
    statements: Iterable[StatementFacts], work: Deliberation
) -> tuple[Mapping[ColumnKey, Mask], dict[ColumnKey, Mask], dict[ColumnKey, Mask]]:
    """(owed now on the database, of them touched, touched but only observed)."""
    entitlements = work.entitlements
    touched: set[ColumnKey] = set()
    for statement in statements:
        touched |= entitlements.touched(statement)
    inactive: set[str] = set()
    for standing in entitlements.masks:
        if standing.conditional and not _mask_holds(standing.rule, standing.keys, touched, work):
            inactive.add(standing.rule.id)
    owed = entitlements.owed_without(frozenset(inactive))
    observed: dict[ColumnKey, Mask] = {}
    for standing in entitlements.masks:
        rule = standing.rule
        here = touched & standing.keys
        if not here or rule.id in inactive:
            continue
        work.reasons[rule.reason] = None
        if not rule.applied:
            observed.update(dict.fromkeys(here, standing.mask))
    return owed, {key: owed[key] for key in touched if key in owed}, observed


def _mask_holds(
    rule: Rule, keys: frozenset[ColumnKey], touched: set[ColumnKey], work: Deliberation
) -> bool:
    """Whether a mask with a condition is owed now; without an answer it is, and the text is denied
    when it touches one of its columns."""
    try:
        return work.context.admits(rule)
    except ConditionFailed:
        if touched & keys:
            work.fail(rule)
        return True
