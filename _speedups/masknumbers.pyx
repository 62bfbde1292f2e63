"""Numbers cut toward zero to a multiple of a step: PostgreSQL's text and binary forms.

Called by maskops. Rule: what is not a number of the type's own output or send function is NULL;
what both forms of one value become is one value. `step` is from 1 to 10^15. Each function writes
to `out` (room: the length and 48 more, numeric_binary 160 more) and returns the length written, or
-1 for NULL. NaN and the infinities stay.
"""

from libc.math cimport fmod, isfinite
from libc.stdint cimport (
    INT64_MAX,
    int16_t,
    int32_t,
    int64_t,
    uint8_t,
    uint16_t,
    uint32_t,
    uint64_t,
)
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod, strtof
from libc.string cimport memcmp, memcpy, memset

from _speedups.reader cimport (
    Reader,
    put_u16,
    put_u32,
    put_u64,
    same,
    take_byte,
    take_u16,
    take_u32,
    take_u64,
)

cdef enum:
    NO_VALUE = -1
    NUMERIC_DIGITS_MAX = 256  # decimal digits before the point; more -> NULL
    NUMERIC_GROUPS_MAX = 64  # the same in base 10000
    FLOAT_TEXT_MAX = 63


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


cdef int64_t int_binary(
    int64_t step, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    """int2, int4 or int8, told apart by their length."""
    cdef int64_t number
    cdef Reader reader
    cdef uint16_t half = 0
    cdef uint32_t word = 0
    cdef uint64_t long_word = 0
    reader.at = value
    reader.end = value + length
    if length == 2 and take_u16(&reader, &half):
        number = <int16_t>half
        put_u16(out, <uint32_t>(<uint64_t>(number - number % step) & 0xFFFFU))
        return 2
    if length == 4 and take_u32(&reader, &word):
        number = <int32_t>word
        put_u32(out, <uint32_t>(<uint64_t>(number - number % step) & 0xFFFFFFFFU))
        return 4
    if length == 8 and take_u64(&reader, &long_word):
        number = <int64_t>long_word
        put_u64(out, <uint64_t>(number - number % step))
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
    cdef Reader reader
    cdef uint64_t bits = 0
    cdef double number = 0
    reader.at = value
    reader.end = value + length
    if length != 8 or not take_u64(&reader, &bits):
        return NO_VALUE
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
    cdef Reader reader
    cdef uint32_t bits = 0
    cdef float number = 0
    reader.at = value
    reader.end = value + length
    if length != 4 or not take_u32(&reader, &bits):
        return NO_VALUE
    memcpy(&number, &bits, 4)
    if not isfinite(<double>number):
        return same(value, length, out)
    number = <float>cut_double(<double>number, step)
    memcpy(&bits, &number, 4)
    put_u32(out, bits)
    return 4
