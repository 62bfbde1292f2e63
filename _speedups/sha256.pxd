# HMAC-SHA-256 in two steps: once per key, once per value.

from libc.stdint cimport uint8_t, uint32_t


cdef void prepare(
    uint32_t* inner, uint32_t* outer, const uint8_t* key, size_t length
) noexcept nogil

cdef void authenticate(
    const uint32_t* inner,
    const uint32_t* outer,
    const uint8_t* text,
    size_t length,
    uint8_t* out,
) noexcept nogil

cdef void digest(const uint8_t* text, size_t length, uint8_t* out) noexcept nogil
