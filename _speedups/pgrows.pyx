"""Masks the cells of a run of PostgreSQL DataRow frames while it copies them.

Called by the session once per run of rows that a mask plan covers. Rule: a row that does not fit
the plan or itself to the byte yields no byte at all; nothing of its run leaves.

DataRow: 'D', uint32 length, uint16 columns, then per column int32 length (-1 is NULL) and bytes
(https://www.postgresql.org/docs/current/protocol-message-formats.html).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from _speedups.growing cimport Output, grow
from _speedups.maskops cimport MaskOp, Op, mask_value
from _speedups.reader cimport Reader, left, put_u32, take_u8, take_u16, take_u32

cdef enum:
    ROW = 0x44  # 'D'
    COLUMNS_MAX = 65535
    LENGTH_MAX = 0x3FFFFFFF
    NULL_CELL = 0xFFFFFFFF
    HEADER = 5

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
        self._columns = <const Op**>calloc(self._column_count + 1, sizeof(Op*))
        if self._columns == NULL:
            raise MemoryError
        for index in range(len(ops)):
            if self._ops[index] is not None:
                compiled = self._ops[index]
                self._columns[index] = &compiled.op
                self._growth += compiled.op.growth

    def __dealloc__(self):
        free(self._columns)

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
        cdef size_t before = output.length
        cdef Fault fault = self._mask_rows(run, length, count, output, &cells)
        if fault != NONE:
            output.length = before
        if fault == NO_MEMORY:
            raise MemoryError
        if fault != NONE:
            raise ValueError(FAULT_TEXTS[<int>fault])
        self.rows += <unsigned long long>count
        self.cells_masked += cells
        self.bytes_out += output.length - before
        return 0

    cdef Fault _mask_rows(
        self,
        const uint8_t* run,
        size_t length,
        Py_ssize_t count,
        Output* output,
        unsigned long long* cells,
    ) noexcept nogil:
        cdef Reader reader
        cdef Py_ssize_t row
        cdef Fault fault
        reader.at = run
        reader.end = run + length
        if not grow(output, length + self._growth):
            return NO_MEMORY
        for row in range(count):
            fault = self._mask_row(&reader, output, cells)
            if fault != NONE:
                return fault
        return NONE if left(&reader) == 0 else ROW_LENGTH

    cdef Fault _mask_row(
        self, Reader* run, Output* output, unsigned long long* cells
    ) noexcept nogil:
        """One row; whatever lies between masked cells is copied in one piece."""
        cdef Reader row
        cdef uint8_t type = 0
        cdef uint32_t length = 0
        cdef uint16_t columns = 0
        cdef uint32_t cell = 0
        cdef size_t column
        cdef size_t size
        cdef const uint8_t* uncopied
        cdef uint8_t* out
        cdef uint8_t* start
        cdef const Op* op
        cdef int64_t written
        if not take_u8(run, &type) or type != ROW:
            return NOT_A_ROW
        if not take_u32(run, &length) or length < 6 or length > LENGTH_MAX:
            return ROW_LENGTH
        if <size_t>length - 4 > left(run):
            return ROW_LENGTH
        row.at = run.at
        row.end = run.at + (length - 4)
        run.at = row.end
        uncopied = row.at
        if not take_u16(&row, &columns) or columns != self._column_count:
            return COLUMN_COUNT
        if not grow(output, <size_t>length + 1 + self._growth):
            return NO_MEMORY
        start = output.bytes + output.length
        out = start + HEADER
        for column in range(self._column_count):
            if not take_u32(&row, &cell):
                return CELL_LENGTH
            if cell == NULL_CELL:
                continue
            if <size_t>cell > left(&row):
                return CELL_LENGTH
            op = self._columns[column]
            if op != NULL:
                size = <size_t>(row.at - uncopied) - 4
                memcpy(out, uncopied, size)
                out += size
                written = mask_value(op, row.at, cell, out + 4)
                put_u32(out, <uint32_t>(written & 0xFFFFFFFFU))  # -1, NULL, is all ones
                out += 4
                if written > 0:
                    out += written
                uncopied = row.at + cell
                cells[0] += 1
            row.at += cell
        if row.at != row.end:
            return TRAILING
        size = <size_t>(row.end - uncopied)
        memcpy(out, uncopied, size)
        out += size
        size = <size_t>(out - start)
        if size - 1 > LENGTH_MAX:
            return TOO_LONG
        start[0] = ROW
        put_u32(start + 1, <uint32_t>(size - 1))
        output.length += size
        return NONE

