# Writes encoded audit records piece by piece; numbers as JSON has them. Used by `hitcycle`.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.math cimport floor
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

cdef enum:
    LINE_ROOM = 512  # more than all that is written beside the parts whose length is counted


cdef struct Writer:
    uint8_t* begin
    uint8_t* at
    uint8_t* end


cdef inline int begin_writing(Writer* out, Py_ssize_t room) except -1:
    out.begin = <uint8_t*>malloc(<size_t>room)
    if out.begin == NULL:
        raise MemoryError
    out.at = out.begin
    out.end = out.begin + room
    return 0


cdef inline int put(Writer* out, bytes part) except -1:
    cdef Py_ssize_t length = PyBytes_GET_SIZE(part)
    if length > out.end - out.at:
        free(out.begin)
        raise AssertionError("a record has no room")
    memcpy(out.at, PyBytes_AS_STRING(part), length)
    out.at += length
    return 0


cdef inline bytes written(Writer* out):
    try:
        return PyBytes_FromStringAndSize(<char*>out.begin, out.at - out.begin)
    finally:
        free(out.begin)


cdef inline void put_integer(Writer* out, unsigned long long value) noexcept:
    cdef uint8_t digits[20]
    cdef int count = 0
    while True:
        digits[count] = <uint8_t>(48 + value % 10)
        count += 1
        value //= 10
        if not value:
            break
    while count and out.at < out.end:
        count -= 1
        out.at[0] = digits[count]
        out.at += 1


cdef inline void put_decimal(Writer* out, unsigned long long value, unsigned long long parts) noexcept:
    """value / parts, `parts` a power of ten; at least one digit behind the point, as msgspec has
    it."""
    cdef unsigned long long rest = value % parts
    put_integer(out, value // parts)
    out.at[0] = c"."
    out.at += 1
    while True:
        parts //= 10
        out.at[0] = <uint8_t>(48 + rest // parts)
        out.at += 1
        rest %= parts
        if not rest:
            break


cdef inline void put_time(Writer* out, double seconds) noexcept:
    put_decimal(out, <unsigned long long>floor(seconds * 1e6 + 0.5), 1000000)


cdef inline int put_field(Writer* out, bytes name, unsigned long long value) except -1:
    if value:
        put(out, name)
        put_integer(out, value)
    return 0
