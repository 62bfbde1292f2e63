"""Plain-Python twin of `_speedups.maskops`: what each primitive mask means, without its speed."""

import hashlib
import hmac
import math
import re
import struct
from collections.abc import Callable
from datetime import date
from decimal import Context, Decimal
from fractions import Fraction
from typing import Any

DATE_MIN, DATE_MAX, TIMESTAMP_DAY_MAX = -2_451_545, 2_145_031_948, 106_751_991
GREGORIAN_CYCLE_YEARS, GREGORIAN_CYCLE_DAYS = 400, 146_097
DAY_SECONDS, DAY_MICROSECONDS = 86_400, 86_400_000_000
EXACT = Context(prec=200_000)


def mask_value(op: tuple[Any, ...], value: bytes | None) -> bytes | None:
    """The masked value, None for NULL."""
    if value is None:
        return None
    name, *arguments = op
    return OPS[name](value, *arguments)


# --- text --------------------------------------------------------------------------------------


def characters(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def keep_first(value: bytes, keep: int) -> bytes:
    text = characters(value)
    if text is None:
        return b"****"
    kept = text[:keep] if len(text) > keep else ""
    return (kept + "*" * (len(text) - len(kept))).encode()


def keep_last(value: bytes, keep: int) -> bytes:
    text = characters(value)
    if text is None:
        return b"****"
    kept = text[len(text) - keep :] if len(text) > keep else ""
    return ("*" * (len(text) - len(kept)) + kept).encode()


def email(value: bytes) -> bytes:
    first = re.match(rb"[^@]", value, re.DOTALL)
    if first is None or b"@" not in value:
        return b"****"
    for size in range(1, 5):
        start = characters(value[:size])
        if start is not None and len(start) == 1:
            break
    else:
        return b"****"
    label = re.search(rb"\.[A-Za-z]{2,18}\Z", value)
    return start.encode() + b"***@***" + (label.group() if label else b"")


def token(value: bytes, key: bytes) -> bytes:
    return b"tok_" + hmac.new(key, value, hashlib.sha256).hexdigest()[:24].encode()


# --- dates: Python's calendar, shifted by whole 400-year cycles into the years it knows ----------


def days_of(year: int, month: int, day: int) -> int:
    """Days since 2000-01-01; year 0 is 1 BC. A 31st of February counts on into March."""
    cycles, within = divmod(year - 2000, GREGORIAN_CYCLE_YEARS)
    first = date(2000 + within, month, 1).toordinal() - date(2000, 1, 1).toordinal()
    return cycles * GREGORIAN_CYCLE_DAYS + first + day - 1


def date_of(days: int) -> tuple[int, int, int]:
    cycles, within = divmod(days, GREGORIAN_CYCLE_DAYS)
    found = date.fromordinal(date(2000, 1, 1).toordinal() + within)
    return found.year + cycles * GREGORIAN_CYCLE_YEARS, found.month, found.day


def cut_days(days: int, unit: str, days_max: int) -> int | None:
    if not DATE_MIN <= days <= days_max:
        return None
    year, month, day = date_of(days)
    cut = days_of(year, 1 if unit == "year" else month, day if unit == "day" else 1)
    return cut if cut >= DATE_MIN else None


DATE = rb"(\d{4,7})-(\d\d)-(\d\d)"
CLOCK = rb" (\d\d):(\d\d):(\d\d)(?:\.\d{1,6})?"
ZONE = rb"([+-])(\d\d)(?::(\d\d)(?::(\d\d))?)?"
ERA = rb"( BC)?"


def read_date(groups: tuple[bytes, ...], bc: bytes | None) -> int | None:
    year, month, day = map(int, groups)
    if year < 1 or not 1 <= month <= 12 or not 1 <= day <= 31:
        return None
    return days_of(1 - year if bc else year, month, day)


def write_date(days: int) -> tuple[str, str]:
    year, month, day = date_of(days)
    era = "" if year > 0 else " BC"
    return f"{year if year > 0 else 1 - year:04d}-{month:02d}-{day:02d}", era


def date_text(value: bytes, unit: str) -> bytes | None:
    if value in (b"infinity", b"-infinity"):
        return value
    match = re.fullmatch(DATE + ERA, value)
    days = read_date(match.groups()[:3], match.group(4)) if match else None
    cut = None if days is None else cut_days(days, unit, DATE_MAX)
    return None if cut is None else "".join(write_date(cut)).encode()


def timestamp(value: bytes, unit: str, zoned: bool) -> bytes | None:
    if value in (b"infinity", b"-infinity"):
        return value
    match = re.fullmatch(DATE + CLOCK + (ZONE if zoned else b"") + ERA, value)
    if match is None:
        return None
    days = read_date(match.groups()[:3], match.groups()[-1])
    hour, minute, second = map(int, match.groups()[3:6])
    if days is None or hour > 23 or minute > 59 or second > 59:
        return None
    seconds = days * DAY_SECONDS + hour * 3600 + minute * 60 + second
    if zoned:
        sign, *parts = match.groups()[6:10]
        hours, minutes, rest = (int(part or 0) for part in parts)
        offset = hours * 3600 + minutes * 60 + rest
        seconds += offset if sign == b"-" else -offset
    cut = cut_days(seconds // DAY_SECONDS, unit, TIMESTAMP_DAY_MAX)
    if cut is None:
        return None
    day, era = write_date(cut)
    return f"{day} 00:00:00{'+00' if zoned else ''}{era}".encode()


def date_binary(value: bytes, unit: str) -> bytes | None:
    if len(value) != 4:
        return None
    (days,) = struct.unpack("!i", value)
    if days in (2**31 - 1, -(2**31)):
        return value
    cut = cut_days(days, unit, DATE_MAX)
    return None if cut is None else struct.pack("!i", cut)


def timestamp_binary(value: bytes, unit: str) -> bytes | None:
    if len(value) != 8:
        return None
    (moment,) = struct.unpack("!q", value)
    if moment in (2**63 - 1, -(2**63)):
        return value
    cut = cut_days(moment // DAY_MICROSECONDS, unit, TIMESTAMP_DAY_MAX)
    return None if cut is None else struct.pack("!q", cut * DAY_MICROSECONDS)


# --- numbers -----------------------------------------------------------------------------------


def cut_int(number: int, step: int) -> int:
    cut = abs(number) // step * step
    return -cut if number < 0 else cut


def int_text(value: bytes, step: int) -> bytes | None:
    if not re.fullmatch(rb"-?\d{1,19}", value) or not -(2**63) <= int(value) < 2**63:
        return None
    return str(cut_int(int(value), step)).encode()


def int_binary(value: bytes, step: int) -> bytes | None:
    form = {2: "!h", 4: "!i", 8: "!q"}.get(len(value))
    if form is None:
        return None
    return struct.pack(form, cut_int(struct.unpack(form, value)[0], step))


def numeric_text(value: bytes, step: int) -> bytes | None:
    if value in (b"NaN", b"Infinity", b"-Infinity"):
        return value
    match = re.fullmatch(rb"(-?)0*(\d+)(?:\.(\d+))?", value)
    if match is None or len(match.group(2)) > 256:
        return None
    number = cut_int(int(match.group(1) + match.group(2)), step)
    scale = b"." + b"0" * len(match.group(3)) if match.group(3) else b""
    return str(number).encode() + scale


def numeric_binary(value: bytes, step: int) -> bytes | None:
    if len(value) < 8:
        return None
    count, weight, sign, scale = struct.unpack("!HhHH", value[:8])
    if len(value) != 8 + 2 * count or scale > 0x3FFF:
        return None
    if sign in (0xC000, 0xD000, 0xF000):
        return value if count == 0 else None
    groups = struct.unpack(f"!{count}H", value[8:])
    if sign not in (0, 0x4000) or any(group > 9999 for group in groups):
        return None
    if count and (groups[0] == 0 or weight + 1 > 64):
        return None
    number = 0
    for place in range(max(weight + 1, 0) if count else 0):
        number = number * 10_000 + (groups[place] if place < count else 0)
    cut = number // step * step
    digits: list[int] = []
    while cut:
        cut, group = divmod(cut, 10_000)
        digits.insert(0, group)
    weight = len(digits) - 1 if digits else 0
    while digits and digits[-1] == 0:
        digits.pop()
    header = struct.pack("!HhHH", len(digits), weight, sign if digits else 0, scale)
    return header + struct.pack(f"!{len(digits)}H", *digits)


def cut_float(number: float, step: int) -> float:
    return number - math.fmod(number, step) + 0.0


def narrow(number: float) -> float:
    return float(struct.unpack("!f", struct.pack("!f", number))[0])


def nearest_short(text: str) -> float:
    """The float4 next to a decimal text; by way of a double it would be rounded twice."""
    wide = float(text)
    if wide == 0 or math.isinf(wide):  # and its exponent may be too large to write out
        return wide
    try:
        near = narrow(wide)
    except OverflowError:
        return math.inf
    exact = Fraction(text)
    (bits,) = struct.unpack("!I", struct.pack("!f", near))
    candidates = [
        (abs(Fraction(found) - exact), place & 1, found)
        for place in (bits - 1, bits, bits + 1)
        if place >= 0 and math.isfinite(found := struct.unpack("!f", struct.pack("!I", place))[0])
    ]
    return min(candidates)[2] if math.isfinite(near) else near


def float_text(value: bytes, step: int, short: bool) -> bytes | None:
    if value in (b"NaN", b"Infinity", b"-Infinity"):
        return value
    if not re.fullmatch(rb"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", value) or len(value) > 63:
        return None
    number = nearest_short(value.decode()) if short else float(value)
    if math.isinf(number):
        return None
    number = cut_float(number, step)
    number = narrow(number) if short else number
    return write_float(number, short)


def write_float(number: float, short: bool) -> bytes:
    if abs(number) < (1e6 if short else 1e15):
        return str(int(number)).encode()
    for precision in range(17):
        text = f"{number:.{precision}e}"
        if (nearest_short(text) if short else float(text)) == number:
            return text.encode()
    raise AssertionError(number)


def float_binary(value: bytes, step: int, form: str) -> bytes | None:
    if len(value) != struct.calcsize(form):
        return None
    (number,) = struct.unpack(form, value)
    if not math.isfinite(number):
        return value
    return struct.pack(form, cut_float(number, step))


OPS: dict[str, Callable[..., bytes | None]] = {
    "null": lambda value: None,
    "fixed": lambda value, fixed: fixed,
    "keep_first": keep_first,
    "keep_last": keep_last,
    "email": email,
    "token": token,
    "date_text": date_text,
    "date_binary": date_binary,
    "timestamp_text": lambda value, unit: timestamp(value, unit, False),
    "timestamptz_text": lambda value, unit: timestamp(value, unit, True),
    "timestamp_binary": timestamp_binary,
    "int_text": int_text,
    "int_binary": int_binary,
    "numeric_text": numeric_text,
    "numeric_binary": numeric_binary,
    "float4_text": lambda value, step: float_text(value, step, True),
    "float8_text": lambda value, step: float_text(value, step, False),
    "float4_binary": lambda value, step: float_binary(value, step, "!f"),
    "float8_binary": lambda value, step: float_binary(value, step, "!d"),
}


def as_decimal(text: bytes) -> Decimal:
    """The number a text denotes, without rounding."""
    return EXACT.create_decimal(text.decode())
