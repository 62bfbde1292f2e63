"""What is consumed, what comes out plain, and what views and generated columns are made of."""

from pathlib import Path

import msgspec
import pytest

from appliance.model.facts import Confidence
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import Database

CASES = Path(__file__).with_name("lineage_cases.txt")


def parsed() -> list[tuple[str, str, str]]:
    cases = []
    for line in CASES.read_text().splitlines():
        if line and not line.startswith("#"):
            text, plain, consumed = line.rsplit("|", 2)
            cases.append((text.strip(), plain.strip(), consumed.strip()))
    return cases


def expanded(database: Database, words: str) -> set[str]:
    """'clients.email *orders' -> names of columns; a star is every column."""
    found: set[str] = set()
    for word in words.split():
        if word.startswith("*"):
            relation = database.catalog.relation_named("public", word[1:])
            assert relation is not None
            found |= {f"{relation.name}.{column.name}" for column in relation.columns}
        else:
            found.add(word)
    return found


@pytest.mark.parametrize(("text", "plain", "consumed"), parsed(), ids=[c[0] for c in parsed()])
def test_plain_and_consumed(database: Database, text: str, plain: str, consumed: str) -> None:
    facts = database.one(text)
    assert facts.unresolved == ()
    found = {
        f"{column.name}={next(iter(database.names(column.sources[:1])))}"
        for column in facts.outputs
        if column.plain
        and column.sources
        and not (column.sources[0] in facts.consumed and not plain)
    }
    assert found == set(plain.split())
    assert database.names(facts.consumed) == expanded(database, consumed)


@pytest.mark.parametrize(
    ("column", "sources", "plain"),
    [
        ("clients.email", {"clients.email"}, True),
        ("clients.email_key", {"clients.email_key", "clients.email"}, True),
        ("v_clients.mail", {"clients.email"}, True),
        ("v_deep.handle", {"clients.email"}, False),
        ("v_deep.mail", {"clients.email"}, True),
        ("v_union.word", {"clients.email", "orders.note"}, False),
        ("v_cte.email", {"clients.email"}, True),
        ("v_star.email_key", {"clients.email_key", "clients.email"}, True),
        ("v_rows.tag", {"clients.tags"}, False),
        ("mv_clients.address", {"clients.email"}, True),
        ("mv_clients.n", set(), False),
        ("payments_2024.pan", {"payments_2024.pan", "payments.pan"}, True),
        ("patients.nickname", {"patients.nickname", "people.nickname"}, True),
        ("people.nickname", {"people.nickname"}, True),
    ],
)
def test_lineage_of_a_column(
    any_database: Database, column: str, sources: set[str], plain: bool
) -> None:
    found = any_database.lineage.of(any_database.key(column))
    assert (any_database.names(found.sources), found.plain, found.known) == (sources, plain, True)


def test_unknown_columns_have_unknown_lineage(database: Database) -> None:
    assert not database.lineage.of((1, 1)).known
    assert not database.lineage.of((database.key("clients.id")[0], 99)).known
    assert database.lineage.of((database.key("clients.id")[0], -1)).known


def test_every_view_of_the_sample_is_understood(any_database: Database) -> None:
    for relation in any_database.catalog.relations.values():
        assert any_database.lineage.shape(relation.oid).unresolved == (), relation.name


def test_a_view_that_cannot_be_parsed_makes_its_users_partial(database: Database) -> None:
    catalog = database.catalog
    oid = catalog.by_name["public", "v_clients"]
    for definition in ("SELECT FROM WHERE", "SELECT 1", "DROP TABLE x", "SELECT 1; SELECT 2", ""):
        broken = msgspec.structs.replace(catalog.relations[oid], definition=definition)
        lineage = CatalogLineage(
            msgspec.structs.replace(catalog, relations={**catalog.relations, oid: broken})
        )
        other = Database(database.uri, lineage, database.settings)
        assert other.one("select mail from v_clients").confidence is Confidence.PARTIAL
        assert other.one("select name from v_deep").confidence is Confidence.PARTIAL
        assert not lineage.of((oid, 1)).known


def test_views_in_a_circle_end(database: Database) -> None:
    catalog = database.catalog
    oid = catalog.by_name["public", "v_clients"]
    broken = msgspec.structs.replace(
        catalog.relations[oid], definition="SELECT id, name, mail, id AS tier FROM public.v_deep"
    )
    lineage = CatalogLineage(
        msgspec.structs.replace(catalog, relations={**catalog.relations, oid: broken})
    )
    other = Database(database.uri, lineage, database.settings)
    assert other.one("select mail from v_clients").confidence is Confidence.PARTIAL
