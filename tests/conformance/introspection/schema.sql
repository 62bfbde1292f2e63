-- One object of every kind that programs look at. `app` owns none of it.
CREATE TYPE contact_info AS (street text, private_phone text);
CREATE TYPE order_status AS ENUM ('new', 'paid', 'shipped');
CREATE DOMAIN country_code AS text CHECK (length(VALUE) = 2);
CREATE TABLE customers (
  id int PRIMARY KEY, name text NOT NULL, email text NOT NULL UNIQUE, ssn text, phone text, card_number text,
  country country_code NOT NULL, contact contact_info, profile jsonb, aliases text[],
  tier int NOT NULL DEFAULT 1 CHECK (tier BETWEEN 1 AND 5));
COMMENT ON TABLE customers IS 'people who buy';
COMMENT ON COLUMN customers.email IS 'where we write to';
CREATE INDEX customers_lower_email ON customers (lower(email));
CREATE INDEX customers_country ON customers (country DESC NULLS LAST) WHERE tier > 1;
CREATE STATISTICS customers_stats (dependencies) ON country, tier FROM customers;
CREATE TABLE orders (
  id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id int NOT NULL REFERENCES customers (id) ON DELETE CASCADE DEFERRABLE,
  status order_status NOT NULL, placed_on date NOT NULL, total numeric(10, 2) NOT NULL);
CREATE TABLE events (id bigserial PRIMARY KEY, kind varchar(20) NOT NULL, at timestamptz NOT NULL DEFAULT now());
CREATE TABLE payments (id int, paid_on date, iban text) PARTITION BY RANGE (paid_on);
CREATE TABLE payments_2024 PARTITION OF payments FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE accounts (id int PRIMARY KEY, email text, email_key text GENERATED ALWAYS AS (lower(email)) STORED);
CREATE TABLE people (pid int PRIMARY KEY, nickname text);
CREATE TABLE patients (diagnosis text) INHERITS (people);
CREATE TABLE documents (id int PRIMARY KEY, tenant text);
ALTER TABLE documents ENABLE ROW LEVEL SECURITY;
CREATE POLICY by_tenant ON documents USING (tenant = current_user);
CREATE UNLOGGED TABLE "Odd Table" (id int, "Sp ace" text);
CREATE VIEW v_customers AS SELECT id, name, email AS mail FROM customers;
CREATE VIEW v_deep WITH (security_barrier) AS SELECT id, upper(mail) AS handle FROM v_customers;
CREATE MATERIALIZED VIEW mv_countries AS SELECT country, count(*) AS n FROM customers GROUP BY country;
CREATE SCHEMA hr;
CREATE TABLE hr.staff (id int PRIMARY KEY, email text, boss int REFERENCES hr.staff (id));
CREATE FUNCTION add_tax(numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS 'SELECT round($1 * 1.19, 2)';
CREATE FUNCTION stamp() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
CREATE PROCEDURE tidy() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE longest (text) (sfunc = text_larger, stype = text);
CREATE TRIGGER stamped BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION stamp();
CREATE RULE nothing AS ON DELETE TO events DO INSTEAD NOTHING;
CREATE OPERATOR === (leftarg = int, rightarg = int, function = int4eq);
CREATE COLLATION german (provider = libc, locale = 'C');
CREATE TEXT SEARCH CONFIGURATION simple_too (COPY = simple);
CREATE FOREIGN DATA WRAPPER nowhere;
CREATE SERVER far FOREIGN DATA WRAPPER nowhere OPTIONS (host 'x');
CREATE FOREIGN TABLE far_away (id int) SERVER far;
CREATE PUBLICATION told FOR TABLE orders;
CREATE SEQUENCE counter;
ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO app;
INSERT INTO customers (id, name, email, ssn, country) SELECT n, 'name ' || n, 'mail' || n || '@example.com', '000-' || n, 'DE' FROM generate_series(1, 5) n;
INSERT INTO orders (customer_id, status, placed_on, total) SELECT n, 'new', '2024-01-01', n FROM generate_series(1, 5) n;
GRANT USAGE ON SCHEMA hr TO app;
GRANT SELECT ON ALL TABLES IN SCHEMA public, hr TO app;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO app;
