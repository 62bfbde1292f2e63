"""A name is not a person: rights take the source, too, and doubts go against whoever decides."""

import pytest

from appliance.approval.people import Who, called

LOCAL, OKTA, BEFORE = Who("users file", "bob"), Who("okta", "bob"), Who("", "bob")
CAROL = Who("okta", "carol")


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (LOCAL, LOCAL, True),
        (LOCAL, OKTA, False),
        (OKTA, CAROL, False),
        (BEFORE, OKTA, True),
        (LOCAL, BEFORE, True),
        (BEFORE, BEFORE, True),
        (BEFORE, CAROL, False),
    ],
)
def test_who_is_who(one: Who, other: Who, same: bool) -> None:
    assert one.is_same(other) is other.is_same(one) is same
    assert one.may_be_same(other, distinct=True) is same
    assert one.may_be_same(other, distinct=False) is (one.name == other.name)


def test_names_are_told_apart_where_they_have_to_be() -> None:
    assert called([CAROL, LOCAL, LOCAL]) == "carol, bob"
    assert called([LOCAL, OKTA]) == "bob (users file), bob (okta)"
    assert called([BEFORE, OKTA]) == "bob, bob (okta)"
