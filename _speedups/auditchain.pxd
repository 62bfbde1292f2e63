# What `hitcycle` needs of `auditchain.pyx`.

from libc.stdint cimport uint8_t


cdef class ChainEnd:
    cdef public int descriptor
    cdef public unsigned long long seq
    cdef public long long size
    cdef public long long size_max
    cdef public unsigned long long lines
    cdef public unsigned long long records
    cdef public unsigned long long written
    cdef public unsigned long long writes
    cdef uint8_t _head[64]
    cdef char* _lines_at
    cdef Py_ssize_t _room
    cdef bint open(self)
    cdef int append(self, list records) except -1


cdef void hash_raw(const uint8_t* text, size_t length, uint8_t* raw) noexcept nogil
