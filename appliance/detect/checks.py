"""Check digits and structure rules that tell a real number from a look-alike.

Called by `patterns` with what its expressions found. Rule: each function takes the text as found
(separators included, ASCII) and says yes only when the published rule holds.
"""

import base64
import binascii
import ipaddress
import json
import string
from collections.abc import Mapping, Sequence
from typing import Final

EMAIL_CHARS_MAX: Final = 254  # RFC 5321, 4.5.3.1.3 (path of 256 with its brackets)
LOCAL_CHARS_MAX: Final = 64  # RFC 5321, 4.5.3.1.1
HEADER_CHARS_MAX: Final = 512
"""Of a JWT's header: longer ones carry certificates, and are not decoded here."""

_NOT_DOMAINS: Final = frozenset(
    "png jpg jpeg gif svg webp ico css js ts map json xml html pdf zip gz tar mp4 mov".split()
)
"""Endings of file names such as logo@2x.png, none of which is a top-level domain mail goes to."""

_CARD_PREFIXES: Final[Sequence[tuple[int, int, frozenset[int]]]] = (
    (4, 4, frozenset({13, 16, 19})),  # Visa
    (51, 55, frozenset({16})),  # Mastercard
    (2221, 2720, frozenset({16})),
    (34, 34, frozenset({15})),  # American Express
    (37, 37, frozenset({15})),
    (6011, 6011, frozenset({16, 19})),  # Discover
    (644, 649, frozenset({16, 19})),
    (65, 65, frozenset({16, 19})),
    (300, 305, frozenset({14, 16})),  # Diners Club
    (36, 36, frozenset({14, 16})),
    (38, 39, frozenset({14, 16})),
    (3528, 3589, frozenset({16, 19})),  # JCB
    (62, 62, frozenset({16, 17, 18, 19})),  # UnionPay
    (5018, 5018, frozenset({16, 19})),  # Maestro
    (5020, 5020, frozenset({16, 19})),
    (5038, 5038, frozenset({16, 19})),
    (6304, 6304, frozenset({16, 19})),
    (6759, 6763, frozenset({16, 19})),
)
"""(first and last issuer prefix, lengths), from the schemes' published ranges (ISO/IEC 7812)."""

_CARD_GROUPS: Final = frozenset(
    {(4, 4, 4, 4), (4, 6, 5), (4, 6, 4), (4, 4, 4, 4, 3), (6, 13), (4, 4, 4, 1)}
)
"""How the digits of a card are grouped when they are."""

IBAN_LENGTHS: Final[Mapping[str, int]] = {
    country: int(length)
    for country, length in (
        pair.split(":")
        for pair in (
            "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BI:27 BR:29 BY:28 CH:21 CR:22 "
            "CY:28 CZ:24 DE:22 DJ:27 DK:18 DO:28 EE:20 EG:29 ES:24 FI:18 FK:18 FO:18 FR:27 GB:22 "
            "GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 "
            "KZ:20 LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MN:20 MR:27 "
            "MT:31 MU:30 NI:28 NL:18 NO:15 OM:23 PK:24 PL:28 PS:29 PT:25 QA:29 RO:24 RS:22 RU:33 "
            "SA:24 SC:31 SD:18 SE:24 SI:19 SK:24 SM:27 SO:23 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 "
            "VA:22 VG:24 XK:20 YE:30"
        ).split()
    )
}
"""Country -> length in characters (SWIFT IBAN registry)."""

_COUNTRY_CODES: Final = frozenset(
    (
        "1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 "
        "62 63 64 65 66 81 82 84 86 90 91 92 93 94 95 98"
    ).split()
)
_COUNTRY_ZONES: Final = frozenset(
    "21 22 23 24 25 26 29 35 37 38 42 50 59 67 68 69 80 85 87 88 96 97 99".split()
)
"""First two digits of three-digit country codes (ITU-T E.164, list of assigned codes)."""


def digits_of(text: str) -> str:
    """`text` without the separators that people write between digits."""
    return "".join(c for c in text if c in string.digits)


def luhn(digits: str) -> bool:
    """ISO/IEC 7812-1, annex B. Also of all zeros: callers rule those out."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def weighted(digits: str, weights: Sequence[int]) -> int:
    return sum(int(d) * w for d, w in zip(digits, weights, strict=True))


def card(text: str) -> bool:
    """A payment card's number: a known issuer's range and length, Luhn, grouped as cards are."""
    groups = tuple(len(part) for part in text.replace("-", " ").split(" "))
    digits = digits_of(text)
    if len(groups) > 1 and groups not in _CARD_GROUPS:
        return False
    return len(set(digits)) > 1 and _issued(digits) and luhn(digits)


def _issued(digits: str) -> bool:
    for first, last, lengths in _CARD_PREFIXES:
        prefix = int(digits[: len(str(first))])
        if first <= prefix <= last and len(digits) in lengths:
            return True
    return False


def iban(text: str) -> bool:
    """ISO 13616: the country's length and mod 97 = 1. What follows it in `text` may be a word."""
    compact = text.replace(" ", "").upper()
    length = IBAN_LENGTHS.get(compact[:2])
    if length is None or len(compact) < length:
        return False
    moved = compact[4:length] + compact[:4]
    return int("".join(str(int(c, 36)) for c in moved)) % 97 == 1


def email(text: str) -> bool:
    """An address as people have them: RFC 5321's dot-string @ a domain that mail could go to."""
    local, _, domain = text.rpartition("@")
    labels = domain.split(".")
    last = labels[-1].lower()
    return (
        len(text) <= EMAIL_CHARS_MAX
        and 0 < len(local) <= LOCAL_CHARS_MAX
        and ".." not in local
        and local[0] != "."
        and local[-1] != "."
        and all(0 < len(label) <= 63 and "-" not in (label[0], label[-1]) for label in labels)
        and (last.isalpha() or last.startswith("xn--"))
        and 2 <= len(last) <= 24
        and last not in _NOT_DOMAINS
    )


def international_phone(text: str) -> bool:
    """+, an assigned country code, 8 to 15 digits in all (ITU-T E.164)."""
    digits = digits_of(text)
    known = digits[:1] in "17" or digits[:2] in _COUNTRY_CODES or digits[:2] in _COUNTRY_ZONES
    return 8 <= len(digits) <= 15 and known and len(set(digits)) > 2


def american_phone(text: str) -> bool:
    """NANP: neither the area code nor the exchange begins with 0 or 1."""
    digits = digits_of(text)
    return len(digits) == 10 and digits[0] in "23456789" and digits[3] in "23456789"


def national_phone(text: str) -> bool:
    """A trunk 0, 9 to 12 digits, and not a date."""
    digits = digits_of(text)
    return 9 <= len(digits) <= 12 and not _dated(text) and len(set(digits)) > 2


def _dated(text: str) -> bool:
    """dd-mm-yyyy or dd/mm/yyyy at the beginning."""
    return len(text) > 5 and text[2] == text[5] and text[2] in "-/. " and text[6:8] in ("19", "20")


def ip_address(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return True


def jwt(text: str) -> bool:
    """The header decodes to a JSON object with `alg` (RFC 7515, 4.1.1)."""
    head = text.partition(".")[0]
    if len(head) > HEADER_CHARS_MAX:
        return False
    try:
        decoded = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (binascii.Error, ValueError):
        return False
    return isinstance(decoded, dict) and isinstance(decoded.get("alg"), str)
