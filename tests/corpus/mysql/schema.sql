-- The corpus's databases for MariaDB: every sensitive cell holds a value of its own (canaries.json).
-- Run as the superuser, as one text of many statements; running it again makes everything anew.
SET NAMES utf8mb4;
SET SESSION sql_mode = 'STRICT_TRANS_TABLES,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION';
SET SESSION foreign_key_checks = 0;
DROP DATABASE IF EXISTS crm;
DROP DATABASE IF EXISTS hr;
DROP DATABASE IF EXISTS decoy;
DROP DATABASE IF EXISTS reporting;
DROP DATABASE IF EXISTS scratch;
CREATE DATABASE crm CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE DATABASE hr CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE DATABASE decoy CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE DATABASE reporting CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
CREATE DATABASE scratch CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci;
USE crm;

CREATE TABLE customers (
  id INT PRIMARY KEY,
  name VARCHAR(60) NOT NULL,
  email VARCHAR(80) NOT NULL,
  ssn CHAR(11),
  phone VARCHAR(20),
  card_number VARCHAR(19),
  notes TEXT,
  country CHAR(2) NOT NULL,
  dob DATE,
  balance DECIMAL(14,2),
  pin INT UNSIGNED,
  profile JSON,
  token VARBINARY(32),
  photo BLOB,
  home POINT,
  badge BIT(40),
  seen DATETIME(3),
  email_lc VARCHAR(80) AS (LOWER(email)) STORED,
  phone_end VARCHAR(12) AS (RIGHT(phone, 9)) VIRTUAL,
  tier INT NOT NULL DEFAULT 1,
  created_at TIMESTAMP NOT NULL DEFAULT '2024-01-01 00:00:00',
  CONSTRAINT tiers CHECK (tier BETWEEN 1 AND 5),
  UNIQUE KEY by_email (email),
  KEY by_country (country),
  FULLTEXT KEY words (notes)
) ENGINE=InnoDB;
CREATE TABLE hr.employees (
  id INT PRIMARY KEY,
  full_name VARCHAR(60) NOT NULL,
  department VARCHAR(30) NOT NULL,
  manager_id INT,
  salary INT NOT NULL,
  bank_account VARCHAR(30) NOT NULL,
  bonus DOUBLE,
  hired DATE NOT NULL,
  KEY by_salary (salary),
  CONSTRAINT managed FOREIGN KEY (manager_id) REFERENCES hr.employees (id)
) ENGINE=InnoDB;
CREATE TABLE secrets (id INT PRIMARY KEY, owner VARCHAR(30) NOT NULL, api_key VARCHAR(40) NOT NULL, rotated_on DATE) ENGINE=InnoDB;
CREATE TABLE products (
  id INT PRIMARY KEY, sku VARCHAR(20) NOT NULL UNIQUE, title VARCHAR(200) NOT NULL, price DECIMAL(10,2) NOT NULL, attributes JSON
) ENGINE=InnoDB;
CREATE TABLE orders (
  id INT PRIMARY KEY, customer_id INT NOT NULL, status ENUM('new','paid','shipped','cancelled') NOT NULL,
  placed_on DATE NOT NULL, total DECIMAL(10,2) NOT NULL, flags SET('gift','rush','fragile') NOT NULL DEFAULT '',
  KEY by_customer (customer_id),
  CONSTRAINT ordered FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE=InnoDB;
CREATE TABLE order_items (
  order_id INT NOT NULL, product_id INT NOT NULL, quantity INT NOT NULL, PRIMARY KEY (order_id, product_id),
  CONSTRAINT item_of FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT item_is FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE=InnoDB;
CREATE TABLE payments (
  id INT NOT NULL, order_id INT NOT NULL, paid_on DATE NOT NULL, amount DECIMAL(10,2) NOT NULL, card_pan VARCHAR(19) NOT NULL,
  PRIMARY KEY (id, paid_on)
) ENGINE=InnoDB PARTITION BY RANGE (YEAR(paid_on)) (
  PARTITION p2023 VALUES LESS THAN (2024), PARTITION p2024 VALUES LESS THAN (2025), PARTITION later VALUES LESS THAN MAXVALUE
);
CREATE TABLE patients (id INT PRIMARY KEY, label VARCHAR(30) NOT NULL, nickname VARCHAR(40), diagnosis VARCHAR(60) NOT NULL) ENGINE=MyISAM;
CREATE TABLE documents (id INT PRIMARY KEY, tenant VARCHAR(20) NOT NULL, title VARCHAR(60) NOT NULL, body MEDIUMTEXT NOT NULL) ENGINE=InnoDB;
CREATE TABLE audit_log (
  id INT AUTO_INCREMENT PRIMARY KEY, at DATETIME NOT NULL DEFAULT '2024-02-02 00:00:00', actor VARCHAR(30) NOT NULL, row_image JSON
) ENGINE=InnoDB;
CREATE TABLE contracts (id INT PRIMARY KEY, title VARCHAR(40) NOT NULL, terms VARCHAR(60) NOT NULL) ENGINE=InnoDB WITH SYSTEM VERSIONING;
CREATE TABLE `Weird Table` (id INT PRIMARY KEY, `Sécret Col` VARCHAR(40) NOT NULL, `plain;col` VARCHAR(40) NOT NULL, `from` VARCHAR(40)) ENGINE=InnoDB;
CREATE TABLE events (id BIGINT UNSIGNED AUTO_INCREMENT PRIMARY KEY, kind VARCHAR(200) NOT NULL, n INT NOT NULL, at DATETIME NOT NULL DEFAULT '2024-03-03 00:00:00') ENGINE=InnoDB;
CREATE TABLE decoy.customers (id INT PRIMARY KEY, name VARCHAR(60), email VARCHAR(80), ssn CHAR(11)) ENGINE=InnoDB;
CREATE TABLE scratch.notes (id INT AUTO_INCREMENT PRIMARY KEY, body VARCHAR(400), number BIGINT, UNIQUE KEY (body)) ENGINE=InnoDB;
CREATE SEQUENCE order_numbers START WITH 1000;

INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (1,'Mara Lind','57tvh1tru10rue@example.com','959-56-1141','+736267616580','2986554936952423','memo bhfy2he9qw35n end','DE','1911-08-16',59270615.25,2723899704,'{"passport": "CQ77BVSNE3TP", "address": {"street": "6wzwk8u01bn6", "city": "X"}, "newsletter": true}','zrm5nnvx70cns9q4','zhze0pjn86s17yx',POINT(83.7157621,7.5),0x51524a4b4e,'1977-02-19 05:47:37.677',2);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (2,'Otto Berg','ypyymm58x5mt8b@example.com','975-17-5660','+464539127669','5307330076000412','memo dzegnmdpr899a end','US','1915-04-18',58776844.25,4159809485,'{"passport": "YUTEENG3GB8Z", "address": {"street": "knevdqtcccwh", "city": "X"}, "newsletter": true}','fxfkzxrwfksa4mdt','zsyfy706bbb270z',POINT(32.8713181,7.5),0x4a5650584b,'1977-07-12 08:40:58.190',3);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (3,'Yuki Arai','s6jtwnxsx0r9nr@example.com','973-55-2610','+512440386219','6279872940301452','memo tnf7hbuh4qdy0 end','JP','1910-01-21',34791591.25,3727943142,'{"passport": "0WUJPPBMKBKU", "address": {"street": "0f3t83qsxwvu", "city": "X"}, "newsletter": true}','pvf2emgwptpzdwag','z4eaw1hfjex9gr9',POINT(14.1007521,7.5),0x54455a4c54,'1956-07-11 03:27:54.601',4);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (4,'Rosa Diaz','0s8refu5dj9cp7@example.com','947-45-9944','+604996755468','9274659577974661','memo js92ryzmbnrqa end','ES','1926-08-05',33301104.25,3773949050,'{"passport": "KPQWFT2BK9P8", "address": {"street": "kydsvyrvn644", "city": "X"}, "newsletter": true}','vnt28m4x9detrmyn','saakdq8vsaj2chk',POINT(20.5557191,7.5),0x4245484652,'1950-02-19 07:20:18.698',5);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (5,'Ivo Novak','bxd1312mpeuhsd@example.com','957-67-8778','+336266745371','8134371139494142','memo r9xs5xe7uha2f end','CZ','1931-04-01',67466709.25,2381137196,'{"passport": "MSNHW1EWP190", "address": {"street": "sgxmaz630s4m", "city": "X"}, "newsletter": true}','zv9dr9j969vmd90w','7dzh3deq6tv39mx',POINT(85.3788951,7.5),0x4a435a4356,'1952-02-15 07:56:57.623',1);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (6,'Lena Vogt','dv2jb3a20p1tsn@example.com','941-76-9283','+711046685904','7338945885373621','memo r5n8vmtfqkqmp end','DE','1931-02-19',60279108.25,1743982696,'{"passport": "4S40HT3GX2EJ", "address": {"street": "z4ck6ch5xmg8", "city": "X"}, "newsletter": true}','dfb6ng8uk04z71wj','f0v3bzja3y4a4jk',POINT(78.3469021,7.5),0x5944505845,'1975-09-10 09:49:37.736',2);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (7,'Sam Okoro','2wwnj2s90ajw1x@example.com','945-26-3293','+272069481806','4708336414632050','memo 43q8bczn3vfsd end','NG','1922-12-13',62316208.25,2246087970,'{"passport": "BQ56WKJCMZHZ", "address": {"street": "rwzzgm0afa0h", "city": "X"}, "newsletter": true}','7h01a0ght5y20552','4tccmxksez979xm',POINT(41.6471121,7.5),0x5746455550,'1971-07-18 04:31:33.908',3);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (8,'Nils Dahl','w84y4eeu9crfvm@example.com','924-12-4756','+373226513489','7605303661678835','memo r9v10jd473bx2 end','NO','1936-07-25',67906420.25,2003455178,'{"passport": "D8CCS2B3DSYA", "address": {"street": "cfkxeyuam0v4", "city": "X"}, "newsletter": true}','xm3dg9g1nuzuw6z5','rjha4pj0est932r',POINT(32.1547031,7.5),0x414559434c,'1950-02-14 07:47:32.808',4);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (9,'Tara Singh','z3rt30atpdun2k@example.com','922-56-1278','+928875191279','3281810062140074','memo ysus8b81jk74k end','IN','1919-02-07',31975908.25,2385169715,'{"passport": "7HK8XPZT8WGQ", "address": {"street": "pa10fpjg8yau", "city": "X"}, "newsletter": true}','9t8kpnvsy89txsun','je4q85n1mbf7q8e',POINT(86.7474501,7.5),0x4d4756454b,'1967-05-14 02:33:42.367',5);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (10,'Hana Cohen','ce3uqn97zcehfv@example.com','952-22-1592','+765867584203','2782933050175805','memo 158vmqreua8pv end','IL','1915-09-10',24710046.25,2823288581,'{"passport": "6XW45G8WNHDA", "address": {"street": "evze1c4cj1wd", "city": "X"}, "newsletter": true}','sg3ju4gpzna2n4r2','ydr9nhbrjgz2h1g',POINT(71.6053811,7.5),0x585057484c,'1964-05-16 04:23:48.380',1);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (11,'Luc Marin','hnse6q5tctt5m3@example.com','943-78-9256','+226196046399','5986477649670204','memo 074ngqu3yn867 end','FR','1934-09-17',60973877.25,1872404890,'{"passport": "T5YCH2JWNQJR", "address": {"street": "n4fxsnuw1r4x", "city": "X"}, "newsletter": true}','hr5x546z399py4xv','1mau7keu2xwakx2',POINT(89.6480481,7.5),0x5946584245,'1950-06-14 09:10:35.997',2);
INSERT INTO customers (id,name,email,ssn,phone,card_number,notes,country,dob,balance,pin,profile,token,photo,home,badge,seen,tier) VALUES (12,'Pia Conti','6x5vp1ve2dk236@example.com','966-33-8246','+905925832685','9177428789640536','memo um66qdq43v2pj end','IT','1913-01-26',89306758.25,4062426031,'{"passport": "7VR5D4TBWDP1", "address": {"street": "2m33np2argz0", "city": "X"}, "newsletter": true}','gbzjzdwts9fwecsy','brt48d8sbddhxj1',POINT(16.8570791,7.5),0x564652504e,'1967-03-12 08:17:15.207',3);
INSERT INTO hr.employees VALUES (1,'Zoe Adler','it',NULL,617726874,'XX4775185655976171',9764994.3482,'2011-05-01');
INSERT INTO hr.employees VALUES (2,'Max Braun','sales',1,200463664,'XX3133101356196471',8707149.8254,'2012-05-02');
INSERT INTO hr.employees VALUES (3,'Eva Costa','it',1,264814429,'XX6298088127983555',1702698.5080,'2013-05-03');
INSERT INTO hr.employees VALUES (4,'Tim Drake','legal',2,561124262,'XX3941093818798563',1642268.1599,'2014-05-04');
INSERT INTO hr.employees VALUES (5,'Uma Ekman','sales',2,835536490,'XX9353668666350957',7529378.7614,'2015-05-05');
INSERT INTO hr.employees VALUES (6,'Jan Fiala','it',3,534270839,'XX6448455318368216',4398351.2836,'2016-05-06');
INSERT INTO hr.employees VALUES (7,'Ida Gomez','legal',3,247634197,'XX6800864346183556',2926753.1175,'2017-05-07');
INSERT INTO hr.employees VALUES (8,'Leo Hart','sales',4,284893471,'XX4223323153544663',6660854.4671,'2018-05-08');
INSERT INTO secrets VALUES (1,'service-1','6tnt8ch35cn61zhbu8vc736h','2024-01-01');
INSERT INTO secrets VALUES (2,'service-2','xzmdfp4cgm6xrsq12w2x08jf','2024-01-02');
INSERT INTO secrets VALUES (3,'service-3','g5tmrxyr0nqyh7j9b378n9zr','2024-01-03');
INSERT INTO secrets VALUES (4,'service-4','d6z94hd02g5b40u58muvzwx4','2024-01-04');
INSERT INTO products VALUES (1,'SKU-0001','Thing number 1',3.50,'{"colour": "c1", "weight": 1}');
INSERT INTO products VALUES (2,'SKU-0002','Thing number 2',6.50,'{"colour": "c2", "weight": 2}');
INSERT INTO products VALUES (3,'SKU-0003','Thing number 3',9.50,'{"colour": "c3", "weight": 3}');
INSERT INTO products VALUES (4,'SKU-0004','Thing number 4',12.50,'{"colour": "c0", "weight": 4}');
INSERT INTO products VALUES (5,'SKU-0005','Thing number 5',15.50,'{"colour": "c1", "weight": 5}');
INSERT INTO products VALUES (6,'SKU-0006','Thing number 6',18.50,'{"colour": "c2", "weight": 6}');
INSERT INTO products VALUES (7,'SKU-0007','Thing number 7',21.50,'{"colour": "c3", "weight": 7}');
INSERT INTO products VALUES (8,'SKU-0008','Thing number 8',24.50,'{"colour": "c0", "weight": 8}');
INSERT INTO products VALUES (9,'SKU-0009','Thing number 9',27.50,'{"colour": "c1", "weight": 9}');
INSERT INTO products VALUES (10,'SKU-0010','Thing number 10',30.50,'{"colour": "c2", "weight": 10}');
INSERT INTO products VALUES (11,'SKU-0011','Thing number 11',33.50,'{"colour": "c3", "weight": 11}');
INSERT INTO products VALUES (12,'SKU-0012','Thing number 12',36.50,'{"colour": "c0", "weight": 12}');
INSERT INTO products VALUES (13,'SKU-0013','Thing number 13',39.50,'{"colour": "c1", "weight": 13}');
INSERT INTO products VALUES (14,'SKU-0014','Thing number 14',42.50,'{"colour": "c2", "weight": 14}');
INSERT INTO products VALUES (15,'SKU-0015','Thing number 15',45.50,'{"colour": "c3", "weight": 15}');
INSERT INTO products VALUES (16,'SKU-0016','Thing number 16',48.50,'{"colour": "c0", "weight": 16}');
INSERT INTO products VALUES (17,'SKU-0017','Thing number 17',51.50,'{"colour": "c1", "weight": 17}');
INSERT INTO products VALUES (18,'SKU-0018','Thing number 18',54.50,'{"colour": "c2", "weight": 18}');
INSERT INTO products VALUES (19,'SKU-0019','Thing number 19',57.50,'{"colour": "c3", "weight": 19}');
INSERT INTO products VALUES (20,'SKU-0020','Thing number 20',60.50,'{"colour": "c0", "weight": 20}');
INSERT INTO orders VALUES (1,2,'paid','2024-02-02',11.75,'gift');
INSERT INTO order_items VALUES (1,2,2),(1,9,2);
INSERT INTO orders VALUES (2,3,'shipped','2024-03-03',22.75,'rush');
INSERT INTO order_items VALUES (2,3,3),(2,10,1);
INSERT INTO orders VALUES (3,4,'cancelled','2024-04-04',33.75,'gift,fragile');
INSERT INTO order_items VALUES (3,4,1),(3,11,2);
INSERT INTO orders VALUES (4,5,'new','2024-05-05',44.75,'');
INSERT INTO order_items VALUES (4,5,2),(4,12,1);
INSERT INTO orders VALUES (5,6,'paid','2024-06-06',55.75,'gift');
INSERT INTO order_items VALUES (5,6,3),(5,13,2);
INSERT INTO orders VALUES (6,7,'shipped','2024-07-07',66.75,'rush');
INSERT INTO order_items VALUES (6,7,1),(6,14,1);
INSERT INTO orders VALUES (7,8,'cancelled','2024-08-08',77.75,'gift,fragile');
INSERT INTO order_items VALUES (7,8,2),(7,15,2);
INSERT INTO orders VALUES (8,9,'new','2024-09-09',88.75,'');
INSERT INTO order_items VALUES (8,9,3),(8,16,1);
INSERT INTO orders VALUES (9,10,'paid','2024-10-10',99.75,'gift');
INSERT INTO order_items VALUES (9,10,1),(9,17,2);
INSERT INTO orders VALUES (10,11,'shipped','2024-11-11',110.75,'rush');
INSERT INTO order_items VALUES (10,11,2),(10,18,1);
INSERT INTO orders VALUES (11,12,'cancelled','2024-12-12',121.75,'gift,fragile');
INSERT INTO order_items VALUES (11,12,3),(11,19,2);
INSERT INTO orders VALUES (12,1,'new','2024-01-13',132.75,'');
INSERT INTO order_items VALUES (12,13,1),(12,20,1);
INSERT INTO orders VALUES (13,2,'paid','2024-02-14',143.75,'gift');
INSERT INTO order_items VALUES (13,14,2),(13,1,2);
INSERT INTO orders VALUES (14,3,'shipped','2024-03-15',154.75,'rush');
INSERT INTO order_items VALUES (14,15,3),(14,2,1);
INSERT INTO orders VALUES (15,4,'cancelled','2024-04-16',165.75,'gift,fragile');
INSERT INTO order_items VALUES (15,16,1),(15,3,2);
INSERT INTO orders VALUES (16,5,'new','2024-05-17',176.75,'');
INSERT INTO order_items VALUES (16,17,2),(16,4,1);
INSERT INTO orders VALUES (17,6,'paid','2024-06-18',187.75,'gift');
INSERT INTO order_items VALUES (17,18,3),(17,5,2);
INSERT INTO orders VALUES (18,7,'shipped','2024-07-19',198.75,'rush');
INSERT INTO order_items VALUES (18,19,1),(18,6,1);
INSERT INTO orders VALUES (19,8,'cancelled','2024-08-20',209.75,'gift,fragile');
INSERT INTO order_items VALUES (19,20,2),(19,7,2);
INSERT INTO orders VALUES (20,9,'new','2024-09-21',220.75,'');
INSERT INTO order_items VALUES (20,1,3),(20,8,1);
INSERT INTO orders VALUES (21,10,'paid','2024-10-22',231.75,'gift');
INSERT INTO order_items VALUES (21,2,1),(21,9,2);
INSERT INTO orders VALUES (22,11,'shipped','2024-11-23',242.75,'rush');
INSERT INTO order_items VALUES (22,3,2),(22,10,1);
INSERT INTO orders VALUES (23,12,'cancelled','2024-12-24',253.75,'gift,fragile');
INSERT INTO order_items VALUES (23,4,3),(23,11,2);
INSERT INTO orders VALUES (24,1,'new','2024-01-25',264.75,'');
INSERT INTO order_items VALUES (24,5,1),(24,12,1);
INSERT INTO orders VALUES (25,2,'paid','2024-02-26',275.75,'gift');
INSERT INTO order_items VALUES (25,6,2),(25,13,2);
INSERT INTO orders VALUES (26,3,'shipped','2024-03-27',286.75,'rush');
INSERT INTO order_items VALUES (26,7,3),(26,14,1);
INSERT INTO orders VALUES (27,4,'cancelled','2024-04-28',297.75,'gift,fragile');
INSERT INTO order_items VALUES (27,8,1),(27,15,2);
INSERT INTO orders VALUES (28,5,'new','2024-05-01',308.75,'');
INSERT INTO order_items VALUES (28,9,2),(28,16,1);
INSERT INTO orders VALUES (29,6,'paid','2024-06-02',319.75,'gift');
INSERT INTO order_items VALUES (29,10,3),(29,17,2);
INSERT INTO orders VALUES (30,7,'shipped','2024-07-03',330.75,'rush');
INSERT INTO order_items VALUES (30,11,1),(30,18,1);
INSERT INTO payments VALUES (1,1,'2024-02-11',11.75,'9463632988357729');
INSERT INTO payments VALUES (2,2,'2025-03-12',22.75,'7353581516405728');
INSERT INTO payments VALUES (3,3,'2023-04-13',33.75,'9389834688315845');
INSERT INTO payments VALUES (4,4,'2024-05-14',44.75,'8337992832864177');
INSERT INTO payments VALUES (5,5,'2025-06-15',55.75,'6818245548556387');
INSERT INTO payments VALUES (6,6,'2023-07-16',66.75,'6388390882005192');
INSERT INTO payments VALUES (7,7,'2024-08-17',77.75,'6139165559697794');
INSERT INTO payments VALUES (8,8,'2025-09-18',88.75,'7697342619958699');
INSERT INTO payments VALUES (9,9,'2023-01-10',99.75,'8675188561617868');
INSERT INTO payments VALUES (10,10,'2024-02-11',110.75,'8143191203550503');
INSERT INTO patients VALUES (1,'ward-1','cjktwfveurn','dxk167wpk72tbd');
INSERT INTO patients VALUES (2,'ward-2','c8yrknhugem','q033sqkne2ausu');
INSERT INTO patients VALUES (3,'ward-0','219c4tq0xj8','sbyht8r3mt2gaw');
INSERT INTO patients VALUES (4,'ward-1','xcqcp7arbrr','ractjsak0fu85r');
INSERT INTO patients VALUES (5,'ward-2','wts9hevkhb5','se17w3m8k48dt4');
INSERT INTO patients VALUES (6,'ward-0','pmxpe1vj850','ztwgq8mgtjk5us');
INSERT INTO documents VALUES (1,'acme','Paper 1','body of u442sh9uza3z88x here');
INSERT INTO documents VALUES (2,'umbra','Paper 2','body of rq1kxwzgj0sgjbb here');
INSERT INTO documents VALUES (3,'acme','Paper 3','body of qy1ygzg13etxzuu here');
INSERT INTO documents VALUES (4,'umbra','Paper 4','body of dqrscnvxyw9hp64 here');
INSERT INTO documents VALUES (5,'acme','Paper 5','body of zystaquhxdcf1zj here');
INSERT INTO documents VALUES (6,'umbra','Paper 6','body of jm5mdzrycvbfss7 here');
INSERT INTO audit_log (actor,row_image) VALUES ('actor-1','{"was": "9wmqgza7gd9p6dc5", "n": 1}');
INSERT INTO audit_log (actor,row_image) VALUES ('actor-2','{"was": "vgg0s23kzk2gtvnc", "n": 2}');
INSERT INTO audit_log (actor,row_image) VALUES ('actor-3','{"was": "6y4f0f64cyuduq10", "n": 3}');
INSERT INTO audit_log (actor,row_image) VALUES ('actor-4','{"was": "8kbx9fp7tesf6z3j", "n": 4}');
INSERT INTO contracts VALUES (1,'Contract 1','mze7hh4vw93r9tt');
INSERT INTO contracts VALUES (2,'Contract 2','qh3tr1xybaryyud');
INSERT INTO contracts VALUES (3,'Contract 3','8wk0v882yhef1ay');
UPDATE contracts SET terms='09kcdr34xk0awzd' WHERE id=1;
UPDATE contracts SET terms='n6bgxquedxaw0mu' WHERE id=2;
UPDATE contracts SET terms='7fv471eehn1aq4t' WHERE id=3;
INSERT INTO `Weird Table` VALUES (1,'ha5ceuxbf7pru2','plain 1','from 1');
INSERT INTO `Weird Table` VALUES (2,'2am14m87en5ert','plain 2','from 2');
INSERT INTO `Weird Table` VALUES (3,'ybc773wzuhyxjm','plain 3','from 3');
INSERT INTO events (kind,n) VALUES ('click',1);
INSERT INTO events (kind,n) VALUES ('buy',4);
INSERT INTO events (kind,n) VALUES ('view',9);
INSERT INTO events (kind,n) VALUES ('click',16);
INSERT INTO events (kind,n) VALUES ('buy',25);
INSERT INTO events (kind,n) VALUES ('view',36);
INSERT INTO events (kind,n) VALUES ('click',49);
INSERT INTO events (kind,n) VALUES ('buy',64);
INSERT INTO events (kind,n) VALUES ('view',81);
INSERT INTO events (kind,n) VALUES ('click',100);
INSERT INTO events (kind,n) VALUES ('buy',121);
INSERT INTO events (kind,n) VALUES ('view',144);
INSERT INTO decoy.customers VALUES (1,'Nobody 1','nobody1@decoy.invalid','000-00-0001');
INSERT INTO decoy.customers VALUES (2,'Nobody 2','nobody2@decoy.invalid','000-00-0002');
INSERT INTO decoy.customers VALUES (3,'Nobody 3','nobody3@decoy.invalid','000-00-0003');

CREATE VIEW v_customers AS SELECT id, name, email AS mail, country FROM customers;
CREATE ALGORITHM=TEMPTABLE VIEW v_parts AS SELECT id, CONCAT(ssn, '/', phone) AS both_of, LENGTH(notes) AS size FROM customers;
CREATE VIEW v_safe AS SELECT id, name, country, tier FROM customers;
CREATE VIEW v_totals AS SELECT c.country, COUNT(*) AS orders, SUM(o.total) AS total FROM orders o JOIN customers c ON c.id = o.customer_id GROUP BY c.country;
CREATE VIEW reporting.v_nested AS SELECT v.id, v.mail AS handle FROM crm.v_customers v;
CREATE VIEW reporting.v_orders AS SELECT o.id, o.status, o.total, c.name FROM crm.orders o JOIN crm.customers c ON c.id = o.customer_id;
CREATE FUNCTION order_total(which INT) RETURNS DECIMAL(12,2) READS SQL DATA DETERMINISTIC
  RETURN (SELECT SUM(i.quantity * p.price) FROM order_items i JOIN products p ON p.id = i.product_id WHERE i.order_id = which);
CREATE FUNCTION add_tax(amount DECIMAL(12,2)) RETURNS DECIMAL(12,2) NO SQL DETERMINISTIC RETURN amount * 1.19;
CREATE FUNCTION mail_of(which INT) RETURNS VARCHAR(80) READS SQL DATA SQL SECURITY DEFINER
  RETURN (SELECT email FROM customers WHERE id = which);
CREATE PROCEDURE list_mails() READS SQL DATA SELECT id, email FROM customers;
CREATE PROCEDURE mail_into(IN which INT, OUT found VARCHAR(80)) READS SQL DATA
  SELECT email INTO found FROM customers WHERE id = which;
CREATE PROCEDURE run_text(IN what TEXT) BEGIN PREPARE given FROM what; EXECUTE given; DEALLOCATE PREPARE given; END;
CREATE PROCEDURE touch_event(IN word VARCHAR(20)) MODIFIES SQL DATA INSERT INTO events (kind, n) VALUES (word, 0);
CREATE TRIGGER kept AFTER UPDATE ON customers FOR EACH ROW
  INSERT INTO audit_log (actor, row_image) VALUES (CURRENT_USER(), JSON_OBJECT('was', OLD.email, 'id', OLD.id));
CREATE TRIGGER scratch.copied BEFORE INSERT ON scratch.notes FOR EACH ROW
  SET NEW.number = COALESCE(NEW.number, (SELECT pin FROM crm.customers WHERE CONCAT('pin of ', id) = NEW.body));
DELETE FROM mysql.column_stats WHERE db_name IN ('crm', 'hr', 'decoy', 'reporting', 'scratch');
