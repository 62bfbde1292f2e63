"""What is under way in a session: prepared statements, portals, executions.

Made and changed by `session/machine` only. Rule: a mask plan is bound to the portal or the query it
was made for, never to "the last RowDescription seen" (DESIGN invariant 2).
"""

from collections import deque
from typing import Any, NamedTuple

from _speedups.hitcycle import Hit
from appliance.model.catalog import SessionSettings
from appliance.session.flow import Verdict
from appliance.sql.footing import Footing
from appliance.wire.postgres.prepared import Names


class Prepared:
    """A statement the client prepared (protocol Parse)."""

    __slots__ = (
        "description",
        "hit",
        "name",
        "parameter_types",
        "rewritten",
        "sent",
        "text",
        "verdict",
    )

    def __init__(
        self, name: bytes, text: bytes, parameter_types: tuple[int, ...], verdict: Verdict
    ) -> None:
        self.name = name
        self.text = text
        self.parameter_types = parameter_types
        self.verdict = verdict
        self.rewritten = verdict.rewritten
        """What was sent in place of the text, b"" for the text itself."""
        self.sent = verdict.rewritten or text
        """What was sent."""
        self.description = b""
        """As of `Portal`, when the statement was described."""
        self.hit: Hit | None = None
        """What the hit path was taught of it."""


class Bound(NamedTuple):
    """What an approval of a statement is bound to, beside who asks and where."""

    text: bytes
    parameters: bytes | None = None
    """Formats and values of the client's Bind as they stand in it; None for a Query."""
    types: tuple[int, ...] = ()
    """Of the client's parameters, as its Parse gave them."""
    body: bytes | None = None
    """The body of the Bind."""
    arity: int = 0
    """How many parameters there are, where `body` does not say."""


class Portal:
    """A bound statement. `described` = a Describe of it was sent; `lock` is set by the
    RowDescription it earned. `verdict` is the portal's own: the statement may be judged anew later,
    for another portal, which changes nothing about the lock of this one.
    """

    __slots__ = (
        "approved",
        "asked",
        "bind",
        "described",
        "description",
        "hit",
        "kept",
        "lock",
        "looked_up",
        "name",
        "parameters",
        "prepared",
        "proved",
        "rows",
        "shapes",
        "since",
        "verdict",
        "vouched",
    )

    def __init__(self, name: bytes, prepared: Prepared, parameters: int) -> None:
        self.name = name
        self.prepared = prepared
        self.parameters = parameters
        self.verdict = prepared.verdict
        self.described = False
        self.bind: bytes | None = None
        """Body of the Bind message, where its values will be asked about."""
        self.approved: Bound | None = None
        """What its approval is for, where it needed one."""
        self.asked = False
        """The database was asked what its writes spare."""
        self.proved = False
        """What it was bound to was looked at behind that (`Decisions.prove`)."""
        self.since = 0
        """`Unchanged.since` when it was bound."""
        self.looked_up = ""
        """What its names meant in front of that; '' in READ COMMITTED."""
        self.description = b""
        """The RowDescription it earned; for samples only, masks rest on `lock`."""
        self.lock: ResultLock | None = None
        self.shapes = 0
        """The catalog's count of schema changes when it was bound."""
        self.vouched = 0.0
        """When what it rests on was locked, and found as it was judged, before it was bound; 0 = it
        was not."""
        self.rows = 0
        """Rows it has given, over all its Executes: for a row limit."""
        self.hit: Hit | None = None
        self.kept: KeptRows | None = None
        """Rows of a write that is limited (`blast`)."""

    @property
    def any_description(self) -> bytes:
        """Its own, or its statement's; for samples only."""
        return self.description or self.prepared.description


class KeptRows:
    """Rows that a limited write returns, as the upstream sent them, until it is known how many it
    affected. Bounded: beyond `rows_max` rows or `bytes_max` bytes none is kept, and `over` is set.
    """

    __slots__ = ("_bytes", "_bytes_max", "_count", "_rows_max", "_runs", "over")

    def __init__(self, rows_max: int, bytes_max: int) -> None:
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self.over = False
        self._runs: deque[tuple[int, bytes]] = deque()
        self._count = self._bytes = 0

    def keep(self, count: int, content: bytes | memoryview) -> None:
        """`count` whole DataRow frames."""
        self._count += count
        self._bytes += len(content)
        if self._count > self._rows_max or self._bytes > self._bytes_max:
            self.over = True
        if self.over:
            self._runs.clear()
        else:
            self._runs.append((count, bytes(content)))

    def clear(self) -> None:
        self._runs.clear()

    def take(self, wanted: int) -> tuple[deque[tuple[int, bytes]], int]:
        """The next `wanted` rows (0 = all that are left), in runs; and how many these are."""
        taken: deque[tuple[int, bytes]] = deque()
        got = 0
        while self._runs and (not wanted or got < wanted):
            count, content = self._runs.popleft()
            some, part = count, content
            if wanted and got + count > wanted:
                some, part = wanted - got, first_frames(content, wanted - got)
                self._runs.appendleft((count - some, content[len(part) :]))
            taken.append((some, part))
            got += some
        return taken, got


def first_frames(content: bytes | memoryview, count: int) -> bytes:
    """The first `count` of some whole frames."""
    end = 0
    for _ in range(count):
        end += 1 + int.from_bytes(content[end + 1 : end + 5], "big")
    return bytes(content[:end])


class ResultLock:
    """What may be done with the rows of one result: set from its RowDescription, before its first
    row.
    """

    __slots__ = ("hidden", "masked_columns", "masker", "rows_expected", "sensitive_columns")

    def __init__(
        self,
        masker: Any,
        *,
        rows_expected: bool = True,
        masked_columns: int = 0,
        sensitive_columns: int = 0,
        hidden: tuple[bool, ...] = (),
    ) -> None:
        self.hidden = hidden
        """Which columns are masked; () = none."""
        self.masker = masker
        """Of `_speedups`, as the protocol's rows are; None when nothing is masked."""
        self.rows_expected = rows_expected
        self.masked_columns = masked_columns
        self.sensitive_columns = sensitive_columns


class Execution:
    """One Query or one Execute that was sent upstream, from its decided record to its finished
    record.
    """

    __slots__ = (
        "adopts",
        "bytes_out",
        "cells_masked",
        "description",
        "hit",
        "lets_go",
        "lock",
        "looked",
        "portal",
        "record_id",
        "renames",
        "rests",
        "result_rows",
        "rows",
        "rows_max",
        "sensitive_unmasked",
        "settings",
        "shapes",
        "shown_tag",
        "since",
        "sqlstate",
        "started",
        "statement_index",
        "tag",
        "text",
        "timed_out",
        "unsettles_lexing",
        "untold",
        "verdict",
    )

    def __init__(
        self,
        record_id: str,
        verdict: Verdict,
        started: float,
        portal: Portal | None = None,
        rows_max: int | None = None,
    ) -> None:
        self.record_id = record_id
        self.verdict = verdict
        self.started = started
        self.portal = portal
        self.rows_max = rows_max
        """Rows that it may affect (`blast`); None = as many as it likes."""
        self.lock: ResultLock | None = None
        self.hit: Hit | None = None
        self.description = b""
        """As of `Portal`, of a Query's present result."""
        self.untold = b""
        """A RowDescription that the client gets when there is a row, or an end: what a write
        RETURNs is described once it is done."""
        self.rests: Footing | None = None
        """What is looked at again before anything of it leaves (`second_look`)."""
        self.since = 0
        """`Unchanged.since` when it was sent."""
        self.adopts = False
        """What is looked at again may get a part with masked columns."""
        self.text = b""
        self.settings: SessionSettings | None = None
        """What was judged, and under which settings, where it is to be looked at again."""
        self.looked = -1
        """The last of its statements for which that was asked."""
        self.statement_index = 0
        """Which statement of a simple Query is running: counts CommandCompletes."""
        self.rows = 0
        self.shapes = 0
        """The catalog's count of schema changes when this was sent."""
        self.result_rows = 0
        """Rows of the current result, for a row limit."""
        self.bytes_out = 0
        self.cells_masked = 0
        self.sensitive_unmasked = 0
        self.sqlstate = ""
        self.tag = ""
        self.timed_out = False
        self.lets_go: frozenset[str] = frozenset()
        """What its session has no more once all of it has run (`shared`)."""
        self.shown_tag = b""
        """The command tag for the client, where it is not the server's."""
        self.unsettles_lexing = False
        """It may change how the server reads later texts."""
        self.renames: list[tuple[int, Names[Prepared] | Names[Portal], bytes]] = []
        """(statement index, map, name) of what its SQL lets go of: PREPARE, DEALLOCATE, DECLARE and
        CLOSE share their names with the protocol's statements and portals.
        """
