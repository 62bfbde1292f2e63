"""The alarm: bounded, told once, by name, without a value, and silent about what is classified."""

import asyncio
from typing import Any, cast

import msgspec
import pytest

from appliance.audit.record import ClassificationProposed
from appliance.config.schema import TargetConfig
from appliance.dataplane import alarm as alarms
from appliance.dataplane.alarm import Alarm
from appliance.model.catalog import Catalog, Column, Relation
from appliance.policy.compile import compile_documents
from appliance.policy.snapshot import Snapshot
from appliance.session.effects import SampleRows
from appliance.sql.lineage import CatalogLineage
from appliance.telemetry.metrics import Metrics
from tests.playbook.speech import described, row

ORDERS, VIEW, CHILD, TEXT, INT8, INT4 = 20_000, 20_001, 20_002, 25, 20, 23
POLICY = """
version: 1
classifications:
  notes: ["shop.public.orders.note"]
rules:
  - {id: all, effect: allow, actions: [everything]}
"""
TARGET = cast(TargetConfig, msgspec.convert(
    {"name": "shop", "host": "h", "roles": [{"principals": ["*"], "user": "u"}]}, TargetConfig
))  # fmt: skip
COLUMNS = (
    Column(1, "id", INT8),
    Column(2, "comment", TEXT),
    Column(3, "note", TEXT),
    Column(4, "a.b", TEXT),
    Column(5, "ssn", INT8),
)


def lineage() -> CatalogLineage:
    view = Relation(
        VIEW, "public", "remarks", "v", (Column(1, "said", TEXT), Column(2, "noted", TEXT)),
        definition="SELECT orders.comment AS said, orders.note AS noted FROM public.orders",
    )  # fmt: skip
    relations = [Relation(ORDERS, "public", "orders", "r", COLUMNS), view]
    relations.append(Relation(CHILD, "public", "orders_1", "r", COLUMNS, parents=(ORDERS,)))
    return CatalogLineage(
        Catalog(
            target="shop",
            database="shop",
            version="1",
            server_version_num=180_000,
            schemas=("public",),
            relations={r.oid: r for r in relations},
            by_name={(r.schema, r.name): r.oid for r in relations},
            functions={},
        )
    )


class Port:
    database = "shop"

    def __init__(self, loaded: bool) -> None:
        self.kept = lineage() if loaded else None
        self.refreshed = 0

    async def refresh(self) -> None:
        self.refreshed += 1
        self.kept = lineage()


class Bench:
    """An alarm with a clock of its own."""

    def __init__(self, policy: str = POLICY, loaded: bool = True) -> None:
        self.records: list[ClassificationProposed] = []
        self.time = 1_000.0
        self.metrics = Metrics()
        self.port = Port(loaded)
        snapshot: Snapshot = compile_documents([("p", policy.encode())])
        self.alarm = Alarm(
            4,
            self.metrics,
            snapshot=lambda: snapshot,
            now=lambda: self.time,
            new_id=lambda now: f"r{len(self.records)}",
            owe=cast(Any, self.records.append),
        )

    def sample(self, values: list[str], key: tuple[int, int] = (ORDERS, 2), **more: Any) -> None:
        """Of so many results as it takes."""
        step = alarms.ROWS_MAX
        for part in [values[i : i + step] for i in range(0, len(values), step)]:
            request = SampleRows(
                described(("c", key, more.get("type_oid", TEXT)))[5:],
                b"".join(row(value) for value in part),
                len(part),
                more.get("classified", ()),
            )
            self.alarm.sample(request, TARGET, self.port)

    async def wait(self) -> list[ClassificationProposed]:
        """Until nothing is left to examine."""
        for _ in range(400):
            self.time += 60
            if not self.alarm._columns and not self.alarm._tasks:
                break
            await asyncio.sleep(0.01)
        return self.records


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarms, "SLICE_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(alarms, "CHECK_SECONDS", 0.001)


def mails(good: int, everything: int) -> list[str]:
    return [f"ask jane{n}@example.com" if n < good else f"fine, {n}" for n in range(everything)]


async def test_a_proposal() -> None:
    bench = Bench()
    bench.sample(mails(122, 200))
    (record,) = await bench.wait()
    assert (record.target, record.database, record.column) == (
        "shop",
        "shop",
        "public.orders.comment",
    )
    assert (record.classification, record.share, record.sampled) == ("pii.email", 0.61, 200)
    assert b"jane" not in msgspec.json.encode(record)
    assert bench.metrics.classifications_proposed == 1
    assert bench.metrics.cells_sampled == 200


async def test_once_a_day() -> None:
    bench = Bench()
    for _ in range(5):
        bench.sample(mails(200, 200))
        await bench.wait()
    assert len(bench.records) == 1
    bench.time += 86_400
    bench.sample(mails(200, 200))
    assert len(await bench.wait()) == 2


async def test_few_values_are_judged_after_a_while() -> None:
    bench = Bench()
    for n in range(30):
        bench.sample([f"jane{n}@example.com"])
    (record,) = await bench.wait()
    assert record.sampled == 30


async def test_too_few_values_are_given_up() -> None:
    bench = Bench()
    bench.sample(mails(19, 19))
    assert await bench.wait() == []
    assert not bench.alarm._columns


async def test_below_the_threshold() -> None:
    bench = Bench()
    bench.sample(mails(99, 200))
    assert await bench.wait() == []
    bench.sample(mails(200, 200))  # looked at anew after an hour only
    assert not bench.alarm._columns
    bench.time += 3_600
    bench.sample(mails(200, 200))
    assert len(await bench.wait()) == 1


@pytest.mark.parametrize(
    "key", [(ORDERS, 3), (VIEW, 2), (CHILD, 3)], ids=["itself", "view", "child"]
)
async def test_what_is_classified_is_not_proposed(key: tuple[int, int]) -> None:
    bench = Bench()
    bench.sample(mails(200, 200), key)
    assert await bench.wait() == []


async def test_what_policy_masks_is_not_even_copied() -> None:
    bench = Bench()
    bench.sample(mails(200, 200), classified=({(ORDERS, 2)},))
    assert not bench.alarm._columns


@pytest.mark.parametrize(
    ("key", "type_oid"),
    [
        ((1_259, 2), TEXT),
        ((0, 0), TEXT),
        ((ORDERS, 0), TEXT),
        ((ORDERS, 0xFFFF), TEXT),
        ((ORDERS, 1), INT4),
    ],
)
async def test_what_is_not_looked_at(key: tuple[int, int], type_oid: int) -> None:
    bench = Bench()
    bench.sample(mails(200, 200), key, type_oid=type_oid)
    assert not bench.alarm._columns


async def test_a_view_is_told_as_its_table() -> None:
    bench = Bench()
    bench.sample(mails(200, 200), (VIEW, 1))
    (record,) = await bench.wait()
    assert record.column == "public.orders.comment"


async def test_two_ways_to_a_column_are_one_proposal() -> None:
    bench = Bench()
    for key in ((VIEW, 1), (ORDERS, 2), (VIEW, 1)):
        bench.time += 4_000  # a view's column is looked at again after an hour
        bench.sample(mails(200, 200), key)
        await bench.wait()
    assert len(bench.records) == 1


async def test_a_temporary_table_is_not_told() -> None:
    bench = Bench()
    bench.sample(mails(200, 200), (77_777, 1))
    assert await bench.wait() == []


async def test_names_that_need_quotes() -> None:
    bench = Bench()
    bench.sample(mails(200, 200), (ORDERS, 4))
    (record,) = await bench.wait()
    assert record.column == 'public.orders."a.b"'


async def test_the_name_helps_where_the_form_says_little() -> None:
    bench = Bench()
    numbers = [str(219_000_000 + n * 7_919) for n in range(200)]
    bench.sample(numbers, (ORDERS, 5), type_oid=INT8)
    bench.sample(numbers, (ORDERS, 2))
    (record,) = await bench.wait()
    assert (record.column, record.classification) == ("public.orders.ssn", "pii.us_ssn")
    assert record.evidence == ("sample", "name")


async def test_a_catalog_that_nobody_needed_is_read() -> None:
    bench = Bench(loaded=False)
    bench.sample(mails(200, 200))
    assert len(await bench.wait()) == 1
    assert bench.port.refreshed == 1


async def test_bounds() -> None:
    bench = Bench()
    for key in range(400):
        bench.sample(mails(64, 64), (ORDERS + 100 + key, 2))
    assert len(bench.alarm._columns) == alarms.COLUMNS_MAX
    assert bench.alarm._queued == alarms.QUEUED_VALUES_MAX
    longest = max(len(v) for _, values in bench.alarm._queue for v in values)
    assert longest <= alarms.CELL_BYTES_MAX
    bench.alarm.close()
    assert not bench.alarm._queue


async def test_long_cells_are_cut() -> None:
    bench = Bench()
    bench.sample(["x" * 100_000])
    assert [len(v) for _, values in bench.alarm._queue for v in values] == [alarms.CELL_BYTES_MAX]
    bench.alarm.close()


async def test_it_never_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.alarm.sample(SampleRows(b"\0", b"", 0, ()), TARGET, bench.port)
    bench.alarm.sample(SampleRows(b"\0\1x", b"\xff" * 99, 3, ()), TARGET, bench.port)

    def broken(*_: object) -> None:
        raise RuntimeError("jane@example.com")

    monkeypatch.setattr(bench.alarm, "_gather", broken)
    bench.sample(mails(1, 1))
    assert await bench.wait() == []
