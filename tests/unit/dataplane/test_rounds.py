"""The turns of one round are recorded in one write before any of them is delivered."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from _speedups.auditchain import ChainEnd
from appliance.dataplane.rounds import Round
from appliance.model.errors import InvariantBroken
from appliance.session.effects import Turn
from appliance.spool.spool import Spool, SpoolUnavailable


class Trail:
    """A spool that notes what was appended, or fails."""

    def __init__(self, log: list[Any], fault: Exception | None = None) -> None:
        self.log = log
        self.fault = fault
        self.end = ChainEnd()

    def unwritten(self, number: int, finished: list[bytes], refused: bool) -> None:
        raise AssertionError("nothing is written this way")

    def append(self, records: Sequence[str]) -> None:
        if self.fault is not None:
            raise self.fault
        self.log.append(list(records))


class Peer:
    def __init__(self, name: str, log: list[Any], ends: Round | None = None) -> None:
        self.name = name
        self.log = log
        self.ends = ends

    def settle(self, turn: Turn, recorded: bool) -> None:
        self.log.append((self.name, turn.records[0], recorded))
        if self.ends is not None:
            self.ends.settle()


def turn(record: str) -> Turn:
    made = Turn()
    made.records.append(record)
    return made


def make(fault: Exception | None = None) -> tuple[Round, list[Any]]:
    log: list[Any] = []
    return Round(cast(Spool, Trail(log, fault))), log


async def test_one_write_then_deliveries_in_order() -> None:
    together, log = make()
    one, other = Peer("one", log), Peer("other", log)
    together.post(one, turn("a"))
    together.post(other, turn("b"))
    together.post(one, turn("c"))
    assert log == []
    await asyncio.sleep(0)
    assert log == [["a", "b", "c"], ("one", "a", True), ("other", "b", True), ("one", "c", True)]
    await asyncio.sleep(0)
    assert len(log) == 4


async def test_a_lone_turn_is_recorded_by_its_session() -> None:
    together, log = make()
    together.post(Peer("one", log), turn("a"))
    await asyncio.sleep(0)
    assert log == [("one", "a", False)]


async def test_where_the_write_fails_each_is_recorded_alone() -> None:
    for fault in (SpoolUnavailable(28, "full"), InvariantBroken("cannot be encoded")):
        together, log = make(fault)
        together.post(Peer("one", log), turn("a"))
        together.post(Peer("other", log), turn("b"))
        together.settle()
        assert log == [("one", "a", False), ("other", "b", False)]


async def test_who_settles_while_being_delivered_lets_the_others_go_first() -> None:
    together, log = make()
    together.post(Peer("one", log, ends=together), turn("a"))
    together.post(Peer("other", log), turn("b"))
    together.settle()
    assert log[1:] == [("one", "a", True), ("other", "b", True)]
