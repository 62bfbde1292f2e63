"""What a session must know of its database's SQL: lineages, and the forms of a text's statements.

`flow.Judge` is given the `Dialect` (`model/dialect`) of its target and asks nobody else what a text
means; both machines go through it.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from appliance.masking.masked_relations import Unmaskable
from appliance.masking.plan import AT_SOURCE_KINDS, ColumnOrigins
from appliance.model.catalog import Catalog, ColumnKey, Relation, SessionSettings
from appliance.model.decision import Mask
from appliance.model.dialect import Dialect
from appliance.model.facts import Facts
from appliance.model.form import Form
from appliance.model.limits import Limits

SEPARATOR = b"\n;\n"
"""On a line of its own: the statement before it may end in a comment."""


class SessionLineage(Protocol):
    """One snapshot of a database's catalog, and what its columns are made of."""

    @property
    def catalog(self) -> Catalog: ...
    def of(self, key: ColumnKey, /) -> ColumnOrigins:
        """Base columns that a column, as the server reports it, comes from."""

    def column_name(self, oid: int, attnum: int, /) -> str:
        """For people; "" when there is none such."""

    def rests_on(self, oid: int, /) -> frozenset[int]:
        """OIDs of the relations that a relation is made of, itself included."""

    def with_temporaries(self, temporaries: tuple[Relation, ...], /) -> "SessionLineage":
        """The same with the session's own temporary relations."""


class Forms(NamedTuple):
    """Forms of the statements of one text, made elsewhere for these very masks."""

    owed: Mapping[ColumnKey, Mask]
    forms: Sequence[Form]


def joined(text: bytes, at_source: Sequence[bool], facts: Facts, forms: Sequence[Form]) -> bytes:
    """`text` with the statements marked in `at_source` in their forms. Raises Unmaskable."""
    if len(forms) != len(at_source):
        raise Unmaskable("the text was read in two ways")
    sent = []
    for chosen, statement, form in zip(at_source, facts.statements, forms, strict=True):
        if chosen and not form.text:
            raise Unmaskable(form.why)
        offset, length = statement.span
        sent.append(form.text if chosen else text[offset : offset + length])
    return SEPARATOR.join(sent)


def all_forms(
    dialect: Dialect,
    text: bytes,
    facts: Facts,
    lineage: Any,
    settings: SessionSettings,
    owed: Mapping[ColumnKey, Mask],
    limits: Limits,
) -> Sequence[Form]:
    """Of every statement that may need one; for the analyzer process, which knows no decision.
    `lineage` does not know the session's temporary relations yet."""
    lineage = lineage.with_temporaries(settings.temporaries)
    relations = dialect.masked_relations(lineage, owed)
    wanted = [statement.kind in AT_SOURCE_KINDS for statement in facts.statements]
    return dialect.forms(text, wanted, facts, lineage, settings, relations, limits)
