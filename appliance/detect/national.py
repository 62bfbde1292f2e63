"""National identity and tax numbers: each country's own rule.

Called by `patterns` like `checks`. Rule: as there; dates inside a number must be dates.
"""

from typing import Final

from appliance.detect.checks import digits_of, luhn, weighted

_NEVER_ISSUED: Final = frozenset({"078051120", "219099999", "457555462"})
"""SSNs printed on sample cards and in advertisements, void since."""
_NINO_PREFIXES: Final = frozenset({"BG", "GB", "KN", "NK", "NT", "TN", "ZZ"})
_SPANISH: Final = "TRWAGMYFPDXBNJZSQVHLCKE"
_CODICE_ODD: Final = (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23
)  # fmt: skip
"""Values of A-Z (and of 0-9, the first ten) in odd places, D.M. 23/12/1976."""
_VERHOEFF_D: Final = (
    "0123456789", "1234067895", "2340178956", "3401289567", "4012395678",
    "5987604321", "6598710432", "7659821043", "8765932104", "9876543210",
)  # fmt: skip
_VERHOEFF_P: Final = (
    "0123456789", "1576283094", "5803796142", "8916043527",
    "9453126870", "4286573901", "2793806415", "7046913258",
)  # fmt: skip
_CPF: Final = (11, 10, 9, 8, 7, 6, 5, 4, 3, 2)
_CNPJ: Final = (6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2)


def us_ssn(text: str) -> bool:
    """Area not 000, 666, 9xx; group not 00; serial not 0000 (SSA, since 2011)."""
    d = digits_of(text)
    area, group, serial = d[:3], d[3:5], d[5:]
    return (
        area not in ("000", "666")
        and d[0] != "9"
        and group != "00"
        and serial != "0000"
        and d not in _NEVER_ISSUED
        and len(set(d)) > 1
    )


def uk_nino(text: str) -> bool:
    """The letters that are allocated are in the expression; these prefixes are not (HMRC
    NIM39110)."""
    return text[:2].upper() not in _NINO_PREFIXES


def de_steuer_id(text: str) -> bool:
    """ISO 7064 mod 11,10; of the first ten digits exactly one comes twice or three times (BZSt)."""
    d = digits_of(text)
    counts = sorted(d[:10].count(c) for c in set(d[:10]))
    if d[0] == "0" or counts[-1] not in (2, 3) or (len(counts) > 1 and counts[-2] > 1):
        return False
    product = 10
    for c in d[:10]:
        total = (int(c) + product) % 10 or 10
        product = total * 2 % 11
    return (11 - product) % 10 == int(d[10])


def fr_nir(text: str) -> bool:
    """Sex, year, month, département (2A, 2B in Corsica), key = 97 - number mod 97 (INSEE)."""
    compact = text.replace(" ", "").upper()
    month = int(compact[3:5])
    number = int(compact[:13].replace("2A", "19").replace("2B", "18"))
    plausible = 1 <= month <= 12 or 20 <= month <= 42 or month >= 50
    return plausible and 97 - number % 97 == int(compact[13:])


def es_dni(text: str) -> bool:
    """DNI, or NIE with X, Y, Z for 0, 1, 2: the letter is the number mod 23."""
    compact = text.replace("-", "").replace(" ", "").upper()
    number = int(compact[:-1].translate(str.maketrans("XYZ", "012")))
    return compact[-1] == _SPANISH[number % 23]


def it_codice_fiscale(text: str) -> bool:
    """The last letter is the sum of odd and even places mod 26 (D.M. 23/12/1976)."""
    code = text.upper()
    total = 0
    for place, c in enumerate(code[:15]):
        value = int(c) if c.isdigit() else ord(c) - 65
        total += value if place % 2 else _CODICE_ODD[value]
    return total % 26 == ord(code[15]) - 65


def br_cpf(text: str) -> bool:
    d = digits_of(text)
    return len(set(d)) > 1 and all(
        (weighted(d[:n], _CPF[-n:]) * 10 % 11) % 10 == int(d[n]) for n in (9, 10)
    )


def br_cnpj(text: str) -> bool:
    d = digits_of(text)
    return len(set(d)) > 1 and all(
        (weighted(d[:n], _CNPJ[-n:]) * 10 % 11) % 10 == int(d[n]) for n in (12, 13)
    )


def pl_pesel(text: str) -> bool:
    """A date whose month carries the century, and a check digit."""
    d = text
    if not _dated(int(d[2:4]) % 20, int(d[4:6])):
        return False
    return weighted(d, (1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1)) % 10 == 0


def nl_bsn(text: str) -> bool:
    """The eleven test, the last digit weighing -1."""
    d = digits_of(text)
    return len(set(d)) > 1 and weighted(d, (9, 8, 7, 6, 5, 4, 3, 2, -1)) % 11 == 0


def se_personnummer(text: str) -> bool:
    """A date (a samordningsnummer adds 60 to the day) and Luhn over its last ten digits."""
    d = digits_of(text)[-10:]
    return _dated(int(d[2:4]), int(d[4:6]) % 60) and luhn(d)


def in_aadhaar(text: str) -> bool:
    """Verhoeff's check digit (UIDAI)."""
    d = digits_of(text)
    check = 0
    for place, c in enumerate(reversed(d)):
        check = int(_VERHOEFF_D[check][int(_VERHOEFF_P[place % 8][int(c)])])
    return len(set(d)) > 1 and check == 0


def ca_sin(text: str) -> bool:
    """Luhn; 0 and 8 begin no number."""
    d = digits_of(text)
    return d[0] not in "08" and len(set(d)) > 1 and luhn(d)


def au_tfn(text: str) -> bool:
    d = digits_of(text)
    return len(set(d)) > 1 and weighted(d, (1, 4, 3, 7, 5, 8, 6, 9, 10)) % 11 == 0


def _dated(month: int, day: int) -> bool:
    return 1 <= month <= 12 and 1 <= day <= (29 if month == 2 else 30 + (month in _LONG))


_LONG: Final = frozenset({1, 3, 5, 7, 8, 10, 12})
