"""What the server's packets mean, by what it was sent last: the reply that is due.

Used by `codec`, one per session. Rule: a packet that is not due, or not of the form that is due, is
a violation; a request for a local file is one, too (nobody here offers any).
"""

import enum

from appliance.model.errors import ProtocolViolation
from appliance.model.limits import COLUMNS_MAX
from appliance.wire.exchange import Described, Done, Ended, Failed, Passed, Prepared, Reply
from appliance.wire.mysql import messages as m
from appliance.wire.mysql.fields import HEADER_BYTES, packet
from appliance.wire.mysql.startup import Capability

DEFINITIONS_BYTES_MAX = 8 * 1024 * 1024
"""Of all columns of one result."""


class Kind(enum.Enum):
    """What a command earns."""

    NOTHING = "nothing"
    DONE = "done"
    WORDS = "words"
    RESULTS = "results"
    PREPARED = "prepared"
    DEFINITIONS = "definitions"
    FETCHED = "fetched"


class Stage(enum.Enum):
    OVER = "over"
    HEAD = "head"
    DEFINITIONS = "definitions"
    DEFINITIONS_END = "definitions_end"
    ROWS = "rows"


class Expected:
    """One reply at a time. `taken` is given each payload but rows."""

    def __init__(self, capabilities: int) -> None:
        self._capabilities = capabilities
        self._deprecated = bool(capabilities & Capability.DEPRECATE_EOF)
        self.stage = Stage.OVER
        self._kind = Kind.NOTHING
        self._binary = self._cursor = False
        self.status = m.AUTOCOMMIT
        """Flags, as the server said them last."""
        self._payloads: list[bytes] = []
        self._blocks: list[bytes] = []
        """What describes a result, in packets as they came."""
        self._first = self._packets = 0
        self._bytes = 0
        self._left: list[int] = []
        """Columns still to be described: of one list, or of two (parameters, then columns)."""
        self._prepared = (0, 0, 0)

    def begin(self, kind: Kind, binary: bool = False, cursor: bool = False) -> None:
        if self.stage is not Stage.OVER:
            raise ProtocolViolation("upstream", "a command amid a reply")
        self._kind, self._binary, self._cursor = kind, binary, cursor
        self.stage = Stage.OVER if kind is Kind.NOTHING else Stage.HEAD
        if kind is Kind.FETCHED:
            self.stage = Stage.ROWS
        elif kind is Kind.DEFINITIONS:
            self._clear(())

    def described_elsewhere(self) -> None:
        """The columns of the result that is due have been read; rows follow."""
        self.stage = Stage.ROWS

    def forget(self) -> None:
        """What was to be sent never was."""
        self.stage = Stage.OVER

    def _clear(self, counts: tuple[int, ...]) -> None:
        self._payloads, self._bytes = [], 0
        self._left = [count for count in counts if count]

    @property
    def due(self) -> bool:
        return self.stage is not Stage.OVER

    @property
    def definitions_due(self) -> int:
        """How many columns of a result are still to be described, one packet each."""
        if self.stage is not Stage.DEFINITIONS or self._kind is not Kind.RESULTS:
            return 0
        return self._left[0]

    def defined(self, content: bytes, count: int) -> Reply | None:
        """So many columns of a result, in packets."""
        self._blocks.append(content)
        self._packets += count
        self._bytes += len(content)
        if self._bytes > DEFINITIONS_BYTES_MAX:
            raise ProtocolViolation("upstream", "descriptions of columns too long")
        self._left[0] -= count
        if self._left[0]:
            return None
        if self._deprecated:
            return self._described()
        self.stage = Stage.DEFINITIONS_END
        return None

    def taken(self, payload: bytes, sequence: int = 0) -> Reply | None:
        """The reply that is whole with this payload. Raises ProtocolViolation."""
        if self.stage is Stage.OVER:
            raise ProtocolViolation("upstream", "a reply that is not due")
        if self.stage is Stage.ROWS:
            return self._rows_end(payload)
        if not payload:
            raise ProtocolViolation("upstream", "an empty packet")
        if self.stage is Stage.DEFINITIONS:
            return self._definition(payload)
        if self.stage is Stage.DEFINITIONS_END:
            return self._definitions_end(payload, sequence)
        return self._head(payload, sequence)

    def _head(self, payload: bytes, sequence: int) -> Reply | None:
        if payload[0] == m.ERROR:
            return self._failed(payload)
        if self._kind is Kind.WORDS:
            self.stage = Stage.OVER
            return Passed((payload,))
        if self._kind is Kind.DEFINITIONS:
            return self._listed(payload)
        if self._kind is Kind.PREPARED:
            return self._began_prepared(payload)
        if payload[0] == m.OK or (self._kind is Kind.DONE and payload[0] == m.EOF):
            return self._done(payload)
        if self._kind is Kind.DONE:
            raise ProtocolViolation("upstream", "a reply of another kind than is due")
        if payload[0] == m.LOCAL_FILE:
            raise ProtocolViolation("upstream", "a request for a local file")
        count = m.parse_count(payload)
        if not 0 < count <= COLUMNS_LIMIT:
            raise ProtocolViolation("upstream", "impossible number of columns")
        self._clear((count,))
        self._blocks, self._first, self._packets = [packet(sequence, payload)], sequence, 1
        self.stage = Stage.DEFINITIONS
        return None

    def _done(self, payload: bytes) -> Done:
        if payload[0] == m.EOF and len(payload) < m.EOF_BYTES_MAX and len(payload) == 5:
            status = int.from_bytes(payload[3:5], "little")  # of COM_SET_OPTION
            self.stage = Stage.OVER
            return Done(payload, 0, bool(status & m.IN_TRANSACTION), False)
        done, self.status = m.parse_ok(payload, self._capabilities)
        self.stage = Stage.HEAD if done.more else Stage.OVER
        if done.more and self._kind is not Kind.RESULTS:
            raise ProtocolViolation("upstream", "more results than are due")
        return done

    def _failed(self, payload: bytes) -> Failed:
        self.stage = Stage.OVER
        return m.parse_error(payload)

    # --- columns ----------------------------------------------------------------------------------

    def _definition(self, payload: bytes) -> Reply | None:
        if payload[0] in (m.ERROR, m.EOF) or self._kind is Kind.RESULTS:
            raise ProtocolViolation("upstream", "fewer columns than were announced")
        self._payloads.append(payload)
        self._bytes += len(payload)
        if self._bytes > DEFINITIONS_BYTES_MAX:
            raise ProtocolViolation("upstream", "descriptions of columns too long")
        self._left[0] -= 1
        if self._left[0]:
            return None
        if self._deprecated:
            return self._described()
        self.stage = Stage.DEFINITIONS_END
        return None

    def _definitions_end(self, payload: bytes, sequence: int) -> Reply | None:
        if payload[0] == m.ERROR and self._kind is Kind.RESULTS:
            return self._failed(payload)
        if payload[0] != m.EOF or len(payload) != 5:
            raise ProtocolViolation("upstream", "more columns than were announced")
        if self._kind is Kind.RESULTS:
            self._blocks.append(packet(sequence, payload))
            self._packets += 1
        else:
            self._payloads.append(payload)
        status = int.from_bytes(payload[3:5], "little")
        return self._described(self._cursor and bool(status & m.CURSOR_EXISTS))

    def _described(self, kept: bool = False) -> Reply | None:
        del self._left[0]
        if self._left:
            self.stage = Stage.DEFINITIONS
            return None
        if self._kind is Kind.PREPARED:
            payloads = tuple(self._payloads)
            self._payloads = []
            self.stage = Stage.OVER
            statement, columns, parameters = self._prepared
            own = payloads[1 + parameters + (0 if self._deprecated or not parameters else 1) :]
            described = description(own[:columns], True) if columns else b""
            return Prepared(payloads, statement, parameters, described, columns)
        definitions = self._blocks[1:] if self._deprecated else self._blocks[1:-1]
        self.stage = Stage.OVER if kept else Stage.ROWS
        described = (b"\x01" if self._binary else b"\0") + b"".join(definitions)
        columns = self._packets - (1 if self._deprecated else 2)
        content = b"".join(self._blocks)
        self._blocks = []
        return Described(content, self._packets, self._first, described, columns, kept)

    def _began_prepared(self, payload: bytes) -> Reply | None:
        if payload[0] != m.OK:
            raise ProtocolViolation("upstream", "a reply of another kind than is due")
        statement, columns, parameters = self._prepared = m.parse_prepared(payload)
        self._clear((parameters, columns))
        self._payloads.append(payload)
        if not self._left:
            self.stage = Stage.OVER
            return Prepared((payload,), statement, 0, b"", 0)
        self.stage = Stage.DEFINITIONS
        return None

    def _listed(self, payload: bytes) -> Reply | None:
        """Definitions up to an end, however many (COM_FIELD_LIST)."""
        self._payloads.append(payload)
        self._bytes += len(payload)
        if self._bytes > DEFINITIONS_BYTES_MAX:
            raise ProtocolViolation("upstream", "descriptions of columns too long")
        if payload[0] != m.EOF:
            m.parse_definition(payload, defaults=True)
            return None
        m.parse_eof(payload, self._capabilities)
        self.stage = Stage.OVER
        return Passed(tuple(self._payloads))

    # --- rows -------------------------------------------------------------------------------------

    def _rows_end(self, payload: bytes) -> Reply:
        if not payload:
            raise ProtocolViolation("upstream", "an empty packet")
        if payload[0] == m.ERROR:
            return self._failed(payload)
        whole, status = m.parse_eof(payload, self._capabilities)
        self.status = status
        more = bool(status & m.MORE_RESULTS)
        self.stage = Stage.HEAD if more else Stage.OVER
        if more and self._kind is not Kind.RESULTS:
            raise ProtocolViolation("upstream", "more results than are due")
        return Ended(
            whole,
            bool(status & m.IN_TRANSACTION),
            more,
            kept=bool(status & m.CURSOR_EXISTS),
            exhausted=bool(status & m.LAST_ROW_SENT),
        )


COLUMNS_LIMIT = max(COLUMNS_MAX, 4_096)
"""4,096 is what a table may have ("Limits on Table Column Count")."""


def description(definitions: tuple[bytes, ...], binary: bool) -> bytes:
    """Definitions in one piece, which `definitions_of` takes apart: the form of the rows, then each
    as a packet."""
    return (b"\x01" if binary else b"\0") + b"".join(packet(0, each) for each in definitions)


def definitions_of(described: bytes) -> list[bytes]:
    """Payloads of the packets behind the first byte."""
    found, at = [], 1
    while at < len(described):
        end = at + HEADER_BYTES + int.from_bytes(described[at : at + 3], "little")
        found.append(described[at + HEADER_BYTES : end])
        at = end
    return found
