# What the hit path needs of `pgrows.pyx`.

from libc.stdint cimport uint8_t, uint64_t

from _speedups.growing cimport Output
from _speedups.maskops cimport SHORT, Op

cdef enum Fault:
    NONE = 0
    NOT_A_ROW = 1
    ROW_LENGTH = 2
    COLUMN_COUNT = 3
    CELL_LENGTH = 4
    TRAILING = 5
    TOO_LONG = 6
    NO_MEMORY = 7
    NOT_WHOLE = 8


# Where the masking of a run has come to.
cdef struct Walk:
    const uint8_t* row  # the next one
    const uint8_t* uncopied  # what is not in the output, up to there
    const uint8_t* end
    uint8_t* out
    uint8_t* room_end
    size_t left  # rows that are wanted
    unsigned long long found  # cells that were masked


# A cell that is put in place of another, whatever that is.
cdef struct ShortCell:
    size_t before  # columns that pass in front of it, behind the one before
    size_t size  # of `bytes`
    uint8_t bytes[4 + SHORT]  # its length word and its value


# What is masked of a row in which all that is masked is short cells.
cdef struct Quick:
    ShortCell* cells
    size_t count
    size_t after  # columns that pass behind the last one
    uint64_t opening  # what every row begins with, but for its length
    size_t room  # that there must be in the output for a row


cdef class RowMasker:
    cdef list _ops
    cdef const Op** _masked
    cdef size_t _masked_count
    cdef size_t* _before  # columns that pass, before each masked one and behind the last
    cdef size_t _column_count
    cdef size_t _growth  # of a row, at most, and what is written beyond what is copied
    cdef Quick _quick
    cdef void (*_quickly)(Walk* walk, const Quick* quick) noexcept nogil  # NULL: see _all_short
    cdef readonly unsigned long long rows
    cdef readonly unsigned long long cells_masked
    cdef readonly unsigned long long bytes_out
    cdef int mask_into(
        self, const uint8_t* run, size_t length, Py_ssize_t count, Output* output
    ) except -1
    cdef Fault masked(
        self,
        const uint8_t* run,
        size_t length,
        Py_ssize_t count,
        Output* output,
        unsigned long long* cells,
    ) noexcept nogil
    cdef const uint8_t* mask_whole(
        self,
        const uint8_t* at,
        const uint8_t* end,
        size_t length_max,
        Output* output,
        Py_ssize_t* rows,
        unsigned long long* cells,
    ) noexcept nogil
    cdef Fault _mask_rows(
        self,
        const uint8_t** begin,
        const uint8_t* end,
        Py_ssize_t* count,
        Output* output,
        unsigned long long* cells,
        size_t length_max=*,
    ) noexcept nogil
    cdef bint _all_short(self) except -1
    cdef Fault _careful(
        self, Walk* walk, Output* output, size_t length_max, size_t rest
    ) noexcept nogil
