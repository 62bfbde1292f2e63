# Whole PostgreSQL frames as the hit path looks at them (`pghits`).
# https://www.postgresql.org/docs/current/protocol-message-formats.html

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

from _speedups.growing cimport Output, grow
from _speedups.reader cimport Reader, put_u32, take_u16, take_u32

cdef enum:
    HEADER = 5

cdef enum:
    INCOMPLETE = 0
    IMPOSSIBLE = 1


cdef inline Py_ssize_t length_of(const uint8_t* at, Py_ssize_t there) noexcept nogil:
    """Of the frame that begins here, type byte included."""
    cdef Reader reader
    cdef uint32_t length = 0
    if there < HEADER:
        return INCOMPLETE
    reader.at, reader.end = at + 1, at + HEADER
    take_u32(&reader, &length)
    return IMPOSSIBLE if not 4 <= length <= 0x3FFFFFFF else <Py_ssize_t>length + 1


cdef inline bint same_frame(const uint8_t* at, Py_ssize_t length, bytes frame):
    return length == PyBytes_GET_SIZE(frame) and memcmp(at, PyBytes_AS_STRING(frame), length) == 0


cdef inline bint starts(const uint8_t* at, Py_ssize_t size, Py_ssize_t offset, bytes frame):
    cdef Py_ssize_t length = PyBytes_GET_SIZE(frame)
    return length <= size - offset and memcmp(at + offset, PyBytes_AS_STRING(frame), length) == 0


cdef inline bint holds(const uint8_t* at, Py_ssize_t length, bytes field):
    """Whether an ErrorResponse has this field."""
    cdef const uint8_t* end = at + length
    cdef const uint8_t* stop
    cdef Py_ssize_t size = PyBytes_GET_SIZE(field)
    at += HEADER
    while at < end and at[0] != 0:
        stop = <const uint8_t*>memchr(at, 0, end - at)
        if stop == NULL:
            return False
        if stop + 1 - at == size and memcmp(at, PyBytes_AS_STRING(field), size) == 0:
            return True
        at = stop + 1
    return False


cdef inline bint is_tag(const uint8_t* at, Py_ssize_t length) noexcept:
    """Whether this CommandComplete has a tag of capitals, digits and spaces."""
    cdef Py_ssize_t index
    if length < HEADER + 2 or at[length - 1] != 0:
        return False
    for index in range(HEADER, length - 1):
        if not (at[index] == 32 or 48 <= at[index] <= 57 or 65 <= at[index] <= 90):
            return False
    return True


cdef inline Py_ssize_t rows_of(
    const uint8_t* at, const uint8_t* end, const uint8_t** behind
) noexcept:
    """-> how many whole DataRows begin here, one behind another; `behind`: where they end."""
    cdef Py_ssize_t length
    cdef Py_ssize_t count = 0
    while at < end and at[0] == c"D":
        length = length_of(at, end - at)
        if length < HEADER or length > end - at:
            break
        at += length
        count += 1
    behind[0] = at
    return count


cdef inline bint asks_again(char step, const uint8_t* at, Py_ssize_t length):
    """Whether an error, at this step of `pghits`, comes to no more than that the statement is to be
    looked at again. What Parse and Bind work out, constants and functions of them, they do in front
    of the proviso: under a changed schema that may be anything.
    """
    if step == c"r" or step == c"g":
        return holds(at, length, b"C42704\0")  # the proviso's
    if step == c"p" or step == c"P" or step == c"b" or step == c"B":
        return not (holds(at, length, b"C57014\0") or holds(at, length, b"C55P03\0"))
    return False


cdef inline int parameters_of(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """How many a Bind has, behind its names; -1 for one that is malformed."""
    cdef Reader reader
    cdef uint16_t formats = 0
    cdef uint16_t count = 0
    cdef uint16_t results = 0
    cdef uint32_t length = 0
    cdef int index
    reader.at, reader.end = at, end
    if not take_u16(&reader, &formats) or end - reader.at < 2 * <Py_ssize_t>formats:
        return -1
    reader.at += 2 * formats
    if not take_u16(&reader, &count) or (formats > 1 and formats != count):
        return -1
    for index in range(count):
        if not take_u32(&reader, &length):
            return -1
        if length == 0xFFFFFFFFU:
            continue
        if <Py_ssize_t>length > end - reader.at:
            return -1
        reader.at += length
    if not take_u16(&reader, &results) or end - reader.at != 2 * <Py_ssize_t>results:
        return -1
    return count


cdef inline int add_parse_frame(
    Output* out, bytes name, const uint8_t* text, size_t size
) except -1:
    """A Parse without parameter types."""
    cdef size_t names = <size_t>PyBytes_GET_SIZE(name)
    cdef size_t length = HEADER + names + 1 + size + 1 + 2
    cdef uint8_t* at
    if not grow(out, length):
        raise MemoryError
    at = out.bytes + out.length
    at[0] = c"P"
    put_u32(at + 1, <uint32_t>(length - 1))
    memcpy(at + HEADER, PyBytes_AS_STRING(name), names)
    at[HEADER + names] = 0
    memcpy(at + HEADER + names + 1, text, size)
    at[length - 3] = at[length - 2] = at[length - 1] = 0
    out.length += length
    return 0
