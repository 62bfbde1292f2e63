# What `chunks` needs of `loopwork.pyx`.


cdef class LoopWork:
    cdef object _owner
    cdef void* _loop
    cdef int _descriptor
    cdef int (*_timeout)(void*) noexcept
    cdef void (*_update)(void*) noexcept
    cdef bint ready(self) noexcept
    cdef bint due(self) noexcept
