"""Rows of a long result on their way to the client, without a step of the machine for each chunk.

Driven by the database's end of a session (`chunks.Chunks`), opened by `session/machine` once the
machine has described the result, locked it and passed its first rows; closed by whatever else it is
asked. Rules: only DataRows, counted as the machine counts them; at the first frame that is anything
else, or not as it must be, the machine goes on, which finds the state of the stream in its own
`FrameSplitter` as if it had cut all of it. What must be masked is masked whole row by whole row;
what flows in pieces goes on in pieces.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport free

from _speedups.growing cimport shrink
from _speedups.hitcycle cimport Pace
from _speedups.pgframe cimport (
    HEADER,
    MODE_GATHER,
    MODE_STREAM,
    FrameSplitter,
    Rule,
    judge,
)
from _speedups.pgrows cimport RowMasker
from _speedups.reader cimport Reader, take_u32

cdef enum:
    ROW = 0x44  # 'D'
    ROOM_KEPT = 1 << 20


@cython.final
cdef class RowFlow:
    """One session's. `state`: what counts rows, bytes and cells beside the execution (`rows`,
    `bytes_out`, `cells_masked`, `sensitive_unmasked`, as `session/state` has them).
    """

    def __init__(self, FrameSplitter frames not None, Pace pace not None, state):
        self._frames, self._pace, self._state = frames, pace, state

    def __dealloc__(self):
        free(self._out.bytes)

    def begin(
        self, execution, RowMasker masker, unsigned long long sensitive, bint sampled
    ) -> None:
        """The rows that come now are of this execution, under its lock: `masker` (None = they pass),
        and how many `sensitive` columns are not masked. `sampled`: some are the machine's now and
        then, to be looked at."""
        self._execution, self._masker, self._sensitive = execution, masker, sensitive
        self._sampled = sampled
        self.open = True

    def end(self) -> None:
        """Every chunk is the machine's."""
        self.open = False
        self._execution = self._masker = None
        shrink(&self._out, 0)

    def passed(self, chunk, double now) -> tuple:
        """-> (what the client gets, how many bytes of the chunk are done with). For tests."""
        cdef Py_buffer buffer
        cdef Py_ssize_t done
        PyObject_GetBuffer(chunk, &buffer, PyBUF_SIMPLE)
        try:
            done = self.pass_on(<const uint8_t*>buffer.buf, buffer.len, now)
            gets = PyBytes_FromStringAndSize(<const char*>self.gets, <Py_ssize_t>self.gets_bytes)
            return gets, done
        finally:
            PyBuffer_Release(&buffer)

    cdef Py_ssize_t pass_on(self, const uint8_t* at, Py_ssize_t size, double now) except -1:
        """Sets what the client `gets` of a chunk. -> how many bytes of it are done with; the rest is
        the machine's."""
        cdef const uint8_t* stop
        self.gets_bytes = 0
        self._rows = self._cells = 0
        if self._sampled and self._pace.due <= now:
            return 0
        if self._frames._fault != 0 or self._frames._held:
            return 0
        if self._masker is None:
            stop = self._plain(at, at + size)
            self.gets, self.gets_bytes = at, <size_t>(stop - at)
        else:
            self._out.length = 0
            stop = self._whole(at, at + size)
            self.gets, self.gets_bytes = self._out.bytes, self._out.length
        if stop != at:
            self._count(self.gets_bytes)
        return stop - at

    cdef int _count(self, size_t passed) except -1:
        execution, state = self._execution, self._state
        execution.rows += self._rows
        state.rows += self._rows
        execution.bytes_out += passed
        state.bytes_out += passed
        if self._cells:
            execution.cells_masked += self._cells
            state.cells_masked += self._cells
        if self._sensitive:
            execution.sensitive_unmasked += self._rows * self._sensitive
            state.sensitive_unmasked += self._rows * self._sensitive
        return 0

    cdef const uint8_t* _plain(self, const uint8_t* at, const uint8_t* end) noexcept nogil:
        """Where the rows end that pass as they are, the last of them perhaps not whole; a header
        that is not is the machine's."""
        cdef const Rule* rule = &self._frames._rules[ROW]
        cdef uint32_t length = 0
        cdef unsigned long long rows = 0
        cdef Reader reader
        if rule.mode != MODE_STREAM or self._frames._carry_length:
            return at
        if self._frames._stream_left:
            if self._frames._stream_type != ROW:
                return at
            if self._frames._stream_left > <size_t>(end - at):
                self._frames._stream_left -= <size_t>(end - at)
                return end
            at += self._frames._stream_left
            self._frames._stream_left = 0
        while at != end and at[0] == ROW:
            reader.at = at + 1
            reader.end = end
            if not take_u32(&reader, &length) or judge(rule, length) != 0:
                break
            rows += 1
            if <size_t>length + 1 > <size_t>(end - at):
                self._frames._stream_left = <size_t>length + 1 - <size_t>(end - at)
                self._frames._stream_type = ROW
                at = end
                break
            at += <size_t>length + 1
        self._rows = rows
        return at

    cdef const uint8_t* _whole(self, const uint8_t* at, const uint8_t* end) except NULL:
        """Masks whole rows; keeps the beginning of one that is not. -> where that ended."""
        cdef const Rule* rule = &self._frames._rules[ROW]
        cdef uint32_t length = 0
        cdef unsigned long long cells = 0
        cdef Py_ssize_t rows = 0
        cdef const uint8_t* stop
        cdef Reader reader
        if rule.mode != MODE_GATHER or self._frames._stream_left:
            return at
        if self._frames._carry_length:
            at = self._carried(at, end)
            if self._frames._carry_length:  # still not whole, or not as it must be
                return at
        stop = self._masker.mask_whole(at, end, rule.ceiling, &self._out, &rows, &cells)
        if stop == NULL:
            return at
        self._rows += <unsigned long long>rows
        self._cells += cells
        if stop == end or stop[0] != ROW:
            return stop
        reader.at = stop + 1
        reader.end = end
        if not take_u32(&reader, &length):
            return self._into_carry(stop, end, HEADER)
        if judge(rule, length) != 0:
            return stop
        self._frames._carry_goal = <size_t>length + 1
        return self._into_carry(stop, end, <size_t>length + 1)

    cdef const uint8_t* _carried(self, const uint8_t* at, const uint8_t* end) except NULL:
        """Adds to a row that a chunk before this one began, and masks it when it is whole; then
        nothing is carried any more."""
        cdef FrameSplitter frames = self._frames
        cdef uint32_t length = 0
        cdef Reader reader
        if frames._carry[0] != ROW:
            return at
        if not frames._carry_goal:
            at = self._into_carry(at, end, HEADER)
            if frames._carry_length < HEADER:
                return at
            reader.at = frames._carry + 1
            reader.end = frames._carry + frames._carry_length
            take_u32(&reader, &length)
            if judge(&frames._rules[ROW], length) != 0:
                return at
            frames._carry_goal = <size_t>length + 1
        at = self._into_carry(at, end, frames._carry_goal)
        if frames._carry_length == frames._carry_goal:
            if self._mask(frames._carry, frames._carry_length, 1):
                frames._empty_carry()
        return at

    cdef const uint8_t* _into_carry(
        self, const uint8_t* at, const uint8_t* end, size_t goal
    ) except NULL:
        """-> where what is not carried begins."""
        cdef FrameSplitter frames = self._frames
        frames._at, frames._end = at, end
        try:
            frames._take_into_carry(goal)
            return frames._at
        finally:
            frames._at = frames._end = NULL

    cdef bint _mask(self, const uint8_t* run, size_t size, Py_ssize_t count) noexcept nogil:
        """False: a row is not as it must be, and none of these is passed; the machine says why."""
        cdef unsigned long long cells = 0
        if self._masker.masked(run, size, count, &self._out, &cells) != 0:
            return False
        self._rows += <unsigned long long>count
        self._cells += cells
        return True
