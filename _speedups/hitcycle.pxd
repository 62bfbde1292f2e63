# What `hitpath` builds on: see `hitcycle.pyx`.

from libc.stdint cimport uint8_t

from _speedups.auditchain cimport ChainEnd
from _speedups.auditrecords cimport TAG_BYTES_MAX, Decision
from _speedups.growing cimport Output
from _speedups.leases cimport Lease

cdef enum:
    BOUNDS = 16
    LINES_MAX = 2  # decided records of one cycle: of its Parse, and of what it executes


cdef class Count:
    cdef public unsigned long long value


cdef class Hit


cdef class Pace:
    cdef public double due
    cdef public double seconds
    cdef public double claimed
    cdef bint claim(self, Hit hit, double now) noexcept


cdef class Told:
    cdef bytes tail
    cdef uint8_t digest[32]
    cdef bytes query_tail
    cdef unsigned long long segment
    cdef unsigned long long seq
    cdef unsigned long long micros


cdef class Dull:
    cdef public double until


cdef class Hit:
    cdef readonly object verdict
    cdef readonly tuple epoch
    cdef public object prepared
    cdef public object key
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
    cdef public unsigned long long leased
    cdef public unsigned long long tried
    cdef public bint repeatable
    cdef public bint brief
    cdef public bint amid
    cdef public int turns
    cdef public Dull dull
    cdef public int words
    cdef public Lease lease
    cdef readonly dict locks
    cdef dict _told
    cdef Told _told_last
    cdef bytes _description
    cdef tuple _lock
    cpdef void took(self, double seconds, bint asked) noexcept
    cdef Told told_of(self, bytes tail)
    cdef tuple lock_of(self, const uint8_t* frame, size_t length)


cdef class HitLedger:
    cdef readonly list due
    cdef Output _finished
    cdef unsigned long long _finished_count
    cdef Output _whole
    cdef public bint within
    cdef public unsigned long long reading
    cdef public bint wanted
    cdef public bint turns
    cdef ChainEnd _end
    cdef object _unwritten
    cdef public bint stirred
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
    cdef unsigned long long parses_spared
    cdef public unsigned long long bytes_to_client
    cdef public unsigned long long bytes_to_upstream
    cdef double _seconds
    cdef double _bounds[BOUNDS]
    cdef unsigned long long _counts[BOUNDS + 1]
    cdef void observe(self, double seconds) noexcept
    cdef int new_id(self, double now, uint8_t* out) except -1
    cdef int _append(self, list due) except -1
    cdef uint8_t* _put_finished(self, uint8_t* at, uint8_t* last) except NULL
    cdef uint8_t* _put_decided(
        self, uint8_t* at, uint8_t* last, unsigned long long seq, Cycle cycle, int line
    ) except NULL
    cdef void _forget_finished(self) noexcept
    cpdef bint write_due(self) except -1
    cdef int flush(self, bint over) except -1
    cdef int _write_finished(self) except -1
    cdef int put_due(self, Cycle cycle) except -1
    cdef int has_finished(self) except -1
    cdef int _ask_to_be_woken(self) except -1


cdef class Cycle:
    cdef readonly HitLedger ledger
    cdef Count _sequence
    cdef bytes _opening
    cdef bytes _finish_opening
    cdef const char* _steps
    cdef Py_ssize_t _step
    cdef bint _in_question
    cdef bint _proviso_failed
    cdef bint _finished
    cdef bint _described
    cdef public bint telling
    cdef readonly bint extended
    cdef readonly Hit hit
    cdef Output _saved
    cdef Output _sent
    cdef bint _unwritten
    cdef int _line_count
    cdef Decision _decided[LINES_MAX]
    cdef bytes _query_tail
    cdef bytes _parse_tail
    cdef bytes _tail
    cdef unsigned long long _decided_seq
    cdef unsigned long long _decided_segment
    cdef uint8_t _record_id[32]
    cdef readonly double started
    cdef readonly unsigned long long rows
    cdef readonly unsigned long long bytes_out
    cdef readonly unsigned long long cells_masked
    cdef readonly unsigned long long sensitive_unmasked
    cdef uint8_t _tag[TAG_BYTES_MAX]
    cdef size_t _tag_bytes
    cdef readonly tuple lock
    cdef object _masker
    cdef unsigned long long _sensitive
    cdef readonly unsigned long long total_rows
    cdef readonly unsigned long long total_bytes_out
    cdef readonly unsigned long long total_cells_masked
    cdef readonly unsigned long long total_sensitive_unmasked
    cdef int begin(self, Hit hit, const uint8_t* at, Py_ssize_t size, double now) except -1
    cdef void rest(self) noexcept
    cdef size_t lines_room(self) noexcept
    cdef size_t _whole_room(self) noexcept
    cdef bytes tail_of(self, int line)
    cdef Decision* decide(self, const uint8_t* record_id, double now, bytes tail) except NULL
    cdef int write_whole(self, int line, Output* out) except -1
    cdef Output* forwarded(self) noexcept
    cdef int send(self) except -1
    cdef int unrecorded(self) except -1
    cdef int finish_record(self, double now) except -1
    cdef void add_up(self) noexcept
    cdef int withhold_record(self, double now) except -1
    cdef int put_finished(self, double now, bint completed) except -1
    cdef bint received(self, bint from_upstream, const uint8_t* at, Py_ssize_t size) except -1
    cdef int broken(self, object error) except -1
