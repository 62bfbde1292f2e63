"""What the hit path holds in a worker's journal: read as if it were written, and put where it
belongs by whoever opens the trail next, however the worker or the machine ended.
"""

import asyncio
import errno
import os
import shutil
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import uvloop

from _speedups.chunks import Poller, poll_with
from appliance.audit import checkpoint
from appliance.audit.query import Criteria, search
from appliance.audit.record import StatementDecided
from appliance.dataplane.loop_work import work_of
from appliance.dataplane.transport import Side
from appliance.spool import journal
from appliance.spool.journal import LINES_AT, Held, Journal, look
from appliance.spool.spool import Durability, Spool, SpoolUnavailable
from appliance.spool.spool_key import load_or_create_signer
from appliance.spool.trail_folder import FolderTrail, Follower
from tests.playbook.world import ANN
from tests.unit.session.hit_fronts import READ, query
from tests.unit.session.test_hit_trail import TEXTS, Kept, prove

WIDE = 1 << 26
FAULT = b'"event":"spool_recovered"'


class Holding(Kept):
    """As behind a poller that is serving."""

    journal = True

    def talk(self, count: int, only_hits: bool = False) -> None:
        """`only_hits`: what machines record, which empties the journal, is not written."""
        self.ledger.within = True
        for index in range(count):
            self.say(query(TEXTS[index % 3]))
            self.answer()
            if self.records and not only_hits:
                self.spool.append(self.records)
            self.records = []

    @property
    def held(self) -> int:
        return self.spool.end.held

    def die(self) -> None:
        """What a process leaves that is killed."""
        self.spool._sync.close()
        os.close(self.spool._lock)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trail whose worker was killed while lines were held."""
    root = tmp_path_factory.mktemp("killed")
    front = Holding(root, WIDE)
    front.talk(40)
    assert front.held > 2_000
    front.die()
    return root


@pytest.fixture
def copy(killed: Path, tmp_path: Path) -> Path:
    shutil.copytree(killed, tmp_path / "copy")
    return tmp_path / "copy"


def segment_of(root: Path) -> Path:
    worker = root / "audit" / "w0"
    return worker / checkpoint.segment_order(p.name for p in worker.iterdir())[-1]


def held_in(root: Path) -> Held:
    held = look(root / "audit" / "w0")
    assert held is not None
    return held


def go_on(root: Path, lost: bool = False) -> set[str]:
    """The next worker's beginning, statements and end. -> what `verify` finds; `lost`: that lines
    are gone from the chain, too."""
    front = Holding(root, WIDE)
    assert look(root / "audit" / "w0") is None
    front.talk(7)
    front.spool.close()
    report = prove(root)
    assert [f.code for f in report.findings if f.error] == ["damaged"] * lost, report.findings
    return {finding.code for finding in report.findings}


def decided(root: Path) -> int:
    """How many statements are found."""
    found = search(FolderTrail(root / "audit"), Criteria(principal=ANN.name), 100_000)
    return sum(isinstance(story.record, StatementDecided) for story in found)


def finished(root: Path) -> int:
    found = search(FolderTrail(root / "audit"), Criteria(principal=ANN.name), 100_000)
    return sum(story.finished is not None for story in found)


def ends_of(lines: bytes) -> list[int]:
    return [index + 1 for index, byte in enumerate(lines) if byte == 0x0A]


# --- while the worker runs, and before the next one does ------------------------------------------


def test_what_is_held_is_read(killed: Path) -> None:
    segment, held = segment_of(killed), held_in(killed)
    assert held.segment == segment.name
    assert segment.stat().st_size == held.base
    lines = list(FolderTrail(killed / "audit").lines(0, segment.name))
    assert b"".join(lines) == segment.read_bytes() + held.lines
    assert decided(killed) == 40
    assert prove(killed).exit_code == 0


def test_what_is_held_is_followed(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    follower = Follower(FolderTrail(tmp_path / "audit"), Criteria(principal=ANN.name))
    seen: list[str] = []
    for _ in range(5):
        front.talk(7)
        seen += [story.reference for story in follower.read()]
    assert front.held
    front.spool.append(())
    seen += [story.reference for story in follower.read()]
    assert len(seen) == len(set(seen)) == 35
    front.spool.close()


@pytest.mark.parametrize("done", [0, 1, 500, 2_000])
def test_a_drain_under_way_is_no_torn_line(
    copy: Path, monkeypatch: pytest.MonkeyPatch, done: int
) -> None:
    held = held_in(copy)
    segment = segment_of(copy)
    whole = segment.read_bytes() + held.lines
    with segment.open("ab") as file:
        file.write(held.lines[:done])
    monkeypatch.setattr("appliance.spool.trail_folder.time.sleep", pytest.fail)
    assert b"".join(FolderTrail(copy / "audit").lines(0, segment.name)) == whole


def test_what_leaves_the_journal_meanwhile_is_read_from_the_file(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held, segment = held_in(copy), segment_of(copy)
    whole = segment.read_bytes() + held.lines

    def late(_folder: Path) -> Held | None:
        """The drain comes between the end of the file and the look."""
        with segment.open("r+b") as file:
            file.seek(held.base)
            file.write(held.lines)
        return None

    monkeypatch.setattr("appliance.spool.trail_folder.look", late)
    assert b"".join(FolderTrail(copy / "audit").lines(0, segment.name)) == whole


def test_a_look_that_is_overtaken_is_repeated(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between a look's first and last reading lines left, and others came."""
    folder = copy / "audit" / "w0"
    pread, reads = os.pread, 0

    def overtaken(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        got = pread(descriptor, size, offset)
        if reads == 1:
            with (folder / journal.NAME).open("r+b") as file:
                file.write(journal._HEADER.pack(b"SPJRNL1\n", 99, 7, 6, b"other"))
                file.seek(LINES_AT)
                file.write(b"other\n")
        return got

    monkeypatch.setattr(os, "pread", overtaken)
    assert look(folder) == Held("other", 7, b"other\n")
    assert reads == 6


# --- what a crash leaves --------------------------------------------------------------------------


def test_a_worker_that_was_killed_anywhere(killed: Path, tmp_path: Path) -> None:
    """While it drained, too: nothing is torn, nothing is missing, nothing is there twice."""
    held = held_in(killed)
    for done in (*range(0, len(held.lines), 97), len(held.lines)):
        copy = tmp_path / f"done{done}"
        shutil.copytree(killed, copy)
        with segment_of(copy).open("ab") as file:
            file.write(held.lines[:done])
        assert "torn" not in go_on(copy)
        first = checkpoint.segment_order(p.name for p in (copy / "audit" / "w0").iterdir())[0]
        content = (copy / "audit" / "w0" / first).read_bytes()
        assert content.endswith(held.lines)
        assert decided(copy) == 47


def test_putting_back_can_be_interrupted_and_repeated(copy: Path) -> None:
    folder = copy / "audit" / "w0"
    before = (folder / journal.NAME).read_bytes()
    journal.put_back(folder)
    whole = segment_of(copy).read_bytes()
    (folder / journal.NAME).write_bytes(before)  # the last step was not reached
    journal.put_back(folder)
    assert segment_of(copy).read_bytes() == whole
    assert look(folder) is None
    assert "torn" not in go_on(copy)


def test_zeros_behind_what_was_drained(copy: Path) -> None:
    """As a power loss leaves them in a file whose size was written and its content was not."""
    held, segment = held_in(copy), segment_of(copy)
    third = ends_of(held.lines)[2]
    with segment.open("ab") as file:
        file.write(held.lines[: third + 5] + bytes(300))
    whole = segment.read_bytes()[: held.base] + held.lines
    assert "torn_kept" in go_on(copy)
    assert segment.read_bytes() == whole
    assert segment.with_suffix(".torn").read_bytes() == held.lines[third : third + 5] + bytes(300)


def test_a_segment_that_lost_what_was_before(copy: Path) -> None:
    held, segment = held_in(copy), segment_of(copy)
    content = segment.read_bytes()
    segment.write_bytes(content[: ends_of(content)[-3]])
    assert "torn_kept" in go_on(copy, lost=True)
    assert segment.with_suffix(".torn").read_bytes() == held.lines


@pytest.mark.parametrize("line", [0, 1, 5])
def test_a_journal_that_is_damaged(copy: Path, line: int) -> None:
    """What stands before the damage is put back, the rest is kept."""
    held, segment = held_in(copy), segment_of(copy)
    begin = [0, *ends_of(held.lines)][line]
    with (segment.parent / journal.NAME).open("r+b") as file:
        file.seek(LINES_AT + begin + 10)
        file.write(b"\0")
    content = segment.read_bytes()
    assert "torn_kept" in go_on(copy, lost=True)
    assert segment.read_bytes() == content + held.lines[:begin]
    damaged = held.lines[begin : begin + 10] + b"\0" + held.lines[begin + 11 :]
    assert segment.with_suffix(".torn").read_bytes() == damaged


def test_a_journal_that_the_chain_went_on_without(copy: Path) -> None:
    """An earlier version does not look at it: behind its start the lines belong nowhere."""
    path = copy / "audit" / "w0" / journal.NAME
    segment, lines = segment_of(copy), held_in(copy).lines
    path.rename(path.with_name("kept"))
    assert "torn" not in go_on(copy)
    content = segment.read_bytes()
    path.with_name("kept").rename(path)
    assert "torn_kept" in go_on(copy)
    assert segment.read_bytes() == content
    assert segment.with_suffix(".torn").read_bytes() == lines


def test_a_journal_with_the_last_turn(copy: Path) -> None:
    with (copy / "audit" / "w0" / journal.NAME).open("r+b") as file:
        file.seek(8)
        file.write(b"\xff" * 8)
    assert not {"torn", "torn_kept"} & go_on(copy)


@pytest.mark.parametrize("base", [0, 7, 1 << 40, 1 << 62, (1 << 64) - 1])
def test_a_journal_with_another_place(copy: Path, base: int) -> None:
    held, segment = held_in(copy), segment_of(copy)
    with (segment.parent / journal.NAME).open("r+b") as file:
        file.seek(16)
        file.write(base.to_bytes(8, "little"))
    content = segment.read_bytes()
    assert b"".join(FolderTrail(copy / "audit").lines(0, segment.name)) == content
    assert "torn_kept" in go_on(copy, lost=True)
    assert segment.read_bytes() == content
    assert segment.with_suffix(".torn").read_bytes() == held.lines


def test_a_journal_from_before_what_is_in_the_segment(copy: Path) -> None:
    """An earlier state of it came back: its lines are there, and others behind them."""
    folder = copy / "audit" / "w0"
    earlier = (folder / journal.NAME).read_bytes()
    assert "torn" not in go_on(copy)
    (folder / journal.NAME).write_bytes(earlier)
    assert not {"torn_kept", "torn"} & go_on(copy)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"",
        lambda content: content[:50],
        lambda content: b"SPJRNL2\n" + content[8:],
        lambda content: content[:24] + (1 << 40).to_bytes(8, "little") + content[32:],
    ],
)
def test_what_is_no_journal_is_none(copy: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = copy / "audit" / "w0" / journal.NAME
    path.write_bytes(spoil(path.read_bytes()))
    assert look(path.parent) is None
    go_on(copy)


@pytest.mark.parametrize("name", [b"../../outside", b"", b"20260101T000000Z-000000000001.ndjson"])
def test_a_journal_of_another_segment(copy: Path, name: bytes) -> None:
    """Kept beside the segment that it names, if that is a segment's name."""
    path, lines = copy / "audit" / "w0" / journal.NAME, held_in(copy).lines
    content = path.read_bytes()
    path.write_bytes(content[:32] + name.ljust(64, b"\0") + content[96:])
    go_on(copy)
    kept = path.with_name(name.decode()) if name.startswith(b"2026") else path
    assert kept.with_suffix(".torn").read_bytes() == lines
    assert not list(copy.rglob("outside*"))


# --- the poller -----------------------------------------------------------------------------------


def test_what_is_held_is_written_before_others_wait(tmp_path: Path) -> None:
    """Each time the bell rings, and when the poller is done."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(tmp_path))


async def _serve(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(9)
    front.spool.append(())
    front.ledger.within = False
    end, segment = front.spool.end, segment_of(tmp_path)
    loop = asyncio.get_running_loop()
    poller = Poller(front.ledger, pytest.fail, work_of(loop))
    near, far = socket.socketpair()
    near.setblocking(False)
    side, done, lost = Side("client"), asyncio.Event(), asyncio.Event()
    poll_with(poller)
    await loop.connect_accepted_socket(lambda: side, near)
    waiting: list[tuple[int, int]] = []
    over: list[tuple[int, int, int]] = []
    front.asked_to_be_woken = 0

    def serve() -> None:
        poller.serve()
        assert not front.ledger.finished
        over.append((len(waiting), end.held, end.size - segment.stat().st_size))

    def hit(_chunk: memoryview) -> None:
        front.talk(1, only_hits=True)
        waiting.append((end.held, segment.stat().st_size))
        front.ledger.stirred = False  # nothing that the loop has to go on with
        if len(waiting) == 150:
            done.set()
            return
        time.sleep(0.0001)
        far.send(b"1")

    side.attach(hit, lost.set, 1 << 16)
    side.hasten()
    poll_with(None)
    loop.add_reader(poller, serve)
    far.send(b"1")
    async with asyncio.timeout(20):
        await done.wait()
        far.close()
        await lost.wait()
    assert len(over) < 20, "it does not serve for long"
    assert all((held, missing) == (0, 0) for _, held, missing in over), over
    assert len({size for _, size in waiting}) > len(over) + 2, "the bell does not drain"
    assert sum(held > 0 for held, _ in waiting) > 100, "it drains all the time"
    assert not front.asked_to_be_woken, "the event loop has a timer to see to"
    side.abort()
    await asyncio.sleep(0.01)


def serve(front: Holding) -> None:
    front.ledger.within = False
    Poller(front.ledger, lambda: None).serve()


def test_what_has_finished_is_written_when_a_poller_is_done(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(20)
    assert len(front.ledger.finished) == 1
    serve(front)
    assert (front.ledger.finished, front.held, front.asked_to_be_woken) == ([], 0, 0)
    assert segment_of(tmp_path).stat().st_size == front.spool.end.size
    assert finished(tmp_path) == 20
    size = front.spool.end.size
    serve(front)
    assert front.spool.end.size == size
    front.spool.close()
    assert prove(tmp_path).exit_code == 0


def test_what_has_finished_waits_for_the_spool_where_something_is_in_the_way(
    tmp_path: Path,
) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(20)
    front.spool.end.descriptor = -1
    for _ in range(3):
        serve(front)
        assert (len(front.ledger.finished), front.asked_to_be_woken) == (1, 1)
    front.ledger.woken()
    front.spool.owe(())
    assert not front.ledger.finished
    front.spool.close()
    assert prove(tmp_path).exit_code == 0
    assert finished(tmp_path) == 20


def test_what_has_finished_is_owed_where_it_cannot_be_written(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(20)
    front.spool.append(())
    front.say(query(READ))
    serve(front)
    front.ledger.within = True
    front.answer()
    full = front.spool.end.descriptor = os.open("/dev/full", os.O_WRONLY)
    assert (len(front.ledger.finished), front.held) == (1, 0)
    serve(front)
    os.close(full)
    assert (front.ledger.finished, front.spool.end.descriptor) == ([], -1)
    front.spool.append(())
    lines = segment_of(tmp_path).read_bytes().splitlines()
    (recovered,) = [line for line in lines if FAULT in line]
    assert b'"cause":"ENOSPC"' in recovered and b'"refused"' not in recovered
    front.spool.close()
    assert prove(tmp_path).exit_code == 0
    assert decided(tmp_path) == finished(tmp_path) == 21


# --- the spool ------------------------------------------------------------------------------------


def test_what_else_is_written_comes_behind(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    for act in (lambda: front.spool.append(()), lambda: front.spool.owe(()), lambda: tick(front)):
        front.talk(9)
        assert front.held
        act()
        assert not front.held
        assert segment_of(tmp_path).stat().st_size == front.spool.end.size
    front.talk(9)
    front.spool.close()
    assert prove(tmp_path).exit_code == 0
    assert decided(tmp_path) == 36
    assert not (tmp_path / "audit" / "w0" / journal.NAME).exists()


def tick(front: Holding) -> None:
    front.spool.tick(2e9)


def test_outside_of_a_poller_nothing_is_held(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(9)
    assert front.held
    front.ledger.within = False
    front.say(query(READ))
    assert not front.held
    assert segment_of(tmp_path).stat().st_size == front.spool.end.size


@pytest.mark.parametrize("segment_bytes_max", [5_000, 20_000])
def test_over_segments(tmp_path: Path, segment_bytes_max: int) -> None:
    front = Holding(tmp_path, segment_bytes_max)
    front.talk(120)
    front.spool.close()
    report = prove(tmp_path)
    assert report.exit_code == 0, report.findings
    assert report.chains[0].segments > 2
    assert decided(tmp_path) == 120


def test_a_journal_that_is_full_is_drained(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    most = 0
    front.talk(60)
    front.ledger.within = True
    for _ in range(1_300):
        front.talk(1, only_hits=True)
        most = max(most, front.held)
    assert 100_000 < most <= journal.BYTES - LINES_AT
    assert segment_of(tmp_path).stat().st_size > most
    front.spool.close()
    assert prove(tmp_path).exit_code == 0
    assert decided(tmp_path) == 1_360


def test_a_full_disk(tmp_path: Path) -> None:
    """What is held was forwarded: it stays. What comes then is refused, until there is room."""
    front = Holding(tmp_path, WIDE)
    front.talk(20)
    refused: list[bytes] = []
    front.unrecorded = refused.append  # type: ignore[attr-defined]
    held, good, full = front.held, front.spool._descriptor, os.open("/dev/full", os.O_WRONLY)
    assert held
    front.spool._descriptor = front.spool.end.descriptor = full
    front.ledger.within = False  # the next one is to be written at once
    front._client.say(query(READ))
    assert front.ledger.write_due()
    assert len(refused) == 1
    with pytest.raises(SpoolUnavailable, match=r"ENOSPC|EINVAL"):  # /dev/full cannot be cut
        front.spool.append(())
    assert front.held == held
    front.spool._descriptor = good
    os.close(full)
    front.spool.append(())
    assert not front.held
    front.talk(20)
    front.spool.close()
    report = prove(tmp_path)
    assert report.exit_code == 0, report.findings
    assert decided(tmp_path) == 40


def test_a_write_that_left_a_part_behind(tmp_path: Path) -> None:
    """It failed within the poller, which tells the spool nothing; what it left is cut off first."""
    front = Holding(tmp_path, WIDE)
    front.talk(20)
    before, good = held_in(tmp_path).lines, front.spool._descriptor
    full = front.spool.end.descriptor = os.open("/dev/full", os.O_WRONLY)
    serve(front)
    os.close(full)
    assert (front.spool.end.descriptor, front.spool.available) == (-1, True)
    lines = held_in(tmp_path).lines
    assert len(lines) == front.held
    assert lines.startswith(before), "what was held goes no more"
    assert lines.count(b"\n") == before.count(b"\n") + 1, "what had finished is held, too"
    os.write(good, held_in(tmp_path).lines[:700])
    front.spool.append(())
    assert segment_of(tmp_path).stat().st_size == front.spool.end.size
    front.spool.close()
    assert prove(tmp_path).exit_code == 0
    assert decided(tmp_path) == 20


def test_what_cannot_be_drained_before_the_end_is_put_back_by_the_next(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(20)
    full = os.open("/dev/full", os.O_WRONLY)
    os.close(front.spool._descriptor)
    front.spool._descriptor = full
    front.spool.close()
    assert held_in(tmp_path).lines
    assert not segment_of(tmp_path).with_suffix(".seal").exists()
    go_on(tmp_path)
    assert decided(tmp_path) == 27


def test_without_room_for_a_journal_all_is_written_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_descriptor: int, _size: int) -> None:
        raise OSError(errno.ENODEV, "no mapping here")

    with monkeypatch.context() as patched:
        patched.setattr("appliance.spool.journal.mmap.mmap", refuse)
        front = Holding(tmp_path, WIDE)
        front.talk(9)
        tick(front)
        assert (front.held, front.spool.available, front.spool.failures) == (0, True, 0)
    tick(front)
    front.talk(9)
    assert front.held
    front.spool.close()
    assert decided(tmp_path) == 18


@pytest.mark.parametrize("renamed", [False, True])
def test_a_journal_that_is_deleted(tmp_path: Path, renamed: bool) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(9)
    path = tmp_path / "audit" / "w0" / journal.NAME
    if renamed:
        path.rename(path.with_name("elsewhere"))
    else:
        path.unlink()
    tick(front)
    assert path.exists()
    front.talk(9)
    front.die()
    assert held_in(tmp_path).lines
    go_on(tmp_path)
    assert decided(tmp_path) == 25


def test_a_folder_that_is_deleted(tmp_path: Path) -> None:
    front = Holding(tmp_path, WIDE)
    front.talk(9)
    shutil.rmtree(tmp_path / "audit")
    tick(front)
    front.spool.append(())
    front.talk(9)
    assert front.held
    assert held_in(tmp_path).segment == segment_of(tmp_path).name
    front.spool.close()


def test_only_with_durability_os(tmp_path: Path) -> None:
    signer = load_or_create_signer(tmp_path / "keys")
    cases: tuple[tuple[Durability, bool], ...] = (("disk", False), ("os", True))
    for durability, kept in cases:
        folder = tmp_path / durability
        spool = Spool(folder, 0, signer, durability, journal=True)
        assert (folder / "w0" / journal.NAME).exists() == kept
        spool.close()


def test_it_is_private_and_all_there(tmp_path: Path) -> None:
    made = Journal(tmp_path)
    status = (tmp_path / journal.NAME).stat()
    assert status.st_mode & 0o777 == 0o600
    assert status.st_blocks * 512 >= status.st_size == journal.BYTES
    assert not made.gone
    made.close(keep=False)
    assert not (tmp_path / journal.NAME).exists()
