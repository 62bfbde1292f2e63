# What the hit path needs of `leases.pyx`.

cpdef double since_boot() noexcept nogil


cdef class Lease:
    cdef public unsigned long long value
    cdef public unsigned long long used
    cdef public unsigned long long missed
    cdef public double until
    cdef public int descriptor
    cdef unsigned long long _looked
    cdef unsigned long long _told_behind
    cdef void is_told_behind(self, unsigned long long reading) noexcept
    cpdef bint live(self) noexcept
    cpdef bint live_in(self, unsigned long long reading) noexcept
