"""What tells of values without naming them: counts of rows that were left alone, statistics, how
much was sent."""

import pytest

from tests.unit.sql.mysql.shop import CUSTOMERS, INDEXES, ORDERS, STATUS, only

CARDINALITY, VALUE = (INDEXES, 2), (STATUS, 2)


@pytest.mark.parametrize(
    "text",
    [
        "replace into customers (id, name) values (1, 'a')",
        "replace customers set id = 1",
        "replace low_priority customers select * from customers",
    ],
)
def test_every_column_decides_how_many_rows_a_replace_counts(text: str) -> None:
    assert only(text).decides == {(CUSTOMERS, n) for n in range(1, 6)}


@pytest.mark.parametrize("text", ["insert into orders (id) values (1)", "delete from orders"])
def test_other_writes_count_rows_only(text: str) -> None:
    assert not only(text).decides


def test_a_replace_of_something_else_tells_of_that_only() -> None:
    text = "replace into orders (id) select id from customers"
    assert {oid for oid, _ in only(text).decides} == {ORDERS}


@pytest.mark.parametrize(
    ("text", "used"),
    [
        ("show index from customers", ()),
        ("show index from customers where key_name = 'cardinality'", ()),
        ("show index from customers where cardinality > 3", (CARDINALITY,)),
        ("show keys from customers where not `Cardinality` = 3", (CARDINALITY,)),
        ("show status where variable_name = 'uptime'", ()),
        ("show global status where value > 3 and variable_name = 'bytes_sent'", (VALUE,)),
        ("show status where `VARIABLE_VALUE` > 3", (VALUE,)),
        ("show variables where value = 3", ()),
    ],
)
def test_a_condition_of_show_uses_what_it_looks_at(
    text: str, used: tuple[tuple[int, int], ...]
) -> None:
    assert only(text).consumed == set(used)


@pytest.mark.parametrize(
    ("text", "spared"),
    [
        ("show status like 'uptime'", True),
        ("show global status like 'Threads\\_%'", False),  # escapes are not read
        ("show session status like 'thr%'", True),
        ("show status like 'bytes_received'", True),
        ("show status like 'Bytes_sent'", False),
        ("show status like 'bytes%'", False),
        ("show status like '%_s_nt'", False),
        ("show status like '%'", False),
        ("show status", False),
        ("show status where variable_name like 'uptime'", False),
        ("show status like 'up' 'time'", False),
        ("show status like 'bÿtes_sent'", False),
    ],
)
def test_status_is_shown_where_it_cannot_be_how_much_was_sent(text: str, spared: bool) -> None:
    assert (VALUE in only(text).spared) is spared
