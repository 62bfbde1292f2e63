"""The alarm on live traffic: samples of unclassified columns, examined after they have left.

One per worker, fed by `conductor` with `SampleRows` once the bytes were queued for the client.
Three bounds keep it off the latency path: `limits.samples_per_second` results are looked at, at
most CELLS_WALKED_MAX of their cells, and what is copied is examined in slices of SLICE_VALUES with
a pause after each. What a column's values look like is told to the audit trail, once a day for each
column and classification. Rule: never the control, never in the way; nothing here raises, holds a
statement up, or keeps a value longer than until it is counted.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol

from appliance.audit.record import ClassificationProposed, Record
from appliance.audit.redact import clean_name
from appliance.config.schema import TargetConfig
from appliance.detect.names import hints
from appliance.detect.proposals import Evidence, proposed
from appliance.detect.values import Tally, prepare
from appliance.masking.formats import BINARY, INT8, JSON, JSONB, NUMERIC, TEXT_LIKE, XML
from appliance.model.catalog import ColumnKey
from appliance.model.errors import ProtocolViolation
from appliance.policy.globs import dotted
from appliance.policy.snapshot import Snapshot
from appliance.session.dialect import SessionLineage
from appliance.session.effects import SampleRows
from appliance.session.pace import SamplePace
from appliance.sql.stamps import FIRST_USER_OID
from appliance.telemetry.log import Log
from appliance.telemetry.metrics import Metrics
from appliance.wire.postgres.cells import cells
from appliance.wire.postgres.messages import ColumnDescription, parse_row_description

CELLS_WALKED_MAX = 256
"""Cells of one result that are walked over to copy some."""
ROWS_MAX = 64
CELL_BYTES_MAX = 512
SLICE_VALUES = 16
SLICE_PAUSE_SECONDS = 0.05
"""At most 320 values a second are examined."""
QUEUED_VALUES_MAX = 2_000
COLUMNS_MAX = 256
"""Columns whose samples are being gathered at the same time."""
ENOUGH_VALUES = 200
PATIENCE_SECONDS = 5.0
"""After which a column with fewer values is judged by those (VALUES_MIN at least)."""
GIVE_UP_SECONDS = 600.0
CHECK_SECONDS = 1.0
DULL_SECONDS = 4.0
"""A result with nothing to look at is not offered again by the hit path, for so long."""
AGAIN_SECONDS = 3_600.0
"""After which a column that looked like nothing is looked at again."""
TOLD_SECONDS = 86_400.0
SETTLED_MAX = 10_000

_EXAMINED_TYPES = TEXT_LIKE | {JSON, JSONB, XML, INT8, NUMERIC}

_log = Log("alarm")

Place = tuple[str, str, ColumnKey]
"""(target, database, column)."""


class Catalog(Protocol):
    """What is needed of `catalogs.DatabaseCatalog`."""

    database: str

    @property
    def kept(self) -> SessionLineage | None: ...

    async def refresh(self) -> None: ...


class _Column:
    """A column whose samples are being gathered."""

    __slots__ = ("begun", "catalog", "queued", "tally", "target")

    def __init__(self, target: TargetConfig, catalog: Catalog, begun: float) -> None:
        self.target = target
        self.catalog = catalog
        self.begun = begun
        self.tally = Tally()
        self.queued = 0


class _Named(NamedTuple):
    """What the catalog says of a column."""

    path: str
    name: str


class Alarm:
    """See above. Belongs to the worker's event loop."""

    def __init__(
        self,
        per_second: int,
        metrics: Metrics,
        *,
        snapshot: Callable[[], Snapshot],
        now: Callable[[], float],
        new_id: Callable[[float], str],
        owe: Callable[[Record], None],
    ) -> None:
        self.pace = SamplePace(per_second)
        if self.pace.on:
            prepare()
        self._metrics = metrics
        self._snapshot = snapshot
        self._now = now
        self._new_id = new_id
        self._owe = owe
        self._columns: dict[Place, _Column] = {}
        self._queue: deque[tuple[Place, list[bytes]]] = deque()
        self._queued = 0
        self._settled: dict[Place, float] = {}
        """Columns not looked at before that time."""
        self._told: dict[tuple[Place, str], float] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def sample(self, request: SampleRows, target: TargetConfig, catalog: Catalog) -> None:
        """Copies a few cells and sees to it that they are examined soon. Never raises."""
        try:
            self._gather(request, target, catalog)
        except Exception as error:  # whatever it is, the session goes on
            _log.error("sample not taken", error=type(error).__name__)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        self._columns.clear()
        self._queue.clear()

    # --- gathering ------------------------------------------------------------------------------

    def _gather(self, request: SampleRows, target: TargetConfig, catalog: Catalog) -> None:
        try:
            described = parse_row_description(request.description)
        except ProtocolViolation:
            return
        now = self._now()
        wanted: dict[int, Place] = {}
        for index, column in enumerate(described):
            place = self._place(column, request, target.name, catalog.database, now)
            if place is not None:
                wanted[index] = place
        if not wanted:
            if self.pace.on:
                self.pace.spared(now)
            if request.hit is not None:
                request.hit.dull.until = now + DULL_SECONDS
            return
        rows_max = max(1, min(ROWS_MAX, CELLS_WALKED_MAX // (max(wanted) + 1)))
        for index, values in cells(request.rows, tuple(wanted), rows_max, CELL_BYTES_MAX).items():
            shown = _as_text(values, described[index])
            self._enqueue(wanted[index], shown, target, catalog, now)

    def _place(
        self,
        column: ColumnDescription,
        request: SampleRows,
        target: str,
        database: str,
        now: float,
    ) -> Place | None:
        """Where a column that is to be looked at comes from."""
        key = (column.table_oid, column.attnum)
        if key[0] < FIRST_USER_OID or key[1] <= 0 or column.type_oid not in _EXAMINED_TYPES:
            return None
        place = (target, database, key)
        if any(key in known for known in request.classified) or self._settled.get(place, 0.0) > now:
            return None
        return place

    def _enqueue(
        self, place: Place, values: list[bytes], target: TargetConfig, catalog: Catalog, now: float
    ) -> None:
        column = self._columns.get(place)
        if column is None:
            if len(self._columns) >= COLUMNS_MAX:
                return
            column = self._columns[place] = _Column(target, catalog, now)
        room = min(
            QUEUED_VALUES_MAX - self._queued, ENOUGH_VALUES - column.tally.values - column.queued
        )
        taken = values[: max(room, 0)]
        if taken:
            self._queue.append((place, taken))
            self._queued += len(taken)
            column.queued += len(taken)
        if self._timer is None:
            self._later(SLICE_PAUSE_SECONDS)

    # --- examining ------------------------------------------------------------------------------

    def _later(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._tick)

    def _tick(self) -> None:
        self._timer = None
        try:
            self._examine()
            self._judge_those_that_waited()
        except Exception as error:  # whatever it is, the worker goes on
            _log.error("samples not examined", error=type(error).__name__)
            self._columns.clear()
            self._queue.clear()
            self._queued = 0
        if self._columns:
            self._later(SLICE_PAUSE_SECONDS if self._queue else CHECK_SECONDS)

    def _examine(self) -> None:
        """At most SLICE_VALUES of what is queued."""
        left = SLICE_VALUES
        while self._queue and left:
            place, values = self._queue[0]
            part = values[:left]
            del values[:left]
            if not values:
                self._queue.popleft()
            left -= len(part)
            self._queued -= len(part)
            column = self._columns.get(place)
            if column is None:
                continue
            column.queued -= len(part)
            column.tally.add(part)
            self._metrics.cells_sampled += len(part)
            if column.tally.values >= ENOUGH_VALUES:
                self._judge(place, column)

    def _judge_those_that_waited(self) -> None:
        now = self._now()
        for place, column in list(self._columns.items()):
            waited = now - column.begun
            if column.queued or waited < PATIENCE_SECONDS:
                continue
            if column.tally.enough or waited > GIVE_UP_SECONDS:
                self._judge(place, column)

    def _judge(self, place: Place, column: _Column) -> None:
        del self._columns[place]
        self._settle(place, AGAIN_SECONDS)
        if column.tally.suspects:
            task = asyncio.get_running_loop().create_task(self._tell(place, column))
            self._tasks.add(task)
            task.add_done_callback(self._told_of)

    def _told_of(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("proposal not told", error=type(task.exception()).__name__)

    def _settle(self, place: Place, seconds: float) -> None:
        now = self._now()
        if len(self._settled) >= SETTLED_MAX:
            self._settled = {p: until for p, until in self._settled.items() if until > now}
            if len(self._settled) >= SETTLED_MAX:
                self._settled.clear()
        self._settled[place] = now + seconds

    # --- telling --------------------------------------------------------------------------------

    async def _tell(self, place: Place, column: _Column) -> None:
        if column.catalog.kept is None:  # nobody needed it so far
            await column.catalog.refresh()
        lineage = column.catalog.kept
        if lineage is None:
            return
        place, named = self._unclassified(place, column.target, lineage)
        if named is None:
            self._settle(place, TOLD_SECONDS)
            return
        said = hints(named.name)
        findings = column.tally.findings([hint.classification for hint in said])
        for evidence in proposed(said, findings):
            if evidence.sampled:
                self._record(place, named, evidence)

    def _unclassified(
        self, place: Place, target: TargetConfig, lineage: SessionLineage
    ) -> tuple[Place, _Named | None]:
        """The column a proposal is about (below a view, the table's own), and its names; None for
        one that policy classifies or the catalog does not have (a temporary table's).
        """
        where, database, key = place
        sources = lineage.of(key).sources
        if lineage.of(key).plain and len(sources) == 1:
            (key,) = sources
        relation = lineage.catalog.relations.get(key[0])
        known = self._snapshot().classified(target.as_target(), lineage.catalog, database, lineage)
        if relation is None or known & {key, *sources}:
            return place, None
        name = lineage.column_name(*key)
        path = dotted(relation.schema, relation.name, name)
        return (where, database, key), _Named(path, name)

    def _record(self, place: Place, named: _Named, evidence: Evidence) -> None:
        now = self._now()
        self._settle(place, TOLD_SECONDS)
        told = (place, evidence.classification)
        if self._told.get(told, 0.0) > now:
            return
        if len(self._told) >= SETTLED_MAX:
            self._told.clear()
        self._told[told] = now + TOLD_SECONDS
        self._metrics.classifications_proposed += 1
        self._owe(
            ClassificationProposed(
                id=self._new_id(now),
                time=now,
                target=place[0],
                database=clean_name(place[1]),
                column=clean_name(named.path),
                classification=evidence.classification,
                share=evidence.share,
                sampled=evidence.sampled,
                evidence=evidence.by,
            )
        )


def _as_text(values: list[bytes], column: ColumnDescription) -> list[bytes]:
    """A bigint's digits (int8send: eight bytes); text types are text in both formats."""
    if column.type_oid != INT8 or column.format != BINARY:
        return values
    return [b"%d" % int.from_bytes(value, "big", signed=True) for value in values]
