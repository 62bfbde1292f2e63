# What `pghits` and `myhits` are made of: see `hitpath.pyx`.

from libc.stdint cimport uint8_t

from _speedups.chunks cimport Chunks
from _speedups.growing cimport Output
from _speedups.hitcycle cimport Count, Cycle, Hit

cdef enum:
    ROOM_KEPT = 16384

cdef enum Became:
    PASS = 0
    SKIP = 1
    ROWS = 2
    DONE = 3
    STOP = 4


cdef class AnyHitPath(Cycle):
    cdef public object owner
    cdef readonly dict exact
    cdef readonly dict alike
    cdef readonly bint armed
    cdef public bint crowded
    cdef public bint closed
    cdef readonly tuple epoch
    cdef Count _generation
    cdef Py_ssize_t _text_bytes_max
    cdef unsigned long long _seen
    cdef Chunks _client
    cdef Chunks _upstream
    cdef Output _out
    cdef bytes _remainder
    cdef const uint8_t* _begin
    cdef const uint8_t* _gets
    cdef Py_ssize_t _gets_bytes
    cdef bint _got
    cdef bint _done
    cdef int arm_under(self, tuple epoch) except -1
    cdef bint holds(self, Hit hit) except -1
    cdef int decide_text(
        self, Hit hit, const uint8_t* text, Py_ssize_t length, double now
    ) except -1
    cdef bint take(self, const uint8_t* at, Py_ssize_t size, double now) except -1
    cdef bint follow(self, const uint8_t* at, Py_ssize_t size, double now) except -1
    cdef bint finish_cycle(self, double now) except -1
    cdef int put(self, const void* piece, Py_ssize_t size) except -1
    cdef int put_bytes_of(self, bytes piece) except -1
    cdef int keep(self, const uint8_t* at) except -1
    cdef int get(self, const uint8_t* at) except -1
    cdef void sent_to_client(self) noexcept
    cdef object asked(self)
