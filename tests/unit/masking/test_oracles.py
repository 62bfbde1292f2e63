"""Writes that read nothing masked and would tell of it all the same, by success or failure."""

import pytest

from appliance.masking.oracles import told_by
from appliance.model.catalog import Catalog, Column, ForeignKey, Relation
from appliance.model.decision import Mask, MaskMethod
from appliance.model.facts import Action, RelationUse, StatementFacts

PEOPLE, VISITS, NOTES = 1, 2, 3
NAMES = {PEOPLE: "people", VISITS: "visits", NOTES: "notes"}
COLUMNS = ("id", "key", "pay", "bonus")


def catalog(*keys: ForeignKey, compared: dict[int, tuple[tuple[int, ...], ...]]) -> Catalog:
    relations = {
        oid: Relation(
            oid, "public", name, "r", tuple(Column(n, c, 23) for n, c in enumerate(COLUMNS, 1))
        )
        for oid, name in NAMES.items()
    }
    return Catalog(
        target="t",
        database="d",
        version="1",
        server_version_num=180_000,
        schemas=("public",),
        relations=relations,
        by_name={("public", name): oid for oid, name in NAMES.items()},
        functions={},
        foreign_keys=keys,
        compared=compared,
    )


def use(action: Action, oid: int, *columns: str) -> StatementFacts:
    relation = RelationUse(action, "public", NAMES[oid], oid, columns)
    return StatementFacts("X", (action,), (relation,))


MASKED_CHILD = ForeignKey(VISITS, (2,), PEOPLE, (1,), "a", "a")
CASCADE = ForeignKey(VISITS, (1,), PEOPLE, (1,), "c", "c")
BELOW = ForeignKey(NOTES, (2,), VISITS, (3,), "r", "a")
MASKED_PARENT = ForeignKey(VISITS, (1,), PEOPLE, (2,), "a", "a")

TELLING = [
    ("delete of what a masked column refers to", [MASKED_CHILD], {}, (Action.DELETE, PEOPLE)),
    ("its key changes", [MASKED_CHILD], {}, (Action.UPDATE, PEOPLE, "id")),
    ("merge may do either", [MASKED_CHILD], {}, (Action.MERGE, PEOPLE)),
    ("by way of a cascade", [CASCADE, BELOW], {}, (Action.DELETE, PEOPLE)),
    ("a masked key that is referred to", [MASKED_PARENT], {}, (Action.INSERT, VISITS, "id")),
    ("COPY, too", [MASKED_PARENT], {}, (Action.COPY_FROM, VISITS)),
    ("a check beside", [], {PEOPLE: ((3, 4),)}, (Action.UPDATE, PEOPLE, "bonus")),
]
SILENT = [
    ("another column", [MASKED_CHILD], {}, (Action.UPDATE, PEOPLE, "bonus")),
    ("nothing refers to it", [MASKED_CHILD], {}, (Action.DELETE, NOTES)),
    ("the referring row itself", [MASKED_CHILD], {}, (Action.DELETE, VISITS)),
    ("no masked column below", [CASCADE], {}, (Action.DELETE, PEOPLE)),
    ("own values only", [], {PEOPLE: ((3, 4),)}, (Action.INSERT, PEOPLE, "bonus")),
    ("all that is compared", [], {PEOPLE: ((3, 4),)}, (Action.UPDATE, PEOPLE, "pay", "bonus")),
    ("a reader", [MASKED_CHILD], {PEOPLE: ((3, 4),)}, (Action.SELECT, PEOPLE, "bonus")),
]
OWED = {
    (VISITS, 2): Mask(MaskMethod.NULL),
    (NOTES, 2): Mask(MaskMethod.NULL),
    (PEOPLE, 2): Mask(MaskMethod.NULL),
    (PEOPLE, 3): Mask(MaskMethod.NULL),
}


@pytest.mark.parametrize(
    ("keys", "compared", "asked"), [case[1:] for case in TELLING], ids=[c[0] for c in TELLING]
)
def test_telling(
    keys: list[ForeignKey],
    compared: dict[int, tuple[tuple[int, ...], ...]],
    asked: tuple[Action, int],
) -> None:
    assert told_by(use(*asked), OWED, catalog(*keys, compared=compared)) in OWED
    assert told_by(use(*asked), {}, catalog(*keys, compared=compared)) is None


@pytest.mark.parametrize(
    ("keys", "compared", "asked"), [case[1:] for case in SILENT], ids=[c[0] for c in SILENT]
)
def test_silent(
    keys: list[ForeignKey],
    compared: dict[int, tuple[tuple[int, ...], ...]],
    asked: tuple[Action, int],
) -> None:
    assert told_by(use(*asked), OWED, catalog(*keys, compared=compared)) is None
