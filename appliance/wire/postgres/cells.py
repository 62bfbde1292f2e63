"""A few cells out of a run of DataRow frames, for whoever looks at samples.

Called by `dataplane/alarm` on bytes that were already sent. Rule: it reads only what is there;
where a frame is not what it should be it ends (those who govern rows check them elsewhere).
"""

import struct
from collections.abc import Sequence

_HEAD = struct.Struct("!cIH")
"""Type, length of the frame without the type, number of cells."""
_LENGTH = struct.Struct("!i")


def cells(
    rows: bytes, columns: Sequence[int], rows_max: int, bytes_max: int
) -> dict[int, list[bytes]]:
    """Column index -> its non-null cells in the first `rows_max` of `rows` (whole DataRow frames),
    each cut to `bytes_max`. `columns`: ascending indexes.
    """
    found: dict[int, list[bytes]] = {column: [] for column in columns}
    wanted = [found.get(column) for column in range(max(columns, default=-1) + 1)]
    start = 0
    for _ in range(rows_max):
        if start + _HEAD.size > len(rows):
            break
        _type, length, count = _HEAD.unpack_from(rows, start)
        end = start + 1 + length
        if end > len(rows):
            break
        if not _row(rows, start + _HEAD.size, end, wanted[:count], bytes_max):
            break
        start = end
    return found


def _row(
    rows: bytes, at: int, end: int, wanted: Sequence[list[bytes] | None], bytes_max: int
) -> bool:
    unpack = _LENGTH.unpack_from
    for taken in wanted:
        if at + 4 > end:
            return False
        (length,) = unpack(rows, at)
        at += 4
        if length >= 0:
            if at + length > end:
                return False
            if taken is not None:
                taken.append(rows[at : at + min(length, bytes_max)])
            at += length
    return True
