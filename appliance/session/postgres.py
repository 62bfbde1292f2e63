"""PostgreSQL's `Dialect` and `Reading`: what `session/flow` needs of `sql`, and what
`session/results` needs of `wire`.

Registered in `dataplane/protocols`. Rule: nothing but wiring.
"""

from collections.abc import Mapping, Sequence

from _speedups.pgrows import RowMasker
from _speedups.sqllex import fold
from appliance.masking.attribution import DescribedColumn
from appliance.masking.formats import cell_op
from appliance.masking.masked_relations import MaskedRelations
from appliance.model.catalog import SessionSettings
from appliance.model.decision import Mask
from appliance.model.dialect import Dialect
from appliance.session import changes, pinning
from appliance.session.dialect import SessionLineage
from appliance.session.rewriting import forms_of
from appliance.sql.analysis import analyse
from appliance.sql.escapes import settled_strings
from appliance.sql.footing import footing
from appliance.wire.postgres.messages import parse_row_description


def _fold(text: bytes, _settings: SessionSettings) -> tuple[bytes, object] | None:
    """Settings that change how a text is lexed keep it from being folded elsewhere
    (`Decisions.examine`)."""
    return fold(text) if text.isascii() else None


class PostgresReading:
    """RowDescription and DataRow (`results.Reading`)."""

    __slots__ = ()

    @staticmethod
    def columns(description: bytes, _lineage: SessionLineage | None) -> Sequence[DescribedColumn]:
        return [
            DescribedColumn(
                c.name.decode("utf-8", "replace"),
                c.table_oid,
                c.attnum,
                c.type_oid,
                c.format,
                c.typmod,
            )
            for c in parse_row_description(description)
        ]

    @staticmethod
    def masker(
        masks: Sequence[Mask | None],
        described: Sequence[DescribedColumn],
        _description: bytes,
        keys: Mapping[str, bytes],
    ) -> RowMasker:
        return RowMasker(
            [
                None
                if mask is None
                else cell_op(mask, column.type_oid, column.format, keys, column.typmod)
                for mask, column in zip(masks, described, strict=True)
            ]
        )


POSTGRES = Dialect(
    name="postgres",
    analyse=analyse,
    fold=_fold,
    converts=changes.converts,
    footing=footing,
    masked_relations=MaskedRelations,
    forms=forms_of,
    settled=settled_strings,
    needs=pinning.needs,
)
