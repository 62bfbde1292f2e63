"""Every message: built and read back, used up to the last byte, and cut at every byte."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model.errors import InvariantBroken, ProtocolViolation
from appliance.model.limits import COLUMNS_MAX, FRAME_BYTES_MAX
from appliance.wire.postgres import messages as m

HEADER = 5
COLUMN = b"id\0" + (16_401).to_bytes(4, "big") + b"\0\1" + b"\0\0\0\x17\0\4\xff\xff\xff\xff\0\1"
READ: dict[str, tuple[Callable[[m.Buffer], Any], bytes, Any]] = {
    "query": (m.parse_query, m.query(b"SELECT 1")[HEADER:], b"SELECT 1"),
    "empty query": (m.parse_query, m.query(b"")[HEADER:], b""),
    "parse": (
        m.parse_parse,
        m.parse(b"s", b"SELECT $1", (23, 4_000_000_000))[HEADER:],
        m.ParseMessage(b"s", b"SELECT $1", (23, 4_000_000_000)),
    ),
    "bind": (
        m.parse_bind,
        b"p\0s\0" + b"\0\1\0\1" + b"\0\2" + b"\0\0\0\3abc" + b"\xff\xff\xff\xff" + b"\0\2\0\0\0\1",
        m.BindMessage(b"p", b"s", 2, (0, 1)),
    ),
    "bind without parameters": (
        m.parse_bind,
        m.bind_unparameterised(b"p", b"s")[HEADER:],
        m.BindMessage(b"p", b"s", 0, ()),
    ),
    "describe": (
        m.parse_describe_or_close,
        m.describe(m.PORTAL, b"p")[HEADER:],
        (m.PORTAL, b"p"),
    ),
    "close": (
        m.parse_describe_or_close,
        m.close(m.STATEMENT, b"s")[HEADER:],
        (m.STATEMENT, b"s"),
    ),
    "execute": (m.parse_execute, m.execute(b"p", 7)[HEADER:], (b"p", 7)),
    "row description": (
        m.parse_row_description,
        b"\0\1" + COLUMN,
        (m.ColumnDescription(b"id", 16_401, 1, 23, 1),),
    ),
    "no columns": (m.parse_row_description, b"\0\0", ()),
    "parameter status": (
        m.parse_parameter_status,
        m.parameter_status("TimeZone", "UTC")[HEADER:],
        (b"TimeZone", b"UTC"),
    ),
    "command complete": (m.parse_command_complete, b"SELECT 1\0", b"SELECT 1"),
    "ready": (m.parse_ready_for_query, m.ready_for_query(ord("T"))[HEADER:], ord("T")),
    "error": (
        m.parse_error_fields,
        m.error_fields(m.ERROR_RESPONSE, {"S": "ERROR", "C": "42601", "M": "é"})[HEADER:],
        {"S": "ERROR", "C": "42601", "M": "é"},
    ),
    "notification": (
        m.without_payload,
        b"\0\0\0\7channel\0secret\0",
        m.frame(m.NOTIFICATION_RESPONSE, b"\0\0\0\7channel\0\0"),
    ),
}
OPEN_ENDED: dict[str, tuple[Callable[[m.Buffer], Any], bytes, Any]] = {
    "key data": (
        m.parse_backend_key_data,
        m.backend_key_data(4711, b"abcd")[HEADER:],
        (4711, b"abcd"),
    ),
    "authentication": (
        m.parse_authentication,
        m.authentication(m.AUTH_SASL, b"rest")[HEADER:],
        (m.AUTH_SASL, b"rest"),
    ),
}
ALL = READ | OPEN_ENDED


@pytest.mark.parametrize("name", ALL)
def test_read(name: str) -> None:
    parser, body, expected = ALL[name]
    assert parser(body) == expected
    assert parser(memoryview(body)) == expected
    assert parser(bytearray(body)) == expected


@pytest.mark.parametrize("name", READ)
def test_nothing_may_follow(name: str) -> None:
    parser, body, _ = READ[name]
    for more in (b"\0", b"x", b"\0\0\0\0"):
        with pytest.raises(ProtocolViolation):
            parser(body + more)


@pytest.mark.parametrize("name", READ)
def test_cut_at_every_byte(name: str) -> None:
    parser, body, _ = READ[name]
    for end in range(len(body)):
        with pytest.raises(ProtocolViolation):
            parser(body[:end])


@pytest.mark.parametrize("name", ALL)
@given(data=st.data())
def test_any_bytes_are_read_or_a_violation(name: str, data: st.DataObject) -> None:
    """Never another exception: whole rubbish, and a good message with a few bytes changed."""
    parser, body, _ = ALL[name]
    changed = bytearray(body)
    for place in data.draw(st.lists(st.integers(0, max(len(body) - 1, 0)), max_size=3)):
        changed[place] = data.draw(st.integers(0, 255))
    for content in (data.draw(st.binary(max_size=60)), bytes(changed)):
        try:
            parser(content)
        except ProtocolViolation as violation:
            assert violation.side in ("client", "upstream") and violation.reason


def test_sides() -> None:
    for name in ALL:
        parser, _, _ = ALL[name]
        with pytest.raises(ProtocolViolation) as caught:
            parser(b"")
        client = parser.__name__.removeprefix("parse_") in (
            "query",
            "parse",
            "bind",
            "describe_or_close",
            "execute",
        )
        assert caught.value.side == ("client" if client else "upstream")


@pytest.mark.parametrize(
    "body",
    [
        b"\0\0" + b"\0\1\0\2" + b"\0\0\0\0",  # no such format
        b"\0\0" + b"\0\2\0\0\0\1" + b"\0\1\0\0\0\1x" + b"\0\0",  # two formats, one parameter
        b"\0\0" + b"\0\0" + b"\0\1\xff\xff\xff\xfe" + b"\0\0",  # a length of -2
        b"\0\0" + b"\0\0" + b"\0\1\x7f\xff\xff\xff" + b"\0\0",  # a length beyond the message
        b"\0\0" + b"\0\0" + b"\0\0" + b"\0\1\0\7",  # no such result format
    ],
)
def test_binds_that_make_no_sense(body: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        m.parse_bind(body)


@pytest.mark.parametrize("status", [b"i", b"X", b"\0", b""])
def test_unknown_transaction_status(status: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        m.parse_ready_for_query(status)


def test_more_columns_than_can_be() -> None:
    columns = m.parse_row_description(COLUMNS_MAX.to_bytes(2, "big") + COLUMN * COLUMNS_MAX)
    assert len(columns) == COLUMNS_MAX
    with pytest.raises(ProtocolViolation, match="more columns"):
        m.parse_row_description((COLUMNS_MAX + 1).to_bytes(2, "big") + COLUMN * (COLUMNS_MAX + 1))


@pytest.mark.parametrize("secret", [b"", b"abc", b"x" * 257])
def test_cancel_keys_of_impossible_length(secret: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        m.parse_backend_key_data(b"\0\0\0\1" + secret)


def test_what_cannot_be_built() -> None:
    with pytest.raises(InvariantBroken):
        m.cstring("a\0b")
    with pytest.raises(InvariantBroken):
        m.query(b"SELECT 1\0DROP TABLE x")

    class Long(bytes):
        def __len__(self) -> int:
            return FRAME_BYTES_MAX + 1

    with pytest.raises(InvariantBroken):
        m.frame(m.QUERY, Long())


def test_frames() -> None:
    assert m.query(b"x") == b"Q\0\0\0\6x\0"
    assert m.SYNC_FRAME == b"S\0\0\0\4"
    assert m.execute(b"", 1) == b"E\0\0\0\x09\0\0\0\0\1"
    assert m.password(b"pw") == b"p\0\0\0\7pw\0"
    assert m.sasl_initial_response("X", b"ab") == b"p\0\0\0\x0cX\0\0\0\0\2ab"
    assert m.authentication_sasl(["A", "B"]) == b"R\0\0\0\x0d\0\0\0\x0aA\0B\0\0"
    assert m.negotiate_protocol_version(2, ["_pq_.x"]) == (b"v\0\0\0\x13\0\3\0\2\0\0\0\1_pq_.x\0")


def test_error_fields_carry_no_nul() -> None:
    built = m.error_fields(m.ERROR_RESPONSE, {"M": "a\0b", "D": ""})
    assert built == b"E\0\0\0\x09Mab\0\0"
