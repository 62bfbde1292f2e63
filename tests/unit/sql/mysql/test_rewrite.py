"""Statements over masked relations: what is put in, what is refused, that nothing else moves."""

import pytest
from sqlglot import exp

from appliance.model.catalog import SessionSettings
from appliance.model.decision import Mask, MaskMethod
from appliance.model.facts import Facts
from appliance.model.form import Form
from appliance.model.limits import Limits
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.masked import MyMaskedRelations
from appliance.sql.mysql.rewriting import forms_of
from appliance.sql.mysql.splice import (
    Edit,
    Replaced,
    Unmaskable,
    expression_of,
    same,
    spliced,
    whole,
)
from appliance.sql.mysql.tree import statement_of
from appliance.sql.mysql.words import words_of
from tests.unit.sql.mysql.conftest import SSN

HIDDEN = "CASE WHEN `t`.`ssn` IS NULL"
SOURCE = "FROM `shop`.`customers` AS `t`"
SETTINGS = SessionSettings(database="shop")


@pytest.fixture(scope="module")
def relations(lineage: MyLineage) -> MyMaskedRelations:
    return MyMaskedRelations(lineage, {SSN: Mask(MaskMethod.REDACT)})


def form(relations: MyMaskedRelations, text: str, settings: SessionSettings = SETTINGS) -> Form:
    (made,) = forms_of(
        text.encode(), [True], Facts(()), relations.lineage, settings, relations, Limits()
    )
    return made


def short(made: Form) -> str:
    """The form with its subselects as M, and its masked cells as m."""
    text, kept, at = made.text.decode(), "", 0
    while (start := text.find("(SELECT `t`.", at)) >= 0 or (
        start := text.find("(CAST(CASE WHEN", at)
    ) >= 0:
        depth, end = 1, start + 1
        while depth:
            depth += (text[end] == "(") - (text[end] == ")")
            end += 1
        kept += text[at:start] + ("M" if text[start + 1] == "S" else "m")
        at = end
    return kept + text[at:]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT ssn FROM customers", "SELECT ssn FROM M AS `customers`"),
        ("SELECT c.ssn FROM shop.customers AS c", "SELECT c.ssn FROM M AS c"),
        (
            "SELECT  shop.customers.ssn FROM customers",
            "SELECT  customers.ssn FROM M AS `customers`",
        ),
        ("SELECT SSN FROM customers", "SELECT SSN AS `SSN` FROM M AS `customers`"),
        ("SELECT o.id FROM orders o", "SELECT o.id FROM `shop`.orders o"),
        (
            "SELECT UPPER( /* why */ ssn ) FROM customers",
            "SELECT UPPER( ssn ) AS `UPPER( /* why */ ssn )` FROM M AS `customers`",
        ),
        (
            "SELECT (SELECT MAX(ssn) FROM customers), 1 FROM orders",
            "SELECT (SELECT MAX(ssn) FROM M AS `customers`) AS"
            " `(SELECT MAX(ssn) FROM customers)`, 1 FROM `shop`.orders",
        ),
        (
            "WITH customers AS (SELECT 1 AS ssn) SELECT ssn FROM customers",
            "WITH customers AS (SELECT 1 AS ssn) SELECT ssn FROM customers",
        ),
        (
            "SELECT id FROM orders WHERE total IN (SELECT ssn FROM customers LIMIT ?, ?) AND id=?",
            "SELECT id FROM `shop`.orders WHERE total IN"
            " (SELECT ssn FROM M AS `customers` LIMIT ?, ?) AND id=?",
        ),
        (
            "DELETE FROM customers WHERE ssn = 'x'",
            "DELETE FROM `shop`.customers WHERE m = 'x'",
        ),
        (
            "UPDATE customers c JOIN orders o ON o.id = c.id SET o.total = 1 WHERE c.ssn = 2",
            "UPDATE M c JOIN `shop`.orders o ON o.id = c.id SET o.total = 1 WHERE c.ssn = 2",
        ),
        (
            "INSERT INTO orders SELECT id, ssn, 1 FROM customers",
            "INSERT INTO `shop`.orders SELECT id, ssn, 1 FROM M AS `customers`",
        ),
        ("SELECT 1 FROM DUAL", "SELECT 1 FROM DUAL"),
        (
            "EXPLAIN SELECT ssn FROM customers",
            "EXPLAIN SELECT ssn FROM M AS `customers`",
        ),
    ],
)
def test_forms(relations: MyMaskedRelations, text: str, expected: str) -> None:
    made = form(relations, text)
    assert made.why == ""
    assert short(made) == expected


LOCKS = ("FOR UPDATE", "LOCK IN SHARE MODE", "FOR UPDATE NOWAIT", "FOR UPDATE SKIP LOCKED")


@pytest.mark.parametrize("lock", [*LOCKS, "FOR UPDATE WAIT 3"])
def test_what_locks_rows_stands_inside_as_well(relations: MyMaskedRelations, lock: str) -> None:
    text = form(relations, f"SELECT UPPER(ssn) FROM customers WHERE id = 1 {lock}").text.decode()
    assert text.count(lock) == 2 and f" {lock}) AS `customers`" in text
    assert lock not in form(relations, "SELECT UPPER(ssn) FROM customers").text.decode()


@pytest.mark.parametrize("prefix", ["EXPLAIN EXTENDED", "EXPLAIN PARTITIONS", "ANALYZE"])
def test_plans_as_tables(relations: MyMaskedRelations, prefix: str) -> None:
    made = form(relations, f"{prefix} SELECT ssn FROM customers")
    assert short(made) == f"{prefix} SELECT ssn FROM M AS `customers`"


@pytest.mark.parametrize("kind", ["TABLE", "TEMPORARY TABLE"])
def test_tables_made_of_queries(relations: MyMaskedRelations, kind: str) -> None:
    made = form(relations, f"CREATE {kind} t (a INT) AS SELECT ssn FROM customers")
    assert short(made) == f"CREATE {kind} t (a INT) AS SELECT ssn FROM M AS `customers`"
    made = form(relations, f"CREATE {kind} t /* x */ (SELECT ssn FROM customers)")
    assert short(made) == f"CREATE {kind} t (SELECT ssn FROM M AS `customers`)"


def test_searches_in_what_is_shown(relations: MyMaskedRelations) -> None:
    made = form(relations, "SELECT UPPER(ssn) AS s FROM customers WHERE MATCH (name) AGAINST ('x')")
    assert made.why == "" and "MATCH (name) AGAINST ('x')" in made.text.decode()


def test_what_a_relation_becomes(relations: MyMaskedRelations) -> None:
    text = form(relations, "SELECT * FROM customers").text.decode()
    assert HIDDEN in text
    assert SOURCE in text


def test_a_view_that_computes_is_its_masked_definition(relations: MyMaskedRelations) -> None:
    text = form(relations, "SELECT shout FROM named").text.decode()
    assert SOURCE in text and "`shop`.`named`" not in text
    text = form(relations, "SELECT n FROM counted WHERE n > 1").text.decode()
    assert SOURCE in text and "like '1%'" in text


@pytest.mark.parametrize(
    "text",
    [
        "SELECT shout FROM named FOR UPDATE",
        "(SELECT ssn FROM customers) FOR UPDATE",
        "EXPLAIN FORMAT=TREE SELECT ssn FROM customers",
        "EXPLAIN ANALYZE SELECT ssn FROM customers",
        "ANALYZE FORMAT=JSON SELECT ssn FROM customers",
        "TABLE customers",
        "SELECT id FROM orders WHERE total IN (TABLE customers)",
        "SELECT ssn FROM customers PARTITION (p0)",
        "SELECT MATCH (ssn) AGAINST ('x') FROM customers",
        "SELECT MATCH (name, ssn) AGAINST ('x') FROM customers",
        "SELECT MATCH (shout) AGAINST ('x') FROM named",
        "UPDATE customers SET name = ssn",
        "UPDATE customers SET name = IF(ssn = 1, 'a', 'b')",
        "INSERT INTO customers (id, name) VALUES (1, ssn)",
        "INSERT INTO customers (id) VALUES (1) ON DUPLICATE KEY UPDATE name = ssn",
        "DELETE FROM customers WHERE id = 1 RETURNING *",
        "DELETE FROM customers WHERE id = 1 RETURNING UPPER(ssn)",
        "DELETE c FROM customers c JOIN (SELECT 1 AS ssn) o USING (ssn)",
        "SELECT secret FROM customers",
        "SELECT id FROM nothing",
        "EXPLAIN FORMAT=JSON SELECT ssn FROM customers",
        "SELECT customers(1) FROM orders",
        "SELECT ssn INTO @x FROM customers",
    ],
)
def test_refused(relations: MyMaskedRelations, text: str) -> None:
    made = form(relations, text)
    assert made.text == b"" and made.why


def test_under_other_modes(relations: MyMaskedRelations) -> None:
    settings = SessionSettings(database="shop", modes=("ANSI_QUOTES", "NO_BACKSLASH_ESCAPES"))
    text = 'SELECT "ssn" FROM "customers" WHERE name = \'a\\\''
    made = form(relations, text, settings)
    assert made.text.endswith(b"AS `customers` WHERE name = 'a\\'")
    assert form(relations, "SELECT ssn FROM customers WHERE name = 'a\\'").text == b""


def test_nothing_is_sent_for_what_is_read_in_two_ways(relations: MyMaskedRelations) -> None:
    found = forms_of(
        b"SELECT 1; SELECT 2",
        [True],
        Facts(()),
        relations.lineage,
        SETTINGS,
        relations,
        Limits(),
    )
    assert [one.text for one in found] == [b""]


def test_a_tree_is_held_against_another() -> None:
    old = statement_of("SELECT a, b FROM t WHERE a = 1")
    assert same(old, statement_of("select a ,b FROM t WHERE a=1"), {})
    for other in (
        "SELECT a, c FROM t WHERE a = 1",
        "SELECT a, b FROM u WHERE a = 1",
        "SELECT a, b FROM t WHERE a = '1'",
        "SELECT a, b FROM t WHERE a = 1 LIMIT 1",
        "SELECT DISTINCT a, b FROM t WHERE a = 1",
        "SELECT a, b FROM t",
    ):
        assert not same(old, statement_of(other), {})
    column = old.expressions[0]
    made = {id(column): Replaced(expression_of("(1)"))}
    assert same(old, statement_of("SELECT (1), b FROM t WHERE a = 1"), made)
    assert not same(old, statement_of("SELECT (2), b FROM t WHERE a = 1"), made)
    assert isinstance(column, exp.Column)


def is_whole(text: str) -> bool:
    try:
        return whole(text, 0)
    except Unmaskable:
        return False


def test_what_is_put_in_is_one_thing() -> None:
    assert is_whole("(SELECT 1 FROM t)") and is_whole("(a + 1)")
    for text in ("(SELECT 1) FROM (SELECT 2)", "(1) + (2)", "1", "(SELECT 1", "(1); (2)"):
        assert not is_whole(text)


def test_edits_keep_to_words() -> None:
    text = b"SELECT abc /* x */ FROM t"
    words = words_of(text, 0)
    assert spliced(text, words, [Edit(7, 10, "1")]) == "SELECT 1 FROM t"
    for edits in ([Edit(8, 10, "1")], [Edit(7, 10, "1"), Edit(7, 10, "2")]):
        with pytest.raises(Unmaskable):
            spliced(text, words, edits)
