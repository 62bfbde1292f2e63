# What `chunks` needs of `rowflow.pyx`.

from libc.stdint cimport uint8_t

from _speedups.growing cimport Output
from _speedups.hitcycle cimport Pace
from _speedups.pgframe cimport FrameSplitter
from _speedups.pgrows cimport RowMasker


cdef class RowFlow:
    cdef FrameSplitter _frames
    cdef Pace _pace
    cdef object _state
    cdef readonly bint open
    cdef bint _sampled
    cdef object _execution
    cdef RowMasker _masker
    cdef unsigned long long _sensitive
    cdef unsigned long long _rows
    cdef unsigned long long _cells
    cdef Output _out
    cdef const uint8_t* gets
    cdef size_t gets_bytes
    cdef Py_ssize_t pass_on(self, const uint8_t* at, Py_ssize_t size, double now) except -1
    cdef const uint8_t* _plain(self, const uint8_t* at, const uint8_t* end) noexcept nogil
    cdef const uint8_t* _whole(self, const uint8_t* at, const uint8_t* end) except NULL
    cdef const uint8_t* _carried(self, const uint8_t* at, const uint8_t* end) except NULL
    cdef const uint8_t* _into_carry(
        self, const uint8_t* at, const uint8_t* end, size_t goal
    ) except NULL
    cdef bint _mask(self, const uint8_t* run, size_t size, Py_ssize_t count) noexcept nogil
    cdef int _count(self, size_t passed) except -1
