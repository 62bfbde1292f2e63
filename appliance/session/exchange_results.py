"""Results that are described by names: a column of a result is told by (schema, relation, column)
as the server reports it, and found in the catalog.

Given to `results.ResultLocks` for exchange sessions. Rule: names are looked up in the catalog that
the plan was made with, and nowhere else.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

from appliance.masking.attribution import DescribedColumn
from appliance.model.catalog import ColumnKey
from appliance.model.decision import Mask
from appliance.session.dialect import SessionLineage
from appliance.wire.exchange import Codec, Column, Masker

COMPUTED: ColumnKey = (0, 0)


class NamingLineage(SessionLineage, Protocol):
    """The lineage of a dialect whose server reports names."""

    def reported(self, schema: str, relation: str, column: str, /) -> ColumnKey | None:
        """What the names in a description stand for; None for what is computed. What a server may
        name of a column that comes through a view or a subquery is for the dialect's facts to
        expect (`OutputColumn.loose`)."""


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
    return lineage.reported(column.schema, column.relation, column.column) or COMPUTED
