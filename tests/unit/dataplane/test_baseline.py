"""What is known of a database since it was first seen: new columns, renamed ones, and another
database under the same name."""

from pathlib import Path

import msgspec
import pytest

from appliance.dataplane.baseline import Baseline, baseline_path
from appliance.model.catalog import Catalog, Column, Relation


def relation(oid: int, name: str, *columns: str, **more: object) -> Relation:
    named = tuple(Column(n, c, 25) for n, c in enumerate(columns, 1) if c)
    return Relation(oid, "public", name, "r", named, **more)  # type: ignore[arg-type]


def catalog(*relations: Relation) -> Catalog:
    return Catalog(
        target="t",
        database="d",
        version="1",
        server_version_num=180_000,
        schemas=("public",),
        relations={r.oid: r for r in relations},
        by_name={(r.schema, r.name): r.oid for r in relations},
        functions={},
    )


PEOPLE = relation(20_000, "people", "id", "name", "email")


@pytest.fixture(params=[True, False], ids=["in memory", "after a restart"])
def first_seen(request: pytest.FixtureRequest, tmp_path: Path) -> Baseline:
    path = None if request.param else baseline_path(tmp_path, "t", "d")
    seen = Baseline(path)
    assert seen.applied(catalog(PEOPLE)).unknown == frozenset()
    return seen if path is None else Baseline(path)


def test_nothing_new(first_seen: Baseline) -> None:
    same = catalog(PEOPLE)
    assert first_seen.applied(same) is same


def test_a_new_table_and_a_new_column(first_seen: Baseline) -> None:
    copy = relation(20_001, "copy", "who")
    wider = relation(20_000, "people", "id", "name", "email", "mail2")
    found = first_seen.applied(catalog(wider, copy))
    assert found.unknown == {(20_001, 1), (20_000, 4)}
    assert found.version != "1"


def test_columns_that_swapped_their_names(first_seen: Baseline) -> None:
    swapped = relation(20_000, "people", "id", "email", "name")
    found = first_seen.applied(catalog(swapped))
    assert found.unknown == frozenset()
    assert found.former == {
        (20_000, 2): (("public", "people", "name"),),
        (20_000, 3): (("public", "people", "email"),),
    }
    assert found.version != "1"


def test_a_table_under_another_name(first_seen: Baseline) -> None:
    found = first_seen.applied(catalog(msgspec.structs.replace(PEOPLE, name="others")))
    assert found.unknown == frozenset()
    assert found.former[20_000, 3] == (("public", "people", "email"),)


def test_an_oid_that_is_another_tables_now(first_seen: Baseline) -> None:
    """The database was dropped and made anew: nothing is known of this table."""
    found = first_seen.applied(catalog(relation(20_000, "orders", "number", "total")))
    assert found.unknown == {(20_000, 1), (20_000, 2)}
    assert not found.former


def test_a_partition_of_what_is_known(first_seen: Baseline) -> None:
    part = relation(20_002, "part", "id", "name", "email", parents=(20_000,))
    assert first_seen.applied(catalog(PEOPLE, part)).unknown == frozenset()


def test_what_masked_sessions_made_is_known(first_seen: Baseline) -> None:
    own = relation(20_003, "own", "a")
    first_seen.note_clean([("public", "own")], "")
    assert first_seen.applied(catalog(PEOPLE, own)).unknown == frozenset()
    again = msgspec.structs.replace(own, oid=20_004)
    assert first_seen.applied(catalog(PEOPLE, again)).unknown == {(20_004, 1)}


def test_what_somebody_else_owns_is_not_what_masked_sessions_made(first_seen: Baseline) -> None:
    first_seen.note_clean([("public", "own"), ("public", "other")], "ann")
    own = relation(20_003, "own", "a", owner="ann")
    other = relation(20_004, "other", "a", owner="root")
    assert first_seen.applied(catalog(PEOPLE, own, other)).unknown == {(20_004, 1)}


def test_what_may_be_somebody_elses_by_now_is_not_believed(first_seen: Baseline) -> None:
    first_seen.note_clean([("public", "own")], "ann")
    first_seen.doubt_clean()
    own = relation(20_003, "own", "a", owner="ann")
    assert first_seen.applied(catalog(PEOPLE, own)).unknown == {(20_003, 1)}


def test_another_table_under_a_known_name(first_seen: Baseline) -> None:
    """The policy that names `people` speaks of the one that was there."""
    moved = msgspec.structs.replace(PEOPLE, name="p0")
    remade = relation(20_005, "people", "id", "email", "name")
    found = first_seen.applied(catalog(moved, remade, relation(20_006, "copy", "who")))
    assert found.remade == {20_005}
    assert found.unknown == {(20_005, 1), (20_005, 2), (20_005, 3), (20_006, 1)}


def test_what_appeared_later_keeps_the_names_it_was_met_under(
    first_seen: Baseline,
) -> None:
    """Policy may name it; a rename takes no mask away. Known it is not for that."""
    late = relation(20_007, "late", "id", "ssn", "city")
    wider = relation(20_000, "people", "id", "name", "email", "ssn")
    first_seen.applied(catalog(wider, late))
    renamed = relation(20_007, "other", "id", "note", "city")
    again = relation(20_000, "people", "id", "name", "email", "note")
    found = first_seen.applied(catalog(again, renamed))
    assert found.unknown == {(20_007, 1), (20_007, 2), (20_007, 3), (20_000, 4)}
    assert found.former == {
        (20_007, 1): (("public", "late", "id"),),
        (20_007, 2): (("public", "late", "ssn"),),
        (20_007, 3): (("public", "late", "city"),),
        (20_000, 4): (("public", "people", "ssn"),),
    }


def test_another_table_under_the_name_of_what_appeared_later(first_seen: Baseline) -> None:
    late = relation(20_007, "late", "id", "ssn")
    assert not first_seen.applied(catalog(PEOPLE, late)).remade
    moved = msgspec.structs.replace(late, name="l0")
    found = first_seen.applied(catalog(PEOPLE, moved, relation(20_008, "late", "ssn", "id")))
    assert found.remade == {20_008}


def test_another_table_under_the_name_of_one_that_is_gone(first_seen: Baseline) -> None:
    """Dropped and made again, or renamed, replaced and then dropped."""
    remade = relation(20_005, "people", "id", "email", "name")
    found = first_seen.applied(catalog(remade))
    assert found.remade == {20_005}
    assert found.unknown == {(20_005, 1), (20_005, 2), (20_005, 3)}
    assert first_seen.applied(catalog(remade)).remade == {20_005}
    again = msgspec.structs.replace(remade, oid=20_006)
    assert first_seen.applied(catalog(again)).remade == {20_006}


def test_one_that_appeared_later_made_again(first_seen: Baseline) -> None:
    late = relation(20_007, "late", "id", "ssn")
    assert not first_seen.applied(catalog(PEOPLE, late)).remade
    first_seen.applied(catalog(PEOPLE))
    again = relation(20_008, "late", "ssn", "id")
    assert first_seen.applied(catalog(PEOPLE, again)).remade == {20_008}


def test_of_what_is_gone_the_name_is_kept_once(first_seen: Baseline) -> None:
    for oid in range(30_000, 30_050):
        first_seen.applied(catalog(PEOPLE, relation(oid, "scratch", "id")))
    assert first_seen.known == 3


def test_names_of_what_is_gone_are_bounded(
    first_seen: Baseline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("appliance.dataplane.baseline.GONE_MAX", 3)
    for oid in range(30_000, 30_050):
        first_seen.applied(catalog(PEOPLE, relation(oid, f"scratch{oid}", "id")))
    assert first_seen.known == 2 + 3


def test_another_worker_met_what_a_masked_session_made(tmp_path: Path) -> None:
    path = baseline_path(tmp_path, "t", "d")
    one, other = Baseline(path), Baseline(path)
    for each in (one, other):
        each.applied(catalog(PEOPLE))
    own = relation(20_003, "own", "a")
    one.note_clean([("public", "own")], "")
    assert other.applied(catalog(PEOPLE, own)).unknown == {(20_003, 1)}
    assert one.applied(catalog(PEOPLE, own)).unknown == frozenset()
    assert other.moved()
    assert other.applied(catalog(PEOPLE, own)).unknown == frozenset()


PART = relation(20_002, "part", "id", "name", "email", parents=(20_000,))


@pytest.mark.parametrize("late", [False, True], ids=["from the first", "later"])
@pytest.mark.parametrize("gone", [False, True], ids=["detached", "the parent dropped"])
def test_a_part_that_is_one_no_more(tmp_path: Path, late: bool, gone: bool) -> None:
    """It has the rows still, and the masks."""
    path = baseline_path(tmp_path, "t", "d")
    alone = msgspec.structs.replace(PART, parents=())
    if late:
        Baseline(path).applied(catalog(PEOPLE, alone))
    assert not Baseline(path).applied(catalog(PEOPLE, PART)).former
    found = Baseline(path).applied(catalog(alone) if gone else catalog(PEOPLE, alone))
    assert found.former[20_002, 3] == (("public", "people", "email"),)
    assert found.unknown == frozenset()
