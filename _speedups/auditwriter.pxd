# Writes encoded audit records piece by piece; numbers as JSON has them. Used by `hitcycle` and
# `auditchain`. Whoever begins a record has seen to it that there is room for all of it (`room_for`).

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.math cimport floor
from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from _speedups.growing cimport Output, grow

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
    """Two digits a byte."""
    cdef int index
    cdef uint8_t high
    cdef uint8_t low
    for index in range(count):  # without a branch, so that compilers do many at once
        high = raw[index] >> 4
        low = raw[index] & 15
        out[2 * index] = <uint8_t>(48 + high + 39 * (high > 9))
        out[2 * index + 1] = <uint8_t>(48 + low + 39 * (low > 9))


cdef inline size_t digits_of(unsigned long long value) noexcept nogil:
    cdef size_t count = 1
    while value >= 10000:
        value //= 10000
        count += 4
    if value >= 100:
        return count + 2 + (value >= 1000)
    return count + (value >= 10)


cdef inline size_t write_integer(uint8_t* out, unsigned long long value) noexcept nogil:
    """-> how many digits, at most DIGITS_MAX."""
    cdef const char* pairs = (
        b"00010203040506070809101112131415161718192021222324252627282930313233343536373839404142434445"
        b"464748495051525354555657585960616263646566676869707172737475767778798081828384858687888990"
        b"919293949596979899"
    )
    cdef size_t count = digits_of(value)
    cdef uint8_t* at = out + count
    while value >= 100:
        at -= 2
        memcpy(at, pairs + 2 * (value % 100), 2)
        value //= 100
    if value >= 10:
        memcpy(out, pairs + 2 * value, 2)
    else:
        out[0] = <uint8_t>(48 + value)
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
