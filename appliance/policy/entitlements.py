"""The part of a policy that is fixed for one principal on one database, computed once and kept by
the caller.

Made by `snapshot`, read by `evaluate`. Holds the rules that can concern this principal here and the
masks owed, by column.
"""

from collections.abc import Iterable, Mapping, Sequence

from appliance.model.catalog import (
    SECRET_COLUMNS,
    TELLING_COLUMNS,
    TELLING_ELSEWHERE,
    Catalog,
    ColumnKey,
)
from appliance.model.decision import NO_TRUST, Mask, MaskMethod, Reason, Trust
from appliance.model.facts import StatementFacts
from appliance.policy.document import RuleEffect
from appliance.policy.owed import merge
from appliance.policy.rules import (
    Rule,
    Touch,
    Where,
    Who,
    columns_read,
    concerns,
    follows_columns,
)
from appliance.policy.vocabulary import READING

MERGES_KEPT_MAX = 32
"""Combinations of conditional masks whose merged result is kept."""

TOUCHES_KEPT_MAX = 1_024
TOUCH_COLUMNS_KEPT_MAX = 64
"""Touches (action, relation, columns) whose matching rules are kept, and how wide they may be."""


class StandingMask:
    """A mask rule that concerns this principal, with the columns it names here."""

    __slots__ = ("conditional", "keys", "mask", "rule")

    def __init__(self, rule: Rule, mask: Mask, keys: frozenset[ColumnKey]) -> None:
        self.rule = rule
        self.mask = mask
        self.keys = keys
        self.conditional = rule.condition is not None or bool(rule.source)


SECRETS_RULE = "builtin:secret-columns"


def secret_columns(catalog: Catalog | None) -> StandingMask:
    """The mask that everybody owes who owes another: see `SECRET_COLUMNS`."""
    keys: set[ColumnKey] = set()
    own = (*SECRET_COLUMNS.items(), *TELLING_COLUMNS.items())
    named = [(("pg_catalog", name), columns) for name, columns in own]
    for (schema, name), columns in (*named, *TELLING_ELSEWHERE.items()):
        relation = None if catalog is None else catalog.relation_named(schema, name)
        if relation is not None:
            keys |= {(relation.oid, c.attnum) for c in relation.columns if c.name in columns}
    return built_in_mask(SECRETS_RULE, keys)


def built_in_mask(rule_id: str, keys: Iterable[ColumnKey]) -> StandingMask:
    """NULL in place of these columns, without a rule of the policy and whoever asks."""
    mask = Mask(MaskMethod.NULL, rule=rule_id)
    rule = Rule(
        id=rule_id,
        effect=RuleEffect.MASK,
        applied=True,
        who=Who(None, None, None, frozenset(), None),
        where=Where(None, None, (), None),
        source=(),
        actions=frozenset(),
        resources=None,
        flags=frozenset(),
        condition=None,
        reason=Reason(rule_id, RuleEffect.MASK.value),
        mask=mask,
    )
    return StandingMask(rule, mask, frozenset(keys))


class Entitlements:
    """What a principal is subject to on one database, for one catalog version and policy
    version."""

    __slots__ = (
        "_columns",
        "_matching",
        "_merged",
        "catalog",
        "database",
        "followers",
        "hides_secret_columns",
        "looks_at_client",
        "masks",
        "needs_catalog",
        "owed",
        "owes",
        "policy_version",
        "rules",
        "sensitive",
        "trust",
        "watches",
    )

    def __init__(
        self,
        policy_version: str,
        database: str,
        catalog: Catalog | None,
        rules: Sequence[Rule],
        masks: Sequence[StandingMask],
        sensitive: frozenset[ColumnKey] | None = frozenset(),
        trust: Trust = NO_TRUST,
    ) -> None:
        self.policy_version = policy_version
        self.trust = trust
        self.database = database
        self.catalog = catalog
        self.rules = tuple(rules)
        """Allow, deny, hold and limit rules, in document order."""
        self.masks = tuple(masks)
        self.owed: Mapping[ColumnKey, Mask] = merge(
            (m.mask, m.keys) for m in masks if m.rule.applied
        )
        """Every mask owed, those with a condition included."""
        unknown = catalog is None and any(m.rule.applied for m in masks)
        self.owes = bool(self.owed) or unknown
        """Whether any mask may be owed; also true when the columns are not known for want of a
        catalog."""
        self.sensitive = sensitive or frozenset()
        """Columns that some mask rule is about here, whoever owes it: raw reads are counted."""
        self.needs_catalog = (
            bool(masks)
            or sensitive is None
            or bool(sensitive)
            or any(r.resources is not None or r.flags or r.condition is not None for r in rules)
            or any(r.rows_written_max is not None or r.terms is not None for r in rules)
        )
        """Whether any answer here depends on what names mean (a WHERE that is always true, too, is
        known by its columns; approvers are told it). False = decisions are the same without a
        catalog."""
        self.looks_at_client = any(
            rule.condition is not None or rule.source for rule in rules
        ) or any(m.conditional for m in masks)
        """Whether an answer may differ between two clients of the same principal."""
        self.hides_secret_columns = any(m.rule.id == SECRETS_RULE for m in masks) and not any(
            m.conditional for m in masks
        )
        """Whether single secret columns of the system are surely masked here."""
        self.watches = not all(rule.applied for rule in rules)
        self.followers = tuple(i for i, rule in enumerate(rules) if follows_columns(rule))
        """Indexes of the rules that follow columns through views."""
        self._matching: dict[Touch, int] = {}
        self._merged: dict[frozenset[str], Mapping[ColumnKey, Mask]] = {}
        self._columns = self._by_relation()

    def _by_relation(self) -> dict[int, dict[str, ColumnKey]]:
        """OID -> {column name: key} of every column that some mask names, applied or observed."""
        columns: dict[int, dict[str, ColumnKey]] = {}
        if self.catalog is None:
            return columns
        keys = frozenset().union(*(m.keys for m in self.masks)) if self.masks else frozenset()
        for oid in {oid for oid, _ in keys}:
            relation = self.catalog.relations[oid]
            columns[oid] = {
                column.name: (oid, column.attnum)
                for column in relation.columns
                if (oid, column.attnum) in keys
            }
        return columns

    def matching(self, touch: Touch) -> int:
        """Bits of the rules (by index) that concern a touch. Kept: it depends on nothing else."""
        known = self._matching.get(touch)
        if known is not None:
            return known
        known = sum(1 << i for i, rule in enumerate(self.rules) if concerns(rule, touch))
        if len(touch.columns) <= TOUCH_COLUMNS_KEPT_MAX:
            if len(self._matching) >= TOUCHES_KEPT_MAX:
                self._matching.clear()
            self._matching[touch] = known
        return known

    def owed_without(self, inactive: frozenset[str]) -> Mapping[ColumnKey, Mask]:
        """Masks owed when the mask rules with these ids do not hold now."""
        if not inactive:
            return self.owed
        known = self._merged.get(inactive)
        if known is None:
            left = [m for m in self.masks if m.rule.applied and m.rule.id not in inactive]
            known = merge((m.mask, m.keys) for m in left)
            if all(m.rule.id == SECRETS_RULE for m in left):
                known = {}
            if len(self._merged) >= MERGES_KEPT_MAX:
                self._merged.clear()
            self._merged[inactive] = known
        return known

    def touched(self, statement: StatementFacts) -> set[ColumnKey]:
        """Columns with a mask (applied or observed) that a statement touches in any way.

        A statement that does anything but read a relation touches all its masked columns: an error
        (constraint, unique index) can show the whole row.
        """
        keys = columns_read(statement)
        found = {key for key in keys if self._is_masked(key)}
        for use in statement.relations:
            columns = self._columns.get(use.oid)
            if not columns:
                continue
            if use.action not in READING or "*" in use.columns:
                found.update(columns.values())
            else:
                found.update(columns[name] for name in use.columns if name in columns)
        return found

    def _is_masked(self, key: ColumnKey) -> bool:
        columns = self._columns.get(key[0])
        return columns is not None and key in columns.values()
