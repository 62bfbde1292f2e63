"""MySQL's `wire.exchange.Codec`: one session's two byte streams, with what is under way in them.

Made by `dataplane/protocols`, used by `session/exchange`. Both peers have the same capabilities, so
that a reply passes as it came unless rows were left out or made longer; then its packets are
numbered anew. Rule: what is written for the client has the sequence number that the client waits
for, whatever the upstream's was.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from _speedups.myframe import (
    GIANT,
    MORE,
    PACKET,
    PACKETS,
    ROWS,
    ROWS_STREAMED,
    ROWS_WHOLE,
    SKIPPED,
    PacketSplitter,
    packets,
    renumbered,
)
from _speedups.myrows import RowMasker
from appliance.model.decision import Mask
from appliance.model.errors import ProtocolViolation, Refused
from appliance.model.limits import FRAME_BYTES_MAX, MESSAGE_TEXT_BYTES_MAX, Limits
from appliance.model.refusal import Refusal, RefusalCode
from appliance.wire.exchange import (
    Bytes,
    Column,
    Command,
    Described,
    Done,
    Ended,
    Failed,
    Masker,
    Passed,
    Prepared,
    Reply,
    Rows,
    Wish,
)
from appliance.wire.mysql import commands as c
from appliance.wire.mysql import messages as m
from appliance.wire.mysql import prepared, refusals, words
from appliance.wire.mysql.cells import cell_op, is_text
from appliance.wire.mysql.expected import (
    DEFINITIONS_BYTES_MAX,
    Expected,
    Kind,
    Stage,
    definitions_of,
)
from appliance.wire.mysql.expected import (
    description as described,
)
from appliance.wire.mysql.fields import HEADER_BYTES, PAYLOAD_BYTES_MAX, Reader
from appliance.wire.mysql.startup import Capability

COMMAND_EXTRA_BYTES_MAX = 64 * 1024
"""Of a command beside its text: query attributes."""

_KINDS = {
    Wish.QUERY: Kind.RESULTS,
    Wish.PREPARE: Kind.PREPARED,
    Wish.EXECUTE: Kind.RESULTS,
    Wish.LONG_VALUE: Kind.NOTHING,
    Wish.FETCH: Kind.FETCHED,
    Wish.RESET: Kind.DONE,
    Wish.CLOSE: Kind.NOTHING,
    Wish.RESET_SESSION: Kind.DONE,
    Wish.END: Kind.NOTHING,
}
_MESSAGES = {
    c.STATISTICS: Kind.WORDS,
    c.FIELD_LIST: Kind.DEFINITIONS,
    c.PROCESS_INFO: Kind.RESULTS,
}


class MyCodec:
    """`capabilities`: what both peers of this session agreed on."""

    def __init__(self, capabilities: int, limits: Limits) -> None:
        self._capabilities = capabilities
        self._limits = limits
        longest = max(limits.statement_bytes_max + COMMAND_EXTRA_BYTES_MAX, limits.bind_bytes_max)
        self._client = PacketSplitter("client", longest, skips=True)
        self._upstream = PacketSplitter("upstream", MESSAGE_TEXT_BYTES_MAX)
        self._expected = Expected(capabilities)
        self._next = 1
        """Sequence number of the next packet for the client."""
        self._rows_max = 0
        self._amid_row = False

    @property
    def midway(self) -> bool:
        return self._client.midway or self._upstream.midway or self._expected.due

    @property
    def autocommits(self) -> bool:
        return bool(self._expected.status & m.AUTOCOMMIT)

    @property
    def standing(self) -> int:
        return self._expected.status

    @property
    def client_midway(self) -> bool:
        return self._client.midway

    # --- from the client --------------------------------------------------------------------------

    def client_fed(self, chunk: Bytes) -> Iterator[Command]:
        try:
            self._client.feed(chunk)
            while True:
                if not self._client.midway:
                    self._client.begin(0)
                run = self._client.next_run()
                if run is None:
                    return
                yield self._command(*run)
        except ValueError as error:
            raise ProtocolViolation("client", str(error)) from None

    def _command(self, kind: int, sequence: int, _count: int, payload: Bytes) -> Command:
        if kind == SKIPPED:
            command = self._too_long(bytes(payload), self._client.length)
        else:
            command = c.parse_command(bytes(payload), self._capabilities)
            if len(command.text) > self._limits.statement_bytes_max:
                command = self._too_long(command.payload, len(command.text))
        return msgspec.structs.replace(command, sequence=sequence)

    def _too_long(self, payload: bytes, length: int) -> Command:
        refusal = _too_long(length)
        wish = Wish.REFUSED
        if payload[0] == c.STMT_SEND_LONG_DATA:
            wish = Wish.LONG_VALUE  # it earns no reply: what it belongs to is refused
        statement = int.from_bytes(payload[1:5], "little") if payload[0] in _NUMBERED else 0
        return Command(
            wish,
            payload[:5],
            statement=statement,
            refusal=refusal,
            shown="(longer than is analysed)",
            length=length,
        )

    # --- to the upstream --------------------------------------------------------------------------

    def begin(self, command: Command) -> None:
        self._next = command.sequence + 1 & 0xFF

    def send(self, command: Command, text: bytes | None = None) -> bytes:
        payload = command.payload if text is None else c.with_text(command, text)
        kind = _KINDS.get(command.wish) or _MESSAGES.get(payload[0], Kind.DONE)
        self._begin_reply(kind, payload, command.wish is Wish.EXECUTE, command.cursor)
        if command.wish is Wish.FETCH:
            self._read_rows()
        return packets(payload, 0)

    def _begin_reply(
        self, kind: Kind, payload: bytes, binary: bool = False, cursor: bool = False
    ) -> None:
        self._expected.begin(kind, binary, cursor)
        self._upstream.read_as(PACKETS, MESSAGE_TEXT_BYTES_MAX)
        if kind is not Kind.NOTHING:
            self._upstream.begin(len(payload) // PAYLOAD_BYTES_MAX + 1 & 0xFF)
        self._rows_max = 0

    def amid_rows(self, sequence: int) -> None:
        self._expected.described_elsewhere()
        self._upstream.begin(sequence)
        self._next = sequence
        self._read_rows()

    def ask(self, text: bytes) -> bytes:
        attributes = b"\0\x01" if self._capabilities & Capability.QUERY_ATTRIBUTES else b""
        payload = bytes((c.QUERY,)) + attributes + text
        self._begin_reply(Kind.RESULTS, payload)
        return packets(payload, 0)

    def idle(self) -> bytes:
        payload = bytes((c.PING,))
        self._expected.forget()
        self._begin_reply(Kind.DONE, payload)
        return packets(payload, 0)

    def close(self, statement: int) -> bytes:
        return packets(bytes((c.STMT_CLOSE,)) + statement.to_bytes(4, "little"), 0)

    # --- from the upstream ------------------------------------------------------------------------

    def upstream_fed(self, chunk: Bytes) -> Iterator[Reply]:
        try:
            self._upstream.feed(chunk)
            while (run := self._upstream.next_run()) is not None:
                reply = self._reply(*run)
                if reply is not None:
                    yield reply
        except ValueError as error:
            if self._rows_max and str(error) == "packet too long":
                raise Refused(_row_too_long(self._rows_max)) from None
            raise ProtocolViolation("upstream", str(error)) from None

    def _reply(self, kind: int, sequence: int, count: int, content: Bytes) -> Reply | None:
        if kind == PACKET:
            reply = self._expected.taken(bytes(content), sequence)
            self._read_next()
            return reply
        if self._expected.stage is Stage.DEFINITIONS:
            if kind != ROWS:
                raise ProtocolViolation("upstream", "descriptions of columns too long")
            reply = self._expected.defined(bytes(content), count)
            self._read_next()
            return reply
        if kind == ROWS:
            return Rows(content, count, sequence)
        if kind == GIANT:
            return Rows(content, 1, sequence, giant=True)
        begins = kind != MORE and not self._amid_row
        self._amid_row = not count
        return Rows(content, int(begins), sequence, piece=True, begins=begins, headed=kind != MORE)

    def _read_next(self) -> None:
        """How what is due is read: columns of a result, and rows, in runs."""
        if self._expected.stage is Stage.ROWS:
            self._read_rows()
        elif due := self._expected.definitions_due:
            self._upstream.read_as(ROWS_WHOLE, DEFINITIONS_BYTES_MAX, due)
        else:
            self._upstream.read_as(PACKETS, MESSAGE_TEXT_BYTES_MAX)

    def whole_rows(self, bytes_max: int) -> None:
        self._rows_max = bytes_max
        if self._expected.stage is Stage.ROWS:
            self._read_rows()

    def _read_rows(self) -> None:
        if self._rows_max:
            self._upstream.read_as(ROWS_WHOLE, self._rows_max)
        else:
            self._upstream.read_as(ROWS_STREAMED, FRAME_BYTES_MAX)

    def answers(self, content: Bytes) -> list[list[str | None]]:
        found, at = [], 0
        while at < len(content):
            end = at + HEADER_BYTES + int.from_bytes(content[at : at + 3], "little")
            found.append(_values(bytes(content[at + HEADER_BYTES : end])))
            at = end
        return found

    # --- masks ------------------------------------------------------------------------------------

    def columns(self, description: bytes) -> Sequence[Column]:
        binary = description[:1] == b"\x01"
        return [m.column_of(m.parse_definition(d), binary) for d in definitions_of(description)]

    def as_prepared(self, description: bytes, prepared: bytes) -> bytes:
        """MariaDB names the column of its temporary table: the alias."""
        kept, known = definitions_of(description), definitions_of(prepared)
        if len(kept) != len(known):
            return description
        told = (
            m.definition(_as_prepared(m.parse_definition(one), m.parse_definition(other)))
            for one, other in zip(kept, known, strict=True)
        )
        return described(tuple(told), description[:1] == b"\x01")

    def masker(
        self, masks: Sequence[Mask | None], columns: Sequence[Column], keys: Mapping[str, bytes]
    ) -> Masker:
        ops = [
            None if mask is None else cell_op(mask, column, keys)
            for mask, column in zip(masks, columns, strict=True)
        ]
        shapes = [(column.kind, column.unsigned, column.decimals) for column in columns]
        return RowMasker(list(ops), shapes, columns[0].binary)

    # --- to the client ----------------------------------------------------------------------------

    def _packets(self, payload: Bytes) -> bytes:
        framed = packets(payload, self._next)
        self._next = self._next + len(payload) // PAYLOAD_BYTES_MAX + 1 & 0xFF
        return framed

    def replied(self, reply: Reply, masked: Sequence[bool] = ()) -> Bytes:
        if isinstance(reply, Rows):
            return self._rows(reply)
        if isinstance(reply, Described):
            return self._described(reply, masked)
        if isinstance(reply, Prepared | Passed):
            payloads = list(reply.payloads)
            if any(masked) and isinstance(reply, Prepared):
                deprecated = bool(self._capabilities & Capability.DEPRECATE_EOF)
                end = 0 if deprecated or not reply.parameters else 1
                self._reword(payloads, 1 + reply.parameters + end, masked)
            return b"".join(map(self._packets, payloads))
        return self._packets(reply.payload)

    def _described(self, reply: Described, masked: Sequence[bool]) -> bytes:
        if any(masked):
            payloads = definitions_of(b"\0" + reply.content)
            self._reword(payloads, 1, masked)
            return b"".join(map(self._packets, payloads))
        due, self._next = self._next, self._next + reply.packets & 0xFF
        if reply.sequence == due:
            return reply.content
        return renumbered(reply.content, reply.packets, due)

    def _reword(self, payloads: list[bytes], first: int, masked: Sequence[bool]) -> None:
        """Columns that are masked may come as NULL, and longer than they were."""
        for index, hidden in enumerate(masked):
            if hidden:
                found = m.parse_definition(payloads[first + index])
                payloads[first + index] = m.definition(
                    msgspec.structs.replace(
                        found,
                        flags=found.flags & ~(m.NOT_NULL | m.NO_DEFAULT),
                        length=max(found.length, MASKED_LENGTH)
                        if is_text(m.column_of(found, False))
                        else found.length,
                    )
                )

    def _rows(self, rows: Rows) -> Bytes:
        if rows.giant:
            return self._packets(rows.content)
        if rows.piece:
            return self._piece(rows)
        due, self._next = self._next, self._next + rows.count & 0xFF
        if rows.sequence == due:
            return rows.content
        return renumbered(rows.content, rows.count, due)

    def _piece(self, rows: Rows) -> Bytes:
        if not rows.headed:
            return rows.content
        due, self._next = self._next, self._next + 1 & 0xFF
        if rows.sequence == due:
            return rows.content
        return bytes(rows.content[:3]) + bytes((due,)) + bytes(rows.content[HEADER_BYTES:])

    def masked(self, rows: Rows, masker: Masker) -> bytes:
        if rows.piece:
            raise ProtocolViolation("upstream", "a masked row in pieces")
        try:
            if rows.giant:
                return self._packets(masker.mask_giant(rows.content))
            content = masker.mask(rows.content, rows.count, self._next)
        except ValueError as error:
            raise ProtocolViolation("upstream", str(error)) from None
        self._next = self._next + rows.count & 0xFF
        return content

    def first(self, rows: Rows, count: int) -> Rows:
        if count >= rows.count or rows.giant:
            return rows if count else msgspec.structs.replace(rows, content=b"", count=0)
        end = 0
        for _ in range(count):
            end += HEADER_BYTES + int.from_bytes(rows.content[end : end + 3], "little")
        return msgspec.structs.replace(rows, content=bytes(rows.content[:end]), count=count)

    def settled(self, done: Done) -> Done:
        payload = m.with_status(done.payload, self._expected.status)
        return msgspec.structs.replace(done, payload=payload)

    def unfenced(self, reply: Done | Described | Ended) -> Done | Described | Ended:
        if isinstance(reply, Described):
            if self._capabilities & Capability.DEPRECATE_EOF:
                return reply
            at = len(reply.content) - m.EOF_PAYLOAD_BYTES
            content = reply.content[:at] + m.untransacted(reply.content[at:], True)
            return msgspec.structs.replace(reply, content=content)
        brief = isinstance(reply, Ended) and not self._capabilities & Capability.DEPRECATE_EOF
        payload = m.untransacted(reply.payload, brief)
        return msgspec.structs.replace(reply, payload=payload, in_transaction=False)

    def done(self) -> bytes:
        return self._packets(m.done_payload(self._expected.status))

    def failed(self, number: int, sqlstate: str, message: str) -> bytes:
        return self._packets(words.error_payload(number, sqlstate, message))

    def refused(self, refusal: Refusal) -> bytes:
        return self._packets(words.refused_words(refusal))

    def withheld(self, failed: Failed) -> bytes:
        return self._packets(refusals.withheld_payload(failed))

    def last_words(self, sqlstate: str, message: str, hint: str = "") -> bytes:
        if sqlstate == words.GONE:
            return b""
        return self._packets(words.last_words(sqlstate, message, hint))

    def kinds(self, bound: bytes, count: int, before: tuple[int, ...]) -> tuple[int, ...]:
        return prepared.kinds(bound, count, before)

    def parameters(
        self, bound: bytes, count: int, kinds: tuple[int, ...]
    ) -> Sequence[tuple[str, str | None]]:
        return [(str(kind), value) for kind, value in prepared.parameters(bound, count, kinds)]

    def literals(self, bound: bytes, count: int, kinds: tuple[int, ...]) -> Sequence[bytes] | None:
        return prepared.literals(bound, count, kinds)


def hit_terms(capabilities: int) -> tuple[bool, bool, bool]:
    """What `_speedups.myhits` has to know of them."""
    wanted = (
        Capability.QUERY_ATTRIBUTES,
        Capability.DEPRECATE_EOF,
        Capability.SESSION_TRACK,
    )
    found = [bool(capabilities & each) for each in wanted]
    return found[0], found[1], found[2]


class Agreed(Protocol):
    """What a login established, as far as the codec depends on it."""

    @property
    def capabilities(self) -> int: ...


def codec_of(agreed: Agreed, limits: Limits) -> MyCodec:
    """As `dataplane/machines` makes one."""
    return MyCodec(agreed.capabilities, limits)


MASKED_LENGTH = 1_024
"""Bytes that a column is described with at least whose values are masked."""

_NUMBERED = (c.STMT_EXECUTE, c.STMT_SEND_LONG_DATA)


def _values(row: bytes) -> list[str | None]:
    reader = Reader(row, "upstream")
    values: list[str | None] = []
    while reader.left:
        if reader.body[reader.offset] == m.LOCAL_FILE:  # in a row it is NULL
            reader.u8()
            values.append(None)
        else:
            values.append(reader.lenenc_bytes().decode("utf-8", "replace"))
    return values


def _too_long(length: int) -> Refusal:
    return Refusal(
        RefusalCode.TOO_LONG,
        f"a command of {length} bytes is longer than is analysed here",
        "split it, or bind long values as parameters",
        rule="builtin:statement-length",
        sqlstate="54001",
    )


def _row_too_long(limit: int) -> Refusal:
    return Refusal(
        RefusalCode.LIMIT,
        f"a row of a result with masks is longer than {limit} bytes",
        "select fewer or shorter columns",
        rule="builtin:row-length",
        sqlstate="54000",
    )


def _as_prepared(kept: m.Definition, known: m.Definition) -> m.Definition:
    same = (kept.schema, kept.org_table, kept.name) == (known.schema, known.org_table, known.name)
    if same and kept.org_name == kept.name:
        return msgspec.structs.replace(kept, org_name=known.org_name)
    return kept
