"""The corpora for MariaDB: what they must hold, and a sample of them through Sallyport.

All of them are run by `make redteam DB=mysql`; the sample takes each category's first items, in
another mode for each.
"""

import json
from collections.abc import Iterator

import pytest

from appliance.cli.demo import mariadb
from tests.redteam.mysql import attacks, benign, guard, shown
from tests.redteam.mysql.packets import Column
from tests.redteam.mysql.place import FOLDER, Item, canaries, read
from tests.redteam.mysql.sight import Sight
from tests.redteam.mysql.stage import Stage, Wanted, stage
from tests.redteam.mysql.wire import Answer

PER_CATEGORY = 3
KINDS = ("attacks", "benign", "harmless", "guard")


def items(kind: str) -> list[Item]:
    return read(FOLDER / f"{kind}.jsonl")


def sample(kind: str, number: int = PER_CATEGORY) -> list[str]:
    """Ids of the first `number` of each category."""
    found: dict[str, list[str]] = {}
    for item in items(kind):
        found.setdefault(item["category"], []).append(item["id"])
    return [name for names in found.values() for name in names[:number]]


# --- what they hold ---


@pytest.mark.parametrize(
    ("kind", "least"), [("attacks", 150), ("benign", 80), ("harmless", 80), ("guard", 60)]
)
def test_they_are_many_and_no_two_alike(kind: str, least: int) -> None:
    found = items(kind)
    assert len(found) >= least
    assert len({item["id"] for item in found}) == len(found)
    said = [json.dumps([item.get("steps"), item.get("pair")]) for item in found]
    assert len(set(said)) == len(said)


def test_every_attack_was_seen_to_leak() -> None:
    for item in items("attacks"):
        assert item["verified"] and set(item["modes"]) == set(item["how"]) != set(), item["id"]


def test_canaries_are_in_the_schema() -> None:
    schema = (FOLDER / "schema.sql").read_text("utf-8")
    for name, value in canaries().items():
        shown_as = value.encode().hex() if name.startswith("badge") else value
        assert shown_as in schema, name


# --- that the runner sees ---


@pytest.mark.parametrize(
    "value",
    [
        b"57tvh1tru10rue",
        b"...57TVH1TRU10RUE",
        b"eur01urt1hvt75",
        b"57tvh1tru10rue".hex().encode(),
        b"NTd0dmgxdHJ1MTBydWU=",
        b" ".join(str(code).encode() for code in b"57tvh1tru10rue"),
    ],
)
def test_a_canary_is_seen_in_any_form(value: bytes) -> None:
    sight = Sight({"email1": "57tvh1tru10rue"})
    assert sight.find([], [[[value]]]).startswith("email1")
    assert not sight.find([], [[[b"57tvh1x"]], [[b"nothing at all"]]])


def test_a_canary_is_seen_over_rows_and_columns() -> None:
    sight = Sight({"email1": "57tvh1tru10rue"})
    letters = [bytes([code]) for code in b"57tvh1tru10rue"]
    assert sight.find([], [[[one] for one in letters]])
    assert sight.find([], [[letters]])


def test_a_refusal_is_told_from_an_error() -> None:
    refused = "no rule allows opaque; code: denied; rule: default; quote 01a2"
    assert attacks.refusal(Answer(errors=[(1227, "42000", refused)]))[0] == "blocked"
    own = "Unknown column 'nothing' in 'SELECT'"
    assert attacks.refusal(Answer(errors=[(1054, "42S22", own)]))[0] == "error"
    assert attacks.refusal(Answer())[0] == "ok"


def test_what_differs_only_in_its_record_does_not_differ() -> None:
    from tests.redteam.mysql.speech import Heard

    def heard(record: str, guess: str) -> Heard:
        text = f"no: {guess}; quote {record * 8}"
        column = Column("", "", "", f"a = '{guess}'", "", 45, 1, 3, 0, 0)
        return Heard(answers=[Answer(errors=[(1, "", text)], columns=[[column]])])

    right, wrong = heard("01a2", "somebody"), heard("01b3", "nobody at all")
    assert attacks.shown(right, ["somebody", "nobody at all"]) == attacks.shown(
        wrong, ["somebody", "nobody at all"]
    )
    assert attacks.shown(right) != attacks.shown(wrong)


# --- through Sallyport ---


@pytest.fixture(scope="module")
def on() -> Iterator[Stage]:
    if mariadb.programs() is None:
        pytest.skip("no MariaDB on this machine: scripts/mariadb.sh")
    with stage(Wanted()) as running:
        yield running


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["text", "prepared", "pymysql"])
def test_a_sample_of_the_attacks_leaks_nothing(on: Stage, mode: str) -> None:
    report, _ = attacks.run(
        on.masked, FOLDER / "attacks.jsonl", modes=[mode], only=sample("attacks")
    )
    assert report["attacks"] > 20
    assert not shown.status("attacks", report), shown.table("attacks", "attacks", report)


@pytest.mark.slow
@pytest.mark.parametrize("login", ["analyst", "plain"])
def test_a_sample_of_harmless_work_is_not_changed(on: Stage, login: str) -> None:
    path = FOLDER / "benign.jsonl"
    only = sample("benign", 2)
    report = benign.run(on.masked, path, login=login, modes=["text", "prepared"], only=only)
    assert not shown.status("benign", report), shown.table("benign", "benign", report)


@pytest.mark.slow
def test_a_sample_of_damage_is_stopped(on: Stage) -> None:
    report = guard.run(on.guarded, FOLDER / "guard.jsonl", modes=["text"], only=sample("guard", 2))
    assert not shown.status("guard", report), shown.table("guard", "guard", report)


@pytest.mark.slow
def test_harmless_statements_on_masked_columns_are_answered(on: Stage) -> None:
    report = benign.harmless(on.masked, FOLDER / "harmless.jsonl", modes=["text"])
    assert not shown.status("harmless", report), shown.table("harmless", "harmless", report)
