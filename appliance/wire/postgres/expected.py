"""The queue of replies that are due: the one correct answer to pipelining, injected messages and
skipped ones.

Called by `session/machine`. Every message sent upstream that earns a reply stands here, in order.
Rules, from "Message Flow: Extended Query" and the server's own loop: an error in the extended
protocol makes the upstream skip everything up to Sync; a simple Query ends with ReadyForQuery
whatever happens; while copying in, Sync and Flush are ignored.
"""

import enum
from collections.abc import Iterator
from typing import Any

from appliance.model.errors import ProtocolViolation
from appliance.model.members import plain_members
from appliance.model.spare import Fifo


@plain_members
class Kind(enum.IntEnum):
    PARSE = 1
    BIND = 2
    DESCRIBE_STATEMENT = 3
    DESCRIBE_PORTAL = 4
    EXECUTE = 5
    CLOSE = 6
    SYNC = 7
    QUERY = 8


class Expected:
    """One reply that is due.

    `subject` is what it is about (the session's statement, portal or execution), `name` its
    protocol name, `injected` that the client did not ask and must not see it, `error` the
    ErrorResponse that stands in for the upstream's. `within`: the execution of the simple Query
    that the client sent, of a message of the extended protocol that is sent in its place.
    `goes_on`: the ReadyForQuery is not the client's, more is to come.
    """

    __slots__ = ("error", "failed", "goes_on", "injected", "kind", "name", "subject", "within")

    def __init__(
        self,
        kind: Kind,
        subject: Any = None,
        name: bytes = b"",
        *,
        injected: bool = False,
        error: bytes = b"",
        within: Any = None,
    ) -> None:
        self.kind = kind
        self.subject = subject
        self.name = name
        self.injected = injected
        self.error = error
        self.failed = self.goes_on = False
        self.within = within

    def __repr__(self) -> str:
        return f"<{self.kind.name}{' injected' * self.injected}{' refused' * bool(self.error)}>"


class ExpectedReplies:
    """First in, first out. `skipping` is True between an error in the extended protocol and the
    next Sync we send.
    """

    __slots__ = ("_queue", "skipping")

    def __init__(self) -> None:
        self._queue: Fifo[Expected] = Fifo()
        self.skipping = False

    def __len__(self) -> int:
        return len(self._queue)

    def __iter__(self) -> Iterator[Expected]:
        return iter(self._queue)

    @property
    def head(self) -> Expected | None:
        return self._queue.head

    def push(self, expected: Expected) -> None:
        self._queue.append(expected)

    def pop(self, *kinds: Kind) -> Expected:
        """The head, which must be one of `kinds`: any other reply is a violation."""
        head = self._queue.head
        if head is None or head.kind not in kinds:
            raise ProtocolViolation("upstream", "a reply that is not due")
        return self._queue.popleft()

    def skip_to_sync(self) -> list[Expected]:
        """After an error: takes off all that the upstream skips, up to (not including) the next
        Sync.
        """
        skipped = []
        while (head := self._queue.head) is not None and head.kind is not Kind.SYNC:
            skipped.append(self._queue.popleft())
        if not self._queue:
            self.skipping = True
        return skipped

    def drop_syncs_behind_head(self) -> int:
        """A COPY FROM STDIN began: the Syncs right behind it are ignored by the upstream. -> how
        many.
        """
        begun = self._queue.popleft()
        dropped = 0
        while (head := self._queue.head) is not None and head.kind is Kind.SYNC:
            self._queue.popleft()
            dropped += 1
        self._queue.appendleft(begun)
        return dropped
