"""What control has seen of the trail, over both stores: a chain that is cut short, gone, rewritten
or put back as it was is proved so; kills and a change of keys are no false alarm."""

import asyncio
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance.audit import checkpoint
from appliance.audit.record import Record, TrailDoubted, WorkerStarted
from appliance.audit.verify import Report, verify_trail
from appliance.control.desk import Unavailable
from appliance.control.store import Store
from appliance.control.witness import Witness, key_file, witnesses
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer
from appliance.spool.trail_folder import FolderTrail
from tests.adversity.test_spool_kill import WRITER
from tests.desk import Desks, desks_of


class Place:
    """A data folder, and what control has seen of it."""

    def __init__(self, folder: Path, desks: Desks) -> None:
        self.folder = folder
        self.desks = desks
        self.doubted = 0
        self.witness = self.again()
        (folder / "audit").mkdir(exist_ok=True)

    def again(self) -> Witness:
        return Witness(self.desks.changes, self.folder, "node-1", self._doubt)

    def _doubt(self, chains: int) -> None:
        self.doubted = chains

    def write(self, worker: int = 0, count: int = 10) -> None:
        """Another life of that worker."""
        spool = Spool(self.folder / "audit", worker, load_or_create_signer(self.folder / "keys"))
        for number in range(count):
            spool.append([record(worker, number)])
            spool.tick(1e12 + number)
        spool.close()

    async def look(self, times: int = 2) -> None:
        for _ in range(times):
            await self.witness.look()

    async def prove(self) -> Report:
        seen = await self.witness.seen()
        beside = (self.folder / "keys" / "audit-ed25519.pub").read_bytes()
        keys = checkpoint.public_keys(key_file(seen, beside))
        return verify_trail(FolderTrail(self.folder / "audit"), keys, witnesses(seen))

    async def codes(self) -> set[str]:
        return {f.code for f in (await self.prove()).findings if f.error}

    @property
    def doubts(self) -> list[tuple[int, str, int]]:
        found = [r for r in self.desks.trail.records if isinstance(r, TrailDoubted)]
        return [(r.worker, r.cause, r.seen) for r in found]

    def segments(self, worker: int = 0) -> list[Path]:
        return sorted((self.folder / "audit" / f"w{worker}").glob("*.ndjson"))


def record(worker: int, number: int) -> Record:
    return WorkerStarted(id=f"{worker}-{number}", time=1.0, worker=worker, pid=number, version="v")


@pytest.fixture
def place(tmp_path: Path, desks: Desks) -> Place:
    return Place(tmp_path, desks)


async def test_a_sound_trail_stays_so(place: Place) -> None:
    place.write(0)
    place.write(999)
    await place.look()
    seen = await place.witness.seen()
    assert [(one.worker, one.last) for one in seen.heads] == [(0, 11), (999, 11)]
    place.write(0)
    place.desks.clock.advance(400)
    await place.look()
    seen = await place.witness.seen()
    assert [one.last for one in seen.heads if one.worker == 0] == [11, 22]
    assert await place.codes() == set()
    assert (place.doubts, place.doubted) == ([], 0)


def cut(place: Place) -> None:
    """The last segment and everything that speaks of it; an older head in its place."""
    folder = place.folder / "audit" / "w0"
    for path in folder.glob(f"{place.segments()[-1].stem}.*"):
        path.unlink()
    shutil.copy(place.folder / "head.before", folder / "head.json")


async def two_lives(place: Place) -> None:
    place.write(0)
    shutil.copy(place.folder / "audit" / "w0" / "head.json", place.folder / "head.before")
    await place.look()
    place.write(0)
    await place.look()


async def test_a_tail_that_was_cut_off_is_proved(place: Place) -> None:
    await two_lives(place)
    cut(place)
    beside = (place.folder / "keys" / "audit-ed25519.pub").read_bytes()
    alone = verify_trail(FolderTrail(place.folder / "audit"), checkpoint.public_keys(beside))
    assert alone.exit_code == 0  # the trail by itself cannot tell
    assert "truncated" in await place.codes()
    await place.look()
    assert (place.doubts, place.doubted) == ([(0, "behind", 22)], 1)
    await place.look(5)
    assert len(place.doubts) == 1  # said once
    assert "truncated" in await place.codes()  # and what was seen was not replaced


async def test_a_tail_cut_off_while_control_was_away_is_proved(place: Place) -> None:
    await two_lives(place)
    cut(place)
    place.witness = place.again()
    await place.look()
    assert place.doubts == [(0, "behind", 22)]


async def test_a_chain_that_is_gone_as_a_whole_is_proved(place: Place) -> None:
    """Also the only one that ever knew of it."""
    place.write(3)
    await place.look()
    shutil.rmtree(place.folder / "audit" / "w3")
    assert await place.codes() == {"chain_missing", "empty"}
    await place.look()
    assert place.doubts == [(3, "gone", 11)]


async def test_a_chain_put_back_and_continued_is_proved(place: Place) -> None:
    """Longer than what was seen, signed with the very key."""
    await two_lives(place)
    cut(place)
    place.write(0, 40)
    place.desks.clock.advance(400)
    await place.look()
    assert "rewritten" in await place.codes()


async def test_another_chain_of_the_same_length_is_doubted(place: Place) -> None:
    place.write(0)
    await place.look()
    shutil.rmtree(place.folder / "audit" / "w0")
    place.write(0)
    await place.look()
    assert place.doubts == [(0, "rewritten", 11)]
    assert "rewritten" in await place.codes()


async def test_a_head_signed_by_nobody_known_is_not_believed(place: Place) -> None:
    place.write(0)
    await place.look()
    head = place.folder / "audit" / "w0" / "head.json"
    before = head.read_bytes()
    head.write_bytes(before.replace(b'"last":11', b'"last":99'))
    await place.look()
    head.write_bytes(b"{}")
    await place.look()
    assert [cause for _, cause, _ in place.doubts] == ["not_signed", "damaged"]
    head.write_bytes(before)
    await place.look(1)
    assert place.doubted == 0
    assert [one.last for one in (await place.witness.seen()).heads] == [11]


async def test_after_a_change_of_keys_older_parts_prove_still(place: Place) -> None:
    place.write(0)
    await place.look()
    for name in ("audit-ed25519.pem", "audit-ed25519.pub"):
        (place.folder / "keys" / name).unlink()
    place.write(0)
    await place.look()
    assert place.doubts == []
    report = await place.prove()
    assert report.exit_code == 0, report.findings
    assert len(report.keys) == 2
    place.witness = place.again()
    await place.look()
    assert place.doubts == []


async def test_what_is_old_is_kept_by_the_day(place: Place) -> None:
    for _ in range(6):
        place.write(0, 1)
        await place.look(1)
        place.desks.clock.advance(400)
    assert len((await place.witness.seen()).heads) == 6
    place.desks.clock.advance(91 * 86_400)
    place.write(0, 1)
    await place.look(1)
    lasts = [one.last for one in (await place.witness.seen()).heads]
    assert lasts == [12, 14]  # of that day, and now
    assert await place.codes() == set()


async def test_a_store_that_is_away_is_no_doubt(place: Place) -> None:
    place.write(0)
    await place.look()
    place.desks.trail.broken = True
    place.write(0)
    with pytest.raises(Unavailable):
        await place.look(1)
    place.desks.trail.broken = False
    await place.look()
    assert place.doubts == []


async def test_other_appliances_on_the_store_do_not_mix(new_store: Callable[[], Store],
    tmp_path: Path) -> None:  # fmt: skip
    async with desks_of(new_store()) as desks:
        here, there = Place(tmp_path, desks), tmp_path / "b"
        there.mkdir()
        other = Place(there, desks)
        other.witness = Witness(desks.changes, there, "node-2", lambda chains: None)
        here.write(0, 3)
        other.write(0, 30)
        await here.look()
        await other.look()
        assert (await here.codes(), await other.codes()) == (set(), set())
        assert len((await here.witness.seen()).heads) == 2


async def test_kill_9_of_a_writer_in_mid_load_is_no_false_alarm(place: Place) -> None:
    for life in range(4):
        writer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, str(place.folder), f"l{life}", "0.001"),
            stdout=asyncio.subprocess.PIPE,
        )
        assert writer.stdout is not None
        while line := await writer.stdout.readline():
            if int(line) % 700 == 0:
                await place.look(1)
                place.desks.clock.advance(301)
            if int(line) > 3_000:
                break
        writer.kill()
        await writer.communicate()
        place.witness = place.again()  # control was killed, too
        await place.look()
    report = await place.prove()
    assert (report.exit_code, place.doubts) == (0, []), report.findings
    assert report.chains[0].signed > 4 * 2_000
    assert len((await place.witness.seen()).heads) > 4
