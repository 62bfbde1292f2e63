"""A plain member is the very member, and the enumeration works as before."""

import enum

import pytest

from appliance.model.members import plain_members


@plain_members
class Colour(enum.Enum):
    RED = "red"
    ROUGE = "red"  # noqa: PIE796
    BLUE = "blue"


def test_members_are_attributes_of_the_class_itself() -> None:
    assert vars(Colour)["BLUE"] is Colour("blue") is Colour["BLUE"]
    assert Colour.ROUGE is Colour.RED  # type: ignore[comparison-overlap]
    assert list(Colour) == [Colour.RED, Colour.BLUE]
    assert Colour.RED.name == "RED"


def test_members_stay_what_they_are() -> None:
    with pytest.raises(AttributeError):
        Colour.RED = "green"  # type: ignore[misc, assignment]
