"""`unique_writes: refuse` on a MariaDB: no write answers whether a masked value is taken, and none
is refused that could not."""

from collections.abc import Iterator

import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from tests.clusters import Authority
from tests.endtoend.governed_mariadb import Cursor, alice_at, direct_cursor, governed, told
from tests.endtoend.stage import Running

DATABASE = "guesses"
TABLES = {
    "people": "id INT PRIMARY KEY, name VARCHAR(40), email VARCHAR(60) UNIQUE",
    "tenants": "id INT PRIMARY KEY, tenant INT, email VARCHAR(60), UNIQUE (tenant, email)",
    "lowered": "id INT PRIMARY KEY, email VARCHAR(60), l VARCHAR(60) AS (LOWER(email)) UNIQUE",
    "paired": "id INT PRIMARY KEY, k INT, email VARCHAR(60),"
    " l VARCHAR(60) AS (LOWER(email)) STORED, UNIQUE (k, l)",
    "checked": "id INT PRIMARY KEY, name VARCHAR(60), email VARCHAR(60),"
    " l VARCHAR(60) AS (LOWER(email)) STORED, CHECK (l <> name)",
    "counted": "account INT AUTO_INCREMENT PRIMARY KEY, note VARCHAR(20)",
    "numbered": "id INT PRIMARY KEY, account INT UNIQUE DEFAULT NEXTVAL(guesses.numbers)",
    "dated": "id INT PRIMARY KEY, account DATE UNIQUE DEFAULT (CURRENT_DATE)",
    "fixed": "id INT PRIMARY KEY, email VARCHAR(60) UNIQUE DEFAULT 'ada@x'",
    "above": "id INT PRIMARY KEY, k INT, KEY (k)",
    "below": "id INT PRIMARY KEY, k INT, email VARCHAR(60), UNIQUE (k, email),"
    " FOREIGN KEY (k) REFERENCES guesses.above (k) ON UPDATE CASCADE",
}
ROWS = (
    "people VALUES (1, 'ada', 'ada@x'), (2, 'bob', 'bob@x')",
    "tenants VALUES (1, 1, 'ada@x')",
    "lowered (id, email) VALUES (1, 'ada@x')",
    "paired (id, k, email) VALUES (1, 1, 'ada@x'), (2, 2, 'ada@x'), (3, 3, 'bob@x')",
    "checked (id, name, email) VALUES (1, 'ada', 'ada@x')",
    "counted VALUES (4711, 'n'), (9000, 'n')",
    "numbered VALUES (1, 4711)",
    "dated VALUES (1, '1980-05-05')",
    "fixed VALUES (1, 'ada@x')",
    "above VALUES (1, 1), (2, 2), (3, 3)",
    "below VALUES (1, 1, 'ada@x'), (2, 2, 'ada@x'), (3, 3, 'bob@x')",
)
SCHEMA = (
    f"CREATE OR REPLACE DATABASE {DATABASE}",
    f"CREATE SEQUENCE {DATABASE}.numbers",
    *(f"CREATE TABLE {DATABASE}.{name} ({columns})" for name, columns in TABLES.items()),
    *(f"INSERT INTO {DATABASE}.{rows}" for rows in ROWS),
)
POLICY = """
version: 1
rules:
  - {id: everything, effect: allow, actions: [everything]}
  - id: hide
    effect: mask
    resources: ["*.*.*.email", "*.*.*.account"]
    mask: {method: redact, unique_writes: refuse}
"""


@pytest.fixture(scope="module")
def proxy(
    tmp_path_factory: pytest.TempPathFactory, mariadb: EmbeddedMariaDB, authority: Authority
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("guesses")
    with governed(folder, mariadb, authority, DATABASE, SCHEMA, POLICY) as running:
        yield running


@pytest.fixture
def alice(proxy: Running) -> Iterator[Cursor]:
    with alice_at(proxy, DATABASE) as cursor:
        cursor.execute("START TRANSACTION")
        yield cursor
        cursor.execute("ROLLBACK")


PAIRS = [
    ("INSERT INTO people (id, email) VALUES (9, '{}')", "ada@x", "nobody@x"),
    ("INSERT INTO people VALUES (9, 'x', '{}')", "ada@x", "nobody@x"),
    ("INSERT IGNORE INTO people SET id = 9, email = '{}'", "ada@x", "nobody@x"),
    ("INSERT INTO people (id, email) SELECT 9, '{}'", "ada@x", "nobody@x"),
    ("INSERT INTO tenants (id, tenant, email) VALUES (9, 1, '{}')", "ada@x", "nobody@x"),
    ("INSERT INTO lowered (id, email) VALUES (9, '{}')", "ADA@x", "nobody@x"),
    ("UPDATE paired SET k = 2 WHERE id = {}", "1", "3"),
    ("UPDATE checked SET name = '{}' WHERE id = 1", "ada@x", "nobody@x"),
    ("SET insert_id = {}; INSERT INTO counted (note) VALUES ('n')", "4711", "4712"),
    ("SELECT SETVAL(numbers, {}); INSERT INTO numbered (id) VALUES (9)", "4710", "4712"),
    (
        "SET timestamp = UNIX_TIMESTAMP('{}'); INSERT INTO dated (id) VALUES (9)",
        "1980-05-05",
        "1980-05-06",
    ),
    ("UPDATE above SET k = 2 WHERE id = {}", "1", "3"),
]


@pytest.mark.parametrize(("text", "right", "wrong"), PAIRS)
def test_a_guess_is_not_answered(
    mariadb: EmbeddedMariaDB, proxy: Running, text: str, right: str, wrong: str
) -> None:
    """Directly it is."""
    answers = []
    for guess in (right, wrong):
        with direct_cursor(mariadb, (f"USE {DATABASE}", "START TRANSACTION")) as cursor:
            last = [told(cursor, one) for one in text.format(guess).split("; ")][-1]
            answers.append((last, cursor.rowcount))
            cursor.execute("ROLLBACK")
        with alice_at(proxy, DATABASE) as alice:
            alice.execute("START TRANSACTION")
            last = [told(alice, one) for one in text.format(guess).split("; ")][-1]
            assert "would tell of" in last, last
    assert answers[0] != answers[1]


@pytest.mark.parametrize("text", ["(id) VALUES (9)", "(id, email) VALUES (9, NULL)"])
def test_what_is_written_without_a_choice(alice: Cursor, text: str) -> None:
    """A default answers for that one value; whatever is written counts as a guess."""
    assert "would tell of" in told(alice, f"INSERT INTO fixed {text}")


@pytest.mark.parametrize(
    "text",
    [
        "INSERT INTO people (id, name) VALUES (9, 'x')",
        "INSERT INTO tenants (id, tenant) VALUES (9, 1)",
        "UPDATE people SET name = 'x' WHERE id = 1",
        "UPDATE people SET id = 9 WHERE id = 1",
        "DELETE FROM people WHERE id = 1",
        "UPDATE above SET id = 9 WHERE id = 1",
    ],
)
def test_what_is_no_guess(alice: Cursor, text: str) -> None:
    assert "refused" not in told(alice, text)
