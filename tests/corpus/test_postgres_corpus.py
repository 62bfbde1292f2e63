"""The corpora against Sallyport as a real service: what of `make redteam` is quick enough for every
test run, on Debian's PostgreSQL 15 and in two client modes (text, and binary by the extended
protocol). `make redteam` runs all client modes, and PostgreSQL 18 as well.
"""

from collections.abc import Iterator

import pytest

from tests.redteam import corpus, servers
from tests.redteam.runs import Outcome, Pass, run
from tests.redteam.stage import Stage, Wanted, stage

QUICK = "simple,extbin"
CONTROL = ("plain-01", "expression-01", "copy_out-01", "error_leak-01", "inference-01")

OWN_SHARE = 5
"""One in so many of our own attacks; `make redteam` sends them all."""
SENT_WHOLE = (
    *("external_ddl", "names_in_prepared", "deferred_settings"),
    *("parts_of_values", "returning_names", "server_schemas", "unlocked"),
)


@pytest.fixture(scope="module")
def place() -> Iterator[Stage]:
    server = servers.available().get(15)
    if server is None:
        pytest.skip("no PostgreSQL 15 on this machine: apt-get install postgresql")
    with stage(Wanted(server)) as built:
        yield built


def sent(place: Stage, kind: str, file: str = "", **how: object) -> Outcome:
    path = corpus.FOLDER / (file or corpus.PUBLIC[kind])
    outcome = run(Pass(kind, path, **how), [place])  # type: ignore[arg-type]
    assert not outcome.skipped
    return outcome


def test_the_detector_sees_leaks(place: Stage) -> None:
    """Round Sallyport, so that the tests below can fail."""
    report = sent(place, "attacks", only=CONTROL, direct=True, modes="simple").report
    assert set(report["leaked_ids"]) == set(CONTROL)


@pytest.mark.slow
def test_attacks(place: Stage) -> None:
    report = sent(place, "attacks", modes=QUICK).report
    assert report["attacks"] == 362
    assert report["leaked_ids"] == []
    assert report["runner_errors"] == {} and report["target_down_after"] == []


@pytest.mark.slow
def test_own_attacks(place: Stage) -> None:
    names = [
        item["id"]
        for number, item in enumerate(corpus.read(corpus.FOLDER / corpus.OWN["attacks"]))
        if (number % OWN_SHARE == 0 or item["category"] in SENT_WHOLE)
        and "server>=18" not in item.get("requires", ())  # what PostgreSQL 15 has no words for
    ]
    report = sent(place, "attacks", corpus.OWN["attacks"], only=names, modes="simple,raw").report
    assert report["attacks"] == len(names)
    assert set(report["leaked_ids"]) <= corpus.limits(corpus.FOLDER / corpus.OWN["attacks"]).keys()
    assert report["runner_errors"] == {} and report["target_down_after"] == []


@pytest.mark.slow
@pytest.mark.parametrize("plain", [False, True], ids=["owes", "owes-nothing"])
def test_ordinary_work(place: Stage, plain: bool) -> None:
    report = sent(place, "benign", modes="simple", plain=plain).report
    assert report["failing"] == {}


@pytest.mark.slow
def test_guards(place: Stage) -> None:
    report = sent(place, "guard").report
    assert report["missed_ids"] == {}
    assert report["false_positives"] == {}
    assert "runner_error" not in report["counts"]
