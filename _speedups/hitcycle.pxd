# What `pghits` builds on: see `hitcycle.pyx`.

from libc.stdint cimport uint8_t

from _speedups.auditchain cimport ChainEnd

cdef enum:
    BOUNDS = 16


cdef class Count:
    cdef public unsigned long long value


cdef class Pace:
    cdef public double due
    cdef public double seconds
    cdef public double claimed
    cdef bint claim(self, double now)


cdef class Hit:
    cdef readonly object verdict
    cdef readonly tuple epoch
    cdef public object prepared
    cdef public bytes query_tail
    cdef public bytes query_tail_rest
    cdef public bytes parse_tail
    cdef public bytes execute_tail
    cdef public bytes types
    cdef public int parameters
    cdef public bytes sent
    cdef public bytes text
    cdef public bytes parse
    cdef readonly bint bound
    cdef readonly bint provisional
    cdef public object position
    cdef readonly dict locks
    cdef dict _digests
    cdef bytes digest_of(self, bytes tail)


cdef class HitLedger:
    cdef readonly list due
    cdef readonly list finished
    cdef public bint within
    cdef public bint wanted
    cdef public bint turns
    cdef ChainEnd _end
    cdef object _unwritten
    cdef bint stirred
    cdef object _wake
    cdef object _wake_later
    cdef object _entropy
    cdef bint _waking
    cdef bytes _pool
    cdef Py_ssize_t _used
    cdef public unsigned long long statements
    cdef public long long running
    cdef public unsigned long long rows
    cdef public unsigned long long cells_masked
    cdef public unsigned long long sensitive_unmasked
    cdef public unsigned long long bytes_to_client
    cdef public unsigned long long bytes_to_upstream
    cdef double _seconds
    cdef double _bounds[BOUNDS]
    cdef unsigned long long _counts[BOUNDS + 1]
    cdef int observe(self, double seconds) except -1
    cdef bytes new_id(self, double now)
    cpdef bint write_due(self) except -1
    cdef int put_due(self, Cycle cycle) except -1
    cdef int put_finished(self, bytes line) except -1


cdef class Cycle:
    cdef readonly HitLedger ledger
    cdef Count _sequence
    cdef bytes _opening
    cdef bytes _finish_opening
    cdef bytes _steps
    cdef Py_ssize_t _step
    cdef bint _in_question
    cdef bint _proviso_failed
    cdef bint _finished
    cdef bint _described
    cdef readonly bint extended
    cdef readonly Hit hit
    cdef readonly bytes saved
    cdef bytes _sent
    cdef readonly list lines
    cdef readonly bytes record_id
    cdef readonly double started
    cdef readonly unsigned long long rows
    cdef readonly unsigned long long bytes_out
    cdef readonly unsigned long long cells_masked
    cdef readonly unsigned long long sensitive_unmasked
    cdef readonly bytes tag
    cdef readonly tuple lock
    cdef readonly unsigned long long total_rows
    cdef readonly unsigned long long total_bytes_out
    cdef readonly unsigned long long total_cells_masked
    cdef readonly unsigned long long total_sensitive_unmasked
    cdef int begin(self, Hit hit, const uint8_t* at, Py_ssize_t size, double now) except -1
    cdef int rest(self) except -1
    cdef object decided(self, bytes record_id, double now, bytes before, bytes tail)
    cdef int send(self) except -1
    cdef int unrecorded(self) except -1
    cdef int finish_record(self, double now) except -1
    cdef int withhold_record(self, double now) except -1
    cdef int add_up(self) except -1
    cdef bytes finished_line(self, double now, bytes outcome, double seconds)
    cdef bint received(self, bint from_upstream, const uint8_t* at, Py_ssize_t size) except -1
    cdef int broken(self, object error) except -1
