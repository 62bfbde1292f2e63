"""Results that are described by names: a column of a result is told by (schema, relation, column)
as the server reports it, and found in the catalog.

Given to `results.ResultLocks` for exchange sessions. Rule: a name that the catalog does not have is
no computed column: it is a column that nobody knows.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from appliance.masking.attribution import DescribedColumn
from appliance.model.catalog import ColumnKey, Relation
from appliance.model.decision import Mask
from appliance.session.dialect import SessionLineage
from appliance.wire.exchange import Codec, Column, Masker

COMPUTED: ColumnKey = (0, 0)
UNKNOWN: ColumnKey = (-1, 1)
"""The key of no column."""


class NamingLineage(SessionLineage, Protocol):
    """The lineage of a dialect whose server reports names."""

    def relation_named(self, schema: str, name: str, /) -> Relation | None:
        """By the names that the server reports; None when the catalog has no such relation, or
        more than one that could be meant."""


class NamedReading:
    """`results.Reading` over a codec."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    def columns(
        self, description: bytes, lineage: NamingLineage | None
    ) -> Sequence[DescribedColumn]:
        found = []
        for column in self._codec.columns(description):
            oid, attnum = COMPUTED if lineage is None else origin(column, lineage)
            found.append(DescribedColumn(column.name, oid, attnum, column.kind, int(column.binary)))
        return found

    def masker(
        self,
        masks: Sequence[Mask | None],
        _described: Sequence[DescribedColumn],
        description: bytes,
        keys: Mapping[str, bytes],
    ) -> Masker:
        return self._codec.masker(masks, self._codec.columns(description), keys)


def origin(column: Column, lineage: NamingLineage) -> ColumnKey:
    """What the catalog calls the column that a result's column is read from."""
    if not column.relation:
        return COMPUTED
    relation = lineage.relation_named(column.schema, column.relation)
    if relation is None:
        return UNKNOWN
    wanted = column.column.casefold()
    found = [own.attnum for own in relation.columns if own.name.casefold() == wanted]
    return (relation.oid, found[0]) if len(found) == 1 else UNKNOWN
