# What pgrows (and any other row masker) needs of maskops: the compiled op and its one function.

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef enum:
    NULLED = 0  # an Op's kind: NULL in place of every value
    FIXED = 1  # `fixed` in place of every value
    SHORT = 16


cdef struct Op:
    int kind
    int unit
    int64_t step
    size_t keep
    size_t growth  # most bytes by which the masked value can be longer than the raw one
    const uint8_t* fixed  # lives in the MaskOp that made this
    size_t fixed_length
    uint8_t short_fixed[SHORT]  # the same and zeros, where it is no longer than that
    uint32_t inner[8]  # HMAC: SHA-256 states after the padded key
    uint32_t outer[8]


cdef class MaskOp:
    cdef Op op
    cdef bytes _fixed


# Writes the masked value to `out` (room: length + op.growth); its length, or -1 for NULL.
cdef int64_t mask_value(
    const Op* op, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil
