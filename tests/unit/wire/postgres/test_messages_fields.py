"""The parsers of frequent messages, which take no Reader, read what a Reader reads."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.model.errors import ProtocolViolation
from appliance.wire.postgres import messages as m


def bind(reader: m.Reader) -> m.BindMessage:
    portal, statement = reader.cstring(), reader.cstring()
    formats = tuple(reader.u16() for _ in range(reader.u16()))
    parameters = reader.u16()
    for _ in range(parameters):
        length = reader.i32()
        if length != -1:
            reader.take(length)
    results = tuple(reader.u16() for _ in range(reader.u16()))
    if len(formats) not in (0, 1, parameters) or not {*formats, *results} <= {0, 1}:
        raise ProtocolViolation("client", "formats")
    return m.BindMessage(portal, statement, parameters, results)


def status(reader: m.Reader) -> int:
    if (read := reader.u8()) not in b"ITE":
        raise ProtocolViolation("upstream", "status")
    return read


def described(reader: m.Reader) -> tuple[int, bytes]:
    if (what := reader.u8()) not in b"SP":
        raise ProtocolViolation("client", "what")
    return what, reader.cstring()


PAIRS: list[Any] = [
    (m.parse_query, m.Reader.cstring),
    (m.parse_bind, bind),
    (m.parse_describe_or_close, described),
    (m.parse_execute, lambda reader: (reader.cstring(), reader.i32())),
    (m.parse_command_complete, m.Reader.cstring),
    (m.parse_ready_for_query, status),
]
WELL_FORMED = [
    b"select 1\0",
    b"\0\0\0\0\0\0\0\0",
    b"p\0s\0\0\1\0\1\0\2\0\0\0\1x\xff\xff\xff\xff\0\2\0\1\0\0",
    b"\0s\0\0\0\0\1\0\0\0\x044711\0\1\0\0",
    b"Sname\0",
    b"\0\0\0\0\7",
    b"T",
]
bodies = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from(
            [b"\0", b"\0\0", b"\0\1", b"\0\2", b"\xff\xff\xff\xff", b"\0\0\0\1x", b"S"]
        ),
        max_size=14,
    ).map(b"".join),
    st.tuples(st.sampled_from(WELL_FORMED), st.integers(0, 40), st.binary(max_size=2)).map(
        lambda parts: parts[0][: parts[1]] + parts[2] + parts[0][parts[1] :]
    ),
)


def outcome(parse: Callable[[], object]) -> object:
    try:
        return parse()
    except ProtocolViolation:
        return ProtocolViolation


def whole(read: Callable[[m.Reader], object], body: bytes) -> object:
    reader = m.Reader(body, "client")
    value = read(reader)
    reader.end()
    return value


@pytest.mark.parametrize(("parse", "read"), PAIRS)
@given(body=bodies)
@example(body=b"")
@example(body=b"x")
@example(body=b"a\0b\0")
@example(body=b"\0\0\0\0\0\1\xff\xff\xff\xfe\0\0")
@example(body=b"\0\0\0\0\0\1\0\0\0\x7f\0\0")
def test_it_reads_what_a_reader_reads(parse: Any, read: Any, body: bytes) -> None:
    assert outcome(lambda: parse(memoryview(body))) == outcome(lambda: whole(read, body))


@pytest.mark.parametrize("body", WELL_FORMED)
def test_the_samples_are_well_formed_for_somebody(body: bytes) -> None:
    assert any(outcome(lambda: p(body)) is not ProtocolViolation for p, _ in PAIRS)  # noqa: B023


def test_the_cells_of_a_row() -> None:
    body = b"\0\3" + b"\0\0\0\2ab" + b"\xff\xff\xff\xff" + b"\0\0\0\0"
    assert m.parse_row(body) == [b"ab", None, b""]
    assert m.parse_row(b"\0\0") == []
    for bad in (*(body[:end] for end in range(len(body))), body + b"x"):
        with pytest.raises(ProtocolViolation):
            m.parse_row(bad)
    with pytest.raises(ProtocolViolation):
        m.parse_row(b"\0\1\x7f\xff\xff\xffab")
