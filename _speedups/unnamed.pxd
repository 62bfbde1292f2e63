# What the hit path of PostgreSQL needs of `unnamed.pyx`.

from libc.stdint cimport uint8_t

from _speedups.growing cimport Output
from _speedups.hitcycle cimport Hit


cdef class Unnamed:
    cdef bint direct
    cdef Hit _hit
    cdef Hit _due
    cdef Output _parse
    cdef unsigned long long _under
    cdef unsigned long long _written
    cdef double _since
    cdef int _uses
    cdef void forget(self) noexcept
    cdef Hit of(self, const uint8_t* at, Py_ssize_t size, double now, unsigned long long written)
    cdef Py_ssize_t parse_bytes(self) noexcept
    cdef bint holds_under(self, unsigned long long under) noexcept
    cdef void used(self) noexcept
    cdef int sent(
        self,
        Hit hit,
        const uint8_t* at,
        Py_ssize_t size,
        unsigned long long under,
        double now,
        unsigned long long written,
    ) except -1
    cdef void cycle_over(self) noexcept
