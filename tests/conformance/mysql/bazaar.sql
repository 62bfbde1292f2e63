CREATE TABLE people (
  id INT AUTO_INCREMENT PRIMARY KEY,
  name VARCHAR(60) NOT NULL,
  email VARCHAR(80) NOT NULL,
  born DATE,
  country CHAR(2) NOT NULL DEFAULT 'DE',
  KEY by_country (country)
) ENGINE=InnoDB;
CREATE TABLE goods (
  id INT AUTO_INCREMENT PRIMARY KEY,
  sku VARCHAR(20) NOT NULL UNIQUE,
  title VARCHAR(100) NOT NULL,
  price DECIMAL(10,2) NOT NULL,
  attributes JSON
) ENGINE=InnoDB;
CREATE TABLE sales (
  id INT AUTO_INCREMENT PRIMARY KEY,
  person_id INT NOT NULL,
  good_id INT NOT NULL,
  quantity INT NOT NULL DEFAULT 1,
  sold_on DATE NOT NULL,
  state ENUM('open','paid','returned') NOT NULL DEFAULT 'open',
  CONSTRAINT sold_to FOREIGN KEY (person_id) REFERENCES people (id),
  CONSTRAINT sold_what FOREIGN KEY (good_id) REFERENCES goods (id)
) ENGINE=InnoDB;
CREATE TABLE kinds (
  id INT PRIMARY KEY,
  tiny TINYINT, small SMALLINT UNSIGNED, medium MEDIUMINT, normal INT, big BIGINT UNSIGNED,
  exact DECIMAL(20,6), single FLOAT, twice DOUBLE, flag BIT(9),
  day DATE, moment DATETIME(6), stamp TIMESTAMP NULL, clock TIME(3), y YEAR,
  fixed CHAR(5), words VARCHAR(200), longer TEXT, bytes VARBINARY(50), blobs BLOB, picked SET('a','b','c')
) ENGINE=InnoDB;
CREATE TABLE scratch_notes (id INT AUTO_INCREMENT PRIMARY KEY, body VARCHAR(400), number BIGINT) ENGINE=InnoDB;
INSERT INTO people (name, email, born, country) VALUES
  ('Mara Lind', 'person1@bazaar.invalid', '1980-02-03', 'DE'),
  ('Otto Berg', 'person2@bazaar.invalid', '1975-11-30', 'SE'),
  ('Yuki Arai', 'person3@bazaar.invalid', '1991-07-15', 'JP');
INSERT INTO goods (sku, title, price, attributes) VALUES
  ('A-1', 'Lamp', 19.90, '{"colour": "red"}'),
  ('A-2', 'Chair', 120.00, '{"colour": "oak", "legs": 4}'),
  ('A-3', 'Größe 🙂', 0.01, NULL);
INSERT INTO sales (person_id, good_id, quantity, sold_on, state) VALUES
  (1, 1, 2, '2024-01-05', 'paid'), (1, 2, 1, '2024-02-01', 'open'), (2, 1, 1, '2024-02-29', 'paid'), (3, 3, 9, '2024-03-01', 'returned');
INSERT INTO kinds VALUES
  (1, -128, 65535, -8388608, 2147483647, 18446744073709551615, -12345.678901, 1.5, 2.25, b'100000001',
   '2024-02-29', '2024-02-29 23:59:59.123456', '2024-01-01 00:00:00', '-12:34:56.789', 2024,
   'abc', 'Größe 日本 🙂', 'long', x'00FF10', x'DEADBEEF', 'a,c'),
  (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE VIEW addresses AS SELECT id, CONCAT(name, ' <', email, '>') AS address FROM people;
CREATE VIEW totals AS SELECT p.country, SUM(g.price * s.quantity) AS total FROM sales s JOIN people p ON p.id = s.person_id JOIN goods g ON g.id = s.good_id GROUP BY p.country;
