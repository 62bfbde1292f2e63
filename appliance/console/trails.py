"""The audit trail as the console reads it: searches and proofs of the data folder, off the loop.

Used by `api/audit`. Rule: a search has a bound on what it returns, and only so many
run at once; the trail is only read.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from appliance.audit import checkpoint
from appliance.audit.query import Criteria, Story, find, recent
from appliance.audit.query import search as search_trail
from appliance.audit.record import Entry, StatementDecided
from appliance.audit.verify import Report, verify_trail
from appliance.control.desk import HeadSeen, TrailSeen, Unavailable
from appliance.control.witness import key_file, witnesses
from appliance.spool.trail_folder import FolderTrail

LIMIT_MAX = 1_000
SUMMED_MAX = 50_000
AT_ONCE_MAX = 2
PROOF_SECONDS = 60.0
"""How long a proof is shown before it is made again: it reads everything."""

Result = TypeVar("Result")


class Proof(msgspec.Struct, frozen=True):
    """What `audit verify` says, and when it looked. Made with the keys beside the trail and in the
    store, and held against what control has seen: it proves nothing against whoever keeps all."""

    checked: float
    """Unix seconds."""
    ok: bool
    report: Report
    seen: tuple[HeadSeen, ...] = ()
    """The newest head of each chain that control has seen, by chain."""


class Sums(msgspec.Struct):
    """Of one principal."""

    statements: int = 0
    denied: int = 0
    held: int = 0
    rows: int = 0
    cells_masked: int = 0
    sensitive_cells: int = 0
    """Cells of classified columns that left raw."""


class Summary(msgspec.Struct, frozen=True):
    since: float
    effects: dict[str, int]
    """allow, deny, hold, refuse -> statements."""
    principals: dict[str, Sums]
    more: bool
    """The newest SUMMED_MAX statements were looked at, there are more."""


class Trails:
    """Over `<data>/audit`."""

    def __init__(
        self, folder: Path, now: Callable[[], float], seen: Callable[[], Awaitable[TrailSeen]]
    ) -> None:
        """`folder`: the data folder; `seen`: what control has seen of the trail."""
        self._folder = folder
        self.seen = seen
        """Raises Unavailable."""
        self._now = now
        self._room = asyncio.Semaphore(AT_ONCE_MAX)
        self._proof: Proof | None = None
        self._proving = asyncio.Lock()

    async def search(self, criteria: Criteria, limit: int) -> list[Story]:
        """The newest that match, oldest first. Raises Unavailable."""
        count = max(1, min(limit, LIMIT_MAX))
        whole = criteria.since is not None
        seek = search_trail if whole else recent
        return await self._read(lambda trail: seek(trail, criteria, count))

    async def find(self, reference: str) -> list[Story]:
        """By `worker:number`, record id or session id. Raises Unavailable."""
        return await self._read(lambda trail: find(trail, reference)[-LIMIT_MAX:])

    async def summary(self, since: float) -> Summary:
        """Over statements since (unix seconds). Raises Unavailable."""
        criteria = Criteria(since=since, prepared=False)
        return await self._read(
            lambda trail: _summed(since, search_trail(trail, criteria, SUMMED_MAX, _is_statement))
        )

    @property
    def known(self) -> Proof | None:
        """The newest proof there is; none is made for it."""
        return self._proof

    async def proof(self) -> Proof:
        """Raises Unavailable."""
        async with self._proving:
            if self._proof is None or self._now() - self._proof.checked > PROOF_SECONDS:
                seen = await self.seen()
                report = await self._read(lambda trail: self._prove(trail, seen))
                newest = {one.worker: one for one in seen.heads if one.node == seen.node}
                self._proof = Proof(self._now(), report.errors == 0, report, tuple(newest.values()))
            return self._proof

    def _prove(self, trail: FolderTrail, seen: TrailSeen) -> Report:
        beside = (self._folder / "keys" / "audit-ed25519.pub").read_bytes()
        keys = checkpoint.public_keys(key_file(seen, beside))
        return verify_trail(trail, keys, witnesses(seen), False)

    async def _read(self, job: Callable[[FolderTrail], Result]) -> Result:
        trail = FolderTrail(self._folder / "audit")
        try:
            async with self._room:
                return await asyncio.to_thread(job, trail)
        except (OSError, ValueError) as error:
            raise Unavailable("the audit trail cannot be read") from error


def _is_statement(record: Entry) -> bool:
    return isinstance(record, StatementDecided)


def _summed(since: float, stories: list[Story]) -> Summary:
    effects: dict[str, int] = {}
    principals: dict[str, Sums] = {}
    for story in stories:
        record = story.record
        assert isinstance(record, StatementDecided)
        effects[story.effect] = effects.get(story.effect, 0) + 1
        sums = principals.setdefault(record.principal, Sums())
        sums.statements += 1
        sums.denied += story.effect in {"deny", "refuse"}
        sums.held += story.effect == "hold"
        if story.finished is not None:
            sums.rows += story.finished.rows
            sums.cells_masked += story.finished.cells_masked
            sums.sensitive_cells += story.finished.sensitive_unmasked_cells
    return Summary(since, effects, principals, len(stories) == SUMMED_MAX)
