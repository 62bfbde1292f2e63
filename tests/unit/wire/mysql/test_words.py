"""Refusals in the numbers that drivers, ORMs and people know ("Server Error Message Reference")."""

import pytest

from appliance.model.refusal import About, Refusal, RefusalCode
from appliance.session import told
from appliance.wire.mysql.words import parse_error, refused_words


def said(refusal: Refusal) -> tuple[int, str]:
    found = parse_error(refused_words(refusal))
    return int(found["N"]), found["C"]


@pytest.mark.parametrize(
    ("about", "number"),
    [
        (About.SESSION, 1227),
        (About.SCHEMA, 1044),
        (About.RELATION, 1142),
        (About.COLUMN, 1143),
        (About.FUNCTION, 1370),
        (About.TEXT, 1227),
    ],
)
def test_a_missing_right_is_called_by_what_it_is_for(about: About, number: int) -> None:
    assert said(Refusal(RefusalCode.DENIED, "no", about=about)) == (number, "42000")


@pytest.mark.parametrize("about", About)
def test_what_is_refused_for_another_reason_has_that_number(about: About) -> None:
    refusal = Refusal(RefusalCode.UNRESOLVED, "no", sqlstate="42P01", about=about)
    assert said(refusal) == (1146, "42S02")


@pytest.mark.parametrize(
    ("refusal", "expected"),
    [
        (told.unread("SET is not understood"), (1064, "42000")),
        (told.unknown_statement(), (1243, "HY000")),
        (told.no_such_session(), (1094, "HY000")),
        (told.unclassified("shop.new"), (1142, "42000")),
        (told.unrewritable("why"), (1143, "42000")),
        (told.needs_approval("r", "", "delete here"), (1227, "42000")),
        (told.signals_others(), (1227, "42000")),
    ],
)
def test_what_a_session_is_told(refusal: Refusal, expected: tuple[int, str]) -> None:
    assert said(refusal) == expected
