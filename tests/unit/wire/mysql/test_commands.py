"""What a client's payload wants; what is not known is refused, what is malformed is a violation."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.errors import ProtocolViolation
from appliance.wire.exchange import Wish
from appliance.wire.mysql import prepared
from appliance.wire.mysql.commands import parse_command, with_text
from appliance.wire.mysql.fields import lenenc_bytes
from appliance.wire.mysql.startup import Capability

PLAIN = int(Capability.PROTOCOL_41)
ATTRIBUTES = PLAIN | int(Capability.QUERY_ATTRIBUTES)


@pytest.mark.parametrize(
    ("payload", "wish", "text", "statement"),
    [
        (b"\x01", Wish.END, b"", 0),
        (b"\x02shop", Wish.SAID, b"USE `shop`", 0),
        (b"\x02a`b", Wish.SAID, b"USE `a``b`", 0),
        (b"\x03SELECT 1", Wish.QUERY, b"SELECT 1", 0),
        (b"\x04customers\0%", Wish.SAID, b"SHOW COLUMNS FROM `customers`", 0),
        (b"\x09", Wish.PASSED, b"", 0),
        (b"\x0a", Wish.SAID, b"SHOW PROCESSLIST", 0),
        (b"\x0c\x05\x01\0\0", Wish.SAID, b"KILL 261", 0),
        (b"\x0e", Wish.PASSED, b"", 0),
        (b"\x11ann\0", Wish.LOG_IN_ANEW, b"", 0),
        (b"\x16SELECT ?", Wish.PREPARE, b"SELECT ?", 0),
        (b"\x18\x07\0\0\0\x01\0abc", Wish.LONG_VALUE, b"", 7),
        (b"\x19\x07\0\0\0", Wish.CLOSE, b"", 7),
        (b"\x1a\x07\0\0\0", Wish.RESET, b"", 7),
        (b"\x1b\0\0", Wish.PASSED, b"", 0),
        (b"\x1c\x07\0\0\0\x0a\0\0\0", Wish.FETCH, b"", 7),
        (b"\x1f", Wish.RESET_SESSION, b"", 0),
    ],
)
def test_what_is_understood(payload: bytes, wish: Wish, text: bytes, statement: int) -> None:
    command = parse_command(payload, PLAIN)
    assert (command.wish, command.text, command.statement) == (wish, text, statement)
    assert command.payload == payload


@pytest.mark.parametrize("number", [0x00, 0x05, 0x07, 0x08, 0x0D, 0x12, 0x13, 0x15, 0x1E, 0x20])
def test_what_is_known_and_not_let_through(number: int) -> None:
    command = parse_command(bytes((number,)) + b"anything", PLAIN)
    assert command.wish is Wish.REFUSED
    assert command.refusal is not None and "COM_" in command.refusal.message


@given(payload=st.binary(min_size=1, max_size=40), attributes=st.booleans())
def test_anything_else_is_refused_or_a_violation(payload: bytes, attributes: bool) -> None:
    known = {1, 2, 3, 4, 9, 0x0A, 0x0C, 0x0E, 0x11, *range(0x16, 0x1D), 0x1F}
    try:
        command = parse_command(payload, ATTRIBUTES if attributes else PLAIN)
    except ProtocolViolation as error:
        assert payload[0] in known and error.side == "client"
        return
    assert (command.wish is Wish.REFUSED) or payload[0] in known
    assert command.payload == payload


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x01\0",
        b"\x04customers",
        b"\x0c\x05\x01",
        b"\x0e\0",
        b"\x17\x01\0\0",
        b"\x18\x01\0\0\0\x01",
        b"\x19\x07\0\0",
        b"\x19\x07\0\0\0\0",
        b"\x1b\0",
        b"\x1c\x07\0\0\0\x0a\0\0",
        b"\x1f\0",
    ],
)
def test_malformed(payload: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_command(payload, PLAIN)


def execution(flags: int, times: int = 1) -> bytes:
    return b"\x17" + struct.pack("<IBI", 7, flags, times) + b"\0\1\x03\0\x05\0\0\0"


def test_an_execution() -> None:
    command = parse_command(execution(0), PLAIN)
    assert (command.wish, command.statement, command.cursor) == (Wish.EXECUTE, 7, False)
    assert prepared.parameters(command.bound, 1, ()) == ((3, "5"),)
    assert parse_command(execution(1), PLAIN).cursor


@pytest.mark.parametrize("payload", [execution(2), execution(4), execution(16), execution(0, 2)])
def test_executions_of_unknown_form_are_refused(payload: bytes) -> None:
    assert parse_command(payload, PLAIN).wish is Wish.REFUSED


def test_the_text_stands_behind_query_attributes() -> None:
    named = b"\x01\x01" + b"\0\1" + b"\xfd\0" + lenenc_bytes(b"trace") + lenenc_bytes(b"SELECT 2")
    command = parse_command(b"\x03" + named + b"SELECT 1", ATTRIBUTES)
    assert command.text == b"SELECT 1"
    assert with_text(command, b"SELECT 3") == b"\x03" + named + b"SELECT 3"
    assert parse_command(b"\x03\0\1SELECT 1", ATTRIBUTES).text == b"SELECT 1"


@pytest.mark.parametrize(
    "named", [b"\0\2", b"\x01\x01\0\0", b"\x01\x01\0\1\x14\0\0", b"\x01\x01\0"]
)
def test_query_attributes_that_cannot_be_read(named: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        parse_command(b"\x03" + named + b"SELECT 1", ATTRIBUTES)


def test_parameters_keep_the_types_of_the_execution_before() -> None:
    kinds = prepared.kinds(b"\x02\1\x08\0\xfd\0\x09\0\0\0\0\0\0\0", 2, ())
    assert kinds == (8, 0xFD)
    again = b"\x02\0" + struct.pack("<q", -3)
    assert prepared.kinds(again, 2, kinds) == kinds
    assert prepared.parameters(again, 2, kinds) == ((8, "-3"), (0xFD, None))
    with pytest.raises(ProtocolViolation):
        prepared.kinds(again, 2, ())


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        (0x01, b"\xff", "-1"),
        (0x8001, b"\xff", "255"),
        (0x05, struct.pack("<d", 1.5), "1.5"),
        (0x04, struct.pack("<f", 0.5), "0.5"),
        (0x0A, b"\xe8\x07\x02\x03", "2024-02-03"),
        (0x0C, b"\xe8\x07\x02\x03\x04\x05\x06", "2024-02-03 04:05:06"),
        (0x0B, b"\0", "0x00"),
        (0xFC, b"\xff\xfe", "0xfffe"),
        (0xFD, "é".encode(), "é"),
    ],
)
def test_values_in_words(kind: int, value: bytes, words: str) -> None:
    assert prepared.shown(kind, value) == words


LITERALS = [
    (0x01, b"\xff", b"-1"),
    (0x8001, b"\xff", b"255"),
    (0x03, b"\xfe\xff\xff\xff", b"-2"),
    (0x05, struct.pack("<d", 1.5), b"1.5"),
    (0xFD, b"\x06it's\\%", b"_utf8mb4 X'697427735c25'"),
    (0xFC, b"\x02\xff\x00", b"X'ff00'"),
    (0xF6, b"\x041.50", b"_utf8mb4 X'312e3530'"),
    (0x0A, b"\x04\xe8\x07\x02\x1d", b"_utf8mb4 X'%s'" % b"2024-02-29".hex().encode()),
    (0x0A, b"\0", b"_utf8mb4 X'%s'" % b"0000-00-00".hex().encode()),
    (
        0x0C,
        b"\x07\xe8\x07\x02\x1d\x0c\x22\x38",
        b"_utf8mb4 X'%s'" % b"2024-02-29 12:34:56".hex().encode(),
    ),
    (
        0x0B,
        b"\x08\1\2\0\0\0\3\4\5",
        b"_utf8mb4 X'%s'" % b"-51:04:05".hex().encode(),
    ),
]


@pytest.mark.parametrize(("kind", "value", "literal"), LITERALS)
def test_a_parameter_as_sql_writes_it(kind: int, value: bytes, literal: bytes) -> None:
    bound = b"\0\1" + struct.pack("<H", kind) + value
    assert prepared.literals(bound, 1, ()) == (literal,)
    assert prepared.literals(b"\1\1" + struct.pack("<H", kind), 1, ()) == (b"NULL",)


@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
def test_what_is_no_number_has_no_literal(number: float) -> None:
    bound = b"\0\1\x05\0\x03\0" + struct.pack("<d", number) + bytes(4)
    assert prepared.literals(bound, 2, ()) is None
    assert prepared.literals(b"\0\1\x06\0", 1, ()) == (b"NULL",)


@given(st.binary(max_size=300))
def test_no_string_is_anything_but_one_literal(value: bytes) -> None:
    """Whatever the modes: digits between quotes hold no quote and no escape."""
    (literal,) = prepared.literals(b"\0\1\xfc\0" + lenenc_bytes(value), 1, ()) or ()
    name, quoted = literal.rsplit(b"X'", 1)
    assert name in (b"", b"_utf8mb4 ") and bytes.fromhex(quoted[:-1].decode()) == value
    assert quoted.endswith(b"'") and quoted.count(b"'") == 1
