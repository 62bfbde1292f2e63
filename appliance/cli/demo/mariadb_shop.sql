-- The sample database `shop`: tables first (mariadb_shop.py fills them), then what is made from them.
-- Everything belongs to app_dba. app_analyst and app_agent may do more here than policy lets them:
-- what they see and may do is Sallyport's to say.

CREATE TABLE customers (
    id            int PRIMARY KEY,
    name          varchar(80) NOT NULL,
    email         varchar(120) NOT NULL UNIQUE,
    phone         varchar(20),
    ssn           varchar(11),
    date_of_birth date,
    card_number   varchar(19),
    balance       decimal(12, 2) NOT NULL,
    credit_score  int NOT NULL,
    country       char(2) NOT NULL,
    preferences   json NOT NULL,
    tags          json NOT NULL,
    created_at    datetime NOT NULL
);

CREATE TABLE products (
    id    int PRIMARY KEY,
    sku   varchar(20) NOT NULL UNIQUE,
    title varchar(80) NOT NULL,
    price decimal(8, 2) NOT NULL
);

CREATE TABLE orders (
    id          int PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers (id),
    product_id  int NOT NULL REFERENCES products (id),
    placed_on   date NOT NULL,
    status      varchar(20) NOT NULL,
    quantity    int NOT NULL,
    total       decimal(10, 2) NOT NULL,
    KEY placed (placed_on)
);

CREATE TABLE payments (
    id          int PRIMARY KEY,
    order_id    int NOT NULL,
    customer_id int NOT NULL REFERENCES customers (id),
    paid_at     datetime NOT NULL,
    amount      decimal(10, 2) NOT NULL,
    method      varchar(20) NOT NULL,
    card_number varchar(19),
    iban        varchar(34)
);

CREATE TABLE employees (
    id           int PRIMARY KEY,
    name         varchar(80) NOT NULL,
    email        varchar(120) NOT NULL UNIQUE,
    department   varchar(40) NOT NULL,
    manager_id   int REFERENCES employees (id),
    salary       int NOT NULL,
    hired_on     date NOT NULL,
    bank_account varchar(34) NOT NULL
);

CREATE TABLE api_keys (
    id         int PRIMARY KEY,
    owner      varchar(40) NOT NULL,
    scopes     json NOT NULL,
    api_key    varchar(80) NOT NULL,
    created_at datetime NOT NULL,
    revoked    boolean NOT NULL
);

CREATE TABLE support_tickets (
    id          int AUTO_INCREMENT PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers (id),
    opened_by   varchar(40) NOT NULL,
    subject     varchar(80) NOT NULL,
    status      varchar(20) NOT NULL DEFAULT 'open'
);
-- filled

CREATE VIEW customer_contacts AS
    SELECT id, name, email AS mail, phone, country FROM customers;

CREATE VIEW revenue_by_country AS
    SELECT c.country, count(*) AS orders, sum(o.total) AS revenue
    FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.country;

ANALYZE TABLE customers, products, orders, payments, employees, api_keys, support_tickets;

GRANT SELECT ON shop.* TO 'app_analyst'@'127.0.0.1';
GRANT SELECT ON shop.* TO 'app_agent'@'127.0.0.1';
GRANT INSERT, UPDATE, DELETE ON shop.orders TO 'app_analyst'@'127.0.0.1';
GRANT INSERT, UPDATE, DELETE ON shop.orders TO 'app_agent'@'127.0.0.1';
GRANT INSERT, UPDATE, DELETE ON shop.support_tickets TO 'app_analyst'@'127.0.0.1';
GRANT INSERT, UPDATE, DELETE ON shop.support_tickets TO 'app_agent'@'127.0.0.1';
