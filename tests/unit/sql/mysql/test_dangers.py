"""Every way by which these servers show values that no mask plan sees, and what counts as used."""

import pytest

from appliance.model.facts import Action, Confidence, Flag, StatementFacts
from tests.unit.sql.mysql.shop import FORGOT, NOTED, SSN, facts, only

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
        "insert into logged values (1, 2) on duplicate key update x = 3",
        "replace into logged values (1, 2)",
        "update logged set x = 1 where id = 1",
        "delete from logged where id = 1",
        # Rows of other servers, or of tables under other names.
        "select * from remote",
        "create table x (a int) engine = federated connection = 'mysql://u:p@h/d/customers'",
        "create table x engine = connect table_type = mysql dbname = shop tabname = customers",
        "create table x (a int) table_type = dos file_name = '/etc/passwd'",
        "create table x (a int) engine = merge union = (customers)",
        "alter table orders union = (customers)",
        "create table x (a int default (select max(ssn) from customers))",
        "alter table orders add column x int default (select max(ssn) from customers)",
        "alter table orders engine = federated connection = 's'",
        # Logs and replication.
        "binlog 'AAAA'",
        "select master_pos_wait('x', 1)",
        "select binlog_gtid_pos('x', 1)",
        "clone instance from a@b:1 identified by 'x'",
        # What is not parsed.
        "select ssn from customers procedure analyse()",
        "select {fn f(ssn)} from customers",
        "select * from customers match_recognize (x)",
        "select * from seq_1_to_x",
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
        "create table x values row((select ssn from customers limit 1))",
        "create table x (a int) replace as (select ssn from customers)",
        "create table x ((select ssn from customers))",
        "create table x with y as (select ssn from customers) select * from y",
        "create table x table customers",
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
        "values ((select ssn from customers limit 1))",
        "select 1 union values ((select ssn from customers limit 1))",
        "select {fn lower(ssn)} from customers",
        "select id from customers for system_time as of (select ssn from named limit 1)",
        "select column_json(column_create('a', ssn)) from customers",
        "select weight_string(ssn) from customers",
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
        "select {x ssn} from customers",
        "select ssn from customers for system_time all",
        "select ssn from customers fetch first 3 rows only",
        "set statement max_statement_time = 1 for select ssn from customers",
    ],
)
def test_a_plain_output_does_not(text: str) -> None:
    found = only(text)
    assert SSN not in found.consumed
    assert found.confidence is Confidence.EXACT


def test_a_trigger_is_called_by_its_event_only_and_by_name() -> None:
    (call,) = only("update logged set x = 1 where id = 1").functions_below
    assert (call.schema, call.name, call.candidates) == ("shop", "noted", (NOTED,))
    assert not only("insert into logged values (1, 2)").functions_below
    (call,) = only("delete from logged where id = 1").functions_below
    assert call.candidates == (FORGOT,)
    (call,) = only("select noted(1)").functions
    assert call.candidates == ()  # it is no function


@pytest.mark.parametrize(
    "text",
    ["show warnings", "show errors limit 1", "get diagnostics condition 1 @m = message_text"],
)
def test_what_the_server_said_is_for_the_session_to_refuse(text: str) -> None:
    """As long as it may quote masked values (`session/said_again`)."""
    assert Flag.READS_DIAGNOSTICS in only(text).flags
