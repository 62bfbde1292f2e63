"""Log lines: shape, secrecy, thinning, and never blocking."""

import json
import os
from collections.abc import Iterator

import pytest

from appliance.telemetry import log as logs
from appliance.telemetry.log import BURST, BURST_SECONDS, Log, Repeats, configure, lines_dropped


class Lines:
    """The reading end of a pipe that the log writes to."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)

    def take(self) -> list[bytes]:
        return os.read(self.reading, 65536).splitlines()


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch) -> Iterator[Lines]:
    monkeypatch.setattr(logs._sink, "repeats", Repeats())
    opened = Lines()
    yield opened
    configure(fd=2)
    os.close(opened.reading)
    os.close(opened.writing)


def test_json_line(lines: Lines) -> None:
    configure(json=True, fd=lines.writing)
    Log("worker").warning("target_lost", target="shop\n", tries=3)
    (line,) = lines.take()
    written = json.loads(line)
    assert written["event"] == "target_lost"
    assert written["target"] == "shop\n"
    assert written["level"] == "warning"
    assert written["pid"] == os.getpid()


def test_text_line_cannot_be_forged(lines: Lines) -> None:
    configure(fd=lines.writing)
    Log("worker").info("login_failed", user="eve\nINFO all fine\x1b[2J")
    (line,) = lines.take()
    assert b"\\n" in line
    assert b"\x1b" not in line


def test_what_looks_secret_is_blanked(lines: Lines) -> None:
    configure(json=True, fd=lines.writing)
    Log("worker").info("x", password="hunter2", upstream_token="t0p", detail="y" * 5000)
    (line,) = lines.take()
    assert b"hunter2" not in line
    assert b"t0p" not in line
    assert len(line) < 2000


def test_too_long_a_json_line_stays_json(lines: Lines) -> None:
    configure(json=True, fd=lines.writing)
    Log("worker").info("x", **{f"f{i}": "z" * 900 for i in range(9)})
    (line,) = lines.take()
    assert json.loads(line)["fields_dropped"][0] == "f0"


def test_level(lines: Lines) -> None:
    configure(level="warning", fd=lines.writing)
    Log("worker").info("quiet")
    Log("worker").error("loud")
    assert len(lines.take()) == 1


def test_journal_prefix(lines: Lines, monkeypatch: pytest.MonkeyPatch) -> None:
    found = os.fstat(lines.writing)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    configure(fd=lines.writing)
    Log("worker").error("bad")
    assert lines.take()[0].startswith(b"<3>error")


def test_repeats_are_thinned_and_counted(lines: Lines) -> None:
    repeats = Repeats()
    admitted = [repeats.admit("k", 0.0) for _ in range(BURST + 7)]
    assert admitted.count(0) == BURST
    assert admitted[BURST:] == [None] * 7
    assert repeats.admit("other", 0.0) == 0
    assert repeats.admit("k", BURST_SECONDS) == 7
    configure(fd=lines.writing)
    for _ in range(BURST * 2):
        Log("worker").info("again")
    assert len(lines.take()) == BURST


def test_a_full_pipe_never_blocks(lines: Lines) -> None:
    configure(fd=lines.writing)
    before = lines_dropped()
    for number in range(3000):
        Log("worker").info(f"event_{number}", text="x" * 100)
    assert lines_dropped() > before
