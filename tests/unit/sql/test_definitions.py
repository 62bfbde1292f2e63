"""Definitions whose success tells of rows that are there: keys that refer to them, partitions."""

from collections.abc import Iterator

import psycopg
import pytest

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Action, StatementFacts
from appliance.model.limits import Limits
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from tests.unit.sql.conftest import DATABASE, Database, read_catalog

SCHEMA = """
CREATE SCHEMA kept;
CREATE TABLE kept.people (id int PRIMARY KEY, email text NOT NULL UNIQUE);
CREATE TABLE kept.notes (id int PRIMARY KEY, email text);
ALTER TABLE kept.notes ADD FOREIGN KEY (email) REFERENCES kept.people (email) NOT VALID;
CREATE TABLE kept.free (id int, email text);
CREATE TABLE kept.parts (id int, email text) PARTITION BY RANGE (email);
"""


@pytest.fixture(scope="module")
def lineage(database: Database) -> Iterator[CatalogLineage]:
    with psycopg.connect(database.uri) as connection:
        connection.execute(SCHEMA)
        yield CatalogLineage(read_catalog(connection, inside=True))
        connection.rollback()


def facts(lineage: CatalogLineage, text: str) -> StatementFacts:
    settings = SessionSettings(DATABASE, search_path=("kept",), role="postgres")
    (statement,) = analyse(text.encode(), lineage, settings, Limits()).statements
    return statement


def named(lineage: CatalogLineage, statement: StatementFacts) -> set[str]:
    relations = lineage.catalog.relations
    return {f"{relations[o].name}.{lineage.column_name(o, n)}" for o, n in statement.consumed}


TO_EMAIL = [
    "ALTER TABLE free ADD FOREIGN KEY (email) REFERENCES people (email)",
    "ALTER TABLE free ADD FOREIGN KEY (email) REFERENCES kept.people (email) NOT VALID",
    "ALTER TABLE free ADD COLUMN other text DEFAULT 'x' REFERENCES people (email)",
    "CREATE TABLE made (a text REFERENCES people (email))",
    "CREATE TABLE made (a text, b int, FOREIGN KEY (a) REFERENCES people (email))",
    "CREATE SCHEMA made CREATE TABLE made (a text REFERENCES kept.people (email))",
    "ALTER TABLE notes VALIDATE CONSTRAINT notes_email_fkey",
    "ALTER TABLE notes ALTER email TYPE varchar USING 'a guess'",
    "ALTER TABLE notes ALTER CONSTRAINT notes_email_fkey DEFERRABLE",
]


@pytest.mark.parametrize("text", TO_EMAIL)
def test_a_key_looks_into_what_it_refers_to(lineage: CatalogLineage, text: str) -> None:
    statement = facts(lineage, text)
    assert "people.email" in named(lineage, statement)
    assert not statement.unresolved
    uses = {(use.action, use.name) for use in statement.relations}
    assert (Action.SELECT, "people") in uses


def test_a_key_that_is_referred_to_is_held_against_what_refers(lineage: CatalogLineage) -> None:
    statement = facts(lineage, "ALTER TABLE people ALTER email TYPE varchar")
    assert "notes.email" in named(lineage, statement)


@pytest.mark.parametrize(
    "text",
    [
        "CREATE TABLE made (a int REFERENCES people, b int REFERENCES made)",
        "ALTER TABLE free ADD FOREIGN KEY (id) REFERENCES people (id)",
    ],
)
def test_a_key_looks_at_nothing_else(lineage: CatalogLineage, text: str) -> None:
    statement = facts(lineage, text)
    assert named(lineage, statement) == {"people.id"}
    assert not statement.unresolved


@pytest.mark.parametrize(
    ("before", "made"),
    [("DROP TABLE IF EXISTS made", "made"), ("SET search_path = x", "kept.made")],
)
def test_a_key_to_itself_rests_on_nothing_before(
    lineage: CatalogLineage, before: str, made: str
) -> None:
    """Of a table there may have been, and of one that takes its place, in one text."""
    text = f"{before}; CREATE TABLE {made} (a int PRIMARY KEY, b int REFERENCES {made} (a))"
    settings = SessionSettings(DATABASE, search_path=("kept",), role="postgres")
    _, statement = analyse(text.encode(), lineage, settings, Limits()).statements
    assert not statement.unresolved and not statement.consumed
    assert {use.action for use in statement.relations} == {Action.CREATE}


@pytest.mark.parametrize(
    ("target", "looked_at"),
    [
        ("(id)", {"people.id"}),
        ("ON CONSTRAINT people_pkey", {"people.id"}),
        ("ON CONSTRAINT people_email_key", {"people.email"}),
        ("ON CONSTRAINT of_somebody", {"people.id", "people.email"}),
    ],
)
def test_a_conflict_is_found_by_the_columns_of_its_constraint(
    lineage: CatalogLineage, target: str, looked_at: set[str]
) -> None:
    text = f"INSERT INTO people VALUES (1, 'x') ON CONFLICT {target} DO UPDATE SET id = 2"
    assert named(lineage, facts(lineage, text)) == looked_at


def test_rows_in_the_order_of_an_index_tell_of_its_columns(lineage: CatalogLineage) -> None:
    statement = facts(lineage, "CLUSTER notes USING notes_by_email")
    assert "notes.email" in named(lineage, statement) and not statement.unresolved
    assert facts(lineage, "CLUSTER").unresolved, "every table's"


@pytest.mark.parametrize("text", ["ALTER TABLE notes ADD COLUMN more text", "DROP TABLE notes"])
def test_other_changes_look_at_nothing(lineage: CatalogLineage, text: str) -> None:
    assert not facts(lineage, text).consumed


def test_a_new_partition_is_held_against_the_rows_of_a_default_one(
    lineage: CatalogLineage,
) -> None:
    text = "CREATE TABLE made PARTITION OF parts FOR VALUES FROM ('a') TO ('b')"
    assert "parts.email" in named(lineage, facts(lineage, text))


@pytest.mark.parametrize(
    "text",
    [
        "ALTER TABLE parts ATTACH PARTITION free FOR VALUES FROM ('a') TO ('b')",
        "ALTER TABLE parts DETACH PARTITION free",
        "ALTER TABLE notes INHERIT free",
        "ALTER TABLE notes NO INHERIT free",
    ],
)
def test_both_relations_are_altered(lineage: CatalogLineage, text: str) -> None:
    altered = {u.name for u in facts(lineage, text).relations if u.action is Action.ALTER}
    assert altered == {"free", text.split()[2]}
