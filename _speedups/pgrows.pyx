"""Masks the cells of a run of PostgreSQL DataRow frames while it copies them.

Called by the session once per run of rows that a mask plan covers. Rule: a row that does not fit
the plan or itself to the byte yields no byte at all; nothing of its run leaves.

DataRow: 'D', uint32 length, uint16 columns, then per column int32 length (-1 is NULL) and bytes
(https://www.postgresql.org/docs/current/protocol-message-formats.html).
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport SIZE_MAX, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from _speedups.growing cimport Output, grow
from _speedups.maskops cimport FIXED, NULLED, SHORT, MaskOp, Op, mask_value
from _speedups.reader cimport put_u32

cdef enum:
    ROW = 0x44  # 'D'
    COLUMNS_MAX = 65535
    LENGTH_MAX = 0x3FFFFFFF
    NULL_CELL = 0xFFFFFFFF
    HEADER = 5
    BLOCK = 64
    SPARE = 2 * BLOCK  # what is written, or read, beyond what is copied
    QUICK_BYTES_MAX = 4 * BLOCK  # of what quick_rows copies in one piece
    QUICK_RUN_MIN = 1024  # for less it is not asked

cdef extern from *:
    """
    /* A few bytes, in blocks of 64 where both sides have room for the last block: several times
       faster than memcpy of a small size that differs from row to row. `end` is where what can be
       read ends; at `out` there is room for 64 bytes more than `size`, which may be 0. */
    static inline void copy_bytes(
        uint8_t* out, const uint8_t* from, size_t size, const uint8_t* end
    ) {
        size_t done;
        if (size > 256 || (size_t)(end - from) < size + 64) {
            memcpy(out, from, size);
            return;
        }
        memcpy(out, from, 64);
        for (done = 64; done < size; done += 64) {
            memcpy(out + done, from + done, 64);
        }
    }

    /* Bytes of a cell of which this is the length word. NULL is the exception: as a jump, which is
       foretold, and not as a choice, for which each cell would wait for the one before it. */
    static inline size_t cell_size(uint32_t length) {
        if (__builtin_expect(length == 0xFFFFFFFFu, 0)) {
            length = 0;
            __asm__ volatile("" : "+r"(length));
        }
        return length;
    }

    /* Of a row's first eight bytes: its type and its number of columns. */
    #define OPENING 0xFF00000000FFFF00u

    /* The same pointer, of which the compiler knows nothing: else it takes the end of the last cell
       for the beginning of the next row, whose header then waits for all cells of this one. */
    static inline const uint8_t* unrelated(const uint8_t* at) {
        __asm__("" : "+r"(at));
        return at;
    }
    """
    uint64_t OPENING
    size_t cell_size(uint32_t length) noexcept nogil
    const uint8_t* unrelated(const uint8_t* at) noexcept nogil
    void copy_bytes(
        uint8_t* out, const uint8_t* begin, size_t size, const uint8_t* end
    ) noexcept nogil


cdef inline size_t u32_at(const uint8_t* at) noexcept nogil:
    return (
        (<size_t>at[0] << 24) | (<size_t>at[1] << 16) | (<size_t>at[2] << 8) | <size_t>at[3]
    )


cdef inline uint64_t opening_at(const uint8_t* at) noexcept nogil:
    return (<uint64_t>u32_at(at) << 32) | <uint64_t>u32_at(at + 4)


cdef inline size_t u16_at(const uint8_t* at) noexcept nogil:
    return (<size_t>at[0] << 8) | <size_t>at[1]


cdef inline const uint8_t* over_cells(
    const uint8_t* at, const uint8_t* last, size_t count
) noexcept nogil:
    """Behind so many cells, of which none begins behind `last`; NULL: one does. What is returned
    may lie anywhere: nothing behind it was read."""
    while count:
        if at > last:
            return NULL
        at = at + 4 + cell_size(<uint32_t>u32_at(at))
        count -= 1
    return at


cdef void quick_rows(Walk* walk, const Quick* quick) noexcept nogil:
    """Moves `walk` over rows in which only short cells without a choice are put in place of others,
    up to the first that takes more: of many bytes, not as it must be, or near an end of what can be
    read or written. It calls nothing, so what it works with stays in registers."""
    cdef const uint8_t* row = walk.row
    cdef const uint8_t* uncopied = walk.uncopied
    cdef const uint8_t* stop = walk.end - SPARE  # a row of these ends in front of it
    cdef const uint8_t* piece
    cdef const uint8_t* at
    cdef const uint8_t* row_end
    cdef const uint8_t* last
    cdef const uint8_t* next_row
    cdef uint8_t* out = walk.out
    cdef uint8_t* to
    cdef uint8_t* start
    cdef uint8_t* full = walk.room_end - quick.room
    cdef size_t left = walk.left
    cdef size_t after = quick.after
    cdef uint64_t expected = quick.opening
    cdef uint64_t opening
    cdef uint32_t length
    cdef size_t size
    cdef unsigned long long found = walk.found
    cdef unsigned long long found_here
    cdef const ShortCell* cell
    cdef const ShortCell* cells = quick.cells
    cdef const ShortCell* cells_end = cells + quick.count
    while left and row < stop and out <= full:
        opening = opening_at(row)
        row_end = row + 1 + <uint32_t>(opening >> 24)
        if (opening & OPENING) != expected or row_end >= stop:
            break
        if row_end - uncopied > QUICK_BYTES_MAX:
            break
        next_row = unrelated(row_end)
        last = row_end - 4
        at = row + HEADER + 2
        piece, to, found_here = uncopied, out, 0
        cell = cells
        while True:
            at = over_cells(at, last, cell.before)
            if at == NULL or at > last:
                at = NULL
                break
            length = <uint32_t>u32_at(at)
            if length != NULL_CELL:
                size = <size_t>(at - piece)
                memcpy(to, piece, BLOCK)
                if size > BLOCK:
                    memcpy(to + BLOCK, piece + BLOCK, BLOCK)
                    if size > 2 * BLOCK:
                        memcpy(to + 2 * BLOCK, piece + 2 * BLOCK, 2 * BLOCK)
                memcpy(to + size, cell.bytes, sizeof(cell.bytes))
                to += size + cell.size
                piece = at + 4 + length
                at = piece
                found_here += 1
            else:
                at += 4
            cell += 1
            if cell == cells_end:
                break
        if at == NULL or over_cells(at, last, after) != row_end:
            break
        start = out + (row - uncopied)
        if piece != uncopied:
            put_u32(start + 1, <uint32_t>((to - start) + (row_end - piece) - 1))
        uncopied, out = piece, to
        row = next_row
        found += found_here
        left -= 1
    walk.row, walk.uncopied, walk.out = row, uncopied, out
    walk.left, walk.found = left, found


cdef bint make_room(Walk* walk, Output* output, size_t more) noexcept nogil:
    """For so much behind what is in `output`, which is where the walk goes on."""
    if not grow(output, more):
        return False
    walk.out = output.bytes + output.length
    walk.room_end = output.bytes + output.room
    return True


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
        self._growth = SPARE
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
        if self._all_short():
            self._quickly = quick_rows

    cdef bint _all_short(self) except -1:
        """Whether all that is masked is a NULL or one short value: then `_quick` says how."""
        cdef size_t index
        cdef const Op* op
        cdef ShortCell* cell
        self._quick.cells = cell = <ShortCell*>calloc(self._masked_count + 1, sizeof(ShortCell))
        if cell == NULL:
            raise MemoryError
        for index in range(self._masked_count):
            op = self._masked[index]
            if op.kind != NULLED and (op.kind != FIXED or op.fixed_length > SHORT):
                return False
            cell.before = self._before[index]
            cell.size = <size_t>(put_masked(cell.bytes, op, NULL, 0) - cell.bytes)
            cell += 1
        self._quick.count = self._masked_count
        self._quick.after = self._before[self._masked_count]
        self._quick.opening = (<uint64_t>ROW << 56) | (<uint64_t>self._column_count << 8)
        self._quick.room = QUICK_BYTES_MAX + self._masked_count * sizeof(cell.bytes) + SPARE
        return self._masked_count != 0

    def __dealloc__(self):
        free(self._masked)
        free(self._before)
        free(self._quick.cells)

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
        it. Whatever lies between masked cells, of one row or of several, is copied in one piece; a
        row that got another size is told so in its copy."""
        cdef bint all_whole = count[0] < 0
        cdef size_t wanted = SIZE_MAX if all_whole else <size_t>count[0]
        cdef bint quick = (
            self._quickly != NULL
            and end - begin[0] >= QUICK_RUN_MIN
            and length_max >= QUICK_BYTES_MAX
        )
        cdef Fault fault = NONE
        cdef size_t rest
        cdef Walk walk
        walk.row = walk.uncopied = begin[0]
        walk.end = end
        walk.left = wanted
        walk.found = 0
        if not make_room(&walk, output, <size_t>(end - walk.row) + self._growth):
            return NO_MEMORY
        while walk.left and fault == NONE:
            if quick:
                self._quickly(&walk, &self._quick)
                rest = walk.left - 1  # one row of those that take more
            else:
                rest = 0
            if walk.left:
                fault = self._careful(&walk, output, length_max, rest)
        if fault != NONE and not (all_whole and (fault == NOT_WHOLE or fault == NOT_A_ROW)):
            return ROW_LENGTH if fault == NOT_WHOLE else fault
        rest = <size_t>(walk.row - walk.uncopied)
        copy_bytes(walk.out, walk.uncopied, rest, end)
        output.length = <size_t>(walk.out - output.bytes) + rest
        begin[0] = walk.row
        count[0] = <Py_ssize_t>(wanted - walk.left)
        cells[0] += walk.found
        return NONE

    cdef Fault _careful(
        self, Walk* walk, Output* output, size_t length_max, size_t rest
    ) noexcept nogil:
        """Moves it over rows of any kind until only `rest` are left. NOT_WHOLE, NOT_A_ROW: at the
        next one it ends. What does not change is held in locals: for the compiler, every byte that
        is written might change it."""
        cdef const uint8_t* row = walk.row
        cdef const uint8_t* uncopied = walk.uncopied
        cdef const uint8_t* end = walk.end
        cdef const uint8_t* at
        cdef const uint8_t* row_end
        cdef const uint8_t* next_row
        cdef const uint8_t* last
        cdef const size_t* before = self._before
        cdef const Op** masked = self._masked
        cdef size_t masked_count = self._masked_count
        cdef size_t column_count = self._column_count
        cdef size_t growth = self._growth
        cdef size_t left = walk.left
        cdef size_t index
        cdef size_t length
        cdef size_t cell
        cdef size_t size
        cdef unsigned long long found = 0
        cdef Fault fault = NONE
        cdef uint8_t* out = walk.out
        cdef uint8_t* start
        while left != rest:
            if end - row < HEADER or row[0] != ROW:
                fault = NOT_A_ROW if end == row or row[0] != ROW else NOT_WHOLE
                break
            length = u32_at(row + 1)
            if length > length_max or length >= <size_t>(end - row):
                fault = NOT_WHOLE
                break
            if length < 6:
                return ROW_LENGTH
            if u16_at(row + HEADER) != column_count:
                return COLUMN_COUNT
            row_end = row + 1 + length
            next_row = unrelated(row_end)
            if <size_t>(walk.room_end - out) < <size_t>(row_end - uncopied) + growth:
                walk.out = out
                output.length = <size_t>(out - output.bytes)
                if not make_room(walk, output, <size_t>(row_end - uncopied) + growth):
                    return NO_MEMORY
                out = walk.out
            start = out + (row - uncopied)  # where it begins in the output, once it is copied
            last = row_end - 4
            at = row + HEADER + 2
            for index in range(masked_count):
                at = over_cells(at, last, before[index])
                if at == NULL or at > last:
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
            at = over_cells(at, last, before[masked_count])
            if at != row_end:
                return TRAILING if at != NULL and at < row_end else CELL_LENGTH
            if uncopied > row:
                size = <size_t>(out - start) + <size_t>(row_end - uncopied)
                if size - 1 > LENGTH_MAX:
                    return TOO_LONG
                put_u32(start + 1, <uint32_t>(size - 1))
            row = next_row
            left -= 1
        walk.row, walk.uncopied, walk.out, walk.left = row, uncopied, out, left
        walk.found += found
        return fault
