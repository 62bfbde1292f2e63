"""What control has seen of every audit chain: signed heads, kept where whoever cuts a chain short
does not reach by cutting it.

Run by `main` beside everything else, asked by the console and (`sallyport audit verify --control`)
by whoever proves the trail. Rules: only heads with a good signature are kept, and a chain that is
behind what was seen, or is gone, never replaces what was seen; it is said in the log, in the trail
and in the figures. Kept are the newest head of every five minutes for a day, of every hour for 90
days, of every day for ever: a chain rewritten as a whole, and longer than before, shows at these.

Nothing here can be a false alarm of a kill: a head is written after what it speaks of (`spool`).
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from appliance.audit import checkpoint
from appliance.audit.checkpoint import HEAD, Checkpoint
from appliance.audit.record import TrailDoubted
from appliance.control.changes import Changes, Work
from appliance.control.desk import DeskError, HeadSeen, TrailSeen, Unavailable
from appliance.control.store import Transaction
from appliance.telemetry.log import Log

LOOK_SECONDS = 5.0
DOUBTED_LOOKS = 2
"""In a row, before it is said."""
SLOTS = (("m", 300), ("h", 3_600), ("d", 86_400))
"""Prefix and seconds of the times that the newest head is kept of."""
KEPT_SECONDS = (("m", 86_400), ("h", 90 * 86_400))
THIN_SECONDS = 600.0
_FOLDER = re.compile(r"w(\d{1,9})")
_PUBLIC = "audit-ed25519.pub"

Keys = Mapping[str, Ed25519PublicKey]

log = Log("control")


class Witness:
    """Of the trail in one data folder; see the module's docstring."""

    def __init__(
        self, changes: Changes, folder: Path, node: str, doubted: Callable[[int], None]
    ) -> None:
        """`folder`: the data folder; `doubted` hears after each look how many chains are not what
        they were."""
        self._changes = changes
        self._folder = folder
        self._node = node
        self._doubted = doubted
        self._known: dict[int, Checkpoint] | None = None
        """The newest head seen of each chain; None = the store was not asked yet."""
        self._pems: dict[str, str] = {}
        self._doubts: dict[int, tuple[str, int]] = {}
        """Chain -> what is wrong with it, in how many looks so far."""
        self._thinned = 0.0

    async def run(self) -> None:
        """For ever."""
        while True:
            try:
                await self.look()
            except (DeskError, OSError) as error:
                log.warning("trail_not_looked_at", reason=type(error).__name__)
            await asyncio.sleep(LOOK_SECONDS)

    async def look(self) -> None:
        """Once. Raises Unavailable; OSError when the trail cannot be read."""
        if self._known is None:
            await self._remember()
        assert self._known is not None
        pem = await asyncio.to_thread(_public_pem, self._folder)
        lines = await asyncio.to_thread(_heads, self._folder)
        keys = _keys([*self._pems.values(), pem])
        newer: dict[int, tuple[Checkpoint, bytes]] = {}
        doubts: dict[int, tuple[str, int]] = {}
        for worker in sorted({*self._known, *lines}):
            head, cause = _judged(worker, lines.get(worker), self._known.get(worker), keys)
            if cause:
                before, looks = self._doubts.get(worker, ("", 0))
                doubts[worker] = (cause, looks + 1 if before == cause else 1)
            elif head is not None and head != self._known.get(worker):
                newer[worker] = (head, lines[worker])
        await self._keep(newer, pem, doubts)

    async def _keep(
        self,
        newer: Mapping[int, tuple[Checkpoint, bytes]],
        pem: str,
        doubts: dict[int, tuple[str, int]],
    ) -> None:
        assert self._known is not None
        told = {w: cause for w, (cause, looks) in doubts.items() if looks == DOUBTED_LOOKS}
        new_keys = {id: pem for id in _keys([pem]) if id not in self._pems}
        if newer or told or new_keys:
            async with self._changes.work() as work:
                for id, text in new_keys.items():
                    await _add_key(work.tx, self._node, id, text, work.now)
                for worker, (head, line) in newer.items():
                    await _put_head(work.tx, self._node, worker, head, line, work.now)
                for worker, cause in told.items():
                    self._tell(work, worker, cause)
                if work.now - self._thinned >= THIN_SECONDS:
                    await _thin(work.tx, self._node, work.now)
                    self._thinned = work.now
        self._pems |= new_keys
        self._known |= {worker: head for worker, (head, _) in newer.items()}
        self._doubts = doubts
        self._doubted(sum(looks >= DOUBTED_LOOKS for _, looks in doubts.values()))

    def _tell(self, work: Work, worker: int, cause: str) -> None:
        assert self._known is not None
        seen = self._known.get(worker)
        last = 0 if seen is None else seen.last
        log.error("trail_doubted", chain=worker, cause=cause, seen=last)
        record = TrailDoubted(
            id=work.id(), time=work.now, node=self._node, worker=worker, cause=cause, seen=last
        )
        work.record(record)

    async def _remember(self) -> None:
        seen = await self.seen()
        newest: dict[int, Checkpoint] = {}
        try:
            for one in seen.heads:  # of each chain by `last`
                if one.node == self._node:
                    newest[one.worker] = checkpoint.read(one.line.encode())
        except ValueError as error:
            raise Unavailable("what was seen of the trail is damaged in the store") from error
        self._known = newest
        self._pems = {id: pem for id, pem in seen.keys if id in _keys([pem])}

    async def seen(self) -> TrailSeen:
        """Of all appliances on the store. Raises Unavailable."""
        async with self._changes.reading() as tx:
            heads = await tx.rows(
                "SELECT node, worker, last, time, line FROM audit_heads ORDER BY node, worker, last"
            )
            keys = await tx.rows("SELECT id, pem FROM audit_keys WHERE node = $1", self._node)
        found: dict[tuple[str, int, int], HeadSeen] = {}
        for node, worker, last, time, line in heads:  # the same head may be kept for several times
            found[node, worker, last] = HeadSeen(node, int(worker), int(last), float(time), line)
        return TrailSeen(
            self._node, tuple(found.values()), tuple((str(id), str(pem)) for id, pem in keys)
        )


def witnesses(seen: TrailSeen) -> list[Checkpoint]:
    """What `audit.verify` takes, of the appliance that said it. Raises ValueError for a line that
    is none."""
    return [checkpoint.read(one.line.encode()) for one in seen.heads if one.node == seen.node]


def key_file(seen: TrailSeen, beside: bytes = b"") -> bytes:
    """PEM of every key that was seen to sign, and of those in `beside`."""
    return b"\n".join([beside, *(pem.encode() for _, pem in seen.keys)])


def _public_pem(folder: Path) -> str:
    """'' before there is one. Raises OSError."""
    try:
        return (folder / "keys" / _PUBLIC).read_text(encoding="ascii")
    except FileNotFoundError:
        return ""


def _heads(folder: Path) -> dict[int, bytes]:
    """The head of every chain that has one. Raises OSError."""
    found: dict[int, bytes] = {}
    for path in (folder / "audit").iterdir():
        match = _FOLDER.fullmatch(path.name)
        if match is not None and path.is_dir():
            head = path / "head.json"
            if head.exists():
                found[int(match.group(1))] = head.read_bytes()
    return found


def _keys(pems: list[str]) -> Keys:
    found: dict[str, Ed25519PublicKey] = {}
    for pem in filter(None, pems):
        try:
            found |= checkpoint.public_keys(pem.encode())
        except ValueError:
            log.warning("audit_key_not_understood")
    return found


def _judged(
    worker: int, line: bytes | None, known: Checkpoint | None, keys: Keys
) -> tuple[Checkpoint | None, str]:
    """The chain's head, and what is wrong with it ('' = nothing)."""
    if line is None:
        return None, "gone"
    try:
        head = checkpoint.read(line)
    except ValueError:
        return None, "damaged"
    if head.kind != HEAD or head.worker != worker or not checkpoint.is_signed(head, keys):
        return None, "not_signed"
    if known is not None:
        if head.last < known.last:
            return None, "behind"
        if head.last == known.last and head.head != known.head:
            return None, "rewritten"
    return head, ""


async def _add_key(tx: Transaction, node: str, id: str, pem: str, now: float) -> None:
    await tx.rows(
        "INSERT INTO audit_keys (node, id, pem, seen) VALUES ($1, $2, $3, $4) "
        "ON CONFLICT (node, id) DO NOTHING",
        *(node, id, pem, now),
    )


async def _put_head(
    tx: Transaction, node: str, worker: int, head: Checkpoint, line: bytes, now: float
) -> None:
    for prefix, seconds in SLOTS:
        await tx.rows(
            "INSERT INTO audit_heads (node, worker, slot, last, time, line) "
            "VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (node, worker, slot) DO UPDATE SET "
            "last = excluded.last, time = excluded.time, line = excluded.line",
            *(node, worker, f"{prefix}{int(now // seconds)}", head.last, now, line.decode()),
        )


async def _thin(tx: Transaction, node: str, now: float) -> None:
    for prefix, seconds in KEPT_SECONDS:
        await tx.rows(
            "DELETE FROM audit_heads WHERE node = $1 AND slot LIKE $2 AND time < $3 "
            "RETURNING worker",
            *(node, f"{prefix}%", now - seconds),
        )
