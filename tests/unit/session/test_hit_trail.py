"""What the hit path writes into a worker's real trail: proved, found and complete, also over full
segments and after a crash that cut its last write anywhere.
"""

import os
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import pytest

from appliance.audit import checkpoint
from appliance.audit.query import Criteria, search
from appliance.audit.record import StatementDecided, StatementFinished
from appliance.audit.verify import Report, verify_trail
from appliance.spool.spool import Spool
from appliance.spool.spool_key import load_or_create_signer
from appliance.spool.trail_folder import FolderTrail
from tests.playbook.world import ANN
from tests.unit.session.hit_fronts import NOTES, READ, Wired, query

TEXTS = (READ, NOTES.format(1), NOTES.format(2))


class Kept(Wired):
    """With a real spool. Machines' records go there, too."""

    journal = False

    def __init__(self, folder: Path, segment_bytes_max: int) -> None:
        self.spool = Spool(
            folder / "audit",
            0,
            load_or_create_signer(folder / "keys"),
            segment_bytes_max=segment_bytes_max,
            journal=self.journal,
        )
        super().__init__(ANN, random.Random(1))
        self.ledger.write_to(self.spool.end, self.spool.unwritten)
        self.spool.finished = self.ledger.take_finished
        self.spool.append(())

    def _begin_file(self) -> None:
        """The spool has its own."""

    def say(self, chunk: bytes) -> None:
        self._client.say(chunk)
        if self.ledger.due:
            self.taken += 1
            if not self.ledger.write_due():
                self._by_the_spool()

    def _by_the_spool(self) -> None:
        """As `dataplane/rounds` does when the short way is closed."""
        (path,) = self.ledger.take_due()
        self.spool.append(path.lines)
        path.send_recorded()

    def _keep_finished(self) -> None:
        """The spool takes them."""

    def talk(self, count: int) -> None:
        for index in range(count):
            self.say(query(TEXTS[index % 3]))
            self.answer()
            self.spool.append(self.records)
            self.records = []


def prove(folder: Path) -> Report:
    keys = checkpoint.public_keys((folder / "keys" / "audit-ed25519.pub").read_bytes())
    return verify_trail(FolderTrail(folder / "audit"), keys)


def brief_lines(folder: Path) -> int:
    return sum(
        line.split(b",")[1][:7] in (b'"like":', b'"ends":')
        for segment in FolderTrail(folder / "audit").names(0)
        if segment.endswith(".ndjson")
        for line in FolderTrail(folder / "audit").lines(0, segment)
    )


def numbers(folder: Path) -> Sequence[int]:
    """Of the statements that are found, ended ones only."""
    found = search(FolderTrail(folder / "audit"), Criteria(principal=ANN.name), 100_000)
    for story in found:
        assert isinstance(story.record, StatementDecided)
        assert isinstance(story.finished, StatementFinished)
    return [s.record.sequence for s in found if isinstance(s.record, StatementDecided)]


@pytest.mark.parametrize(
    ("segment_bytes_max", "least"), [(1, 0), (5_000, 40), (20_000, 100), (1 << 26, 100)]
)
def test_over_segments(tmp_path: Path, segment_bytes_max: int, least: int) -> None:
    front = Kept(tmp_path, segment_bytes_max)
    front.talk(120)
    front.spool.close()
    report = prove(tmp_path)
    assert report.exit_code == 0, report.findings
    assert front.taken > 90
    assert sorted(numbers(tmp_path)) == list(range(1, 121))
    assert brief_lines(tmp_path) >= least


def test_a_write_that_was_cut_anywhere(tmp_path: Path) -> None:
    """Up to the cut all is there, and the trail goes on behind it."""
    whole = tmp_path / "whole"
    front = Kept(whole, 1 << 26)
    front.talk(30)
    front.spool._sync.close()
    os.close(front.spool._lock)
    (segment,) = (whole / "audit" / "w0").glob("*.ndjson")
    content = segment.read_bytes()
    last = content.rfind(b"\n", 0, -1) + 1
    before_last = content.rfind(b"\n", 0, last - 1) + 1
    for cut in (*range(before_last + 1, last, 7), last, *range(last + 1, len(content), 7)):
        copy = tmp_path / f"cut{cut}"
        shutil.copytree(whole, copy)
        (copy / "audit" / "w0" / segment.name).write_bytes(content[:cut])
        again = Kept(copy, 1 << 26)
        again.talk(10)
        again.spool.close()
        report = prove(copy)
        assert report.exit_code == 0, report.findings
        torn = "torn" in {f.code for f in report.findings}
        assert torn == (cut != last)


def test_what_failed_to_be_written_is_spoken_of_by_nobody(tmp_path: Path) -> None:
    front = Kept(tmp_path, 1 << 26)
    front.talk(30)
    refused: list[bytes] = []
    front.unrecorded = refused.append  # type: ignore[attr-defined]
    for _ in range(3):
        front.talk(6)
        good, full = front.spool.end.descriptor, os.open("/dev/full", os.O_WRONLY)
        assert good >= 0
        front.spool.end.descriptor = full
        front._client.say(query(READ))
        assert front.ledger.write_due()
        os.close(full)
        front.spool.append(())
    assert len(refused) == 3
    front.talk(12)
    front.spool.close()
    report = prove(tmp_path)
    assert report.exit_code == 0, report.findings
    assert brief_lines(tmp_path) > 20
    assert len(set(numbers(tmp_path))) == 30 + 18 + 12
