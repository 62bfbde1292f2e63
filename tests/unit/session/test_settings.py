"""What is known of the session's settings."""

import pytest

from appliance.session.settings import SettingsTracker


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


@pytest.mark.parametrize("path", ["sales\u00a0, public", "sales\x1c, public", "\u00c9cole, public"])
def test_a_path_that_is_not_understood_makes_no_name_certain(path: str) -> None:
    """Asked once is enough: `certain` says that, `current` what is known."""
    settings = tracker()
    settings.probed([path, "none", "ann"])
    assert settings.current.search_path != ("sales", "public")
    assert settings.current.certain is ("\u00c9" not in path)
    assert settings.certain
    settings.probed(["public", "none", "ann"])
    assert settings.current.certain


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


def test_whether_what_is_sent_is_converted() -> None:
    """Conversion fails on what the client's encoding has no letters for: another digest."""
    settings = tracker(server_encoding="UTF8")
    before = settings.current
    assert not before.converted
    settings.reported("client_encoding", "LATIN1")
    assert settings.current.converted
    assert settings.current.digest() != before.digest()
    assert settings.current.naming != before.naming
    settings.reported("client_encoding", "SQL_ASCII")
    assert not settings.current.converted, "bytes as they are"


def test_a_path_that_the_server_reports_as_another_is_asked_for_again() -> None:
    """PostgreSQL 18 reports it with its next ReadyForQuery, whoever changed it."""
    settings = tracker()
    settings.probed(["a, b", "none", "ann"], pinned=False)
    settings.reported("search_path", "a, b")
    assert settings.certain
    settings.reported("application_name", "elsewhere")
    assert settings.certain
    settings.reported("search_path", "elsewhere")
    assert [settings.certain, settings.current.certain] == [False, False]


def test_another_connection_brings_its_own() -> None:
    settings = tracker()
    settings.handed_over(("public", "none", "ann"))
    assert settings.certain and settings.pinned and settings.current.search_path == ("public",)
    before = settings.current
    settings.handed_over(("public", "none", "ann"))
    assert settings.current is before
    settings.handed_over(("hidden", "none", "ann"))
    assert settings.current.search_path == ("hidden",)
    settings.unsettle(False)
    settings.handed_over(("hidden", "none", "ann"))
    assert settings.certain and settings.pinned
    settings.probed(["hidden", "none", "ann", "171 f", "4711"], pinned=True)
    settings.handed_over(("hidden", "none", "ann"))
    assert settings.server == "", "the other may be elsewhere"
