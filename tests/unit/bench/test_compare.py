"""What `bench.compare` calls worse, and what it cannot compare."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from bench import compare, plot
from bench.compare import Side, interval, judge
from bench.figures import Figure, Results
from bench.samples import Sample

OLD = [0.71, *(0.95 + number / 80 for number in range(13)), 2.06]
"""Rounds whose median is told well, with one that was disturbed."""


def figure(median: float, low: float | None = None, high: float | None = None) -> Figure:
    return Figure(median=median, low=low or median, high=high or median, rounds=1)


def misses(ratios: list[float]) -> list[Sample]:
    return [
        Sample("misses", target, number, {"p99_us": value})
        for number, ratio in enumerate(ratios)
        for target, value in (("governed", 100.0 * ratio), ("pgbouncer", 100.0))
    ]


def written(path: Path, samples: list[Sample], **more: Any) -> Path:
    figures = Results(samples).figures()
    rounds = [asdict(sample) for sample in samples]
    path.write_text(json.dumps({"figures": figures, "rounds": rounds} | more))
    return path


def compared(old: Path, new: Path) -> int:
    return compare.main(["--against", str(old), "--results", str(new)])


def test_the_interval_of_a_median_is_between_two_rounds() -> None:
    assert interval([float(number) for number in range(15, 0, -1)]) == (4.0, 12.0)
    assert interval([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]) == (1.0, 6.0)
    assert interval([1.0] * 5) is None
    assert interval([]) is None


def test_single_rounds_that_were_disturbed_hide_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = written(tmp_path / "old.json", misses(OLD))
    new = written(tmp_path / "new.json", misses([value + 0.4 for value in OLD]))
    assert compared(old, new) == 1
    said = capsys.readouterr().out
    assert "WORSE  miss_p99_ratio: 1.025 -> 1.425 ([0.975–1.075] -> [1.375–1.475])" in said
    assert "1 worse, of 1 ratios" in said


def test_intervals_that_overlap_are_no_difference(tmp_path: Path) -> None:
    old = written(tmp_path / "old.json", misses(OLD))
    new = written(tmp_path / "new.json", misses([value + 0.09 for value in OLD]))
    assert compared(old, new) == 0


def test_what_is_better_is_not_worse() -> None:
    lower = Side(figure(0.7), [0.7] * 15)
    higher = Side(figure(0.8), [0.8] * 15)
    for key, more in (("qps_ratio", True), ("cpu_ratio", False)):
        assert judge(key, lower, higher, 0.15).word == ("better" if more else "WORSE")
        assert judge(key, higher, lower, 0.15).word == ("WORSE" if more else "better")


def test_a_must_that_is_lost_is_worse_whatever_the_rounds() -> None:
    wide = [0.5, 2.5] * 8
    kept, lost = Side(figure(1.49, 0.5, 2.5), wide), Side(figure(1.51, 0.5, 2.5), wide)
    assert judge("miss_p99_ratio", kept, lost, 0.15).word == "WORSE"
    assert judge("miss_p99_ratio", lost, lost, 0.15).word == ""
    assert judge("miss_p99_ratio", lost, kept, 0.15).word == ""
    assert judge("hit_us", Side(figure(2.9, 2.0, 4.0)), Side(figure(3.1)), 0.15).word == "WORSE"


def test_few_rounds_are_judged_by_their_range_and_say_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = written(tmp_path / "old.json", misses([0.5, 0.6, 0.7]))
    assert compared(old, written(tmp_path / "new.json", misses([0.69]))) == 0
    assert "1 judged by range" in capsys.readouterr().out
    assert compared(old, written(tmp_path / "new.json", misses([0.8]))) == 1
    assert "by its range of rounds" in capsys.readouterr().out


def test_figures_of_others_are_not_judged(tmp_path: Path) -> None:
    key = "S-simple-c200/pgbouncer-shared/tps_vs_direct"
    for name, median in (("old", 1.0), ("new", 0.1)):
        figures = {key: figure(median), "cpu_ratio": figure(1.0)}
        (tmp_path / name).write_text(json.dumps({"figures": figures}))
    assert compared(tmp_path / "old", tmp_path / "new") == 0


def test_what_is_missing_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = {f"case-{number:02}/governed/tps": figure(1.0) for number in range(12)}
    both = {"cpu_ratio": figure(1.0)}
    (tmp_path / "old").write_text(json.dumps({"figures": both | gone}))
    (tmp_path / "new").write_text(json.dumps({"figures": both}))
    assert compared(tmp_path / "old", tmp_path / "new") == 0
    said = capsys.readouterr().out
    assert "12 figures of the baseline are missing: case-00/governed/tps, " in said
    assert "case-09/governed/tps and 2 more" in said and "case-10" not in said


def test_nothing_in_common_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "old").write_text(json.dumps({"figures": {"cpu_ratio": figure(1.0)}}))
    (tmp_path / "new").write_text(json.dumps({"figures": {"qps_ratio": figure(1.0)}}))
    assert compared(tmp_path / "old", tmp_path / "new") == 2
    assert "no ratio in common" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", [None, "", "{", "[]", "{}", '{"figures": {"cpu_ratio": 1}}', "\udcff"]
)
def test_what_is_no_results_is_said_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str | None
) -> None:
    good, bad = written(tmp_path / "good", misses(OLD)), tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content.encode(errors="surrogateescape"))
    assert compared(good, bad) == 2
    assert plot.main(["--results", str(bad), "--out", str(tmp_path / "svg")]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 2 and all(str(bad) in line for line in lines)


def test_a_picture_needs_a_date(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--results", str(tmp_path / "some"), "--out", str(tmp_path / "svg")]
    written(tmp_path / "some", misses(OLD))
    assert plot.main(options) == 2
    assert "does not say its date" in capsys.readouterr().err
    written(tmp_path / "some", misses(OLD), date="2026-11-29T10:00:00+00:00")
    assert plot.main(options) == 0
    assert "2026-11-29" in (tmp_path / "svg").read_text()


def test_it_runs_as_a_file(tmp_path: Path) -> None:
    old = written(tmp_path / "old.json", misses(OLD))
    command = [sys.executable, compare.__file__, "--against", str(old), "--results", str(old)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
