# What the hit path needs of `myrows.pyx`.

from libc.stdint cimport uint8_t, uint64_t

from _speedups.growing cimport Output
from _speedups.maskops cimport Op
from _speedups.reader cimport Reader

cdef enum Shape:
    LENGTH_ENCODED = 0
    TEMPORAL = 1  # one byte of length before it
    NOTHING = 2  # always NULL
    FIXED_1 = 3
    FIXED_2 = 4
    FIXED_4 = 5
    FIXED_8 = 6

cdef enum Work:
    PASS = 0
    MASK = 1  # by the op, on the bytes as they are
    CUT_INTEGER = 2
    CUT_FLOAT = 3  # by the op, which wants the most significant byte first
    CUT_DATE = 4

cdef struct Cell:
    const Op* op
    Work work
    Shape shape
    bint unsigned_
    uint64_t step
    int unit  # of a date: 1 year, 2 month, 3 day
    int decimals  # digits of a fraction of seconds that a cut time keeps, as zeros


cdef class RowMasker:
    cdef list _ops
    cdef Cell* _cells
    cdef size_t _count
    cdef size_t _growth
    cdef bint _binary
    cdef readonly unsigned long long rows
    cdef readonly unsigned long long cells_masked
    cdef readonly unsigned long long bytes_out
    cdef int _settle(self, Cell* cell, tuple op, int decimals) except -1
    cdef bytes _masked(self, object run, Py_ssize_t count, uint8_t sequence, bint framed)
    cdef int mask_into(
        self,
        const uint8_t* run,
        size_t length,
        Py_ssize_t count,
        uint8_t sequence,
        bint framed,
        Output* output,
    ) except -1
    cdef int _mask_rows(
        self,
        const uint8_t* run,
        size_t length,
        Py_ssize_t count,
        uint8_t sequence,
        bint framed,
        Output* output,
        unsigned long long* cells,
    ) noexcept nogil
    cdef int _mask_text(
        self, Reader* row, Output* output, unsigned long long* cells
    ) noexcept nogil
    cdef int _mask_binary(
        self, Reader* row, Output* output, unsigned long long* cells
    ) noexcept nogil
