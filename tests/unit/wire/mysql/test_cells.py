"""Which op masks which column, in both forms of the rows."""

import pytest

from appliance.model.decision import Mask, MaskMethod
from appliance.model.errors import InvariantBroken
from appliance.wire.exchange import Column
from appliance.wire.mysql.cells import cell_op

REDACT = Mask(MaskMethod.REDACT, "r")
MONTH = Mask(MaskMethod.TRUNCATE_DATE, "r", unit="month")
HUNDREDS = Mask(MaskMethod.TRUNCATE_NUMBER, "r", step=100)
LAST = Mask(MaskMethod.KEEP_LAST, "r", keep=4)


def column(kind: int, binary: bool = False, **more: object) -> Column:
    return Column("c", "s", "t", "c", kind, binary, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "more", "text", "binary"),
    [
        (0xFD, {}, b"****", b"****"),
        (0xFC, {}, b"****", b"****"),
        (0xFC, {"characters": False}, b"", b""),
        (1, {}, b"0", bytes(1)),
        (3, {}, b"0", bytes(4)),
        (8, {}, b"0", bytes(8)),
        (13, {}, b"0000", bytes(2)),
        (5, {"decimals": 31}, b"0", bytes(8)),
        (0xF6, {"decimals": 2}, b"0.00", b"0.00"),
        (10, {}, b"1970-01-01", b"\xb2\x07\x01\x01"),
        (12, {"decimals": 3}, b"1970-01-01 00:00:00.000", b"\xb2\x07\x01\x01"),
        (11, {}, b"00:00:00", b""),
        (0x10, {"width": 9}, bytes(2), bytes(2)),
        (0xF5, {}, b"{}", b"{}"),
    ],
)
def test_neutral_values(kind: int, more: dict[str, object], text: bytes, binary: bytes) -> None:
    assert cell_op(REDACT, column(kind, **more), {}) == ("fixed", text)
    assert cell_op(REDACT, column(kind, True, **more), {}) == ("fixed", binary)


@pytest.mark.parametrize("kind", [0xF7, 0xF8, 0xFF, 0x14, 0x06])
def test_types_without_a_neutral_value_become_null(kind: int) -> None:
    assert cell_op(REDACT, column(kind), {}) == ("null",)
    assert cell_op(LAST, column(kind), {}) == ("null",)


def test_truncations() -> None:
    assert cell_op(MONTH, column(10), {}) == ("date_text", "month")
    assert cell_op(MONTH, column(7, True), {}) == ("timestamp_binary", "month")
    assert cell_op(HUNDREDS, column(8, True), {}) == ("int_binary", 100)
    assert cell_op(HUNDREDS, column(0xF6, True), {}) == ("numeric_text", 100)
    for mask, kind in ((MONTH, 3), (HUNDREDS, 10), (HUNDREDS, 13), (HUNDREDS, 5)):
        assert cell_op(mask, column(kind), {})[0] == "fixed"  # nothing of the value is left


def test_methods_on_characters() -> None:
    assert cell_op(LAST, column(0xFE), {}) == ("keep_last", 4)
    assert cell_op(LAST, column(0xFE, characters=False), {}) == ("fixed", b"")
    token = Mask(MaskMethod.TOKEN, "r", key="k")
    assert cell_op(token, column(0xFD), {"k": b"secret"}) == ("token", b"secret")
    with pytest.raises(InvariantBroken):
        cell_op(token, column(0xFD), {})
