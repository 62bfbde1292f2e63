"""What a text rests on, and what the server is asked about it."""

import msgspec
import pytest

from appliance.model.catalog import Catalog, SessionSettings
from appliance.model.limits import Limits
from appliance.sql.mysql.analysis import analyse
from appliance.sql.mysql.footing import MyFooting, Part, footing, stamp
from appliance.sql.mysql.lineage import MyLineage
from tests.unit.sql.mysql.shop import LINEAGE as UNREAD

SETTINGS = SessionSettings(database="shop")


def read() -> MyLineage:
    made = UNREAD.catalog
    relations = {
        oid: msgspec.structs.replace(relation, stamp="read")
        for oid, relation in made.relations.items()
    }
    return MyLineage(msgspec.structs.replace(made, relations=relations))


LINEAGE = read()


def rests(text: str, lineage: MyLineage = LINEAGE) -> MyFooting | None:
    return footing(analyse(text.encode(), lineage, SETTINGS, Limits()), lineage)


def names(found: MyFooting | None) -> set[str]:
    assert found is not None
    return {f"{part.kind} {part.name}" for part in found.parts}


def test_views_rest_on_what_they_read() -> None:
    assert names(rests("SELECT ssn FROM named")) == {"relation named", "relation customers"}
    assert names(rests("SELECT 1 FROM orders o JOIN customers c ON c.id = o.id")) == {
        "relation orders",
        "relation customers",
    }


def test_what_names_nothing_rests_on_nothing() -> None:
    for text in ("SELECT 1", "SET @x = 1", "COMMIT", "SHOW TABLES", "DROP TABLE orders"):
        assert rests(text) is None


def test_nothing_is_asked_of_a_catalog_that_no_server_gave() -> None:
    assert rests("SELECT id FROM customers", UNREAD) is None


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("SELECT id FROM customers", False),
        ("EXPLAIN SELECT id FROM customers", False),
        ("SELECT id INTO @x FROM customers", True),
        ("SET @x = (SELECT id FROM customers)", True),
        ("DO (SELECT id FROM customers)", True),
        ("INSERT INTO orders SELECT * FROM orders", True),
        ("UPDATE orders SET total = 1 WHERE id = 1", True),
        ("DELETE FROM orders WHERE id = 1", True),
        ("CREATE TABLE t AS SELECT id FROM customers", True),
    ],
)
def test_what_does_more_than_read_is_asked_about_first(text: str, first: bool) -> None:
    found = rests(text)
    assert found is not None and found.first is first


def test_triggers_of_what_is_written() -> None:
    found = rests("DELETE FROM orders WHERE id = 1")
    assert names(found) == {"relation orders", "triggers orders"}
    assert found is not None and found.steady is None
    found = rests("SELECT id FROM orders")
    assert found is not None and found.steady == {("relation", "shop", "orders")}


def test_names_are_quoted() -> None:
    part = Part("relation", "a`b", "c'd\\", None)
    (shown,), looked = part.questions
    assert shown == "SHOW CREATE TABLE `a``b`.`c'd\\`"
    assert all("TABLE_SCHEMA = 'a`b' AND TABLE_NAME = 'c''d\\\\'" in text for text in looked)


def test_what_counts_up_by_itself_is_left_out() -> None:
    text = "CREATE TABLE `t` (\n  `a` int\n) ENGINE=InnoDB AUTO_INCREMENT={} DEFAULT CHARSET=x"
    one, other = ([["t", text.format(number)]] for number in (7, 81))
    assert stamp(one) == stamp(other) != stamp([["t", text.format(7).replace("int", "bigint")]])
    inside = "CREATE VIEW `v` AS select ') ENGINE=InnoDB AUTO_INCREMENT={}' AS `x`"
    assert stamp([["v", inside.format(1)]]) != stamp([["v", inside.format(2)]])


def test_where_values_end_matters() -> None:
    assert stamp([["ab", "c"]]) != stamp([["a", "bc"]]) and stamp([]) != stamp([[None]])


def test_what_the_catalog_says_now() -> None:
    found = rests("SELECT id FROM customers")
    assert found is not None
    (part,) = found.parts
    catalog: Catalog = LINEAGE.catalog
    assert part.now(catalog) == part.known
    customers = catalog.relation_named("shop", "customers")
    assert customers is not None
    other = {**catalog.relations, customers.oid: msgspec.structs.replace(customers, kind="v")}
    assert part.now(msgspec.structs.replace(catalog, relations=other)) != part.known
    assert part.now(msgspec.structs.replace(catalog, by_name={})) is None
