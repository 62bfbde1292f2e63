"""A few cells out of rows, and nothing out of what is no row."""

import pytest

from appliance.wire.postgres.cells import cells
from tests.playbook.speech import row, rows

THREE = rows(("1", "a", None), ("2", None, "x"), ("3", "ccccc", "y"))


def test_the_columns_asked_for() -> None:
    assert cells(THREE, (1, 2), 10, 100) == {1: [b"a", b"ccccc"], 2: [b"x", b"y"]}
    assert cells(THREE, (0,), 2, 100) == {0: [b"1", b"2"]}
    assert cells(THREE, (1,), 10, 3) == {1: [b"a", b"ccc"]}
    assert cells(THREE, (7,), 10, 3) == {7: []}
    assert cells(b"", (0,), 10, 3) == {0: []}


@pytest.mark.parametrize("end", range(len(THREE)))
def test_cut_rows(end: int) -> None:
    found = cells(THREE[:end], (0,), 10, 10)[0]
    assert found == [b"1", b"2", b"3"][: len(found)]
    assert len(found) < 3


def test_impossible_lengths() -> None:
    whole = bytearray(row("12345678"))
    whole[7:11] = (2**31 - 1).to_bytes(4)
    assert cells(bytes(whole), (0,), 10, 10) == {0: []}
    assert cells(b"D\xff\xff\xff\xff\0\1", (0,), 10, 10) == {0: []}
    assert cells(b"D\0\0\0\0" * 9, (0,), 10, 10) == {0: []}
