"""What the server is asked about a held statement, and what its lines come to: lines as MariaDB
10.11 and MySQL 8.0 write them (https://dev.mysql.com/doc/refman/8.0/en/explain-output.html)."""

import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.dialect import Expectation
from appliance.model.limits import Limits
from appliance.sql.mysql.analysis import analyse
from appliance.sql.mysql.estimates import COUNTED_BYTES_MAX, EXPLAIN, explain, explained
from tests.playbook.exchange_world import LINEAGE

SETTINGS = SessionSettings(database="public")
Line = dict[str, str | None]


def asked(text: str, *literals: bytes) -> bytes | Expectation:
    facts = analyse(text.encode(), LINEAGE, SETTINGS, Limits())
    return explain(text.encode(), facts, literals, SETTINGS, LINEAGE.catalog)


CALM = [
    "UPDATE notes SET body = 'x'",
    "UPDATE LOW_PRIORITY IGNORE notes AS n SET n.body = CONCAT(body, 'x') WHERE id IN (1, 2)",
    "UPDATE notes SET body = NULL ORDER BY id LIMIT 3",
    "DELETE FROM notes WHERE body < NOW() - INTERVAL 30 DAY AND id BETWEEN 1 AND 7",
    "DELETE QUICK FROM notes",
]


@pytest.mark.parametrize("text", CALM)
def test_the_server_is_asked_where_planning_does_nothing(text: str) -> None:
    assert asked(text) == EXPLAIN + text.encode()


DOING = [
    "SELECT * FROM notes WHERE id = 1",
    "DELETE FROM notes WHERE id = SETVAL(s, 5)",
    "DELETE FROM notes WHERE id = NEXTVAL(s)",
    "DELETE FROM notes WHERE id = LAST_INSERT_ID(7)",
    "DELETE FROM notes WHERE id = (@x := 5)",
    "DELETE FROM notes WHERE id = BENCHMARK(10, 1)",
    "DELETE FROM notes WHERE id = SLEEP(1)",
    "DELETE FROM notes WHERE id = GET_LOCK('a', 1)",
    "DELETE FROM notes WHERE id = helper(1)",
    "DELETE FROM notes WHERE id = (SELECT 1)",
    "DELETE FROM notes WHERE id IN (SELECT id FROM customers)",
    "DELETE notes FROM notes WHERE id = 1",
    "DELETE FROM notes USING notes WHERE id = 1",
    "DELETE n FROM notes n JOIN customers c ON c.id = n.id",
    "DELETE FROM n USING notes n, customers c WHERE c.id = n.id",
    "UPDATE notes n JOIN customers c ON c.id = n.id SET n.body = 'x'",
    "UPDATE notes n, customers c SET n.body = 'x' WHERE c.id = 1",
    "UPDATE notes a, notes b SET a.body = 'x' WHERE b.id = 1",
    "UPDATE (notes) SET body = 'x'",
    "UPDATE notes SET body = (SELECT email FROM customers WHERE id = 1)",
    "UPDATE nowhere SET body = 'x'",
    "TRUNCATE TABLE notes",
]


@pytest.mark.parametrize("text", DOING)
def test_it_is_not_where_planning_could_read_or_run_something(text: str) -> None:
    found = asked(text)
    assert isinstance(found, Expectation) and found.rows is None and "not estimated" in found.note


def line(kind: str, rows: str | None, filtered: str | None = None, **more: str | None) -> Line:
    said: Line = {"id": "1", "select_type": kind, "rows": rows, "filtered": filtered, "Extra": None}
    return {**said, **more}


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        ([line("SIMPLE", "946")], 946),
        ([line("UPDATE", "1000", "10.00")], 100),
        ([line("SIMPLE", "946", Extra="Deleting all rows")], 946),
        ([line("SIMPLE", None, Extra="Impossible WHERE")], 0),
        ([line("PRIMARY", None, Extra="no matching row in const table")], 0),
        ([line("SIMPLE", "20"), line("SIMPLE", "3")], None),
        ([line("SIMPLE", "many")], None),
        ([line("SIMPLE", "-1")], None),
        ([], None),
    ],
)
def test_what_it_says(lines: list[Line], rows: int | None) -> None:
    assert explained(lines).rows == rows


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("INSERT INTO notes VALUES (1, '(('), (2, 'b') , (3, f(4, (5)))", 3),
        ("INSERT INTO notes (id, body) VALUE (1, (SELECT email FROM customers))", 1),
        ("INSERT INTO notes SET id = (1)", 1),
        ("INSERT INTO notes (id) VALUES (1), (2) ON DUPLICATE KEY UPDATE body = (body)", 4),
        ("REPLACE notes VALUES (1, ''), (2, ''), (3, '')", 6),
        ("INSERT INTO notes (id) VALUES (1) RETURNING (id)", 1),
        ("INSERT INTO notes VALUES /*! (1, ''), */ (2, '')", None),
        ("INSERT INTO notes SELECT id, email FROM customers", None),
        ("INSERT INTO notes (SELECT id, email FROM customers)", None),
        ("INSERT INTO notes TABLE notes", None),
        ("INSERT INTO notes SELECT VALUES(id), (1) FROM notes", None),
    ],
)
def test_rows_of_an_insert_are_counted_in_its_text(text: str, rows: int | None) -> None:
    found = asked(text)
    assert isinstance(found, Expectation) and found.rows == rows and bool(found.note) is (not rows)


def test_values_stand_where_the_parameters_are_and_nowhere_else() -> None:
    text = "UPDATE notes SET body = '?' /* ? */ WHERE `id` = - ? AND body <> ?"
    told = b"UPDATE notes SET body = '?' /* ? */ WHERE `id` = -  -7 AND body <>  NULL"
    assert asked(text, b"-7", b"NULL") == EXPLAIN + told
    assert isinstance(asked(text, b"NULL"), Expectation)


@pytest.mark.parametrize(
    "text",
    [
        "UPDATE notes SET body = ? /*!50000 + 1 */",
        "UPDATE notes SET body = ?" + " " * COUNTED_BYTES_MAX,
    ],
)
def test_what_is_not_read_is_not_asked(text: str) -> None:
    assert isinstance(asked(text, b"1"), Expectation)
