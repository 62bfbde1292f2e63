"""What becomes of each kind of statement for a principal who owes masks: refused, or harmless for a
reason that stands here. A kind that no line speaks of fails the test."""

import pytest

from appliance.masking.plan import plan
from appliance.model.decision import Decision, Effect, Mask, MaskMethod
from appliance.model.errors import Refused
from appliance.sql.classify import DEFINITIONS, SESSION
from appliance.sql.statements import CLASSIFIED
from tests.unit.sql.conftest import Database

OWING = Decision(Effect.ALLOW, (), owes_masks=True)

REFUSED = """
COPY pg_cast FROM STDIN
CREATE DATABASE d TEMPLATE shop
CREATE DATABASE d OWNER postgres TEMPLATE = 'shop'
CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'
CREATE PROCEDURE f() LANGUAGE sql AS 'SELECT 1'
CREATE TRIGGER t BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION f()
CREATE EVENT TRIGGER t ON ddl_command_start EXECUTE FUNCTION f()
CREATE CAST (int AS text) WITH FUNCTION f(int)
CREATE CAST (int AS text) WITH INOUT
CREATE TRANSFORM FOR int LANGUAGE sql (FROM SQL WITH FUNCTION f(internal))
CREATE OPERATOR CLASS c FOR TYPE int USING btree AS OPERATOR 1 <
CREATE OPERATOR FAMILY c USING btree
CREATE LANGUAGE plsomething HANDLER h
CREATE ACCESS METHOD a TYPE INDEX HANDLER h
CREATE OPERATOR <-> (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int)
CREATE AGGREGATE a (int) (SFUNC = int4pl, STYPE = int)
CREATE TYPE t (INPUT = i, OUTPUT = o)
CREATE TYPE t
CREATE COLLATION c (LOCALE = 'C')
CREATE TEXT SEARCH CONFIGURATION c (COPY = english)
CREATE RULE r AS ON INSERT TO orders DO INSTEAD NOTHING
CREATE RULE r AS ON SELECT TO orders DO INSTEAD SELECT * FROM clients
CREATE CONVERSION c FOR 'UTF8' TO 'LATIN1' FROM utf8_to_iso8859_1
CREATE EXTENSION hstore
LOAD 'x'
ALTER SYSTEM SET work_mem = '1MB'
ALTER DATABASE facts SET search_path = hr
ALTER DATABASE facts CONNECTION LIMIT 3
ALTER DATABASE facts REFRESH COLLATION VERSION
ALTER ROLE somebody SET search_path = hr
ALTER TABLESPACE t SET (seq_page_cost = 1)
CREATE FOREIGN DATA WRAPPER w
ALTER FOREIGN DATA WRAPPER w OPTIONS (a 'b')
CREATE SERVER s FOREIGN DATA WRAPPER w
ALTER SERVER s OPTIONS (a 'b')
CREATE FOREIGN TABLE t (a int) SERVER s
CREATE USER MAPPING FOR somebody SERVER s
ALTER USER MAPPING FOR somebody SERVER s OPTIONS (a 'b')
DROP USER MAPPING FOR somebody SERVER s
IMPORT FOREIGN SCHEMA x FROM SERVER s INTO hr
CREATE PUBLICATION p FOR TABLE clients
ALTER PUBLICATION p ADD TABLE clients
CREATE SUBSCRIPTION s CONNECTION 'x' PUBLICATION p
ALTER SUBSCRIPTION s DISABLE
DROP SUBSCRIPTION s
DO 'BEGIN END'
CALL touch(1)
ALTER TABLE clients RENAME COLUMN email TO e
ALTER TABLE clients ADD COLUMN x text DEFAULT 'a'
ALTER TABLE clients SET SCHEMA hr
ALTER FUNCTION client_email(int) SECURITY DEFINER
ALTER FUNCTION client_email(int) RENAME TO g
ALTER FUNCTION client_email(int) OWNER TO somebody
ALTER FUNCTION client_email(int) DEPENDS ON EXTENSION hstore
ALTER DOMAIN country_code ADD CHECK (client_email(1) = VALUE)
ALTER TYPE mood ADD VALUE 'x'
ALTER EXTENSION hstore UPDATE
ALTER EXTENSION hstore ADD TABLE orders
ALTER OPERATOR FAMILY c USING btree ADD OPERATOR 1 < (int, int)
ALTER OPERATOR <~> (int, int) SET (RESTRICT = NONE)
ALTER COLLATION c REFRESH VERSION
ALTER STATISTICS s SET STATISTICS 3
ALTER TEXT SEARCH CONFIGURATION c ADD MAPPING FOR word WITH simple
ALTER TEXT SEARCH DICTIONARY d (a = b)
ALTER TYPE mood SET (ANALYZE = f)
ALTER EVENT TRIGGER t DISABLE
ALTER TABLE ALL IN TABLESPACE a SET TABLESPACE b
ALTER POLICY p ON clients USING (true)
ALTER TABLE clients REPLICA IDENTITY FULL
CREATE VIEW v AS SELECT email FROM clients
CREATE VIEW v AS SELECT id FROM clients
CREATE TABLE t AS SELECT email FROM clients
SELECT email INTO t FROM clients
CREATE MATERIALIZED VIEW m AS SELECT email FROM clients
CREATE INDEX i ON clients (lower(email))
CREATE TABLE t (a text DEFAULT client_email(1))
CREATE TABLE t (a text CHECK (client_email(1) = a))
CREATE TABLE t (a text GENERATED ALWAYS AS (client_email(1)) STORED)
CREATE TEMP TABLE t (a text DEFAULT client_email(1))
CREATE DOMAIN d AS text CHECK (client_email(1) = VALUE)
CREATE DOMAIN d AS text DEFAULT client_email(1)
CREATE POLICY p ON orders USING (client_email(1) = note)
CREATE SCHEMA s CREATE VIEW v AS SELECT email FROM clients
CREATE INDEX i ON orders (client_email(id))
CREATE INDEX i ON orders (id) WHERE client_email(id) = 'x'
CREATE STATISTICS s ON (client_email(id)), (id + 1) FROM orders
CREATE STATISTICS s ON (lower(email)), id FROM clients
CREATE TYPE r AS RANGE (SUBTYPE = int, SUBTYPE_DIFF = f)
ALTER TABLE orders ADD COLUMN x text DEFAULT client_email(1)
ALTER TABLE orders ALTER COLUMN note TYPE text USING client_email(id)
ALTER TABLE orders ADD CHECK (client_email(1) = note)
ALTER TABLE orders ALTER note SET DEFAULT client_email(1)
PREPARE p AS SELECT client_email(1)
DECLARE c CURSOR FOR SELECT client_email(1)
EXPLAIN SELECT client_email(1)
EXPLAIN ANALYZE EXECUTE p(client_email(1))
EXECUTE p(client_email(1))
COPY (SELECT client_email(1)) TO STDOUT
COPY orders FROM PROGRAM 'x'
SET ROLE somebody
INSERT INTO orders SELECT id, id, 1, email FROM clients
UPDATE orders SET note = client_email(1) WHERE id = 1
DELETE FROM orders WHERE note = client_email(1)
MERGE INTO orders o USING clients c ON c.email = o.note WHEN MATCHED THEN DELETE
"""

HARMLESS = {
    "a session looks at what was prepared (`session/named`)": """
CREATE TABLE t AS EXECUTE p
""",
    "stores nothing of a query, calls nothing": """
CREATE TABLE t (id int PRIMARY KEY, at timestamptz DEFAULT now(), CHECK (id > 0))
CREATE TEMP TABLE t (a text)
CREATE SEQUENCE s
CREATE SCHEMA s
CREATE DOMAIN d AS text CHECK (length(VALUE) < 3)
CREATE TYPE e AS ENUM ('a')
CREATE TYPE c AS (a int)
CREATE POLICY p ON orders USING (id > 0)
CREATE INDEX i ON orders (lower(note))
CREATE STATISTICS s ON id, client_id FROM orders
CREATE TABLE t AS SELECT id FROM orders
CREATE VIEW v AS SELECT id FROM orders
ALTER TABLE orders ADD COLUMN x text
ALTER SEQUENCE events_id_seq INCREMENT 2
ALTER TYPE address ADD ATTRIBUTE z text
""",
    "takes away": """
DROP TABLE orders
DROP FUNCTION client_email(int)
DROP OWNED BY somebody
DROP DATABASE d
DROP TABLESPACE t
TRUNCATE orders
""",
    "names, privileges, roles: the values stay where they are": """
COMMENT ON TABLE orders IS 'x'
SECURITY LABEL ON TABLE orders IS 'x'
GRANT SELECT ON orders TO somebody
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO somebody
REASSIGN OWNED BY a TO b
GRANT somebody TO somebody_else
CREATE ROLE r
ALTER ROLE r PASSWORD 'x'
DROP ROLE r
CREATE DATABASE d
CREATE DATABASE d TEMPLATE template0 OWNER postgres
CREATE TABLESPACE t LOCATION '/x'
""",
    "shows nothing": """
CHECKPOINT
VACUUM orders
REINDEX TABLE orders
CLUSTER orders USING i
REFRESH MATERIALIZED VIEW mv_clients
LOCK TABLE orders
""",
}


def outcome(database: Database, text: str) -> str:
    """'' when it goes, else the refusal."""
    lineage = database.lineage
    clients = database.catalog.relation_named("public", "clients")
    assert clients is not None
    owed = {
        (clients.oid, column.attnum): Mask(MaskMethod.NULL, rule="m")
        for column in clients.columns
        if column.name in ("email", "ssn")
    }
    facts = database.facts(text)
    try:
        for index in range(len(facts.statements)):
            plan(facts, index, OWING, owed, lineage)
    except Refused as refused:
        return f"{refused.refusal.code.value}: {refused.refusal.message}"
    return ""


def lines(text: str) -> list[str]:
    return text.strip().splitlines()


@pytest.mark.parametrize("text", lines(REFUSED))
def test_refused(database: Database, text: str) -> None:
    assert outcome(database, text)


@pytest.mark.parametrize("text", [each for text in HARMLESS.values() for each in lines(text)])
def test_harmless(database: Database, text: str) -> None:
    assert outcome(database, text) == ""


def test_every_kind_is_spoken_of(database: Database) -> None:
    texts = [*lines(REFUSED), *(each for text in HARMLESS.values() for each in lines(text))]
    spoken = {database.one(text).kind for text in texts}
    session = {"TransactionStmt", "VariableSetStmt"} | SESSION.keys()
    spoken.add("ReplicaIdentityStmt")  # part of an ALTER TABLE, never a statement by itself
    assert DEFINITIONS.keys() - spoken == set()
    assert CLASSIFIED - spoken - session == set()
