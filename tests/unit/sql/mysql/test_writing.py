"""What INSERT, REPLACE, UPDATE and DELETE write, read and return."""

import pytest

from appliance.model.catalog import SessionSettings
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.reading import Reader
from appliance.sql.mysql.tree import statement_of
from appliance.sql.mysql.writing import Written, written_by
from tests.unit.sql.mysql.conftest import SSN


def read(lineage: MyLineage, text: str) -> tuple[Reader, list[Written], list[str]]:
    reader = Reader(lineage, SessionSettings(database="shop"))
    written, result = written_by(reader, statement_of(text))
    return reader, written, [field.name for field in result.fields]


@pytest.mark.parametrize(
    ("text", "written", "uses_ssn"),
    [
        ("INSERT INTO orders (id, Total) VALUES (1, DEFAULT)", "insert orders id total", False),
        ("INSERT INTO shop.orders VALUES (1, 2, ?)", "insert orders *", False),
        ("INSERT INTO orders SET id = 1", "insert orders id", False),
        ("INSERT IGNORE INTO orders SELECT id, ssn, 1 FROM customers", "insert orders *", True),
        ("REPLACE INTO orders (id) VALUES (1)", "insert orders id; delete orders", False),
        (
            "INSERT INTO customers (id) VALUES (1) ON DUPLICATE KEY UPDATE name = VALUES(name)",
            "insert customers id; update customers name",
            False,
        ),
        (
            "INSERT INTO customers (id) VALUES (1) ON DUPLICATE KEY UPDATE name = ssn",
            "insert customers id; update customers name",
            True,
        ),
        ("UPDATE customers SET name = 'x' WHERE id = 1", "update customers name", False),
        ("UPDATE LOW_PRIORITY customers c SET c.name = DEFAULT", "update customers name", False),
        ("UPDATE customers SET name = ssn", "update customers name", True),
        ("UPDATE customers SET name = 1 WHERE ssn = 2", "update customers name", True),
        ("UPDATE customers SET name = 1 ORDER BY ssn LIMIT 1", "update customers name", True),
        (
            "UPDATE orders o JOIN customers c ON c.id = o.id SET o.total = c.name, c.name = 1",
            "update orders total; update customers name",
            False,
        ),
        ("DELETE FROM customers WHERE id = 1", "delete customers", False),
        ("DELETE QUICK FROM customers WHERE ssn = 1", "delete customers", True),
        ("DELETE o FROM orders o JOIN customers c ON c.ssn = o.total", "delete orders", True),
        ("DELETE FROM o USING orders o, customers", "delete orders", False),
        (
            "DELETE FROM orders, customers USING orders JOIN customers",
            "delete orders; delete customers",
            False,
        ),
        ("DELETE FROM orders WHERE id IN (SELECT id FROM customers WHERE ssn = 1)", "delete orders", True),  # noqa: E501
    ],
)  # fmt: skip
def test_written(lineage: MyLineage, text: str, written: str, uses_ssn: bool) -> None:
    reader, found, _ = read(lineage, text)
    assert not reader.unresolved
    assert "; ".join(" ".join((w.verb, w.name, *w.columns)) for w in found) == written
    assert (SSN in reader.consumed) is uses_ssn


def test_returning(lineage: MyLineage) -> None:
    reader, _, names = read(
        lineage, "DELETE FROM customers WHERE id = 1 RETURNING ssn, UPPER(name)"
    )
    assert names == ["ssn", ""] and not reader.unresolved
    assert SSN not in reader.consumed


def test_only_what_is_written_is_a_target(lineage: MyLineage) -> None:
    text = "UPDATE orders o JOIN customers c ON c.id = o.id SET o.total = 1"
    reader, _, _ = read(lineage, text)
    assert {place.alias: place.written for place in reader.places.values()} == {
        "o": True,
        "c": False,
    }


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO orders (nothing) VALUES (1)",
        "INSERT INTO nothing VALUES (1)",
        "INSERT INTO orders (id) VALUES (1) AS new ON DUPLICATE KEY UPDATE id = new.id",
        "INSERT INTO named (ssn) VALUES (1)",
        "UPDATE named SET ssn = 1",
        "UPDATE orders SET nothing = 1",
        "UPDATE orders, customers SET id = 1",
        "DELETE FROM orders, nothing USING orders",
        "DELETE nothing FROM orders",
        "DELETE FROM orders PARTITION (p0) WHERE nothing = 1",
    ],
)
def test_not_understood(lineage: MyLineage, text: str) -> None:
    assert read(lineage, text)[0].unresolved
