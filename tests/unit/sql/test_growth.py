"""Queries without bound, and those that only look so."""

import pytest

from appliance.model.facts import Flag
from tests.unit.sql.conftest import Database

UNBOUNDED = [
    "select count(*) from events, orders",
    "select * from events a cross join events b order by 1",
    "select 1 from events a join orders b on true group by a.id",
    "select count(*) from events a, orders b where a.n > 1 and b.total > 1",
    "select count(*) from events a join orders b on a.id = b.id, clients c",
    "select count(*) from (select * from events) a, (select * from orders) b",
    "with x as (select * from events) select count(*) from x, x y",
    "select (select count(*) from events, orders)",
    "select count(*) from generate_series(1, 1e9::bigint)",
    "select max(x) from generate_series(1, 99999999) x",
    "select lpad('x', 2000000000)",
    "with recursive r as (select 1 as n union all select n from r where true) select max(n) from r",
    "select id from orders for share",
    "explain analyze select count(*) from events, orders",
]
BOUNDED = [
    "select count(*) from events a, orders b where a.id = b.id",
    "select count(*) from events, orders where kind = note",
    "select * from events, orders limit 3",
    "select * from events a, orders b where a.id = 3 and b.id = 4",
    "select * from events natural join orders",
    "select * from events join orders using (id) join clients on clients.id = client_id",
    "select * from events, (select count(*) from orders) o",
    "select * from events, (select id from orders limit 5) o",
    "select * from events e, lateral (select * from orders o where o.id = e.id) x",
    "select * from clients c, unnest(c.tags) t",
    "select * from events cross join (values (1), (2)) v (x)",
    "explain select count(*) from events, orders",
    "select * from generate_series(1, 1000)",
    "with recursive r as (select 1 as n union all select n + 1 from r where n < 9) select n from r",
    "with recursive r as (select id from hr.staff union all select s.id from hr.staff s"
    " join r on s.boss = r.id) select * from r",
    "select id from orders where id = 1 for update",
    "select id from orders limit 1 for update skip locked",
]


@pytest.mark.parametrize("text", UNBOUNDED)
def test_unbounded(database: Database, text: str) -> None:
    assert Flag.UNBOUNDED in database.one(text).flags


@pytest.mark.parametrize("text", BOUNDED)
def test_bounded(database: Database, text: str) -> None:
    assert Flag.UNBOUNDED not in database.one(text).flags
