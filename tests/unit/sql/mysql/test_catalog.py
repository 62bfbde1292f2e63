"""The catalog of a real server: what is in it, what moves its epoch, what is never guessed."""

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from appliance.cli.demo.mariadb import EmbeddedMariaDB
from appliance.model.catalog import Catalog
from appliance.sql.mysql import catalog
from appliance.sql.mysql.catalog_rows import Row, build_catalog, is_mariadb, version_number
from appliance.sql.mysql.lineage import MyLineage
from tests.mariadb import connect, run

SCHEMA = """
CREATE DATABASE stock
CREATE TABLE stock.person (id INT PRIMARY KEY, ssn VARCHAR(20) CHARACTER SET latin1 UNIQUE, n INT,
    full VARCHAR(60) AS (CONCAT(ssn, '-', n)) VIRTUAL, more VARCHAR(60) AS (UPPER(full)) STORED,
    hidden INT INVISIBLE, UNIQUE KEY pair (n, ssn), CHECK (n < id))
CREATE TABLE stock.visit (id INT, person INT, note VARCHAR(9), FOREIGN KEY (person)
    REFERENCES stock.person (id) ON DELETE CASCADE)
CREATE TABLE stock.Mixed (A INT)
CREATE VIEW stock.people AS SELECT id AS pid, ssn AS s, CONCAT(n, 'x') AS c FROM stock.person WHERE n > 0
CREATE VIEW stock.deep AS SELECT pid, s FROM stock.people
CREATE TRIGGER stock.noting BEFORE INSERT ON stock.visit FOR EACH ROW SET NEW.note = 'x'
CREATE FUNCTION stock.plus(a INT) RETURNS INT DETERMINISTIC RETURN a + 1
"""  # noqa: E501
Load = Callable[[], Catalog]


@pytest.fixture(scope="module")
def load(mariadb: EmbeddedMariaDB) -> Iterator[Load]:
    texts = SCHEMA.replace("\n    ", " ").strip().splitlines()
    run(mariadb, *texts)
    with closing(connect(mariadb)) as connection, connection.cursor() as cursor:
        for text in catalog.PREPARE:
            cursor.execute(text)

        def asked(text: str) -> list[Row]:
            cursor.execute(text)
            return [tuple(v if v is None else str(v) for v in row) for row in cursor.fetchall()]

        yield lambda: build_catalog("t", "", {n: asked(q) for n, q in catalog.QUERIES.items()})
    run(mariadb, "DROP DATABASE stock")


def names(found: Catalog, relation: str, numbers: tuple[int, ...]) -> set[str]:
    chosen = found.relation_named("stock", relation)
    assert chosen is not None
    return {column.name for column in chosen.columns if column.attnum in numbers}


def test_what_is_in_it(load: Load) -> None:
    found = load()
    person, visit = (found.relation_named("stock", name) for name in ("person", "visit"))
    assert person is not None and visit is not None
    assert is_mariadb(found.server_version_num)
    assert [c.name for c in person.columns] == ["id", "ssn", "n", "full", "more", "hidden"]
    ssn = person.column("ssn")
    assert ssn is not None and (ssn.type_text, ssn.charset) == ("varchar(20)", "latin1")
    assert [c.name for c in person.columns if c.invisible] == ["hidden"]
    assert (person.kind, person.has_triggers, visit.has_triggers) == ("r", False, True)
    more = person.column("more")
    assert more is not None and more.generated == "s"
    made = found.made_of[person.oid][more.attnum]
    assert names(found, "person", made) == {"full", "ssn", "n"}
    (key,) = (each for each in found.foreign_keys if each.child == visit.oid)
    assert (key.child, key.parent, key.on_delete) == (visit.oid, person.oid, "c")
    looked_at = [names(found, "person", c.columns) for c in found.compared[person.oid]]
    assert {"n", "ssn"} in looked_at and {"n", "id"} in looked_at
    told = {n for c in found.compared[person.oid] for n in names(found, "person", c.changes)}
    assert told == {c.name for c in person.columns}
    assert ("stock", "plus") in found.functions
    assert found.relation_named("information_schema", "TABLES") is not None


def test_lineage_of_its_views(load: Load) -> None:
    lineage = MyLineage(load())
    deep, people = (lineage.relation_named("stock", name) for name in ("deep", "people"))
    person = lineage.relation_named("stock", "person")
    assert deep and people and person
    below = lineage.of((deep.oid, deep.columns[1].attnum))
    assert below.known and below.plain
    assert (person.oid, person.columns[1].attnum) in below.sources
    assert lineage.rests_on(deep.oid) == {deep.oid, people.oid, person.oid}
    assert not lineage.of((people.oid, people.columns[2].attnum)).plain
    assert names(lineage.catalog, "person", tuple(k[1] for k in lineage.shape(deep.oid).consumed))
    assert lineage.relation_named("stock", "mixed") is None
    assert lineage.relation_named("Information_Schema", "tables") is not None
    ssn = (person.oid, person.columns[1].attnum)
    assert lineage.reported("stock", "person", "ssn") == ssn
    assert lineage.reported("", "person", "ssn") is None


def test_its_epoch_moves_with_what_is_in_it(load: Load, mariadb: EmbeddedMariaDB) -> None:
    before = load()
    run(mariadb, "INSERT INTO stock.Mixed VALUES (1)", "ANALYZE TABLE stock.Mixed")
    run(mariadb, "CREATE TEMPORARY TABLE stock.own (a INT)")
    assert load().version == before.version
    versions = {before.version}
    for change in (
        "ALTER TABLE stock.Mixed ADD COLUMN b INT FIRST",
        "ALTER TABLE stock.Mixed CHANGE COLUMN A a INT",
        "ALTER TABLE stock.Mixed MODIFY COLUMN a BIGINT",
        "CREATE OR REPLACE VIEW stock.deep AS SELECT pid, s FROM stock.people WHERE s > 'a'",
        "CREATE TRIGGER stock.other AFTER UPDATE ON stock.visit FOR EACH ROW SET @a = 1",
        "CREATE OR REPLACE FUNCTION stock.plus(a INT) RETURNS INT DETERMINISTIC RETURN a + 2",
        "CREATE UNIQUE INDEX one ON stock.Mixed (b)",
        "ALTER TABLE stock.Mixed ADD CHECK (a > b)",
    ):
        run(mariadb, change)
        versions.add(load().version)
    assert len(versions) == 9
    kept = {r.oid: {c.name: c.attnum for c in r.columns} for r in before.relations.values()}
    for relation in load().relations.values():
        numbers = {c.name: c.attnum for c in relation.columns}
        shared = numbers.keys() & kept[relation.oid].keys()
        assert {n: numbers[n] for n in shared} == {n: kept[relation.oid][n] for n in shared}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("10.11.19-MariaDB-0+deb12u1", 101119),
        ("5.5.5-10.6.1-MariaDB", 100601),
        ("11.4.2-MariaDB", 110402),
        ("8.0.36", 80036),
        ("8.4.0-log", 80400),
        ("9.1.0", 90100),
        ("eight", 0),
        ("8.x.1", 0),
    ],
)
def test_versions(text: str, number: int) -> None:
    assert version_number(text) == number
