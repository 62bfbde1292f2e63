UPDATE customers SET name = 'x' WHERE ssn LIKE '%1141'
UPDATE customers SET name = 'x' WHERE email LIKE '5%'
UPDATE customers c SET c.tier = 2 WHERE c.pin % 1000 = 0
UPDATE customers SET tier = 1 ORDER BY email, id LIMIT 3
UPDATE orders o JOIN customers c ON c.id = o.customer_id SET o.status = 'paid' WHERE c.email LIKE 'z%'
UPDATE orders SET status = 'new' WHERE customer_id IN (SELECT id FROM customers WHERE phone LIKE '+7%')
UPDATE customers c JOIN orders o ON o.customer_id = c.id SET c.name = 'y' WHERE c.email LIKE 'z%' AND o.total > 100
UPDATE hr.employees SET department = 'it' WHERE salary > 300000
UPDATE hr.employees e JOIN hr.employees m ON m.id = e.manager_id SET e.department = 'x' WHERE m.salary > e.salary
UPDATE customers SET name = email
UPDATE customers SET name = CONCAT(name, '!') WHERE dob < '1920-01-01'
UPDATE customers SET email = 'x@y.zz' WHERE id = 1
UPDATE customers SET notes = NULL WHERE notes LIKE '%hidden%'
DELETE FROM order_items WHERE order_id IN (SELECT o.id FROM orders o JOIN customers c ON c.id = o.customer_id WHERE c.email LIKE '5%')
DELETE oi FROM order_items oi JOIN orders o ON o.id = oi.order_id JOIN customers c ON c.id = o.customer_id WHERE c.ssn LIKE '9%'
DELETE FROM patients WHERE diagnosis = 'ill'
DELETE FROM patients WHERE diagnosis LIKE 'd%'
DELETE FROM patients ORDER BY diagnosis, id LIMIT 2
DELETE FROM secrets WHERE api_key = '****' RETURNING id, api_key
DELETE FROM secrets WHERE id = 1 RETURNING *
DELETE FROM secrets WHERE id = 1 RETURNING api_key, UPPER(owner) AS u
INSERT INTO scratch.notes (body, number) SELECT email, pin FROM customers WHERE id = 1
INSERT INTO events (kind, n) SELECT LEFT(email, 10), LENGTH(ssn) FROM customers ORDER BY id
INSERT INTO events (kind, n) SELECT c.name, COUNT(*) FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.email <> 'x' GROUP BY c.id, c.name ORDER BY c.id
INSERT INTO secrets (id, owner, api_key) VALUES (90, 'me', 'mine')
INSERT INTO secrets (id, owner, api_key) VALUES (91, 'me', 'mine') RETURNING id, api_key
INSERT INTO secrets (id, owner, api_key) VALUES (1, 'me', 'mine') ON DUPLICATE KEY UPDATE owner = 'changed'
INSERT INTO secrets (id, owner, api_key) VALUES (1, 'me', 'mine') ON DUPLICATE KEY UPDATE owner = api_key
INSERT INTO secrets (id, owner, api_key) VALUES (1, 'me', 'mine') ON DUPLICATE KEY UPDATE owner = IF(api_key LIKE '6%', 'a', 'b')
REPLACE INTO secrets (id, owner, api_key) VALUES (1, 'me', 'mine')
INSERT INTO secrets SELECT id + 100, owner, api_key, rotated_on FROM secrets
INSERT INTO secrets (id, owner, api_key) VALUES (200, (SELECT email FROM customers WHERE id = 1), 'x')
UPDATE secrets SET owner = (SELECT MAX(email) FROM customers)
