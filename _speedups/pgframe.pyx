"""Cuts one direction of a PostgreSQL v3 byte stream into runs of frames.

Called by the PostgreSQL codecs, once per chunk received plus once per run in it. Rule: a frame's
claimed length is believed for nothing but counting; memory grows only with bytes that arrived.

A frame is one type byte and a big-endian uint32 that counts itself and the body
(https://www.postgresql.org/docs/current/protocol-overview.html). The startup packet has no type
byte and is not for this class.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_CheckExact, PyBytes_FromStringAndSize
from cpython.memoryview cimport PyMemoryView_FromObject
from libc.stdint cimport int8_t, uint8_t, uint32_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

from _speedups.reader cimport Reader, take_u32

WHOLE, HEAD, BODY, TAIL = 0, 1, 2, 3
GATHER, GATHER_OR_STREAM, STREAM = 0, 1, 2

cdef enum:
    KIND_WHOLE = 0
    KIND_HEAD = 1
    KIND_BODY = 2
    KIND_TAIL = 3

cdef enum:
    COPIED_MAX = 2048  # a run up to this is copied: cheaper than a memoryview of it
    CARRY_KEPT_MAX = 65536  # a larger carry buffer is given back once its frame is out

cdef tuple FAULT_TEXTS = ("", "unknown type", "length below 4", "frame too long")


@cython.final
cdef class _Rules:
    """What may come, by its type byte."""

    def __cinit__(self):
        cdef int index
        for index in range(TYPES):
            self.of[index].mode = MODE_UNKNOWN
            self.of[index].batch = 0
            self.of[index].ceiling = 0


@cython.final
@cython.no_gc  # a memoryview taken for garbage would be cleared with a buffer of it still open
cdef class FrameSplitter:
    """One direction of a PostgreSQL v3 byte stream -> runs of frames.

    `side` is 'client' or 'upstream' and is kept for whoever words the error. After an error every
    further call raises the same error: a stream out of step cannot be resumed.
    """

    def __cinit__(self, str side not None, FrameSplitter like=None):
        """`like`: as in `follow`."""
        self.side = side
        self._held = False
        self._carry = NULL
        if like is not None:
            self.follow(like)
        else:
            self._table = _Rules()
            self._rules = self._table.of

    def __dealloc__(self):
        if self._held:
            PyBuffer_Release(&self._buffer)
        free(self._carry)

    @property
    def pending(self) -> int:
        """Bytes carried of an unfinished gathered frame (or of its header)."""
        return self._carry_length

    @property
    def midframe(self) -> bool:
        """Whether a streamed frame has begun and its TAIL has not come yet."""
        return self._stream_left > 0

    def rule(self, int type, int mode, long long ceiling, bint batch=False) -> None:
        """Sets how frames of one type byte come out; `ceiling` bounds the length field. Raises
        RuntimeError where the rules are shared."""
        if not 0 <= type < TYPES:
            raise ValueError("type must be an ASCII byte")
        if not MODE_GATHER <= mode <= MODE_STREAM:
            raise ValueError("unknown mode")
        if not 4 <= ceiling <= LENGTH_MAX:
            raise ValueError("ceiling must be from 4 to 0x3FFFFFFF")
        self._own(type).mode = <int8_t>mode
        self._own(type).batch = batch
        self._own(type).ceiling = <uint32_t>ceiling

    def forget(self, int type) -> None:
        """Makes a type unknown again."""
        if not 0 <= type < TYPES:
            raise ValueError("type must be an ASCII byte")
        self._own(type).mode = MODE_UNKNOWN

    def follow(self, FrameSplitter like not None) -> None:
        """From the next frame on the rules are those of `like`. They are shared then, and stay as
        they are."""
        self._table = like._table
        self._table.shared = True
        self._rules = self._table.of

    cdef Rule* _own(self, int type) except NULL:
        if self._table.shared:
            raise RuntimeError("rules that are shared stay as they are")
        return &self._table.of[type]

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
        """The next run as (type, kind, count, bytes); None when the chunk is used up."""
        cdef const uint8_t* begin
        cdef uint32_t length = 0
        cdef uint8_t type
        cdef size_t total
        cdef const Rule* rule
        cdef Reader reader
        cdef Py_ssize_t count = 1
        cdef Fault fault
        if self._fault != NONE:
            raise ValueError(FAULT_TEXTS[<int>self._fault])
        if self._at == self._end:
            self._let_go()
            return None
        if self._stream_left:
            return self._continue_stream()
        if self._carry_length:
            return self._continue_carry()
        begin = self._at
        type = begin[0]
        rule = &self._rules[type % TYPES]
        if type >= TYPES or rule.mode == MODE_UNKNOWN:
            self._fail(UNKNOWN_TYPE)
        reader.at = begin + 1
        reader.end = self._end
        if not take_u32(&reader, &length):
            self._take_into_carry(HEADER)
            self._let_go()
            return None
        fault = judge(rule, length)
        if fault != NONE:
            self._fail(fault)
        total = <size_t>length + 1
        if total > <size_t>(self._end - begin):
            if rule.mode == MODE_GATHER or (
                rule.mode == MODE_GATHER_OR_STREAM and length <= rule.ceiling
            ):
                self._carry_goal = total
                self._take_into_carry(total)
                self._let_go()
                return None
            self._stream_type = type
            self._stream_left = total - <size_t>(self._end - begin)
            self._at = self._end
            return (type, KIND_HEAD, 1, self._piece(begin))
        self._at = begin + total
        if rule.batch:
            count += self._extend_batch(type, rule)
        return (type, KIND_WHOLE, count, self._piece(begin))

    def take_rest(self) -> bytes:
        """Stops reading the chunk here: what is left of it, to be fed again."""
        cdef bytes rest = b""
        if self._held:
            rest = PyBytes_FromStringAndSize(<const char*>self._at, self._end - self._at)
            self._at = self._end
            self._let_go()
        return rest

    cdef Py_ssize_t _extend_batch(self, uint8_t type, const Rule* rule) noexcept nogil:
        """Steps over the frames that may join the run; whatever is odd is left for the next."""
        cdef Py_ssize_t count = 0
        cdef uint32_t length
        cdef Reader reader
        while self._at != self._end and self._at[0] == type:
            reader.at = self._at + 1
            reader.end = self._end
            if not take_u32(&reader, &length) or judge(rule, length) != NONE:
                break
            if <size_t>length + 1 > <size_t>(self._end - self._at):
                break
            self._at += <size_t>length + 1
            count += 1
        return count

    cdef object _continue_stream(self):
        cdef const uint8_t* begin = self._at
        cdef size_t there = <size_t>(self._end - begin)
        if there > self._stream_left:
            there = self._stream_left
        self._at = begin + there
        self._stream_left -= there
        return (
            self._stream_type,
            KIND_BODY if self._stream_left else KIND_TAIL,
            0,
            self._piece(begin),
        )

    cdef object _continue_carry(self):
        """Adds to a frame that a chunk before this one began."""
        cdef uint32_t length = 0
        cdef uint8_t type
        cdef Reader reader
        cdef const Rule* rule
        cdef Fault fault
        if not self._carry_goal:
            self._take_into_carry(HEADER)
            if self._carry_length < HEADER:
                self._let_go()
                return None
            type = self._carry[0]
            rule = &self._rules[type % TYPES]
            if rule.mode == MODE_UNKNOWN:  # the rule went away between the two chunks
                self._fail(UNKNOWN_TYPE)
            reader.at = self._carry + 1
            reader.end = self._carry + self._carry_length
            take_u32(&reader, &length)
            fault = judge(rule, length)
            if fault != NONE:
                self._fail(fault)
            if length > 4 and (
                rule.mode == MODE_STREAM
                or (rule.mode == MODE_GATHER_OR_STREAM and length > rule.ceiling)
            ):
                self._stream_type = type
                self._stream_left = <size_t>length - 4
                return (type, KIND_HEAD, 1, self._carried())
            self._carry_goal = <size_t>length + 1
        self._take_into_carry(self._carry_goal)
        if self._carry_length < self._carry_goal:
            self._let_go()
            return None
        return (self._carry[0], KIND_WHOLE, 1, self._carried())

    cdef int _take_into_carry(self, size_t goal) except -1:
        """Moves bytes of the chunk into the carry buffer until it holds `goal` or they end."""
        cdef size_t wanted = goal - self._carry_length
        cdef size_t there = <size_t>(self._end - self._at)
        cdef size_t room
        cdef void* grown
        if there > wanted:
            there = wanted
        if self._carry_length + there > self._carry_room:
            room = 2 * (self._carry_length + there)
            if room < 256:
                room = 256
            grown = realloc(self._carry, room)
            if grown == NULL:
                raise MemoryError
            self._carry = <uint8_t*>grown
            self._carry_room = room
        if there:
            memcpy(self._carry + self._carry_length, self._at, there)
        self._carry_length += there
        self._at += there
        return 0

    cdef bytes _carried(self):
        """Empties the carry buffer into a bytes object."""
        cdef bytes whole = PyBytes_FromStringAndSize(
            <char*>self._carry, <Py_ssize_t>self._carry_length
        )
        self._empty_carry()
        return whole

    cdef void _empty_carry(self) noexcept nogil:
        self._carry_length = 0
        self._carry_goal = 0
        if self._carry_room > CARRY_KEPT_MAX:
            free(self._carry)
            self._carry = NULL
            self._carry_room = 0

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
