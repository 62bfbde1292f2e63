"""The tour must notice when something is wrong: here it walks with nothing in between at all."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from appliance.cli.demo import shop as shop_database
from appliance.cli.demo import tour
from appliance.cli.demo.mariadb import programs
from appliance.cli.demo.page import Page
from appliance.cli.demo.sample import KINDS, Way, sample
from appliance.cli.demo.seen import Seen, as_stored, masked, refused, rows
from appliance.cli.demo.stage import Person, Stage, StageTaken, stage
from appliance.cli.demo.steps import EMAIL

PEOPLE = {name: Person(name, "nobody in particular", "") for name in tour.PRINCIPALS}


class Unguarded(Stage):
    """A stage on which every principal is let through to the database as the owner."""

    def way(self, person: str) -> Way:
        return self.direct_way()


@pytest.fixture(scope="module", params=sorted(KINDS))
def walked(request: pytest.FixtureRequest, server_folder: Path) -> tuple[list[str], str]:
    """(failures, printed) of a tour without Sallyport."""
    if request.param == "mysql" and programs() is None:
        pytest.skip("no MariaDB here: scripts/mariadb.sh")
    passwords = dict.fromkeys(shop_database.ROLES, "open")
    printed = io.StringIO()
    folder = server_folder / f"unguarded-{request.param}"
    folder.mkdir()
    database = sample(request.param, folder)
    with database.server:
        database.load(passwords)
        unguarded = Unguarded(folder, database, PEOPLE, passwords, "")
        page = Page(Console(file=printed, width=110))
        failures = tour.walk(unguarded, page)
        page.verdict(failures, tour.steps(unguarded))
    return failures, printed.getvalue()


def test_raw_values_and_missing_refusals_are_noticed(walked: tuple[list[str], str]) -> None:
    failures, _ = walked
    for complaint in (
        "step 1 (A plain query), alice: email is NOT MASKED",
        "step 1 (A plain query), copilot: email is NOT MASKED",
        "step 6 (A function on a masked column), alice: upper is NOT MASKED",
        "step 11 (DROP TABLE), alice: NOT REFUSED",
        "step 17 (An UPDATE that waits): it was not held",
        "step 19 (A ticket, for clients that do not wait): it was not held",
        "orders were deleted, or not the one",
        "payments is gone",
    ):
        assert complaint in failures, complaint
    assert not [text for text in failures if text.startswith("step 1 (A plain query), bob")]


def test_a_trail_that_is_not_there_is_noticed(walked: tuple[list[str], str]) -> None:
    assert [text for text in walked[0] if text.startswith("audit verify: status")]


def test_the_page_is_plain_text_of_110_columns(walked: tuple[list[str], str]) -> None:
    _, printed = walked
    assert "\x1b" not in printed
    steps, _, _ = printed.partition("$ sallyport audit tail")
    assert max(len(line) for line in steps.splitlines() if "NOT AS IT" not in line) <= 110
    assert "NOT AS IT MUST BE for alice" in printed
    assert "The tour found something wrong" in printed


def seen(*rows: tuple[str | None, ...], columns: tuple[str, ...] = ("id", "email")) -> Seen:
    return Seen(columns, rows, f"SELECT {len(rows)}")


STORED = seen(("1", "ada@example.com"), ("2", None))


def test_a_mask_is_accepted_and_nothing_else() -> None:
    check = masked(email=EMAIL)
    assert check(seen(("1", "a***@***.com"), ("2", None)), STORED) == ""
    for wrong in (
        STORED,  # raw
        seen(("1", "a***@***.com")),  # a row is missing
        seen(("1", "a***@***.com"), ("2", "x***@***.com")),  # NULL did not stay NULL
        seen(("9", "a***@***.com"), ("2", None)),  # what is not masked changed
        seen(("1", None), ("2", None)),
        Seen(sqlstate="42501", message="no"),
    ):
        assert check(wrong, STORED), wrong


def test_a_refusal_must_be_ours_and_say_why() -> None:
    check = refused("masked_column_used", rule="mask-email")
    ours = Seen(
        sqlstate="42501",
        message="customers.email is masked",
        detail="code: masked_column_used, rule: mask-email",
    )
    assert check(ours, None) == ""
    assert check(STORED, None) == "NOT REFUSED"
    assert "42601" in check(Seen(sqlstate="42601", message="syntax error"), None)
    assert "does not mention" in refused(rule="another")(ours, None)


def test_stored_answers_and_given_rows() -> None:
    assert as_stored(STORED, STORED) == ""
    assert as_stored(seen(("1", "x")), STORED)
    assert rows([("1", None)])(seen(("1", None)), None) == ""
    assert rows([("1", None)])(seen(("2", None)), None)


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path: Path) -> None:
    precious = tmp_path / "thesis.txt"
    precious.write_text("years of work")
    with pytest.raises(StageTaken, match="nothing is deleted"), stage(tmp_path):
        pass
    assert precious.read_text() == "years of work"
