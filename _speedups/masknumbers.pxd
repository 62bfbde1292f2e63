# See masknumbers.pyx.

from libc.stdint cimport int64_t, uint8_t


cdef int64_t int_text(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t int_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t numeric_text(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t numeric_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t float_text(
    int64_t step, bint short, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t float4_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil

cdef int64_t float8_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil
