"""Writes that read nothing masked and would tell of it all the same, by success or failure."""

import pytest

from appliance.masking.oracles import told_by
from appliance.model.catalog import Catalog, Column, Comparison, ForeignKey, Relation
from appliance.model.decision import Mask, MaskMethod
from appliance.model.facts import Action, RelationUse, StatementFacts

PEOPLE, VISITS, NOTES = 1, 2, 3
NAMES = {PEOPLE: "people", VISITS: "visits", NOTES: "notes"}
COLUMNS = ("id", "key", "pay", "bonus")


Compared = dict[int, tuple[Comparison, ...]]
MADE_OF = {VISITS: {4: (3,)}}
"""visits.bonus is computed from visits.pay."""


def catalog(*keys: ForeignKey, compared: Compared) -> Catalog:
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
        made_of=MADE_OF,
    )


def use(action: Action, oid: int, *columns: str) -> StatementFacts:
    relation = RelationUse(action, "public", NAMES[oid], oid, columns)
    return StatementFacts("X", (action,), (relation,))


MASKED_CHILD = ForeignKey(VISITS, (2,), PEOPLE, (1,), "a", "a")
CASCADE = ForeignKey(VISITS, (1,), PEOPLE, (1,), "c", "c")
BELOW = ForeignKey(NOTES, (2,), VISITS, (3,), "r", "a")
MASKED_PARENT = ForeignKey(VISITS, (1,), PEOPLE, (2,), "a", "a")

DEFAULTED = ForeignKey(VISITS, (1,), PEOPLE, (2,), "a", "a", (1,))
COMPUTED_CHILD = ForeignKey(VISITS, (4,), PEOPLE, (2,), "a", "a")
COMPUTED_PARENT = ForeignKey(NOTES, (2,), VISITS, (4,), "a", "a")

CHECK = Comparison((3, 4))
UNSETTLED = Comparison((3,), always=True)
EXCLUSION = Comparison((3, 4), others=(3, 4))
BEFORE = Comparison((3,), always=True, before=(3,))
CHANGED = Comparison(changes=(3,))
DELETED = Comparison(deleted=(3,))


def of_people(*comparisons: Comparison) -> Compared:
    return {PEOPLE: comparisons}


TELLING = [
    ("delete of what a masked column refers to", [MASKED_CHILD], {}, (Action.DELETE, PEOPLE)),
    ("its key changes", [MASKED_CHILD], {}, (Action.UPDATE, PEOPLE, "id")),
    ("merge may do either", [MASKED_CHILD], {}, (Action.MERGE, PEOPLE)),
    ("by way of a cascade", [CASCADE, BELOW], {}, (Action.DELETE, PEOPLE)),
    ("a masked key that is referred to", [MASKED_PARENT], {}, (Action.INSERT, VISITS, "id")),
    ("COPY, too", [MASKED_PARENT], {}, (Action.COPY_FROM, VISITS)),
    ("by default", [DEFAULTED], {}, (Action.INSERT, VISITS, "key")),
    ("by a column computed from it", [COMPUTED_CHILD], {}, (Action.UPDATE, VISITS, "pay")),
    ("to a column computed from it", [COMPUTED_PARENT], {}, (Action.UPDATE, VISITS, "pay")),
    ("a check beside", [], of_people(CHECK), (Action.UPDATE, PEOPLE, "bonus")),
    ("columns by other names", [], of_people(CHECK), (Action.UPDATE, PEOPLE)),
    ("a check not validated", [], of_people(UNSETTLED), (Action.UPDATE, PEOPLE, "bonus")),
    ("other rows", [], of_people(EXCLUSION), (Action.INSERT, PEOPLE)),
    ("other rows, copying", [], of_people(EXCLUSION), (Action.COPY_FROM, PEOPLE)),
    ("other rows, changing", [], of_people(EXCLUSION), (Action.UPDATE, PEOPLE, "pay", "bonus")),
    ("what was there", [], of_people(BEFORE), (Action.UPDATE, PEOPLE, "pay")),
    ("whether it changes", [], of_people(CHANGED), (Action.UPDATE, PEOPLE, "pay")),
    ("what goes", [], of_people(DELETED), (Action.DELETE, PEOPLE)),
]
SILENT = [
    ("another column", [MASKED_CHILD], {}, (Action.UPDATE, PEOPLE, "bonus")),
    ("nothing refers to it", [MASKED_CHILD], {}, (Action.DELETE, NOTES)),
    ("the referring row itself", [MASKED_CHILD], {}, (Action.DELETE, VISITS)),
    ("no masked column below", [CASCADE], {}, (Action.DELETE, PEOPLE)),
    ("NULL refers to nothing", [MASKED_PARENT], {}, (Action.INSERT, VISITS, "key")),
    ("no default anew", [DEFAULTED], {}, (Action.UPDATE, VISITS, "key")),
    ("own values only", [], of_people(CHECK), (Action.INSERT, PEOPLE, "bonus")),
    ("all that is compared", [], of_people(CHECK), (Action.UPDATE, PEOPLE, "pay", "bonus")),
    ("own value, not validated", [], of_people(UNSETTLED), (Action.UPDATE, PEOPLE, "pay")),
    ("own row", [], of_people(UNSETTLED), (Action.INSERT, PEOPLE)),
    ("not part of what others hold", [], of_people(EXCLUSION), (Action.UPDATE, PEOPLE, "id")),
    ("it does not change", [], of_people(CHANGED), (Action.UPDATE, PEOPLE, "bonus")),
    ("nothing there before", [], of_people(BEFORE, CHANGED), (Action.INSERT, PEOPLE)),
    ("nothing goes", [], of_people(DELETED), (Action.UPDATE, PEOPLE, "bonus")),
    ("a reader", [MASKED_CHILD], of_people(CHECK), (Action.SELECT, PEOPLE, "bonus")),
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
    compared: Compared,
    asked: tuple[Action, int],
) -> None:
    assert told_by(use(*asked), OWED, catalog(*keys, compared=compared)) in OWED
    assert told_by(use(*asked), {}, catalog(*keys, compared=compared)) is None


@pytest.mark.parametrize(
    ("keys", "compared", "asked"), [case[1:] for case in SILENT], ids=[c[0] for c in SILENT]
)
def test_silent(
    keys: list[ForeignKey],
    compared: Compared,
    asked: tuple[Action, int],
) -> None:
    assert told_by(use(*asked), OWED, catalog(*keys, compared=compared)) is None
