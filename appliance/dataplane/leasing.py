"""Holds relations still for a moment, so that not every statement has to be looked after.

One per `catalogs.DatabaseCatalog` that has a `vouching.Voucher`; `session/exchange_hits` asks it
for the `Lease` of what a text rests on. A *guard* is a connection of the appliance's own with an
open transaction that has used some relations: until it ends nobody can change them (metadata
locks), and whoever wants to waits for it. So what is found as judged by a guard is so for every
statement that begins while the lease is held and describes its result while it still is, without a
break. Two guards relieve each other, so that there is no break; a guard that has to wait for
somebody's change makes one.

Rules: `Lease.value` is 0 whenever nothing is known; the change of somebody else waits no longer
than LEASE_SECONDS and a relief; what cannot be used is never leased.
"""

import asyncio
import contextlib
import os
from collections.abc import Awaitable, Callable, Hashable
from typing import NamedTuple

from _speedups.leases import Lease
from appliance.dataplane.connections import Row, Upstream, UpstreamRefused, UpstreamUnreachable
from appliance.dataplane.vouching import BEGIN, END, Footing, Voucher
from appliance.model.errors import ProtocolViolation

LEASE_SECONDS = 0.2
RELIEF_SECONDS_MAX = 0.05
"""A relief that takes longer waits for somebody who waits for us."""
ACQUIRE_SECONDS_MAX = 10.0
IDLE_ROUNDS_MAX = 20
"""Rounds in which nobody used a lease, before it is let go of."""
LEASES_MAX = 64

_FAILURES = (UpstreamRefused, UpstreamUnreachable, ProtocolViolation, TimeoutError, OSError)


class _Wanted:
    """One footing, and whether it is still used."""

    __slots__ = ("footing", "idle", "lease", "refused", "used")

    def __init__(self, footing: Footing) -> None:
        self.footing = footing
        self.lease = Lease()
        self.used = self.idle = 0
        self.refused = False
        """The guard may not use all of it."""

    @property
    def held(self) -> bool:
        return bool(self.lease.value) and self.lease.live()


class _Taken(NamedTuple):
    """What a guard holds now: `held` by the other, too, up to now; `found` as it was judged."""

    held: list[_Wanted]
    found: list[_Wanted]


class Leases:
    """Of one catalog. Nothing runs unless somebody asks."""

    def __init__(
        self,
        voucher: Voucher,
        connect: Callable[[], Awaitable[Upstream]],
        query: Callable[[Upstream, str], Awaitable[list[Row]]],
        terminate: bytes,
    ) -> None:
        self._voucher = voucher
        self._connect = connect
        self._query = query
        self._terminate = terminate
        self._wanted: dict[frozenset[Hashable], _Wanted] = {}
        self._guards: list[Upstream | None] = [None, None]
        self._descriptors = [-1, -1]
        """Of their sockets, our own: such a number means nothing else until we close it."""
        self._number = 0
        self._keeping: asyncio.Task[None] | None = None

    def of(self, footing: Footing) -> Lease | None:
        """The lease that has to be held for a statement with this footing; it is wanted from here
        on. None: there is none for it."""
        keys = footing.steady
        if not keys:
            return None
        wanted = self._wanted.get(keys)
        if wanted is None or wanted.footing != footing:
            if wanted is not None:
                wanted.lease.value = 0
            elif len(self._wanted) >= LEASES_MAX:
                return None
            wanted = self._wanted[keys] = _Wanted(footing)
        if wanted.refused:
            return None
        wanted.idle = 0
        if self._keeping is None:
            self._keeping = asyncio.create_task(self._keep())
        return wanted.lease

    def close(self) -> None:
        keeping, self._keeping = self._keeping, None
        if keeping is not None:
            keeping.cancel()
        self._let_go()
        self._wanted.clear()

    # --- rounds -----------------------------------------------------------------------------------

    async def _keep(self) -> None:
        """Guards relieve each other as long as anybody wants a lease."""
        turn = 0
        try:
            while self._wanted:
                try:
                    held = await self._relieved(turn)
                    if held and await self._is_quiet(self._guards[turn]):
                        turn ^= 1
                        continue
                    self._let_go()
                except _FAILURES:
                    self._let_go()
                    await asyncio.sleep(LEASE_SECONDS)
        finally:
            self._let_go()
            self._keeping = None

    async def _relieved(self, turn: int) -> bool:
        """The guard whose turn it is holds what is wanted, and the other is free."""
        self._forget_idle()
        taking = asyncio.create_task(self._take(turn))
        try:
            done, _ = await asyncio.wait((taking,), timeout=RELIEF_SECONDS_MAX)
            if not done:
                await self._release(turn ^ 1)
                async with asyncio.timeout(ACQUIRE_SECONDS_MAX):
                    await asyncio.wait((taking,))
        finally:
            if not taking.done():
                taking.cancel()
        found = taking.result()
        self._hand_out(turn, found)
        await self._free(turn ^ 1)
        return True

    async def _take(self, turn: int) -> _Taken:
        """What the other guard holds cannot have changed, and is not looked at again."""
        guard = self._guards[turn]
        if guard is None or guard.side.ended:
            self._close_descriptor(turn)
            guard = self._guards[turn] = await self._connect()
            transport = guard.side.transport
            connection = None if transport is None else transport.get_extra_info("socket")
            if connection is not None:
                self._descriptors[turn] = os.dup(connection.fileno())
        wanted = list(self._wanted.values())
        await self._query(guard, BEGIN)
        for each in wanted:
            try:
                for part in each.footing.parts:
                    await self._query(guard, part.use)
            except UpstreamRefused:
                each.refused = True
        usable = [each for each in wanted if not each.refused]
        unknown = [each for each in usable if not each.held]
        parts = {part.key: part for each in unknown for part in each.footing.parts}
        found = await self._voucher.read(guard, parts.values())
        return _Taken(
            [each for each in usable if each not in unknown],
            [each for each in unknown if self._voucher.is_as_judged(each.footing, found)],
        )

    def _hand_out(self, turn: int, taken: _Taken) -> None:
        """Without a break where the other guard is still there; else what it held is looked at in
        the next round."""
        descriptor = self._descriptors[turn]
        self._number += 1
        for each in self._wanted.values():
            lease = each.lease
            if each in taken.found:
                lease.value = self._number
            elif not (each in taken.held and each.held):
                lease.value = 0
            lease.descriptor = descriptor if lease.value else -1

    async def _is_quiet(self, guard: Upstream | None) -> bool:
        """A lease's time; False: the guard is not as it was."""
        if guard is None:
            return False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEASE_SECONDS):
                await guard.side.receive()
                return False
        return True

    async def _release(self, turn: int) -> None:
        """Nothing is held any more."""
        self._void()
        await self._free(turn)

    async def _free(self, turn: int) -> None:
        """One guard's transaction ends; it is not what leases rest on."""
        guard = self._guards[turn]
        if guard is not None and not guard.side.ended:
            await self._query(guard, END)

    def _void(self) -> None:
        for each in self._wanted.values():
            each.lease.value, each.lease.descriptor = 0, -1

    def _let_go(self) -> None:
        self._void()
        for index, guard in enumerate(self._guards):
            self._guards[index] = None
            self._close_descriptor(index)
            if guard is not None:
                guard.side.write(self._terminate)
                guard.side.close()

    def _close_descriptor(self, turn: int) -> None:
        descriptor, self._descriptors[turn] = self._descriptors[turn], -1
        if descriptor >= 0:
            os.close(descriptor)

    def _forget_idle(self) -> None:
        for keys, each in list(self._wanted.items()):
            each.idle = 0 if each.lease.used != each.used else each.idle + 1
            each.used = each.lease.used
            if each.idle > IDLE_ROUNDS_MAX:
                each.lease.value, each.lease.descriptor = 0, -1
                del self._wanted[keys]
