"""What a policy classifies, whether a rule speaks of it or not; and paths that name exactly one."""

import pytest

from appliance.model.principal import Target
from appliance.policy.compile import compile_documents
from appliance.policy.globs import dotted, resource_glob
from appliance.sql.lineage import CatalogLineage
from tests.playbook.world import CUSTOMERS, EMAIL, NAME, NOTES, catalog

POLICY = """
version: 1
classifications: {{{named}}}
rules:
  - {{id: read, effect: allow, actions: [read]}}
{rules}
"""
MASK_NAME = (
    "  - {id: m, effect: mask, resources: [shop.public.customers.name], mask: {method: redact}}"
)


def classified(named: str, rules: str = "", database: str = "shop") -> set[tuple[int, int]]:
    snapshot = compile_documents([("p", POLICY.format(named=named, rules=rules).encode())])
    tables = catalog()
    target = Target("try", "postgresql")
    return set(snapshot.classified(target, tables, database, CatalogLineage(tables)))


def test_a_classification_without_a_rule() -> None:
    assert classified("mail: [shop.public.customers.email]") == {EMAIL}
    assert classified("mail: ['*.*.*.*mail*']") == {EMAIL}
    assert classified("mail: [other.public.customers.email]") == set()


def test_a_mask_rule_without_a_classification() -> None:
    assert classified("", MASK_NAME) == {NAME}
    assert classified("mail: [shop.public.customers.email]", MASK_NAME) == {NAME, EMAIL}


def test_everything_of_a_table() -> None:
    keys = classified("all: ['shop.public.customers.*']")
    assert {oid for oid, _ in keys} == {CUSTOMERS} and NOTES not in {oid for oid, _ in keys}


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        (("a", "b", "c", "d"), "a.b.c.d"),
        (("a", "B b", "c.c", "*"), 'a.B b."c.c"."*"'),
        (('a"b', "x", "ü", "d"), '"a""b".x.ü.d'),
    ],
)
def test_dotted(parts: tuple[str, ...], path: str) -> None:
    assert dotted(*parts) == path
    glob = resource_glob(path, 4)
    assert glob.in_database(parts[0]) and glob.names(parts[1], parts[2])
    assert glob.column is not None and glob.column(parts[3])
    assert not glob.column("other") and not glob.names("other", parts[2])
