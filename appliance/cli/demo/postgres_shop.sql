-- The sample database `shop`: tables first (postgres_shop.py fills them), then what is made from them.
-- Everything belongs to app_dba. app_analyst and app_agent may do more here than policy lets them:
-- what they see and may do is Sallyport's to say.

CREATE TABLE customers (
    id            int PRIMARY KEY,
    name          text NOT NULL,
    email         text NOT NULL UNIQUE,
    phone         text,
    ssn           text,
    date_of_birth date,
    card_number   text,
    balance       numeric(12, 2) NOT NULL,
    credit_score  int NOT NULL,
    country       text NOT NULL,
    preferences   jsonb NOT NULL,
    tags          text[] NOT NULL,
    created_at    timestamptz NOT NULL
);

CREATE TABLE products (
    id    int PRIMARY KEY,
    sku   text NOT NULL UNIQUE,
    title text NOT NULL,
    price numeric(8, 2) NOT NULL
);

CREATE TABLE orders (
    id          int NOT NULL,
    customer_id int NOT NULL REFERENCES customers,
    product_id  int NOT NULL REFERENCES products,
    placed_on   date NOT NULL,
    status      text NOT NULL,
    quantity    int NOT NULL,
    total       numeric(10, 2) NOT NULL,
    PRIMARY KEY (id, placed_on)
) PARTITION BY RANGE (placed_on);
CREATE TABLE orders_2024 PARTITION OF orders FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE orders_2025 PARTITION OF orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE orders_2026 PARTITION OF orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');

CREATE TABLE payments (
    id          int PRIMARY KEY,
    order_id    int NOT NULL,
    customer_id int NOT NULL REFERENCES customers,
    paid_at     timestamptz NOT NULL,
    amount      numeric(10, 2) NOT NULL,
    method      text NOT NULL,
    card_number text,
    iban        text
);

CREATE TABLE employees (
    id           int PRIMARY KEY,
    name         text NOT NULL,
    email        text NOT NULL UNIQUE,
    department   text NOT NULL,
    manager_id   int REFERENCES employees,
    salary       int NOT NULL,
    hired_on     date NOT NULL,
    bank_account text NOT NULL
);

CREATE TABLE api_keys (
    id         int PRIMARY KEY,
    owner      text NOT NULL,
    scopes     text[] NOT NULL,
    api_key    text NOT NULL,
    created_at timestamptz NOT NULL,
    revoked    boolean NOT NULL
);

CREATE TABLE support_tickets (
    id          int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    opened_by   text NOT NULL,
    subject     text NOT NULL,
    status      text NOT NULL DEFAULT 'open'
);
-- filled

CREATE INDEX orders_customer ON orders (customer_id);
CREATE INDEX payments_customer ON payments (customer_id);

CREATE VIEW customer_contacts AS
    SELECT id, name, email AS mail, phone, country FROM customers;

CREATE MATERIALIZED VIEW best_customers AS
    SELECT c.id, c.name, c.email, sum(o.total) AS revenue
    FROM customers c JOIN orders o ON o.customer_id = c.id
    GROUP BY c.id ORDER BY revenue DESC, c.id LIMIT 100;

CREATE VIEW revenue_by_country AS
    SELECT c.country, count(*) AS orders, sum(o.total) AS revenue
    FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.country;

GRANT SELECT ON ALL TABLES IN SCHEMA public TO app_analyst, app_agent;
GRANT INSERT, UPDATE, DELETE ON orders, support_tickets TO app_analyst, app_agent;
