# See maskdates.pyx.

from libc.stdint cimport int64_t, uint8_t

cdef enum Unit:
    YEAR = 0
    MONTH = 1
    DAY = 2


cdef int64_t date_text(
    int unit, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t timestamp_text(
    int unit, bint zoned, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t date_binary(
    int unit, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t timestamp_binary(
    int unit, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil
