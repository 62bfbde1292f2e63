"""The control process's own audit chain.

Used by `approvals`, `main` and, for sign-ins and administrators' actions, by the console. Rules: a
record is in the trail (with `durability: disk`, on the disk) before what it tells of is committed
or answered; if it cannot be written, nothing changes.
"""

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.audit.record import Record, new_id
from appliance.spool.spool import Spool, SpoolUnavailable


class TrailUnavailable(Exception):
    """The records could not be written; what they tell of must not happen."""


class Recorder(Protocol):
    """Writes records. Tests use a list."""

    async def write(self, records: Sequence[Record]) -> None:
        """All of them or none. Raises TrailUnavailable."""

    def owe(self, records: Sequence[Record]) -> None:
        """For what happened already: written now or with the next that can be."""


class SpoolRecorder:
    """The recorder of a running control process."""

    def __init__(
        self, spool: Spool, count: Callable[[Sequence[Record]], None] = lambda records: None
    ) -> None:
        """`count` hears of every record that was written."""
        self._spool = spool
        self._count = count

    async def write(self, records: Sequence[Record]) -> None:
        if not records:
            return
        try:
            self._spool.append(records)
            await self._spool.durable()
        except SpoolUnavailable as error:
            raise TrailUnavailable(str(error)) from error
        self._count(records)

    def owe(self, records: Sequence[Record]) -> None:
        self._spool.owe(records)
        self._count(records)


class Minting:
    """Gives ids and times to records, requests and grants."""

    def __init__(
        self,
        now: Callable[[], float] = time.time,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self.now = now
        self._entropy = entropy

    def id(self) -> str:
        return new_id(self.now(), self._entropy(10))
