"""Watches what happens at the desk and sees to it that every sink hears of it, at least once.

Run by the control process beside everything else. Three kinds of tasks: one that follows the desk's
changes and puts notices into the outbox, one that looks again at what the desk holds (after a
start, after changes were missed, now and then), and one courier per sink. Rules: nothing here is
awaited by anybody who decides; a sink that hangs, fails or is slow is its own courier's trouble
alone; what the other end says is never logged.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from appliance.approval.request import Person
from appliance.control.desk import Change, Desk, DeskError, Policies
from appliance.control.notify.clock import Clock
from appliance.control.notify.notice import Notice, of_grant, of_policy, of_request
from appliance.control.notify.outbox import Delivery, Outbox
from appliance.control.notify.retry import ATTEMPTS_MAX, pause
from appliance.control.notify.sink import NotDelivered, Sink, Undeliverable
from appliance.control.store import StoreUnavailable
from appliance.model.principal import PrincipalKind
from appliance.telemetry.log import Log

ATTEMPT_SECONDS_MAX = 20.0
CLAIM_SECONDS = 60.0
"""How long a delivery is one courier's; longer than an attempt can take."""
AT_ONCE = 4
"""Deliveries of one sink."""
LOOK_SECONDS = 60.0
TROUBLE_SECONDS = 5.0
"""Pause after the store failed."""
IDLE_SECONDS_MAX = 30.0
PAGE = 100
RECENT_PAGES = 2
ALL_PAGES_MAX = 100
GRANTS_MAX = 500
POLICIES_MAX = 100
KNOWN_MAX = 10_000
HOUR = 3_600.0
FORGET_HOURS = 24 * 8
"""Longer than anything is derived again (`hours_max`, at most 72)."""

WATCHER = Person("notify", PrincipalKind.SERVICE, roles=frozenset(("viewer",)), via="notify")

log = Log("notify")


class Dispatcher:
    """See the module's docstring. `run` is all there is to call."""

    def __init__(
        self,
        desk: Desk,
        outbox: Outbox,
        sinks: Sequence[Sink],
        *,
        url: str,
        clock: Clock,
        hours_max: int = 24,
        policies: Policies | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`url`: of the console, begins links."""
        self._desk = desk
        self._outbox = outbox
        self._sinks = {sink.name: sink for sink in sinks}
        self._url = url.rstrip("/")
        self._clock = clock
        self._age_max = hours_max * HOUR
        self._policies = policies
        self._chance = chance
        self._since: dict[str, float] = {}
        self._known: OrderedDict[str, None] = OrderedDict()
        self._wake = {sink.name: asyncio.Event() for sink in sinks}
        self._look = asyncio.Event()

    async def run(self) -> None:
        """Until cancelled; then the sinks are closed."""
        try:
            await self._begin()
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._follow())
                tasks.create_task(self._look_again())
                for sink in self._sinks.values():
                    tasks.create_task(self._carry(sink))
        finally:
            for sink in self._sinks.values():
                await sink.close()

    async def _begin(self) -> None:
        while len(self._since) < len(self._sinks):
            try:
                for name in self._sinks:
                    self._since[name] = await self._outbox.since(name, self._clock.now())
            except StoreUnavailable:
                await self._trouble("sinks_unknown")

    # What happens -> outbox.

    async def _follow(self) -> None:
        while True:
            try:
                self._look.set()  # for what happened before this watch begins
                async for change in self._desk.watch():
                    await self._heard(change)
            except (DeskError, StoreUnavailable):
                await self._trouble("changes_not_followed")

    async def _heard(self, change: Change) -> None:
        kind = change.kind.partition("_")[0]
        try:
            if kind == "request":
                request = await self._desk.request(WATCHER, change.id)
                await self._keep(of_request(request, self._url))
            elif kind == "grant":
                grants = await self._desk.grants(WATCHER, limit=GRANTS_MAX)
                for grant in grants:
                    if grant.id == change.id:
                        await self._keep(of_grant(grant, self._url))
            elif kind == "policy":
                await self._tell_policies()
            elif kind == "missed":
                self._look.set()
        except (DeskError, StoreUnavailable):
            self._look.set()
            await self._trouble("change_not_kept")

    async def _look_again(self) -> None:
        """All of it when asked to, else what is recent."""
        while True:
            asked = await self._clock.wait(self._look, LOOK_SECONDS)
            self._look.clear()
            try:
                await self._read(ALL_PAGES_MAX if asked else RECENT_PAGES)
                await self._outbox.forget(self._clock.now() - FORGET_HOURS * HOUR)
            except (DeskError, StoreUnavailable):
                self._look.set()
                await self._trouble("not_looked_again")

    async def _read(self, pages: int) -> None:
        oldest = self._clock.now() - self._age_max
        before = ""
        for _ in range(pages):
            requests = await self._desk.requests(WATCHER, before=before, limit=PAGE)
            for request in requests:
                await self._keep(of_request(request, self._url))
            if len(requests) < PAGE or requests[-1].asked.time < oldest:
                break
            before = requests[-1].asked.id
        for grant in await self._desk.grants(WATCHER, limit=GRANTS_MAX):
            await self._keep(of_grant(grant, self._url))
        await self._tell_policies()

    async def _tell_policies(self) -> None:
        """Of the last changes: what was told already is known."""
        if self._policies is not None:
            made, _ = await self._policies.history(WATCHER, POLICIES_MAX)
            await self._keep([of_policy(one, self._url) for one in reversed(made)])

    async def _keep(self, notices: Iterable[Notice]) -> None:
        """Puts what is new into the outbox and wakes the couriers."""
        now = self._clock.now()
        new = [n for n in notices if n.id not in self._known and n.time > now - self._age_max]
        kept = [
            (name, notice) for notice in new for name in self._sinks if self._told(name, notice)
        ]
        if kept:
            dropped = await self._outbox.put(kept, now)
            if dropped:
                log.error("notices_dropped", reason="too many wait", notices=dropped)
            for name, _ in kept:
                self._wake[name].set()
        for notice in new:
            self._known[notice.id] = None
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)

    def _told(self, name: str, notice: Notice) -> bool:
        return notice.time >= self._since[name]

    # Outbox -> sink.

    async def _carry(self, sink: Sink) -> None:
        """The courier of one sink."""
        while True:
            wake = self._wake[sink.name]
            wake.clear()
            try:
                now = self._clock.now()
                claimed = await self._outbox.claim(sink.name, now, now + CLAIM_SECONDS, AT_ONCE)
                if claimed:
                    await asyncio.gather(*(self._deliver(sink, one) for one in claimed))
                    continue
                due = await self._outbox.next_due(sink.name)
            except StoreUnavailable:
                await self._trouble("outbox_not_read")
                continue
            pause = IDLE_SECONDS_MAX if due is None else due - self._clock.now()
            await self._clock.wait(wake, min(max(pause, 0.05), IDLE_SECONDS_MAX))

    async def _deliver(self, sink: Sink, delivery: Delivery) -> None:
        """One attempt and what follows from it. Raises StoreUnavailable."""
        notice, now = delivery.notice, self._clock.now()
        until = notice.useful_until
        if sink.for_people and until is not None and until <= now:
            await self._outbox.given_up(delivery)
            return
        try:
            reference = await self._attempt(sink, delivery)
        except NotDelivered as problem:
            await self._postpone(delivery, str(problem), problem.after)
        except Undeliverable as problem:
            await self._give_up(delivery, str(problem))
        else:
            await self._outbox.delivered(delivery, reference, self._clock.now())

    async def _attempt(self, sink: Sink, delivery: Delivery) -> str:
        """Raises NotDelivered or Undeliverable, whatever goes wrong."""
        ended = asyncio.Event()
        attempt = asyncio.ensure_future(sink.deliver(delivery.notice, delivery.reference))
        attempt.add_done_callback(lambda _: ended.set())
        try:
            await self._clock.wait(ended, ATTEMPT_SECONDS_MAX)
            if not attempt.done():
                raise NotDelivered("no answer in time")
            return attempt.result()
        except (NotDelivered, Undeliverable):
            raise
        except Exception as error:
            # A mistake of ours in one sink must neither end the others nor lose the notice.
            log.error("sink_failed", sink=sink.name, error=type(error).__name__)
            raise NotDelivered(type(error).__name__) from error
        finally:
            attempt.cancel()

    async def _postpone(self, delivery: Delivery, cause: str, after: float | None) -> None:
        now = self._clock.now()
        due = now + pause(delivery.attempts, self._chance(), after)
        if delivery.attempts >= ATTEMPTS_MAX or due > delivery.made + self._age_max:
            await self._give_up(delivery, cause)
            return
        log.warning(
            "notice_not_delivered",
            sink=delivery.sink,
            notice=delivery.notice.id,
            cause=cause,
            attempts=delivery.attempts,
            next_in_seconds=round(due - now, 1),
        )
        await self._outbox.postpone(delivery, due)

    async def _give_up(self, delivery: Delivery, cause: str) -> None:
        log.error(
            "notice_given_up",
            sink=delivery.sink,
            notice=delivery.notice.id,
            cause=cause,
            attempts=delivery.attempts,
        )
        await self._outbox.given_up(delivery)

    async def _trouble(self, event: str) -> None:
        """Logs and waits."""
        log.warning(event, reason="the store cannot be reached")
        await self._clock.wait(asyncio.Event(), TROUBLE_SECONDS)
