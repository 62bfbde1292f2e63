"""What `bench.instructions` reads out of callgrind's files."""

from pathlib import Path

import pytest

from bench.instructions import HASHING, QUERIES_MIN, Profile, told

DUMP = f"""\
# callgrind format
version: 1
positions: line
events: Ir

fl=(1) chunks.c
fn=(1) Poller_8serve
10 100
+2 20
cfi=(2) hitcycle.c
cfn=(2) Cycle_finish_record
calls=4 50
* 400
-3 30

fn=(2)
50 40
cfn=(3) {HASHING}
calls=8 0
+1 360

fn=(3)
0 360

fn=(4) main
cfn=(1)
calls=1 10
1 550

totals: 550
"""


def test_a_profile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "out.1.1"
    path.write_text(DUMP)
    profile = Profile.read(path)
    assert profile.own == {
        "Poller_8serve": 150,
        "Cycle_finish_record": 40,
        HASHING: 360,
    }
    assert profile.within == {"Cycle_finish_record": 400, HASHING: 360, "Poller_8serve": 550}
    assert profile.calls == {"Cycle_finish_record": 4, HASHING: 8, "Poller_8serve": 1}
    assert profile.queries == 4
    assert profile.served == 550 / 4
    assert profile.of(HASHING) == 90


@pytest.mark.parametrize("content", ["", "# callgrind format\nevents: Ir\n"])
def test_without_a_query_there_is_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "out.1.1"
    path.write_text(content)
    assert Profile.read(path).queries == 0


@pytest.mark.parametrize("queries", [879, QUERIES_MIN])
def test_a_figure_of_few_queries_says_so(queries: int) -> None:
    profile = Profile()
    profile.within["Poller_8serve"] = 5_000 * queries
    profile.own[HASHING] = 1_000 * queries
    profile.calls["Cycle_finish_record"] = queries
    line = told("prepared", profile)
    assert line.startswith("prepared   4,000 instructions a query, 1,000 more for hashing")
    assert ("(only 879 queries: mostly what happens every second" in line) == (queries == 879)
    assert (f"({queries} queries)" in line) == (queries == QUERIES_MIN)
