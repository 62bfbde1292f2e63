"""Statements over masked relations, on real servers: what they show, what they refuse, and that
the planner finds its indexes."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import psycopg
import pytest

from appliance.cli.demo.postgres import EmbeddedPostgres
from appliance.masking import masked_relations
from appliance.masking.masked_relations import MaskedRelations, Unmaskable
from appliance.model.catalog import SessionSettings
from appliance.model.decision import Mask, MaskMethod
from appliance.model.limits import Limits
from appliance.session.dialect import joined
from appliance.session.rewriting import forms_of
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import read_catalog

SCHEMA = """
CREATE TABLE people (
  id int PRIMARY KEY, name text NOT NULL, email varchar(40) UNIQUE, born date, pay numeric(10,2),
  email_key text GENERATED ALWAYS AS (lower(email)) STORED, extra jsonb, at timestamptz);
CREATE INDEX people_name ON people (name);
CREATE TABLE visits (id int PRIMARY KEY, person int REFERENCES people, place text);
CREATE INDEX visits_person ON visits (person);
INSERT INTO people (id, name, email, born, pay, extra) SELECT n, 'name ' || n,
  'user' || n || '@example.com', date '1990-01-01' + n, n, '{"a": 1}'
  FROM generate_series(1, 500) n;
INSERT INTO visits SELECT n, 1 + n % 500, 'place ' || n % 7 FROM generate_series(1, 3000) n;
CREATE VIEW plain AS SELECT id, name AS called, email AS mail FROM people;
CREATE VIEW computed AS SELECT id, upper(mail) AS loud, called FROM plain;
CREATE VIEW walled WITH (security_barrier) AS SELECT id, upper(email) AS loud FROM people
  WHERE id > 10;
CREATE MATERIALIZED VIEW stored AS SELECT id, email, lower(email) AS small, name FROM people;
CREATE MATERIALIZED VIEW chosen AS SELECT id FROM people WHERE email LIKE 'user1%';
CREATE TABLE secured (id int, owner text, body text);
ALTER TABLE secured ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON secured USING (owner = current_user);
CREATE VIEW over_secured AS SELECT id, body || '!' AS loud FROM secured;
CREATE TABLE guarded (id int, hidden text);
ALTER TABLE guarded ENABLE ROW LEVEL SECURITY;
CREATE POLICY peek ON guarded USING (hidden LIKE current_setting('app.x', true));
ANALYZE;
"""
OWED = {
    "people.email": Mask(MaskMethod.KEEP_FIRST, keep=2),
    "people.born": Mask(MaskMethod.TRUNCATE_DATE, unit="year"),
    "people.pay": Mask(MaskMethod.NULL),
    "secured.body": Mask(MaskMethod.NULL),
    "guarded.hidden": Mask(MaskMethod.NULL),
}


@dataclass
class World:
    connection: psycopg.Connection
    lineage: CatalogLineage
    relations: MaskedRelations
    settings: SessionSettings

    def form(self, text: str) -> str:
        """The whole text at the source. Raises Unmaskable."""
        raw = text.encode()
        facts = analyse(raw, self.lineage, self.settings, Limits())
        assert not any(s.unresolved for s in facts.statements), facts.statements
        chosen = [True] * len(facts.statements)
        forms = forms_of(raw, chosen, facts, self.lineage, self.settings, self.relations, Limits())
        return joined(raw, chosen, facts, forms).decode()

    def rows(self, text: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(self.form(text).encode()).fetchall()

    def plan(self, text: str) -> dict[str, Any]:
        explained = f"EXPLAIN (FORMAT JSON) {text}".encode()
        row = self.connection.execute(explained).fetchone()
        assert row is not None
        plan: dict[str, Any] = row[0][0]["Plan"]
        return plan


@pytest.fixture(scope="module", params=["postgres", "postgres16"])
def world(request: pytest.FixtureRequest) -> Iterator[World]:
    server: EmbeddedPostgres = request.getfixturevalue(request.param)
    with psycopg.connect(server.uri("postgres"), autocommit=True) as admin:
        admin.execute("CREATE DATABASE rewriting TEMPLATE template0")
    uri = server.uri(database="rewriting")
    with psycopg.connect(uri, autocommit=True) as connection:
        connection.execute(SCHEMA.encode())
        lineage = CatalogLineage(read_catalog(connection, "rewriting"))
        owed = {}
        for name, mask in OWED.items():
            table, _, column = name.partition(".")
            relation = lineage.catalog.relation_named("public", table)
            assert relation is not None
            found = relation.column(column)
            assert found is not None
            owed[relation.oid, found.attnum] = mask
        yield World(
            connection,
            lineage,
            MaskedRelations(lineage, owed),
            SessionSettings(database="rewriting", search_path=("public",), role="postgres"),
        )


MASKED = [
    ("SELECT email FROM people WHERE id = 7", "us***************"),
    ("SELECT upper(email) FROM people WHERE id = 7", "US***************"),
    ("SELECT count(DISTINCT email) FROM people WHERE id < 10", 1),
    ("SELECT id FROM people WHERE email LIKE 'user7@%'", None),
    ("SELECT name FROM people WHERE id = 7 ORDER BY email", "name 7"),
    ("SELECT email_key FROM people WHERE id = 7 AND email IS NOT NULL", "us***************"),
    ("SELECT extract(day FROM born)::int FROM people WHERE id = 7", 1),
    ("SELECT coalesce(pay, -1)::int FROM people WHERE id = 7", -1),
    ("SELECT mail || '' FROM plain WHERE id = 7", "us***************"),
    ("SELECT loud FROM computed WHERE id = 7", "US***************"),
    ("SELECT loud FROM walled WHERE id = 17", "US****************"),
    ("SELECT loud FROM walled WHERE id = 7", None),
    ("SELECT email || '' FROM stored WHERE id = 7", "us***************"),
    ("SELECT (p).email || '' FROM people p WHERE id = 7", "us***************"),
    ("SELECT row_to_json(p)->>'email' FROM people p WHERE id = 7", "us***************"),
    ("SELECT p::text FROM (SELECT id, email FROM people) p WHERE id = 7", "(7,us***************)"),
    ("SELECT pg_typeof(p)::text FROM people p WHERE id = 7", "people"),
    ("SELECT count(p) FROM visits v LEFT JOIN people p ON p.id = -v.id", 0),
    ("SELECT max(email) OVER () FROM people LIMIT 1", "us*****************"),
    ("WITH RECURSIVE r AS (SELECT id, email FROM people WHERE id = 1 UNION ALL"
     " SELECT p.id, p.email FROM people p JOIN r ON p.id = r.id + 1 AND p.id < 4)"
     " SELECT string_agg(email, ' ' ORDER BY id) FROM r", " ".join(["us***************"] * 3)),
    ("SELECT id, upper(email) || name FROM people GROUP BY id HAVING id = 7", 7),
    ("SELECT upper(p.email), count(*) FROM people p JOIN visits v ON v.person = p.id"
     " WHERE p.id = 7 GROUP BY p.id, v.place", "US***************"),
    ("SELECT p.*, upper(email), max(v.place) FROM people p JOIN visits v ON v.person = p.id"
     " WHERE p.id = 7 GROUP BY p.id", 7),
    ("SELECT 'us**' UNION ALL SELECT lower(email) FROM people WHERE id = 7 GROUP BY id", ""),
    ("SELECT id, upper(email) FROM people WHERE id = 7 GROUP BY 1 ORDER BY name, born", 7),
    ("SELECT email FROM people UNION SELECT 'x' WHERE false", "us*****************"),
    ("SELECT body || 'x' FROM secured", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "value"), MASKED, ids=[text[:60] for text, _ in MASKED])
def test_shows_masks_only(world: World, text: str, value: object) -> None:
    rows = world.rows(text)
    if value is None:
        assert rows == []
    elif "UNION" in text and "RECURSIVE" not in text:
        assert all(str(row[0]).startswith("us**") for row in rows)
    else:
        assert rows[0][0] == value


REFUSED = [
    ("UPDATE people SET name = email WHERE id = 1", "a mask, not what is there"),
    ("UPDATE people SET pay = pay * 2", "a mask, not what is there"),
    ("INSERT INTO people (id, name, email) VALUES (1, '', '') ON CONFLICT (email) DO NOTHING",
     "exists already"),
    ("INSERT INTO people (id, name, email) VALUES (1, '', '') ON CONFLICT DO NOTHING",
     "exists already"),
    ("SELECT small FROM stored", "when it was stored"),
    ("SELECT s FROM stored s", "when it was stored"),
    ("SELECT id FROM chosen", "depends on public.people.email"),
    ("SELECT id FROM guarded", "depends on public.guarded.hidden"),
    ("SELECT loud FROM over_secured", "row security"),
    ("SELECT p.*, p FROM people AS p (id, id)", "no name of their own"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "why"), REFUSED, ids=[text[:60] for text, _ in REFUSED])
def test_refuses_what_cannot_be_said(world: World, text: str, why: str) -> None:
    with pytest.raises(Unmaskable, match=why):
        world.form(text)


def test_a_stored_column_nobody_reads_is_in_nobodys_way(world: World) -> None:
    assert world.rows("SELECT name, email || '' FROM stored WHERE id = 3")[0][0] == "name 3"


@pytest.mark.parametrize(
    "text",
    [
        "SELECT name, upper(email) FROM people GROUP BY name",
        "SELECT id, upper(email) FROM people GROUP BY GROUPING SETS ((id), ())",
        "SELECT p.id, upper(email) FROM visits p, people WHERE p.person = people.id GROUP BY p.id",
        "SELECT q.id, upper(q.email) FROM people q (key, id) GROUP BY q.id",
    ],
)
def test_what_does_not_follow_from_a_key_is_not_grouped_by(world: World, text: str) -> None:
    with pytest.raises(psycopg.Error) as caught:
        world.rows(text)
    assert caught.value.sqlstate in ("42803", "42703")


def test_a_materialised_view_is_copied_by_its_columns(world: World) -> None:
    """PostgreSQL 18 copies one by its name."""
    sent = world.form("COPY stored (id, email) TO STDOUT")
    assert "SELECT" in sent and "stored TO" not in sent
    with world.connection.cursor() as cursor, cursor.copy(sent.encode()) as copying:
        rows = [bytes(row) for row in copying]
    assert rows[0].startswith(b"1\tus***") and len(rows) == 500
    with pytest.raises(Unmaskable, match="when it was stored"):
        world.form("COPY stored TO STDOUT")
    with pytest.raises(Unmaskable, match=r"say COPY \(SELECT"):
        world.form("COPY computed TO STDOUT")


def test_returning_shows_what_was_stored_and_masks_the_rest(world: World) -> None:
    with world.connection.transaction(force_rollback=True):
        added = "INSERT INTO people (id, name, email) VALUES (900, 'n', 'New@x.y') RETURNING *"
        assert world.rows(added)[0][:6] == (900, "n", "New@x.y", None, None, "new@x.y")
        changed = "UPDATE people SET email = 'Other' WHERE id = 7 RETURNING email, email_key, born"
        assert [str(cell) for cell in world.rows(changed)[0]] == ["Other", "other", "1990-01-01"]
        kept = "UPDATE people SET name = 'n' WHERE id = 8 RETURNING email, name"
        assert world.rows(kept) == [("us***************", "n")]
        gone = "DELETE FROM visits v USING people p WHERE p.id = v.person AND v.id = 1"
        assert world.rows(gone + " RETURNING p.email, v.id")[0][0].startswith("us***")


def test_every_name_is_qualified(world: World) -> None:
    """What stands in pg_temp or anywhere else in the path has no say in what is sent."""
    text = world.form(
        "SELECT lower(email)::text || 'x' FROM people p JOIN visits v ON v.person = p.id"
        " WHERE email LIKE 'a%' AND p.id IN (SELECT person FROM visits) AND born < now()::date"
    )
    for name in ('"lower"(', '"now"(', '"text"', '"date"'):
        position = text.index(name)
        assert text[:position].endswith('"pg_catalog".'), name
    assert 'OPERATOR("pg_catalog".||)' in text
    assert 'OPERATOR("pg_catalog".~~)' in text
    assert '"public"."people"' in text
    assert '"public"."visits"' in text


PLANNED = [
    "SELECT id, name, email || '' FROM people WHERE id = 5",
    "SELECT id, upper(email) FROM people WHERE id BETWEEN 5 AND 9",
    "SELECT upper(email) FROM people WHERE name = 'name 5'",
    "SELECT loud FROM computed WHERE id = 5",
    "SELECT p.name, upper(p.email), v.place FROM people p JOIN visits v ON v.person = p.id"
    " WHERE p.id = 9",
]


@pytest.mark.parametrize("text", PLANNED)
def test_the_planner_finds_its_indexes(world: World, text: str) -> None:
    """Same nodes, same indexes, same cost but for evaluating the masks."""
    plain, masked = world.plan(text), world.plan(world.form(text))
    assert _nodes(masked) == _nodes(plain)
    assert masked["Total Cost"] <= plain["Total Cost"] * 1.05 + 0.05
    assert "Index" in json.dumps(_nodes(masked))


def _nodes(plan: dict[str, Any]) -> list[tuple[str, str]]:
    found = [(plan["Node Type"], plan.get("Index Name", ""))]
    for inner in plan.get("Plans", ()):
        found += _nodes(inner)
    return found


def test_texts_of_masked_relations_are_kept_within_bounds(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "SELECT upper(email) FROM people p JOIN visits v ON v.person = p.id WHERE born IS NULL"
    monkeypatch.setattr(masked_relations, "SUBSELECTS_MAX", 2)
    relations = MaskedRelations(world.lineage, world.relations.owed)
    fresh = replace(world, relations=relations)
    first = fresh.form(text)
    assert any(relations.texts.values())
    assert first == fresh.form(text)
    for column in ("email", "born", "pay", "email, born", "pay, born"):
        fresh.form(f"SELECT count(*) FROM people WHERE ({column}) IS NULL")
        assert set(relations.texts) == {id(body) for body in relations.subselects.values()}
        assert len(relations.texts) <= 2
    assert first == fresh.form(text)
