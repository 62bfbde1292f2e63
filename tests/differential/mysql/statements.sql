SELECT * FROM customers ORDER BY id
SELECT id, email FROM customers WHERE ssn LIKE '%1141'
SELECT COUNT(*) FROM customers WHERE email LIKE '%@example.com'
SELECT country, COUNT(*), MIN(email), MAX(ssn) FROM customers GROUP BY country ORDER BY country
SELECT DISTINCT phone FROM customers ORDER BY phone
SELECT UPPER(email), LOWER(ssn), LENGTH(notes), CHAR_LENGTH(notes) FROM customers ORDER BY id
SELECT CONCAT(name, ' <', email, '>') AS who FROM customers ORDER BY 1
SELECT id, YEAR(dob), MONTH(dob), dob + INTERVAL 1 DAY, DATEDIFF(dob, '2000-01-01') FROM customers ORDER BY id
SELECT id, balance * 2, ROUND(balance / 3, 2), balance > 1000 FROM customers ORDER BY id
SELECT SUM(balance), AVG(balance), MIN(balance), MAX(balance), COUNT(balance) FROM customers
SELECT id, pin, pin % 10, pin + 1 FROM customers ORDER BY pin, id
SELECT id, badge, badge + 0, HEX(badge), seen FROM customers ORDER BY seen, id
SELECT id, token, HEX(token), LENGTH(token), photo, home FROM customers ORDER BY id
SELECT c.name, o.total FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.email LIKE 'a%' ORDER BY o.id
SELECT c.name, o.total FROM customers c LEFT JOIN orders o ON o.customer_id = c.id AND c.ssn IS NOT NULL ORDER BY c.id, o.id
SELECT a.id, b.id FROM customers a JOIN customers b USING (phone) WHERE a.id < b.id ORDER BY 1, 2
SELECT id FROM customers WHERE email IN (SELECT email FROM decoy.customers)
SELECT id, email FROM customers UNION SELECT id, email FROM decoy.customers ORDER BY 1, 2
SELECT id, email FROM customers UNION ALL SELECT id, email FROM decoy.customers ORDER BY 1, 2
SELECT * FROM v_customers ORDER BY id
SELECT mail FROM v_customers WHERE mail LIKE '%.com' ORDER BY id
SELECT * FROM v_parts ORDER BY id
SELECT size, both_of FROM v_parts WHERE both_of IS NOT NULL ORDER BY id
SELECT * FROM v_safe ORDER BY id
SELECT * FROM v_totals ORDER BY country
SELECT * FROM reporting.v_nested ORDER BY id
SELECT handle FROM reporting.v_nested n WHERE n.handle > 'a' ORDER BY n.id
SELECT * FROM reporting.v_orders ORDER BY id
SELECT email_lc, phone_end FROM customers ORDER BY id
SELECT id FROM customers WHERE email_lc = 'x'
SELECT ssn AS a, (SELECT MAX(email) FROM customers) FROM customers ORDER BY id LIMIT 3
SELECT (SELECT MAX(email) FROM customers), COUNT( * ) FROM orders
WITH c AS (SELECT id, email, SUBSTRING(ssn, 1, 3) AS s FROM customers) SELECT s, COUNT(*) FROM c GROUP BY s ORDER BY s
WITH RECURSIVE r AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM r WHERE n < 12) SELECT r.n, c.email FROM r JOIN customers c ON c.id = r.n WHERE c.email <> '' ORDER BY n
SELECT id, ROW_NUMBER() OVER (ORDER BY email, id), RANK() OVER (PARTITION BY country ORDER BY balance) FROM customers ORDER BY id
SELECT country, GROUP_CONCAT(email ORDER BY id SEPARATOR ';') FROM customers GROUP BY country ORDER BY 1
SELECT country, GROUP_CONCAT(DISTINCT LEFT(phone, 2)) FROM customers GROUP BY country HAVING MIN(phone) IS NOT NULL ORDER BY 1
SELECT CASE WHEN ssn LIKE '9%' THEN 'nine' WHEN ssn IS NULL THEN 'none' ELSE 'other' END AS k, COUNT(*) FROM customers GROUP BY k ORDER BY k
SELECT IF(email = '', 1, 2), IFNULL(card_number, 'x'), NULLIF(ssn, ''), COALESCE(notes, phone) FROM customers ORDER BY id
SELECT id FROM customers WHERE EXISTS (SELECT 1 FROM orders o WHERE o.customer_id = customers.id AND customers.email LIKE '%m') ORDER BY id
SELECT id FROM customers ORDER BY email DESC, id LIMIT 3
SELECT id FROM customers WHERE dob BETWEEN '1920-01-01' AND '1930-12-31' ORDER BY id
SELECT id, salary, bonus FROM hr.employees WHERE salary > 300000 ORDER BY salary DESC, id
SELECT department, AVG(salary), SUM(bonus) FROM hr.employees GROUP BY department WITH ROLLUP
SELECT e.full_name, m.full_name FROM hr.employees e LEFT JOIN hr.employees m ON m.id = e.manager_id AND m.salary > e.salary ORDER BY e.id
SELECT `Sécret Col`, `plain;col`, `from` FROM `Weird Table` ORDER BY id
SELECT id FROM `Weird Table` WHERE `Sécret Col` LIKE '__*%' ORDER BY id
SELECT CONCAT(`Sécret Col`, `from`) FROM crm.`Weird Table` ORDER BY id
SELECT crm.customers.email, customers.ssn FROM crm.customers WHERE crm.customers.ssn > '' ORDER BY crm.customers.id
SELECT customers.* FROM customers WHERE ssn IS NOT NULL ORDER BY id
SELECT crm.customers.* FROM customers, orders WHERE orders.customer_id = customers.id AND customers.email <> 'x' ORDER BY orders.id
SELECT api_key = '****', api_key FROM secrets ORDER BY id
SELECT p.card_pan, o.status FROM payments p JOIN orders o ON o.id = p.order_id WHERE RIGHT(p.card_pan, 4) = '7729'
SELECT YEAR(paid_on), COUNT(DISTINCT card_pan) FROM payments GROUP BY YEAR(paid_on) ORDER BY 1
SELECT label, diagnosis FROM patients WHERE diagnosis = 'ill' AND nickname IS NULL ORDER BY id
SELECT title FROM documents WHERE body LIKE 'body%' ORDER BY id
SELECT MD5(email), SHA2(ssn, 256), CRC32(phone) FROM customers ORDER BY id
SELECT TRIM(notes), REPLACE(email, '@', '#'), REVERSE(ssn), LPAD(ssn, 20, '.'), SUBSTRING_INDEX(email, '@', -1) FROM customers ORDER BY id
SELECT email REGEXP '^[a-z]', ssn RLIKE '9', email NOT LIKE 'q%' FROM customers ORDER BY id
SELECT CAST(pin AS CHAR), CAST(ssn AS BINARY), CONVERT(email USING latin1), balance + 0e0 FROM customers ORDER BY id
SELECT INSTR(email, '@'), LOCATE('.', email), POSITION('e' IN email), ASCII(ssn), ORD(notes) FROM customers ORDER BY id
SELECT DATE_FORMAT(dob, '%Y-%m-%d'), DAYNAME(dob), WEEK(dob), TIMESTAMPDIFF(YEAR, dob, '2024-01-01'), EXTRACT(YEAR FROM dob) FROM customers ORDER BY id
SELECT LEAST(email, ssn), GREATEST(pin, 5), INTERVAL(pin, 1, 2), FIELD(ssn, 'a', 'b'), ELT(1, email) FROM customers ORDER BY id
SELECT JSON_EXTRACT(profile, '$.passport'), JSON_VALID(profile), profile->'$.x' FROM customers ORDER BY id
SELECT COUNT(DISTINCT email), COUNT(DISTINCT ssn, phone) FROM customers
SELECT STD(balance), VARIANCE(pin), BIT_OR(pin), BIT_XOR(badge) FROM customers
SELECT id FROM customers GROUP BY id, email HAVING MAX(email) > 'b' ORDER BY id
SELECT x.e FROM (SELECT email AS e, id FROM customers) x ORDER BY x.id
SELECT x.e FROM (SELECT DISTINCT email AS e FROM customers) x ORDER BY e
SELECT o.id, (SELECT c.email FROM customers c WHERE c.id = o.customer_id) AS mail FROM orders o ORDER BY o.id
SELECT o.id FROM orders o WHERE o.customer_id = (SELECT id FROM customers WHERE email LIKE '%@%' ORDER BY email, id LIMIT 1) ORDER BY 1
SELECT * FROM customers c WHERE (c.email, c.ssn) = ('x', 'y')
SELECT * FROM customers c WHERE c.email > ALL (SELECT email FROM decoy.customers) ORDER BY id
SELECT id, email <=> NULL, email IS NULL, NOT email, ssn + 0 FROM customers ORDER BY id
SELECT -pin, ~pin, pin & 255, pin << 1, pin DIV 7, pin ^ 1 FROM customers ORDER BY id
(SELECT email FROM customers WHERE id = 1) UNION ALL (SELECT ssn FROM customers WHERE id = 2)
SELECT email FROM customers WHERE id IN (1,2) INTERSECT SELECT email FROM customers WHERE id IN (2,3)
SELECT email FROM customers EXCEPT SELECT email FROM decoy.customers ORDER BY 1
TABLE secrets
VALUES (1, 'a'), (2, 'b')
SELECT 1
SELECT id, name FROM customers WHERE country = 'DE' ORDER BY id
SELECT a.email FROM customers a FORCE INDEX (PRIMARY) JOIN orders b IGNORE INDEX (by_customer) ON a.id = b.customer_id WHERE a.ssn > '0' ORDER BY b.id
SELECT STRAIGHT_JOIN c.email FROM customers c JOIN orders o ON o.customer_id = c.id WHERE c.notes <> '' ORDER BY o.id
SELECT SQL_NO_CACHE email, COUNT(*) FROM customers GROUP BY email ORDER BY email
SELECT email /* why */ , /* x */ ssn FROM /* from */ customers -- end
SELECT UPPER( /* c */ email ) FROM customers ORDER BY id LIMIT 2
SELECT email, 'lit', 1+1, NULL, TRUE, CURRENT_DATE < dob FROM customers WHERE ssn <> '' ORDER BY id LIMIT 2
SELECT email collate utf8mb4_bin, _utf8mb4'abc' , x'41', 0x41, b'1', N'q' FROM customers WHERE ssn <> '' ORDER BY id LIMIT 2
SELECT MATCH (notes) AGAINST ('memo') FROM customers ORDER BY id
SELECT id FROM customers WHERE MATCH (notes) AGAINST ('hidden' IN BOOLEAN MODE) ORDER BY id
SELECT * FROM contracts ORDER BY id
SELECT title, terms LIKE '*%' FROM contracts ORDER BY id
SELECT CHAR(65, 66), WEIGHT_STRING('a'), 5 MOD 3
SELECT email AS `from`, ssn AS 'quoted alias' FROM customers ORDER BY `from`, 2
SELECT customers.email FROM customers JOIN decoy.customers AS d ON d.id = customers.id WHERE customers.ssn <> d.ssn ORDER BY d.id
SELECT customers.email, decoy.customers.email FROM crm.customers JOIN decoy.customers ON crm.customers.id = decoy.customers.id ORDER BY 1
SELECT customers.email FROM crm.customers JOIN decoy.customers d USING (id, email)
SELECT * FROM orders NATURAL JOIN (SELECT id AS customer_id, email FROM customers) c ORDER BY id
SELECT email FROM customers PROCEDURE ANALYSE()
SELECT id, email FROM customers FOR UPDATE
SELECT id FROM customers WHERE ssn = '1' FOR UPDATE
SELECT id FROM customers WHERE ssn = '1' LOCK IN SHARE MODE
SELECT AVG(LENGTH(email)), MAX(LENGTH(notes)) FROM customers
SELECT SUBSTR(email FROM 2 FOR 3), TRIM(LEADING 'm' FROM notes), SUBSTRING(email, 2) FROM customers ORDER BY id
SELECT id, LAG(email) OVER w, FIRST_VALUE(ssn) OVER w FROM customers WINDOW w AS (ORDER BY id) ORDER BY id
SELECT id, SUM(balance) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW) FROM customers ORDER BY id
SELECT ANY_VALUE(email) FROM customers
SELECT j.x FROM customers c, JSON_TABLE(c.profile, '$' COLUMNS (x VARCHAR(40) PATH '$.passport')) j
SELECT EMAIL, customers.Ssn, crm.customers.ID FROM crm.customers WHERE phone <> '' ORDER BY id
SELECT id FROM (SELECT id, email FROM customers ORDER BY ssn, id LIMIT 3) x ORDER BY id
SELECT name FROM products WHERE title LIKE '%1' ORDER BY id
SELECT title FROM products WHERE title LIKE '%1' ORDER BY id
SELECT o.status, COUNT(*) FROM orders o GROUP BY o.status ORDER BY 1
SELECT SQL_CALC_FOUND_ROWS email FROM customers LIMIT 2
SELECT email FROM customers LIMIT 2, 3
SELECT GROUP_CONCAT(email), JSON_ARRAYAGG(ssn) FROM customers
