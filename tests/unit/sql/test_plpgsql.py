"""Trigger functions in PL/pgSQL: which are known to leave nothing in the session."""

import pytest

from appliance.model.decision import Trust
from appliance.model.facts import FunctionUse
from appliance.session.changes import leaves_nothing
from appliance.sql import plpgsql
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import Database, read_catalog

READ = {
    "BEGIN NEW.at := now(); RETURN NEW; END": ["SELECT now()", "SELECT NEW"],
    'begin -- a\n new."At" = 1 /* ; */ + 2; return null; end;': [
        "SELECT 1 /* ; */ + 2",
        "SELECT null",
    ],
    "BEGIN IF NEW.a THEN NULL; ELSIF (CASE WHEN NEW.b THEN 1 END) = 1 THEN RETURN OLD;"
    " ELSE IF found THEN NULL; END IF; END IF; RETURN NEW; END": [
        "SELECT NEW.a ",
        "SELECT (CASE WHEN NEW.b THEN 1 END) = 1 ",
        "SELECT OLD",
        "SELECT found ",
        "SELECT NEW",
    ],
    "BEGIN NEW.été := '€' || NEW.été /* € */; RETURN NEW; END": [
        "SELECT '€' || NEW.été /* € */",
        "SELECT NEW",
    ],
    "BEGIN RAISE EXCEPTION 'no % of %', f(1, 2), NEW.a; END": ["SELECT f(1, 2)", "SELECT NEW.a"],
    "BEGIN INSERT INTO a.log VALUES (NEW.*, ';'); PERFORM f(); RETURN NULL; END": [
        "INSERT INTO a.log VALUES (NEW.*, ';')",
        "SELECT f()",
        "SELECT NULL",
    ],
}
BEYOND = (
    "",
    "BEGIN",
    "BEGIN RETURN NEW; END x",
    "BEGIN RETURN NEW; END; SELECT 1",
    "BEGIN RETURN; END",
    "BEGIN RETURN (NEW; END",
    "BEGIN RETURN NEW); END",
    "BEGIN EXECUTE 'SELECT 1'; RETURN NEW; END",
    "BEGIN SET search_path = x; RETURN NEW; END",
    "BEGIN SELECT 1 INTO NEW.a; RETURN NEW; END",
    "BEGIN INSERT INTO a SELECT 1 INTO x; RETURN NEW; END",
    "BEGIN UPDATE a SET b = 1; RETURN NEW; END",
    "BEGIN NEW := OLD; RETURN NEW; END",
    "BEGIN NEW.a.b := 1; RETURN NEW; END",
    "BEGIN NEW.a[1] := 1; RETURN NEW; END",
    "BEGIN x := 1; RETURN NEW; END",
    "BEGIN CALL x(); RETURN NEW; END",
    "BEGIN RAISE; END",
    "BEGIN RAISE NOTICE 'x' USING HINT = f(); END",
    "BEGIN RAISE division_by_zero; END",
    "BEGIN FOR i IN 1..2 LOOP NULL; END LOOP; END",
    "BEGIN BEGIN NULL; END; END",
    "BEGIN NULL; EXCEPTION WHEN others THEN NULL; END",
    "DECLARE x int := f(); BEGIN RETURN NEW; END",
    "<<x>> BEGIN RETURN NEW; END",
    "#variable_conflict error\nBEGIN RETURN NEW; END",
    "BEGIN NEW.a := '\\'; RETURN NEW; END",
    "BEGIN NEW.a := 'x; RETURN NEW; END",
    "BEGIN " + "IF true THEN " * 40 + "NULL; " + "END IF; " * 40 + "END",
)


@pytest.mark.parametrize("body", READ)
def test_what_is_evaluated(body: str) -> None:
    steps = plpgsql.steps_of(body)
    assert steps is not None
    assert [step.text for step in steps] == READ[body]
    assert [step.evaluates for step in steps] == [t.startswith("SELECT") for t in READ[body]]


@pytest.mark.parametrize("body", BEYOND)
def test_what_is_beyond(body: str) -> None:
    assert plpgsql.steps_of(body) is None


MADE = """
CREATE SCHEMA hush;
CREATE SCHEMA loud;
CREATE FUNCTION loud.sets(text) RETURNS text LANGUAGE plpgsql AS
  $$ BEGIN PERFORM set_config('search_path', 'loud', false); RETURN $1; END $$;
CREATE FUNCTION loud.initcap(varchar) RETURNS text LANGUAGE sql AS 'SELECT loud.sets($1)';
CREATE OPERATOR loud.|| (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = loud.joins);
CREATE TABLE hush.log (id serial, op text, said json, at timestamptz DEFAULT now());
CREATE TABLE loud.checked (a text CHECK (loud.sets(a) = a));
CREATE TABLE loud.ruled (a text);
CREATE RULE r AS ON INSERT TO loud.ruled DO ALSO SELECT loud.sets('x');
CREATE VIEW loud.others AS SELECT statement FROM pg_prepared_statements;
CREATE VIEW loud.sees AS SELECT loud.sets('x') AS x;
""".replace(
    "CREATE OPERATOR",
    """CREATE FUNCTION loud.joins(varchar, varchar) RETURNS text LANGUAGE sql AS
  'SELECT loud.sets($1)'; CREATE OPERATOR""",
)
STATELESS = (
    "NEW.at := now();",
    "NEW.note := md5(NEW.note); NEW.id = OLD.id + 1;",
    "IF NEW.* IS DISTINCT FROM OLD.* THEN NEW.at := CURRENT_TIMESTAMP; END IF;",
    "IF TG_OP = 'DELETE' THEN RETURN OLD; ELSE RAISE EXCEPTION 'no %', TG_ARGV[0]; END IF;",
    "INSERT INTO hush.log (op, said) VALUES (TG_OP, row_to_json(NEW));",
    "NEW.id := (SELECT count(*) FROM hush.log);",
    "NEW.note := current_setting('search_path');",
    "NEW.id := CAST(NEW.note AS int) + '1'::pg_catalog.int4;",
)
LOUD = (
    "PERFORM set_config('search_path', 'loud', false);",
    "NEW.note := set_config('role', 'x', false);",
    "NEW.note := loud.sets(NEW.note);",
    "NEW.note := initcap(NEW.note);",  # loud's, if that is in the path
    "NEW.note := NEW.note || 'x';",
    "NEW.note := (SELECT x FROM loud.sees);",
    "PERFORM 1 FROM loud.sets('x');",
    "NEW.note := (SELECT min(statement) FROM pg_catalog.pg_prepared_statements);",
    "NEW.note := (SELECT min(statement) FROM loud.others);",
    "NEW.note := 'x' FROM loud.sets('x');",
    "NEW.note := unknown(NEW.note);",
    "NEW.note := NEW.other;",
    "NEW.note := NEW.id::text;",  # there may be pg_temp.text
    'NEW.note := CAST(NEW.id AS "numeric");',
    "PERFORM pg_notify('a', 'b');",
    "PERFORM pg_advisory_lock(1);",
    "INSERT INTO log (op) VALUES ('x');",  # whose?
    "INSERT INTO loud.checked VALUES ('x');",
    "INSERT INTO loud.ruled VALUES ('x');",
    "INSERT INTO hush.log (op) VALUES (loud.sets('x'));",
    "INSERT INTO pg_catalog.pg_settings (name) VALUES ('x');",
    "INSERT INTO hush.itself VALUES (1);",
)


def called(database: Database, body: str, more: str = "", then: str = "") -> list[FunctionUse]:
    with database.connect() as connection, connection.transaction(force_rollback=True):
        connection.execute(MADE)
        connection.execute(
            f"""CREATE TABLE hush.itself (id int, note text, at timestamptz);
            CREATE FUNCTION hush.fired() RETURNS trigger LANGUAGE plpgsql {more} AS
              $body$ BEGIN {body} RETURN NEW; END $body$;
            CREATE TRIGGER t BEFORE INSERT ON hush.itself
              FOR EACH ROW EXECUTE FUNCTION hush.fired(); {then}"""
        )
        catalog = read_catalog(connection, inside=True)
    found = Database(database.uri, CatalogLineage(catalog), database.settings)
    (statement,) = found.facts("INSERT INTO hush.itself VALUES (1)").statements
    return list(statement.functions_below)


@pytest.mark.parametrize("body", STATELESS)
def test_what_leaves_nothing(any_database: Database, body: str) -> None:
    (use,) = called(any_database, body)
    assert use.name == "fired" and use.stateless and use.candidates, "nobody knows what it shows"
    assert leaves_nothing(use, Trust())


@pytest.mark.parametrize("body", LOUD)
def test_what_may_leave_something(any_database: Database, body: str) -> None:
    uses = called(any_database, body)
    assert "fired" in [use.name for use in uses if not leaves_nothing(use, Trust())]


@pytest.mark.parametrize(
    ("more", "stateless"),
    [
        ("SET search_path = hush", True),
        ("SECURITY DEFINER", True),
        ("SET role = 'postgres'", False),
        ("SET work_mem = '9MB'", False),
    ],
)
def test_settings_of_a_function(any_database: Database, more: str, stateless: bool) -> None:
    (use,) = called(any_database, "NEW.at := now();", more)
    assert use.stateless is stateless


@pytest.mark.parametrize("body", ["INSERT INTO log (op) VALUES ('x');", LOUD[3]])
def test_a_path_of_its_own_does_not_say_whose(any_database: Database, body: str) -> None:
    """The caller may have a temporary table of that name, with a trigger."""
    for path in ("hush", "loud"):
        uses = called(any_database, body, f"SET search_path = {path}")
        assert not all(use.stateless for use in uses)


CASTS = """CREATE FUNCTION loud.number(text) RETURNS int LANGUAGE plpgsql AS
  $$ BEGIN PERFORM loud.sets('x'); RETURN 1; END $$;
CREATE CAST (text AS int) WITH FUNCTION loud.number(text) AS ASSIGNMENT;"""


def test_a_cast_that_somebody_made_may_be_what_assigns(any_database: Database) -> None:
    uses = called(any_database, "NEW.id := TG_OP;", then=CASTS)
    assert {use.name: use.stateless for use in uses} == {"fired": False, "number": False}


OPERATORS = "".join(
    f"CREATE OPERATOR loud.{name} (LEFTARG = varchar, RIGHTARG = varchar, FUNCTION = loud.same);"
    for name in ("=", "<", ">=", "~~", "!~~*", "~")
)
HIDDEN = (
    "NEW.id := CASE NEW.note WHEN 'x' THEN 1 END;",
    "NEW.note := NULLIF(NEW.note, 'x');",
    "IF NEW.note IN ('x', 'y') THEN NULL; END IF;",
    "IF NEW.note NOT BETWEEN 'x' AND 'y' THEN NULL; END IF;",
    "IF NEW.note IS DISTINCT FROM OLD.note THEN NULL; END IF;",
    "IF (NEW.note, 1) = (OLD.note, 1) THEN NULL; END IF;",
    "IF NEW.note = ANY (TG_ARGV) THEN NULL; END IF;",
    "IF NEW.note LIKE 'x' THEN NULL; END IF;",
    "IF NEW.note NOT ILIKE 'x' THEN NULL; END IF;",
    "IF NEW.note SIMILAR TO 'x' THEN NULL; END IF;",
    "IF NEW.note IN (SELECT op FROM hush.log) THEN NULL; END IF;",
)


@pytest.mark.parametrize("body", HIDDEN)
def test_operators_that_are_not_written(any_database: Database, body: str) -> None:
    made = f"""CREATE FUNCTION loud.same(varchar, varchar) RETURNS boolean LANGUAGE plpgsql AS
      $$ BEGIN PERFORM loud.sets('x'); RETURN true; END $$; {OPERATORS}"""
    assert not any(use.stateless for use in called(any_database, body, then=made))
    (use,) = called(any_database, body)
    assert use.stateless
