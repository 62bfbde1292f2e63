"""What is known of the session's settings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.session.settings import SettingsTracker, split_search_path


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
    ],
)
def test_search_path(value: str, names: tuple[str, ...]) -> None:
    assert split_search_path(value) == names


@given(st.lists(st.text(min_size=1, max_size=8), max_size=4))
def test_search_path_of_quoted_names(names: list[str]) -> None:
    written = ", ".join('"' + name.replace('"', '""') + '"' for name in names)
    assert split_search_path(written) == tuple(names)


@given(st.text(max_size=30))
def test_search_path_of_anything(value: str) -> None:
    assert isinstance(split_search_path(value), tuple)


def tracker(**parameters: str) -> SettingsTracker:
    return SettingsTracker("shop", {"client_encoding": "UTF8", **parameters})


def test_certain_only_once_asked() -> None:
    settings = tracker()
    assert [settings.certain, settings.current.certain] == [False, False]
    settings.probed(['"$user", public', "none", "ann"])
    assert settings.current.certain
    assert settings.current.search_path == ("$user", "public") and settings.current.role == "ann"
    settings.probed(["a", "boss", "ann"])
    assert settings.current.role == "boss", "SET ROLE"


def test_a_change_in_a_transaction() -> None:
    settings = tracker()
    settings.probed(["a", "none", "ann"])
    before = settings.current
    settings.unsettle(True)
    assert [settings.certain, settings.touched_in_transaction] == [False, True]
    assert settings.current.digest() != before.digest()
    settings.probed(["a", "none", "ann"])
    assert settings.current.digest() == before.digest()


def test_every_difference_is_another_digest() -> None:
    """It keys caches."""
    digests = set()
    for words in ("a none x", "a none y", "b none x", '"A" r x'):
        settings = tracker()
        digests.add(settings.current.digest())
        settings.probed(words.split())
        digests.add(settings.current.digest())
        settings.add_temporary(frozenset({"t"}))
        digests.add(settings.current.digest())
        settings.shift(frozenset({"u"}))
        digests.add(settings.current.digest())
    assert len(digests) == 1 + 4 * 3


def test_what_a_transaction_shifts_ends_with_it() -> None:
    settings = tracker()
    settings.add_temporary(frozenset({"t"}))
    settings.shift(frozenset({"u"}))
    assert settings.current.temp_relations == {"t", "u"}
    settings.transaction_ended()
    assert settings.current.temp_relations == {"t"}, "a temporary relation may live on"


@pytest.mark.parametrize(
    ("name", "value", "standard"),
    [
        ("client_encoding", "UTF8", True),
        ("client_encoding", "utf-8", True),
        ("client_encoding", "UNICODE", True),
        ("client_encoding", "SJIS", False),
        ("client_encoding", "LATIN1", False),
        ("standard_conforming_strings", "on", True),
        ("standard_conforming_strings", "off", False),
        ("TimeZone", "off", True),
    ],
)
def test_whether_texts_are_read_as_we_do(name: str, value: str, standard: bool) -> None:
    settings = tracker()
    settings.reported(name, value)
    assert settings.lexes_as_standard() is standard
    assert tracker(**{name: value}).lexes_as_standard() is standard


@pytest.mark.parametrize(
    ("parameters", "utf8"),
    [
        ({"server_encoding": "UTF8"}, True),
        ({"server_encoding": "LATIN1"}, False),
        ({"server_encoding": "SQL_ASCII"}, False),
        ({}, False),  # not told
    ],
)
def test_whether_names_are_cut_as_we_do(parameters: dict[str, str], utf8: bool) -> None:
    assert tracker(**parameters).stores_utf8() is utf8
