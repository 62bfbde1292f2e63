"""Globs over names and dotted paths."""

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.policy.globs import any_of, matcher, resource_glob, split_path

NAMES = st.text(alphabet="ab*.", max_size=8)


@given(NAMES, st.text(alphabet="ab.", max_size=8))
def test_star_means_what_fnmatch_means(glob: str, name: str) -> None:
    test = matcher(glob)
    assert (test is None or bool(test(name))) == fnmatch.fnmatchcase(name, glob)


@given(st.lists(NAMES, max_size=4), st.text(alphabet="ab.", max_size=8))
def test_any_of_is_any(globs: list[str], name: str) -> None:
    assert any_of(globs)(name) == any(fnmatch.fnmatchcase(name, glob) for glob in globs)


def test_many_stars_do_not_backtrack_for_ever() -> None:
    test = matcher("*a" * 6 + "*b")
    assert test is not None and not test("a" * 63)


def test_comparison_is_exact_in_case() -> None:
    test = matcher("Alice")
    assert test is not None and test("Alice") and not test("alice")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a.b.c", [("a", False), ("b", False), ("c", False)]),
        ('a."b.c"', [("a", False), ("b.c", True)]),
        ('"say ""hi"""', [('say "hi"', True)]),
    ],
)
def test_paths_are_split(text: str, parts: list[tuple[str, bool]]) -> None:
    assert split_path(text) == parts


@pytest.mark.parametrize("text", ["", "a..b", ".a", "a.", '"a', '"a"b', 'a."', 'a"b"'])
def test_bad_paths_are_errors(text: str) -> None:
    with pytest.raises(ValueError, match=r"part"):
        split_path(text)


def test_parts_left_out_match_everything_below() -> None:
    glob = resource_glob("shop.public")
    assert glob.in_database("shop") and not glob.in_database("other")
    assert glob.names("public", "anything") and not glob.names("hr", "anything")
    assert glob.column is None and not glob.covers_database()
    assert resource_glob("shop.*").covers_database()


def test_a_quoted_star_is_a_star() -> None:
    glob = resource_glob('shop.public."*"')
    assert glob.names("public", "*") and not glob.names("public", "customers")
    assert glob.exact_relation == ("public", "*")


def test_an_unknown_schema_may_be_any() -> None:
    glob = resource_glob("shop.hr.employees")
    assert not glob.names("", "employees")
    assert glob.may_name("", "employees") and not glob.may_name("", "customers")


@pytest.mark.parametrize(("text", "least"), [("shop", 2), ("a.b.c", 4), ("a.b.c.d.e", 2)])
def test_too_few_or_many_parts(text: str, least: int) -> None:
    with pytest.raises(ValueError, match="part"):
        resource_glob(text, least)
