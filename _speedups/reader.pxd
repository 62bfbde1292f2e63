# The only integer reads of `_speedups`: every one is checked against the end of the bytes; and
# the writes that go with them.
# Cimported by pgframe, pgrows and the masks; network byte order, as all of the PostgreSQL protocol
# (https://www.postgresql.org/docs/current/protocol-message-types.html).

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef struct Reader:
    const uint8_t* at
    const uint8_t* end


cdef inline size_t left(const Reader* reader) noexcept nogil:
    """Bytes not read yet."""
    return <size_t>(reader.end - reader.at)


cdef inline bint take_u8(Reader* reader, uint8_t* value) noexcept nogil:
    """Reads one byte; 0 when there is none, and then nothing is touched."""
    if left(reader) < 1:
        return 0
    value[0] = reader.at[0]
    reader.at += 1
    return 1


cdef inline bint take_u16(Reader* reader, uint16_t* value) noexcept nogil:
    """Reads two bytes, most significant first; 0 when they are not all there."""
    if left(reader) < 2:
        return 0
    value[0] = <uint16_t>((<uint32_t>reader.at[0] << 8) | <uint32_t>reader.at[1])
    reader.at += 2
    return 1


cdef inline bint take_u32(Reader* reader, uint32_t* value) noexcept nogil:
    """Reads four bytes, most significant first; 0 when they are not all there."""
    if left(reader) < 4:
        return 0
    value[0] = (
        (<uint32_t>reader.at[0] << 24)
        | (<uint32_t>reader.at[1] << 16)
        | (<uint32_t>reader.at[2] << 8)
        | <uint32_t>reader.at[3]
    )
    reader.at += 4
    return 1


cdef inline void put_u32(uint8_t* out, uint32_t value) noexcept nogil:
    """Writes four bytes, most significant first; the caller answers for the room."""
    out[0] = <uint8_t>(value >> 24)
    out[1] = <uint8_t>(value >> 16)
    out[2] = <uint8_t>(value >> 8)
    out[3] = <uint8_t>value


cdef inline bint take_u64(Reader* reader, uint64_t* value) noexcept nogil:
    """Reads eight bytes, most significant first; 0 when they are not all there."""
    cdef uint32_t high = 0
    cdef uint32_t low = 0
    if left(reader) < 8:
        return 0
    take_u32(reader, &high)
    take_u32(reader, &low)
    value[0] = (<uint64_t>high << 32) | low
    return 1


cdef inline bint take_byte(const uint8_t** at, const uint8_t* end, uint8_t byte) noexcept nogil:
    """Steps over one byte if it is this one."""
    if at[0] < end and at[0][0] == byte:
        at[0] += 1
        return True
    return False


cdef inline void put_u16(uint8_t* out, uint32_t value) noexcept nogil:
    """Writes the low two bytes, most significant first."""
    out[0] = <uint8_t>((value >> 8) & 0xFF)
    out[1] = <uint8_t>(value & 0xFF)


cdef inline void put_u64(uint8_t* out, uint64_t value) noexcept nogil:
    """Writes eight bytes, most significant first."""
    put_u32(out, <uint32_t>(value >> 32))
    put_u32(out + 4, <uint32_t>(value & 0xFFFFFFFFU))


cdef inline int64_t same(const uint8_t* value, size_t length, uint8_t* out) noexcept nogil:
    """A value that carries nothing to hide (an infinity, NaN) goes through."""
    memcpy(out, value, length)
    return <int64_t>length
