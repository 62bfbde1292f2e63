"""MySQL's and MariaDB's `Dialect`: what `session/flow` needs of `sql`.

Registered in `dataplane/protocols`. Rule: nothing but wiring.
"""

from appliance.model.facts import Facts, Flag
from appliance.session import changes
from appliance.session.dialect import Dialect
from appliance.sql.mysql.analysis import analyse, fold
from appliance.sql.mysql.ending import ending
from appliance.sql.mysql.masked import MyMaskedRelations
from appliance.sql.mysql.rewriting import forms_of


def _converts(facts: Facts) -> bool:
    """SET NAMES amid a text is one of what changes settings."""
    return any(Flag.CHANGES_SETTINGS in statement.flags for statement in facts.statements)


MYSQL = Dialect(
    name="mysql",
    analyse=analyse,
    fold=fold,
    is_plain=changes.is_plain,
    converts=_converts,
    footing=lambda _facts, _lineage, _rewritten: None,
    masked_relations=MyMaskedRelations,
    forms=forms_of,
    ending=ending,
)
