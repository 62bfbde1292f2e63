"""The codec: what replies mean, whole and byte by byte, and what no server may say."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from _speedups.myframe import packets
from appliance.model.decision import Mask, MaskMethod
from appliance.model.errors import ProtocolViolation
from appliance.model.limits import Limits
from appliance.wire.exchange import (
    Command,
    Described,
    Done,
    Ended,
    Failed,
    Passed,
    Prepared,
    Reply,
    Rows,
    Wish,
)
from appliance.wire.mysql.codec import MyCodec
from appliance.wire.mysql.startup import Capability
from tests.unit.wire.mysql.packets_said import (
    LONG,
    column,
    eof,
    error,
    ok,
    prepared,
    text_row,
)

OLD = int(Capability.PROTOCOL_41)
NEW = OLD | int(Capability.DEPRECATE_EOF)
TRACKED = NEW | int(Capability.SESSION_TRACK)
QUERY = Command(Wish.QUERY, b"\x03SELECT 1", text=b"SELECT 1")
EXECUTE = Command(Wish.EXECUTE, b"\x17\x01\0\0\0\0\1\0\0\0", statement=1)
CURSOR = Command(Wish.EXECUTE, b"\x17\x01\0\0\0\1\1\0\0\0", statement=1, cursor=True)
PREPARE = Command(Wish.PREPARE, b"\x16SELECT ?", text=b"SELECT ?")
FIELDS = Command(Wish.SAID, b"\x04t\0", text=b"SHOW COLUMNS FROM `t`")
PING = Command(Wish.PASSED, b"\x0e")
IN_TRANSACTION, MORE, CURSOR_EXISTS, LAST_ROW = 1, 8, 0x40, 0x80


def stream(*payloads: bytes) -> bytes:
    return b"".join(packets(payload, 1 + index) for index, payload in enumerate(payloads))


def replies(codec: MyCodec, command: Command, chunks: Iterable[bytes]) -> tuple[list[Reply], bytes]:
    """What came, and what the client is sent of it."""
    codec.begin(command)
    codec.send(command)
    came, sent = [], b""
    for chunk in chunks:
        for reply in codec.upstream_fed(chunk):
            came.append(reply)
            sent += codec.replied(reply)
    return came, sent


def both(capabilities: int, command: Command, said: bytes) -> list[Reply]:
    """Whole and byte by byte: the same comes of it, and the client reads what was said."""
    came, sent = replies(MyCodec(capabilities, Limits()), command, [said])
    one_by_one = [said[at : at + 1] for at in range(len(said))]
    codec = MyCodec(capabilities, Limits())
    again, resent = replies(codec, command, one_by_one)
    assert sent == resent == said
    assert [type(r) for r in came if not isinstance(r, Rows)] == [
        type(r) for r in again if not isinstance(r, Rows)
    ]
    assert sum(r.count for r in came if isinstance(r, Rows)) == sum(
        r.count for r in again if isinstance(r, Rows)
    )
    assert not codec.midway
    return came


def test_a_result_of_text() -> None:
    for capabilities, ends in ((OLD, [eof()]), (NEW, [])):
        last = (
            eof(IN_TRANSACTION) if capabilities == OLD else ok(status=IN_TRANSACTION, header=0xFE)
        )
        said = stream(b"\x02", column("a", "t"), column("b"), *ends, text_row("1", None), last)
        described, rows, ended = both(capabilities, QUERY, said)
        assert isinstance(described, Described) and described.columns == 2
        assert isinstance(rows, Rows) and rows.count == 1
        assert isinstance(ended, Ended) and ended.in_transaction and not ended.more


def test_names_of_columns() -> None:
    codec = MyCodec(OLD, Limits())
    came, _ = replies(
        codec, QUERY, [stream(b"\x02", column("x", "t", org_name="a"), column("b"), eof())]
    )
    (described,) = came
    assert isinstance(described, Described)
    one, two = codec.columns(described.description)
    assert (one.name, one.schema, one.relation, one.column) == ("x", "shop", "t", "a")
    assert (two.name, two.relation, two.column, two.binary) == ("b", "", "", False)


def test_several_results() -> None:
    said = stream(
        ok(3, status=MORE), b"\x01", column("a"), eof(), text_row("1"), eof(MORE), ok(), error()[:0]
    )[:-4]
    came = both(OLD, QUERY, said)
    assert [type(reply) for reply in came] == [Done, Described, Rows, Ended, Done]


def test_an_error_in_every_place() -> None:
    both(OLD, QUERY, stream(error()))
    amid = MyCodec(OLD, Limits())  # nobody has been told of columns yet
    assert replies(amid, QUERY, [stream(b"\x01", column("a"), error())])[1] == stream(error())
    came = both(
        OLD, QUERY, stream(b"\x01", column("a"), eof(), text_row("1"), error(1317, b"70100"))
    )
    assert isinstance(came[-1], Failed) and came[-1].number == 1317
    both(OLD, QUERY, stream(ok(status=MORE), error()))
    both(NEW, PREPARE, stream(error()))
    both(NEW, FIELDS, stream(error()))


def test_prepared() -> None:
    for capabilities, end in ((OLD, [eof()]), (NEW, [])):
        said = stream(prepared(9, 1, 2), column("?"), column("?"), *end, column("a", "t"), *end)
        (reply,) = both(capabilities, PREPARE, said)
        assert isinstance(reply, Prepared)
        assert (reply.statement, reply.parameters, reply.columns) == (9, 2, 1)
        (named,) = MyCodec(capabilities, Limits()).columns(reply.description)
        assert (named.name, named.binary) == ("a", True)
        both(capabilities, PREPARE, stream(prepared(9, 0, 0)))
        both(capabilities, PREPARE, stream(prepared(9, 0, 1), column("?"), *end))
        both(capabilities, PREPARE, stream(prepared(9, 1, 0), column("a"), *end))


def test_a_cursor_keeps_its_rows() -> None:
    (described,) = both(OLD, CURSOR, stream(b"\x01", column("a"), eof(CURSOR_EXISTS)))
    assert isinstance(described, Described) and described.kept
    came = both(NEW, CURSOR, stream(b"\x01", column("a"), ok(status=CURSOR_EXISTS, header=0xFE)))
    assert isinstance(came[-1], Ended) and came[-1].kept
    fetch = Command(Wish.FETCH, b"\x1c\x01\0\0\0\2\0\0\0", statement=1)
    came = both(OLD, fetch, stream(b"\0\0\x01a", b"\0\0\x01b", eof(CURSOR_EXISTS | LAST_ROW)))
    assert isinstance(came[-1], Ended) and came[-1].exhausted


def test_fields_and_idle_commands() -> None:
    both(OLD, FIELDS, stream(column("a", "t") + b"\xfb", column("b", "t") + b"\x01x", eof()))
    both(NEW, FIELDS, stream(column("a", "t") + b"\xfb", ok(header=0xFE)))
    both(OLD, PING, stream(ok()))
    both(OLD, Command(Wish.PASSED, b"\x1b\0\0"), stream(eof()))
    (words,) = both(OLD, Command(Wish.PASSED, b"\x09"), stream(b"Uptime: 5"))
    assert isinstance(words, Passed)


def test_what_the_server_reports_with_ok() -> None:
    tracked = b"\x01\x05\x04shop" + b"\x00\x0e\x09character\x03abc"
    payload = ok(0, 0x4002, header=0, tracked=True) + b"\0" + bytes((len(tracked),)) + tracked
    (done,) = both(TRACKED, QUERY, stream(payload))
    assert isinstance(done, Done)
    assert done.changed == (("schema", "shop"), ("character", "abc"))


@pytest.mark.parametrize(
    ("capabilities", "command", "said"),
    [
        (OLD, QUERY, stream(b"\xfbfile")),  # a request for a local file
        (OLD, QUERY, stream(b"")),
        (OLD, QUERY, stream(b"\xfc\xff\xff")),  # 65,535 columns
        (OLD, QUERY, stream(b"\xfd\xff\xff\xff")),
        (OLD, QUERY, stream(b"\xfe\xff\xff\xff\xff\xff\xff\xff\xff")),
        (OLD, QUERY, stream(b"\x02", column("a"), eof())),
        (OLD, QUERY, stream(b"\x01", column("a"), column("b"))),
        (OLD, QUERY, stream(ok(), ok())),
        (OLD, QUERY, packets(ok(), 2)),
        (OLD, PREPARE, stream(b"\x01", column("a"))),
        (OLD, PREPARE, stream(prepared(9, 1, 0) + b"\0")),
        (OLD, PING, stream(b"\x01", column("a"))),
        (OLD, PING, stream(ok(status=MORE))),
        (OLD, PING, stream(ok()[:-1])),
        (OLD, EXECUTE, stream(b"\x01", column("a"), eof(), b"\0\0\x01a", b"")),
        (OLD, EXECUTE, stream(b"\x01", column("a"), eof(), b"\0\0\x01a", b"\xfe\0\0\2")),
        (TRACKED, QUERY, stream(ok(0, 0x4002, tracked=True) + b"\0\x03\x01\x05\x04")),
        (TRACKED, QUERY, stream(ok(0, 0x4002, tracked=True) + b"\0\x02\x07\0")),
    ],
)
def test_what_no_server_may_say(capabilities: int, command: Command, said: bytes) -> None:
    with pytest.raises(ProtocolViolation) as caught:
        replies(MyCodec(capabilities, Limits()), command, [said])
    assert caught.value.side == "upstream"


@pytest.mark.parametrize("described", [column("a")[:-1], column("a") + b"\0", column("a")[:3]])
def test_a_column_is_read_to_its_last_byte(described: bytes) -> None:
    with pytest.raises(ProtocolViolation):
        MyCodec(OLD, Limits()).columns(b"\0" + _length(described))


def test_nothing_may_come_unasked() -> None:
    with pytest.raises(ProtocolViolation):
        list(MyCodec(OLD, Limits()).upstream_fed(packets(ok(), 0)))


@given(
    said=st.binary(max_size=80),
    at=st.integers(0, 200),
    capabilities=st.sampled_from([OLD, NEW, TRACKED]),
    command=st.sampled_from([QUERY, EXECUTE, CURSOR, PREPARE, FIELDS, PING]),
)
def test_noise_is_a_violation_or_a_reply(
    said: bytes, at: int, capabilities: int, command: Command
) -> None:
    good = stream(b"\x02", column("a", "t"), column("b"), eof(), text_row("1", None), eof())
    noise = good[: at % len(good)] + said
    try:
        _, sent = replies(MyCodec(capabilities, Limits()), command, [noise])
    except ProtocolViolation as error:
        assert error.side == "upstream"
    else:
        assert noise.startswith(sent)


# --- for the client -------------------------------------------------------------------------------


def fed(codec: MyCodec, *payloads: bytes) -> list[Command]:
    return list(codec.client_fed(b"".join(packets(payload, 0) for payload in payloads)))


def test_commands_one_by_one() -> None:
    codec = MyCodec(OLD, Limits())
    sent = packets(b"\x03SELECT 1", 0) + packets(b"\x0e", 0) + packets(b"\x7f", 0)
    whole = list(codec.client_fed(sent))
    pieces = [c for at in range(len(sent)) for c in codec.client_fed(sent[at : at + 1])]
    assert whole == pieces
    assert [command.wish for command in whole] == [Wish.QUERY, Wish.PASSED, Wish.REFUSED]


def test_a_command_out_of_order() -> None:
    with pytest.raises(ProtocolViolation, match="out of order"):
        list(MyCodec(OLD, Limits()).client_fed(packets(b"\x0e", 1)))


def test_a_text_beyond_the_limit_is_refused_and_not_kept() -> None:
    limits = Limits(statement_bytes_max=1000, bind_bytes_max=1000)
    codec = MyCodec(OLD, limits)
    short, long, huge = fed(
        codec, b"\x03" + b"x" * 1000, b"\x03" + b"x" * 1001, b"\x03" + b"x" * 200_000
    )
    assert short.wish is Wish.QUERY
    for command in (long, huge):
        assert command.wish is Wish.REFUSED and command.refusal is not None
    assert huge.length == 200_001 and len(huge.payload) <= 64
    (value,) = fed(codec, b"\x18\x07\0\0\0\0\0" + b"x" * 200_000)
    assert (value.wish, value.statement) == (Wish.LONG_VALUE, 7) and value.refusal is not None


def test_a_reply_goes_on_from_the_command() -> None:
    """A command of two packets is answered from sequence number 2 on."""
    codec = MyCodec(OLD, Limits(statement_bytes_max=1 << 25))
    (command,) = fed(codec, b"\x03" + b" " * 0xFFFFFF)
    codec.begin(command)
    assert codec.failed(1064, "42000", "no")[3] == 2
    assert codec.send(command)[0xFFFFFF + 4 + 3] == 1
    (done,) = codec.upstream_fed(packets(ok(), 2))
    assert isinstance(done, Done)
    codec.begin(command)
    codec.send(command, b"SELECT 1")  # one packet: the reply is numbered anew
    (done,) = codec.upstream_fed(packets(ok(), 1))
    assert codec.replied(done) == packets(ok(), 2)


def test_rows_are_numbered_anew_when_some_were_left_out() -> None:
    codec = MyCodec(OLD, Limits())
    codec.begin(QUERY)
    codec.send(QUERY)
    rows = [text_row(str(index)) for index in range(5)]
    out = b""
    for reply in codec.upstream_fed(stream(b"\x01", column("a"), eof(), *rows, eof())):
        if isinstance(reply, Described):
            codec.whole_rows(1000)
        out += codec.replied(codec.first(reply, 2) if isinstance(reply, Rows) else reply)
    assert out == stream(b"\x01", column("a"), eof(), *rows[:2], eof())


REDACT = Mask(MaskMethod.REDACT, "r")


def test_masked_rows_and_what_describes_them() -> None:
    codec = MyCodec(OLD, Limits())
    codec.begin(QUERY)
    codec.send(QUERY)
    columns = (column("id", "t", kind=LONG, flags=1), column("email", "t", flags=1, length=80))
    rows = [text_row("1", "ada@example.org"), text_row("2", None)]
    out = b""
    for reply in codec.upstream_fed(stream(b"\x02", *columns, eof(), *rows, eof())):
        if isinstance(reply, Described):
            masker = codec.masker((None, REDACT), codec.columns(reply.description), {})
            codec.whole_rows(1000)
            out += codec.replied(reply, (False, True))
        elif isinstance(reply, Rows):
            out += codec.masked(reply, masker)
        else:
            out += codec.replied(reply)
    reworded = column("email", "t", flags=0, length=1024)
    masked = [text_row("1", "****"), text_row("2", None)]
    assert out == stream(b"\x02", columns[0], reworded, eof(), *masked, eof())
    assert masker.cells_masked == 1


def test_numbers_keep_the_width_they_are_described_with() -> None:
    codec = MyCodec(OLD, Limits())
    codec.begin(QUERY)
    codec.send(QUERY)
    number = column("n", "t", kind=LONG, flags=1, length=11)
    (described,) = codec.upstream_fed(stream(b"\x01", number, eof()))
    reworded = column("n", "t", kind=LONG, flags=0, length=11)
    assert codec.replied(described, (True,)) == stream(b"\x01", reworded, eof())


def test_a_masked_row_must_fit_its_description() -> None:
    codec = MyCodec(OLD, Limits())
    replies(codec, QUERY, [stream(b"\x01", column("a", "t"), eof())])
    masker = codec.masker((REDACT,), codec.columns(b"\0" + _length(column("a", "t"))), {})
    with pytest.raises(ProtocolViolation):
        for reply in codec.upstream_fed(packets(b"\x05abc", 4)):
            assert isinstance(reply, Rows)
            codec.masked(reply, masker)


def _length(payload: bytes) -> bytes:
    return packets(payload, 0)
