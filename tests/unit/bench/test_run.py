"""`python -m bench` itself, with a stage on which nothing stands."""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import __main__ as bench
from bench.databases import DATABASES, Measured
from bench.figures import TARGETS, Results
from bench.samples import Sample
from bench.stage import Stage, Target, sallyports
from bench.table import table


class Counting:
    """A case that measures how often it was run, and stops in the run numbered `stops_in`."""

    name = "S-prepared-c8"

    def __init__(self, stops_in: int = 0, with_signal: int = signal.SIGINT) -> None:
        self._runs = 0
        self._stops_in = stops_in
        self._signal = with_signal

    def wants(self, target: Target) -> bool:
        return target.name == "governed"

    def run(self, stage: Stage, target: Target, seconds: int) -> dict[str, float]:
        self._runs += 1
        if self._runs == self._stops_in:
            os.kill(os.getpid(), self._signal)
        return {"tps": float(self._runs)}


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    kept = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    yield
    for each, handler in kept.items():
        signal.signal(each, handler)


def ran(monkeypatch: pytest.MonkeyPatch, case: Counting, *options: str | Path) -> int:
    @contextlib.contextmanager
    def stage(folder: Path) -> Iterator[Stage]:
        targets = [Target(name, 1, ()) for name in ("direct", "governed")]
        yield Stage(targets, folder, 1, {})

    names = ("direct", "governed")
    measured = Measured(stage, (case,), names, "pgbouncer", (), "latest.json", micro=False)
    monkeypatch.setitem(DATABASES, "postgresql", measured)
    return bench.main([str(option) for option in options])


def test_a_run_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    out = tmp_path / "latest.json"
    assert ran(monkeypatch, Counting(), "--rounds", "3", "--out", out) == 0
    document = json.loads(out.read_text())
    assert len(document["rounds"]) == 3 and "interrupted" not in document


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_run_keeps_its_whole_rounds_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    number: int,
) -> None:
    out = tmp_path / "latest.json"
    out.write_text("before")
    case = Counting(4, number)  # the first run warms: in the third round
    assert ran(monkeypatch, case, "--rounds", "5", "--out", out) == 130
    assert out.read_text() == "before"
    document = json.loads((tmp_path / "latest.partial.json").read_text())
    assert document["interrupted"] is True
    assert [one["round"] for one in document["rounds"]] == [0, 1]
    assert document["figures"]["S-prepared-c8/governed/tps"]["rounds"] == 2
    assert "interrupted after 2 whole rounds" in capsys.readouterr().err


def test_an_interrupted_first_round_is_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ran(monkeypatch, Counting(2), "--out", tmp_path / "latest.json") == 130
    assert not list(tmp_path.iterdir())
    assert "before a round was whole" in capsys.readouterr().err


def test_a_run_that_measured_nothing_leaves_the_last_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "latest.json"
    out.write_text("before")
    assert ran(monkeypatch, Counting(), "--target", "direct", "--out", out) == 2
    assert out.read_text() == "before"
    assert "nothing was measured" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--target", "nonsense"), "no target nonsense; there are direct, "),
        (("--target", "pgbouncer", "--db", "mysql"), "no target pgbouncer; there are direct, "),
        (("--case", "nonsense"), "no case nonsense; there are select1-one-cpu, "),
        (("--rounds", "0"), "--rounds: 0 is no number from 1 on"),
        (("--rounds", "-1"), "--rounds: -1 is no number from 1 on"),
        (("--seconds", "0"), "--seconds: 0 is no number from 1 on"),
        (("--seconds", "x"), "--seconds: x is no number from 1 on"),
    ],
)
def test_what_makes_no_sense_is_refused(
    options: tuple[str, ...], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        bench.main(options)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_two_workers_differ_by_nothing_else() -> None:
    planned = {one.name: one for one in sallyports(1, 2, ("--tls-key", "key"))}
    assert planned.keys() <= set(TARGETS)
    one, two = planned["governed-canned"], planned["governed-canned-two"]
    assert two.options == (*one.options, "--workers", "2")
    assert (one.to, two.to) == (2, 2)
    assert "lease" in one.options


def test_long_texts_answered_are_shown() -> None:
    samples = [
        Sample("misses", "pgbouncer", 0, {"p99_us": 100.0, "misses": 120.0}),
        Sample("misses", "governed", 0, {"p99_us": 100.0, "misses": 30.0}),
    ]
    head, _, _, governed = (row.split(" | ") for row in table(Results(samples)).splitlines())
    assert governed[head.index("misses")] == "30.0"
    assert governed[-1].startswith("**0.25**") and head[-1].startswith("misses ÷ pgbouncer")
