"""What EXPLAIN is asked, and what its lines come to: lines as MariaDB 10.11 and MySQL 8.0 write
them (https://dev.mysql.com/doc/refman/8.0/en/explain-output.html)."""

import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.limits import Limits
from appliance.sql.mysql.analysis import analyse
from appliance.sql.mysql.estimates import COUNTED_BYTES_MAX, EXPLAIN, explain, explained

SETTINGS = SessionSettings(database="shop")
Line = dict[str, str | None]


def line(kind: str, rows: str | None, filtered: str | None = "100.00", **more: str | None) -> Line:
    said: Line = {"id": "1", "select_type": kind, "rows": rows, "filtered": filtered, "Extra": None}
    return {**said, **more}


def expected(text: str, *lines: Line) -> tuple[int | None, str]:
    facts = analyse(text.encode(), None, SETTINGS, Limits())
    return explained(text.encode(), facts, SETTINGS, lines)


UPDATE = "UPDATE t SET a = 1"


@pytest.mark.parametrize(
    ("lines", "rows"),
    [
        ([line("SIMPLE", "946")], 946),
        ([line("UPDATE", "1000", "10.00")], 100),
        ([line("SIMPLE", "946", None, Extra="Deleting all rows")], 946),
        ([line("SIMPLE", None, None, Extra="Impossible WHERE")], 0),
        ([line("PRIMARY", None, None, Extra="no matching row in const table")], 0),
        ([line("PRIMARY", "10"), line("DEPENDENT SUBQUERY", "200", id="2")], 10),
        ([line("SIMPLE", "20"), line("SIMPLE", "3")], 60),
        ([line("SIMPLE", "20"), line("SIMPLE", None)], None),
        ([line("SIMPLE", "many")], None),
        ([], None),
    ],
)
def test_an_update(lines: list[Line], rows: int | None) -> None:
    assert expected(UPDATE, *lines)[0] == rows


def test_a_union_is_the_sum_of_its_queries() -> None:
    text = "INSERT INTO t SELECT a FROM u UNION ALL SELECT a FROM v"
    result = line("UNION RESULT", None, None, id=None)
    lines = [line("PRIMARY", "5"), line("UNION", "7", id="2"), result]
    assert expected(text, *lines)[0] == 12
    assert expected(text, line("INSERT", None), *lines)[0] == 12  # as MySQL says it


def test_whose_union_it_is_has_to_be_clear() -> None:
    lines = [line("PRIMARY", "5"), line("DERIVED", "3", id="2"), line("UNION", "7", id="3")]
    assert expected(UPDATE, *lines)[0] is None


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("INSERT INTO t VALUES (1, '(('), (2, 'b') , (3, f(4, (5)))", 3),
        ("INSERT INTO t (a, b) VALUE (1, 2)", 1),
        ("INSERT INTO t SET a = (1)", 1),
        ("INSERT INTO t (a) VALUES (1), (2) AS new ON DUPLICATE KEY UPDATE a = (new.a)", 4),
        ("REPLACE t VALUES (1), (2), (3)", 6),
        ("INSERT INTO t VALUES (1) RETURNING (a)", 1),
        ("INSERT INTO t VALUES /*! (1), */ (2)", None),
    ],
)
def test_rows_of_an_insert_are_counted_in_its_text(text: str, rows: int | None) -> None:
    assert expected(text, line("INSERT", None))[0] == rows


def test_a_read_gets_a_figure_that_says_what_it_is() -> None:
    rows, note = expected("SELECT COUNT(*) FROM t", line("SIMPLE", "946"))
    assert rows == 946 and "fewer" in note


def test_values_stand_where_the_parameters_are_and_nowhere_else() -> None:
    text = b"UPDATE t SET a = ?, b = '?' /* ? */ WHERE `c?` = - ?"
    told = b"UPDATE t SET a =  NULL, b = '?' /* ? */ WHERE `c?` = -  -7"
    assert explain(text, (b"NULL", b"-7"), SETTINGS) == EXPLAIN + told
    assert explain(text, (b"NULL",), SETTINGS) is None


@pytest.mark.parametrize(
    "text",
    [b"UPDATE t SET a = ? /*!50000 + 1 */", b"UPDATE t SET a = ?" + b" " * COUNTED_BYTES_MAX],
)
def test_no_values_go_into_what_is_not_read(text: bytes) -> None:
    assert explain(text, (b"1",), SETTINGS) is None
