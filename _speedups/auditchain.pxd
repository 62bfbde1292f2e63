# What `hitcycle` needs of `auditchain.pyx`.

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    HASH = 64
    RAW = 32
    AROUND = 7 + 20 + 9 + 64 + 2 + 7 + 20 + 1 + 32 + 9 + 64 + 3  # of a line, beside its parts


cdef struct Header:  # of a journal (`spool/journal`)
    uint8_t magic[8]
    uint64_t turn
    uint64_t base
    uint64_t length
    uint8_t name[64]


cdef class ChainEnd:
    cdef public int descriptor
    cdef public unsigned long long seq
    cdef public long long size
    cdef public long long size_max
    cdef public unsigned long long lines
    cdef public unsigned long long records
    cdef public unsigned long long written
    cdef public unsigned long long writes
    cdef public unsigned long long segment
    cdef public unsigned long long reach
    cdef readonly size_t held
    cdef uint8_t _head[32]
    cdef Py_buffer _journal
    cdef Header* _header
    cdef uint8_t* _kept_at
    cdef size_t _kept_max
    cdef uint8_t* _begun
    cdef int _fault
    cdef bint _proven
    cdef uint8_t* _lines_at
    cdef size_t _room
    cdef int _name_file(self, bytes name) except -1
    cdef bint open(self)
    cdef uint8_t* begin(self, size_t room) except NULL
    cdef void head_into(self, uint8_t* out) noexcept
    # Without exceptions: they touch no Python object, and what fails is an errno that callers look at.
    cdef int write(
        self, const uint8_t* end, unsigned long long count, const uint8_t* last, bint more
    ) noexcept
    cdef void flush(self, bint over) noexcept
    cdef int drain(self, int descriptor) noexcept
    cdef void _hold(self, size_t size) noexcept
    cdef int _write(self, int descriptor, const uint8_t* at, size_t size) noexcept
    cdef void _close(self, int number) noexcept


cdef void hash_into(const uint8_t* text, size_t length, uint8_t* out) noexcept nogil
cdef uint8_t* end_brief(const uint8_t* begin, uint8_t* at, uint8_t* before) noexcept nogil
cdef uint8_t* put_line(
    uint8_t* at,
    unsigned long long seq,
    uint8_t* before,
    const void* record,
    size_t length,
    const void* tail,
    size_t tail_length,
    const uint8_t* digested,
) noexcept nogil
