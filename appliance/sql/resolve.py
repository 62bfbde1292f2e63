"""A statement's tree with every function, operator and type under its schema's name, and what each
relation and column in it means: what a rewrite starts from.

Called by `session/rewriting`, after facts and decision; `lineage` does the same for views.
"""

from appliance.model.catalog import SessionSettings
from appliance.model.resolution import Resolution
from appliance.sql.lineage import CatalogLineage
from appliance.sql.parse import Body
from appliance.sql.qualify import Qualifier
from appliance.sql.statements import Analyst


def resolve(
    kind: str, body: Body, lineage: CatalogLineage, settings: SessionSettings
) -> Resolution | None:
    """The resolution of the qualified tree (`.tree`); None when a name in it is not understood."""
    tree = Qualifier(Analyst(lineage, settings)).tree(body)
    resolution = Resolution(tree)
    analyst = Analyst(lineage, settings, marks=resolution)
    analyst.statement(kind, tree)
    resolution.read = frozenset(analyst.read)
    return None if analyst.unresolved or analyst.opaque else resolution
