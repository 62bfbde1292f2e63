"""Masks the cells of a run of PostgreSQL DataRow frames while it copies them.

Called by the session once per run of rows that a mask plan covers. Rule: a row that does not fit
the plan or itself to the byte yields no byte at all; nothing of its run leaves.

DataRow: 'D', uint32 length, uint16 columns, then per column int32 length (-1 is NULL) and bytes
(https://www.postgresql.org/docs/current/protocol-message-formats.html).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from _speedups.growing cimport Output, grow
from _speedups.maskops cimport FIXED, SHORT, MaskOp, Op, mask_value
from _speedups.reader cimport put_u32

cdef enum:
    ROW = 0x44  # 'D'
    COLUMNS_MAX = 65535
    LENGTH_MAX = 0x3FFFFFFF
    NULL_CELL = 0xFFFFFFFF
    HEADER = 5
    SPARE = 64  # copy_bytes writes whole blocks

cdef extern from *:
    """
    /* A few bytes, in blocks of 64 where both sides have room for the last block: several times
       faster than memcpy of a small size that differs from row to row. `end` is where what can be
       read ends; at `out` there is room for 63 bytes more than `size`. */
    static inline void copy_bytes(
        uint8_t* out, const uint8_t* from, size_t size, const uint8_t* end
    ) {
        size_t done;
        if (size > 256 || (size_t)(end - from) < size + 63) {
            memcpy(out, from, size);
            return;
        }
        memcpy(out, from, 64);
        for (done = 64; done < size; done += 64) {
            memcpy(out + done, from + done, 64);
        }
    }

    /* The same pointer, of which the compiler knows nothing: else it takes the end of the last cell
       for the beginning of the next row, whose header then waits for all cells of this one. */
    static inline const uint8_t* unrelated(const uint8_t* at) {
        __asm__("" : "+r"(at));
        return at;
    }
    """
    const uint8_t* unrelated(const uint8_t* at) noexcept nogil
    void copy_bytes(
        uint8_t* out, const uint8_t* begin, size_t size, const uint8_t* end
    ) noexcept nogil


cdef inline size_t u32_at(const uint8_t* at) noexcept nogil:
    return (
        (<size_t>at[0] << 24) | (<size_t>at[1] << 16) | (<size_t>at[2] << 8) | <size_t>at[3]
    )


cdef inline size_t u16_at(const uint8_t* at) noexcept nogil:
    return (<size_t>at[0] << 8) | <size_t>at[1]


cdef inline const uint8_t* over_cells(
    const uint8_t* at, const uint8_t* end, size_t count
) noexcept nogil:
    """Behind so many cells; NULL: they do not fit."""
    cdef size_t cell
    while count:
        if end - at < 4:
            return NULL
        cell = u32_at(at)
        at += 4
        if cell > <size_t>(end - at):
            if cell != NULL_CELL:
                return NULL
            cell = 0
        at += cell
        count -= 1
    return at


cdef inline uint8_t* put_masked(
    uint8_t* out, const Op* op, const uint8_t* value, size_t length
) noexcept nogil:
    """A cell with the masked value, and its length before it. -> its end."""
    cdef int64_t written
    if op.kind == FIXED:
        written = <int64_t>op.fixed_length
        if written <= SHORT:
            memcpy(out + 4, op.short_fixed, SHORT)
        else:
            memcpy(out + 4, op.fixed, op.fixed_length)
    else:
        written = mask_value(op, value, length, out + 4)
    put_u32(out, <uint32_t>(written & 0xFFFFFFFFU))  # -1, NULL, is all ones
    return out + 4 + (written if written > 0 else 0)


cdef tuple FAULT_TEXTS = (
    "",
    "not a data row",
    "row length out of step",
    "column count differs from the plan",
    "cell length out of step",
    "bytes after the last cell",
    "row too long",
    "out of memory",
)


@cython.final
cdef class RowMasker:
    """One mask op (see maskops) or None per column, for rows of exactly that many columns.

    `rows`, `cells_masked` and `bytes_out` are totals over all calls that succeeded; a NULL cell
    is not counted as masked.
    """

    def __cinit__(self, list ops not None):
        cdef Py_ssize_t index
        cdef MaskOp compiled
        if len(ops) > COLUMNS_MAX:
            raise ValueError("more columns than a row can have")
        self._ops = [None if op is None else MaskOp(op) for op in ops]
        self._column_count = <size_t>len(ops)
        self._masked = <const Op**>calloc(self._column_count + 1, sizeof(Op*))
        self._before = <size_t*>calloc(self._column_count + 1, sizeof(size_t))
        if self._masked == NULL or self._before == NULL:
            raise MemoryError
        for index in range(len(ops)):
            if self._ops[index] is not None:
                compiled = self._ops[index]
                self._masked[self._masked_count] = &compiled.op
                self._masked_count += 1
                self._growth += compiled.op.growth
            else:
                self._before[self._masked_count] += 1

    def __dealloc__(self):
        free(self._masked)
        free(self._before)

    def mask(self, run, Py_ssize_t count) -> bytes:
        """`count` whole DataRow frames, the same with cells masked; ValueError when malformed."""
        cdef Py_buffer buffer
        cdef Output output
        if count < 0:
            raise ValueError("row count must not be negative")
        PyObject_GetBuffer(run, &buffer, PyBUF_SIMPLE)
        output.bytes = NULL
        output.length = 0
        output.room = 0
        try:
            self.mask_into(<const uint8_t*>buffer.buf, <size_t>buffer.len, count, &output)
            return PyBytes_FromStringAndSize(<char*>output.bytes, <Py_ssize_t>output.length)
        finally:
            free(output.bytes)
            PyBuffer_Release(&buffer)

    cdef int mask_into(
        self, const uint8_t* run, size_t length, Py_ssize_t count, Output* output
    ) except -1:
        """The same, behind what is in `output`; nothing is added when it raises."""
        cdef unsigned long long cells = 0
        cdef Fault fault = self.masked(run, length, count, output, &cells)
        if fault == NO_MEMORY:
            raise MemoryError
        if fault != NONE:
            raise ValueError(FAULT_TEXTS[<int>fault])
        return 0

    cdef Fault masked(
        self,
        const uint8_t* run,
        size_t length,
        Py_ssize_t count,
        Output* output,
        unsigned long long* cells,
    ) noexcept nogil:
        """The same, with a fault in place of an error; `cells`: how many of them were masked."""
        cdef size_t before = output.length
        cdef const uint8_t* at = run
        cdef Fault fault = self._mask_rows(&at, run + length, &count, output, cells)
        if fault == NONE and at != run + length:
            fault = ROW_LENGTH
        if fault != NONE:
            output.length = before
            return fault
        self.rows += <unsigned long long>count
        self.cells_masked += cells[0]
        self.bytes_out += output.length - before
        return NONE

    cdef const uint8_t* mask_whole(
        self,
        const uint8_t* at,
        const uint8_t* end,
        size_t length_max,
        Output* output,
        Py_ssize_t* rows,
        unsigned long long* cells,
    ) noexcept nogil:
        """The rows of at most so many bytes that are whole, up to whatever else there is. -> where
        they end; NULL: one of them is malformed, or there is no memory, and nothing is added."""
        cdef size_t before = output.length
        rows[0] = -1
        if self._mask_rows(&at, end, rows, output, cells, length_max) != NONE:
            output.length = before
            return NULL
        self.rows += <unsigned long long>rows[0]
        self.cells_masked += cells[0]
        self.bytes_out += output.length - before
        return at

    cdef Fault _mask_rows(
        self,
        const uint8_t** begin,
        const uint8_t* end,
        Py_ssize_t* count,
        Output* output,
        unsigned long long* cells,
        size_t length_max=LENGTH_MAX,
    ) noexcept nogil:
        """Moves `begin` over `count` rows; with a negative one over as many as are whole, and sets
        it. Whatever lies between masked cells is copied in one piece. What does not change is held
        in locals: for the compiler, every byte that is written might change it."""
        cdef const uint8_t* row = begin[0]
        cdef const uint8_t* at
        cdef bint all_whole = count[0] < 0
        cdef Py_ssize_t done = 0
        cdef const size_t* before = self._before
        cdef const Op** masked = self._masked
        cdef size_t masked_count = self._masked_count
        cdef size_t column_count = self._column_count
        cdef size_t growth = self._growth + SPARE
        cdef size_t index
        cdef size_t length
        cdef size_t cell
        cdef size_t size
        cdef unsigned long long found = 0
        cdef const uint8_t* row_end
        cdef const uint8_t* next_row
        cdef const uint8_t* uncopied
        cdef uint8_t* out
        cdef uint8_t* start
        cdef uint8_t* room_end
        if not grow(output, <size_t>(end - row) + growth):
            return NO_MEMORY
        start = output.bytes + output.length
        room_end = output.bytes + output.room
        while done != count[0]:
            if end - row < HEADER or row[0] != ROW:
                if all_whole:
                    break
                return NOT_A_ROW if end == row or row[0] != ROW else ROW_LENGTH
            length = u32_at(row + 1)
            if length > length_max or length >= <size_t>(end - row):
                if all_whole:
                    break
                return ROW_LENGTH
            if length < 6:
                return ROW_LENGTH
            if u16_at(row + HEADER) != column_count:
                return COLUMN_COUNT
            if <size_t>(room_end - start) < length + 1 + growth:
                output.length = <size_t>(start - output.bytes)
                if not grow(output, length + 1 + growth):
                    return NO_MEMORY
                start = output.bytes + output.length
                room_end = output.bytes + output.room
            row_end = row + 1 + length
            next_row = unrelated(row_end)
            uncopied = row + HEADER
            at = uncopied + 2
            out = start + HEADER
            for index in range(masked_count):
                at = over_cells(at, row_end, before[index])
                if at == NULL or row_end - at < 4:
                    return CELL_LENGTH
                cell = u32_at(at)
                at += 4
                if cell > <size_t>(row_end - at):
                    if cell != NULL_CELL:
                        return CELL_LENGTH
                    continue
                copy_bytes(out, uncopied, <size_t>(at - uncopied) - 4, end)
                out += at - uncopied - 4
                out = put_masked(out, masked[index], at, cell)
                at += cell
                uncopied = at
                found += 1
            at = over_cells(at, row_end, before[masked_count])
            if at == NULL:
                return CELL_LENGTH
            if at != row_end:
                return TRAILING
            copy_bytes(out, uncopied, <size_t>(row_end - uncopied), end)
            out += row_end - uncopied
            size = <size_t>(out - start)
            if size - 1 > LENGTH_MAX:
                return TOO_LONG
            start[0] = ROW
            put_u32(start + 1, <uint32_t>(size - 1))
            start += size
            row = next_row
            done += 1
        output.length = <size_t>(start - output.bytes)
        begin[0] = row
        count[0] = done
        cells[0] += found
        return NONE
