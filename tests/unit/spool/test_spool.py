"""The spool: whole lines or none, recovery without restart, repair of what a crash left."""

import asyncio
import errno
import itertools
import os
from pathlib import Path

import pytest

from appliance.audit import checkpoint
from appliance.audit.chain import parse_line
from appliance.audit.checkpoint import Ed25519Signer
from appliance.audit.encode import decode_record
from appliance.audit.record import (
    Entry,
    Record,
    SegmentOpened,
    SpoolRecovered,
    WorkerStarted,
    new_id,
)
from appliance.model.errors import InvariantBroken
from appliance.spool.spool import Spool, SpoolUnavailable
from appliance.spool.spool_key import load_or_create_signer

NOW = 1_790_000_000.0
_ids = itertools.count()


def record(text: str = "x") -> Record:
    identifier = new_id(NOW, next(_ids).to_bytes(10, "big"))
    return WorkerStarted(id=identifier, time=NOW, worker=0, pid=1, version=text)


@pytest.fixture
def signer(tmp_path: Path) -> Ed25519Signer:
    return load_or_create_signer(tmp_path / "keys")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "audit"


def segments(folder: Path) -> list[Path]:
    worker = folder / "w0"
    return [worker / n for n in checkpoint.segment_order(p.name for p in worker.iterdir())]


def entries(folder: Path) -> list[Entry]:
    return [
        decode_record(line)
        for path in segments(folder)
        for line in path.read_bytes().splitlines(keepends=True)
    ]


def assert_chained(folder: Path) -> None:
    """One unbroken chain over all segments, each sealed one signed for."""
    head, seq = "0" * 64, 0
    for path in segments(folder):
        for raw in path.read_bytes().splitlines(keepends=True):
            line = parse_line(raw)
            assert line is not None
            assert line.sound
            assert (line.prev, line.seq) == (head, seq + 1)
            head, seq = line.hash, line.seq


def test_key_is_private_and_kept(tmp_path: Path) -> None:
    first = load_or_create_signer(tmp_path / "keys")
    second = load_or_create_signer(tmp_path / "keys")
    assert first.key_id == second.key_id
    private = tmp_path / "keys" / "audit-ed25519.pem"
    assert private.stat().st_mode & 0o777 == 0o600
    public = (tmp_path / "keys" / "audit-ed25519.pub").read_bytes()
    assert list(checkpoint.public_keys(public)) == [first.key_id]
    assert sorted(p.name for p in private.parent.iterdir()) == [private.name, "audit-ed25519.pub"]


def test_append_writes_whole_lines_at_once(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer)
    writes: list[int] = []
    write = os.write

    def counted(descriptor: int, payload: bytes) -> int:
        writes.append(len(payload))
        return write(descriptor, payload)

    monkeypatch.setattr(os, "write", counted)
    spool.append([record() for _ in range(20)])
    assert len(writes) == 1
    assert spool.available
    assert spool.records == 21  # with SegmentOpened
    assert spool.octets == segments(folder)[0].stat().st_size
    assert segments(folder)[0].stat().st_mode & 0o777 == 0o600
    spool.close()
    assert_chained(folder)


def test_close_seals_and_the_chain_goes_on(folder: Path, signer: Ed25519Signer) -> None:
    for _ in range(3):
        spool = Spool(folder, 0, signer)
        spool.append([record()])
        spool.close()
    assert_chained(folder)
    assert len(segments(folder)) == 3
    keys = checkpoint.public_keys(signer.public_pem())
    for path in segments(folder):
        seal = checkpoint.read(path.with_suffix(".seal").read_bytes())
        assert checkpoint.is_signed(seal, keys)
        assert (seal.kind, seal.records, seal.segment) == ("seal", 2, path.name)
    head = checkpoint.read((folder / "w0" / "head.json").read_bytes())
    assert (head.kind, head.last) == ("head", 6)
    opened = [e for e in entries(folder) if isinstance(e, SegmentOpened)]
    assert [o.previous for o in opened] == ["", *(p.name for p in segments(folder)[:-1])]


def test_full_segments_are_rotated_and_sealed(folder: Path, signer: Ed25519Signer) -> None:
    spool = Spool(folder, 0, signer, segment_bytes_max=2_000)
    for _ in range(40):
        spool.append([record()])
    spool.close()
    assert len(segments(folder)) > 3
    assert all(p.with_suffix(".seal").exists() for p in segments(folder))
    assert_chained(folder)


def test_short_writes_are_continued(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer)
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, payload: write(fd, bytes(payload)[:7]))
    spool.append([record(), record()])
    monkeypatch.undo()
    spool.close()
    assert_chained(folder)
    assert spool.failures == 0


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("allowed", [0, 10, 300])
def test_failed_write_leaves_nothing_and_heals(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch, number: int, allowed: int
) -> None:
    spool = Spool(folder, 0, signer)
    spool.append([record("before")])
    size = segments(folder)[0].stat().st_size
    write, room = os.write, [allowed]

    def full(descriptor: int, payload: bytes) -> int:
        if not room[0]:
            raise OSError(number, os.strerror(number))
        count = write(descriptor, bytes(payload)[: room[0]])
        room[0] -= count
        return count

    monkeypatch.setattr(os, "write", full)
    for _ in range(2):
        with pytest.raises(SpoolUnavailable) as refused:
            spool.append([record("lost"), record("lost")])
        assert refused.value.errno == number
        room[0] = 0
    assert not spool.available
    assert spool.fault == errno.errorcode[number]
    assert segments(folder)[0].stat().st_size == size
    monkeypatch.undo()
    spool.append([record("after")])
    assert spool.available
    assert spool.fault == ""
    spool.close()
    assert_chained(folder)
    found = entries(folder)
    assert [e.version for e in found if isinstance(e, WorkerStarted)] == ["before", "after"]
    recovered = [e for e in found if isinstance(e, SpoolRecovered)]
    assert [(e.cause, e.refused) for e in recovered] == [(errno.errorcode[number], 2)]


def test_partial_write_that_cannot_be_cut_at_once_is_cut_later(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer)
    write, calls = os.write, [0]

    def torn(descriptor: int, payload: bytes) -> int:
        calls[0] += 1
        if calls[0] > 1:
            raise OSError(errno.EIO, "gone")
        return write(descriptor, bytes(payload)[:50])

    def stuck(descriptor: int, size: int) -> None:
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(os, "write", torn)
    monkeypatch.setattr(os, "ftruncate", stuck)
    with pytest.raises(SpoolUnavailable):
        spool.append([record("lost")])
    monkeypatch.undo()
    spool.append([record("after")])
    spool.close()
    assert_chained(folder)


def test_owed_records_survive_an_outage_in_order(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer)

    def full(descriptor: int, payload: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr("appliance.spool.spool.AUDIT_BACKLOG_RECORDS_MAX", 3)
    monkeypatch.setattr(os, "write", full)
    spool.owe([record("1"), record("2")])
    spool.owe([record("3"), record("4")])
    assert spool.dropped == 1
    monkeypatch.undo()
    spool.tick(NOW)
    assert spool.available
    spool.close()
    found = entries(folder)
    assert [e.version for e in found if isinstance(e, WorkerStarted)] == ["1", "2", "3"]
    assert [e.dropped for e in found if isinstance(e, SpoolRecovered)] == [1]
    assert_chained(folder)


def test_unusable_folder_is_no_exception_and_heals(tmp_path: Path, signer: Ed25519Signer) -> None:
    folder = tmp_path / "audit"
    folder.write_text("a file stands in the way")
    spool = Spool(folder, 0, signer)
    assert not spool.available
    assert spool.fault in {"ENOTDIR", "EEXIST"}
    with pytest.raises(SpoolUnavailable):
        spool.append([record()])
    folder.unlink()
    spool.append([record()])
    assert spool.available
    spool.close()
    assert_chained(folder)


def test_one_writer_per_chain(folder: Path, signer: Ed25519Signer) -> None:
    first = Spool(folder, 0, signer)
    second = Spool(folder, 0, signer)
    assert not second.available
    with pytest.raises(SpoolUnavailable):
        second.append([record()])
    first.append([record()])
    first.close()
    second.append([record()])
    second.close()
    assert_chained(folder)


def crash(spool: Spool) -> None:
    """What kill -9 leaves: no seal, no farewell; the lock falls with the process."""
    os.close(spool._lock)
    spool._lock = -1
    os.close(spool._descriptor)
    spool._descriptor = -1
    spool._closed = True


@pytest.mark.parametrize("torn", [b"{", b'{"seq":4,"prev":"', b"\0" * 4096])
def test_torn_tail_is_cut_kept_and_recorded(
    folder: Path, signer: Ed25519Signer, torn: bytes
) -> None:
    spool = Spool(folder, 0, signer)
    spool.append([record("kept")])
    crash(spool)
    path = segments(folder)[0]
    with path.open("ab") as file:
        file.write(torn)
    Spool(folder, 0, signer).close()
    assert path.with_suffix(".torn").read_bytes() == torn
    assert path.with_suffix(".torn").stat().st_mode & 0o777 == 0o600
    assert path.with_suffix(".seal").exists()
    assert_chained(folder)
    recovered = [e for e in entries(folder) if isinstance(e, SpoolRecovered)]
    assert [(r.cause, r.torn_bytes, r.segment) for r in recovered] == [
        ("torn_tail", len(torn), path.name)
    ]


def test_a_cut_is_recorded_even_if_that_open_fails(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer)
    spool.append([record("kept")])
    crash(spool)
    with segments(folder)[0].open("ab") as file:
        file.write(b"damaged line\n{")

    def full(descriptor: int, payload: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    spool = Spool(folder, 0, signer)
    assert spool.fault == "ENOSPC"
    monkeypatch.undo()
    spool.append([record("after")])
    spool.close()
    recovered = [e for e in entries(folder) if isinstance(e, SpoolRecovered)]
    assert [(r.cause, r.torn_bytes, r.torn_lines) for r in recovered] == [
        ("torn_tail", 14, 1),
        ("ENOSPC", 0, 0),
    ]
    assert_chained(folder)


def test_an_unencodable_owed_record_blocks_nothing(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer)

    def full(descriptor: int, payload: bytes) -> int:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(InvariantBroken):
        spool.owe([record("\ud800")])
    spool.owe([record("good")])
    monkeypatch.undo()
    spool.append([record("after")])
    spool.close()
    assert [e.version for e in entries(folder) if isinstance(e, WorkerStarted)] == ["good", "after"]


def test_no_rotation_over_an_uncut_tail(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer, segment_bytes_max=100)
    spool.append([record("before")])
    write, calls = os.write, [0]

    def torn(descriptor: int, payload: bytes) -> int:
        calls[0] += 1
        if calls[0] % 2 == 0:
            raise OSError(errno.EIO, "gone")
        return write(descriptor, bytes(payload)[:50])

    def stuck(descriptor: int, size: int) -> None:
        raise OSError(errno.EIO, "gone")

    monkeypatch.setattr(os, "write", torn)
    monkeypatch.setattr(os, "ftruncate", stuck)
    with pytest.raises(SpoolUnavailable):
        spool.append([record("lost")])
    monkeypatch.undo()
    for _ in range(3):
        spool.append([record("after")])
    spool.close()
    assert_chained(folder)


def test_segment_with_only_a_torn_line_is_replaced(folder: Path, signer: Ed25519Signer) -> None:
    spool = Spool(folder, 0, signer)
    spool.append([record("kept")])
    spool.close()
    path = folder / "w0" / "20260101T000000Z-000000000003.ndjson"
    path.write_bytes(b'{"seq":3,')
    Spool(folder, 0, signer).close()
    assert not path.exists()
    assert path.with_suffix(".torn").read_bytes() == b'{"seq":3,'
    assert_chained(folder)


def test_lost_signed_records_are_admitted(folder: Path, signer: Ed25519Signer) -> None:
    spool = Spool(folder, 0, signer)
    spool.append([record() for _ in range(5)])
    spool.tick(NOW + 1e9)
    spool._sync.drain()
    crash(spool)
    path = segments(folder)[0]
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:4]))
    Spool(folder, 0, signer).close()
    recovered = [e for e in entries(folder) if isinstance(e, SpoolRecovered)]
    assert [(r.cause, r.lost_from, r.lost_to) for r in recovered] == [("records_lost", 5, 6)]
    first = parse_line(segments(folder)[1].read_bytes().splitlines(keepends=True)[0])
    assert first is not None
    assert first.seq == 7  # a number that was signed for is never used twice


def test_segment_deleted_under_us_is_noticed(folder: Path, signer: Ed25519Signer) -> None:
    spool = Spool(folder, 0, signer)
    spool.append([record()])
    segments(folder)[0].unlink()
    spool.tick(NOW)
    assert not spool.available
    assert spool.fault == "ENOENT"
    spool.append([record()])
    assert spool.available
    assert len(segments(folder)) == 1
    spool.close()


def test_tick_signs_when_due(folder: Path, signer: Ed25519Signer) -> None:
    spool = Spool(folder, 0, signer, now=lambda: NOW)
    spool.append([record()])
    spool.tick(NOW + 1)
    path = segments(folder)[0].with_suffix(".checkpoints")
    assert len(path.read_bytes().splitlines()) == 1  # the one of the opening
    spool.tick(NOW + 6)
    spool.tick(NOW + 60)  # nothing new since
    spool._sync.drain()
    lines = path.read_bytes().splitlines(keepends=True)
    assert [checkpoint.read(line).last for line in lines] == [1, 2]
    spool.close()


def test_late_seal_is_made_up_for(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer, segment_bytes_max=1_000)
    spool.append([record() for _ in range(5)])
    replace = Path.replace

    def refuse(self: Path, target: Path) -> Path:
        if str(target).endswith(".seal"):
            raise OSError(errno.ENOSPC, "full")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", refuse)
    spool.append([record()])
    spool._sync.drain()
    assert not segments(folder)[0].with_suffix(".seal").exists()
    monkeypatch.undo()
    spool.tick(NOW)
    spool._sync.drain()
    assert segments(folder)[0].with_suffix(".seal").exists()
    spool.close()


def test_closed_spool_refuses(folder: Path, signer: Ed25519Signer) -> None:
    spool = Spool(folder, 0, signer)
    spool.close()
    spool.close()
    with pytest.raises(SpoolUnavailable):
        spool.append([record()])


async def test_os_durability_does_not_wait(folder: Path, signer: Ed25519Signer) -> None:
    spool = Spool(folder, 0, signer)
    spool.append([record()])
    await spool.durable()
    assert spool._sync.rounds == 0
    spool.close()


async def test_disk_durability_is_grouped(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer, "disk")
    synced: list[int] = []
    fdatasync = os.fdatasync

    def slow(descriptor: int) -> None:
        size = os.fstat(descriptor).st_size
        import time

        time.sleep(0.02)
        fdatasync(descriptor)
        synced.append(size)

    monkeypatch.setattr(os, "fdatasync", slow)

    async def statement() -> None:
        spool.append([record()])
        size = spool.end.size
        await spool.durable()
        assert max(synced) >= size

    await asyncio.gather(*(statement() for _ in range(50)))
    first = spool._sync.rounds
    assert first <= 3
    spool.close()


async def test_failed_sync_refuses_everybody_and_heals(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(folder, 0, signer, "disk")

    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(os, "fdatasync", broken)

    async def statement() -> None:
        spool.append([record()])
        await spool.durable()

    results = await asyncio.gather(*(statement() for _ in range(5)), return_exceptions=True)
    assert all(isinstance(result, SpoolUnavailable) for result in results)
    assert not spool.available
    monkeypatch.undo()
    await statement()
    assert spool.available
    assert len(segments(folder)) == 2  # never the descriptor that failed
    spool.close()
    assert_chained(folder)


async def test_stuck_sync_has_a_deadline(
    folder: Path, signer: Ed25519Signer, monkeypatch: pytest.MonkeyPatch
) -> None:
    import threading

    monkeypatch.setattr("appliance.spool.spool.SYNC_SECONDS_MAX", 0.05)
    spool = Spool(folder, 0, signer, "disk")
    release = threading.Event()
    monkeypatch.setattr(os, "fdatasync", lambda descriptor: release.wait(5))
    spool.append([record()])
    with pytest.raises(SpoolUnavailable) as refused:
        await spool.durable()
    assert refused.value.errno == errno.ETIMEDOUT
    release.set()
    monkeypatch.undo()
    spool.append([record()])
    await spool.durable()
    assert spool.available
    spool.close()
    assert_chained(folder)
