# The lexer that sqllex runs on; see sqltokens.pyx.

from libc.stdint cimport uint8_t

cdef enum Kind:
    SPACE = 0
    COMMENT = 1
    STRING = 2
    NUMBER = 3
    PARAMETER = 4
    NAME = 5
    QUOTED_NAME = 6
    OPERATOR = 7
    OTHER = 8

cdef enum Class:
    IS_SPACE = 1
    NAME_START = 2
    NAME_PART = 4  # dollar included
    DIGIT = 8
    OPERATOR_PART = 16
    TAG_PART = 32  # of a dollar quote
    HEX = 64

cdef uint8_t[256] CLASSES


cdef struct Lexer:
    const uint8_t* at
    const uint8_t* end
    bint backslashes  # standard_conforming_strings is off
    bint broken
    const uint8_t* run_end  # of the operator characters around `at`, once looked at
    const uint8_t* run_core  # there only + and - follow, each an operator of its own


cdef struct Token:
    int kind
    const uint8_t* start
    const uint8_t* end


cdef Lexer lexer_of(bytes text, bint standard_strings)
cdef Lexer lexer_at(const uint8_t* text, size_t size, bint standard_strings) noexcept nogil
cdef bint next_token(Lexer* lexer, Token* token) noexcept nogil
