"""A client's text into the text that is sent in its place, for statements that are masked at the
source.

Called by `flow.Judge` for short texts and in the analyzer process for long ones. Rule: what is sent
is printed from the tree that was rewritten, parsed again, and must be that tree; anything else is a
refusal (`Unmaskable`).
"""

from collections.abc import Sequence

from appliance.masking.masked_relations import MaskedRelations, Unmaskable
from appliance.masking.rewrite import Rewriter
from appliance.model.catalog import SessionSettings
from appliance.model.facts import Facts, ParseFailure
from appliance.model.limits import Limits
from appliance.sql.analysis import after
from appliance.sql.deparse import Undeparsable, deparse, same_statement
from appliance.sql.lineage import CatalogLineage
from appliance.sql.parse import RawStatement, parse
from appliance.sql.resolve import resolve

SEPARATOR = b"\n;\n"
"""On a line of its own: the statement before it may end in a comment."""


def rewrite(
    text: bytes,
    at_source: Sequence[bool],
    facts: Facts,
    lineage: CatalogLineage,
    settings: SessionSettings,
    relations: MaskedRelations,
    limits: Limits,
) -> bytes:
    """`text` with the statements marked in `at_source` rewritten, the others as they are.

    Raises Unmaskable.
    """
    parsed = parse(text, limits)
    if isinstance(parsed, ParseFailure) or len(parsed) != len(at_source):
        raise Unmaskable("the text was read in two ways")
    sent = []
    for raw, chosen, statement in zip(parsed, at_source, facts.statements, strict=True):
        if chosen:
            sent.append(_rewritten(raw, lineage, settings, relations))
        else:
            sent.append(text[raw.offset : raw.offset + raw.length])
        settings = after(statement, settings)
    return SEPARATOR.join(sent)


def _rewritten(
    raw: RawStatement,
    lineage: CatalogLineage,
    settings: SessionSettings,
    relations: MaskedRelations,
) -> bytes:
    try:
        resolution = resolve(raw.kind, raw.body, lineage, settings)
        if resolution is None:
            raise Unmaskable("a name in it is not understood")
        kind, body = Rewriter(relations, resolution).statement(raw.kind, resolution.tree)
        printed = deparse(kind, body, lineage.catalog.server_version_num)
        if not same_statement(kind, body, printed):
            raise Unmaskable("its rewritten form would be read in another way")
    except Undeparsable as error:
        raise Unmaskable(str(error)) from None
    except RecursionError:
        raise Unmaskable("it is nested too deeply") from None
    return printed.encode()
