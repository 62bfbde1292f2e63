"""PostgreSQL's `Dialect`: what `session/flow` needs of `sql`, in one place.

Registered in `dataplane/protocols`. Rule: nothing but wiring.
"""

from _speedups.sqllex import fold
from appliance.masking.masked_relations import MaskedRelations
from appliance.model.catalog import SessionSettings
from appliance.session import changes
from appliance.session.dialect import Dialect
from appliance.session.rewriting import forms_of
from appliance.sql.analysis import analyse
from appliance.sql.footing import footing


def _fold(text: bytes, _settings: SessionSettings) -> tuple[bytes, object] | None:
    """Settings that change how a text is lexed keep it from being folded elsewhere
    (`Decisions.examine`)."""
    return fold(text) if text.isascii() else None


POSTGRES = Dialect(
    name="postgres",
    analyse=analyse,
    fold=_fold,
    is_plain=changes.is_plain,
    converts=changes.converts,
    footing=footing,
    masked_relations=MaskedRelations,
    forms=forms_of,
)
