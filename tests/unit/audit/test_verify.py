"""Every way to tamper with a trail is found; an untouched one passes."""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.audit import checkpoint
from appliance.audit.chain import Link, link_records, parse_line
from appliance.audit.checkpoint import Ed25519Signer
from appliance.audit.encode import decode_record
from appliance.audit.record import SpoolRecovered, StatementFinished, WorkerStarted
from appliance.audit.verify import FINDINGS_MAX, Report, verify_trail


def check(trail: Any, signer: Ed25519Signer, **options: Any) -> Report:
    return verify_trail(trail, checkpoint.public_keys(signer.public_pem()), **options)


def codes(report: Report) -> set[str]:
    return {f.code for f in report.findings if f.error}


def test_untouched_trail_passes(trail: Any, signer: Ed25519Signer) -> None:
    report = check(trail, signer)
    assert report.exit_code == 0, report.findings
    assert report.records == 19
    chain = report.chains[0]
    assert (chain.segments, chain.sealed, chain.last, chain.signed) == (3, 2, 19, 17)
    assert (report.decided, report.finished, report.unfinished) == (7, 5, 1)
    assert {f.code for f in report.findings} == {"open", "unsigned", "unfinished"}


def _segment_bytes(trail: Any) -> list[tuple[str, int]]:
    return [(n, i) for n in trail.segments() for i in range(len(trail.files[0][n]))]


@settings(max_examples=400, deadline=None)
@given(st.data())
def test_any_flipped_bit_is_found(pristine: Any, signer: Ed25519Signer, data: Any) -> None:
    """In records, seals, checkpoints and heads alike, signed for already or not yet."""
    trail = pristine.copy()
    name = data.draw(st.sampled_from(sorted(trail.files[0])))
    content = bytearray(trail.files[0][name])
    place = data.draw(st.integers(0, len(content) - 1))
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    trail.files[0][name] = bytes(content)
    assert check(trail, signer).exit_code == 1


def _all_lines(trail: Any) -> list[tuple[str, int]]:
    return [
        (name, i)
        for name in trail.segments()
        for i in range(len(trail.files[0][name].splitlines()))
    ]


# The last two lines of the open segment are not signed for yet: removing or truncating only those
# cannot show (`verify` says so in its docstring), everything else must.
UNSIGNED = 2


def test_any_removed_line_is_found(pristine: Any, signer: Ed25519Signer) -> None:
    for name, i in _all_lines(pristine)[:-1]:
        trail = pristine.copy()
        lines = trail.files[0][name].splitlines(keepends=True)
        trail.rewrite(name, lines[:i] + lines[i + 1 :])
        assert check(trail, signer).exit_code == 1, (name, i)


def test_any_duplicated_line_is_found(pristine: Any, signer: Ed25519Signer) -> None:
    for name, i in _all_lines(pristine):
        trail = pristine.copy()
        lines = trail.files[0][name].splitlines(keepends=True)
        trail.rewrite(name, [*lines[: i + 1], lines[i], *lines[i + 1 :]])
        report = check(trail, signer)
        assert "duplicated" in codes(report), (name, i)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_swap_or_move_is_found(pristine: Any, signer: Ed25519Signer, data: Any) -> None:
    trail = pristine.copy()
    places = _all_lines(trail)
    (one, i), (two, j) = data.draw(
        st.lists(st.sampled_from(places), min_size=2, max_size=2, unique=True)
    )
    split = {n: trail.files[0][n].splitlines(keepends=True) for n in trail.segments()}
    split[one][i], split[two][j] = split[two][j], split[one][i]
    for name, lines in split.items():
        trail.rewrite(name, lines)
    assert check(trail, signer).exit_code == 1


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_truncation_below_a_signature_is_found(
    pristine: Any, signer: Ed25519Signer, data: Any
) -> None:
    trail = pristine.copy()
    name = data.draw(st.sampled_from(trail.segments()))
    content = trail.files[0][name]
    unsigned = b"".join(content.splitlines(keepends=True)[-UNSIGNED:])
    limit = len(content) - (len(unsigned) if name == trail.segments()[-1] else 0)
    trail.files[0][name] = content[: data.draw(st.integers(0, limit - 1))]
    assert check(trail, signer).exit_code == 1


def test_cut_within_the_last_line_is_found(pristine: Any, signer: Ed25519Signer) -> None:
    name = pristine.segments()[-1]
    trail = pristine.copy()
    trail.files[0][name] = trail.files[0][name][:-1]
    assert codes(check(trail, signer)) == {"torn_tail"}


def test_truncating_checkpoints_as_well_does_not_help(trail: Any, signer: Ed25519Signer) -> None:
    name = trail.segments()[-1]
    lines = trail.files[0][name].splitlines(keepends=True)
    trail.rewrite(name, lines[:1])
    marks = name.replace("ndjson", "checkpoints")
    trail.files[0][marks] = trail.files[0][marks].splitlines(keepends=True)[0]
    assert codes(check(trail, signer)) == {"truncated"}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("company", [True, False])
def test_any_removed_segment_is_found(
    trail: Any, signer: Ed25519Signer, place: int, company: bool
) -> None:
    name = trail.segments()[place]
    del trail.files[0][name]
    if company:
        trail.files[0].pop(name.replace("ndjson", "seal"), None)
        trail.files[0].pop(name.replace("ndjson", "checkpoints"), None)
    found = codes(check(trail, signer))
    assert found & {"segment_missing", "truncated"}


def test_all_segments_renamed_in_another_order_is_found(trail: Any, signer: Ed25519Signer) -> None:
    first, second, _ = trail.segments()
    files = trail.files[0]
    files[first], files[second] = files[second], files[first]
    assert check(trail, signer).exit_code == 1


def test_missing_seal_head_and_whole_chain(
    pristine: Any, signer: Ed25519Signer, make_writer: Callable[..., Any]
) -> None:
    trail = pristine.copy()
    del trail.files[0][trail.segments()[0].replace("ndjson", "seal")]
    assert codes(check(trail, signer)) == {"unsealed"}
    trail = pristine.copy()
    del trail.files[0]["head.json"]
    assert codes(check(trail, signer)) == {"head_missing"}
    trail = pristine.copy()
    writer = make_writer(trail, 1)
    writer.open()
    writer.mark()
    assert check(trail, signer).exit_code == 0
    del trail.files[0]
    assert codes(check(trail, signer)) == {"chain_missing"}
    trail.files.clear()
    assert codes(check(trail, signer)) == {"empty"}


def test_a_seal_still_to_be_written_is_no_alarm(trail: Any, signer: Ed25519Signer) -> None:
    """A head never gets ahead of a seal: without the seal but beyond the head, it is only late."""
    second, third = trail.segments()[1:]
    del trail.files[0][second.replace("ndjson", "seal")]
    del trail.files[0][third.replace("ndjson", "checkpoints")]
    marks = trail.files[0][second.replace("ndjson", "checkpoints")]
    head = msgspec.structs.replace(checkpoint.read(marks), kind=checkpoint.HEAD)
    newer = trail.files[0]["head.json"]
    trail.files[0]["head.json"] = checkpoint.sign(head, signer)
    report = check(trail, signer)
    assert report.exit_code == 0
    assert "unsealed_yet" in {f.code for f in report.findings}
    trail.files[0]["head.json"] = newer
    assert codes(check(trail, signer)) == {"unsealed"}


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("emptied", [True, False])
def test_missing_checkpoints_are_noted(
    trail: Any, signer: Ed25519Signer, place: int, emptied: bool
) -> None:
    name = trail.segments()[place]
    marks = name.replace("ndjson", "checkpoints")
    if emptied:
        trail.files[0][marks] = b""
    else:
        del trail.files[0][marks]
    report = check(trail, signer)
    noted = [f for f in report.findings if f.code == "signatures_missing"]
    assert [(f.segment, f.error) for f in noted] == [(name, False)]
    assert report.exit_code == 0


def test_a_segment_beyond_the_head_needs_no_checkpoints_yet(
    trail: Any, signer: Ed25519Signer, make_writer: Callable[..., Any]
) -> None:
    writer = make_writer(trail, 1)
    writer.open()
    writer.mark()
    writer.seal()
    writer.open()
    assert "signatures_missing" not in {f.code for f in check(trail, signer).findings}


def test_started_worker_without_a_chain_is_missed(
    trail: Any, signer: Ed25519Signer, make_writer: Callable[..., Any]
) -> None:
    writer = make_writer(trail, 3)
    writer.open()
    writer.write(WorkerStarted(id="w", time=1.0, worker=5, pid=1, version="1"))
    writer.mark()
    assert codes(check(trail, signer)) == {"chain_missing"}


def test_segment_of_another_worker_or_key_is_found(
    trail: Any, signer: Ed25519Signer, other_signer: Ed25519Signer, make_writer: Callable[..., Any]
) -> None:
    writer = make_writer(trail, 1)
    writer.open()
    writer.mark()
    writer.seal()
    moved = trail.copy()
    moved.files[0] = dict(moved.files[1])
    assert "segment_foreign" in codes(check(moved, signer))
    assert codes(check(trail, other_signer)) >= {"bad_signature"}


def _rechain(lines: list[bytes], start: Link) -> list[bytes]:
    """What a forger without the key can do: recompute every hash."""
    link, made = start, []
    for line in lines:
        link, new = link_records(link, [decode_record(line)])
        made += new
    return made


@pytest.mark.parametrize("place", [0, 1, 2])
def test_rewritten_chain_is_found_by_its_signatures(
    trail: Any, signer: Ed25519Signer, place: int
) -> None:
    segments = trail.segments()
    split = {n: trail.files[0][n].splitlines(keepends=True) for n in segments}
    split[segments[place]] = [
        line.replace(b'"alice"', b'"mallo"') for line in split[segments[place]]
    ]
    link = Link()
    for name in segments:
        made = _rechain(split[name], link)
        last = parse_line(made[-1])
        assert last is not None
        link = last.link
        trail.rewrite(name, made)
    assert "rewritten" in codes(check(trail, signer))


def test_inserted_line_with_a_good_hash_of_its_own_is_found(
    trail: Any, signer: Ed25519Signer
) -> None:
    name = trail.segments()[0]
    lines = trail.files[0][name].splitlines(keepends=True)
    parsed = parse_line(lines[2])
    assert parsed is not None
    _, forged = link_records(
        parsed.link, [WorkerStarted(id="x", time=1.0, worker=0, pid=1, version="1")]
    )
    trail.rewrite(name, [*lines[:3], *forged, *lines[3:]])
    assert codes(check(trail, signer)) & {"reordered", "inserted", "duplicated"}


def test_replaced_line_with_a_good_hash_of_its_own_is_found(
    trail: Any, signer: Ed25519Signer
) -> None:
    name = trail.segments()[0]
    lines = trail.files[0][name].splitlines(keepends=True)
    body = lines[2][:-76].replace(b'"alice"', b'"mallo"')
    lines[2] = body + b',"hash":"' + sha256(body).hexdigest().encode() + b'"}\n'
    trail.rewrite(name, lines)
    assert "inserted" in codes(check(trail, signer))


def test_findings_name_the_place(trail: Any, signer: Ed25519Signer) -> None:
    name = trail.segments()[1]
    lines = trail.files[0][name].splitlines(keepends=True)
    lines[3] = lines[3].replace(b'"rows":50', b'"rows":51')
    trail.rewrite(name, lines)
    errors = [f for f in check(trail, signer).findings if f.error and f.code == "altered"]
    assert [(f.segment, f.line) for f in errors] == [(name, 4)]


def test_a_removed_run_is_counted(trail: Any, signer: Ed25519Signer) -> None:
    name = trail.segments()[0]
    lines = trail.files[0][name].splitlines(keepends=True)
    trail.rewrite(name, lines[:2] + lines[4:])
    texts = [f.text for f in check(trail, signer).findings if f.code == "removed"]
    assert texts[0] == "2 records are gone before record 5"


def test_orphan_finish_is_found(trail: Any, make_writer: Callable[..., Any], signer: Any) -> None:
    writer = make_writer(trail, 1)
    writer.open()
    finish = msgspec.structs.replace(_finish(trail), decided="never")
    writer.write(finish)
    writer.mark()
    assert codes(check(trail, signer)) == {"orphan_finish"}


def _finish(trail: Any) -> StatementFinished:
    for line in trail.lines(0, trail.segments()[0]):
        record = decode_record(line)
        if isinstance(record, StatementFinished):
            return record
    raise AssertionError


def test_recoveries_are_told(trail: Any, make_writer: Callable[..., Any], signer: Any) -> None:
    writer = make_writer(trail, 1)
    writer.open()
    for number, (cause, fields) in enumerate(
        [("torn_tail", {"torn_bytes": 12}), ("ENOSPC", {"refused": 3})]
    ):
        writer.write(SpoolRecovered(id=f"r{number}", time=1.0, cause=cause, **fields))
    writer.mark()
    report = check(trail, signer)
    assert report.exit_code == 0
    assert {"torn", "outage"} <= {f.code for f in report.findings}
    writer.write(SpoolRecovered(id="r3", time=1.0, cause="torn_tail", torn_bytes=9, torn_lines=1))
    writer.write(SpoolRecovered(id="r4", time=1.0, cause="records_lost", lost_from=3, lost_to=4))
    writer.mark()
    assert codes(check(trail, signer)) == {"damaged", "lost"}


def test_witness_finds_a_trail_put_back(
    pristine: Any, signer: Ed25519Signer, other_signer: Ed25519Signer
) -> None:
    old = pristine.copy()
    name = old.segments()[-1]
    lines = old.files[0][name].splitlines(keepends=True)
    old.rewrite(name, lines[:1])
    marks = name.replace("ndjson", "checkpoints")
    first_mark = old.files[0][marks].splitlines(keepends=True)[0]
    old.files[0][marks] = first_mark
    claim = msgspec.structs.replace(checkpoint.read(first_mark), kind=checkpoint.HEAD)
    old.files[0]["head.json"] = checkpoint.sign(claim, signer)  # a head kept from that time
    assert check(old, signer).exit_code == 0
    witness = checkpoint.read(pristine.files[0]["head.json"])
    assert codes(check(old, signer, witnesses=[witness])) == {"truncated"}
    assert check(pristine, signer, witnesses=[witness]).exit_code == 0
    forged = checkpoint.read(checkpoint.sign(witness, other_signer))
    assert codes(check(pristine, signer, witnesses=[forged])) == {"bad_signature"}
    gone = msgspec.structs.replace(witness, worker=9)
    gone = checkpoint.read(checkpoint.sign(gone, signer))
    assert codes(check(pristine, signer, witnesses=[gone])) == {"chain_missing"}


def test_archived_beginning_is_an_error_unless_told(trail: Any, signer: Ed25519Signer) -> None:
    name = trail.segments()[0]
    for suffix in ("ndjson", "seal", "checkpoints"):
        del trail.files[0][name.replace("ndjson", suffix)]
    assert "segment_missing" in codes(check(trail, signer))
    assert check(trail, signer, archived=True).exit_code == 0


def test_changed_key_is_fine_with_both(
    trail: Any, signer: Ed25519Signer, other_signer: Ed25519Signer, make_writer: Callable[..., Any]
) -> None:
    writer = make_writer(trail, 1)
    writer.signer = other_signer
    writer.open()
    writer.mark()
    assert "bad_signature" in codes(check(trail, signer))
    both = checkpoint.public_keys(signer.public_pem() + other_signer.public_pem())
    assert verify_trail(trail, both).exit_code == 0


def test_findings_are_bounded(trail: Any, signer: Ed25519Signer) -> None:
    name = trail.segments()[-1]
    trail.files[0][name] += b"garbage\n" * (FINDINGS_MAX + 50)
    report = check(trail, signer)
    assert len(report.findings) == FINDINGS_MAX
    assert report.errors > FINDINGS_MAX


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_any_bytes_are_judged_not_raised(
    pristine: Any, signer: Ed25519Signer, content: bytes
) -> None:
    for name in ("head.json", pristine.segments()[0], pristine.segments()[0][:-6] + "seal"):
        trail = pristine.copy()
        trail.files[0][name] = content
        assert check(trail, signer).exit_code == 1
