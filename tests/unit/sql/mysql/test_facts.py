"""Facts of MySQL's statements: what each kind does, to what, and how a text is read."""

import subprocess
import sys

import msgspec
import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Action, Confidence, Flag, StatementFacts
from appliance.sql.mysql.redaction import UNREADABLE, fold, redact, redact_blind
from tests.unit.sql.mysql.shop import SETTINGS, SSN, USERS, facts, only


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
        ("explain format = json select id from orders", "explain select",
         {("explain", "orders"), ("select", "orders")}),
        ("explain update orders set total = 1", "explain select",
         {("explain", "orders"), ("select", "orders")}),
        ("analyze format = json select id from orders", "explain select", {("select", "orders")}),
        ("explain analyze delete from orders where id = 1", "explain delete",
         {("delete", "orders")}),
        ("load data local infile 'x' into table orders", "copy_from", {("copy_from", "orders")}),
        ("deallocate prepare s", "deallocate", set()),
        ("drop prepare s", "deallocate", set()),
        ("help 'select'", "show", set()),
        ("select get_lock('a', 1)", "select advisory_lock", set()),
        ("values (1, 2), (3, 4)", "select", set()),
        ("select * from (values (1), (2)) v", "select", set()),
        ("select 1 union values (2)", "select", set()),
        ("select id from orders where id in (values (1), (2))", "select", {("select", "orders")}),
        ("select nextval(orders)", "select sequence", {("sequence", "orders")}),
        ("select next value for shop.orders + 1", "select sequence", {("sequence", "orders")}),
        ("select previous value for orders", "select sequence", {("sequence", "orders")}),
        ("select {fn lower(name)}, {d '2024-01-01'} from customers", "select",
         {("select", "customers")}),
        ("select o.id from {oj orders o left outer join customers c on c.id = o.customer_id}",
         "select", {("select", "orders"), ("select", "customers")}),
        ("select id from orders order by id offset 1 row fetch next 2 rows only", "select",
         {("select", "orders")}),
        ("select id from orders limit 5 rows examined 1000", "select", {("select", "orders")}),
        ("select id from orders for system_time as of now() o", "select", {("select", "orders")}),
        ("select id from orders for system_time between '2000-01-01' and now()", "select",
         {("select", "orders")}),
        ("select seq from seq_1_to_5", "select", {("select", "seq_1_to_5")}),
        ("select o.id from orders o join seq_1_to_9_step_2 s on s.seq = o.id", "select",
         {("select", "orders"), ("select", "seq_1_to_9_step_2")}),
    ],
)  # fmt: skip
def test_actions_and_relations(text: str, actions: str, relations: set[tuple[str, str]]) -> None:
    found = only(text)
    assert [action.value for action in found.actions] == actions.split()
    assert used(found) == relations
    assert found.confidence is not Confidence.OPAQUE
    assert found.kind != "Unparsed"


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
        "select /*+ ORDER_INDEX(customers by_ssn) */ id from customers",
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


BACK = [
    "set sql_mode = ''",
    "SET SESSION sql_mode='STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION' ;",
    "set\tlocal sql_mode:=default",
    "set @@sql_mode = DEFAULT",
    "set @@session.sql_mode = 0",
    "SET @@LOCAL.SQL_MODE='ORACLE'",
]


@pytest.mark.parametrize("mode", ["ORACLE", "HIGH_NOT_PRECEDENCE", "MSSQL"])
@pytest.mark.parametrize("text", BACK)
def test_a_mode_that_is_not_read_can_be_set_back(text: str, mode: str) -> None:
    settings = SessionSettings(database="shop", modes=(mode, "ANSI_QUOTES", "PIPES_AS_CONCAT"))
    found = facts(text, settings)
    (statement,) = found.statements
    assert found.failure is None and found.confidence is Confidence.EXACT
    assert (statement.kind, statement.actions) == ("VariableSetStmt", (Action.SET,))
    assert statement.flags == {Flag.CHANGES_SETTINGS}


@pytest.mark.parametrize(
    "text",
    [
        "set sql_mode = ''; select ssn from customers",
        "set sql_mode = '', @x = (select ssn from customers)",
        "set @x = 1, sql_mode = ''",
        "set sql_mode = concat(@@sql_mode, '')",
        "set sql_mode = (select ssn from customers)",
        "set sql_mode = @x",
        "set sql_mode = ansi",
        'set sql_mode = "ANSI"',
        r"set sql_mode = 'A\'",
        "set sql_mode = 'a''b'",
        "set sql_mode = 'a' 'b'",
        "set sql_mode = x''",
        "set global sql_mode = ''",
        "set @@global.sql_mode = ''",
        "set @@session . sql_mode = ''",
        "set statement sql_mode = '' for select ssn from customers",
        "set old_mode = ''",
        "set names utf8mb4",
        "/* */ set sql_mode = ''",
        "set sql_mode = '' -- ",
        "select 1",
        "",
    ],
)
def test_nothing_else_is_read_in_such_a_mode(text: str) -> None:
    found = facts(text, SessionSettings(database="shop", modes=("ORACLE",)))
    assert found.failure is not None and found.failure.code == "modes"


def test_nor_is_it_read_in_an_encoding_that_is_not() -> None:
    for settings in (
        SessionSettings(database="shop", modes=("ORACLE",), encoding="gbk"),
        SessionSettings(database="shop", modes=("ORACLE",), certain=False),
    ):
        found = facts("set sql_mode = ''", settings)
        assert found.failure is not None and found.failure.code == "encoding"


@pytest.mark.parametrize("text", ["selec 1", "foo", "`select` 1", "1", "'x'", "@a := 1", "; foo"])
def test_what_no_statement_begins_with_is_no_statement(text: str) -> None:
    found = facts(text)
    assert found.failure is not None and found.failure.code == "syntax"
    assert found.confidence is Confidence.OPAQUE


@pytest.mark.parametrize("text", ["signal sqlstate '45000'", "resignal", "fetch c into x"])
def test_what_servers_know_is_opaque_and_no_slip(text: str) -> None:
    found = facts(text)
    assert found.failure is None and found.confidence is Confidence.OPAQUE


@pytest.mark.parametrize("text", ["set", "set @a", "show nothing", "use", "create table", "call"])
def test_what_is_of_no_known_form_is_unread(text: str) -> None:
    statement = only(text)
    assert statement.unread and statement.confidence is Confidence.OPAQUE


@pytest.mark.parametrize("text", ["begin not atomic select 1; end", "handler orders open"])
def test_what_is_known_and_not_seen_is_not(text: str) -> None:
    statement = only(text)
    assert not statement.unread and statement.confidence is Confidence.OPAQUE


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


def test_transactions_change_nothing_in_how_a_text_is_read() -> None:
    assert facts("begin work; select /*+ MAX_EXECUTION_TIME(9) */ 1; commit").failure is None


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


@pytest.mark.parametrize(
    ("text", "gives"),
    [
        ("set @x = 1", True),
        ("select @x := 5", True),
        ("select 1, 2 into @x, @y", True),
        ("call p(@out)", True),
        ("select @x", False),
        ("select 1, @x from orders", False),
        ("select @@version", False),
        ("set names utf8mb4", False),
        ("insert into orders values (1, 2, 'a@b.c', 4)", False),
    ],
)
def test_who_gives_user_variables_values(text: str, gives: bool) -> None:
    assert only(text).sets_variables is gives


# Records and caches.


def test_redacted() -> None:
    assert facts("select 'secret' /* secret */ from t").redacted == "select $_  from t"
    assert facts("/*!80000 ' */ select 'secret'").redacted.strip() == "select $_"
    assert facts("select /*! 'secret").redacted == UNREADABLE
    odd = SessionSettings(database="shop", encoding="gbk")
    assert facts("select 'secret'", odd).redacted == UNREADABLE
    assert redact(b"select 'secret'", SETTINGS) == "select $_"
    assert redact(b"select 'secret'", odd) == UNREADABLE


@pytest.mark.parametrize(
    "text",
    [
        b"/*!99999 ' */ select 'secret'",
        b"/*! ' */ select 'secret'",
        b"select 'a\\', secret, 'b'",
        b"select \"it's\", secret, 'b'",
        "select 'é', 'secret'".encode(),
    ],
)
def test_nothing_is_shown_when_the_session_is_not_known(text: bytes) -> None:
    assert b"secret" not in redact_blind(text)
    assert redact_blind(b"select a from t where b = 'secret'") == b"select a from t where b = $_"


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


ROWS = ", ".join(f"({n}, -2, NULL, _binary'x')" for n in range(400))


def test_long_lists_of_constants_are_read_once() -> None:
    long, short = only(f"insert into orders values {ROWS}"), only("insert into orders values (1)")
    assert msgspec.structs.replace(long, span=(0, 0)) == msgspec.structs.replace(short, span=(0, 0))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"insert into orders values {ROWS}, (1, 2, (select ssn from customers), 4)", SSN),
        (f"insert into orders values {ROWS}, (1, 2, 3, f(4)), {ROWS}", "f"),
        (f"replace into orders values {ROWS} on duplicate key update total = f(5)", "f"),
        (f"select id from orders where id in ({', '.join(map(str, range(900)))}, f(1))", "f"),
        (
            f"select id from orders where id in ({', '.join(map(str, range(900)))})"
            " or id in (select f(1))",
            "f",
        ),
        (f"insert into orders values {ROWS}; drop table orders", "drop"),
    ],
)
def test_and_nothing_hides_behind_them(text: str, found: object) -> None:
    statements = facts(text).statements
    seen: set[object] = {key for s in statements for key in s.consumed}
    seen |= {call.name for s in statements for call in s.functions}
    seen |= {action.value for s in statements for action in s.actions}
    assert found in seen


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


def test_no_parser_where_no_target_needs_it() -> None:
    """Importing it takes half a second, in every worker."""
    look = "import sys, appliance.dataplane.protocols as p; assert 'sqlglot' not in sys.modules;"
    look += "p.PROTOCOLS['mysql'].ready(); assert 'sqlglot' in sys.modules"
    subprocess.run([sys.executable, "-c", look], check=True, timeout=60)
