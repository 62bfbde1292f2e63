"""Plain-Python twin of `_speedups.myrows`."""

from collections.abc import Sequence
from typing import Any

from tests.reference.maskops import mask_value

NO_VALUE = None
SIZES = {1: 1, 2: 2, 3: 4, 4: 4, 5: 8, 8: 8, 9: 4, 13: 2}
TIMES = (7, 10, 11, 12)
COUNTED = (0, 15, 16, *range(0xF5, 0x100))
Op = tuple[Any, ...] | None
Kind = tuple[int, bool, int]


def lenenc(value: int) -> bytes:
    if value < 0xFB:
        return bytes((value,))
    for first, size in ((0xFC, 2), (0xFD, 3), (0xFE, 8)):
        if value < 1 << (8 * size):
            return bytes((first,)) + value.to_bytes(size, "little")
    raise AssertionError(value)


def take_lenenc(body: bytes, at: int) -> tuple[int, int]:
    if at >= len(body):
        raise ValueError("cell length out of step")
    first = body[at]
    if first < 0xFB:
        return first, at + 1
    size = {0xFC: 2, 0xFD: 3, 0xFE: 8}.get(first)
    if size is None or at + 1 + size > len(body):
        raise ValueError("cell length out of step")
    return int.from_bytes(body[at + 1 : at + 1 + size], "little"), at + 1 + size


class RowMasker:
    def __init__(self, ops: Sequence[Op], columns: Sequence[Kind], binary: bool) -> None:
        for kind, _, _ in columns:
            if kind not in (*SIZES, *TIMES, *COUNTED, 6):
                raise ValueError("unknown type of a column")
        self.ops, self.columns, self.binary = list(ops), list(columns), binary
        self.cells_masked = 0

    def mask(self, run: bytes, count: int, sequence: int) -> bytes:
        out, at, masked = [], 0, self.cells_masked
        try:
            for index in range(count):
                length = int.from_bytes(run[at : at + 3], "little")
                if at + 4 > len(run) or length == 0xFFFFFF or at + 4 + length > len(run):
                    raise ValueError("row length out of step")
                row = self.row(run[at + 4 : at + 4 + length])
                out.append(
                    len(row).to_bytes(3, "little") + bytes(((sequence + index) & 255,)) + row
                )
                at += 4 + length
            if at != len(run):
                raise ValueError("row length out of step")
        except ValueError:
            self.cells_masked = masked
            raise
        return b"".join(out)

    def row(self, body: bytes) -> bytes:
        return self.binary_row(body) if self.binary else self.text_row(body)

    def text_row(self, body: bytes) -> bytes:
        out, at = b"", 0
        for op, (_, _, decimals) in zip(self.ops, self.columns, strict=True):
            if body[at : at + 1] == b"\xfb":
                out, at = out + b"\xfb", at + 1
                continue
            length, start = take_lenenc(body, at)
            if start + length > len(body):
                raise ValueError("cell length out of step")
            value = body[start : start + length]
            if op is None:
                out += body[at : start + length]
            else:
                self.cells_masked += 1
                made = mask_value(op, value)
                if made is not None and op[0] == "timestamp_text" and len(made) == 19:
                    made += b"." + b"0" * decimals if 0 < decimals <= 6 else b""
                out += b"\xfb" if made is None else lenenc(len(made)) + made
            at = start + length
        if at != len(body):
            raise ValueError("bytes after the last cell")
        return out

    def binary_row(self, body: bytes) -> bytes:
        size = (len(self.ops) + 9) // 8
        if len(body) < 1 + size or body[0]:
            raise ValueError("not a row")
        nulls, out, at = bytearray(body[1 : 1 + size]), b"", 1 + size
        for index, (op, (kind, unsigned, _)) in enumerate(
            zip(self.ops, self.columns, strict=True), 2
        ):
            if nulls[index // 8] >> (index % 8) & 1:
                continue
            begun = at
            if kind in SIZES:
                length = SIZES[kind]
            elif kind in TIMES:
                if at >= len(body):
                    raise ValueError("cell length out of step")
                length, at = body[at], at + 1
            elif kind == 6:
                raise ValueError("cell length out of step")
            else:
                length, at = take_lenenc(body, at)
            if at + length > len(body):
                raise ValueError("cell length out of step")
            value = body[at : at + length]
            at += length
            if op is None:
                out += body[begun:at]
                continue
            self.cells_masked += 1
            made = binary_cell(op, kind, unsigned, value)
            if made is None:
                nulls[index // 8] |= 1 << (index % 8)
            else:
                out += made
        if at != len(body):
            raise ValueError("bytes after the last cell")
        return b"\0" + bytes(nulls) + out


def binary_cell(op: tuple[Any, ...], kind: int, unsigned: bool, value: bytes) -> bytes | None:
    name = op[0]
    if name == "int_binary":
        if kind not in SIZES:
            return None
        number = int.from_bytes(value, "little", signed=not unsigned)
        if number >= 1 << 63:
            return None
        cut = abs(number) - abs(number) % op[1]
        return (-cut if number < 0 else cut).to_bytes(len(value), "little", signed=not unsigned)
    if name in ("date_binary", "timestamp_binary"):
        if kind not in TIMES or len(value) not in (4, 7, 11):
            return None
        year, month, day = int.from_bytes(value[:2], "little"), value[2], value[3]
        if not year or not 1 <= month <= 12 or not 1 <= day <= 31:
            return None
        month, day = (month if op[1] != "year" else 1), (day if op[1] == "day" else 1)
        return b"\x04" + year.to_bytes(2, "little") + bytes((month, day))
    if name in ("float4_binary", "float8_binary"):
        made = mask_value(op, value[::-1]) if SIZES.get(kind, 0) >= 4 else None
        return made[::-1] if made is not None and len(made) == len(value) else None
    made = mask_value(op, value)
    if made is None:
        return None
    if kind in SIZES:
        return made if len(made) == len(value) else None
    if kind in TIMES:
        fits = len(made) in (0, 4) or 7 <= len(made) <= 12
        return bytes((len(made),)) + made if fits else None
    return lenenc(len(made)) + made
