"""Dates and timestamps cut to a year, a month or a day: PostgreSQL's text and binary forms.

Called by maskops. Rule: text is DateStyle ISO to the letter, anything else is NULL; what both
forms of one value become is one value. Each function writes to `out` (room: the length and 48
more) and returns the length written, or -1 for NULL.
"""

from libc.stdint cimport (
    INT32_MAX,
    INT32_MIN,
    INT64_MAX,
    INT64_MIN,
    int32_t,
    int64_t,
    uint8_t,
    uint32_t,
    uint64_t,
)
from libc.string cimport memcmp, memcpy

from _speedups.reader cimport Reader, put_u32, put_u64, same, take_byte, take_u32, take_u64

cdef enum:
    NO_VALUE = -1

# PostgreSQL counts from 2000-01-01 (J2451545) and knows nothing before J0, 4714-11-24 BC.
cdef int64_t DATE_MIN = -2451545
cdef int64_t DATE_MAX = 2145031948
cdef int64_t EPOCH_SHIFT = 10957  # days from 1970-01-01 to 2000-01-01
cdef int64_t DAY_SECONDS = 86400
cdef int64_t DAY_MICROSECONDS = 86400000000
cdef int64_t TIMESTAMP_DAY_MAX = 106751991


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


cdef int64_t date_binary(
    int unit, const uint8_t* value, size_t length, uint8_t* out
) noexcept nogil:
    cdef Reader reader
    cdef uint32_t word = 0
    cdef int64_t days
    reader.at = value
    reader.end = value + length
    if length != 4 or not take_u32(&reader, &word):
        return NO_VALUE
    days = <int32_t>word
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
    cdef Reader reader
    cdef uint64_t word = 0
    cdef int64_t moment
    cdef int64_t days
    reader.at = value
    reader.end = value + length
    if length != 8 or not take_u64(&reader, &word):
        return NO_VALUE
    moment = <int64_t>word
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
