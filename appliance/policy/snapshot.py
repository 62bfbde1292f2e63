"""A compiled policy: immutable, held by every worker, replaced as a whole on reload.

Made by `compile`. `session` asks it twice: `entitlements` once per principal and catalog version
(the caller keeps the answer), `decide` once per text.
"""

from collections.abc import Sequence

import msgspec

from appliance.model.catalog import Catalog, ColumnKey
from appliance.model.decision import NO_TRUST, Decision, MaskMethod
from appliance.model.facts import Facts
from appliance.model.principal import Client, Principal, Target
from appliance.policy.conditions import Subject
from appliance.policy.document import Mode, RuleEffect
from appliance.policy.entitlements import (
    Entitlements,
    StandingMask,
    built_in_mask,
    secret_columns,
)
from appliance.policy.evaluate import Context, decide
from appliance.policy.globs import ResourceGlob
from appliance.policy.owed import ViewLineage, children_of, columns_named
from appliance.policy.rules import Rule
from appliance.policy.trust import TrustEntry, trust_in

UNCLASSIFIED_RULE = "builtin:unclassified"
"""Names the mask that is owed on columns that appeared since a database was first seen."""

CATALOGS_KEPT_MAX = 64
"""Databases whose mask columns are kept per snapshot, so that a second principal costs no
search."""


class Snapshot:
    """One version of the policy. `version` is a digest of its documents."""

    def __init__(
        self,
        version: str,
        mode: Mode,
        rules: Sequence[Rule],
        trusted: Sequence[TrustEntry] = (),
        classifications: Sequence[ResourceGlob] = (),
        known: Sequence[ResourceGlob] = (),
    ) -> None:
        self.version = version
        self.mode = mode
        self.rules = tuple(rules)
        self.trusted = tuple(trusted)
        self._classifications = tuple(classifications)
        """The globs of all classifications, whether a rule speaks of them or not."""
        self._known_new = tuple(known)
        """Columns that are known though they are new: classified, or said to be."""
        self.token_keys = frozenset(
            rule.mask.key
            for rule in self.rules
            if rule.mask is not None and rule.mask.method is MaskMethod.TOKEN
        )
        """Names of the keys its token masks need; the configuration must have them."""
        self._columns: dict[tuple[str, str, str, bool], _Named] = {}

    def entitlements(
        self,
        principal: Principal,
        target: Target,
        catalog: Catalog | None,
        database: str,
        *,
        lineage: ViewLineage | None = None,
    ) -> Entitlements:
        """What concerns this principal on this database. Valid for this snapshot and this catalog.

        `lineage` is the catalog's; with it, masks named on views reach the columns below.
        """
        rules: list[Rule] = []
        masks: list[StandingMask] = []
        for rule in self.rules:
            if not (rule.who.matches(principal) and rule.where.matches(target, database)):
                continue
            here = _in_database(rule, database)
            if here is None:
                continue
            if here.effect is RuleEffect.MASK:
                keys = self._named(here, catalog, database, lineage)
                if here.mask is not None and (keys or catalog is None):
                    masks.append(StandingMask(here, here.mask, keys))
            else:
                rules.append(here)
        if any(m.rule.applied for m in masks):
            masks.append(secret_columns(catalog))
        sensitive = self._sensitive(target, catalog, database, lineage)
        if catalog is not None and catalog.unknown and any(m.rule.applied for m in masks):
            unknown = self._unknown(catalog, database, sensitive or frozenset())
            if unknown:
                masks.append(built_in_mask(UNCLASSIFIED_RULE, unknown))
        trusted = [entry for entry in self.trusted if entry.where.matches(target, database)]
        trust = trust_in(trusted, catalog) if masks else NO_TRUST
        return Entitlements(self.version, database, catalog, rules, masks, sensitive, trust)

    def classified(
        self, target: Target, catalog: Catalog, database: str, lineage: ViewLineage | None
    ) -> frozenset[ColumnKey]:
        """Columns that a classification or a mask rule names here: what needs no proposal."""
        masked = self._sensitive(target, catalog, database, lineage) or frozenset()
        known = self._known(catalog, database, lineage)
        if known.classified is None:
            globs = [glob for glob in self._classifications if glob.in_database(database)]
            known.classified = columns_named(globs, catalog, known.children, lineage)
        return masked | known.classified

    def mask_rules(
        self, target: Target, catalog: Catalog, database: str, lineage: ViewLineage | None
    ) -> list[tuple[Rule, frozenset[ColumnKey]]]:
        """Every mask rule that speaks of this database, whoever owes it, and the columns it
        names."""
        return [
            (rule, self._named(narrowed, catalog, database, lineage))
            for rule in self.rules
            if rule.effect is RuleEffect.MASK and rule.where.matches(target, database)
            if (narrowed := _in_database(rule, database)) is not None
        ]

    def _unknown(
        self, catalog: Catalog, database: str, named: frozenset[ColumnKey]
    ) -> frozenset[ColumnKey]:
        """Columns that are new and that nobody has classified. Who has named one column of a new
        relation has looked at the others, unless it took the name of another: then the policy may
        speak of that one. `known_relations` speaks of a name, whoever bears it.
        """
        globs = [glob for glob in self._known_new if glob.in_database(database)]
        named |= columns_named(globs, catalog, children_of(catalog), None)
        seen = {
            oid
            for oid in {oid for oid, _ in catalog.unknown & named}
            if oid not in catalog.remade
            and all((oid, c.attnum) in catalog.unknown for c in catalog.relations[oid].columns)
        }
        return frozenset(key for key in catalog.unknown - named if key[0] not in seen)

    def _sensitive(
        self,
        target: Target,
        catalog: Catalog | None,
        database: str,
        lineage: ViewLineage | None,
    ) -> frozenset[ColumnKey] | None:
        """Columns that some mask rule is about here, whoever owes it; None = some, unknown
        which."""
        here = [
            narrowed
            for rule in self.rules
            if rule.effect is RuleEffect.MASK and rule.where.matches(target, database)
            if (narrowed := _in_database(rule, database)) is not None
        ]
        if catalog is None:
            return None if here else frozenset()
        return frozenset().union(*(self._named(rule, catalog, database, lineage) for rule in here))

    def decide(
        self,
        facts: Facts,
        principal: Principal,
        client: Client,
        target: Target,
        database: str,
        entitlements: Entitlements,
        now: float,
    ) -> Decision:
        """The decision for a whole client text. `now`: unix seconds."""
        context = Context(Subject(principal, client, target, database, now))
        return decide(facts, entitlements, context, self.mode is Mode.OBSERVE)

    def _named(
        self, rule: Rule, catalog: Catalog | None, database: str, lineage: ViewLineage | None
    ) -> frozenset[ColumnKey]:
        if catalog is None or rule.resources is None:
            return frozenset()
        known = self._known(catalog, database, lineage)
        keys = known.by_rule.get(rule.id)
        if keys is None:
            keys = columns_named(rule.resources, catalog, known.children, lineage)
            known.by_rule[rule.id] = keys
        return keys

    def _known(self, catalog: Catalog, database: str, lineage: ViewLineage | None) -> "_Named":
        place = (catalog.target, database, catalog.version, lineage is not None)
        known = self._columns.get(place)
        if known is None:
            if len(self._columns) >= CATALOGS_KEPT_MAX:
                self._columns.clear()
            known = self._columns[place] = _Named(children_of(catalog))
        return known


class _Named:
    """Columns named by each mask rule in one catalog."""

    def __init__(self, children: dict[int, list[int]]) -> None:
        self.children = children
        self.classified: frozenset[ColumnKey] | None = None
        self.by_rule: dict[str, frozenset[ColumnKey]] = {}


def _in_database(rule: Rule, database: str) -> Rule | None:
    """The rule with only the globs that can match in this database; None when there are none."""
    if rule.resources is None:
        return rule
    globs = tuple(glob for glob in rule.resources if glob.in_database(database))
    return msgspec.structs.replace(rule, resources=globs) if globs else None
