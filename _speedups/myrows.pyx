"""Masks the cells of MySQL result rows while it copies them.

Called by the MySQL codec once per run of rows that a mask plan covers. Rule: a row that does not
fit the plan or itself to the byte yields no byte at all; nothing of its run leaves.

A row of text: per column a length-encoded string, or 0xFB for NULL ("Text Resultset Row"). A row in
binary form: 0x00, a bitmap of NULLs that begins at bit 2, then the values that are not NULL, each
as its type has it ("Binary Protocol Resultset Row", "Binary Protocol Value").
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MAX, int64_t, uint8_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from _speedups.growing cimport Output, grow
from _speedups.maskops cimport MaskOp, Op, mask_value
from _speedups.mybytes cimport (
    NULL_LENGTH,
    PACKET_HEADER,
    PAYLOAD_MAX,
    put_header,
    put_length,
    take_length,
    u24,
)
from _speedups.reader cimport Reader, left

cdef enum:
    COLUMNS_MAX = 65535
    LENGTH_ROOM = 9  # of a length-encoded integer
    BITMAP_OFFSET = 2
    DATE_LENGTH = 4
    NO_VALUE = -1

cdef enum Fault:
    NONE = 0
    NOT_A_ROW = 1
    ROW_LENGTH = 2
    CELL_LENGTH = 3
    TRAILING = 4
    TOO_LONG = 5
    NO_MEMORY = 6

cdef tuple FAULT_TEXTS = (
    "",
    "not a row",
    "row length out of step",
    "cell length out of step",
    "bytes after the last cell",
    "row too long",
    "out of memory",
)

cdef dict SHAPES = {
    0x01: FIXED_1,
    0x02: FIXED_2,
    0x03: FIXED_4,
    0x04: FIXED_4,
    0x05: FIXED_8,
    0x06: NOTHING,
    0x07: TEMPORAL,
    0x08: FIXED_8,
    0x09: FIXED_4,
    0x0A: TEMPORAL,
    0x0B: TEMPORAL,
    0x0C: TEMPORAL,
    0x0D: FIXED_2,
    **dict.fromkeys(
        (0x00, 0x0F, 0x10, 0xF5, 0xF6, 0xF7, 0xF8, 0xF9, 0xFA, 0xFB, 0xFC, 0xFD, 0xFE, 0xFF),
        LENGTH_ENCODED,
    ),
}
"""Number of a type ("enum_field_types") -> how its values stand in a row in binary form."""


@cython.final
cdef class RowMasker:
    """One mask op (see maskops) or None per column, for rows of exactly that many columns.

    `columns`: (number of its type, unsigned, decimals) of each; `binary`: the form of the rows.
    Ops on numbers and dates in binary form are those of PostgreSQL's binary form, whatever their
    width here. ValueError for a type that is not known. `rows`, `cells_masked` and `bytes_out` are
    totals over all calls that succeeded; a NULL cell is not counted as masked.
    """

    def __cinit__(self, list ops not None, list columns not None, bint binary):
        cdef Py_ssize_t index
        cdef MaskOp compiled
        if len(ops) > COLUMNS_MAX or len(columns) != len(ops):
            raise ValueError("as many columns as ops, and no more than a row can have")
        self._ops = [None if op is None else MaskOp(op) for op in ops]
        self._count = <size_t>len(ops)
        self._binary = binary
        self._cells = <Cell*>calloc(self._count + 1, sizeof(Cell))
        if self._cells == NULL:
            raise MemoryError
        for index in range(len(ops)):
            kind, unsigned, decimals = columns[index]
            if kind not in SHAPES:
                raise ValueError("unknown type of a column")
            self._cells[index].shape = SHAPES[kind] if binary else LENGTH_ENCODED
            self._cells[index].unsigned_ = unsigned
            if self._ops[index] is None:
                continue
            compiled = self._ops[index]
            self._cells[index].op = &compiled.op
            self._growth += compiled.op.growth + LENGTH_ROOM
            self._settle(&self._cells[index], ops[index], decimals)

    cdef int _settle(self, Cell* cell, tuple op, int decimals) except -1:
        """How the op of one column is carried out."""
        cdef str name = op[0]
        cell.work = MASK
        if not self._binary:
            if name == "timestamp_text" and 0 < decimals <= 6:
                cell.decimals = decimals
            return 0
        if name == "int_binary":
            cell.work = CUT_INTEGER
            cell.step = <uint64_t>op[1]
        elif name in ("float4_binary", "float8_binary"):
            cell.work = CUT_FLOAT
        elif name in ("date_binary", "timestamp_binary"):
            cell.work = CUT_DATE
            cell.unit = {"year": 1, "month": 2, "day": 3}[op[1]]
        return 0

    def __dealloc__(self):
        free(self._cells)

    def mask(self, run, Py_ssize_t count, int sequence) -> bytes:
        """`count` whole rows of one packet each, the same with cells masked and with sequence
        numbers from `sequence` on; ValueError when malformed.
        """
        return self._masked(run, count, <uint8_t>(sequence & 0xFF), True)

    def mask_giant(self, row) -> bytes:
        """One whole row without headers, masked; ValueError when malformed."""
        return self._masked(row, 1, 0, False)

    cdef bytes _masked(self, object run, Py_ssize_t count, uint8_t sequence, bint framed):
        cdef Py_buffer buffer
        cdef Output output
        if count < 0:
            raise ValueError("row count must not be negative")
        PyObject_GetBuffer(run, &buffer, PyBUF_SIMPLE)
        memset(&output, 0, sizeof(Output))
        try:
            self.mask_into(
                <const uint8_t*>buffer.buf, <size_t>buffer.len, count, sequence, framed, &output
            )
            return PyBytes_FromStringAndSize(<char*>output.bytes, <Py_ssize_t>output.length)
        finally:
            free(output.bytes)
            PyBuffer_Release(&buffer)

    cdef int mask_into(
        self,
        const uint8_t* run,
        size_t length,
        Py_ssize_t count,
        uint8_t sequence,
        bint framed,
        Output* output,
    ) except -1:
        """The same behind what `output` has; ValueError leaves it as it was."""
        cdef unsigned long long cells = 0
        cdef size_t before = output.length
        cdef int fault = self._mask_rows(run, length, count, sequence, framed, output, &cells)
        if fault != NONE:
            output.length = before
            if fault == NO_MEMORY:
                raise MemoryError
            raise ValueError(FAULT_TEXTS[fault])
        self.rows += <unsigned long long>count
        self.cells_masked += cells
        self.bytes_out += output.length - before
        return 0

    cdef int _mask_rows(
        self,
        const uint8_t* run,
        size_t length,
        Py_ssize_t count,
        uint8_t sequence,
        bint framed,
        Output* output,
        unsigned long long* cells,
    ) noexcept nogil:
        cdef Reader row
        cdef const uint8_t* at = run
        cdef const uint8_t* end = run + length
        cdef size_t begun
        cdef size_t size
        cdef Py_ssize_t index
        cdef int fault
        if not grow(output, length + self._growth):
            return NO_MEMORY
        for index in range(count):
            row.at = at
            row.end = end
            if framed:
                if <size_t>(end - at) < PACKET_HEADER:
                    return ROW_LENGTH
                size = u24(at)
                if size == PAYLOAD_MAX or size + PACKET_HEADER > <size_t>(end - at):
                    return ROW_LENGTH
                row.at = at + PACKET_HEADER
                row.end = row.at + size
            at = row.end
            # Every cell may need its length written anew, and longer.
            if not grow(output, left(&row) + self._growth + PACKET_HEADER + LENGTH_ROOM):
                return NO_MEMORY
            begun = output.length
            if framed:
                output.length += PACKET_HEADER
            if self._binary:
                fault = self._mask_binary(&row, output, cells)
            else:
                fault = self._mask_text(&row, output, cells)
            if fault != NONE:
                return fault
            if framed:
                size = output.length - begun - PACKET_HEADER
                if size >= PAYLOAD_MAX:
                    return TOO_LONG
                put_header(output.bytes + begun, size, sequence)
                sequence = <uint8_t>(sequence + 1)
        return NONE if at == end else ROW_LENGTH

    cdef int _mask_text(
        self, Reader* row, Output* output, unsigned long long* cells
    ) noexcept nogil:
        """Whatever lies between masked cells is copied in one piece."""
        cdef const uint8_t* uncopied = row.at
        cdef const uint8_t* start
        cdef uint8_t* out = output.bytes + output.length
        cdef uint64_t length = 0
        cdef size_t column
        cdef Cell* cell
        for column in range(self._count):
            start = row.at
            if left(row) and row.at[0] == NULL_LENGTH:
                row.at += 1
                continue
            if not take_length(row, &length) or length > left(row):
                return CELL_LENGTH
            cell = &self._cells[column]
            if cell.work != PASS:
                memcpy(out, uncopied, <size_t>(start - uncopied))
                out += start - uncopied
                out += put_masked(cell, row.at, <size_t>length, out)
                uncopied = row.at + length
                cells[0] += 1
            row.at += length
        if row.at != row.end:
            return TRAILING
        memcpy(out, uncopied, <size_t>(row.end - uncopied))
        out += row.end - uncopied
        output.length = <size_t>(out - output.bytes)
        return NONE

    cdef int _mask_binary(
        self, Reader* row, Output* output, unsigned long long* cells
    ) noexcept nogil:
        cdef uint8_t* out = output.bytes + output.length
        cdef uint8_t* bitmap
        cdef const uint8_t* nulls
        cdef const uint8_t* uncopied
        cdef const uint8_t* start
        cdef size_t bytes = (self._count + 7 + BITMAP_OFFSET) // 8
        cdef size_t column
        cdef size_t bit
        cdef uint64_t length = 0
        cdef int64_t written
        cdef Cell* cell
        if left(row) < 1 + bytes or row.at[0] != 0:
            return NOT_A_ROW
        nulls = row.at + 1
        memcpy(out, row.at, 1 + bytes)
        bitmap = out + 1
        out += 1 + bytes
        row.at += 1 + bytes
        uncopied = row.at
        for column in range(self._count):
            bit = column + BITMAP_OFFSET
            if nulls[bit // 8] >> (bit % 8) & 1:
                continue
            cell = &self._cells[column]
            start = row.at
            if not take_size(row, cell.shape, &length) or length > left(row):
                return CELL_LENGTH
            if cell.work != PASS:
                memcpy(out, uncopied, <size_t>(start - uncopied))
                out += start - uncopied
                written = put_binary(cell, row.at, <size_t>length, out)
                if written == NO_VALUE:
                    bitmap[bit // 8] |= <uint8_t>(1 << (bit % 8))
                else:
                    out += written
                uncopied = row.at + length
                cells[0] += 1
            row.at += length
        if row.at != row.end:
            return TRAILING
        memcpy(out, uncopied, <size_t>(row.end - uncopied))
        out += row.end - uncopied
        output.length = <size_t>(out - output.bytes)
        return NONE


cdef inline bint take_size(Reader* row, Shape shape, uint64_t* length) noexcept nogil:
    """How many bytes the value that comes next has; its own length bytes are taken."""
    if shape == LENGTH_ENCODED:
        return take_length(row, length)
    if shape == TEMPORAL:
        if left(row) < 1:
            return 0
        length[0] = row.at[0]
        row.at += 1
        return 1
    if shape == NOTHING:
        return 0
    length[0] = <uint64_t>1 << (<int>shape - <int>FIXED_1)
    return 1


cdef size_t put_masked(
    const Cell* cell, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """A masked cell of a row of text, with its length; how many bytes. The room is there: the
    value's own length, its op's growth, and LENGTH_ROOM."""
    cdef int64_t written = mask_value(cell.op, value, length, out + LENGTH_ROOM)
    cdef size_t head
    if written == NO_VALUE:
        out[0] = NULL_LENGTH
        return 1
    if cell.decimals and written == 19:
        out[LENGTH_ROOM + 19] = 46
        memset(out + LENGTH_ROOM + 20, 48, <size_t>cell.decimals)
        written += 1 + cell.decimals
    head = put_length(out, <uint64_t>written)
    if written:
        shift(out + head, out + LENGTH_ROOM, <size_t>written)
    return head + <size_t>written


cdef inline void shift(uint8_t* to, const uint8_t* at, size_t length) noexcept nogil:
    """Moves bytes to before where they are."""
    cdef size_t index
    for index in range(length):
        to[index] = at[index]


cdef int64_t put_binary(
    const Cell* cell, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """A masked value in binary form, with its length where it has one; how many bytes, or -1 for
    NULL."""
    cdef int64_t written
    if cell.work == CUT_INTEGER:
        return cut_integer(cell, value, length, out)
    if cell.work == CUT_FLOAT:
        return cut_float(cell, value, length, out)
    if cell.work == CUT_DATE:
        return cut_date(cell, value, length, out)
    if cell.shape == LENGTH_ENCODED:
        written = <int64_t>put_masked(cell, value, length, out)
        return NO_VALUE if out[0] == NULL_LENGTH else written
    if cell.shape == TEMPORAL:
        written = mask_value(cell.op, value, length, out + 1)
        if written < 0 or not (written == 0 or written == 4 or 7 <= written <= 12):
            return NO_VALUE
        out[0] = <uint8_t>written
        return written + 1
    written = mask_value(cell.op, value, length, out)
    return written if written == <int64_t>length else NO_VALUE


cdef int64_t cut_integer(
    const Cell* cell, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """Toward zero to a multiple of the step, as `int_text` does it."""
    cdef uint64_t number = 0
    cdef uint64_t sign
    cdef size_t index
    cdef bint negative
    if cell.shape < FIXED_1:
        return NO_VALUE
    for index in range(length):
        number |= <uint64_t>value[index] << (8 * index)
    sign = <uint64_t>1 << (8 * length - 1)
    negative = not cell.unsigned_ and (number & sign) != 0
    if negative:
        if length < 8:
            number |= ~((sign << 1) - 1)
        number = 0 - number
    elif number > <uint64_t>INT64_MAX:
        return NO_VALUE
    number -= number % cell.step
    if negative:
        number = 0 - number
    for index in range(length):
        out[index] = <uint8_t>((number >> (8 * index)) & 0xFF)
    return <int64_t>length


cdef int64_t cut_float(
    const Cell* cell, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef uint8_t turned[8]
    cdef uint8_t result[64]
    cdef size_t index
    if cell.shape != FIXED_4 and cell.shape != FIXED_8:
        return NO_VALUE
    for index in range(length):
        turned[index] = value[length - 1 - index]
    if mask_value(cell.op, turned, length, result) != <int64_t>length:
        return NO_VALUE
    for index in range(length):
        out[index] = result[length - 1 - index]
    return <int64_t>length


cdef int64_t cut_date(
    const Cell* cell, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """DATE, DATETIME and TIMESTAMP: year (2 bytes), month, day, and perhaps a time of day. A zero
    in any of the three is NULL, as in text."""
    if cell.shape != TEMPORAL or (length != 4 and length != 7 and length != 11):
        return NO_VALUE
    if (value[0] | value[1]) == 0 or not 1 <= value[2] <= 12 or not 1 <= value[3] <= 31:
        return NO_VALUE
    out[0] = DATE_LENGTH
    out[1] = value[0]
    out[2] = value[1]
    out[3] = value[2] if cell.unit != 1 else 1
    out[4] = value[3] if cell.unit == 3 else 1
    return DATE_LENGTH + 1
