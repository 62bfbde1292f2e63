"""A client's text into the forms that are sent in its place, for statements that are masked at the
source.

Called through the dialect (`session/dialect.Dialect.forms`), in the analyzer for long texts.
Rule: what is sent has been read again and is the tree that was rewritten; anything else is no form,
and says why.
"""

from collections.abc import Sequence
from itertools import takewhile

from appliance.model.catalog import SessionSettings
from appliance.model.facts import Facts, ParseFailure
from appliance.model.form import Form
from appliance.model.limits import Limits
from appliance.sql.mysql.definitions import stored_query
from appliance.sql.mysql.lineage import MyLineage
from appliance.sql.mysql.masked import MyMaskedRelations
from appliance.sql.mysql.rewrite import Rewriter
from appliance.sql.mysql.splice import Unmaskable, spliced
from appliance.sql.mysql.words import Word, modes_of, split, unwrapped, words_of

_EXPLAINING = frozenset({"EXPLAIN", "DESCRIBE", "DESC", "ANALYZE"})
_PLAIN_OPTIONS = frozenset({"EXTENDED", "PARTITIONS"})
"""They add columns. Other forms (JSON, TREE) show expressions, and in these rows that were read
ahead: also those that a mask is made of."""
_EXPLAINED = frozenset({"SELECT", "WITH", "(", "TABLE", "VALUES"})


def forms_of(
    text: bytes,
    wanted: Sequence[bool],
    facts: Facts,
    lineage: MyLineage,
    settings: SessionSettings,
    relations: MyMaskedRelations,
    limits: Limits,
) -> list[Form]:
    """The wanted statements of `text` over masked relations, in order."""
    bare = unwrapped(text, settings, limits, lineage.catalog.server_version_num)
    if isinstance(bare, ParseFailure):
        return [Form(b"", "the text can not be read")] * len(wanted)
    try:
        statements = split(words_of(bare, modes_of(settings)))
    except ValueError:
        return [Form(b"", "the text can not be read")] * len(wanted)
    if len(statements) != len(wanted):
        return [Form(b"", "the text was read in two ways")] * len(wanted)
    return [
        _form(bare, words, settings, relations) if chosen else Form(b"")
        for words, chosen in zip(statements, wanted, strict=True)
    ]


def _is_plain_option(word: Word) -> bool:
    return word.upper in _PLAIN_OPTIONS


def _form(
    text: bytes,
    words: Sequence[Word],
    settings: SessionSettings,
    relations: MyMaskedRelations,
) -> Form:
    prefix = b""
    first = "ANALYZE" if words[0].upper == "ANALYZE" else "EXPLAIN"
    if words[0].upper in _EXPLAINING:
        options = [word.upper for word in takewhile(_is_plain_option, words[1:])]
        words = words[1 + len(options) :]
        if not words or words[0].upper not in _EXPLAINED:
            return Form(b"", "only EXPLAIN of a query, as a table, is masked")
        prefix = " ".join((first, *options, "")).encode()
    elif words[0].upper == "CREATE":
        start = stored_query(words)
        if start is None:
            return Form(b"", "what it makes a table of is not understood")
        prefix = spliced(text, words[:start], []).encode() + b" "
        words = words[start:]
    try:
        return Form(prefix + Rewriter(relations, settings, text, words).rewritten().encode())
    except Unmaskable as error:
        return Form(b"", str(error))
    except RecursionError:
        return Form(b"", "it is nested too deeply")
