"""The seam between one statement's life and a database's SQL: what has to be known of it.

Made by each dialect's own package, registered in `dataplane/protocols`; used by `session`. Rules: a
dialect is pure; its facts are in the vocabulary of `model/facts`, kinds of statements included
("SelectStmt", "InsertStmt", ... as `masking.plan.AT_SOURCE_KINDS` names them, whatever the
dialect's parser calls them); what it does not understand it says so of, and never guesses.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from appliance.model.catalog import Catalog, ColumnKey, SessionSettings
from appliance.model.decision import Mask, Trust
from appliance.model.ending import Ending
from appliance.model.facts import Facts
from appliance.model.form import Form
from appliance.model.limits import Limits
from appliance.model.naming import NamedText


class Expectation(NamedTuple):
    """What a database expects of a statement."""

    rows: int | None
    """Written; None = nobody says."""
    note: str
    """For people: why there is no figure, or what it leaves out."""


_UNKNOWN = frozenset(("unknown",))


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
    settled: Callable[[bytes], bytes] = lambda text: text
    """A text that was analysed -> one that the database reads in the same way, whatever becomes of
    its settings meanwhile."""
    needs: Callable[[Facts, Any, Trust], frozenset[str]] = lambda _facts, _lineage, _trust: _UNKNOWN
    """(facts, the lineage they were made with, functions vouched for) -> why the text needs a
    database session that is its client session's alone; empty: it does not."""
    ending: Callable[[bytes], Ending | None] = lambda _text: None
    """Whether a text ends another session: then it is carried out by the appliance. Where one may
    be written in SQL at all, all others that signal sessions are refused."""
    named: Callable[[bytes, SessionSettings], NamedText | None] = lambda _text, _settings: None
    """What a text names that prepares a statement by name, runs or forgets it; None for all other
    texts, and where the session resolves such names by itself."""
    preparing: Callable[[str, bytes, SessionSettings], bytes | None] = lambda _name, _text, _s: None
    """(name, text, settings) -> what has the server prepare this very text by that name; None where
    it would not be read as that."""
    explain: Callable[
        [bytes, Facts, Sequence[bytes], SessionSettings, Catalog | None], bytes | Expectation
    ] = lambda _text, _facts, _literals, _settings, _catalog: Expectation(None, "not estimated")
    """(text of one statement, its facts, its parameters as the protocol writes them in SQL,
    settings, catalog) -> what asks the database how many rows it expects, without running or
    reading anything; or what is known without asking, or why it is not asked. A session may have
    another way."""
    explained: Callable[[Sequence[Mapping[str, str | None]]], Expectation] = lambda _lines: (
        Expectation(None, "")
    )
    """(lines of the answer, by column) -> what they say."""
