"""Non-interference, on a real server: what the facts say a column does not influence, it does not.

For each form and each column of the sample tables: unless the column is in `consumed`, changing all
of its values changes nothing in the result but the output columns that say they come from it.
This is the property that masking on the wire rests on (DESIGN 4.1).
"""

from collections.abc import Iterable
from pathlib import Path

import psycopg
import pytest
from psycopg import sql

from appliance.model.catalog import ColumnKey
from appliance.model.facts import Confidence, StatementFacts
from tests.unit.sql.conftest import Database

HERE = Path(__file__).parent

# Column -> what its values become. Chosen so that order, equality and nullness change.
CHANGES = {
    "clients.email": "'zz' || (100 - id)",
    "clients.name": "'same'",
    "clients.ssn": "CASE WHEN id = 1 THEN NULL ELSE 'q' || (9 - id) END",
    "clients.tags": "ARRAY['z', 'y', 'x']",
    "clients.home": "ROW('zz', NULL)::address",
    "clients.profile": '\'{"z": 1, "y": 2}\'',
    "clients.country": "CASE WHEN id = 2 THEN 'FR' END",
    "clients.tier": "10 - id",
    "orders.note": "nullif('n' || (9 - id), 'n7')",
    "orders.total": "1000 - total",
    "orders.client_id": "4 - client_id",
    "big_orders.note": "NULL",
    "hr.staff.salary": "5000 - salary",
    "hr.staff.name": "'x' || (9 - id)",
    "hr.staff.boss": "NULL",
    "hr.staff.email": "'zz'",
    "payments.pan": "'9999'",
    "people.nickname": "'nobody'",
    "events.kind": "'other'",
}

# Results that depend on where a row lies, on the moment, or on a sequence.
UNSTABLE = (
    *("now()", "current_", "localtime", "version", "xmin", "ctid", "limit"),
    *("explain", "show ", "insert into events"),
)

MORE = """
select id from clients where email = 'mail1@example.com'
select id from clients order by email
select id from clients where ssn is null
select count(*) from clients c join hr.staff s on s.name = c.name
select id from (select id, row_number() over (order by email) r from clients) x where r = 1
select x.id from (select id, email from clients) x
select 1 from clients group by email
select (select max(o.total) from orders o where o.client_id = c.id) from clients c
select c.id from clients c where exists (select email from hr.staff s where s.id = c.id)
select c.id from clients c where exists (select from hr.staff s where s.email = c.email)
select id from clients c where (c).ssn is not null
select id from clients c where c is not null
select id, name from v_deep
select id from v_filtered
select id from v_union
select name from v_distinct
select tag from v_rows
select id from v_rows
select total from v_cte
select n from mv_clients
select o.id from orders o natural join big_orders b
select id, count(*) over (partition by ssn) from clients
select case when tier > 8 then 'high' else 'low' end from clients
with x as (select id, email from clients) select count(*) from x
with x as materialized (select id, ssn from clients) select id from x where ssn is not null
select id from clients where tier = any(select tier from clients where id = 1)
select array_length(tags, 1) from clients
select cardinality(array(select unnest(tags) from clients))
select jsonb_object_keys(profile) from clients
select name, email from clients union select name, null from clients
select coalesce(boss, 0) from hr.staff
select id from clients where (name, tier) in (select name, tier from clients)
select id from clients where row(ssn, tier) < row('q7', 1)
select s.id from hr.staff s left join hr.staff b on b.id = s.boss where b.id is null
update orders set total = 0 where note is null returning id
update orders set total = 0 where id = 1 returning id, note
delete from orders where client_id = 3 returning id
insert into orders select 100 + id, id, 1, note from orders returning id
insert into orders select 100 + id, id, 1, 'x' from orders where note is null returning id
merge into orders o using clients c on c.id = o.client_id when matched and c.ssn is null then delete
"""


def texts() -> list[str]:
    lines = (HERE / "forms.sql").read_text().splitlines() + MORE.splitlines()
    stable = [line for line in lines if not any(word in line for word in UNSTABLE)]
    return [line for line in stable if line and not line.startswith("--")]


def run(connection: psycopg.Connection, text: str) -> list[tuple[object, ...]] | str:
    """All rows, in order where the text asks for one; or the error's code. Undone afterwards."""
    try:
        with connection.transaction(force_rollback=True):
            cursor = connection.execute(text)
            rows = cursor.fetchall() if cursor.description else [(cursor.rowcount,)]
            return [tuple(repr(cell) for cell in row) for row in rows]
    except psycopg.Error as error:
        return str(error.sqlstate)


def change(connection: psycopg.Connection, column: str, expression: str) -> None:
    *path, name = column.split(".")
    table = sql.Identifier(*path)
    connection.execute(
        sql.SQL("UPDATE {} SET {} = {}").format(table, sql.Identifier(name), sql.SQL(expression))
    )
    connection.execute("REFRESH MATERIALIZED VIEW mv_clients")
    # An UPDATE moves rows: put them back where they were, so that only values differ.
    for moved in ("clients", "orders", "big_orders", "hr.staff", "people", "events"):
        found = connection.execute(
            "SELECT indexrelid::regclass::text FROM pg_index"
            " WHERE indrelid = %s::regclass AND indisprimary",
            [moved],
        ).fetchone()
        assert found is not None
        connection.execute(
            sql.SQL("CLUSTER {} USING {}").format(
                sql.Identifier(*moved.split(".")), sql.Identifier(found[0].split(".")[-1])
            )
        )


def reaches(database: Database, key: ColumnKey, keys: Iterable[ColumnKey]) -> bool:
    """Whether `key` is among them, or shares rows with one (a partition's is its parent's)."""
    return any(key == other or key in database.lineage.of(other).sources for other in keys)


def shown(
    database: Database,
    text: str,
    facts: StatementFacts,
    rows: list[tuple[object, ...]] | str,
    key: ColumnKey,
) -> object:
    """The result without the columns that come from `key`."""
    if isinstance(rows, str):
        return rows
    if not facts.outputs:
        return sorted(rows, key=repr)
    kept = [
        n for n, column in enumerate(facts.outputs) if not reaches(database, key, column.sources)
    ]
    rows = [tuple(row[n] for n in kept) for row in rows]
    return rows if "order by" in text else sorted(rows, key=repr)


@pytest.mark.parametrize("column", CHANGES)
def test_a_column_that_is_not_consumed_does_not_influence(database: Database, column: str) -> None:
    judged = {}
    for text in texts():
        facts = database.one(text)
        if not facts.functions and facts.confidence is Confidence.EXACT:
            judged[text] = facts
    assert len(judged) > 200
    key = database.key(column)
    free = {
        text: facts for text, facts in judged.items() if not reaches(database, key, facts.consumed)
    }
    with database.connect() as connection, connection.transaction(force_rollback=True):
        before = {text: run(connection, text) for text in free}
        change(connection, column, CHANGES[column])
        for text, facts in free.items():
            after = run(connection, text)
            now, then = (shown(database, text, facts, r, key) for r in (after, before[text]))
            assert now == then, text


def test_the_changes_are_seen_where_they_should_be(database: Database) -> None:
    """The test above can fail: over all columns, many consuming forms do answer differently."""
    different = 0
    with database.connect() as connection:
        for column, expression in CHANGES.items():
            key = database.key(column)
            with connection.transaction(force_rollback=True):
                consuming = [t for t in texts() if key in database.one(t).consumed]
                before = {text: run(connection, text) for text in consuming}
                change(connection, column, expression)
                different += sum(run(connection, text) != before[text] for text in consuming)
    assert different > 100
