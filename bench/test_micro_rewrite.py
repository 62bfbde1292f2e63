"""What a statement that is masked at the source costs when its text is new: facts, resolution,
rewriting, printing, and the proof that the printed text is the rewritten tree.

    .venv/bin/python -m pytest bench/test_micro_rewrite.py --benchmark-only

The text is a join of 400 bytes over a table, a view and a view of views, all with masked columns.
"""

from collections.abc import Callable
from typing import Any

import pytest

from appliance.masking.masked_relations import MaskedRelations
from appliance.model.catalog import Catalog, Column, Relation, SessionSettings
from appliance.model.decision import Mask, MaskMethod
from appliance.model.limits import Limits
from appliance.session.dialect import joined
from appliance.session.rewriting import forms_of
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage

INT4, TEXT = 23, 25
CUSTOMERS, ORDERS, CONTACTS, HANDLES = 16_400, 16_410, 16_420, 16_430
JOIN = b"""SELECT c.id, upper(c.email) AS e, h.handle, o.total, k.mail, count(*) OVER (PARTITION BY
 c.country ORDER BY o.placed) FROM customers c JOIN handles h ON h.id = c.id JOIN orders o ON
 o.customer = c.id LEFT JOIN contacts k ON k.id = o.customer AND k.mail IS NOT NULL WHERE c.email
 LIKE 'a%' AND o.total > 10 AND h.name <> 'x' AND c.tier IN (1, 2, 3) ORDER BY c.email, o.id DESC
 LIMIT 50 OFFSET 0"""
SETTINGS = SessionSettings(database="bench", search_path=("public",), role="bench")


def columns(*named: str) -> tuple[Column, ...]:
    made = []
    for number, text in enumerate(named, 1):
        name, _, kind = text.partition(":")
        known = (INT4, "integer") if kind == "int" else (TEXT, "text")
        made.append(Column(number, name, known[0], type_text=known[1]))
    return tuple(made)


@pytest.fixture
def lineage() -> CatalogLineage:
    relations = [
        Relation(
            CUSTOMERS,
            "public",
            "customers",
            "r",
            columns("id:int", "name", "email", "phone", "ssn", "country", "tier:int", "notes"),
        ),
        Relation(
            ORDERS,
            "public",
            "orders",
            "r",
            columns("id:int", "customer:int", "total:int", "placed"),
        ),
        Relation(
            CONTACTS,
            "public",
            "contacts",
            "v",
            columns("id:int", "name", "mail"),
            definition="SELECT customers.id, customers.name, customers.email AS mail"
            " FROM public.customers",
        ),
        Relation(
            HANDLES,
            "public",
            "handles",
            "v",
            columns("id:int", "handle", "name"),
            definition="SELECT contacts.id, upper(contacts.mail) AS handle, contacts.name"
            " FROM public.contacts",
        ),
    ]
    return CatalogLineage(
        Catalog(
            target="try",
            database="bench",
            version="1",
            server_version_num=180_000,
            schemas=("public", "pg_catalog"),
            relations={r.oid: r for r in relations},
            by_name={(r.schema, r.name): r.oid for r in relations},
            functions={},
        )
    )


def test_a_new_text(benchmark: Callable[..., Any], lineage: CatalogLineage) -> None:
    mask = Mask(MaskMethod.KEEP_FIRST, keep=2)
    relations = MaskedRelations(lineage, {(CUSTOMERS, n): mask for n in (3, 4, 5, 8)})
    limits = Limits()
    assert 390 <= len(JOIN) <= 430

    def once() -> bytes:
        facts = analyse(JOIN, lineage, SETTINGS, limits)
        forms = forms_of(JOIN, [True], facts, lineage, SETTINGS, relations, limits)
        return joined(JOIN, [True], facts, forms)

    assert b'"pg_catalog"."upper"("contacts"."mail")' in benchmark(once)
