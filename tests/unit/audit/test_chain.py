"""The line format, checked by a verifier written from the documentation alone."""

import hashlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.audit.chain import GENESIS, Link, link_records, parse_line
from appliance.audit.encode import decode_record, encode_body, encode_record
from appliance.audit.record import ClientPart, LoginFailed, WorkerStarted, new_id
from appliance.model.errors import InvariantBroken


def started(version: str) -> WorkerStarted:
    return WorkerStarted(id="a", time=1.5, worker=0, pid=1, version=version)


def independent(lines: list[bytes]) -> bool:
    """From `chain`'s docstring, with json and hashlib only."""
    before = "0" * 64
    for number, line in enumerate(lines, 1):
        fields = json.loads(line)
        body, closing = line[:-76], line[-76:]
        opening = b'{"seq":%d,"prev":"%s",' % (number, before.encode())
        names = ["seq", "prev", "event"]
        if line.startswith(opening + b'"tail":'):
            opening += b'"tail":%d,"event":"' % fields["tail"]
            if len(body) - fields["tail"] < len(opening):
                return False
            tail = body[-fields["tail"] :]
            body = body[: -fields["tail"]] + hashlib.sha256(tail).digest()
            names.insert(2, "tail")
        digest = hashlib.sha256(body).hexdigest()
        if (
            not line.startswith(opening)
            or closing != f',"hash":"{digest}"}}\n'.encode()
            or list(fields)[: len(names)] != names
            or list(fields)[-1] != "hash"
        ):
            return False
        before = digest
    return True


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=1, max_size=5))
def test_lines_are_as_documented(texts: list[str]) -> None:
    records = [started(text) for text in texts]
    link, lines = link_records(Link(), records)
    assert independent(lines)
    assert all(line.count(b"\n") == 1 for line in lines)
    assert [decode_record(line) for line in lines] == records
    parsed = [parse_line(line) for line in lines]
    assert all(p is not None and p.sound for p in parsed)
    assert parsed[-1] is not None
    assert parsed[-1].link == link


def test_linking_in_parts_is_the_same() -> None:
    records = [started(str(i)) for i in range(5)]
    _, whole = link_records(Link(), records)
    link, first = link_records(Link(), records[:2])
    _, rest = link_records(link, records[2:])
    assert first + rest == whole
    assert link_records(link, ()) == (link, [])
    assert Link() == Link(0, GENESIS)


def with_tail(text: str, cut: int) -> tuple[bytes, bytes, bytes]:
    """A record of which all but the first bytes are the same each time."""
    body = encode_body(started(text))
    cut = max(10, cut % len(body))
    tail = body[cut:]
    return body[:cut], tail, hashlib.sha256(tail).digest()


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 100)),
        min_size=1,
        max_size=5,
    )
)
def test_lines_with_a_tail_are_as_documented(made: list[tuple[str, int]]) -> None:
    records = [started(text) for text, _ in made]
    encoded = [with_tail(text, cut) if cut else encode_body(started(text)) for text, cut in made]
    link, lines = link_records(Link(), encoded)
    assert independent(lines)
    assert [decode_record(line) for line in lines] == records
    parsed = [parse_line(line) for line in lines]
    assert all(p is not None and p.sound for p in parsed)
    assert parsed[-1] is not None
    assert parsed[-1].link == link


def test_no_changed_byte_of_a_line_with_a_tail_goes_unseen() -> None:
    _, (line,) = link_records(Link(), [with_tail("version", 40)])
    parsed = parse_line(line)
    assert parsed is not None
    assert parsed.sound
    for place in range(len(line)):
        for other in (line[place] ^ 1, line[place] ^ 16, 0x30, 0x39):
            harmed = line[:place] + bytes([other]) + line[place + 1 :]
            found = parse_line(harmed)
            assert harmed == line or found is None or not found.sound


def test_a_tail_keeps_its_place() -> None:
    """Its boundary cannot be moved, nor the line be told as one of the other form."""
    _, (line,) = link_records(Link(), [with_tail("version", 40)])
    size = json.loads(line)["tail"]
    for other in (*range(1, size), *range(size + 1, len(line) + 100)):
        moved = parse_line(line.replace(b'"tail":%d,' % size, b'"tail":%d,' % other))
        assert moved is None or not moved.sound
    plain = parse_line(line.replace(b'"tail":%d,' % size, b""))
    assert plain is not None
    assert not plain.sound
    digest = hashlib.sha256(line[-76 - size : -76]).digest()
    short = parse_line(line[: -76 - size] + digest + line[-76:])
    assert short is None or not short.sound


def test_a_hash_inside_a_text_deceives_nobody() -> None:
    _, (line,) = link_records(Link(), [started('","hash":"' + "0" * 64 + '"}\n')])
    parsed = parse_line(line)
    assert parsed is not None
    assert parsed.sound


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"\n",
        b"{}\n",
        b'{"seq":01,"prev":"' + b"0" * 64 + b'","event":"x","hash":"' + b"0" * 64 + b'"}\n',
        b'{"seq":0,"prev":"' + b"0" * 64 + b'","event":"x","hash":"' + b"0" * 64 + b'"}\n',
        b'{"seq":1,"prev":"' + b"A" * 64 + b'","event":"x","hash":"' + b"0" * 64 + b'"}\n',
        b'{"seq":1,"prev":"' + b"0" * 64 + b'","event":"x","hash":"' + b"0" * 64 + b'"}',
        b'{"seq":1,"prev":"' + b"0" * 64 + b'","tail":0,"event":"x","hash":"' + b"0" * 64 + b'"}\n',
        b'{"seq":1,"prev":"' + b"0" * 64 + b'","tail":3,"event":"x","hash":"' + b"0" * 64 + b'"}\n',
    ],
)
def test_what_is_no_line(line: bytes) -> None:
    assert parse_line(line) is None


def test_unencodable_record_is_our_bug_and_leaks_nothing() -> None:
    with pytest.raises(InvariantBroken) as broken:
        encode_record(started("secret\ud800"))
    assert "secret" not in str(broken.value)
    with pytest.raises(InvariantBroken):
        encode_record(started("x" * 2_000_000))


def test_big_integers_survive() -> None:
    record = msgspec.structs.replace(started("x"), pid=2**70)
    assert json.loads(encode_record(record))["pid"] == 2**70


def test_defaults_are_left_out() -> None:
    client = ClientPart("::1", 1, "main", False)
    record = LoginFailed(id="a", time=1.0, claimed="x", reason="y", client=client)
    assert json.loads(encode_record(record)).keys() == {
        "event", "id", "time", "claimed", "reason", "client",
    }  # fmt: skip


def test_ids_sort_by_time() -> None:
    ids = [new_id(t, bytes([9 - i] * 10)) for i, t in enumerate((1.0, 1.5, 1790000000.5))]
    assert ids == sorted(ids)
    assert len(ids[0]) == 32
