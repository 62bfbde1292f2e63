"""MySQL's and MariaDB's `Dialect`: what a session needs of this package.

Registered in `dataplane/protocols`. Rule: nothing but wiring. sqlglot is imported when it is first
needed, so that processes whose targets speak something else do without; `ready` imports it before
that.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from appliance.model.catalog import Catalog, ColumnKey, SessionSettings
from appliance.model.decision import Mask
from appliance.model.dialect import Dialect
from appliance.model.facts import Facts, Flag
from appliance.model.form import Form
from appliance.model.limits import Limits
from appliance.sql.mysql.ending import ending
from appliance.sql.mysql.estimates import explain, explained
from appliance.sql.mysql.naming import named, preparing
from appliance.sql.mysql.redaction import fold

if TYPE_CHECKING:
    from appliance.sql.mysql.footing import MyFooting
    from appliance.sql.mysql.lineage import MyLineage
    from appliance.sql.mysql.masked import MyMaskedRelations


def ready() -> None:
    """Imports what a first statement would wait for (half a second)."""
    _analyse(b"SELECT 1", None, SessionSettings(database=""), Limits())


def lineage_of(catalog: Catalog) -> "MyLineage":
    from appliance.sql.mysql.lineage import MyLineage

    return MyLineage(catalog)


def stamp_of(rows: Sequence[Sequence[str | None]]) -> str:
    """`sql.mysql.footing.stamp`."""
    from appliance.sql.mysql.footing import stamp

    return stamp(rows)


def catalog_of(
    target: str, database: str, rows: Mapping[str, list[tuple[str | None, ...]]]
) -> Catalog:
    """`sql.mysql.catalog_rows.build_catalog`."""
    from appliance.sql.mysql.catalog_rows import build_catalog

    return build_catalog(target, database, rows)


def _analyse(
    text: bytes, lineage: "MyLineage | None", settings: SessionSettings, limits: Limits
) -> Facts:
    from appliance.sql.mysql.analysis import analyse

    return analyse(text, lineage, settings, limits)


def _masked_relations(lineage: "MyLineage", owed: Mapping[ColumnKey, Mask]) -> "MyMaskedRelations":
    from appliance.sql.mysql.masked import MyMaskedRelations

    return MyMaskedRelations(lineage, owed)


def _footing(facts: Facts, lineage: "MyLineage", rewritten: bool) -> "MyFooting | None":
    from appliance.sql.mysql.footing import footing

    return footing(facts, lineage, rewritten)


def _forms(
    text: bytes,
    wanted: Sequence[bool],
    facts: Facts,
    lineage: "MyLineage",
    settings: SessionSettings,
    relations: "MyMaskedRelations",
    limits: Limits,
) -> Sequence[Form]:
    from appliance.sql.mysql.rewriting import forms_of

    return forms_of(text, wanted, facts, lineage, settings, relations, limits)


def _converts(facts: Facts) -> bool:
    """SET NAMES amid a text is one of what changes settings."""
    return any(Flag.CHANGES_SETTINGS in statement.flags for statement in facts.statements)


MYSQL = Dialect(
    name="mysql",
    analyse=_analyse,
    fold=fold,
    converts=_converts,
    footing=_footing,
    masked_relations=_masked_relations,
    forms=_forms,
    ending=ending,
    named=named,
    preparing=preparing,
    explain=explain,
    explained=explained,
)
