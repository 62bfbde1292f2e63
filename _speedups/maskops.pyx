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
from libc.math cimport fmod, isfinite
from libc.stdint cimport (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)
from libc.stdio cimport snprintf
from libc.stdlib cimport free, malloc, strtod, strtof
from libc.string cimport memchr, memcmp, memcpy, memset

from _speedups.reader cimport Reader, put_u32, take_u16, take_u32

cdef enum Kind:
    NULLED = 0
    FIXED = 1
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

cdef enum Unit:
    YEAR = 0
    MONTH = 1
    DAY = 2

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
    NUMERIC_DIGITS_MAX = 256  # decimal digits before the point; more -> NULL
    NUMERIC_GROUPS_MAX = 64  # the same in base 10000
    FLOAT_TEXT_MAX = 63
    TOKEN_LENGTH = 28
    LABEL_MIN = 2
    LABEL_MAX = 18  # the longest top-level domain in letters
    EMAIL_GROWTH = 32

# PostgreSQL counts from 2000-01-01 (J2451545) and knows nothing before J0, 4714-11-24 BC.
cdef int64_t DATE_MIN = -2451545
cdef int64_t DATE_MAX = 2145031948
cdef int64_t EPOCH_SHIFT = 10957  # days from 1970-01-01 to 2000-01-01
cdef int64_t DAY_SECONDS = 86400
cdef int64_t DAY_MICROSECONDS = 86400000000
cdef int64_t TIMESTAMP_DAY_MAX = 106751991


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
            self.op.growth = self.op.fixed_length
        elif self.op.kind in (KEEP_FIRST, KEEP_LAST):
            if not 0 <= op[1] <= INT32_MAX:
                raise ValueError("characters kept must not be negative")
            self.op.keep = op[1]
            self.op.growth = 4
        elif self.op.kind == EMAIL:
            self.op.growth = EMAIL_GROWTH
        elif self.op.kind == TOKEN:
            self._prepare_key(op[1])
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

    cdef int _prepare_key(self, bytes key) except -1:
        """Runs SHA-256 over the inner and the outer padded key (RFC 2104), once per op."""
        cdef uint8_t block[64]
        cdef uint8_t padded[64]
        cdef int index
        if not key:
            raise ValueError("a token key must not be empty")
        memset(block, 0, 64)
        if len(key) > 64:
            digest(<const uint8_t*>PyBytes_AS_STRING(key), <size_t>len(key), block)
        else:
            memcpy(block, PyBytes_AS_STRING(key), <size_t>len(key))
        for index in range(64):
            padded[index] = block[index] ^ 0x36
        begin(self.op.inner)
        compress(self.op.inner, padded)
        for index in range(64):
            padded[index] = block[index] ^ 0x5C
        begin(self.op.outer)
        compress(self.op.outer, padded)
        return 0

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


def sha256(bytes text not None) -> bytes:
    """SHA-256 (FIPS 180-4) by the code that makes tokens; for tests."""
    cdef uint8_t out[32]
    digest(<const uint8_t*>PyBytes_AS_STRING(text), <size_t>len(text), out)
    return PyBytes_FromStringAndSize(<char*>out, 32)


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


# Tokens: HMAC-SHA-256 (RFC 2104, FIPS 180-4); own code, since libcrypto's headers may be absent ---

cdef uint32_t[64] ROUNDS = [
    0x428A2F98, 0x71374491, 0xB5C0FBCF, 0xE9B5DBA5, 0x3956C25B, 0x59F111F1, 0x923F82A4, 0xAB1C5ED5,
    0xD807AA98, 0x12835B01, 0x243185BE, 0x550C7DC3, 0x72BE5D74, 0x80DEB1FE, 0x9BDC06A7, 0xC19BF174,
    0xE49B69C1, 0xEFBE4786, 0x0FC19DC6, 0x240CA1CC, 0x2DE92C6F, 0x4A7484AA, 0x5CB0A9DC, 0x76F988DA,
    0x983E5152, 0xA831C66D, 0xB00327C8, 0xBF597FC7, 0xC6E00BF3, 0xD5A79147, 0x06CA6351, 0x14292967,
    0x27B70A85, 0x2E1B2138, 0x4D2C6DFC, 0x53380D13, 0x650A7354, 0x766A0ABB, 0x81C2C92E, 0x92722C85,
    0xA2BFE8A1, 0xA81A664B, 0xC24B8B70, 0xC76C51A3, 0xD192E819, 0xD6990624, 0xF40E3585, 0x106AA070,
    0x19A4C116, 0x1E376C08, 0x2748774C, 0x34B0BCB5, 0x391C0CB3, 0x4ED8AA4A, 0x5B9CCA4F, 0x682E6FF3,
    0x748F82EE, 0x78A5636F, 0x84C87814, 0x8CC70208, 0x90BEFFFA, 0xA4506CEB, 0xBEF9A3F7, 0xC67178F2,
]
cdef uint32_t[8] START = [
    0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19,
]


cdef inline void begin(uint32_t* state) noexcept nogil:
    memcpy(state, START, 32)


cdef inline uint32_t turn(uint32_t word, int bits) noexcept nogil:
    return (word >> bits) | (word << (32 - bits))


cdef void compress(uint32_t* state, const uint8_t* block) noexcept nogil:
    """One 64-byte block into the state."""
    cdef uint32_t w[64]
    cdef uint32_t a = state[0], b = state[1], c = state[2], d = state[3]
    cdef uint32_t e = state[4], f = state[5], g = state[6], h = state[7]
    cdef uint32_t first, second
    cdef int index
    for index in range(16):
        w[index] = (
            (<uint32_t>block[4 * index] << 24)
            | (<uint32_t>block[4 * index + 1] << 16)
            | (<uint32_t>block[4 * index + 2] << 8)
            | <uint32_t>block[4 * index + 3]
        )
    for index in range(16, 64):
        first = turn(w[index - 15], 7) ^ turn(w[index - 15], 18) ^ (w[index - 15] >> 3)
        second = turn(w[index - 2], 17) ^ turn(w[index - 2], 19) ^ (w[index - 2] >> 10)
        w[index] = w[index - 16] + first + w[index - 7] + second
    for index in range(64):
        first = (
            h + (turn(e, 6) ^ turn(e, 11) ^ turn(e, 25)) + ((e & f) ^ (~e & g))
            + ROUNDS[index] + w[index]
        )
        second = (turn(a, 2) ^ turn(a, 13) ^ turn(a, 22)) + ((a & b) ^ (a & c) ^ (b & c))
        h = g
        g = f
        f = e
        e = d + first
        d = c
        c = b
        b = a
        a = first + second
    state[0] += a
    state[1] += b
    state[2] += c
    state[3] += d
    state[4] += e
    state[5] += f
    state[6] += g
    state[7] += h


cdef void finish(
    uint32_t* state, const uint8_t* text, size_t length, uint64_t before, uint8_t* out
) noexcept nogil:
    """Takes the last `length` bytes, pads, and writes 32 bytes; `before` bytes went in already."""
    cdef uint8_t block[64]
    cdef uint64_t bits = (before + length) * 8
    cdef size_t rest
    cdef int index
    while length >= 64:
        compress(state, text)
        text += 64
        length -= 64
    rest = length
    if rest:
        memcpy(block, text, rest)
    block[rest] = 0x80
    rest += 1
    if rest > 56:
        memset(block + rest, 0, 64 - rest)
        compress(state, block)
        rest = 0
    memset(block + rest, 0, 56 - rest)
    put_u32(block + 56, <uint32_t>(bits >> 32))
    put_u32(block + 60, <uint32_t>(bits & 0xFFFFFFFFU))
    compress(state, block)
    for index in range(8):
        put_u32(out + 4 * index, state[index])


cdef void digest(const uint8_t* text, size_t length, uint8_t* out) noexcept nogil:
    cdef uint32_t state[8]
    begin(state)
    finish(state, text, length, 0, out)


cdef int64_t write_token(
    const Op* op, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """`tok_` and the first 24 hex digits of HMAC-SHA-256(key, value)."""
    cdef uint32_t state[8]
    cdef uint8_t hashed[32]
    cdef const char* digits = b"0123456789abcdef"
    cdef int index
    memcpy(state, op.inner, 32)
    finish(state, value, length, 64, hashed)
    memcpy(state, op.outer, 32)
    finish(state, hashed, 32, 64, hashed)
    memcpy(out, b"tok_", 4)
    for index in range(12):
        out[4 + 2 * index] = <uint8_t>digits[hashed[index] >> 4]
        out[5 + 2 * index] = <uint8_t>digits[hashed[index] & 15]
    return TOKEN_LENGTH


# Dates and times -------------------------------------------------------------------------------


cdef inline int64_t floor_divide(int64_t number, int64_t by) noexcept nogil:
    cdef int64_t quotient = number / by
    return quotient - 1 if number % by < 0 else quotient


cdef inline int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept nogil:
    """Days since 2000-01-01 of a proleptic Gregorian date (year 0 is 1 BC)."""
    cdef int64_t shifted = year - 1 if month <= 2 else year
    cdef int64_t era = floor_divide(shifted, 400)
    cdef int64_t of_era = shifted - era * 400
    cdef int64_t of_year = (153 * (month - 3 if month > 2 else month + 9) + 2) / 5 + day - 1
    cdef int64_t day_of_era = of_era * 365 + of_era / 4 - of_era / 100 + of_year
    return era * 146097 + day_of_era - 719468 - EPOCH_SHIFT


cdef inline void date_of(int64_t days, int64_t* year, int64_t* month, int64_t* day) noexcept nogil:
    """The inverse of `days_of`."""
    cdef int64_t shifted = days + EPOCH_SHIFT + 719468
    cdef int64_t era = floor_divide(shifted, 146097)
    cdef int64_t day_of_era = shifted - era * 146097
    cdef int64_t of_era = (
        day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096
    ) / 365
    cdef int64_t of_year = day_of_era - (365 * of_era + of_era / 4 - of_era / 100)
    cdef int64_t turned = (5 * of_year + 2) / 153
    day[0] = of_year - (153 * turned + 2) / 5 + 1
    month[0] = turned + 3 if turned < 10 else turned - 9
    year[0] = of_era + era * 400 + (1 if month[0] <= 2 else 0)


cdef inline int64_t cut_days(int unit, int64_t days) noexcept nogil:
    """The first day of the year or month of `days`; `days` itself for DAY."""
    cdef int64_t year = 0
    cdef int64_t month = 0
    cdef int64_t day = 0
    if unit == DAY:
        return days
    date_of(days, &year, &month, &day)
    return days_of(year, month if unit == MONTH else 1, 1)


cdef inline bint is_infinity(const uint8_t* value, size_t length) noexcept nogil:
    return (length == 8 and memcmp(value, b"infinity", 8) == 0) or (
        length == 9 and memcmp(value, b"-infinity", 9) == 0
    )


cdef inline int64_t same(const uint8_t* value, size_t length, uint8_t* out) noexcept nogil:
    memcpy(out, value, length)
    return <int64_t>length


cdef inline bint take_digits(
    const uint8_t** at, const uint8_t* end, int least, int most, int64_t* number
) noexcept nogil:
    """Reads from `least` to `most` decimal digits (most <= 18)."""
    cdef int count = 0
    number[0] = 0
    while count < most and at[0] < end and 48 <= at[0][0] <= 57:
        number[0] = number[0] * 10 + (at[0][0] - 48)
        at[0] += 1
        count += 1
    return count >= least


cdef inline bint take_byte(const uint8_t** at, const uint8_t* end, uint8_t byte) noexcept nogil:
    if at[0] < end and at[0][0] == byte:
        at[0] += 1
        return True
    return False


cdef bint take_date(
    const uint8_t** at, const uint8_t* end, int64_t* year, int64_t* month, int64_t* day
) noexcept nogil:
    """Reads `YYYY-MM-DD` as DateStyle ISO writes it; any other style does not match."""
    return (
        take_digits(at, end, 4, 7, year)
        and take_byte(at, end, 45)
        and take_digits(at, end, 2, 2, month)
        and take_byte(at, end, 45)
        and take_digits(at, end, 2, 2, day)
        and 1 <= month[0] <= 12
        and 1 <= day[0] <= 31
        and year[0] >= 1
    )


cdef bint take_clock(const uint8_t** at, const uint8_t* end, int64_t* seconds) noexcept nogil:
    """Reads ` HH:MM:SS[.ffffff]`; the fraction is passed over, every unit cuts it."""
    cdef int64_t hour = 0
    cdef int64_t minute = 0
    cdef int64_t second = 0
    cdef int64_t fraction = 0
    if not (
        take_byte(at, end, 32)
        and take_digits(at, end, 2, 2, &hour)
        and take_byte(at, end, 58)
        and take_digits(at, end, 2, 2, &minute)
        and take_byte(at, end, 58)
        and take_digits(at, end, 2, 2, &second)
    ):
        return False
    if take_byte(at, end, 46) and not take_digits(at, end, 1, 6, &fraction):
        return False
    seconds[0] = hour * 3600 + minute * 60 + second
    return hour <= 23 and minute <= 59 and second <= 59


cdef bint take_zone(const uint8_t** at, const uint8_t* end, int64_t* seconds) noexcept nogil:
    """Reads `+HH[:MM[:SS]]`, east of Greenwich positive."""
    cdef int64_t hour = 0
    cdef int64_t minute = 0
    cdef int64_t second = 0
    cdef bint west
    if at[0] == end or (at[0][0] != 43 and at[0][0] != 45):
        return False
    west = at[0][0] == 45
    at[0] += 1
    if not take_digits(at, end, 2, 2, &hour):
        return False
    if take_byte(at, end, 58):
        if not take_digits(at, end, 2, 2, &minute):
            return False
        if take_byte(at, end, 58) and not take_digits(at, end, 2, 2, &second):
            return False
    seconds[0] = hour * 3600 + minute * 60 + second
    if west:
        seconds[0] = -seconds[0]
    return True


cdef inline bint take_era(const uint8_t** at, const uint8_t* end, bint* bc) noexcept nogil:
    """Reads the optional ` BC`, which must end the text."""
    bc[0] = end - at[0] == 3 and memcmp(at[0], b" BC", 3) == 0
    return bc[0] or at[0] == end


cdef inline size_t put_digits(uint8_t* out, int64_t number, int least) noexcept nogil:
    """Writes a number that is not negative, with leading zeros up to `least` digits."""
    cdef uint8_t reverse[20]
    cdef int count = 0
    cdef int index
    while number > 0 or count < least:
        reverse[count] = <uint8_t>(48 + number % 10)
        number /= 10
        count += 1
    for index in range(count):
        out[index] = reverse[count - 1 - index]
    return <size_t>count


cdef size_t put_date(uint8_t* out, int64_t days, bint* bc) noexcept nogil:
    cdef int64_t year = 0
    cdef int64_t month = 0
    cdef int64_t day = 0
    cdef size_t size
    date_of(days, &year, &month, &day)
    bc[0] = year <= 0
    size = put_digits(out, 1 - year if bc[0] else year, 4)
    out[size] = 45
    put_digits(out + size + 1, month, 2)
    out[size + 3] = 45
    put_digits(out + size + 4, day, 2)
    return size + 6


cdef int64_t date_text(
    int unit, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef const uint8_t* at = value
    cdef const uint8_t* end = value + length
    cdef int64_t year = 0
    cdef int64_t month = 0
    cdef int64_t day = 0
    cdef int64_t days
    cdef bint bc = False
    cdef size_t size
    if is_infinity(value, length):
        return same(value, length, out)
    if not take_date(&at, end, &year, &month, &day) or not take_era(&at, end, &bc):
        return NO_VALUE
    days = days_of(1 - year if bc else year, month, day)
    if not DATE_MIN <= days <= DATE_MAX:
        return NO_VALUE
    days = cut_days(unit, days)
    if days < DATE_MIN:
        return NO_VALUE
    size = put_date(out, days, &bc)
    if bc:
        memcpy(out + size, b" BC", 3)
        size += 3
    return <int64_t>size


cdef int64_t timestamp_text(
    int unit, bint zoned, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """With a zone the cut is made in UTC, as the binary form (which has no zone) must make it."""
    cdef const uint8_t* at = value
    cdef const uint8_t* end = value + length
    cdef int64_t year = 0
    cdef int64_t month = 0
    cdef int64_t day = 0
    cdef int64_t seconds = 0
    cdef int64_t zone = 0
    cdef int64_t days
    cdef bint bc = False
    cdef size_t size
    if is_infinity(value, length):
        return same(value, length, out)
    if not take_date(&at, end, &year, &month, &day) or not take_clock(&at, end, &seconds):
        return NO_VALUE
    if zoned and not take_zone(&at, end, &zone):
        return NO_VALUE
    if not take_era(&at, end, &bc):
        return NO_VALUE
    days = days_of(1 - year if bc else year, month, day)
    days = floor_divide(days * DAY_SECONDS + seconds - zone, DAY_SECONDS)
    if not DATE_MIN <= days <= TIMESTAMP_DAY_MAX:
        return NO_VALUE
    days = cut_days(unit, days)
    if days < DATE_MIN:
        return NO_VALUE
    size = put_date(out, days, &bc)
    memcpy(out + size, b" 00:00:00", 9)
    size += 9
    if zoned:
        memcpy(out + size, b"+00", 3)
        size += 3
    if bc:
        memcpy(out + size, b" BC", 3)
        size += 3
    return <int64_t>size


cdef inline uint64_t load_u64(const uint8_t* value) noexcept nogil:
    """Eight bytes, most significant first; the caller has checked that they are there."""
    cdef Reader reader
    cdef uint32_t high = 0
    cdef uint32_t low = 0
    reader.at = value
    reader.end = value + 8
    take_u32(&reader, &high)
    take_u32(&reader, &low)
    return (<uint64_t>high << 32) | low


cdef inline uint32_t load_u32(const uint8_t* value) noexcept nogil:
    cdef Reader reader
    cdef uint32_t word = 0
    reader.at = value
    reader.end = value + 4
    take_u32(&reader, &word)
    return word


cdef inline void put_u64(uint8_t* out, uint64_t value) noexcept nogil:
    put_u32(out, <uint32_t>(value >> 32))
    put_u32(out + 4, <uint32_t>(value & 0xFFFFFFFFU))


cdef int64_t date_binary(
    int unit, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef int64_t days
    if length != 4:
        return NO_VALUE
    days = <int32_t>load_u32(value)
    if days == INT32_MAX or days == INT32_MIN:
        return same(value, length, out)
    if not DATE_MIN <= days <= DATE_MAX:
        return NO_VALUE
    days = cut_days(unit, days)
    if days < DATE_MIN:
        return NO_VALUE
    put_u32(out, <uint32_t>days)
    return 4


cdef int64_t timestamp_binary(
    int unit, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef int64_t moment
    cdef int64_t days
    if length != 8:
        return NO_VALUE
    moment = <int64_t>load_u64(value)
    if moment == INT64_MAX or moment == INT64_MIN:
        return same(value, length, out)
    days = floor_divide(moment, DAY_MICROSECONDS)
    if not DATE_MIN <= days <= TIMESTAMP_DAY_MAX:
        return NO_VALUE
    days = cut_days(unit, days)
    if days < DATE_MIN:
        return NO_VALUE
    put_u64(out, <uint64_t>(days * DAY_MICROSECONDS))
    return 8


# Numbers ---------------------------------------------------------------------------------------


cdef int64_t int_text(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef const uint8_t* at = value
    cdef const uint8_t* end = value + length
    cdef bint negative = take_byte(&at, end, 45)
    cdef uint64_t number = 0
    cdef uint64_t most = <uint64_t>INT64_MAX + (1 if negative else 0)
    cdef size_t size = 0
    if not 1 <= end - at <= 19:
        return NO_VALUE
    while at < end:
        if not 48 <= at[0] <= 57:
            return NO_VALUE
        number = number * 10 + (at[0] - 48)
        at += 1
    if number > most:
        return NO_VALUE
    number -= number % <uint64_t>step
    if negative and number:
        out[0] = 45
        size = 1
    return <int64_t>(size + put_unsigned(out + size, number))


cdef inline size_t put_unsigned(uint8_t* out, uint64_t number) noexcept nogil:
    cdef uint8_t reverse[20]
    cdef int count = 0
    cdef int index
    while number or count == 0:
        reverse[count] = <uint8_t>(48 + number % 10)
        number /= 10
        count += 1
    for index in range(count):
        out[index] = reverse[count - 1 - index]
    return <size_t>count


cdef int64_t int_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """int2, int4 or int8, told apart by their length."""
    cdef int64_t number
    cdef Reader reader
    cdef uint16_t half = 0
    if length == 2:
        reader.at = value
        reader.end = value + 2
        take_u16(&reader, &half)
        number = <int16_t>half
        number -= number % step
        out[0] = <uint8_t>((<uint64_t>number >> 8) & 0xFF)
        out[1] = <uint8_t>(<uint64_t>number & 0xFF)
        return 2
    if length == 4:
        number = <int32_t>load_u32(value)
        number -= number % step
        put_u32(out, <uint32_t>(<uint64_t>number & 0xFFFFFFFFU))
        return 4
    if length == 8:
        number = <int64_t>load_u64(value)
        number -= number % step
        put_u64(out, <uint64_t>number)
        return 8
    return NO_VALUE


cdef inline bint is_special(const uint8_t* value, size_t length) noexcept nogil:
    """NaN and the infinities, as numeric and float types write them."""
    return (
        (length == 3 and memcmp(value, b"NaN", 3) == 0)
        or (length == 8 and memcmp(value, b"Infinity", 8) == 0)
        or (length == 9 and memcmp(value, b"-Infinity", 9) == 0)
    )


cdef int64_t numeric_text(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """`[-]digits[.digits]`; the scale is kept, so that numeric(p, s) still looks like it."""
    cdef const uint8_t* at = value
    cdef const uint8_t* end = value + length
    cdef const uint8_t* whole
    cdef bint negative
    cdef bint nothing = True
    cdef size_t digits
    cdef size_t scale = 0
    cdef size_t size = 0
    cdef size_t index
    cdef uint64_t rest = 0
    cdef int64_t place
    cdef int borrowed
    if is_special(value, length):
        return same(value, length, out)
    negative = take_byte(&at, end, 45)
    whole = at
    while at < end and 48 <= at[0] <= 57:
        at += 1
    if at == whole:
        return NO_VALUE
    while whole < at - 1 and whole[0] == 48:
        whole += 1
    digits = <size_t>(at - whole)
    if digits > NUMERIC_DIGITS_MAX:
        return NO_VALUE
    if take_byte(&at, end, 46):
        scale = <size_t>(end - at)
        if scale == 0:
            return NO_VALUE
    while at < end:
        if not 48 <= at[0] <= 57:
            return NO_VALUE
        at += 1
    for index in range(digits):
        rest = (rest * 10 + (whole[index] - 48)) % <uint64_t>step
    # The sign goes in first and is taken back when nothing is left of the number.
    if negative:
        out[0] = 45
        size = 1
    borrowed = 0
    for index in range(digits):
        place = <int64_t>(digits - 1 - index)
        borrowed = <int>(whole[place] - 48) - <int>(rest % 10) - borrowed
        rest /= 10
        out[size + place] = <uint8_t>(48 + (borrowed + 10 if borrowed < 0 else borrowed))
        borrowed = 1 if borrowed < 0 else 0
        if out[size + place] != 48:
            nothing = False
    if nothing:
        out[0] = 48
        size = 1
    else:
        size = strip_zeros(out, size, digits)
    if scale:
        out[size] = 46
        memset(out + size + 1, 48, scale)
        size += 1 + scale
    return <int64_t>size


cdef inline size_t strip_zeros(uint8_t* out, size_t start, size_t digits) noexcept nogil:
    """Moves the digits at `start` over their leading zeros; where they then end."""
    cdef size_t zeros = 0
    cdef size_t index
    while zeros < digits - 1 and out[start + zeros] == 48:
        zeros += 1
    for index in range(digits - zeros):
        out[start + index] = out[start + zeros + index]
    return start + digits - zeros


cdef inline void put_u16(uint8_t* out, uint32_t value) noexcept nogil:
    out[0] = <uint8_t>((value >> 8) & 0xFF)
    out[1] = <uint8_t>(value & 0xFF)


cdef int64_t numeric_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """numeric_send: groups, weight, sign, scale, then groups of base 10000, first the highest."""
    cdef Reader reader
    cdef uint16_t groups = 0
    cdef uint16_t raw_weight = 0
    cdef uint16_t sign = 0
    cdef uint16_t scale = 0
    cdef uint16_t group = 0
    cdef uint32_t numbers[64]
    cdef int weight
    cdef int count
    cdef int index
    cdef int first
    cdef int last
    cdef int borrowed = 0
    cdef uint64_t rest = 0
    reader.at = value
    reader.end = value + length
    if not (
        take_u16(&reader, &groups)
        and take_u16(&reader, &raw_weight)
        and take_u16(&reader, &sign)
        and take_u16(&reader, &scale)
    ):
        return NO_VALUE
    if length != 8 + 2 * <size_t>groups or scale > 0x3FFF:
        return NO_VALUE
    if sign == 0xC000 or sign == 0xD000 or sign == 0xF000:
        return same(value, length, out) if groups == 0 else NO_VALUE
    if sign != 0 and sign != 0x4000:
        return NO_VALUE
    weight = <int16_t>raw_weight
    count = weight + 1
    if groups and count > NUMERIC_GROUPS_MAX:
        return NO_VALUE
    if groups == 0 or count < 0:
        count = 0
    memset(numbers, 0, sizeof(numbers))
    for index in range(groups):
        take_u16(&reader, &group)
        if group > 9999 or (index == 0 and group == 0):
            return NO_VALUE
        if index < count:
            numbers[index] = group
    for index in range(count):
        rest = (rest * 10000 + numbers[index]) % <uint64_t>step
    for index in range(count - 1, -1, -1):
        borrowed = <int>numbers[index] - <int>(rest % 10000) - borrowed
        rest /= 10000
        numbers[index] = <uint32_t>(borrowed + 10000 if borrowed < 0 else borrowed)
        borrowed = 1 if borrowed < 0 else 0
    first = 0
    while first < count and numbers[first] == 0:
        first += 1
    last = count
    while last > first and numbers[last - 1] == 0:
        last -= 1
    put_u16(out, <uint32_t>(last - first))
    put_u16(out + 2, <uint32_t>(count - 1 - first) if last > first else 0)
    put_u16(out + 4, sign if last > first else 0)
    put_u16(out + 6, scale)
    for index in range(first, last):
        put_u16(out + 8 + 2 * (index - first), numbers[index])
    return 8 + 2 * (last - first)


cdef inline double cut_double(double number, int64_t step) noexcept nogil:
    """fmod is exact, a division is not: 2999.9999999999995 / 1000 would round to 3."""
    return number - fmod(number, <double>step)


cdef int64_t float_text(
    int64_t step, bint short, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """float4 (`short`) or float8 as text, written as PostgreSQL 12 and later write it."""
    cdef char text[64]
    cdef char* stop = NULL
    cdef double number
    cdef size_t index
    if is_special(value, length):
        return same(value, length, out)
    if not 1 <= length <= FLOAT_TEXT_MAX:
        return NO_VALUE
    for index in range(length):
        # Neither hexadecimal nor a word: strtod would take both.
        if not (48 <= value[index] <= 57 or value[index] in (43, 45, 46, 69, 101)):
            return NO_VALUE
        text[index] = <char>value[index]
    text[length] = 0
    number = <double>strtof(text, &stop) if short else strtod(text, &stop)
    if stop != text + length or not isfinite(number):
        return NO_VALUE
    number = cut_double(number, step)
    if short:
        number = <double><float>number
    return put_float(out, number, short)


cdef int64_t put_float(uint8_t* out, double number, bint short) noexcept nogil:
    """A float that is a whole number: digits below 10^15 (float4: 10^6), else `d.ddde+NN`."""
    cdef char text[40]
    cdef size_t size = 0
    cdef int precision
    cdef int written = 0
    cdef bint again = False
    cdef bint plain
    if number < 0:
        out[0] = 45
        size = 1
        number = -number
    plain = number < 1e6 if short else number < 1e15
    if plain:
        return <int64_t>(size + put_unsigned(out + size, <uint64_t>number))
    for precision in range(17):  # the fewest digits that read back the same
        written = snprintf(text, sizeof(text), b"%.*e", precision, number)
        if short:
            again = strtof(text, NULL) == <float>number
        else:
            again = strtod(text, NULL) == number
        if again:
            break
    if not again or not 1 <= written < <int>sizeof(text):
        return NO_VALUE
    memcpy(out + size, text, <size_t>written)
    return <int64_t>size + written


cdef int64_t float8_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef uint64_t bits
    cdef double number = 0
    if length != 8:
        return NO_VALUE
    bits = load_u64(value)
    memcpy(&number, &bits, 8)
    if not isfinite(number):
        return same(value, length, out)
    number = cut_double(number, step)
    memcpy(&bits, &number, 8)
    put_u64(out, bits)
    return 8


cdef int64_t float4_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef uint32_t bits
    cdef float number = 0
    if length != 4:
        return NO_VALUE
    bits = load_u32(value)
    memcpy(&number, &bits, 4)
    if not isfinite(<double>number):
        return same(value, length, out)
    number = <float>cut_double(<double>number, step)
    memcpy(&bits, &number, 4)
    put_u32(out, bits)
    return 4
