"""Where a catalog comes from, in one dialect: what `catalogs` asks a database and makes of the
answers.

One per protocol, in `protocols`. Rule: two equal epochs mean that nothing in the catalog changed
between them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from appliance.dataplane.connections import Row
from appliance.dataplane.schema_lease import SchemaHold
from appliance.model.catalog import Catalog


class CatalogSource(msgspec.Struct, frozen=True):
    """Of one dialect."""

    settings: dict[str, str]
    """Of the connection it is read over."""
    prepare: tuple[str, ...]
    """Said first on it."""
    epoch: str
    """Asks for one value that moves whenever the catalog does."""
    queries: Mapping[str, str]
    """In the order in which they are asked."""
    build: Callable[[str, str, Mapping[str, list[Row]]], Catalog]
    """(target, database, rows by query) -> catalog. Raises ValueError, KeyError."""
    lineage: Callable[[Catalog], Any]
    """A `session.dialect.SessionLineage`."""
    stamp: Callable[[Sequence[Row]], str] | None = None
    """What the answer to a question about one thing (`vouching`) comes to; None: sessions find out
    by themselves whether what they rest on has changed."""
    aside: Callable[[Any, int, int], str] | None = None
    """(footing, `aside.Asker`) -> one text that asks how it stands, and is answered by a value of
    `Stands`; for sessions that find out by themselves, and are to look again."""
    hold: SchemaHold | None = None
    """How all of the schema is kept as it is for a while."""
    hasty: tuple[str, ...] = ()
    """Said on a connection that is to wait for nobody's change, ..."""
    busy: str = ""
    """... and the number of the error that it gets instead."""
    at_once: bool = True
    """Whether a change amid the queries shows in none of them, or is told of otherwise; if not, the
    epoch is compared behind them."""
    whole_server: bool = False
    """Whether one catalog is that of all databases of a server."""
