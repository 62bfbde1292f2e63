"""Where approvals, standing grants and what the console keeps are stored: the interface of it.

Implemented by `store_sqlite` (one appliance) and `store_postgres` (several together) over the SQL
of `store_sql`; used by `approvals`, `expiry`, `links` and, for the shelf, by the console. Rules: a
change is a transaction, decided on what was read in it; it is durable when its block ends without
an exception; two transactions never both decide on the same request or grant.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import msgspec

from appliance.approval.people import Who
from appliance.approval.request import Request, State
from appliance.approval.standing import GrantState, StandingGrant
from appliance.control.desk import Change


class StoreUnavailable(Exception):
    """The store cannot be reached or written. Nothing is known to have changed."""


class Kept(msgspec.Struct, frozen=True):
    """A request and what only the store's users need to know of it."""

    request: Request
    waits: bool
    """The client waits where it is; False = it has a ticket."""
    grant: str = ""
    """Id of the standing grant that approved it."""


class Crowd(msgspec.Struct, frozen=True):
    """How much waits for a decision."""

    requests: int
    of_principal: int
    bytes_of_principal: int


class Sheet(msgspec.Struct, frozen=True):
    """A small document on the shelf: a sign-in, an API token's digest, ..."""

    kind: str
    id: str
    body: str
    owner: str = ""
    expires: float = 0.0
    """Unix seconds; 0 = never."""


class Transaction(Protocol):
    """Reads and writes of one block. What is read is locked until the block's end where it says so.
    Raises StoreUnavailable."""

    # Requests.

    async def serialise(self, name: str) -> None:
        """Until the block's end, nobody else gets past a `serialise` of this name."""

    async def request(self, id: str) -> Kept | None:
        """Locked."""

    async def look(self, id: str) -> Request | None:
        """Not locked."""

    async def requests(
        self,
        *,
        state: State | None,
        principal: str,
        concerning: Who | None,
        acting_for: str = "",
        before: str,
        limit: int,
    ) -> list[Request]:
        """Newest first. '' or None = whoever; `concerning`: asked by this principal or on their
        behalf, from that source (as `people.Who.is_same`); `acting_for`: on behalf of this one;
        `before`: ids older than this."""

    async def alike(self, binding: str, principal: str) -> list[Kept]:
        """Requests for the very same statement that are pending, approved or denied, oldest first.
        Not locked."""

    async def crowd(self, principal: Who) -> Crowd: ...

    async def add_request(self, kept: Kept, size: int, escalates: float | None) -> None:
        """`size`: bytes that its text takes; `escalates`: when."""

    async def put_request(self, request: Request) -> None:
        """All of it that can change."""

    async def use(self, id: str, binding: str, now: float) -> Kept | None:
        """Takes one use of an approval, in one step; None when there is none to take."""

    async def used_before(self, id: str, attempt: str) -> bool:
        """Whether this attempt has been given a use already."""

    async def note_use(self, id: str, attempt: str, session: str, now: float) -> None: ...

    async def decided(self, ids: Sequence[str]) -> list[Request]:
        """Of these, the ones that are not pending."""

    async def waiting(self, node: str) -> list[str]:
        """Pending and approved requests of this appliance whose clients waited."""

    async def approved_by(self, grant: str) -> list[Request]:
        """Approved by a standing grant and not used up. Locked."""

    async def due(self, now: float, limit: int) -> list[str]:
        """Ids of pending and approved requests that have expired or are to escalate."""

    # Standing grants.

    async def grant(self, id: str) -> StandingGrant | None:
        """Locked."""

    async def grants(
        self, *, state: GrantState | None, proposed_by: str, limit: int
    ) -> list[StandingGrant]:
        """Newest first. '' = by whomever."""

    async def grants_due(self, now: float, limit: int) -> list[str]: ...

    async def add_grant(self, grant: StandingGrant) -> None: ...

    async def put_grant(self, grant: StandingGrant) -> None: ...

    async def use_grant(self, id: str, now: float) -> bool:
        """Counts a use of an active grant, in one step; False when it is not active (any more)."""

    # The shelf.

    async def put_sheet(self, sheet: Sheet) -> None:
        """In place of one with the same kind and id."""

    async def sheet(self, kind: str, id: str) -> Sheet | None:
        """Locked. May have expired."""

    async def sheets(self, kind: str, owner: str, limit: int) -> list[Sheet]:
        """Newest id first; '' = whoever's."""

    async def remove_sheet(self, kind: str, id: str) -> bool:
        """Whether there was one."""

    # Everything.

    async def forget(self, before: float, now: float, limit: int) -> int:
        """Removes requests and grants that ended before, and sheets that have expired; how many."""

    async def rows(self, sql: str, *arguments: object) -> Sequence[Sequence[Any]]:
        """For tables of other modules (`notify/outbox`), whose statements are their own: $1, $2,
        ... and in words that both databases take."""

    async def announce(self, change: Change) -> None:
        """Tells other appliances when the block ends well."""


class Store(Protocol):
    """One store, open or not."""

    name: str
    """sqlite or postgresql"""

    async def open(self) -> None:
        """Raises StoreUnavailable, or ValueError (migrations.NewerStore)."""

    async def close(self) -> None: ...

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commits durably when the block ends, nothing when it raises. Raises StoreUnavailable."""

    def listen(self, told: Callable[[Change], None]) -> None:
        """`told` is called with what other appliances announce, and with kind `missed` after a time
        in which it could not hear."""
