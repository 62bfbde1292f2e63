# What `rowflow` needs of `pgframe.pyx`.

cimport cython
from libc.stdint cimport int8_t, uint8_t, uint32_t

cdef enum:
    TYPES = 128  # message types are ASCII letters and digits
    HEADER = 5
    LENGTH_MAX = 0x3FFFFFFF  # no PostgreSQL peer sends more than 1 GB

cdef enum:
    MODE_UNKNOWN = -1
    MODE_GATHER = 0
    MODE_GATHER_OR_STREAM = 1
    MODE_STREAM = 2

cdef enum Fault:
    NONE = 0
    UNKNOWN_TYPE = 1
    LENGTH_BELOW_4 = 2
    TOO_LONG = 3


cdef struct Rule:
    int8_t mode
    uint8_t batch
    uint32_t ceiling


@cython.final
cdef class _Rules:
    cdef Rule of[TYPES]
    cdef bint shared


cdef class FrameSplitter:
    cdef readonly str side
    cdef _Rules _table
    cdef const Rule* _rules
    cdef Rule* _own(self, int type) except NULL
    cdef object _chunk
    cdef object _view
    cdef Py_buffer _buffer
    cdef bint _held
    cdef const uint8_t* _at
    cdef const uint8_t* _end
    cdef uint8_t* _carry
    cdef size_t _carry_length
    cdef size_t _carry_room
    cdef size_t _carry_goal  # bytes of the whole gathered frame once its header is read; else 0
    cdef size_t _stream_left
    cdef uint8_t _stream_type
    cdef Fault _fault
    cdef Py_ssize_t _extend_batch(self, uint8_t type, const Rule* rule) noexcept nogil
    cdef object _continue_stream(self)
    cdef object _continue_carry(self)
    cdef int _take_into_carry(self, size_t goal) except -1
    cdef bytes _carried(self)
    cdef void _empty_carry(self) noexcept nogil
    cdef object _piece(self, const uint8_t* begin)
    cdef void _let_go(self)
    cdef int _fail(self, Fault fault) except -1


cdef inline Fault judge(const Rule* rule, uint32_t length) noexcept nogil:
    """Whether a frame of this length may come at all under this rule."""
    if length < 4:
        return LENGTH_BELOW_4
    if length > LENGTH_MAX or (rule.mode == MODE_GATHER and length > rule.ceiling):
        return TOO_LONG
    return NONE
