# What the hit path needs of `mylex.pyx`.

from libc.stdint cimport uint8_t

from _speedups.growing cimport Output


cdef bint fold_text(const uint8_t* text, size_t size, int modes, Output* out) except -1
