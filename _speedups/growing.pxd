# Bytes that are put together piece by piece. Used by `pgrows` and the hit path.

from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy


cdef struct Output:
    uint8_t* bytes
    size_t length
    size_t room


cdef inline bint grow(Output* output, size_t more) noexcept nogil:
    """Room for `more` bytes, which the caller derives from bytes it has, never from a claim."""
    cdef size_t room = output.length + more
    cdef void* grown
    if room <= output.room:
        return True
    if output.room:
        room += room / 2
    grown = realloc(output.bytes, room)
    if grown == NULL:
        return False
    output.bytes = <uint8_t*>grown
    output.room = room
    return True


cdef inline bint add(Output* output, const void* piece, size_t size) noexcept nogil:
    """False: there is no memory for it, and nothing of it is there."""
    if not grow(output, size):
        return False
    if size:
        memcpy(output.bytes + output.length, piece, size)
        output.length += size
    return True


cdef inline int must_add(Output* output, const void* piece, size_t size) except -1:
    if not add(output, piece, size):
        raise MemoryError
    return 0


cdef inline void shrink(Output* output, size_t kept) noexcept nogil:
    """Of one that holds nothing: memory beyond so much is given back."""
    if output.room > kept:
        free(output.bytes)
        output.bytes = NULL
        output.room = 0
