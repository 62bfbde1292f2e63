"""The primitive masks, each on one value given as (pointer, length).

Called by the row maskers (pgrows), and through `MaskOp.apply` by tests. Rule: a mask never fails
and never lets a value through that it does not understand: what is not in the expected form
becomes NULL (typed values) or `****` (text).

An op is a tuple: ("null",) ("fixed", bytes) ("keep_first", n) ("keep_last", n) ("email",)
("token", key) ("date_text", unit) ("date_binary", unit) ("timestamp_text", unit)
("timestamptz_text", unit) ("timestamp_binary", unit) ("int_text", step) ("int_binary", step)
("numeric_text", step) ("numeric_binary", step) ("float4_text", step) ("float8_text", step)
("float4_binary", step) ("float8_binary", step); unit is year, month or day; step from 1 to 10^15.
Formats: PostgreSQL's own output and send functions (src/backend/utils/adt).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport INT32_MAX, int64_t, uint8_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy, memset

from _speedups.maskdates cimport (
    DAY,
    MONTH,
    YEAR,
    date_binary,
    date_text,
    timestamp_binary,
    timestamp_text,
)
from _speedups.masknumbers cimport (
    float4_binary,
    float8_binary,
    float_text,
    int_binary,
    int_text,
    numeric_binary,
    numeric_text,
)
from _speedups.sha256 cimport authenticate, prepare

cdef enum Kind:
    KEEP_FIRST = 2
    KEEP_LAST = 3
    EMAIL = 4
    TOKEN = 5
    DATE_TEXT = 6
    DATE_BINARY = 7
    TIMESTAMP_TEXT = 8
    TIMESTAMPTZ_TEXT = 9
    TIMESTAMP_BINARY = 10
    INT_TEXT = 11
    INT_BINARY = 12
    NUMERIC_TEXT = 13
    NUMERIC_BINARY = 14
    FLOAT4_TEXT = 15
    FLOAT8_TEXT = 16
    FLOAT4_BINARY = 17
    FLOAT8_BINARY = 18

cdef dict KINDS = {
    "null": NULLED,
    "fixed": FIXED,
    "keep_first": KEEP_FIRST,
    "keep_last": KEEP_LAST,
    "email": EMAIL,
    "token": TOKEN,
    "date_text": DATE_TEXT,
    "date_binary": DATE_BINARY,
    "timestamp_text": TIMESTAMP_TEXT,
    "timestamptz_text": TIMESTAMPTZ_TEXT,
    "timestamp_binary": TIMESTAMP_BINARY,
    "int_text": INT_TEXT,
    "int_binary": INT_BINARY,
    "numeric_text": NUMERIC_TEXT,
    "numeric_binary": NUMERIC_BINARY,
    "float4_text": FLOAT4_TEXT,
    "float8_text": FLOAT8_TEXT,
    "float4_binary": FLOAT4_BINARY,
    "float8_binary": FLOAT8_BINARY,
}
cdef dict UNITS = {"year": YEAR, "month": MONTH, "day": DAY}

STEP_MAX = 10**15  # remainder * 10000 must fit 64 bits; also exact in a double

cdef enum:
    NO_VALUE = -1
    SMALL_GROWTH = 48  # longest date or number we write from a shorter text
    NUMERIC_GROWTH = 160  # 8 header bytes and 64 digits of 2
    TOKEN_LENGTH = 28
    LABEL_MIN = 2
    LABEL_MAX = 18  # the longest top-level domain in letters
    EMAIL_GROWTH = 32



@cython.final
cdef class MaskOp:
    """One compiled op; ValueError for a tuple that is not one."""

    def __init__(self, tuple op not None):
        cdef str name
        if not op or op[0] not in KINDS:
            raise ValueError("unknown mask op")
        name = op[0]
        memset(&self.op, 0, sizeof(Op))
        self.op.kind = KINDS[name]
        if len(op) != (1 if self.op.kind in (NULLED, EMAIL) else 2):
            raise ValueError(f"mask op {name} takes another number of arguments")
        if self.op.kind == FIXED:
            self._fixed = op[1]
            if self._fixed is None:
                raise ValueError("mask op fixed takes bytes")
            self.op.fixed = <const uint8_t*>PyBytes_AS_STRING(self._fixed)
            self.op.fixed_length = <size_t>PyBytes_GET_SIZE(self._fixed)
            if self.op.fixed_length <= SHORT:
                memcpy(self.op.short_fixed, self.op.fixed, self.op.fixed_length)
            self.op.growth = self.op.fixed_length
        elif self.op.kind in (KEEP_FIRST, KEEP_LAST):
            if not 0 <= op[1] <= INT32_MAX:
                raise ValueError("characters kept must not be negative")
            self.op.keep = op[1]
            self.op.growth = 4
        elif self.op.kind == EMAIL:
            self.op.growth = EMAIL_GROWTH
        elif self.op.kind == TOKEN:
            if not isinstance(op[1], bytes) or not op[1]:
                raise ValueError("a token key must not be empty")
            prepare(
                self.op.inner,
                self.op.outer,
                <const uint8_t*>PyBytes_AS_STRING(op[1]),
                <size_t>PyBytes_GET_SIZE(op[1]),
            )
            self.op.growth = TOKEN_LENGTH
        elif self.op.kind in (
            DATE_TEXT, DATE_BINARY, TIMESTAMP_TEXT, TIMESTAMPTZ_TEXT, TIMESTAMP_BINARY
        ):
            if op[1] not in UNITS:
                raise ValueError("unit must be year, month or day")
            self.op.unit = UNITS[op[1]]
            self.op.growth = SMALL_GROWTH
        elif self.op.kind != NULLED:
            if not 1 <= op[1] <= STEP_MAX:
                raise ValueError("step must be from 1 to 10^15")
            self.op.step = op[1]
            self.op.growth = NUMERIC_GROWTH if self.op.kind == NUMERIC_BINARY else SMALL_GROWTH

    def apply(self, bytes value):
        """The masked value, None for NULL; None (NULL) stays None."""
        cdef size_t length
        cdef int64_t written
        cdef uint8_t* out
        if value is None:
            return None
        length = <size_t>PyBytes_GET_SIZE(value)
        out = <uint8_t*>malloc(length + self.op.growth + 1)
        if out == NULL:
            raise MemoryError
        try:
            written = mask_value(
                &self.op, <const uint8_t*>PyBytes_AS_STRING(value), length, out
            )
            if written == NO_VALUE:
                return None
            return PyBytes_FromStringAndSize(<char*>out, <Py_ssize_t>written)
        finally:
            free(out)


cdef int64_t mask_value(
    const Op* op, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """Writes the masked value to `out` (room: length + op.growth); its length, or -1 for NULL."""
    if op.kind == NULLED:
        return NO_VALUE
    if op.kind == FIXED:
        if op.fixed_length:
            memcpy(out, op.fixed, op.fixed_length)
        return <int64_t>op.fixed_length
    if op.kind == KEEP_FIRST or op.kind == KEEP_LAST:
        return keep_characters(op, value, length, out)
    if op.kind == EMAIL:
        return mask_email(value, length, out)
    if op.kind == TOKEN:
        return write_token(op, value, length, out)
    if op.kind == DATE_TEXT:
        return date_text(op.unit, value, length, out)
    if op.kind == TIMESTAMP_TEXT:
        return timestamp_text(op.unit, False, value, length, out)
    if op.kind == TIMESTAMPTZ_TEXT:
        return timestamp_text(op.unit, True, value, length, out)
    if op.kind == DATE_BINARY:
        return date_binary(op.unit, value, length, out)
    if op.kind == TIMESTAMP_BINARY:
        return timestamp_binary(op.unit, value, length, out)
    if op.kind == INT_TEXT:
        return int_text(op.step, value, length, out)
    if op.kind == INT_BINARY:
        return int_binary(op.step, value, length, out)
    if op.kind == NUMERIC_TEXT:
        return numeric_text(op.step, value, length, out)
    if op.kind == NUMERIC_BINARY:
        return numeric_binary(op.step, value, length, out)
    if op.kind == FLOAT4_TEXT or op.kind == FLOAT8_TEXT:
        return float_text(op.step, op.kind == FLOAT4_TEXT, value, length, out)
    if op.kind == FLOAT4_BINARY:
        return float4_binary(op.step, value, length, out)
    if op.kind == FLOAT8_BINARY:
        return float8_binary(op.step, value, length, out)
    return NO_VALUE


# Text ------------------------------------------------------------------------------------------


cdef inline size_t character(const uint8_t* at, const uint8_t* end) noexcept nogil:
    """Bytes of the UTF-8 character at `at` (RFC 3629); 0 when it is not one."""
    cdef uint8_t first = at[0]
    cdef uint8_t low = 0x80
    cdef uint8_t high = 0xBF
    cdef size_t size
    cdef size_t index
    if first < 0x80:
        return 1
    if 0xC2 <= first <= 0xDF:
        size = 2
    elif 0xE0 <= first <= 0xEF:
        size = 3
        if first == 0xE0:
            low = 0xA0
        elif first == 0xED:
            high = 0x9F
    elif 0xF0 <= first <= 0xF4:
        size = 4
        if first == 0xF0:
            low = 0x90
        elif first == 0xF4:
            high = 0x8F
    else:
        return 0
    if <size_t>(end - at) < size or not low <= at[1] <= high:
        return 0
    for index in range(2, size):
        if not 0x80 <= at[index] <= 0xBF:
            return 0
    return size


cdef inline int64_t four_stars(uint8_t* out) noexcept nogil:
    memset(out, 42, 4)
    return 4


cdef int64_t keep_characters(
    const Op* op, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """n characters kept at one end, a star for each of the others; up to n: only stars."""
    cdef const uint8_t* at = value
    cdef const uint8_t* end = value + length
    cdef const uint8_t* cut
    cdef size_t characters = 0
    cdef size_t stars
    cdef size_t size
    cdef size_t index
    while at < end:
        size = character(at, end)
        if size == 0:
            return four_stars(out)
        at += size
        characters += 1
    if characters <= op.keep:
        memset(out, 42, characters)
        return <int64_t>characters
    stars = characters - op.keep
    cut = value
    for index in range(op.keep if op.kind == KEEP_FIRST else stars):
        cut += character(cut, end)
    if op.kind == KEEP_FIRST:
        size = <size_t>(cut - value)
        memcpy(out, value, size)
        memset(out + size, 42, stars)
    else:
        size = <size_t>(end - cut)
        memset(out, 42, stars)
        memcpy(out + stars, cut, size)
    return <int64_t>(stars + size)


cdef inline bint is_letter(uint8_t byte) noexcept nogil:
    return 97 <= (byte | 0x20) <= 122


cdef int64_t mask_email(const uint8_t* value, size_t length, uint8_t* out) noexcept nogil:
    """First character, `***@***`, then `.label` when the text ends in a dot and 2-18 letters.

    Only letters, because a free text with an '@' in it must not keep what follows its last dot.
    """
    cdef size_t size
    cdef size_t label = 0
    if length == 0 or value[0] == 64 or memchr(value, 64, length) == NULL:
        return four_stars(out)
    size = character(value, value + length)
    if size == 0:
        return four_stars(out)
    memcpy(out, value, size)
    memcpy(out + size, b"***@***", 7)
    size += 7
    while label < length and label <= LABEL_MAX and is_letter(value[length - 1 - label]):
        label += 1
    if LABEL_MIN <= label <= LABEL_MAX and label < length and value[length - 1 - label] == 46:
        memcpy(out + size, value + length - 1 - label, label + 1)
        size += label + 1
    return <int64_t>size


cdef int64_t write_token(
    const Op* op, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """`tok_` and the first 24 hex digits of HMAC-SHA-256(key, value)."""
    cdef uint8_t hashed[32]
    cdef const char* digits = b"0123456789abcdef"
    cdef int index
    authenticate(op.inner, op.outer, value, length, hashed)
    memcpy(out, b"tok_", 4)
    for index in range(12):
        out[4 + 2 * index] = <uint8_t>digits[hashed[index] >> 4]
        out[5 + 2 * index] = <uint8_t>digits[hashed[index] & 15]
    return TOKEN_LENGTH
