"""What a session must know of its database's SQL: the seam between one statement's life and a
dialect.

`flow.Judge` is given the `Dialect` of its target and asks nobody else what a text means; both
machines go through it. One dialect is registered per protocol (`dataplane/protocols`);
`session/postgres` is PostgreSQL's. Rules: a dialect is pure; its facts are in the vocabulary of
`model/facts`, kinds of statements included ("SelectStmt", "InsertStmt", ... as
`masking.plan.AT_SOURCE_KINDS` names them, whatever the dialect's parser calls them); what it does
not understand it says so of, and never guesses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

from appliance.masking.masked_relations import Unmaskable
from appliance.masking.plan import AT_SOURCE_KINDS, ColumnOrigins
from appliance.model.catalog import Catalog, ColumnKey, Relation, SessionSettings
from appliance.model.decision import Mask, Trust
from appliance.model.ending import Ending
from appliance.model.facts import Facts
from appliance.model.form import Form
from appliance.model.limits import Limits

_UNKNOWN = frozenset(("unknown",))
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


class Dialect(msgspec.Struct, frozen=True):
    """Functions of one dialect. A lineage given to them is always one that the dialect's own
    catalog loader made.
    """

    name: str
    analyse: Callable[[bytes, Any, SessionSettings, Limits], Facts]
    """(text, lineage or None, settings, limits) -> facts. Never raises for what a client wrote."""
    fold: Callable[[bytes, SessionSettings], tuple[bytes, Any] | None]
    """(text, settings) -> the text with its constants folded away and where they stood; None = this
    text has no such form. Two texts with one form differ in the values of constants only."""
    is_plain: Callable[[Facts], bool]
    """Whether it only reads or changes rows: no setting, schema, transaction or name is touched."""
    converts: Callable[[Facts], bool]
    """Whether it may change, amid itself, the encoding its results come in."""
    footing: Callable[[Facts, Any, bool], Any]
    """(facts, lineage, rewritten) -> what must be as it was, when it is sent; None = nothing that
    this dialect can look at."""
    masked_relations: Callable[[Any, Mapping[ColumnKey, Mask]], Any]
    """(lineage, masks owed) -> what `forms` needs of them; kept while both are."""
    forms: Callable[
        [bytes, Sequence[bool], Facts, Any, SessionSettings, Any, Limits], Sequence[Form]
    ]
    """(text, which statements are wanted, facts, lineage, settings, masked relations, limits) ->
    one form per statement, empty for those that are not wanted."""
    needs: Callable[[Facts, Any, Trust], frozenset[str]] = lambda _facts, _lineage, _trust: _UNKNOWN
    """(facts, the lineage they were made with, functions vouched for) -> why the text needs a
    database session that is its client session's alone; empty: it does not."""
    ending: Callable[[bytes], Ending | None] = lambda _text: None
    """Whether a text ends another session: then it is carried out by the appliance. Where one may
    be written in SQL at all, all others that signal sessions are refused."""


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
