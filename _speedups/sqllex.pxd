# What `sqlfolds` needs of `sqllex.pyx`.

from libc.stdint cimport uint8_t

from _speedups.growing cimport Output


cdef enum:
    FOLDED_DIGITS_MAX = 9  # an integer of so many fits int4


cdef bint fold_text(const uint8_t* text, size_t size, Output* out, Output* offsets) except -1
