"""What a worker remembers is bounded, in catalogs, too."""

import gc
import weakref
from typing import Any

import pytest

from appliance.model.principal import Principal
from appliance.session import cache as module
from appliance.session.cache import Cache


class Version:
    target = "main"

    def __init__(self, version: str, database: str = "shop") -> None:
        self.version, self.database = version, database


class Lineage:
    def __init__(self, version: str) -> None:
        self.catalog = Version(version)


class Dialect:
    def masked_relations(self, lineage: Lineage, _owed: object) -> list[Lineage]:
        return [lineage]


def test_what_was_made_of_old_catalogs_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSIONS_MAX", 2)
    cache: Any = Cache(1_000)  # it is given stand-ins
    owed: dict[Any, Any] = {}
    dialect = Dialect()
    made: list[Any] = [Lineage(str(number)) for number in range(4)]
    for lineage in made:
        first = cache.masked_relations(dialect, lineage, owed)
        assert cache.masked_relations(dialect, lineage, owed) is first
    seen = [weakref.ref(each) for each in made]
    del made, lineage, first
    gc.collect()
    assert [ref() is not None for ref in seen] == [False, False, True, True]


def test_masked_relations_of_one_version_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions with temporary relations have catalogs of their own that bear the same version."""
    monkeypatch.setattr(module, "RELATIONS_MAX", 2)
    cache: Any = Cache(1_000)
    made: list[Any] = [Lineage("1") for _ in range(4)]
    owed: dict[Any, Any] = {}
    for lineage in made:
        cache.masked_relations(Dialect(), lineage, owed)
    cache.put(("a",), "A", made[0].catalog)
    seen = [weakref.ref(each) for each in made]
    del made, lineage
    gc.collect()
    assert [ref() is not None for ref in seen] == [False, False, True, True]
    assert kept(cache, "a") == ["a"]


def kept(cache: Any, *names: str) -> list[str]:
    return [name for name in names if cache.get((name,)) is not None]


def test_what_was_judged_under_old_catalogs_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSIONS_MAX", 2)
    cache: Any = Cache(1_000)
    one, two, three, elsewhere = Version("1"), Version("2"), Version("3"), Version("1", "books")
    cache.put(("a",), "A", one)
    cache.put(("b",), "B", one)
    cache.put(("c",), "C", two)
    cache.put(("d",), "D", elsewhere)
    cache.put(("e",), "E", None)
    assert cache.get(("b",)) == "B"  # the first version was used last
    cache.put(("f",), "F", three)
    assert kept(cache, *"abcdef") == [*"abdef"]
    cache.put(("a",), "A", three)
    cache.put(("g",), "G", two)
    assert kept(cache, *"abcdefg") == [*"adefg"]


def test_versions_of_which_nothing_is_kept_count_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "VERSIONS_MAX", 2)
    cache: Any = Cache(2)
    for name in "abcd":
        cache.put((name,), name, Version(name))
    assert kept(cache, *"abcd") == [*"cd"]
    cache.put(("d",), "D", Version("c"))
    cache.put(("e",), "E", Version("e"))
    assert kept(cache, *"abcde") == [*"de"]


def test_an_old_catalog_is_not_kept_by_what_was_judged_under_it() -> None:
    cache: Any = Cache(1_000)
    made = [Version(str(number)) for number in range(20)]
    for catalog in made:
        cache.put((catalog.version,), [catalog], catalog)
    seen = [weakref.ref(each) for each in made]
    del made, catalog
    gc.collect()
    assert sum(ref() is not None for ref in seen) == module.VERSIONS_MAX


def test_who_sends_ever_new_texts_drives_out_its_own() -> None:
    cache: Any = Cache(100)
    bob, carol = Principal("bob"), Principal("carol")
    for number in range(10):
        cache.put(("bob", number), "B", None, bob)
    cache.put(("nobody's",), "N", None)
    for number in range(1_000):
        cache.put(("carol", number), "C", None, carol)
        cache.get(("carol", 0))
    assert all(cache.get(("bob", number)) == "B" for number in range(10))
    assert cache.get(("nobody's",)) == "N"
    assert cache.get(("carol", 0)) == "C"  # what she uses stays
    assert cache.get(("carol", 999)) == "C"
    assert len(cache._entries) == 100


def test_nobody_has_a_share_that_others_cannot_take() -> None:
    cache: Any = Cache(100)
    carol, dave = Principal("carol"), Principal("carol", source="a provider")
    for number in range(100):
        cache.put(("carol", number), "C", None, carol)
    for number in range(100):
        cache.put(("dave", number), "D", None, dave)
    for share in ("carol", "dave"):
        assert sum(cache.get((share, number)) is not None for number in range(100)) == 50
    assert set(cache._owned) == {("", "carol"), ("a provider", "carol")}
    cache.put(("dave", 99), "E", Version("three"), carol)
    assert cache.get(("dave", 99)) == "E"
    assert [len(share) for share in cache._owned.values()] == [50, 50]
