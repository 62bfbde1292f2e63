"""Plain-Python twin of `_speedups.pgrows`."""

import struct
from collections.abc import Sequence
from typing import Any

from tests.reference.maskops import mask_value


class RowMasker:
    def __init__(self, ops: Sequence[tuple[Any, ...] | None]) -> None:
        self._ops = list(ops)
        self.rows = self.cells_masked = self.bytes_out = 0

    def mask(self, run: bytes, count: int) -> bytes:
        run = bytes(run)
        out: list[bytes] = []
        masked = 0
        for _ in range(count):
            if run[:1] != b"D":
                raise ValueError("not a data row")
            length = int.from_bytes(run[1:5])
            if len(run) < 5 or length < 6 or length + 1 > len(run):
                raise ValueError("row length out of step")
            row, cells = encode(decode(run[5 : length + 1], len(self._ops)), self._ops)
            out.append(row)
            masked += cells
            run = run[length + 1 :]
        if run:
            raise ValueError("row length out of step")
        whole = b"".join(out)
        self.rows += count
        self.cells_masked += masked
        self.bytes_out += len(whole)
        return whole


def decode(body: bytes, columns: int) -> list[bytes | None]:
    if int.from_bytes(body[:2]) != columns:
        raise ValueError("column count differs from the plan")
    cells: list[bytes | None] = []
    place = 2
    for _ in range(columns):
        if place + 4 > len(body):
            raise ValueError("cell length out of step")
        (size,) = struct.unpack_from("!i", body, place)
        place += 4
        if size == -1:
            cells.append(None)
            continue
        if size < 0 or place + size > len(body):
            raise ValueError("cell length out of step")
        cells.append(body[place : place + size])
        place += size
    if place != len(body):
        raise ValueError("bytes after the last cell")
    return cells


def encode(
    cells: Sequence[bytes | None], ops: Sequence[tuple[Any, ...] | None]
) -> tuple[bytes, int]:
    masked = [
        cell if op is None else mask_value(op, cell) for cell, op in zip(cells, ops, strict=True)
    ]
    touched = sum(op is not None and cell is not None for cell, op in zip(cells, ops, strict=True))
    body = struct.pack("!H", len(masked))
    for cell in masked:
        body += struct.pack("!i", -1 if cell is None else len(cell)) + (cell or b"")
    return b"D" + struct.pack("!I", len(body) + 4) + body, touched


def row(*cells: bytes | None) -> bytes:
    """One DataRow frame."""
    return encode(cells, [None] * len(cells))[0]
