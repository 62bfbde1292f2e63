"""Names in MySQL statements: what they mean, what is a plain output, and what is used otherwise."""

import pytest

from appliance.model.catalog import SessionSettings
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.reading import Reader
from appliance.sql.mysql.tree import statement_of
from tests.unit.sql.mysql.conftest import ORDERS, SSN


def read(lineage: MyLineage, text: str) -> tuple[Reader, str]:
    """The reader, and the outputs: * where ssn is as it is, + where something is made of it."""
    reader = Reader(lineage, SessionSettings(database="shop"))
    result = reader.query(statement_of(text))
    marks = ["" if SSN not in f.sources else "*" if f.plain else "+" for f in result.fields]
    return reader, " ".join(f.name + mark for f, mark in zip(result.fields, marks, strict=True))


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("SELECT ssn FROM customers", "ssn*"),
        ("SELECT SSN AS x FROM shop.customers c", "x*"),
        ("SELECT shop.c.ssn FROM shop.customers c", "ssn*"),
        (
            "SELECT (SELECT shop.orders.id FROM (SELECT id, ssn FROM customers) AS orders) AS a"
            " FROM shop.orders",
            "a",
        ),
        (
            "SELECT (SELECT shop.named.ssn FROM customers AS named) AS a FROM shop.named",
            "a+",
        ),
        ("SELECT c.* FROM customers c", "id name ssn*"),
        ("TABLE customers", "id name ssn*"),
        ("SELECT d.x FROM (SELECT ssn AS x FROM customers) d", "x*"),
        ("WITH c(a, b) AS (SELECT id, ssn FROM customers) SELECT b, a FROM c", "b* a"),
        ("SELECT ssn, shout FROM named", "ssn* shout+"),
        ("SELECT (ssn) FROM customers", "ssn*"),
        ("SELECT CONCAT(ssn) AS y FROM customers", "y+"),
        ("SELECT (SELECT MAX(ssn) FROM customers) AS y", "y+"),
        ("SELECT ssn AS a, (SELECT a) AS b FROM customers", "a* b+"),
        ("SELECT id FROM customers UNION ALL SELECT ssn FROM customers", "id+"),
        (
            "WITH RECURSIVE r AS (SELECT 1 AS n, id AS k FROM orders UNION ALL"
            " SELECT r.n + 1, c.ssn FROM r JOIN customers c ON c.id = r.n) SELECT k FROM r",
            "k+",
        ),
        (
            "SELECT * FROM orders NATURAL JOIN (SELECT id, ssn FROM customers) d",
            "id customer_id total ssn*",
        ),
    ],
)
def test_outputs(lineage: MyLineage, text: str, outputs: str) -> None:
    reader, found = read(lineage, text)
    assert found == outputs
    assert not reader.unresolved


@pytest.mark.parametrize(
    "text",
    [
        "SELECT id FROM customers WHERE ssn = '1'",
        "SELECT id FROM customers ORDER BY ssn",
        "SELECT ssn FROM customers ORDER BY 1",
        "SELECT ssn AS a FROM customers ORDER BY a",
        "SELECT ssn AS a FROM customers HAVING a > 1",
        "SELECT ssn AS a, COUNT(*) FROM customers GROUP BY a",
        "SELECT DISTINCT ssn FROM customers",
        "SELECT ssn FROM customers UNION SELECT name FROM customers",
        "SELECT o.id FROM orders o JOIN customers c ON c.ssn = o.total",
        "SELECT 1 FROM orders JOIN (SELECT ssn AS total FROM customers) c USING (total)",
        "SELECT o.id FROM orders o WHERE EXISTS (SELECT 1 FROM customers c WHERE c.ssn = o.id)",
        "SELECT id FROM orders WHERE total IN (SELECT ssn FROM customers)",
        "SELECT id FROM orders WHERE total IN (TABLE customers)",
        "SELECT n FROM counted",
        "SELECT id FROM named WHERE shout = 'X'",
        "SELECT id FROM customers LIMIT 1 OFFSET 2",
        "SELECT ROW_NUMBER() OVER (ORDER BY ssn) FROM customers",
        "SELECT ROW_NUMBER() OVER w FROM customers WINDOW w AS (ORDER BY ssn)",
        "SELECT CASE WHEN ssn = 1 THEN 2 END AS a FROM customers",
    ],
)
def test_used(lineage: MyLineage, text: str) -> None:
    reader, found = read(lineage, text)
    assert not reader.unresolved
    used = SSN in reader.consumed or "+" in found
    assert used is ("LIMIT" not in text)


@pytest.mark.parametrize(
    "text",
    [
        "SELECT secret FROM customers",
        "SELECT id FROM nothing",
        "SELECT id FROM Customers",
        "SELECT id FROM customers, orders",
        "SELECT c.id FROM customers",
        "SELECT C.id FROM customers c",
        "SELECT śsn FROM customers",
        "SELECT _rowid FROM customers",
        "WITH c AS (SELECT 1 AS a) SELECT * FROM C",
        "WITH RECURSIVE a AS (SELECT id FROM orders), orders AS (SELECT ssn AS id FROM customers)"
        " SELECT id FROM a",
        "SELECT * FROM customers AS c (a, b, c)",
        "SELECT a.b.c.d FROM customers",
        "SELECT * FROM orders NATURAL RIGHT JOIN customers",
        "SELECT id FROM customers ORDER BY 1.5",
        "SELECT (SELECT `MAX(ssn)` FROM (SELECT MAX(ssn) FROM customers) d) FROM"
        " (SELECT id AS `MAX(ssn)` FROM orders) o",
    ],
)
def test_not_understood(lineage: MyLineage, text: str) -> None:
    assert read(lineage, text)[0].unresolved


def test_the_server_may_name_an_alias(lineage: MyLineage) -> None:
    reader = Reader(lineage, SessionSettings(database="shop"))
    text = "SELECT ssn FROM (SELECT total AS ssn FROM orders) customers"
    (field,) = reader.query(statement_of(text)).fields
    assert field.origin is None and not {SSN} & set(field.sources)
    assert set(field.loose) == {SSN, (ORDERS, 3)}


def test_a_temporary_table_may_hide_a_lasting_one(lineage: MyLineage) -> None:
    settings = SessionSettings(database="shop", temp_relations=frozenset({"customers"}))
    reader = Reader(lineage, settings)
    reader.query(statement_of("SELECT id FROM shop.customers"))
    assert reader.unresolved
