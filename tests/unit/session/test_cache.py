"""What a worker remembers is bounded, in catalogs, too."""

import gc
import weakref
from typing import Any

import pytest

from appliance.session import cache as module
from appliance.session.cache import Cache


class Lineage:
    pass


class Dialect:
    def masked_relations(self, lineage: Lineage, _owed: object) -> list[Lineage]:
        return [lineage]


def test_what_was_made_of_old_catalogs_is_let_go_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RELATIONS_MAX", 2)
    cache: Any = Cache(1_000)  # it is given stand-ins
    owed: dict[Any, Any] = {}
    dialect = Dialect()
    made: list[Any] = [Lineage() for _ in range(4)]
    for lineage in made:
        first = cache.masked_relations(dialect, lineage, owed)
        assert cache.masked_relations(dialect, lineage, owed) is first
    seen = [weakref.ref(each) for each in made]
    del made, lineage, first
    gc.collect()
    assert [ref() is not None for ref in seen] == [False, False, True, True]
