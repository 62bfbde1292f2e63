"""The order of rows that nobody sorted, where a catalog says which indexes there are."""

import pytest

from appliance.masking.ordering import told_by_order
from appliance.model.catalog import Catalog, Column, ColumnKey, Relation
from appliance.model.decision import Mask, MaskMethod
from appliance.model.facts import Action, RelationUse, StatementFacts

OID, ID, EMAIL, COUNTRY, NAME = 20_000, 1, 2, 3, 4
OWED = {(OID, EMAIL): Mask(MaskMethod.REDACT)}
COLUMNS = {"id": ID, "email": EMAIL, "country": COUNTRY, "name": NAME}


class Plain:
    def __init__(self, key: ColumnKey) -> None:
        self.sources = frozenset({key})


class Lineage:
    """Of one table."""

    def __init__(self, indexes: dict[str, tuple[int, ...]], primary: tuple[int, ...]) -> None:
        columns = tuple(Column(number, name, 253) for name, number in COLUMNS.items())
        relation = Relation(OID, "shop", "customers", "r", columns)
        self.catalog = Catalog(
            target="t",
            database="shop",
            version="1",
            server_version_num=101119,
            schemas=("shop",),
            relations={OID: relation},
            by_name={("shop", "customers"): OID},
            functions={},
            indexes={OID: indexes} if indexes else {},
            primary_keys={OID: primary},
        )

    def of(self, key: ColumnKey) -> Plain:
        return Plain(key)


def told(
    read: str,
    used: str = "",
    indexes: dict[str, tuple[int, ...]] | None = None,
    primary: tuple[int, ...] = (ID,),
) -> bool:
    statement = StatementFacts(
        kind="SelectStmt",
        actions=(Action.SELECT,),
        relations=(RelationUse(Action.SELECT, "shop", "customers", OID, tuple(read.split())),),
        consumed=frozenset((OID, COLUMNS[name]) for name in used.split()),
    )
    lineage = Lineage({"by_email": (EMAIL,)} if indexes is None else indexes, primary)
    return told_by_order(statement, OWED, lineage) == (OID, EMAIL)


@pytest.mark.parametrize("read", ["email", "id email", "id", ""])
def test_all_that_is_read_is_in_the_index(read: str) -> None:
    assert told(read)


@pytest.mark.parametrize("read", ["id email name", "country", "*", "name"])
def test_more_is_read_than_the_index_has(read: str) -> None:
    assert not told(read)


def test_columns_before_the_masked_one() -> None:
    indexes = {"pair": (COUNTRY, EMAIL)}
    assert told("id email name country", "country", indexes)
    assert not told("id email name country", "name", indexes)


def test_a_masked_primary_key() -> None:
    assert told("*", indexes={"PRIMARY": (EMAIL,)}, primary=(EMAIL,))


def test_an_expression_may_be_of_any_column() -> None:
    assert told("id country", "country", {"made": (COUNTRY, 0)})


def test_indexes_without_masked_columns_and_catalogs_without_indexes() -> None:
    assert not told("email", indexes={"by_country": (COUNTRY,)})
    assert not told("email", indexes={})
