# What `pghits` needs of `chunks.pyx`.

from libc.stdint cimport uint8_t

from _speedups.hitcycle cimport Cycle, HitLedger
from _speedups.leases cimport Lease
from _speedups.loopwork cimport LoopWork
from _speedups.rowflow cimport RowFlow


cdef class Tls:
    cdef object read
    cdef object write
    cdef object pending
    cdef object incoming
    cdef object outgoing
    cdef bint over
    cdef bint told
    cdef int unheard


cdef class Chunks:
    cdef public object transport
    cdef public bint lost
    cdef public bint reading
    cdef public bint closing
    cdef public bint writing_paused
    cdef public Py_ssize_t narrow
    cdef readonly bint polled
    cdef Cycle path
    cdef bint from_upstream
    cdef RowFlow _rows
    cdef Chunks _client
    cdef Poller _poller
    cdef int _descriptor
    cdef bint _watched
    cdef bint _behind
    cdef bint _over
    cdef Tls _tls
    cdef unsigned long long written
    """A number that nothing else has, since something was written that is no hit path's."""
    cdef void count_written(self) noexcept
    cdef int _arrived(self, bint ending) except -1
    cdef int _take_in(self, Py_ssize_t size) except -1
    cdef int _offer(self, Py_ssize_t size) except -1
    cdef int _offer_opened(self) except -1
    cdef Py_ssize_t _open(self) except -1
    cdef bytes _sealed(self, object content)
    cpdef int flush_tls(self) except -1
    cdef Py_ssize_t _pass_rows(self, Py_ssize_t size) except -1
    cdef bint _straight(self) except -1
    cdef int _put(self, object content) except -1
    cdef int _put_plain(self, object content) except -1
    cdef int _put_raw(self, const uint8_t* at, Py_ssize_t size) except -1
    cdef int _send(self, const uint8_t* at, Py_ssize_t size) except -1


cdef class Poller:
    cdef int _epoll
    cdef list _sides
    cdef HitLedger _ledger
    cdef object _settle
    cdef LoopWork _work
    cdef int _bell
    cdef int _door
    cdef bint _shut
    cdef long _nanoseconds
    cdef bint _armed
    cdef bint _elsewhere
    cdef list _leases
    cdef int _watch(self, Chunks side) except -1
    cdef int _remind(self, Chunks side) except -1
    cdef int _forget(self, Chunks side) except -1
    cdef bint _read(self, void* told, int count) except -1
    cdef bint _guards_are_quiet(self, void* told, int count) except -1
    cdef int _guard(self, Lease lease) except -1
    cdef int _unguard(self, Lease lease) except -1
    cdef object _side_of(self, int descriptor)
    cdef bint _others_wait(self) except -1
    cdef int _wait(self, void* events) except -2


cdef double wall_clock() noexcept nogil
