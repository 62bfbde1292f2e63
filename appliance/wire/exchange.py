"""What peers say to each other where one command is answered before the next: commands and replies
without a protocol's bytes, and the `Codec` that turns bytes into them and back.

Spoken by `session/exchange`; a protocol's package has its codec. Rules: a command that a codec does
not know comes out of it as `Wish.REFUSED`, never as anything that is forwarded; a codec forwards
whole commands that it has understood, or builds them anew from what it read.
"""

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from appliance.model.decision import Mask
from appliance.model.members import plain_members
from appliance.model.refusal import Refusal

Bytes = bytes | memoryview


@plain_members
class Wish(enum.Enum):
    """What a client wants."""

    QUERY = "query"  # have `text` run; rows come as text
    PREPARE = "prepare"  # have `text` prepared
    EXECUTE = "execute"  # have prepared `statement` run; rows come in binary form
    LONG_VALUE = "long_value"  # a piece of a parameter of `statement`; earns no reply
    FETCH = "fetch"  # more rows of the cursor of `statement`
    RESET = "reset"  # `statement` without its long values and its cursor
    CLOSE = "close"  # forget `statement`; earns no reply
    SAID = "said"  # what `text` says, in a message of its own
    PASSED = "passed"  # harmless, and understood
    RESET_SESSION = "reset_session"  # the session as it was after login
    LOG_IN_ANEW = "log_in_anew"  # as somebody else
    END = "end"  # the last message
    REFUSED = "refused"  # not let through; `refusal` says why


LAST_PREPARED = -1
"""In place of a statement's number: the one that was prepared last, whichever it is."""


class Command(msgspec.Struct, frozen=True):
    """One message of a client, whole."""

    wish: Wish
    payload: bytes
    """As it would be forwarded."""
    text: bytes = b""
    """SQL; of `SAID` what is judged in its place."""
    statement: int = 0
    """The number that the server gave a prepared statement."""
    bound: bytes = b""
    """What an execution is bound to, as it stands in the message."""
    cursor: bool = False
    """An execution that is to keep its rows for `FETCH`."""
    unseen: bool = False
    """What it is bound to is forwarded, and not read here."""
    refusal: Refusal | None = None
    shown: str = ""
    """What it is, for the record of one that is refused unread."""
    length: int = 0
    """Bytes of it, where it was not kept."""
    sequence: int = 0
    """The codec's own: what its reply goes on from."""


class Column(msgspec.Struct, frozen=True):
    """One column of a result, as the server describes it."""

    name: str
    schema: str
    relation: str
    """What the value is read from, '' for what is computed. No alias."""
    column: str
    kind: int
    """The protocol's number of its type."""
    binary: bool
    unsigned: bool = False
    characters: bool = True
    """Its bytes are characters (else octets), where they are either."""
    width: int = 0
    """Most bytes of a value, as described."""
    decimals: int = 0


class Done(msgspec.Struct, frozen=True):
    """A statement or command completed and gave no rows."""

    payload: bytes
    affected: int
    in_transaction: bool
    more: bool
    """Another result of the same text follows."""
    changed: tuple[tuple[str, str], ...] = ()
    """(setting, value) as the server reports them along with it."""


class Failed(msgspec.Struct, frozen=True):
    payload: bytes
    number: int
    sqlstate: str
    message: str
    interrupted: bool = False
    """It was cancelled."""


class Described(msgspec.Struct, frozen=True):
    """Rows follow, unless they are `kept` by a cursor. `description` tells the columns
    (`Codec.columns`), and all that a mask needs to know."""

    content: bytes
    """All of it, as it came."""
    packets: int
    sequence: int
    """The codec's own: in how many packets it came, and the number of the first."""
    description: bytes
    columns: int
    kept: bool = False


class Rows(msgspec.Struct, frozen=True):
    """`count` rows in one run; of a row in pieces (`piece`), `count` is 1 where it begins."""

    content: Bytes
    count: int
    sequence: int
    piece: bool = False
    begins: bool = False
    headed: bool = False
    """The codec's own: a piece that begins with a header."""
    giant: bool = False
    """One whole row, longer than a packet, without its headers."""


class Ended(msgspec.Struct, frozen=True):
    """The last row has come. `kept`: the rows stay with a cursor; `exhausted`: it has no more."""

    payload: bytes
    in_transaction: bool
    more: bool
    kept: bool = False
    exhausted: bool = False


class Prepared(msgspec.Struct, frozen=True):
    """A statement was prepared; all that describes it."""

    payloads: tuple[bytes, ...]
    statement: int
    parameters: int
    description: bytes
    columns: int


class Passed(msgspec.Struct, frozen=True):
    """A reply that carries no rows and is not looked at: it is all of it."""

    payloads: tuple[bytes, ...]


Reply = Done | Failed | Described | Rows | Ended | Prepared | Passed


class Masker(Protocol):
    """Masks the rows of one result (`_speedups`)."""

    @property
    def cells_masked(self) -> int: ...
    def mask(self, rows: Bytes, count: int, sequence: int, /) -> bytes: ...
    def mask_giant(self, row: Bytes, /) -> bytes: ...


class Codec(Protocol):
    """One session's two byte streams. Methods that read raise ProtocolViolation; what is returned
    for the client is bytes in the place that is next in the reply to its present command."""

    def client_fed(self, chunk: Bytes) -> Iterator[Command]:
        """The commands that are complete with these bytes."""

    def upstream_fed(self, chunk: Bytes) -> Iterator[Reply]:
        """The replies that are complete with these bytes, to what was sent last."""

    @property
    def midway(self) -> bool:
        """Whether either side is amid a message."""

    @property
    def autocommits(self) -> bool:
        """Whether a statement outside a transaction lasts when it is done, as the upstream said
        last."""

    @property
    def standing(self) -> int:
        """The codec's own: what goes on between commands, as the upstream said last."""

    @property
    def client_midway(self) -> bool:
        """Whether the client is amid a message."""

    def begin(self, command: Command) -> None:
        """What is written for the client from here on answers this command."""

    def send(self, command: Command, text: bytes | None = None) -> bytes:
        """For the upstream; `text` in place of the command's own. The replies that come are to
        it."""

    def amid_rows(self, sequence: int) -> None:
        """The reply to what `send` made has come as far as its rows; `sequence`: the codec's own,
        of what comes next."""

    def ask(self, text: bytes) -> bytes:
        """The same for a statement of ours."""

    def answers(self, content: Bytes) -> list[list[str | None]]:
        """Values of whole rows of the answer to `ask`."""

    def idle(self) -> bytes:
        """A command without effect that is answered by `Done`, in place of what `send` has made and
        nobody has sent."""

    def close(self, statement: int) -> bytes:
        """Has the upstream forget a prepared statement; earns no reply."""

    def whole_rows(self, bytes_max: int) -> None:
        """Rows of the present result come whole; 0 = in pieces, as they are."""

    def columns(self, description: bytes) -> Sequence[Column]: ...

    def as_prepared(self, description: bytes, prepared: bytes) -> bytes:
        """The description of rows that stay with a cursor, with the places that the statement's own
        description tells, where a server that has put the rows aside tells them no more."""

    def masker(
        self,
        masks: Sequence[Mask | None],
        columns: Sequence[Column],
        keys: Mapping[str, bytes],
    ) -> Masker: ...

    # For the client.

    def replied(self, reply: Reply, masked: Sequence[bool] = ()) -> Bytes:
        """A reply as it came; of columns that are `masked` the description fits what comes."""

    def masked(self, rows: Rows, masker: Masker) -> bytes: ...
    def first(self, rows: Rows, count: int) -> Rows:
        """The first `count` of whole rows."""

    def settled(self, done: Done) -> Done:
        """The same, as it reads now that the transaction it stood in is over."""

    def unfenced(self, reply: "Done | Described | Ended") -> "Done | Described | Ended":
        """The same, as it reads without the transaction of ours that it stands in."""

    def done(self) -> bytes:
        """A command completed, with no effect that a client is told of."""

    def failed(self, number: int, sqlstate: str, message: str) -> bytes: ...
    def refused(self, refusal: Refusal) -> bytes: ...
    def withheld(self, failed: Failed) -> bytes:
        """The same error, without what could quote values."""

    def last_words(self, sqlstate: str, message: str, hint: str = "") -> bytes: ...
    def kinds(self, bound: bytes, count: int, before: tuple[int, ...]) -> tuple[int, ...]:
        """Types of `count` parameters, which an execution gives or leaves as they were `before`."""

    def parameters(
        self, bound: bytes, count: int, kinds: tuple[int, ...]
    ) -> Sequence[tuple[str, str | None]]:
        """(type, value in words; None = NULL) of what an execution is bound to."""

    def literals(self, bound: bytes, count: int, kinds: tuple[int, ...]) -> Sequence[bytes] | None:
        """The same as SQL writes them, in whatever settings a session has; None where one cannot be
        written."""
