"""Random values of a column, and values that a mask cannot tell from them.

Used by `worlds`. Values are in PostgreSQL's text form, None for NULL. `sibling` is what makes two
databases different in every sensitive cell and equal once masked.
"""

import random
import string
from datetime import date, timedelta

from appliance.model.decision import Mask, MaskMethod

Value = str | None

TEXTS = ("text", "varchar(24)", "tag")
NUMBERS = ("int4", "numeric(12,2)", "float8")
KINDS = (*TEXTS, *NUMBERS, "date", "bool", "jsonb", "text[]", "mood", "pair", "uuid", "bytea")
"""`tag`, `mood` and `pair` are a domain, an enum and a composite type of each world's own."""
MOODS = ("calm", "cross", "glad")
STEP = 1000
KEEP = 3
WORDS = ("ada", "bob", "cyd", "dee", "eve", "fay", "gus", "hal")


def mask_for(random_: random.Random, kind: str) -> Mask:
    """Mostly null; else whatever the kind of column allows."""
    if random_.random() < 0.55:
        return Mask(MaskMethod.NULL)
    choices = [Mask(MaskMethod.REDACT), Mask(MaskMethod.NULL)]
    if kind in TEXTS:
        choices += [
            Mask(MaskMethod.FIXED, value="hidden"),
            Mask(MaskMethod.KEEP_LAST, keep=KEEP),
            Mask(MaskMethod.KEEP_FIRST, keep=KEEP),
            Mask(MaskMethod.EMAIL),
        ]
    elif kind in NUMBERS:
        choices += [Mask(MaskMethod.TRUNCATE_NUMBER, step=STEP)] * 2
    elif kind == "date":
        choices += [Mask(MaskMethod.TRUNCATE_DATE, unit=random_.choice(("year", "month")))] * 2
    return random_.choice(choices)


def value(random_: random.Random, kind: str) -> str:
    """Never NULL."""
    if kind in TEXTS:
        return f"{random_.choice(WORDS)}{_letters(random_, 4)}@{_letters(random_, 3)}.com"
    match kind:
        case "int4":
            return str(random_.randrange(-9_000, 90_000))
        case "numeric(12,2)":
            return f"{random_.randrange(-9_000, 90_000)}.{random_.randrange(100):02d}"
        case "float8":
            return f"{random_.randrange(-9_000, 90_000)}.5"
        case "date":
            return (date(1950, 1, 1) + timedelta(random_.randrange(20_000))).isoformat()
        case "bool":
            return random_.choice("tf")
        case "jsonb":
            word = random_.choice(WORDS)
            return f'{{"k": "{word}", "n": {random_.randrange(50)}, "a": ["{word}", 1]}}'
        case "text[]":
            return "{" + ",".join(_letters(random_, 3) for _ in range(random_.randrange(4))) + "}"
        case "mood":
            return random_.choice(MOODS)
        case "pair":
            return f"({random_.randrange(99)},{_letters(random_, 3)})"
        case "uuid":
            return f"{random_.randrange(16**8):08x}-0000-4000-8000-{random_.randrange(16**12):012x}"
        case _:
            return "\\x" + random_.randbytes(3).hex()


def sibling(random_: random.Random, kind: str, mask: Mask, own: Value, nullable: bool) -> Value:
    """Another value with the same mask."""
    if mask.method is MaskMethod.NULL:
        return None if nullable and random_.random() < 0.2 else value(random_, kind)
    if own is None:
        return None
    kept = {MaskMethod.KEEP_LAST, MaskMethod.KEEP_FIRST, MaskMethod.EMAIL}
    if mask.method in kept and kind in TEXTS:
        return _like(random_, mask, own)
    if mask.method is MaskMethod.TRUNCATE_NUMBER and kind in NUMBERS:
        return _in_bucket(random_, kind, own)
    if mask.method is MaskMethod.TRUNCATE_DATE and kind == "date":
        year, month, _ = own.split("-")
        month = f"{random_.randrange(1, 13):02d}" if mask.unit == "year" else month
        return f"{year}-{month}-{random_.randrange(1, 29):02d}"
    return value(random_, kind)


def _like(random_: random.Random, mask: Mask, own: str) -> str:
    if mask.method is MaskMethod.EMAIL:
        return f"{own[0]}{_letters(random_, 5)}@{_letters(random_, 4)}.com"
    other = _letters(random_, len(own))
    if len(own) <= KEEP:
        return other
    if mask.method is MaskMethod.KEEP_LAST:
        return other[:-KEEP] + own[-KEEP:]
    return own[:KEEP] + other[KEEP:]


def _in_bucket(random_: random.Random, kind: str, own: str) -> str:
    sign = "-" if own.startswith("-") else ""
    bucket = int(abs(float(own))) // STEP * STEP
    number = bucket + random_.randrange(0 if bucket or not sign else 1, STEP)
    rest = {"int4": "", "float8": ".25", "numeric(12,2)": f".{random_.randrange(100):02d}"}
    return f"{sign}{number}{rest[kind]}"


def _letters(random_: random.Random, count: int) -> str:
    return "".join(random_.choice(string.ascii_lowercase) for _ in range(count))


def literal(kind: str, text: Value) -> str:
    """As SQL."""
    if text is None:
        return "NULL"
    quoted = text.replace("'", "''")
    return f"'{quoted}'" if kind in ("text", "varchar(24)") else f"'{quoted}'::{kind}"
