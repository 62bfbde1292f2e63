"""Facts of MySQL's statements: what each kind does, to what, and what of it is not seen."""

import pytest

from appliance.model.catalog import Catalog, Column, Function, Relation, SessionSettings
from appliance.model.facts import Action, Confidence, Facts, Flag, StatementFacts
from appliance.model.limits import Limits
from appliance.sql.mysql.analysis import UNREADABLE, analyse, fold, redact
from appliance.sql.mysql.lineage import MyLineage

CUSTOMERS, ORDERS, VIEW, REMOTE, LOGGED, PROCESSES, TABLES, USERS, HISTORY = range(11, 20)
SSN = (CUSTOMERS, 3)
F, P = 900, 901


def _relation(oid: int, database: str, name: str, columns: str, **more: object) -> Relation:
    made = tuple(
        Column(n, each.rstrip("!"), 0, not_null=each.endswith("!"))
        for n, each in enumerate(columns.split(), 1)
    )
    kind = str(more.pop("kind", "r"))
    return Relation(oid, database, name, kind, made, **more)  # type: ignore[arg-type]


RELATIONS = (
    _relation(CUSTOMERS, "shop", "customers", "id! name ssn email country"),
    _relation(ORDERS, "shop", "orders", "id! customer_id! total status"),
    _relation(
        VIEW,
        "shop",
        "named",
        "id ssn",
        kind="v",
        definition="select `shop`.`customers`.`id` AS `id`,`shop`.`customers`.`ssn` AS `ssn`"
        " from `shop`.`customers`",
    ),
    _relation(REMOTE, "shop", "remote", "id ssn", kind="f"),
    _relation(LOGGED, "shop", "logged", "id x", has_triggers=True),
    _relation(PROCESSES, "information_schema", "PROCESSLIST", "ID USER HOST INFO"),
    _relation(TABLES, "information_schema", "TABLES", "TABLE_SCHEMA TABLE_NAME"),
    _relation(USERS, "mysql", "user", "Host User Password"),
    _relation(HISTORY, "performance_schema", "events_statements_history", "SQL_TEXT"),
)
LINEAGE = MyLineage(
    Catalog(
        target="t",
        database="shop",
        version="1",
        server_version_num=101106,
        schemas=("shop", "information_schema", "mysql", "performance_schema"),
        relations={r.oid: r for r in RELATIONS},
        by_name={(r.schema, r.name): r.oid for r in RELATIONS},
        functions={
            ("shop", "f"): (Function(F, "shop", "f", "f", "sql", "int"),),
            ("shop", "upper"): (Function(902, "shop", "upper", "f", "sql", "int"),),
            ("shop", "p"): (Function(P, "shop", "p", "p", "sql", ""),),
        },
        primary_keys={CUSTOMERS: (1,), ORDERS: (1,)},
    )
)
SETTINGS = SessionSettings(database="shop")


def facts(
    text: str | bytes, settings: SessionSettings = SETTINGS, lineage: MyLineage | None = LINEAGE
) -> Facts:
    raw = text if isinstance(text, bytes) else text.encode()
    return analyse(raw, lineage, settings, Limits())


def only(text: str, settings: SessionSettings = SETTINGS) -> StatementFacts:
    (statement,) = facts(text, settings).statements
    return statement


def used(statement: StatementFacts) -> set[tuple[str, str]]:
    return {(use.action.value, use.name) for use in statement.relations}


@pytest.mark.parametrize(
    ("text", "actions", "relations"),
    [
        ("select id from customers", "select", {("select", "customers")}),
        ("(select 1)", "select", set()),
        ("values row(1, 2)", "select", set()),
        ("table customers", "select", {("select", "customers")}),
        ("with a as (select id from orders) select * from a", "select", {("select", "orders")}),
        ("insert into orders values (1, 2, 3, 4)", "insert", {("insert", "orders")}),
        ("replace into orders values (1, 2, 3, 4)", "insert delete",
         {("insert", "orders"), ("delete", "orders")}),
        ("insert ignore into orders (id) select id from customers", "insert select",
         {("insert", "orders"), ("select", "customers")}),
        ("insert into orders set id = 1 on duplicate key update total = 2", "insert update",
         {("insert", "orders"), ("update", "orders")}),
        ("update low_priority orders set total = 1 where id = 1", "update",
         {("update", "orders")}),
        ("update customers c join orders o on o.customer_id = c.id set o.total = 1 where c.id = 1",
         "update select", {("update", "orders"), ("select", "customers")}),
        ("delete from orders where id = 1", "delete", {("delete", "orders")}),
        ("delete o from orders o join customers c on c.id = o.customer_id where c.id = 3",
         "delete select", {("delete", "orders"), ("select", "customers")}),
        ("delete from o using orders o where o.id = 3", "delete", {("delete", "orders")}),
        ("truncate table orders", "truncate", {("truncate", "orders")}),
        ("create table x (a int)", "create", {("create", "x")}),
        ("create table if not exists shop.x like orders", "create",
         {("create", "x"), ("show", "orders")}),
        ("create or replace table orders (a int)", "create drop",
         {("create", "orders"), ("drop", "orders")}),
        ("create temporary table x (a int)", "create_temporary", {("create_temporary", "x")}),
        ("create table x as select id from orders", "create select",
         {("create", "x"), ("select", "orders")}),
        ("create table x (a int, foreign key (a) references customers (id))", "create",
         {("create", "x"), ("alter", "customers")}),
        ("create view x as select id from orders", "create select",
         {("create", "x"), ("select", "orders")}),
        ("create or replace algorithm = merge definer = 'a'@'b' sql security invoker view named"
         " (a) as select id from orders with local check option", "create alter select",
         {("create", "named"), ("alter", "named"), ("select", "orders")}),
        ("alter view named as select 1", "alter", {("alter", "named")}),
        ("create unique index i on orders (total)", "create", {("create", "orders")}),
        ("drop index i on orders", "alter", {("alter", "orders")}),
        ("alter table orders add column x int, rename to o2", "alter create",
         {("alter", "orders"), ("create", "o2")}),
        ("alter table orders exchange partition p with table customers", "alter",
         {("alter", "orders"), ("alter", "customers")}),
        ("alter table orders drop partition p", "alter truncate",
         {("alter", "orders"), ("truncate", "orders")}),
        ("rename table orders to a, customers to b", "alter create",
         {("alter", "orders"), ("create", "a"), ("alter", "customers"), ("create", "b")}),
        ("drop table if exists orders, shop.customers cascade", "drop",
         {("drop", "orders"), ("drop", "customers")}),
        ("drop view named", "drop", {("drop", "named")}),
        ("drop temporary table x", "drop", {("drop", "x")}),
        ("drop database shop", "drop", {("drop", "*")}),
        ("create procedure q() select 1", "create_function", set()),
        ("create trigger t before insert on orders for each row set new.total = 1",
         "create_function", {("create_function", "orders")}),
        ("create event e on schedule every 1 day do delete from orders", "create_function", set()),
        ("create function x returns string soname 'x.so'", "create_function load", set()),
        ("drop function f", "drop create_function", set()),
        ("install plugin x soname 'x.so'", "load", set()),
        ("create user 'a'@'b' identified by 'secret'", "role", set()),
        ("alter user a identified by 'secret'", "role", set()),
        ("set password for 'a' = password('secret')", "role", set()),
        ("set password = 'secret'", "role", set()),
        ("rename user a to b", "role", set()),
        ("grant select on shop.orders to 'a'@'b'", "grant", {("grant", "orders")}),
        ("grant all on *.* to a", "grant", set()),
        ("grant r to a", "role", set()),
        ("revoke insert on orders from a", "grant", {("grant", "orders")}),
        ("set role r", "set_role", set()),
        ("set default role r for a", "role", set()),
        ("create server s foreign data wrapper mysql options (host 'h')", "foreign_server", set()),
        ("set global max_connections = 1", "set alter_system", set()),
        ("set @@global.max_connections = 1", "set alter_system", set()),
        ("set persist max_connections = 1", "set alter_system", set()),
        ("set sql_log_bin = 0", "set replication", set()),
        ("shutdown", "alter_system", set()),
        ("flush privileges", "maintain", set()),
        ("flush tables orders with read lock", "maintain lock", {("maintain", "orders")}),
        ("optimize table orders", "maintain", {("maintain", "orders")}),
        ("analyze table orders, customers", "maintain",
         {("maintain", "orders"), ("maintain", "customers")}),
        ("kill 5", "signal_backend", set()),
        ("kill query 5", "signal_backend", set()),
        ("change master to master_host = 'h'", "replication", set()),
        ("start slave", "replication", set()),
        ("stop replica", "replication", set()),
        ("reset master", "replication", set()),
        ("purge binary logs to 'x'", "replication", set()),
        ("show binlog events", "show replication", set()),
        ("xa start 'x'", "two_phase", set()),
        ("begin", "transaction", set()),
        ("start transaction read only", "transaction", set()),
        ("rollback to savepoint a", "transaction", set()),
        ("set transaction isolation level serializable", "transaction", set()),
        ("set session transaction read only", "transaction", set()),
        ("unlock tables", "transaction", set()),
        ("lock tables orders as o write, customers read local", "lock select",
         {("lock", "orders"), ("select", "customers")}),
        ("use shop", "set", set()),
        ("set names utf8mb4 collate utf8mb4_bin", "set", set()),
        ("do 1", "select", set()),
        ("show tables", "show", set()),
        ("show full columns from orders from shop", "show", {("show", "orders")}),
        ("show create table orders", "show", {("show", "orders")}),
        ("show create view shop.named", "show", {("show", "named")}),
        ("show index from orders", "show", {("show", "orders")}),
        ("describe orders", "show", {("show", "orders")}),
        ("explain orders", "show", {("show", "orders")}),
        ("explain format = json select id from orders", "explain", {("explain", "orders")}),
        ("explain update orders set total = 1", "explain", {("explain", "orders")}),
        ("analyze format = json select id from orders", "explain select", {("select", "orders")}),
        ("explain analyze delete from orders where id = 1", "explain delete",
         {("delete", "orders")}),
        ("load data local infile 'x' into table orders", "copy_from", {("copy_from", "orders")}),
        ("deallocate prepare s", "deallocate", set()),
        ("drop prepare s", "deallocate", set()),
        ("help 'select'", "show", set()),
        ("select get_lock('a', 1)", "select advisory_lock", set()),
        ("select nextval(s)", "select sequence", set()),
    ],
)  # fmt: skip
def test_actions_and_relations(text: str, actions: str, relations: set[tuple[str, str]]) -> None:
    found = only(text)
    assert [action.value for action in found.actions] == actions.split()
    assert used(found) == relations
    assert found.confidence is not Confidence.OPAQUE


# The dangers: what shows values, or does more, by ways that a mask plan does not see.

REFUSED_ACTIONS = {
    Action.COPY_FILE, Action.COPY_PROGRAM, Action.SERVER_FILE, Action.DYNAMIC_SQL, Action.DO,
    Action.FOREIGN_SERVER, Action.LOAD, Action.CREATE_FUNCTION, Action.REPLICATION,
    Action.ALTER_SYSTEM,
}  # fmt: skip
"""`masking.plan` lets nobody who owes masks do these."""


def is_closed(statement: StatementFacts) -> bool:
    """Whether `masking.plan` refuses it whatever the masks are."""
    return (
        statement.confidence is not Confidence.EXACT
        or bool(statement.unresolved)
        or not REFUSED_ACTIONS.isdisjoint(statement.actions)
        or Flag.READS_SYSTEM_SECRETS in statement.flags
        or bool(statement.functions or statement.functions_below)
    )


@pytest.mark.parametrize(
    "text",
    [
        # SQL from strings.
        "prepare s from 'select 1'",
        "prepare s from @x",
        "execute s",
        "execute s using @a, @b",
        "execute immediate 'select 1'",
        "execute immediate concat('sel', 'ect 1')",
        # Rows that no query names.
        "handler customers open",
        "handler customers read first",
        "handler shop.customers close",
        # Files.
        "select ssn into outfile '/tmp/x' from customers",
        "select ssn from customers into outfile '/tmp/x' fields terminated by ',' lines starting"
        " by '>'",
        "select ssn from customers limit 1 into dumpfile '/tmp/x'",
        "(select ssn from customers into outfile '/tmp/x')",
        "select load_file('/etc/passwd')",
        "select upper(load_file(concat('/etc', '/passwd')))",
        "load data infile '/etc/passwd' into table orders",
        "load xml infile '/etc/passwd' into table orders",
        "load data local infile 'x' into table orders set total = (select ssn from customers)",
        "import table from '/tmp/x'",
        "create table x (a int) data directory = '/tmp'",
        "alter table orders import tablespace",
        # The server's own relations.
        "select * from information_schema.processlist",
        "select info from information_schema.processlist",
        "select sql_text from performance_schema.events_statements_history",
        "select * from performance_schema.threads",
        "select password from mysql.user",
        "select argument from mysql.general_log",
        "select * from mysql.column_stats",
        "select * from sys.statement_analysis",
        "select * from information_schema.innodb_trx",
        "select * from information_schema.optimizer_trace",
        "select * from information_schema.innodb_ft_index_table",
        "select * from information_schema.query_cache_info",
        "select * from information_schema.column_statistics",
        # What quotes values.
        "show warnings",
        "show errors",
        "show processlist",
        "show full processlist",
        "show engine innodb status",
        "show profiles",
        "show binlog events",
        "show relaylog events",
        "show grants",
        "show create user x",
        "show create table remote",
        "show explain for 5",
        "explain for connection 5",
        "get diagnostics condition 1 @m = message_text",
        "checksum table nosuch",
        # Conditions that read.
        "show tables where (select count(*) from customers where ssn like '1%') > 0",
        "show variables where f(1)",
        "show status where shop.upper(1)",
        # Code.
        "select f(ssn) from customers",
        "select shop.f(1)",
        "select nosuch(1)",
        "select sys_exec('id')",
        "select sys_eval('id')",
        "select shop.upper(1)",
        "select upper(1)",  # there is a stored function of this name
        "call p()",
        "call nosuch(1)",
        "do f(1)",
        "create function x returns string soname 'x.so'",
        "create procedure q() select * from customers",
        "create event e on schedule every 1 day do insert into orders select * from customers",
        "create trigger t after update on customers for each row insert into orders values (1)",
        "alter event e do select 1",
        "begin not atomic select * from customers; end",
        "if 1 then select 1; end if",
        "for i in 1..2 do select 1; end for",
        "l: loop select 1; end loop",
        "insert into logged values (1, 2)",
        "update logged set x = 1 where id = 1",
        "delete from logged where id = 1",
        # Rows of other servers, or of tables under other names.
        "select * from remote",
        "create table x (a int) engine = federated connection = 'mysql://u:p@h/d/customers'",
        "create table x engine = connect table_type = mysql dbname = shop tabname = customers",
        "create table x (a int) engine = merge union = (customers)",
        "alter table orders union = (customers)",
        "alter table orders engine = federated connection = 's'",
        # Logs and replication.
        "binlog 'AAAA'",
        "select master_pos_wait('x', 1)",
        "select binlog_gtid_pos('x', 1)",
        "clone instance from a@b:1 identified by 'x'",
        # What is not parsed.
        "select ssn from customers procedure analyse()",
        "select {fn upper(ssn)} from customers",
        "select * from customers for system_time all",
        "nosuch statement",
        "signal sqlstate '45000'",
        "delimiter //",
    ],
)
def test_who_owes_masks_may_not(text: str) -> None:
    found = facts(text)
    assert found.failure is not None or any(is_closed(s) for s in found.statements)


@pytest.mark.parametrize(
    "text",
    [
        "select upper_case from customers where 1 = 0",
        "select id, user from information_schema.processlist",
        "select * from information_schema.tables",
        "show tables like 'a%'",
        "show variables where variable_name in ('a') and value like lower('B')",
        "show count(*) warnings",
        "select id from customers where lower(name) = 'x'",
        "insert into orders values (1, 2, 3, 4)",
    ],
)
def test_and_may(text: str) -> None:
    if "upper_case" in text:
        assert is_closed(only(text))  # (a column that is not there)
    else:
        assert not is_closed(only(text))


@pytest.mark.parametrize(
    "text",
    [
        "select ssn into @x from customers limit 1",
        "select id, ssn from customers limit 1 into @a, @b",
        "select @x := ssn from customers",
        "set @x = (select ssn from customers limit 1)",
        "set @a = 1, @b = (select max(ssn) from customers)",
        "do (select ssn from customers limit 1)",
        "kill (select ssn from customers limit 1)",
        "call p((select ssn from customers limit 1))",
        "set session sql_mode = (select ssn from customers limit 1)",
        "select ssn from customers into outfile '/tmp/x'",
        "create table x as select ssn from customers",
        "create view x as select ssn from customers",
        "insert into orders (status) select ssn from customers",
        "insert into orders (status) values ((select ssn from customers limit 1))",
        "update customers set name = ssn where id = 1",
        "update orders set status = 1 where id = 1 order by (select ssn from customers limit 1)",
        "delete from customers where ssn = 'x'",
        "explain select ssn from customers",
        "explain select id from customers where ssn = 'x'",
        "checksum table customers",
        "select extractvalue(1, concat('~', ssn)) from customers",
        "select updatexml(1, concat('~', ssn), 1) from customers",
        "select (ssn) + 0 from customers",
        "select id from customers where ssn > 'a' limit 1",
        "select id from customers order by ssn",
        "select 1 from customers group by ssn",
        "select distinct ssn from customers",
        "select ssn from customers union select 1",
        "select count(distinct ssn) from customers",
        "select group_concat(id order by ssn) from customers",
        "select row_number() over (partition by ssn) from customers",
        "select 1 from customers natural join named",
        "select 1 from customers a join named b using (ssn)",
        "select ssn->'$.a' from customers",
        "select match(ssn) against ('x') from customers",
        "select case when ssn like '1%' then 1 end from customers",
        "select sleep(ssn = '1') from customers",
        "insert into customers (id) values (1) on duplicate key update name = ssn",
        "select id from customers where exists (select 1 from named where ssn = '1')",
        "select ssn from customers procedure analyse()",
        "select (select ssn from customers limit 1) as x",
    ],
)
def test_a_column_used_otherwise_than_as_an_output_counts_as_used(text: str) -> None:
    (statement,) = facts(text).statements
    assert SSN in statement.consumed


@pytest.mark.parametrize(
    "text",
    [
        "select ssn from customers",
        "select * from customers where id = 1",
        "select c.ssn as x from customers c join orders o on o.customer_id = c.id",
        "select ssn from (select ssn from customers) d",
        "select count(*) from customers",
        "set statement max_statement_time = 1 for select ssn from customers",
    ],
)
def test_a_plain_output_does_not(text: str) -> None:
    found = only(text)
    assert SSN not in found.consumed
    assert found.confidence is Confidence.EXACT


# Guards.

NO_WHERE, TRIVIAL, UNBOUNDED = Flag.NO_WHERE, Flag.TRIVIAL_WHERE, Flag.UNBOUNDED


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ("delete from orders", NO_WHERE),
        ("update orders set total = 1", NO_WHERE),
        ("delete from orders order by id", NO_WHERE),
        ("delete from orders limit 100000", NO_WHERE),
        ("delete o from orders o", NO_WHERE),
        ("delete o from orders o left join customers c on c.id = o.customer_id", NO_WHERE),
        ("update orders, customers set total = 1", NO_WHERE),
        ("/*!50000 delete from orders */", NO_WHERE),
        ("delete from orders -- where id = 1", NO_WHERE),
        ("delete from orders # where id = 1", NO_WHERE),
        ("prepare s from 'delete from orders'", NO_WHERE),
        ("execute immediate 'delete from orders'", NO_WHERE),
        ("delete from orders where 1", TRIVIAL),
        ("delete from orders where 1 = 1", TRIVIAL),
        ("delete from orders where true", TRIVIAL),
        ("delete from orders where not false", TRIVIAL),
        ("delete from orders where '1'", TRIVIAL),
        ("delete from orders where '1abc'", TRIVIAL),
        ("delete from orders where 0x31", TRIVIAL),
        ("delete from orders where 1 <=> 1", TRIVIAL),
        ("delete from orders where 'a' = 'A '", TRIVIAL),
        ("delete from orders where id = id", TRIVIAL),
        ("delete from orders where orders.id <=> id", TRIVIAL),
        ("delete from orders where id is not null", TRIVIAL),
        ("delete from orders where not id is null", TRIVIAL),
        ("delete from orders where not isnull(id)", TRIVIAL),
        ("delete from orders where id", TRIVIAL),
        ("delete from orders where id > 0", TRIVIAL),
        ("delete from orders where 0 < id", TRIVIAL),
        ("delete from orders where id >= 1", TRIVIAL),
        ("delete from orders where id <> -1", TRIVIAL),
        ("delete from orders where id < 9999999999", TRIVIAL),
        ("delete from orders where id between 0 and 99999999999", TRIVIAL),
        ("delete from orders where status like '%'", TRIVIAL),
        ("delete from orders where status regexp '.*'", TRIVIAL),
        ("delete from orders where length(status) >= 0", TRIVIAL),
        ("delete from orders where id = 1 or 1", TRIVIAL),
        ("delete from orders where id = 1 || 2 > 1", TRIVIAL),
        ("delete from orders where id = 1 or id <> 1", TRIVIAL),
        ("delete from orders where id = 1 or not id = 1", TRIVIAL),
        ("delete from orders where status is null or status is not null", TRIVIAL),
        ("delete from orders where 1 xor 0", TRIVIAL),
        ("delete from orders where 1 in (1, 2)", TRIVIAL),
        ("delete from orders where id in (select id from orders)", TRIVIAL),
        ("delete from orders where id in (select id from (select id from orders) x)", TRIVIAL),
        ("delete from orders where id not in (select -1)", TRIVIAL),
        ("delete from orders where exists (select 1)", TRIVIAL),
        ("delete from orders where exists (select 1 from customers)", TRIVIAL),
        ("delete from orders where (select 1)", TRIVIAL),
        ("delete from orders where coalesce(1, id)", TRIVIAL),
        ("delete from orders where if(1, 1, 0)", TRIVIAL),
        ("delete from orders where case when 1 then 1 else 0 end", TRIVIAL),
        ("delete from orders where case id when 1 then 1 else 2 end", TRIVIAL),
        ("delete from orders where id * 0 = 0", TRIVIAL),
        ("delete from orders where (1 = 1) = 1", TRIVIAL),
        ("delete from orders where rand() >= 0", TRIVIAL),
        ("delete from orders where @a = 1", TRIVIAL),
        ("delete from orders where ? = 1", TRIVIAL),
        ("delete o from orders o join customers c on 1", TRIVIAL),
        ("update orders set total = 1 where 1 limit 5000", TRIVIAL),
        ("update orders o join customers c on c.id > 0 set o.total = 1", TRIVIAL),
        ("delete from orders where id = 1 procedure analyse()", TRIVIAL),
        ("select * from orders, customers", UNBOUNDED),
        ("select * from orders join customers", UNBOUNDED),
        ("select * from orders o join customers c on o.id <> c.id", UNBOUNDED),
        ("select count(*) from orders, customers limit 1", UNBOUNDED),
        ("select * from customers for update", UNBOUNDED),
        ("select * from customers lock in share mode", UNBOUNDED),
        ("with recursive a as (select 1 as n union all select n + 1 from a) select * from a",
         UNBOUNDED),
        ("select sleep(100000)", UNBOUNDED),
        ("do benchmark(1000000000, sha1('x'))", UNBOUNDED),
        ("select repeat('x', 1000000000)", UNBOUNDED),
    ],
)  # fmt: skip
def test_flagged(text: str, flag: Flag) -> None:
    assert flag in only(text).flags


@pytest.mark.parametrize(
    "text",
    [
        "delete from orders where id = 1",
        "delete from orders where id in (1, 2, 3)",
        "delete from orders where total > 0",
        "delete from orders where status = ''",
        "delete from orders where status like 'a%'",
        "delete from orders where id > 10 and id < 20",
        "delete from orders where id = ?",
        "delete from orders where customer_id",
        "delete from orders where 1 = 0 or id = 4",
        "delete from orders where id = 1 limit 1",
        "delete from orders order by id limit 10",
        "delete o from orders o join customers c on c.id = o.customer_id where c.id = 3",
        "update orders set total = 1 where id in (select id from customers where name = 'x')",
        "update orders o join customers c on c.id = o.customer_id set o.total = 1 where o.id = 5",
        "update orders set total = total + 1 where status is null",
        "delete from orders where exists (select 1 from customers c where c.id = orders.id)",
        "select * from orders o join customers c on c.id = o.customer_id",
        "select * from orders o, customers c where c.id = o.customer_id",
        "select * from orders o cross join (select 1) d",
        "select * from orders natural join customers",
        "select * from orders o, customers c where c.id = 1",
        "select * from customers where id = 1 for update",
        "with recursive a as (select 1 as n union all select n + 1 from a where n < 9)"
        " select * from a",
        "select sleep(1)",
        "explain delete from orders",
    ],
)
def test_not_flagged(text: str) -> None:
    assert only(text).flags.isdisjoint({NO_WHERE, TRIVIAL, UNBOUNDED})


# How a text is read.


def test_a_comment_that_the_server_runs_is_read() -> None:
    assert only("select /*!100100 ssn, */ id from customers").outputs[0].origin == SSN
    assert only("select /*M! ssn, */ id from customers").outputs[0].origin == SSN
    assert len(only("select /*!80000 ssn, */ id from customers").outputs) == 1
    assert only("/*!50000 drop table */ orders").actions == (Action.DROP,)


@pytest.mark.parametrize(
    "text",
    [
        "select /*! 1 /* 2 */ */ 3",
        "select /*!50000 1 -- */\n 3",
        "select 1 /*!50000 ",
        "select 'a",
        "select \x00",
        "select [1]",
        "select 1 /*+ SET_VAR(sql_mode='ANSI_QUOTES') */",
        "select ``",
        b"select `\xff`",
        "select count (*) from customers",
        "set names gbk; select 1",
        "set sql_mode = 'ANSI_QUOTES'; select \"a\"",
        "call p(); select 1",
    ],
)
def test_what_may_be_read_in_two_ways_is_not_read(text: str | bytes) -> None:
    found = facts(text)
    assert found.failure is not None
    assert found.confidence is Confidence.OPAQUE


@pytest.mark.parametrize(
    ("modes", "encoding", "text"),
    [
        (("ORACLE",), "", "select 1"),
        (("HIGH_NOT_PRECEDENCE",), "", "select 1"),
        (("PIPES_AS_CONCAT",), "", "select 1 || 2"),
        ((), "gbk", "select 1"),
        ((), "sjis", "select 1"),
        ((), "big5", "select 1"),
        ((), "gb18030", "select 1"),
        ((), "ucs2", "select 1"),
        ((), "latin1", "select 'é'"),
    ],
)
def test_modes_and_encodings_that_are_not_read(
    modes: tuple[str, ...], encoding: str, text: str
) -> None:
    found = facts(text, SessionSettings(database="shop", modes=modes, encoding=encoding))
    assert found.failure is not None


def test_modes_that_are() -> None:
    ansi = SessionSettings(database="shop", modes=("ANSI_QUOTES",))
    assert only('select "ssn" from "customers"', ansi).outputs[0].origin == SSN
    assert only('select "ssn" from customers').outputs[0].origin is None
    plain = SessionSettings(database="shop", modes=("NO_BACKSLASH_ESCAPES",))
    assert len(only(r"select 'a\', ssn from customers", plain).outputs) == 2
    spaced = SessionSettings(database="shop", modes=("IGNORE_SPACE",))
    assert facts("select count (*) from customers", spaced).failure is None
    latin = SessionSettings(database="shop", encoding="latin1")
    assert facts("select ssn from customers", latin).failure is None


def test_uncertain_settings_are_not_read() -> None:
    assert facts("select 1", SessionSettings(database="shop", certain=False)).failure is not None


def test_statements_of_one_text() -> None:
    found = facts("begin; update orders set total = 1 where id = 1;; drop table orders ; ")
    kinds = [statement.kind for statement in found.statements]
    assert kinds == ["TransactionStmt", "UpdateStmt", "DropStmt"]
    offset, length = found.statements[2].span
    text = "begin; update orders set total = 1 where id = 1;; drop table orders ; "
    assert text[offset : offset + length].strip() == "drop table orders"
    assert facts("").statements == () == facts(" ; -- x\n ;").statements


def test_use_chooses_what_the_next_statement_means() -> None:
    chosen, read = facts("use mysql; select host from user").statements
    assert chosen.settings == (("database", "mysql"),)
    assert read.relations[0].oid == USERS
    assert Flag.READS_SYSTEM_SECRETS in read.flags


def test_behind_a_change_of_the_schema_nothing_is_certain() -> None:
    _, read = facts("create table x (a int); select ssn from customers").statements
    assert read.confidence is not Confidence.EXACT


def test_a_body_of_a_routine_takes_the_rest_of_the_text_and_hides_it() -> None:
    text = "create procedure q() begin select 1; end; drop table orders"
    (statement,) = facts(text).statements
    assert Action.CREATE_FUNCTION in statement.actions
    assert statement.confidence is Confidence.OPAQUE


def test_a_table_may_be_called_like_a_kind_of_routine() -> None:
    found = facts("create table t (event int, function int); select 1")
    assert [s.kind for s in found.statements] == ["CreateStmt", "SelectStmt"]


@pytest.mark.parametrize(
    ("text", "settings"),
    [
        ("set names utf8mb4", (("names", "utf8mb4"),)),
        ("set character set 'utf8'", (("character_set", "utf8"),)),
        ("set session sql_mode = 'ANSI'", (("sql_mode", "ansi"),)),
        ("set @@session.sql_mode = default", (("sql_mode", ""),)),
        ("set @@sql_mode := concat(@@sql_mode, 'x')", (("sql_mode", ""),)),
        (
            "set autocommit = 0, time_zone = '+00:00'",
            (("autocommit", "0"), ("time_zone", "+00:00")),
        ),
    ],
)
def test_settings(text: str, settings: tuple[tuple[str, str], ...]) -> None:
    found = only(text)
    assert found.settings == settings
    assert Flag.CHANGES_SETTINGS in found.flags


def test_a_user_variable_is_no_setting() -> None:
    assert only("set @x = 1").settings == ()
    assert Flag.CHANGES_SETTINGS not in only("set @x = 1").flags


# Records and caches.


def test_redacted() -> None:
    assert facts("select 'secret' /* secret */ from t").redacted == "select $_  from t"
    assert facts("/*!80000 ' */ select 'secret'").redacted.strip() == "select $_"
    assert facts("select /*! 'secret").redacted == UNREADABLE
    odd = SessionSettings(database="shop", encoding="gbk")
    assert facts("select 'secret'", odd).redacted == UNREADABLE
    assert redact(b"select 'secret'", SETTINGS) == "select $_"
    assert redact(b"select 'secret'", odd) == UNREADABLE


def test_texts_that_differ_in_constants_nobody_looked_at() -> None:
    text = (
        b"select name from customers where id = 5 and ssn in ('a', 'b') and total between 1 and 2"
    )
    folded = fold(text, SETTINGS)
    assert folded is not None
    assert facts(text).statements[0].unread_constants == folded[1]


@pytest.mark.parametrize(
    "text",
    [
        "select name, 5 from customers where id = 5",
        "select name from customers where id = 5 limit 3",
        "select name from customers where 1 = 1 and id = 5",
        "select name from customers where id = -5",
        "select name from customers where id = 5 and name = _latin1'x'",
        "select name from customers where id = 'a' 'b'",
        "delete from customers where id = 5",
        "select name from customers where lower(name) = 'x'",
    ],
)
def test_others_share_nothing(text: str) -> None:
    folded = fold(text.encode(), SETTINGS)
    found = facts(text).statements[0].unread_constants
    assert not found or folded is None or found != folded[1]


def test_groups_for_people() -> None:
    one = facts("select id from orders where id in (1, 2)")
    other = facts("SELECT  id FROM orders WHERE id IN (3, 4, 5)")
    assert one.fingerprint == other.fingerprint != facts("select id from orders").fingerprint


def test_no_literal_in_what_is_said_to_people() -> None:
    for text in (
        "select 'secret' from",
        "select nosuch('secret')",
        "set x 'secret'",
        "kill 'secret' 1",
    ):
        found = facts(text)
        said = [*(w for s in found.statements for w in s.unresolved), found.redacted]
        said.append("" if found.failure is None else found.failure.message)
        assert not any("secret" in word for word in said)


def test_without_a_catalog_guards_work_and_nothing_is_exact() -> None:
    found = facts("delete from orders", lineage=None).statements[0]
    assert Flag.NO_WHERE in found.flags
    assert found.confidence is Confidence.PARTIAL
    assert (
        Flag.READS_SYSTEM_SECRETS
        in facts("select * from mysql.user", lineage=None).statements[0].flags
    )
    assert facts("/*!40101 SET NAMES utf8 */", lineage=None).failure is None


@pytest.mark.parametrize("depth", [40, 60, 400, 5000])
def test_deep_nesting_is_an_answer(depth: int) -> None:
    for text in (
        "select " + "(" * depth + "1" + ")" * depth,
        "select * from " + "(select * from " * depth + "t" + ") a" * depth,
        "select " + "case when 1 then " * depth + "1" + " end" * depth,
        "select " + "not " * depth + "1",
        "select " + "- " * depth + "1",
        "select 1" + " union all select 1" * depth,
        "select 1" + " + 1" * depth,
        "select 1 where 1" + " and 1" * depth,
        "delete from orders where 1" + " or 1" * depth,
    ):
        assert facts(text).statements
