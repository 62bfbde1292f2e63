"""A small catalog, facts and policies for the tests of `policy` and `masking`."""

from collections.abc import Mapping, Sequence

import msgspec

from appliance.model.catalog import Catalog, Column, ColumnKey, Relation
from appliance.model.decision import Decision
from appliance.model.facts import (
    Action,
    Confidence,
    Facts,
    Flag,
    FunctionUse,
    OutputColumn,
    RelationUse,
    StatementFacts,
)
from appliance.model.principal import Client, Principal, PrincipalKind, Target
from appliance.policy.compile import compile_documents
from appliance.policy.snapshot import Snapshot

CUSTOMERS, ORDERS, ORDERS_2024, CONTACTS, EMPLOYEES, SETTINGS = 1, 2, 3, 4, 5, 6
ALICE = Principal("alice", groups=("analysts",))
BOB = Principal("bob", groups=("dba", "privacy"))
COPILOT = Principal("copilot", PrincipalKind.AGENT, ("agents",), on_behalf_of="alice")
CLIENT = Client("10.1.2.3", 5000, "main", True, "psql")
TARGET = Target("shop", environment="production", labels=(("tier", "gold"),))
NOON = 1_767_787_200.0  # 2026-01-07T12:00:00Z, a Wednesday


def _relation(oid: int, dotted: str, names: str, kind: str = "r", parent: int = 0) -> Relation:
    schema, name = dotted.split(".")
    columns = tuple(Column(i, column, 25) for i, column in enumerate(names.split(), start=1))
    parents = (parent,) if parent else ()
    return Relation(oid, schema, name, kind, columns, parents)


RELATIONS = (
    _relation(CUSTOMERS, "public.customers", "id name email phone"),
    _relation(ORDERS, "public.orders", "id customer card", "p"),
    # Its attribute numbers differ from its parent's, as after ATTACH PARTITION.
    _relation(ORDERS_2024, "public.orders_2024", "card id customer", "r", ORDERS),
    _relation(CONTACTS, "public.contacts", "id mail", "v"),
    _relation(EMPLOYEES, "hr.employees", "id salary"),
    _relation(SETTINGS, "pg_catalog.pg_settings", "name email"),
)
CATALOG = Catalog(
    target="shop",
    database="shop",
    version="c1",
    server_version_num=160000,
    schemas=("public", "hr", "pg_catalog"),
    relations={relation.oid: relation for relation in RELATIONS},
    by_name={(relation.schema, relation.name): relation.oid for relation in RELATIONS},
    functions={},
)
EMAIL, PHONE, MAIL = (CUSTOMERS, 3), (CUSTOMERS, 4), (CONTACTS, 2)
NAME, CUSTOMER_ID, SALARY = (CUSTOMERS, 2), (CUSTOMERS, 1), (EMPLOYEES, 2)


class Origins(msgspec.Struct, frozen=True):
    sources: frozenset[ColumnKey]
    plain: bool = True
    known: bool = True


class FakeLineage:
    """Base columns are their own source; `contacts.mail` is `customers.email`."""

    def __init__(self, views: Mapping[ColumnKey, ColumnKey] | None = None) -> None:
        self.catalog = CATALOG
        self.views = {MAIL: EMAIL, (CONTACTS, 1): CUSTOMER_ID} if views is None else views

    def of(self, key: ColumnKey, /) -> Origins:
        relation = CATALOG.relations.get(key[0])
        if relation is None:
            return Origins(frozenset(), known=False)
        return Origins(frozenset({self.views.get(key, key)}))


def use(action: Action, oid: int, *columns: str) -> RelationUse:
    relation = CATALOG.relations[oid]
    return RelationUse(action, relation.schema, relation.name, oid, columns)


def plain(key: ColumnKey, name: str = "c", source: ColumnKey | None = None) -> OutputColumn:
    return OutputColumn(name, origin=key, sources=(source or key,), plain=True)


def statement(
    *actions: Action,
    relations: Sequence[RelationUse] = (),
    functions: Sequence[str] = (),
    outputs: Sequence[OutputColumn] = (),
    consumed: Sequence[ColumnKey] = (),
    flags: Sequence[Flag] = (),
    confidence: Confidence = Confidence.EXACT,
    kind: str = "SelectStmt",
    outputs_known: bool = True,
    unresolved: Sequence[str] = (),
) -> StatementFacts:
    return StatementFacts(
        kind=kind,
        actions=actions or tuple(dict.fromkeys(each.action for each in relations)),
        relations=tuple(relations),
        functions=tuple(FunctionUse(*name.split(".")) for name in functions),
        outputs=tuple(outputs),
        outputs_known=outputs_known,
        consumed=frozenset(consumed),
        flags=frozenset(flags),
        confidence=confidence,
        unresolved=tuple(unresolved),
    )


def facts(*statements: StatementFacts) -> Facts:
    return Facts(statements=statements, catalog_version=CATALOG.version)


def policy(rules: str, mode: str = "enforce", head: str = "") -> Snapshot:
    text = f"version: 1\nmode: {mode}\n{head}\nrules:\n{rules}"
    return compile_documents([("test.yaml", text.encode())])


def decide(
    snapshot: Snapshot,
    *statements: StatementFacts,
    principal: Principal = ALICE,
    client: Client = CLIENT,
    catalog: Catalog | None = CATALOG,
    now: float = NOON,
) -> Decision:
    entitlements = snapshot.entitlements(principal, TARGET, catalog, "shop")
    return snapshot.decide(facts(*statements), principal, client, TARGET, "shop", entitlements, now)
