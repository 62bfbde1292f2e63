"""However the bytes are cut, the machine says the same: whole = byte by byte = any splits.

The conversations are what `test_statements` plays, and longer ones; what is compared is every byte
to either side and every record, ids and times included.
"""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.model.errors import ProtocolViolation
from appliance.session.effects import AnalyseText, Turn
from appliance.session.machine import SessionMachine
from appliance.sql.analysis import analyse
from appliance.wire.postgres import refusals
from tests.playbook.lifecycle.book import Limits, machine
from tests.playbook.lifecycle.lines import (
    BOUND,
    CLOSED,
    COPY_ENDS,
    COPY_IN,
    COPY_OUT,
    IN_TRANSACTION,
    NAME,
    NO_DATA,
    ONE,
    PARSED,
    READY,
    SSN,
    SUSPENDED,
    complete,
    described,
    failed,
    row,
)
from tests.wireclient import (
    COPY_DONE,
    FLUSH,
    SYNC,
    TERMINATE,
    bind,
    close,
    copy_data,
    describe,
    execute,
    message,
    parse,
    query,
)

# A machine that ended in an error is freed by the garbage collector, with a view of its last chunk.
pytestmark = pytest.mark.filterwarnings("ignore:Exception ignored in tp_clear")

Conversation = list[tuple[str, bytes]]
SELECT = "SELECT ssn FROM customers"
SYNTAX = failed("42601")
ROWS = b"".join(row(b"%03d-45-6789" % n) for n in range(40))

CONVERSATIONS: dict[str, Conversation] = {
    "simple": [
        ("client", query(SELECT)),
        ("upstream", described(SSN) + ROWS + complete("SELECT 40") + READY),
        ("client", query("SELECT 1; SELECT 2")),
        ("upstream", (described(ONE) + row(b"1") + complete("SELECT 1")) * 2 + READY),
        ("client", TERMINATE),
    ],
    "extended": [
        ("client", parse("s", SELECT) + describe("S", "s") + SYNC),
        ("upstream", PARSED + message("t", b"\0\0") + described(SSN) + READY),
        ("client", bind("", "s") + execute() + SYNC),
        ("upstream", BOUND + described(SSN) + ROWS + complete("SELECT 40") + READY),
        ("client", bind("p", "s") + execute("p", 3) + FLUSH),
        ("upstream", BOUND + described(SSN) + ROWS[:66] + SUSPENDED),
        ("client", execute("p") + close("P", "p") + close("S", "s") + SYNC),
        ("upstream", ROWS[66:] + complete("SELECT 37") + CLOSED + CLOSED + READY),
    ],
    "refusals": [
        ("client", query("BEGIN")),
        ("upstream", complete("BEGIN") + IN_TRANSACTION),
        ("client", query("DROP TABLE notes")),
        ("upstream", SYNTAX + message("Z", b"E")),
        ("client", parse("", "DROP TABLE notes") + bind() + execute() + SYNC),
        ("upstream", SYNTAX + message("Z", b"E")),
        ("client", message("F", b"\0\0\0\1\0\0\0\0\0\0") + query("ROLLBACK")),
        ("upstream", SYNTAX + message("Z", b"E") + complete("ROLLBACK") + READY),
    ],
    "copy": [
        ("client", parse("", "COPY notes FROM STDIN") + bind() + execute() + SYNC),
        ("upstream", PARSED + BOUND + NO_DATA + COPY_IN),
        ("client", copy_data(b"1\tx\n" * 50) + SYNC + copy_data(b"") + COPY_DONE + SYNC),
        ("upstream", complete("COPY 50") + READY),
        ("client", query("COPY notes TO STDOUT")),
        (
            "upstream",
            COPY_OUT + copy_data(b"1\tx\n") * 30 + COPY_ENDS + complete("COPY 30") + READY,
        ),
    ],
    "waiting": [
        ("client", query(SELECT + " --" + "x" * 4_200) + query("SELECT name FROM customers")),
        ("analysed", b""),
        ("upstream", described(SSN) + row(None) + complete("SELECT 1") + READY),
        ("upstream", described(NAME) + row(b"Ada") + complete("SELECT 1") + READY),
    ],
    "too long": [
        ("client", query("SELECT '" + "x" * 5_000 + "'")),
        ("upstream", SYNTAX + READY),
        ("client", parse("", "SELECT '" + "x" * 80_000 + "'") + bind() + execute() + SYNC),
        ("upstream", SYNTAX + READY),
        ("client", parse("s", "SELECT $1") + bind("", "s", (b"v" * 3_000,)) + execute() + SYNC),
        ("upstream", PARSED + BOUND + described(ONE) + row(b"1") + complete("SELECT 1") + READY),
        ("client", bind("", "nobody", (b"v" * 300_000,)) + execute() + SYNC),
        ("upstream", failed("26000") + READY),
    ],
    "asynchronous": [
        ("upstream", message("S", b"TimeZone\0UTC\0")),
        ("upstream", message("N", b"SNOTICE\0C00000\0Mhello\0\0")),
        ("client", query("LISTEN x")),
        ("upstream", complete("LISTEN") + message("A", b"\0\0\0\1x\0secret\0") + READY),
    ],
}


def fresh() -> SessionMachine:
    return machine(limits=Limits(statement_bytes_max=4_500))


def play(
    conversation: Conversation, cut: "Iterator[int] | None"
) -> tuple[bytes, bytes, list[object]]:
    """Everything it said: (to upstream, to client, records)."""
    one = fresh()
    to_upstream, to_client, records = bytearray(), bytearray(), []
    asked: AnalyseText | None = None

    def take(turn: Turn) -> None:
        nonlocal asked
        for piece in turn.upstream:
            to_upstream.extend(piece)
        for piece in turn.client:
            to_client.extend(piece)
        records.extend(turn.records)
        for request in turn.requests:
            if isinstance(request, AnalyseText):
                asked = request

    for side, content in conversation:
        if side == "analysed":
            assert asked is not None
            lineage = one.analysis_lineage
            take(one.analysed(analyse(asked.text, lineage, asked.settings, Limits()), 1.0))
            continue
        receive = one.client_received if side == "client" else one.upstream_received
        for chunk in chunks(content, cut):
            take(receive(memoryview(bytearray(chunk)), 1.0))
    return bytes(to_upstream), bytes(to_client), records


def chunks(content: bytes, cut: "Iterator[int] | None") -> Iterator[bytes]:
    while content:
        size = len(content) if cut is None else next(cut)
        yield content[:size]
        content = content[size:]


def sizes(drawn: list[int]) -> Iterator[int]:
    while True:
        yield from drawn


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_whole_is_byte_by_byte(name: str) -> None:
    conversation = CONVERSATIONS[name]
    whole = play(conversation, None)
    assert whole[0] or name == "asynchronous"
    assert whole[1] and b"123-45-6789" not in whole[1]
    assert play(conversation, sizes([1])) == whole


@pytest.mark.parametrize("name", CONVERSATIONS)
@settings(max_examples=25, deadline=None)
@given(drawn=st.lists(st.integers(1, 2_000), min_size=1, max_size=30))
def test_whole_is_any_splits(name: str, drawn: list[int]) -> None:
    conversation = CONVERSATIONS[name]
    assert play(conversation, sizes(drawn)) == play(conversation, None)


@settings(max_examples=150, deadline=None)
@given(
    flip=st.integers(0, 10_000),
    value=st.integers(0, 255),
    name=st.sampled_from(sorted(CONVERSATIONS)),
)
def test_a_damaged_byte_ends_in_a_known_way(flip: int, value: int, name: str) -> None:
    """Whatever a peer says, the machine answers, refuses or names a violation; nothing else."""
    conversation = list(CONVERSATIONS[name])
    step = flip % len(conversation)
    side, content = conversation[step]
    if not content:
        return
    at = flip % len(content)
    conversation[step] = (side, content[:at] + bytes((value,)) + content[at + 1 :])
    from appliance.model.errors import InvariantBroken, Refused

    try:
        said = play(conversation, None)
    except (ProtocolViolation, InvariantBroken, Refused, AssertionError):
        return
    assert refusals.REFUSED_NAME not in said[1]
