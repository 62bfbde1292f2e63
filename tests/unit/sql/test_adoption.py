"""Which relations could get a part with masked columns while they are read."""

import pytest

from appliance.model.catalog import Catalog, Column, Relation
from appliance.model.decision import Mask, MaskMethod
from appliance.sql.adoption import adopts

TEXT, INT = 25, 23
UNCLASSIFIED = "unclassified"
PEOPLE, CLONE, OTHER, PARENT, VIEW = 1, 2, 3, 4, 5


def relation(oid: int, columns: dict[str, int], kind: str = "r", **more: object) -> Relation:
    made = tuple(
        Column(attnum=number, name=name, type_oid=type_oid)
        for number, (name, type_oid) in enumerate(columns.items(), 1)
    )
    return Relation(oid, "s", f"t{oid}", kind, made, **more)  # type: ignore[arg-type]


def catalog(*relations: Relation) -> Catalog:
    return Catalog("t", "d", "1", 150_000, (), {r.oid: r for r in relations}, {}, {})


PEOPLE_COLUMNS = {"id": INT, "name": TEXT, "email": TEXT}


def asked(parent: Relation, part: Relation | None = None, rule: str = "m") -> bool:
    """With people.email masked."""
    people = part or relation(PEOPLE, PEOPLE_COLUMNS)
    owed = {(PEOPLE, 3): Mask(MaskMethod.REDACT, rule=rule)}
    return adopts([parent.oid], owed, catalog(people, parent), UNCLASSIFIED)


@pytest.mark.parametrize("kind", ["r", "p"])
@pytest.mark.parametrize("columns", [PEOPLE_COLUMNS, {"email": TEXT}, {"email": TEXT, "id": INT}])
def test_its_columns_are_all_there_and_one_is_masked(kind: str, columns: dict[str, int]) -> None:
    assert asked(relation(CLONE, columns, kind))


@pytest.mark.parametrize(
    "columns",
    [
        {"id": INT, "name": TEXT},  # shows nothing masked
        {"id": INT, "email": TEXT, "more": TEXT},  # the part has no such column
        {"email": INT},  # of another type
        {},
    ],
)
def test_it_could_not_or_it_would_show_nothing(columns: dict[str, int]) -> None:
    assert not asked(relation(CLONE, columns))


def test_what_is_no_parent() -> None:
    assert not asked(relation(VIEW, PEOPLE_COLUMNS, "v"))
    assert not asked(relation(CLONE, PEOPLE_COLUMNS, persistence="t"))


def test_what_is_a_part_already() -> None:
    parent = relation(PARENT, {"email": TEXT})
    assert not asked(parent, relation(PEOPLE, PEOPLE_COLUMNS, parents=(PARENT,)))
    people = relation(PEOPLE, PEOPLE_COLUMNS)
    assert not asked(people, people)


def test_what_is_no_part() -> None:
    assert not asked(relation(CLONE, PEOPLE_COLUMNS), relation(PEOPLE, PEOPLE_COLUMNS, "v"))


def test_where_the_parent_is_masked_alike() -> None:
    parent = relation(CLONE, PEOPLE_COLUMNS)
    owed = {(oid, 3): Mask(MaskMethod.REDACT, rule="m") for oid in (PEOPLE, CLONE)}
    assert not adopts(
        [CLONE], owed, catalog(relation(PEOPLE, PEOPLE_COLUMNS), parent), UNCLASSIFIED
    )


def test_what_nobody_has_classified_counts_as_its_parent_does() -> None:
    assert not asked(relation(CLONE, PEOPLE_COLUMNS), rule=UNCLASSIFIED)
