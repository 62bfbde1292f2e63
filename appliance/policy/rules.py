"""Compiled rules: selectors as functions, and what of a statement a rule's resources match.

Made by `compile`, filtered by `snapshot` (who, where), matched by `evaluate` (what).

A rule sees a statement as *touches*: one per relation and action, one per unknown function, one per
action that names nothing. Allow and the other effects read doubt in opposite ways: an allow rule
*covers* a touch only when all of it is certainly inside; every other effect *reaches* it when any
of it may be.
"""

from collections.abc import Callable, Sequence

import msgspec

from appliance.model.approval import HoldTerms
from appliance.model.catalog import Catalog, ColumnKey
from appliance.model.decision import Mask, Reason
from appliance.model.facts import Action, Confidence, Flag, StatementFacts
from appliance.model.principal import Principal, Target
from appliance.policy.conditions import Condition, Network
from appliance.policy.document import RuleEffect
from appliance.policy.globs import ResourceGlob
from appliance.policy.vocabulary import CARRIED, NO_RESOURCE, READING, WRITES_UNSEEN

Test = Callable[[str], bool]


class Who(msgspec.Struct, frozen=True):
    """Compiled `principals:`; None = everybody."""

    names: Test | None
    groups: Test | None
    not_groups: Test | None
    kinds: frozenset[str]
    on_behalf_of: Test | None

    def matches(self, principal: Principal) -> bool:
        if self.kinds and principal.kind.value not in self.kinds:
            return False
        if self.names is not None and not self.names(principal.name):
            return False
        if self.groups is not None and not any(map(self.groups, principal.groups)):
            return False
        if self.not_groups is not None and any(map(self.not_groups, principal.groups)):
            return False
        human = principal.on_behalf_of
        return self.on_behalf_of is None or (human is not None and self.on_behalf_of(human))


class Where(msgspec.Struct, frozen=True):
    """Compiled `targets:`; None = every target."""

    names: Test | None
    environments: Test | None
    labels: tuple[tuple[str, Test], ...]
    databases: Test | None

    def matches(self, target: Target, database: str) -> bool:
        if self.names is not None and not self.names(target.name):
            return False
        if self.environments is not None and not self.environments(target.environment):
            return False
        if self.databases is not None and not self.databases(database):
            return False
        labels = dict(target.labels)
        return all(name in labels and test(labels[name]) for name, test in self.labels)


class Rule(msgspec.Struct, frozen=True):
    """One compiled rule. `resources` None = whatever it is; () = nothing in this database."""

    id: str
    effect: RuleEffect
    applied: bool
    """False when the rule or its document is in observe mode."""
    who: Who
    where: Where
    source: tuple[Network, ...]
    actions: frozenset[Action]
    resources: tuple[ResourceGlob, ...] | None
    flags: frozenset[Flag]
    condition: Condition | None
    reason: Reason
    """What is recorded when it matches."""
    mask: Mask | None = None
    row_limit: int | None = None
    statement_timeout_ms: int | None = None
    terms: HoldTerms | None = None
    """Of a hold rule."""
    rows_written_max: int | None = None
    """Compiled into a rule of its own (`compile`), which reaches what may write unseen, too."""


class Touch(msgspec.Struct, frozen=True, gc=False):
    """One thing that a statement does. `named` False: the action names no resource."""

    action: Action
    named: bool
    schema: str = ""
    name: str = ""
    columns: tuple[str, ...] = ()
    beneath: bool = False
    """Nothing has to allow it; what denies or holds it does (`StatementFacts.beneath`)."""

    def __str__(self) -> str:
        if not self.named:
            return self.action.value
        dotted = f"{self.schema}.{self.name}" if self.schema else self.name
        return f"{self.action.value} on {dotted}"


def touches_of(statement: StatementFacts, catalog: Catalog | None) -> list[Touch]:
    """Everything in a statement that some rule has to allow; never empty."""
    found: list[Touch] = []
    named: set[Action] = set()
    for use in statement.relations:
        named.add(use.action)
        columns = use.columns
        if "*" in columns and catalog is not None:
            relation = catalog.relations.get(use.oid)
            if relation is not None:
                columns = tuple(column.name for column in relation.columns)
        found.append(Touch(use.action, True, use.schema, use.name, columns))
    if statement.functions:
        named.add(Action.EXECUTE_FUNCTION)
        found += [
            Touch(Action.EXECUTE_FUNCTION, True, call.schema, call.name)
            for call in statement.functions
        ]
    for action in statement.actions:
        if action in named:
            continue
        # COPY (query) TO and EXPLAIN are about whatever their query reads.
        read = found[: len(statement.relations)] if action in CARRIED else ()
        found += [msgspec.structs.replace(touch, action=action) for touch in read]
        if not read:
            found.append(Touch(action, False))
    opaque = statement.confidence is Confidence.OPAQUE or not found
    if opaque and Action.OPAQUE not in statement.actions:
        found.append(Touch(Action.OPAQUE, False))
    found += [
        Touch(use.action, True, use.schema, use.name, use.columns, beneath=True)
        for use in statement.beneath
    ]
    return found


def concerns(rule: Rule, touch: Touch) -> bool:
    """Whether a rule names a touch's action and resource; its conditions are not looked at."""
    if touch.action not in rule.actions:
        return False
    if rule.rows_written_max is not None and touch.action in WRITES_UNSEEN:
        return True  # it may write to any relation
    if rule.resources is None:
        return not touch.beneath  # it concerns what is named already
    if touch.beneath and rule.effect is RuleEffect.ALLOW:
        return False
    test = covers if rule.effect is RuleEffect.ALLOW else reaches
    return test(rule.resources, touch)


def follows_columns(rule: Rule) -> bool:
    """Whether a rule is about columns wherever they flow: see `reaches_columns`."""
    return (
        rule.effect is not RuleEffect.ALLOW
        and not rule.actions.isdisjoint(READING)
        and any(glob.column is not None for glob in rule.resources or ())
    )


def covers(globs: Sequence[ResourceGlob], touch: Touch) -> bool:
    """Whether all of a touch is certainly inside the globs (for allow)."""
    if not touch.named:
        if touch.action in NO_RESOURCE:
            return True
        return any(glob.covers_database() for glob in globs)
    tests: list[Test] = []
    for glob in globs:
        if glob.names(touch.schema, touch.name):
            if glob.column is None:
                return True
            tests.append(glob.column)
    if not tests or not touch.columns:
        # count(*) reads no column in particular; DELETE, TRUNCATE, DROP... concern all of them.
        return bool(tests) and touch.action in READING
    return all(name != "*" and any(test(name) for test in tests) for name in touch.columns)


def reaches(globs: Sequence[ResourceGlob], touch: Touch) -> bool:
    """Whether any of a touch may be inside the globs (for deny, hold and limit)."""
    if not touch.named:
        return touch.action not in NO_RESOURCE
    for glob in globs:
        if not glob.may_name(touch.schema, touch.name):
            continue
        test = glob.column
        if test is None or "*" in touch.columns:
            return True
        if any(test(name) for name in touch.columns):
            return True
        if not touch.columns and touch.action not in READING:
            return True
    return False


def reaches_columns(
    globs: Sequence[ResourceGlob], statement: StatementFacts, catalog: Catalog | None
) -> bool:
    """Whether a column named by a column glob flows into the statement, views looked through.

    Only globs that name columns follow the lineage: a rule about a relation is about that relation,
    as the database's own privileges are.
    """
    if catalog is None:
        return False
    precise = [glob for glob in globs if glob.column is not None]
    return bool(precise) and any(
        _named_column(precise, catalog, key) for key in columns_read(statement)
    )


def columns_read(statement: StatementFacts) -> set[ColumnKey]:
    """Every column whose value the statement may show or depend on."""
    keys = set(statement.consumed)
    for output in statement.outputs:
        keys.update(output.sources)
        if output.origin is not None:
            keys.add(output.origin)
    return keys


def _named_column(globs: Sequence[ResourceGlob], catalog: Catalog, key: ColumnKey) -> bool:
    relation = catalog.relations.get(key[0])
    if relation is None:
        return False
    name = next((column.name for column in relation.columns if column.attnum == key[1]), None)
    return name is not None and any(
        glob.column is not None and glob.column(name) and glob.names(relation.schema, relation.name)
        for glob in globs
    )
