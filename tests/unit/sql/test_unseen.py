"""What runs without being named: functions behind types, casts, defaults, checks, indexes, triggers
and row security; and SQL functions whose bodies are as harmless as a view."""

import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.facts import StatementFacts
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import DATABASE, Database, read_catalog

MADE = """
CREATE SCHEMA dark;
CREATE FUNCTION dark.ok(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION dark.word() RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE FUNCTION dark.key(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN $1; END';
CREATE FUNCTION dark.fire() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE FUNCTION dark.fire_at(int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION dark.mine(text) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';
CREATE FUNCTION dark.clean_ok(text) RETURNS boolean LANGUAGE sql AS 'SELECT length($1) > 0';

CREATE DOMAIN dark.short AS text CHECK (length(VALUE) < 9);
CREATE DOMAIN dark.odd AS text CHECK (dark.ok(VALUE));
CREATE DOMAIN dark.odder AS dark.odd DEFAULT 'x';
CREATE DOMAIN dark.fine AS text CHECK (dark.clean_ok(VALUE));
CREATE TYPE dark.pair AS (a dark.odd, b int);
CREATE TYPE dark.harmless AS (a dark.short, b mood);
CREATE TYPE dark.odd_range AS RANGE (SUBTYPE = dark.odd);

CREATE TABLE dark.plain (id serial PRIMARY KEY, at timestamptz DEFAULT now(), note text,
  kind mood DEFAULT 'low', CHECK (lower(note) <> 'x'));
CREATE TABLE dark.defaulted (id int, note text DEFAULT dark.word());
CREATE TABLE dark.checked (id int, note text CHECK (dark.ok(note)));
CREATE TABLE dark.indexed (id int, note text);
CREATE INDEX ON dark.indexed (dark.key(note));
CREATE TABLE dark.partly (id int, note text);
CREATE INDEX ON dark.partly (id) WHERE dark.key(note) = 'x';
CREATE TABLE dark.typed (id int, note dark.odd);
CREATE TABLE dark.computed (id int, note text,
  made text GENERATED ALWAYS AS (dark.key(note)) STORED);
CREATE TABLE dark.fired (id int, note text);
CREATE TRIGGER t BEFORE INSERT ON dark.fired FOR EACH ROW EXECUTE FUNCTION dark.fire();
CREATE TABLE dark.sometimes (id int, note text);
CREATE TRIGGER t BEFORE INSERT ON dark.sometimes FOR EACH ROW WHEN (dark.fire_at(NEW.id))
  EXECUTE FUNCTION suppress_redundant_updates_trigger();
CREATE TABLE dark.quiet (id int);
CREATE TRIGGER t BEFORE INSERT ON dark.quiet FOR EACH ROW EXECUTE FUNCTION dark.fire();
ALTER TABLE dark.quiet DISABLE TRIGGER t;
CREATE TABLE dark.whole (id int) PARTITION BY LIST (id);
CREATE TABLE dark.part PARTITION OF dark.whole FOR VALUES IN (1);
CREATE TRIGGER t BEFORE INSERT ON dark.part FOR EACH ROW EXECUTE FUNCTION dark.fire();
CREATE TABLE dark.above (id int PRIMARY KEY);
CREATE TABLE dark.below (id int REFERENCES dark.above ON DELETE CASCADE, note text);
CREATE TRIGGER t AFTER DELETE ON dark.below FOR EACH ROW EXECUTE FUNCTION dark.fire();
CREATE VIEW dark.updatable AS SELECT id, note FROM dark.fired;
CREATE VIEW dark.instead AS SELECT id FROM dark.plain;
CREATE TRIGGER t INSTEAD OF INSERT ON dark.instead FOR EACH ROW EXECUTE FUNCTION dark.fire();
CREATE VIEW dark.ruled AS SELECT id FROM dark.plain;
CREATE RULE r AS ON INSERT TO dark.ruled DO INSTEAD NOTHING;
CREATE TABLE dark.secured (id int, owner text);
CREATE POLICY p ON dark.secured USING (dark.mine(owner));
ALTER TABLE dark.secured ENABLE ROW LEVEL SECURITY;
CREATE TABLE dark.unsecured (id int, owner text);
CREATE POLICY p ON dark.unsecured USING (dark.mine(owner));
"""


def below(facts: StatementFacts) -> set[str]:
    return {use.name for use in (*facts.functions, *facts.functions_below)}


@pytest.fixture(scope="module")
def dark(any_database: Database) -> Database:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(MADE)
        connection.execute(BODIES)
        catalog = read_catalog(connection, inside=True)
    return Database(any_database.uri, CatalogLineage(catalog), any_database.settings)


WRITES = {
    "insert into dark.plain (note) values ('x')": set(),
    "insert into dark.defaulted (id) values (1)": {"word"},
    "insert into dark.checked values (1, 'x')": {"ok"},
    "update dark.checked set id = 2 where id = 1": {"ok"},
    "delete from dark.checked where id = 1": set(),
    "insert into dark.indexed values (1, 'x')": {"key"},
    "insert into dark.partly values (1, 'x')": {"key"},
    "select id from dark.indexed where note = 'x'": set(),
    "insert into dark.typed values (1, 'x')": {"ok"},
    "select note from dark.typed": set(),
    "insert into dark.computed (id) values (1)": {"key"},
    "insert into dark.fired values (1, 'x')": {"fire"},
    "insert into dark.fired values (1, 'x') on conflict do nothing": {"fire"},
    "delete from dark.fired where id = 1": {"fire"},
    "select * from dark.fired": set(),
    "truncate dark.fired": {"fire"},
    "copy dark.fired from stdin": {"fire"},
    "copy dark.fired to stdout": set(),
    "merge into dark.fired f using dark.plain p on p.id = f.id when not matched then"
    " insert values (1, 'x')": {"fire"},
    "with w as (insert into dark.fired values (1, 'x')) select 1": {"fire"},
    "explain insert into dark.fired values (1, 'x')": {"fire"},
    "prepare p as insert into dark.fired values (1, 'x')": {"fire"},
    "insert into dark.sometimes values (1, 'x')": {"fire_at"},
    "insert into dark.quiet values (1)": set(),
    "insert into dark.whole values (1)": {"fire"},
    "insert into dark.above values (1)": {"fire"},
    "delete from dark.above where id = 1": {"fire"},
    "insert into dark.updatable values (1, 'x')": {"fire"},
    "insert into dark.instead values (1)": {"fire"},
    "select id from dark.instead": set(),
    "insert into dark.secured values (1, 'x')": {"mine"},
    "select id from dark.secured": {"mine"},
    "select id from dark.unsecured": set(),
}


@pytest.mark.parametrize("text", WRITES)
def test_what_a_written_row_passes_through(dark: Database, text: str) -> None:
    facts = dark.one(text)
    assert below(facts) == WRITES[text]
    assert all(use.candidates for use in facts.functions_below)


def test_rules_of_views_write_elsewhere(dark: Database) -> None:
    assert "rules of dark.ruled" in dark.one("insert into dark.ruled values (1)").unresolved[0]
    assert dark.one("select id from dark.ruled").unresolved == ()
    assert dark.one("insert into v_clients (id) values (1)").unresolved == ()


TYPES = {
    "select 'x'::mood, 'x'::country_code": set(),
    "select 'x'::dark.short": set(),
    "select 'x'::dark.fine": set(),
    "select 'x'::dark.odd": {"ok"},
    "select cast('x' as dark.odder)": {"ok"},
    "select '{x}'::dark.odd[]": {"ok"},
    "select '(x,1)'::dark.pair": {"ok"},
    "select '(x,low)'::dark.harmless": set(),
    "select '[a,b]'::dark.odd_range": {"ok"},
    "select '(1,x)'::dark.typed": {"ok"},
    "select json_populate_record(null::dark.typed, '{}')": {"ok"},
    "select * from json_to_record('{}') as r (a dark.odd)": {"ok"},
    "select jsonb_populate_record(t, '{}') from dark.typed t": {"ok"},
    "select 'x'::pg_temp.something": {"type something"},
    "prepare p (dark.odd) as select $1": {"ok"},
    "create temp table mine (a dark.odd)": {"ok"},
    "create temp table mine (a dark.short)": set(),
    "select pg_input_is_valid('x', 'dark.odd')": {"ok"},
}


@pytest.mark.parametrize("text", TYPES)
def test_types_call_functions(dark: Database, text: str) -> None:
    assert below(dark.one(text)) == TYPES[text]


def test_a_type_of_any_schema_in_the_path_counts(dark: Database) -> None:
    settings = dark.settings.__class__(database=dark.settings.database, search_path=("dark",))
    assert below(dark.one("select 'x'::odd", settings)) == {"ok"}
    assert below(dark.one("select 'x'::odd")) == set()


CASTS = """
CREATE FUNCTION dark.as_text(dark.plain) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN 1; END';
CREATE CAST (dark.plain AS text) WITH FUNCTION dark.as_text(dark.plain) AS IMPLICIT;
"""


@pytest.mark.parametrize(
    ("text", "called"),
    [
        ("select p::text from dark.plain p", True),
        ("select p || 'x' from dark.plain p", True),
        ("select null::dark.plain", True),
        ("select (select p from dark.plain p)", True),
        ("select $1 || 'x' from orders", True),
        ("select id from orders", False),
        ("select id || 'x' from orders", False),
    ],
)
def test_casts_made_by_create_cast(any_database: Database, text: str, called: bool) -> None:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(MADE + CASTS)
        lineage = CatalogLineage(read_catalog(connection, inside=True))
    facts = Database(any_database.uri, lineage, any_database.settings).one(text)
    assert ("as_text" in below(facts)) == called


BODIES = r"""
CREATE FUNCTION dark.f1(int) RETURNS text LANGUAGE sql AS 'SELECT upper($1::text)';
CREATE FUNCTION dark.f2(n int) RETURNS numeric LANGUAGE sql AS
  'SELECT sum(total) FROM public.orders WHERE client_id = n';
CREATE FUNCTION dark.f3(n int) RETURNS text LANGUAGE sql AS
  'SELECT email FROM public.clients WHERE id = n';
CREATE FUNCTION dark.f4(n int) RETURNS text LANGUAGE sql AS 'SELECT dark.f3(n)';
CREATE FUNCTION dark.f5(n int) RETURNS text LANGUAGE sql SET search_path = public AS
  'SELECT note FROM orders WHERE id = n';
CREATE FUNCTION dark.f6(n int) RETURNS text LANGUAGE sql BEGIN ATOMIC
  SELECT note FROM public.orders WHERE id = n; END;
CREATE FUNCTION dark.f7(n int) RETURNS int LANGUAGE sql RETURN n + 1;
CREATE FUNCTION dark.f8(text) RETURNS text LANGUAGE sql SECURITY DEFINER AS
  'SELECT nickname FROM public.people WHERE pid = 1';
CREATE FUNCTION dark.f9(text) RETURNS text LANGUAGE sql AS
  $$ SELECT regexp_replace($1, '\D', E'\'', N'\w') $$;
CREATE FUNCTION dark.f10() RETURNS text LANGUAGE sql AS
  $$ SELECT '\'' || (SELECT ssn FROM public.clients) --' $$;

CREATE FUNCTION dark.g1(n int) RETURNS text LANGUAGE sql AS 'SELECT note FROM orders WHERE id = n';
CREATE FUNCTION dark.g2() RETURNS text LANGUAGE sql AS 'SELECT lower(name) FROM public.clients';
CREATE FUNCTION dark.g3() RETURNS int LANGUAGE sql AS
  'UPDATE public.events SET n = 1 RETURNING n';
CREATE FUNCTION dark.g4() RETURNS int LANGUAGE sql AS 'SELECT 1; SELECT 2';
CREATE FUNCTION dark.g5() RETURNS text LANGUAGE sql AS 'SELECT dark.word()';
CREATE FUNCTION dark.g6() RETURNS xml LANGUAGE sql AS
  $$ SELECT query_to_xml('select ssn from clients', true, true, '') $$;
CREATE FUNCTION dark.g7() RETURNS text LANGUAGE sql AS
  'SELECT staattnum::text FROM pg_catalog.pg_statistic';
CREATE FUNCTION dark.g8(a dark.odd) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION dark.g9(a text DEFAULT dark.word()) RETURNS int LANGUAGE sql AS 'SELECT 1';
CREATE FUNCTION dark.g10() RETURNS void LANGUAGE sql AS $$ SELECT set_config('role', 'x', false) $$;
CREATE FUNCTION dark.g11() RETURNS dark.odd LANGUAGE sql AS $$ SELECT 'x'::text::dark.odd $$;
CREATE FUNCTION dark.g12() RETURNS text LANGUAGE sql SET search_path = '$user', public AS
  'SELECT note FROM orders';
CREATE FUNCTION dark.g13() RETURNS text LANGUAGE sql AS
  $$ SELECT '\'' || (SELECT dark.word()) --' $$;
"""

CLEAN = {
    "select dark.f1(1)": set(),
    "select dark.f2(1)": {"orders.*", "orders.total", "orders.client_id"},
    "select dark.f3(1)": {"clients.*", "clients.email", "clients.id"},
    "select dark.f4(1)": {"clients.*", "clients.email", "clients.id"},
    "select dark.f5(1)": {"orders.*", "orders.note", "orders.id"},
    "select dark.f6(1)": {"orders.*", "orders.note", "orders.id"},
    "select dark.f7(1)": set(),
    "select dark.f8('x')": {"people.*", "people.nickname", "people.pid"},
    "select dark.f9('x')": set(),
    "select dark.f10()": {"clients.*", "clients.ssn"},
}


@pytest.mark.parametrize("text", CLEAN)
def test_bodies_that_are_as_harmless_as_a_view(dark: Database, text: str) -> None:
    facts = dark.one(text)
    assert below(facts) == set()
    assert dark.names(facts.reads_inside) == CLEAN[text]
    assert facts.calls


@pytest.mark.parametrize("n", range(1, 14))
def test_bodies_that_are_not(dark: Database, n: int) -> None:
    """In order: names of the caller's path, a name with a namesake in a user's schema, a write, two
    statements, a function that is not known, SQL in a string, secrets, types and defaults that
    call, a setting, a type that calls, a path with the caller's schema, what is a string only while
    standard_conforming_strings is on."""
    argument = "1" if n == 1 else "'x'" if n == 8 else ""
    facts = dark.one(f"select dark.g{n}({argument})")
    (use,) = facts.functions
    assert (use.name, len(use.candidates)) == (f"g{n}", 1)


def test_a_view_passes_on_what_bodies_read(any_database: Database) -> None:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(MADE + BODIES)
        connection.execute("CREATE VIEW dark.looks AS SELECT dark.f3(id) AS e FROM orders")
        lineage = CatalogLineage(read_catalog(connection, inside=True))
    made = Database(any_database.uri, lineage, any_database.settings)
    assert made.names(made.one("select e from dark.looks").reads_inside) == {
        "clients.*",
        "clients.email",
        "clients.id",
    }


OPERATORS = """
CREATE OPERATOR dark.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = dark.same);
CREATE OPERATOR dark.!!! (LEFTARG = int, RIGHTARG = int, FUNCTION = dark.differs);
CREATE OPERATOR dark.??? (LEFTARG = text, RIGHTARG = text, FUNCTION = pg_catalog.textlike);
"""


def test_operators_by_the_functions_they_call(any_database: Database) -> None:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(MADE)
        connection.execute(
            "CREATE FUNCTION dark.same(int, int) RETURNS bool LANGUAGE sql AS 'SELECT $1 = $2';"
            "CREATE FUNCTION dark.differs(int, int) RETURNS bool LANGUAGE plpgsql"
            " AS 'BEGIN RETURN true; END'"
        )
        connection.execute(OPERATORS)
        lineage = CatalogLineage(read_catalog(connection, inside=True))
    made = Database(any_database.uri, lineage, any_database.settings)
    assert made.one("select 1 operator(dark.===) 2").functions == ()
    (use,) = made.one("select 1 operator(dark.!!!) 2").functions
    assert (use.name, len(use.candidates)) == ("operator !!!", 1)
    (use,) = made.one("select 'a' operator(dark.???) 'b'").functions
    assert use.candidates == ()
    (use,) = made.one("select 'a' operator(dark.~~~~) 'b'").functions
    assert use.candidates == ()


IMPLIED = """
CREATE SCHEMA implied;
CREATE FUNCTION implied.same(varchar, varchar) RETURNS bool LANGUAGE plpgsql AS
  'BEGIN RETURN true; END';
CREATE OPERATOR implied.= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = implied.same);
CREATE OPERATOR implied.>= (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = implied.same);
CREATE OPERATOR implied.> (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = implied.same);
CREATE TABLE implied.a (id int, note varchar);
CREATE TABLE implied.b (no int, note varchar);
SET LOCAL search_path = implied;
CREATE VIEW implied.cased AS SELECT CASE note WHEN 'x'::varchar THEN 1 END FROM implied.a;
CREATE VIEW implied.joined AS SELECT a.id FROM implied.a JOIN implied.b USING (note);
CREATE VIEW implied.nulled AS SELECT nullif(note, 'x'::varchar) FROM implied.a;
CREATE VIEW implied.apart AS SELECT note IS DISTINCT FROM 'x'::varchar FROM implied.a;
CREATE VIEW implied.listed AS SELECT note IN (SELECT note FROM implied.b) FROM implied.a;
CREATE VIEW implied.plain AS SELECT id, id = 1 AS one FROM implied.a WHERE id BETWEEN 1 AND 2;
CREATE TABLE implied.checked (note varchar CHECK (CASE note WHEN 'x'::varchar THEN true END));
RESET search_path;
"""
MEANT = {
    "select case note when 'x'::varchar then 1 end from implied.a": "=",
    "select case when id > 1 then 1 end from implied.a": ">",
    "select 1 from implied.a join implied.b using (note)": "=",
    "select 1 from implied.a natural join implied.b": "=",
    "select 1 from implied.a cross join implied.b": "",
    "select note in (select note from implied.b) from implied.a": "=",
    "select (note, 1) in (select note, 1 from implied.b) from implied.a": "=",
    "select 1 from implied.a where note not in (select note from implied.b)": "=",
    "select 1 from implied.a where exists (select from implied.b)": "",
    "select array(select note from implied.b)": "",
    "select 1 from implied.a where note between 'a' and 'b'": ">=",
    "select 1 from implied.a where note between symmetric 'a' and 'b'": ">=",
    "select 1 from implied.a where note not between 'a' and 'b'": ">",
    "create index on implied.a ((case note when 'x'::varchar then 1 end))": "=",
    "create index on implied.a ((note between 'a' and 'b'))": ">=",
}
BOUND = {
    "select * from implied.cased": "=",
    "select * from implied.joined": "=",
    "select * from implied.nulled": "=",
    "select * from implied.apart": "=",
    "select * from implied.listed": "=",
    "insert into implied.checked values ('x')": "=",
    "select * from implied.plain": "",
}


@pytest.fixture(scope="module")
def implied(any_database: Database) -> Database:
    with any_database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(IMPLIED)
        catalog = read_catalog(connection, inside=True)
    return Database(any_database.uri, CatalogLineage(catalog), any_database.settings)


@pytest.mark.parametrize("text", MEANT)
def test_operators_that_a_text_means(implied: Database, text: str) -> None:
    wanted = {f"operator {MEANT[text]}"} if MEANT[text] else set()
    within = SessionSettings(database=DATABASE, search_path=("implied",))
    assert below(implied.one(text, within)) == wanted
    assert below(implied.one(text)) == set()
    doubtful = SessionSettings(database=DATABASE, search_path=("public",), certain=False)
    assert below(implied.one(text, doubtful)) == wanted


@pytest.mark.parametrize("text", BOUND)
def test_operators_that_a_definition_does_not_print(implied: Database, text: str) -> None:
    assert below(implied.one(text)) == ({f"operator {BOUND[text]}"} if BOUND[text] else set())
