"""Lists of names as the server reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.sql.identifiers import split_names


@pytest.mark.parametrize(
    ("value", "names"),
    [
        ("", ()),
        ('""', ("",)),
        ('"$user", public', ("$user", "public")),
        ("a,b", ("a", "b")),
        (" a ,\tb\n", ("a", "b")),
        ("Sales", ("sales",)),
        ('"Sales"', ("Sales",)),
        ('"a,b", c', ("a,b", "c")),
        ('"say ""hi""", x', ('say "hi"', "x")),
        ('"a b"', ("a b",)),
        ("pg_catalog, public", ("pg_catalog", "public")),
        ("a\r,\fb", ("a", "b")),
        ("a\u00a0, b", ("a\u00a0", "b")),
        ("\u2003a, b", ("\u2003a", "b")),
        ("a\x1c,b\x85", ("a\x1c", "b\x85")),
        ("\u00e9A", ("\u00e9a",)),
        ('"\u00c9"', ("\u00c9",)),
        ("\u00c9", None),
        ("a\v, b", None),
        ("a b", None),
        ('"a" b', None),
        ('"a', None),
        ("a,,b", None),
        ("a,", None),
        ("x" * 63, ("x" * 63,)),
        ("x" * 64, None),
        ('"' + "x" * 64 + '"', None),
        ("\u00e9" * 31, ("\u00e9" * 31,)),
        ("\u00e9" * 32, None),
    ],
)
def test_search_path(value: str, names: tuple[str, ...] | None) -> None:
    assert split_names(value, True) == names


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4))
def test_search_path_of_quoted_names(names: list[str]) -> None:
    written = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    assert split_names(written, True) == tuple(names)


@given(st.text(max_size=30))
def test_search_path_of_anything(value: str) -> None:
    assert isinstance(split_names(value), tuple | None)


def test_in_another_encoding_long_names_may_be_cut() -> None:
    assert split_names("\u00e9" * 15) == ("\u00e9" * 15,)
    assert split_names("\u00e9" * 16) is None
