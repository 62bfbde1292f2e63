-- Objects whose lineage the tests ask for. Loaded by conftest.py into an empty database.
CREATE SCHEMA hr;
CREATE SCHEMA shadow;
CREATE TYPE address AS (street text, city text);
CREATE DOMAIN country_code AS text CHECK (length(VALUE) = 2);
CREATE TYPE mood AS ENUM ('low', 'high');

CREATE TABLE clients (
  id int PRIMARY KEY,
  name text NOT NULL,
  email text NOT NULL UNIQUE,
  ssn varchar(11),
  tags text[],
  home address,
  profile jsonb,
  country country_code,
  dropped_one int,
  email_key text GENERATED ALWAYS AS (lower(email)) STORED,
  tier int NOT NULL DEFAULT 1
);
ALTER TABLE clients DROP COLUMN dropped_one;
CREATE TABLE orders (id int PRIMARY KEY, client_id int NOT NULL, total numeric(10,2) NOT NULL, note text);
CREATE TABLE big_orders (id bigint PRIMARY KEY, client_id bigint, ssn varchar(20), note varchar);
CREATE TABLE events (id serial PRIMARY KEY, kind text NOT NULL, n int);
CREATE TABLE hr.staff (id int PRIMARY KEY, name text NOT NULL, boss int, salary int NOT NULL, email text);
CREATE TABLE shadow.clients (id int, email text);
CREATE TABLE payments (id int NOT NULL, paid_on date NOT NULL, pan text NOT NULL) PARTITION BY RANGE (paid_on);
CREATE TABLE payments_2024 PARTITION OF payments FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE people (pid int PRIMARY KEY, nickname text);
CREATE TABLE patients (diagnosis text) INHERITS (people);
CREATE TABLE "Odd Table" (id int PRIMARY KEY, "Sécret" text, "select" text);

CREATE VIEW v_clients AS SELECT id, name, email AS mail, tier FROM clients;
CREATE VIEW v_deep AS SELECT v.id, upper(v.mail) AS handle, v.name, v.mail FROM v_clients v;
CREATE VIEW v_filtered AS SELECT id, name FROM clients WHERE ssn IS NOT NULL;
CREATE VIEW v_union AS SELECT id, email AS word FROM clients UNION ALL SELECT id, note FROM orders;
CREATE VIEW v_distinct AS SELECT DISTINCT name, ssn FROM clients;
CREATE VIEW v_cte AS WITH c AS (SELECT id, email FROM clients) SELECT c.email, o.total FROM c JOIN orders o ON o.client_id = c.id;
CREATE VIEW v_star AS SELECT * FROM clients;
CREATE VIEW v_rows AS SELECT id, unnest(tags) AS tag FROM clients;
CREATE MATERIALIZED VIEW mv_clients AS SELECT id, email AS address, count(*) OVER () AS n FROM clients;

CREATE FUNCTION client_email(int) RETURNS text LANGUAGE sql STABLE AS 'SELECT email FROM clients WHERE id = $1';
CREATE FUNCTION full_contact(clients) RETURNS text LANGUAGE plpgsql STABLE AS 'BEGIN RETURN $1.name || $1.email; END';
CREATE FUNCTION all_clients() RETURNS SETOF clients LANGUAGE sql STABLE AS 'SELECT * FROM clients';
CREATE FUNCTION shadow.lower(text) RETURNS text LANGUAGE plpgsql AS 'BEGIN RETURN $1; END';
CREATE FUNCTION shadow.near(int, int) RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN $1 = $2; END';
CREATE OPERATOR shadow.<~> (LEFTARG = int, RIGHTARG = int, FUNCTION = shadow.near);
CREATE PROCEDURE touch(int) LANGUAGE sql AS 'UPDATE events SET n = 1 WHERE id = $1';

CREATE TABLE ruled (id int, note text);
CREATE RULE also AS ON INSERT TO ruled DO ALSO INSERT INTO events (kind) VALUES ('x');

INSERT INTO clients (id, name, email, ssn, tags, home, profile, country)
SELECT n, 'name ' || n, 'mail' || n || '@example.com', '000-00-000' || n, ARRAY['a', 'b'], ROW('s', 'c')::address,
  '{"a": {"b": 1}}', 'DE' FROM generate_series(1, 3) n;
INSERT INTO orders SELECT n, n, n * 10, 'note' FROM generate_series(1, 3) n;
INSERT INTO big_orders SELECT n, n, 'x', 'y' FROM generate_series(1, 3) n;
INSERT INTO hr.staff SELECT n, 'staff ' || n, nullif(n - 1, 0), n * 1000, 'staff' || n FROM generate_series(1, 3) n;
INSERT INTO payments VALUES (1, '2024-02-02', '4111');
REFRESH MATERIALIZED VIEW mv_clients;

CREATE TABLE houses (id int PRIMARY KEY, street text);
CREATE TABLE rooms (id int PRIMARY KEY, house int REFERENCES houses ON DELETE CASCADE ON UPDATE SET NULL, size int);
CREATE TABLE chairs (id int PRIMARY KEY, room int REFERENCES rooms ON DELETE SET NULL);
CREATE TABLE lamps (id int PRIMARY KEY, room int REFERENCES rooms);
CREATE VIEW v_houses AS SELECT id AS number, street FROM houses;
