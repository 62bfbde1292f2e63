"""A few cells out of a run of DataRow frames, for whoever looks at samples.

Called by `dataplane/alarm` on bytes that were already sent. Rule: it reads only what is there;
where a frame is not what it should be it ends (those who govern rows check them elsewhere).
"""

import struct
from collections.abc import Sequence

_FRAME = struct.Struct("!cI")
_COUNT = struct.Struct("!H")
_LENGTH = struct.Struct("!i")


def cells(
    rows: bytes, columns: Sequence[int], rows_max: int, bytes_max: int
) -> dict[int, list[bytes]]:
    """Column index -> its non-null cells in the first `rows_max` of `rows` (whole DataRow frames),
    each cut to `bytes_max`. `columns`: ascending indexes.
    """
    found: dict[int, list[bytes]] = {column: [] for column in columns}
    start = 0
    for _ in range(rows_max):
        if start + _FRAME.size > len(rows):
            break
        end = start + 1 + _FRAME.unpack_from(rows, start)[1]
        if end > len(rows) or not _row(rows, start + _FRAME.size, end, found, bytes_max):
            break
        start = end
    return found


def _row(rows: bytes, at: int, end: int, found: dict[int, list[bytes]], bytes_max: int) -> bool:
    if at + _COUNT.size > end:
        return False
    (count,) = _COUNT.unpack_from(rows, at)
    at += _COUNT.size
    last = max(found, default=-1)
    for column in range(min(count, last + 1)):
        if at + _LENGTH.size > end:
            return False
        (length,) = _LENGTH.unpack_from(rows, at)
        at += _LENGTH.size
        if length < 0:
            continue
        if at + length > end:
            return False
        if column in found:
            found[column].append(rows[at : at + min(length, bytes_max)])
        at += length
    return True
