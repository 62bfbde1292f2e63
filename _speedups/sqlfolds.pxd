# Keys of texts as `sqllex.fold` has them, of a session: see `sqlfolds.pyx`.

from libc.stdint cimport uint8_t, uint16_t

from _speedups.growing cimport Output

cdef enum:
    CONSTANTS_MAX = 16


cdef class Shape:
    cdef bytes text
    cdef bytes key
    cdef int count
    cdef uint16_t starts[CONSTANTS_MAX]
    cdef uint16_t ends[CONSTANTS_MAX]
    cdef bint fits(self, const uint8_t* at, Py_ssize_t size) noexcept


cdef class Folds:
    cdef list _shapes
    cdef Output _folded
    cdef Output _offsets
    cdef bytes recall(self, const uint8_t* at, Py_ssize_t size)
    cdef bytes key_of(self, const uint8_t* at, Py_ssize_t size)
    cdef int keep(self, const uint8_t* at, Py_ssize_t size, bytes key) except -1
