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
from appliance.model.form import Form
from appliance.model.limits import Limits
from appliance.sql.analysis import after
from appliance.sql.deparse import Undeparsable, deparse, same_statement
from appliance.sql.lineage import CatalogLineage
from appliance.sql.parse import RawStatement, parse
from appliance.sql.resolve import resolve


def forms_of(
    text: bytes,
    wanted: Sequence[bool],
    facts: Facts,
    lineage: CatalogLineage,
    settings: SessionSettings,
    relations: MaskedRelations,
    limits: Limits,
) -> list[Form]:
    """The wanted statements of `text` over masked relations, in order. `lineage` and `relations`
    know the session's temporary relations.
    """
    parsed = parse(text, limits, lineage.catalog.server_version_num)
    if isinstance(parsed, ParseFailure) or len(parsed) != len(wanted):
        return [Form(b"", "the text was read in two ways")] * len(wanted)
    forms = []
    for raw, chosen, statement in zip(parsed, wanted, facts.statements, strict=True):
        forms.append(_form(raw, lineage, settings, relations) if chosen else Form(b""))
        settings = after(raw, statement, settings)
    return forms


def _form(
    raw: RawStatement,
    lineage: CatalogLineage,
    settings: SessionSettings,
    relations: MaskedRelations,
) -> Form:
    try:
        resolution = resolve(raw.kind, raw.body, lineage, settings)
        if resolution is None:
            return Form(b"", "a name in it is not understood")
        kind, body = Rewriter(relations, resolution).statement(raw.kind, resolution.tree)
        version = lineage.catalog.server_version_num
        printed = deparse(kind, body, version, relations.texts)
        if not same_statement(kind, body, printed):
            return Form(b"", "its rewritten form would be read in another way")
    except (Undeparsable, Unmaskable) as error:
        return Form(b"", str(error))
    except RecursionError:
        return Form(b"", "it is nested too deeply")
    return Form(printed.encode())
