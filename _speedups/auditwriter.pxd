# Writes encoded audit records piece by piece; numbers as JSON has them. Used by `hitcycle` and
# `auditchain`. Whoever begins a record has seen to it that there is room for all of it (`room_for`).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport floor
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

from _speedups.growing cimport Output, grow
from _speedups.reader cimport put_u64

cdef enum:
    LINE_ROOM = 640  # more than all that is written beside the parts whose length is counted
    ID_BYTES = 32
    DIGITS_MAX = 20


cdef inline int room_for(Output* out, size_t counted) except -1:
    """Room for a record, of whose parts those that vary have `counted` bytes."""
    if not grow(out, counted + LINE_ROOM):
        raise MemoryError
    return 0


cdef inline void put(Output* out, const void* piece, size_t size) noexcept nogil:
    memcpy(out.bytes + out.length, piece, size)
    out.length += size


cdef inline void put_bytes(Output* out, bytes piece) noexcept:
    put(out, PyBytes_AS_STRING(piece), <size_t>PyBytes_GET_SIZE(piece))


cdef inline void write_hex(uint8_t* out, const uint8_t* raw, int count) noexcept nogil:
    """Two digits a byte; eight digits at once, one in each byte of an integer, as long as there are
    four bytes."""
    cdef const char* digits = b"0123456789abcdef"
    cdef uint64_t found
    cdef int index = 0
    while index + 4 <= count:
        found = (
            (<uint64_t>raw[index] << 24)
            | (<uint64_t>raw[index + 1] << 16)
            | (<uint64_t>raw[index + 2] << 8)
            | raw[index + 3]
        )
        found = (found | found << 16) & 0x0000FFFF0000FFFFU
        found = (found | found << 8) & 0x00FF00FF00FF00FFU
        found = (found | found << 4) & 0x0F0F0F0F0F0F0F0FU
        found += 0x3030303030303030U + 39 * (
            (found + 0x0606060606060606U) >> 4 & 0x0101010101010101U
        )
        put_u64(out + 2 * index, found)
        index += 4
    for index in range(index, count):
        out[2 * index] = <uint8_t>digits[raw[index] >> 4]
        out[2 * index + 1] = <uint8_t>digits[raw[index] & 15]


cdef inline size_t write_integer(uint8_t* out, unsigned long long value) noexcept nogil:
    """-> how many digits, at most DIGITS_MAX."""
    cdef uint8_t digits[DIGITS_MAX]
    cdef size_t count = 0
    cdef size_t index
    while True:
        digits[count] = <uint8_t>(48 + value % 10)
        count += 1
        value //= 10
        if not value:
            break
    for index in range(count):
        out[index] = digits[count - 1 - index]
    return count


cdef inline void put_integer(Output* out, unsigned long long value) noexcept nogil:
    out.length += write_integer(out.bytes + out.length, value)


cdef inline void put_decimal(
    Output* out, unsigned long long value, unsigned long long parts
) noexcept nogil:
    """value / parts, `parts` a power of ten; at least one digit behind the point, as msgspec has
    it."""
    cdef unsigned long long rest = value % parts
    cdef uint8_t* at
    put_integer(out, value // parts)
    at = out.bytes + out.length
    at[0] = c"."
    at += 1
    while True:
        parts //= 10
        at[0] = <uint8_t>(48 + rest // parts)
        at += 1
        rest %= parts
        if not rest:
            break
    out.length = <size_t>(at - out.bytes)


cdef inline unsigned long long micros_of(double seconds) noexcept nogil:
    return <unsigned long long>floor(seconds * 1e6 + 0.5)


cdef inline void put_field(Output* out, bytes name, unsigned long long value) noexcept:
    if value:
        put_bytes(out, name)
        put_integer(out, value)
