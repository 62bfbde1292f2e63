"""Finds the schema's canaries in what a client got, whatever form they were brought into.

Used by `attacks`. A canary counts as seen when eight of its characters in a row are there: plainly,
in another case, backwards, as hex, base64, character codes, spread over values or over columns; the
short numeric and date ones count whole, as text and as the binary protocol has them.
"""

import base64
import binascii
import datetime
import re
import struct
from collections.abc import Iterable, Mapping, Sequence

GRAM = 8
WHOLE = ("dob", "bonus", "badge", "seen")
NUMBERS = ("salary", "pin")
DIGIT_DAYS = 366  # TO_DAYS of 0001-01-01
Value = bytes | None


class Sight:
    """`find` says which canary is visible, and how."""

    def __init__(self, canaries: Mapping[str, str]) -> None:
        self._grams: dict[bytes, str] = {}
        self._whole: dict[bytes, str] = {}
        self._binary: dict[bytes, str] = {}
        for name, value in canaries.items():
            self._learn(name, value)

    def _learn(self, name: str, value: str) -> None:
        kind = name.rstrip("0123456789")
        if kind in WHOLE:
            self._whole[value.lower().encode()] = name
            self._learn_whole(kind, name, value)
            return
        for form in {value, value.replace("-", "")}:
            lowered = form.lower().encode()
            for text in (lowered, lowered[::-1]):
                for at in range(len(text) - GRAM + 1):
                    self._grams.setdefault(text[at : at + GRAM], name)
        if kind in NUMBERS:
            self._binary[struct.pack("<I", int(value))] = name
            self._binary[struct.pack("<d", float(value))] = name
            self._whole[f"{int(value):x}".encode()] = name
            self._whole[f"{int(value):b}".encode()] = name
        if kind == "home":
            self._binary[struct.pack("<d", float(value))] = name

    def _learn_whole(self, kind: str, name: str, value: str) -> None:
        if kind == "dob":
            day = datetime.date.fromisoformat(value)
            self._whole[value.replace("-", "").encode()] = name
            self._whole[str(day.toordinal() + DIGIT_DAYS - 1).encode()] = name
            self._binary[struct.pack("<HBB", day.year, day.month, day.day)] = name
        if kind == "bonus":
            self._binary[struct.pack("<d", float(value))] = name
        if kind == "seen":
            self._whole[re.sub(r"\D", "", value.partition(".")[0]).encode()] = name
        if kind == "badge":
            number = int.from_bytes(value.encode(), "big")
            for form in (str(number), f"{number:x}", f"{number:b}"):
                self._whole[form.encode()] = name

    # --- looking ----------------------------------------------------------------------------------

    def find(
        self,
        raw: Iterable[bytes],
        results: Sequence[Sequence[Sequence[Value]]],
        texts: Iterable[bytes] = (),
        patterns: Iterable[str] = (),
    ) -> str:
        """'' or `canary (form)`. `raw`: payloads as received; `results`: rows of each result."""
        payloads = list(raw)
        for payload in payloads:
            for pattern in patterns:
                if pattern.encode() in payload:
                    return f"pattern {pattern}"
            if name := self._plain(payload):
                return f"{name} (plain, other case, reversed, part)"
        bodies = list(texts)
        for rows in results:
            bodies += _strung(rows)
        whole = b"".join(value for rows in results for row in rows for value in row if value)
        for form, body in _forms([*bodies, whole]):
            if name := self._plain(body):
                return f"{name} ({form})"
        for payload in payloads:
            for packed, name in self._binary.items():
                if packed in payload:
                    return f"{name} (binary)"
        return ""

    def _plain(self, body: bytes) -> str:
        lowered = body.lower()
        grams = self._grams
        for at in range(len(lowered) - GRAM + 1):
            if found := grams.get(lowered[at : at + GRAM]):
                return found
        for whole, name in self._whole.items():
            if whole in lowered:
                return name
        return ""


def _strung(rows: Sequence[Sequence[Value]]) -> list[bytes]:
    """Each column from top to bottom, each row from left to right."""
    across = [b"".join(value or b"" for value in row) for row in rows]
    if not rows:
        return across
    down = [b"".join(row[n] or b"" for row in rows) for n in range(len(rows[0]))]
    return across + down


def _forms(bodies: Iterable[bytes]) -> Iterable[tuple[str, bytes]]:
    for body in bodies:
        yield "strung together", body
        yield "separators removed", re.sub(rb"[^0-9a-zA-Z]", b"", body)
        yield "reversed", body[::-1]
        for token in re.findall(rb"[0-9a-fA-F]{16,}", re.sub(rb"[\s:]", b"", body)):
            for at in (0, 1):
                part = token[at:]
                yield "hex", binascii.unhexlify(part[: len(part) // 2 * 2])
        for token in re.findall(rb"[01]{64,}", body):
            for at in range(8):
                yield "bits", _bits(token[at:])
        yield from _base64(body)
        codes = [int(code) for code in re.findall(rb"(?<!\d)\d{2,3}(?!\d)", body)]
        yield "character codes", bytes(code for code in codes if 31 < code < 127)


def _bits(token: bytes) -> bytes:
    return bytes(int(token[at : at + 8], 2) for at in range(0, len(token) - 7, 8))


def _base64(body: bytes) -> Iterable[tuple[str, bytes]]:
    for token in re.findall(rb"[A-Za-z0-9+/]{12,}={0,2}", re.sub(rb"\s", b"", body)):
        for at in range(4):
            part = token.rstrip(b"=")[at:]
            part = part[: len(part) // 4 * 4]
            try:
                yield "base64", base64.b64decode(part)
            except binascii.Error:
                continue
