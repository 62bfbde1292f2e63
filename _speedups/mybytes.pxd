# The integers of the MySQL protocol: least significant byte first, and those whose first byte says
# how long they are. Cimported by myframe and myrows; every read is checked against the end.
# https://dev.mysql.com/doc/dev/mysql-server/latest/page_protocol_basic_dt_integers.html

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from _speedups.reader cimport Reader, left


cdef enum:
    PACKET_HEADER = 4
    PAYLOAD_MAX = 0xFFFFFF  # a packet as long as this goes on in the next one
    NULL_LENGTH = 0xFB  # in a text row: NULL in place of a length


cdef inline uint32_t u24(const uint8_t* at) noexcept nogil:
    """Three bytes, which the caller knows to be there."""
    return <uint32_t>at[0] | (<uint32_t>at[1] << 8) | (<uint32_t>at[2] << 16)


cdef inline void put_header(uint8_t* out, size_t length, uint8_t sequence) noexcept nogil:
    """Of one packet; `length` is at most PAYLOAD_MAX."""
    out[0] = <uint8_t>(length & 0xFF)
    out[1] = <uint8_t>((length >> 8) & 0xFF)
    out[2] = <uint8_t>((length >> 16) & 0xFF)
    out[3] = sequence


cdef inline bint take_length(Reader* reader, uint64_t* value) noexcept nogil:
    """A length-encoded integer; 0 when it is cut short, or begins with 0xFB or 0xFF, which do not
    begin one."""
    cdef uint8_t first
    cdef size_t size
    cdef size_t index
    if left(reader) < 1:
        return 0
    first = reader.at[0]
    if first < 0xFB:
        value[0] = first
        reader.at += 1
        return 1
    if first == 0xFC:
        size = 2
    elif first == 0xFD:
        size = 3
    elif first == 0xFE:
        size = 8
    else:
        return 0
    if left(reader) < size + 1:
        return 0
    value[0] = 0
    for index in range(size):
        value[0] |= <uint64_t>reader.at[1 + index] << (8 * index)
    reader.at += size + 1
    return 1


cdef inline size_t put_length(uint8_t* out, uint64_t value) noexcept nogil:
    """Writes a length-encoded integer in its shortest form: at most 9 bytes; how many."""
    cdef size_t size
    cdef size_t index
    if value < 0xFB:
        out[0] = <uint8_t>value
        return 1
    if value <= 0xFFFF:
        out[0] = 0xFC
        size = 2
    elif value <= 0xFFFFFF:
        out[0] = 0xFD
        size = 3
    else:
        out[0] = 0xFE
        size = 8
    for index in range(size):
        out[1 + index] = <uint8_t>((value >> (8 * index)) & 0xFF)
    return size + 1
