# What the hit path needs of `pgrows.pyx`.

from libc.stdint cimport uint8_t

from _speedups.growing cimport Output
from _speedups.maskops cimport Op

cdef enum Fault:
    NONE = 0
    NOT_A_ROW = 1
    ROW_LENGTH = 2
    COLUMN_COUNT = 3
    CELL_LENGTH = 4
    TRAILING = 5
    TOO_LONG = 6
    NO_MEMORY = 7


cdef class RowMasker:
    cdef list _ops
    cdef const Op** _masked
    cdef size_t _masked_count
    cdef size_t* _before  # columns that pass, before each masked one and behind the last
    cdef size_t _column_count
    cdef size_t _growth
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
