"""Brief lines tell whole records, and no way to tamper with them goes unseen."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audit import checkpoint
from appliance.audit.brief import Completer, Incomplete
from appliance.audit.chain import claimed_hash, parse_line
from appliance.audit.checkpoint import Ed25519Signer
from appliance.audit.query import Criteria, Reader, find, search
from appliance.audit.record import (
    Outcome,
    ProtocolKind,
    SegmentOpened,
    StatementDecided,
    StatementFinished,
)
from appliance.audit.verify import Report, verify_trail
from appliance.model.limits import AUDIT_REACH_LINES_MAX
from tests.unit.audit.conftest import NOW, MemoryTrail, Writer, decided, finished, opened, refused

ENTROPY = "0123456789abcdef0123"
STAMP = f"{int(NOW * 1000) + 1000:012x}"


def like(number: int, back: int, micros: int, more: str = "") -> str:
    entropy = f"{number:020x}"
    return f'"like":{back},"id":"{entropy}","us":{micros},"nth":{number}{more}'


def write_briefly(writer: Writer) -> None:
    """Two segments of 9 and 5 lines, most of them brief; the last two are not signed for."""
    writer.open()
    writer.mark()
    writer.write(opened(), decided(1), finished(1))
    writer.write_brief(like(2, 2, 1_500_000))
    writer.write_brief('"ends":1,"us":250,"rows":3,"bytes_out":44,"cells_masked":3')
    writer.mark()
    text = f',"text_digest":"{"ef" * 32}","text_bytes":41'
    writer.write_brief(like(3, 4, 2_000_001, text))
    writer.write_brief(like(4, 5, 2_000_002))
    writer.write_brief('"ends":2,"us":7,"command_tag":"INSERT 0 1"')
    writer.seal()
    writer.open()
    writer.mark()
    writer.write(decided(5))
    writer.write_brief(like(6, 1, 0))
    writer.mark()
    writer.write_brief('"ends":1,"us":0')
    writer.write_brief('"ends":3,"us":9')


UNSIGNED = 2


@pytest.fixture(scope="module")
def brief(signer: Ed25519Signer) -> MemoryTrail:
    made = MemoryTrail()
    write_briefly(Writer(made, 0, signer))
    return made


def check(trail: Any, signer: Ed25519Signer) -> Report:
    return verify_trail(trail, checkpoint.public_keys(signer.public_pem()))


def codes(report: Report) -> set[str]:
    return {f.code for f in report.findings if f.error}


def records(trail: Any) -> list[Any]:
    completer = Completer()
    return [completer.record(line)[1] for name in trail.segments() for line in trail.lines(0, name)]


def test_they_tell_whole_records(brief: Any) -> None:
    found = [r for r in records(brief) if not isinstance(r, SegmentOpened)]
    whole = decided(1)
    second = msgspec.structs.replace(
        whole, id=f"{int(NOW * 1000) + 2500:012x}{2:020x}", time=NOW + 2.5, sequence=2
    )
    assert found[3] == second
    assert found[4] == StatementFinished(
        id=f"{second.id}e",
        time=NOW + 2.50025,
        session="s1",
        decided=second.id,
        outcome=Outcome.COMPLETED,
        rows=3,
        bytes_out=44,
        cells_masked=3,
        duration_ms=0.25,
        command_tag="SELECT 3",
    )
    third = found[5]
    assert (third.statement.text_digest, third.statement.text_bytes) == ("ef" * 32, 41)
    assert third.statement.sql == whole.statement.sql
    assert (third.principal, third.decision, third.sequence) == ("alice", whole.decision, 3)
    assert third.time == NOW + 3.000001
    assert (found[7].decided, found[7].command_tag, found[7].rows) == (third.id, "INSERT 0 1", 0)
    assert found[-2].command_tag == "SELECT 0"
    assert found[-1].decided == "d5"


def test_they_are_found_like_whole_ones(brief: Any) -> None:
    stories = search(brief, Criteria(principal="alice", text="EMAIL"), 100)
    assert [s.reference for s in stories] == ["0:3", "0:5", "0:7", "0:8", "0:11", "0:12"]
    assert not search(brief, Criteria(principal="bob"), 100)
    assert len(search(brief, Criteria(session="s1", rule="mask-pii", since=NOW + 2), 100)) == 5
    (second,) = find(brief, "0:5")
    assert second.finished is not None
    assert second.finished.rows == 3
    for reference in (second.record.id, second.finished.id, "0:6"):
        assert [s.reference for s in find(brief, reference)] == ["0:5"]


def test_they_are_proved(brief: Any, signer: Ed25519Signer) -> None:
    report = check(brief, signer)
    assert report.exit_code == 0, report.findings
    assert (report.decided, report.finished, report.unfinished) == (6, 5, 1)
    assert report.chains[0].signed == 12


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(brief: Any, signer: Ed25519Signer, data: Any) -> None:
    trail = brief.copy()
    name = data.draw(st.sampled_from(trail.segments()))
    content = bytearray(trail.files[0][name])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    trail.files[0][name] = bytes(content)
    assert check(trail, signer).exit_code == 1


def places(trail: Any) -> list[tuple[str, int]]:
    return [
        (name, i)
        for name in trail.segments()
        for i in range(len(trail.files[0][name].splitlines()))
    ]


def test_any_removed_line_is_found(brief: Any, signer: Ed25519Signer) -> None:
    for name, i in places(brief)[:-1]:
        trail = brief.copy()
        lines = trail.files[0][name].splitlines(keepends=True)
        trail.rewrite(name, lines[:i] + lines[i + 1 :])
        found = codes(check(trail, signer))
        assert found, (name, i)
        assert "altered" not in found  # what is not there is not taken for what was changed


def test_any_duplicated_line_is_found(brief: Any, signer: Ed25519Signer) -> None:
    for name, i in places(brief):
        trail = brief.copy()
        lines = trail.files[0][name].splitlines(keepends=True)
        trail.rewrite(name, [*lines[: i + 1], lines[i], *lines[i + 1 :]])
        found = codes(check(trail, signer))
        assert found & {"duplicated", "reordered"}, (name, i)
        assert "altered" not in found


def test_any_two_lines_that_change_places_are_found(brief: Any, signer: Ed25519Signer) -> None:
    all_places = places(brief)
    for one, i in all_places:
        for two, j in all_places:
            if (one, i) >= (two, j):
                continue
            trail = brief.copy()
            split = {n: trail.files[0][n].splitlines(keepends=True) for n in trail.segments()}
            split[one][i], split[two][j] = split[two][j], split[one][i]
            for name, lines in split.items():
                trail.rewrite(name, lines)
            assert check(trail, signer).exit_code == 1, (one, i, two, j)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_truncation_below_a_signature_is_found(
    brief: Any, signer: Ed25519Signer, data: Any
) -> None:
    trail = brief.copy()
    name = data.draw(st.sampled_from(trail.segments()))
    content = trail.files[0][name]
    unsigned = b"".join(content.splitlines(keepends=True)[-UNSIGNED:])
    limit = len(content) - (len(unsigned) if name == trail.segments()[-1] else 0)
    trail.files[0][name] = content[: data.draw(st.integers(0, limit - 1))]
    assert check(trail, signer).exit_code == 1


def test_garbage_in_place_of_any_line_is_found(brief: Any, signer: Ed25519Signer) -> None:
    """What comes behind it is still read, as far as it does not rest on it."""
    for name, i in places(brief):
        trail = brief.copy()
        lines = trail.files[0][name].splitlines(keepends=True)
        trail.rewrite(name, [*lines[:i], b"garbage\n", *lines[i + 1 :]])
        assert "altered" in codes(check(trail, signer)), (name, i)


def forged(line: bytes, before: str, old: bytes, new: bytes) -> bytes:
    """Changed, with a good hash of its own."""
    body = line[:-76].replace(old, new)
    digest = sha256(body + bytes.fromhex(before)).hexdigest()
    return body + f',"hash":"{digest}"}}\n'.encode()


def test_a_forged_line_is_found_by_what_comes_behind_it(brief: Any, signer: Ed25519Signer) -> None:
    trail = brief.copy()
    name = trail.segments()[0]
    lines = trail.files[0][name].splitlines(keepends=True)
    lines[5] = forged(lines[5], claimed_hash(lines[4]), b'"rows":3', b'"rows":2')
    trail.rewrite(name, lines)
    assert {"rewritten", "altered"} <= codes(check(trail, signer))


def test_a_rewritten_end_is_found_by_its_signatures(brief: Any, signer: Ed25519Signer) -> None:
    trail = brief.copy()
    name = trail.segments()[0]
    lines = trail.files[0][name].splitlines(keepends=True)
    lines[5] = forged(lines[5], claimed_hash(lines[4]), b'"rows":3', b'"rows":2')
    for i in range(6, len(lines)):
        lines[i] = forged(lines[i], claimed_hash(lines[i - 1]), b"", b"")
    trail.rewrite(name, lines)
    assert "rewritten" in codes(check(trail, signer))


def test_what_rests_on_a_damaged_line_is_said(brief: Any, signer: Ed25519Signer) -> None:
    trail = brief.copy()
    name = trail.segments()[0]
    lines = trail.files[0][name].splitlines(keepends=True)
    lines[2] = lines[2].replace(b'"alice"', b'"mallo"')
    trail.rewrite(name, lines)
    report = check(trail, signer)
    assert {"altered", "incomplete"} <= codes(report)
    assert [f.line for f in report.findings if f.code == "altered"] == [3]
    assert [f.line for f in report.findings if f.code == "incomplete"] == [5, 6, 7, 8, 9]


def test_nothing_is_shown_in_place_of_what_is_not_known(brief: Any) -> None:
    """Without the line that others are like, they are no records, and are counted."""
    name = brief.segments()[0]
    reader = Reader(0, Criteria())
    lines = list(brief.lines(0, name))
    stories = [s for line in (*lines[:2], *lines[4:]) for s in reader.feed(line)]
    assert [type(s.record).__name__ for s in stories] == ["SessionOpened"]
    assert reader.unreadable == 5
    assert not list(reader.rest())


@pytest.mark.parametrize(
    "fields",
    [
        like(2, 1, 5),  # a brief one
        like(2, 3, 5),  # no decision
        like(2, 4, 5),  # nor there
        like(2, 99, 5),  # before the chain
        '"ends":3,"us":5',
        '"ends":99,"us":5',
    ],
)
def test_only_whole_decisions_of_the_same_segment_are_spoken_of(
    signer: Ed25519Signer, fields: str
) -> None:
    trail = MemoryTrail()
    writer = Writer(trail, 0, signer)
    writer.open()
    writer.write(decided(1), finished(1))
    writer.seal()
    writer.open()
    writer.write(decided(2))
    writer.write_brief(like(3, 1, 5))
    writer.write_brief(fields)
    writer.mark()
    assert codes(check(trail, signer)) == {"incomplete"}
    with pytest.raises(Incomplete):
        records(trail)


def test_none_is_like_a_refused_one(signer: Ed25519Signer) -> None:
    trail = MemoryTrail()
    writer = Writer(trail, 0, signer)
    writer.open()
    writer.write(refused(1))
    writer.write_brief(like(2, 1, 5))
    writer.mark()
    assert codes(check(trail, signer)) == {"incomplete"}
    with pytest.raises(Incomplete):
        records(trail)


def test_of_what_lies_further_back_nothing_is_kept(signer: Ed25519Signer) -> None:
    trail = MemoryTrail()
    writer = Writer(trail, 0, signer)
    writer.open()
    writer.write(decided(1))
    completer = Completer()
    for line in trail.lines(0, trail.segments()[0]):
        completer.record(line)
    far = writer.link.seq + AUDIT_REACH_LINES_MAX
    template = b'{"seq":%d,"like":%d,"id":"' + ENTROPY.encode() + b'","us":1,"nth":2,"hash":""}\n'
    _, record = completer.record(template % (far, far - 2))
    assert isinstance(record, StatementDecided)
    later = far + 1
    with pytest.raises(Incomplete):
        completer.record(template % (later + 1, later + 1 - 2))


@pytest.mark.parametrize(
    "fields",
    [
        '"like":1,"ends":1,"us":5',
        '"like":0,"us":5',
        '"like":-1,"us":5',
        '"like":1,"us":-5',
        '"like":1',
        '"like":1,"us":5,"principal":"mallory"',
        '"ends":1,"us":"5"',
        '"like":1.5,"us":5',
    ],
)
def test_what_is_no_brief_line(signer: Ed25519Signer, fields: str) -> None:
    trail = MemoryTrail()
    writer = Writer(trail, 0, signer)
    writer.open()
    writer.write(decided(1))
    writer.write_brief(fields)
    writer.mark()
    assert codes(check(trail, signer)) & {"altered", "incomplete"}
    with pytest.raises(ValueError):
        records(trail)


def test_a_prepared_one_needs_no_end(signer: Ed25519Signer) -> None:
    trail = MemoryTrail()
    writer = Writer(trail, 0, signer)
    writer.open()
    writer.write(decided(1, protocol=ProtocolKind.PARSE))
    writer.write_brief(like(2, 1, 5))
    writer.mark()
    report = check(trail, signer)
    assert (report.exit_code, report.decided, report.unfinished) == (0, 2, 0)


def test_a_changed_byte_or_another_place_is_seen(brief: Any) -> None:
    lines = list(brief.lines(0, brief.segments()[0]))
    before, line = claimed_hash(lines[4]), lines[5]
    parsed = parse_line(line, before)
    assert parsed is not None
    assert (parsed.sound, parsed.brief, parsed.prev) == (True, True, before)
    for other in ("", claimed_hash(lines[3]), "0" * 64):
        elsewhere = parse_line(line, other)
        assert elsewhere is not None
        assert not elsewhere.sound
    for place in range(len(line)):
        for byte in (line[place] ^ 1, line[place] ^ 16, 0x30, 0x39):
            harmed = line[:place] + bytes([byte]) + line[place + 1 :]
            found = parse_line(harmed, before)
            assert harmed == line or found is None or not found.sound


def test_a_line_of_one_form_is_none_of_another(brief: Any, make_writer: Callable[..., Any]) -> None:
    """What is hashed of a brief line is what another line could say only with other bytes."""
    lines = list(brief.lines(0, brief.segments()[0]))
    before, line = claimed_hash(lines[4]), lines[5]
    seq, rest = line.split(b",", 1)
    for opening in (b'"prev":"%b",' % before.encode(), b'"prev":"%b","tail":9,' % before.encode()):
        found = parse_line(seq + b"," + opening + rest, before)
        assert found is None or not found.sound
