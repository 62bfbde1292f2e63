"""Cuts one direction of a MySQL byte stream into packets and runs of rows.

Called by the MySQL codec, once per chunk received plus once per run in it. Rules: a packet out of
its sequence ends the stream; memory grows only with bytes that arrived; what is longer than its
ceiling is skipped (`skips`) or an error, and never kept.

A packet is a 3-byte length (least significant byte first), a sequence number, and the payload; a
payload of 0xFFFFFF bytes goes on in the next packet
(https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_packets.html).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from _speedups.mybytes cimport PACKET_HEADER, PAYLOAD_MAX, put_header, u24

PACKET, ROWS, START, MORE, GIANT, SKIPPED = 0, 1, 2, 3, 4, 5
PACKETS, ROWS_STREAMED, ROWS_WHOLE = 0, 1, 2

cdef enum:
    KIND_PACKET = 0
    KIND_ROWS = 1
    KIND_START = 2
    KIND_MORE = 3
    KIND_GIANT = 4
    KIND_SKIPPED = 5

cdef enum:
    MODE_PACKETS = 0
    MODE_ROWS_STREAMED = 1
    MODE_ROWS_WHOLE = 2

cdef enum Doing:
    NOTHING = 0
    GATHERING = 1
    SKIPPING = 2
    STREAMING = 3

cdef enum:
    LENGTH_MAX = 0x40000000  # no peer's max_allowed_packet is more than 1 GB
    COPIED_MAX = 2048  # a run up to this is copied: cheaper than a memoryview of it
    CARRY_KEPT_MAX = 65536  # a larger buffer is given back once its packet is out
    SHOWN_MAX = 64  # of a packet that is skipped
    CONTROL_MAX = 1048576  # what ends rows, or stands in their place

cdef enum Fault:
    NONE = 0
    OUT_OF_ORDER = 1
    TOO_LONG = 2
    EMPTY = 3

cdef tuple FAULT_TEXTS = ("", "packet out of order", "packet too long", "empty packet")


@cython.final
@cython.no_gc  # a memoryview taken for garbage would be cleared with a buffer of it still open
cdef class PacketSplitter:
    """One direction of a MySQL byte stream -> packets and runs of rows.

    `next_run` gives (kind, sequence, count, bytes):
    PACKET: a whole payload without headers; the sequence number of its last packet, and how many
    packets it came in. ROWS: `count` rows of one packet each, with headers; the number of the
    first. START: the header of a packet of a row in pieces, with what is there of it; `count` is 1
    if the row ends with it. MORE: the same without a header. GIANT: a whole row of more than one
    packet, as PACKET. SKIPPED: the first bytes of what was longer than the ceiling (`skips`), as
    PACKET. After an error every further call raises the same error.
    """

    cdef readonly str side
    cdef readonly bint skips
    cdef int _mode
    cdef size_t _ceiling
    cdef size_t _limit  # of the payload that is being read
    cdef Py_ssize_t _most
    cdef uint8_t _due
    cdef object _chunk
    cdef object _view
    cdef Py_buffer _buffer
    cdef bint _held
    cdef const uint8_t* _at
    cdef const uint8_t* _end
    cdef uint8_t* _carry
    cdef size_t _carry_length
    cdef size_t _carry_room
    cdef uint8_t _head[5]
    cdef size_t _head_length
    cdef Doing _doing
    cdef bint _row
    cdef bint _control  # it is read among rows, and is none
    cdef size_t _left
    cdef bint _continues
    cdef Py_ssize_t _packets
    cdef size_t _total
    cdef Fault _fault

    def __cinit__(self, str side not None, size_t ceiling, bint skips=False):
        self.side = side
        self.skips = skips
        self._ceiling = ceiling
        self._carry = NULL

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._buffer)
        free(self._carry)

    @property
    def midway(self) -> bool:
        """Whether a packet has begun and its end has not come yet."""
        return self._head_length > 0 or self._doing != NOTHING

    @property
    def due(self) -> int:
        """The sequence number that the next packet must bear."""
        return self._due

    @property
    def length(self) -> int:
        """Payload bytes of the packet or row that came last, or is coming."""
        return self._total

    def begin(self, int sequence) -> None:
        """A new exchange: the next packet must bear this number."""
        if not 0 <= sequence <= 255:
            raise ValueError("a sequence number is one byte")
        self._due = <uint8_t>sequence

    def read_as(self, int mode, size_t ceiling, Py_ssize_t most=0) -> None:
        """How what comes next is cut; `ceiling` bounds whole payloads, `most` the rows of one run
        (0 = it does not). Takes effect with the next packet, or row, that begins.
        """
        if not MODE_PACKETS <= mode <= MODE_ROWS_WHOLE or ceiling > LENGTH_MAX:
            raise ValueError("unknown mode")
        if mode == MODE_PACKETS and self._head_length > PACKET_HEADER:
            raise ValueError("a row has begun")
        self._mode = mode
        self._ceiling = ceiling
        self._most = most

    def feed(self, chunk) -> None:
        """Gives the next bytes; the chunk before must have been read until None."""
        if self._held:
            if self._at != self._end:
                raise RuntimeError("feed before the last chunk was read to its end")
            self._let_go()
        PyObject_GetBuffer(chunk, &self._buffer, PyBUF_SIMPLE)
        self._held = True
        self._chunk = chunk
        self._at = <const uint8_t*>self._buffer.buf
        self._end = self._at + self._buffer.len

    def next_run(self):
        """The next run; None when the chunk is used up."""
        if self._fault != NONE:
            raise ValueError(FAULT_TEXTS[<int>self._fault])
        while self._at != self._end or (self._doing != NOTHING and self._done()):
            if self._doing == NOTHING:
                run = self._begin_packet()
            else:
                run = self._go_on()
            if run is not None:
                return run
        self._let_go()
        return None

    cdef bint _done(self) noexcept nogil:
        """Whether all of what is being read is there: an empty packet needs no more bytes."""
        return self._left == 0 and not self._continues and self._head_length == 0

    cdef object _begin_packet(self):
        """The first packet of a payload or row."""
        cdef const uint8_t* begin = self._at
        cdef size_t there = <size_t>(self._end - begin)
        cdef size_t wanted = PACKET_HEADER + (1 if self._mode != MODE_PACKETS else 0)
        cdef size_t length
        cdef Py_ssize_t count = 1
        cdef uint8_t sequence
        if self._head_length or there < wanted:
            if not self._take_head(wanted):
                return None
            return self._began(self._head)
        length = u24(begin)
        if begin[3] != self._due:
            self._fail(OUT_OF_ORDER)
        if (
            length == PAYLOAD_MAX
            or length + PACKET_HEADER > there
            or (length > self._ceiling and self._mode == MODE_PACKETS)
            or (length > self._ceiling and self._mode == MODE_ROWS_WHOLE and begin[4] < 0xFE)
        ):
            memcpy(self._head, begin, wanted)
            self._at = begin + wanted
            return self._began(self._head)
        sequence = self._due
        self._due = <uint8_t>(sequence + 1)
        self._at = begin + PACKET_HEADER + length
        self._total = length
        if self._mode == MODE_PACKETS:
            return (KIND_PACKET, sequence, 1, self._copied(begin + PACKET_HEADER, length))
        if length == 0:
            self._fail(EMPTY)
        if begin[4] >= 0xFE:
            if length > CONTROL_MAX:
                self._fail(TOO_LONG)
            return (KIND_PACKET, sequence, 1, self._copied(begin + PACKET_HEADER, length))
        count += self._extend_rows()
        return (KIND_ROWS, sequence, count, self._piece(begin))

    cdef Py_ssize_t _extend_rows(self) noexcept nogil:
        """Steps over the rows that may join the run; whatever is odd is left for the next."""
        cdef Py_ssize_t count = 0
        cdef size_t length
        cdef size_t most = self._ceiling if self._mode == MODE_ROWS_WHOLE else LENGTH_MAX
        while <size_t>(self._end - self._at) > PACKET_HEADER and count + 1 != self._most:
            length = u24(self._at)
            if (
                length == 0
                or length == PAYLOAD_MAX
                or length > most
                or length + PACKET_HEADER > <size_t>(self._end - self._at)
                or self._at[3] != self._due
                or self._at[4] >= 0xFE
            ):
                break
            self._at += PACKET_HEADER + length
            self._due = <uint8_t>(self._due + 1)
            count += 1
        return count

    cdef bint _take_head(self, size_t wanted) noexcept nogil:
        """Whether so many bytes of a packet's beginning are in `_head` now."""
        while self._head_length < wanted and self._at != self._end:
            self._head[self._head_length] = self._at[0]
            self._head_length += 1
            self._at += 1
            if self._head_length == PACKET_HEADER and u24(self._head) == 0:
                return True
        return self._head_length >= wanted

    cdef object _began(self, const uint8_t* head):
        """The packet at `head` (with its first byte, where rows are read) is taken in pieces."""
        cdef size_t length = u24(head)
        cdef size_t taken = 0 if self._mode == MODE_PACKETS or length == 0 else 1
        cdef bint ends
        if head[3] != self._due:
            self._fail(OUT_OF_ORDER)
        self._row = False
        if self._mode != MODE_PACKETS:
            if length == 0:
                self._fail(EMPTY)
            self._row = head[4] < 0xFE or length == PAYLOAD_MAX
            if head[4] == 0xFF:
                self._row = False
        self._head_length = 0
        self._due = <uint8_t>(self._due + 1)
        self._packets = 1
        self._total = length
        self._continues = length == PAYLOAD_MAX
        self._left = length - taken
        self._control = self._mode != MODE_PACKETS and not self._row
        self._limit = CONTROL_MAX if self._control else self._ceiling
        if self._row and self._mode == MODE_ROWS_STREAMED:
            self._doing = STREAMING
            self._limit = LENGTH_MAX
            ends = self._left == 0 and not self._continues
            if ends:
                self._doing = NOTHING
            return (
                KIND_START,
                head[3],
                1 if ends else 0,
                PyBytes_FromStringAndSize(<const char*>head, PACKET_HEADER + 1),
            )
        self._doing = GATHERING
        self._require_room()
        if taken:
            self._keep(head + PACKET_HEADER, 1)
        return None

    cdef int _require_room(self) except -1:
        """Ends, or skips, what is longer than it may be."""
        cdef bint skips = self.skips and not self._control
        if self._total <= self._limit or (
            self._doing == SKIPPING and self._total <= LENGTH_MAX
        ):
            return 0
        if not skips or self._total > LENGTH_MAX:
            self._fail(TOO_LONG)
        self._doing = SKIPPING
        return 0

    cdef object _go_on(self):
        """More of a packet, or the next packet of the same payload or row."""
        cdef const uint8_t* begin = self._at
        cdef size_t there = <size_t>(self._end - begin)
        cdef size_t length
        cdef bint ends
        if self._left == 0 and self._continues:
            if not self._take_head(PACKET_HEADER):
                return None
            length = u24(self._head)
            if self._head[3] != self._due:
                self._fail(OUT_OF_ORDER)
            self._head_length = 0
            self._due = <uint8_t>(self._due + 1)
            self._packets += 1
            self._left = length
            self._total += length
            self._continues = length == PAYLOAD_MAX
            self._require_room()
            if self._doing == STREAMING:
                ends = length == 0
                if ends:
                    self._doing = NOTHING
                return (
                    KIND_START,
                    self._head[3],
                    1 if ends else 0,
                    PyBytes_FromStringAndSize(<const char*>self._head, PACKET_HEADER),
                )
            return self._whole() if self._done() else None
        if there > self._left:
            there = self._left
        self._at = begin + there
        self._left -= there
        ends = self._left == 0 and not self._continues
        if self._doing == STREAMING:
            if ends:
                self._doing = NOTHING
            return (KIND_MORE, <uint8_t>(self._due - 1), 1 if ends else 0, self._piece(begin))
        self._keep(begin, there)
        return self._whole() if ends else None

    cdef int _keep(self, const uint8_t* bytes, size_t length) except -1:
        """Adds to the payload that is gathered; of one that is skipped only its beginning."""
        cdef size_t room
        cdef void* grown
        if self._doing == SKIPPING:
            if self._carry_length >= SHOWN_MAX:
                return 0
            if length > SHOWN_MAX - self._carry_length:
                length = SHOWN_MAX - self._carry_length
        if self._carry_length + length > self._carry_room:
            room = 2 * (self._carry_length + length)
            if room < 256:
                room = 256
            grown = realloc(self._carry, room)
            if grown == NULL:
                raise MemoryError
            self._carry = <uint8_t*>grown
            self._carry_room = room
        if length:
            memcpy(self._carry + self._carry_length, bytes, length)
        self._carry_length += length
        return 0

    cdef object _whole(self):
        """What was gathered."""
        cdef uint8_t sequence = <uint8_t>(self._due - 1)
        cdef size_t length = self._carry_length
        cdef size_t header = 0
        cdef bytes whole
        cdef int kind = KIND_PACKET
        if self._doing == SKIPPING:
            kind = KIND_SKIPPED
            if length > SHOWN_MAX:
                length = SHOWN_MAX
        elif self._row:
            kind = KIND_ROWS if self._packets == 1 else KIND_GIANT
            header = PACKET_HEADER if self._packets == 1 else 0
        whole = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(header + length))
        if header:
            put_header(<uint8_t*>PyBytes_AS_STRING(whole), length, sequence)
        if length:
            memcpy(PyBytes_AS_STRING(whole) + header, self._carry, length)
        self._doing = NOTHING
        self._carry_length = 0
        if self._carry_room > CARRY_KEPT_MAX:
            free(self._carry)
            self._carry = NULL
            self._carry_room = 0
        return (kind, sequence, 1 if kind == KIND_ROWS else self._packets, whole)

    cdef bytes _copied(self, const uint8_t* begin, size_t length):
        return PyBytes_FromStringAndSize(<const char*>begin, <Py_ssize_t>length)

    cdef object _piece(self, const uint8_t* begin):
        """The bytes from `begin` to where reading stands: a copy when small, else a view."""
        cdef Py_ssize_t start = begin - <const uint8_t*>self._buffer.buf
        cdef Py_ssize_t size = self._at - begin
        if size <= COPIED_MAX:
            return PyBytes_FromStringAndSize(<const char*>begin, size)
        if size == self._buffer.len and PyBytes_CheckExact(self._chunk):
            return self._chunk
        if self._view is None:
            self._view = PyMemoryView_FromObject(self._chunk)
            if self._view.ndim != 1 or self._view.itemsize != 1:
                self._view = self._view.cast("B")
        return self._view[start : start + size]

    cdef void _let_go(self):
        if self._held:
            self._held = False
            self._view = None
            self._chunk = None
            PyBuffer_Release(&self._buffer)
            self._at = self._end = NULL

    cdef int _fail(self, Fault fault) except -1:
        self._fault = fault
        self._at = self._end
        self._let_go()
        raise ValueError(FAULT_TEXTS[<int>fault])


def packets(payload, int sequence) -> bytes:
    """A payload as the packets it is sent in, the first with this sequence number."""
    cdef Py_buffer buffer
    cdef bytes out
    cdef uint8_t* to
    cdef const uint8_t* at
    cdef size_t left
    cdef size_t length
    cdef size_t count
    cdef uint8_t number = <uint8_t>(sequence & 0xFF)
    PyObject_GetBuffer(payload, &buffer, PyBUF_SIMPLE)
    try:
        at = <const uint8_t*>buffer.buf
        left = <size_t>buffer.len
        count = left // PAYLOAD_MAX + 1
        out = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>(left + count * PACKET_HEADER))
        to = <uint8_t*>PyBytes_AS_STRING(out)
        for _ in range(count):
            length = left if left < PAYLOAD_MAX else PAYLOAD_MAX
            put_header(to, length, number)
            if length:
                memcpy(to + PACKET_HEADER, at, length)
            to += PACKET_HEADER + length
            at += length
            left -= length
            number = <uint8_t>(number + 1)
        return out
    finally:
        PyBuffer_Release(&buffer)


def renumbered(rows, Py_ssize_t count, int sequence) -> bytes:
    """`count` packets, each whole, with sequence numbers from this one on. ValueError when they are
    no such packets.
    """
    cdef Py_buffer buffer
    cdef bytes out
    cdef uint8_t* at
    cdef size_t there
    cdef size_t length
    cdef Py_ssize_t index
    PyObject_GetBuffer(rows, &buffer, PyBUF_SIMPLE)
    try:
        out = PyBytes_FromStringAndSize(<const char*>buffer.buf, buffer.len)
        at = <uint8_t*>PyBytes_AS_STRING(out)
        there = <size_t>buffer.len
        for index in range(count):
            if there < PACKET_HEADER:
                raise ValueError("row length out of step")
            length = PACKET_HEADER + u24(at)
            if length > there:
                raise ValueError("row length out of step")
            at[3] = <uint8_t>((sequence + index) & 0xFF)
            at += length
            there -= length
        if there:
            raise ValueError("row length out of step")
        return out
    finally:
        PyBuffer_Release(&buffer)
