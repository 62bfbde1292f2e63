"""Which writes a limit on rows can hold for, and the rows that wait for their count."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.catalog import Catalog, ForeignKey, SessionSettings
from appliance.model.decision import Decision, Effect
from appliance.model.facts import Facts
from appliance.model.limits import Limits
from appliance.model.refusal import RefusalCode
from appliance.policy.snapshot import Snapshot
from appliance.session.blast import affected
from appliance.session.counted import limit_of, uncounted
from appliance.session.hit_teaching import teachable
from appliance.session.inflight import KeptRows
from appliance.sql.analysis import analyse
from appliance.sql.lineage import CatalogLineage
from tests.playbook.speech import rows
from tests.playbook.world import CUSTOMERS, DAN, FEW_WRITES, NOTES, POLICY, Session, catalog

BOUND = Decision(Effect.ALLOW, (), rows_written_max=2, rows_written_rule="few")
SETTINGS = SessionSettings("shop", search_path=("public",), certain=True)


def facts_of(text: str, known: Catalog | None = None) -> Facts:
    return analyse(text.encode(), CatalogLineage(known or catalog()), SETTINGS, Limits())


def carrying(on_delete: str, on_update: str) -> Catalog:
    made = catalog()
    key = ForeignKey(NOTES, (1,), CUSTOMERS, (1,), on_delete, on_update)
    return msgspec.structs.replace(made, foreign_keys=(key,))


@pytest.mark.parametrize(
    ("text", "on_delete", "on_update", "counted"),
    [
        ("DELETE FROM customers WHERE id = 1", "a", "a", True),
        ("DELETE FROM customers WHERE id = 1", "c", "a", False),
        ("DELETE FROM customers WHERE id = 1", "n", "a", False),
        ("DELETE FROM notes WHERE id = 1", "c", "c", True),
        ("UPDATE customers SET name = 'x'", "c", "c", True),
        ("UPDATE customers SET id = 1", "c", "a", True),
        ("UPDATE customers SET id = 1", "a", "c", False),
        ("INSERT INTO customers (id) VALUES (1)", "c", "c", True),
        (
            "INSERT INTO customers (id) VALUES (1) ON CONFLICT (id) DO UPDATE SET id = 2",
            "a",
            "c",
            False,
        ),
    ],
)
def test_what_foreign_keys_carry_on(
    text: str, on_delete: str, on_update: str, counted: bool
) -> None:
    refusal = uncounted(facts_of(text, carrying(on_delete, on_update)), BOUND)
    assert (refusal is None) is counted
    if refusal is not None:
        assert "rows of public.notes" in refusal.message and refusal.sqlstate == "54000"


def test_without_a_limit_nothing_is_counted() -> None:
    everything = Decision(Effect.ALLOW, ())
    for text in ("DELETE FROM notes", "TRUNCATE notes", "DO 'x'", "DELETE FROM notes; SELECT 1"):
        assert uncounted(facts_of(text), everything) is None
        assert limit_of(facts_of(text), everything) is None


def test_what_is_counted() -> None:
    for text in ("DELETE FROM notes", "COPY notes FROM STDIN", "INSERT INTO notes SELECT 1, 'x'"):
        assert uncounted(facts_of(text), BOUND) is None
        assert limit_of(facts_of(text), BOUND) == 2
    assert limit_of(facts_of("SELECT 1"), BOUND) is None


def test_a_relation_that_is_not_known() -> None:
    """Perhaps a fresher catalog knows it."""
    refusal = uncounted(facts_of("DELETE FROM elsewhere"), BOUND)
    assert refusal is not None and refusal.code is RefusalCode.UNRESOLVED


@pytest.mark.parametrize(
    ("tag", "number"),
    [
        (b"INSERT 0 3", 3),
        (b"UPDATE 0", 0),
        (b"MERGE 12", 12),
        (b"COPY 7", 7),
        (b"SELECT 3", None),
        (b"COPY", None),
        (b"INSERT", None),
        (b"DELETE -3", None),
        (b"", None),
        (b"UPDATE 3 ", None),
    ],
)
def test_tags(tag: bytes, number: int | None) -> None:
    assert affected(tag) == number


@given(st.lists(st.integers(1, 4), max_size=6), st.lists(st.integers(0, 5), max_size=8))
def test_kept_rows_come_out_as_they_went_in(runs: list[int], wanted: list[int]) -> None:
    kept, made, number = KeptRows(100, 1 << 20), b"", 0
    for count in runs:
        run = rows(*([str(n)] for n in range(number, number + count)))
        number += count
        kept.keep(count, memoryview(run))
        made += run
    got, left = b"", number
    for want in [*wanted, 0]:
        taken, count = kept.take(want)
        assert count == (min(want, left) if want else left)
        assert count == sum(each for each, _ in taken)
        left -= count
        got += b"".join(part for _, part in taken)
    assert got == made and not kept.over


def test_kept_rows_are_bounded() -> None:
    row = rows(["x" * 10])
    kept = KeptRows(2, 1 << 20)
    kept.keep(2, row * 2)
    assert not kept.over
    kept.keep(1, row)
    assert kept.over and kept.take(0) == (kept.take(0)[0], 0)
    kept = KeptRows(9, len(row))
    kept.keep(1, row)
    assert not kept.over
    kept.keep(1, row)
    assert kept.over


def test_what_is_counted_takes_no_short_way() -> None:
    """The hit path sends a cycle with the Sync that commits it."""

    def taught(policy: Snapshot, text: bytes) -> bool:
        session = Session(DAN, policy=policy)
        settings = session.settings.current
        facts = session.judge.analyse_inline(text, settings)
        return teachable(session.judge.judge(text, facts, settings, 1.0))

    insert = b"INSERT INTO notes VALUES (1, 'x')"
    assert taught(POLICY, insert) and not taught(FEW_WRITES, insert)
    assert taught(FEW_WRITES, b"SELECT body FROM notes")
